//! Until when a certificate is good: one field of it (RFC 5280, 4.1). Pure.
//!
//! ```text
//! Certificate [ TBSCertificate [ (version) serial signature issuer [ notBefore notAfter ] … ] … ]
//! ```
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of a certificate's validity; `None` where it cannot be read.
pub(super) fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (_, mut certificate) = element(&mut &*certificate).filter(|(tag, _)| *tag == SEQUENCE)?;
    let (_, mut tbs) = element(&mut certificate)?;
    let (first, _) = element(&mut tbs)?;
    if first == VERSION {
        element(&mut tbs)?; // serial
    }
    element(&mut tbs)?; // signature
    element(&mut tbs)?; // issuer
    let (_, mut validity) = element(&mut tbs)?;
    element(&mut validity)?; // notBefore
    let (tag, text) = element(&mut validity)?;
    time(tag, std::str::from_utf8(text).ok()?)
}

/// Takes the next element off: its tag and its contents.
fn element<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (tag, after) = rest.split_first()?;
    let (length, mut after) = after.split_first()?;
    let mut len = usize::from(*length);
    if len >= 0x80 {
        let (bytes, behind) = after.split_at_checked(len & 0x7F)?;
        if bytes.len() > 4 {
            return None;
        }
        len = bytes.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
        after = behind;
    }
    let (contents, behind) = after.split_at_checked(len)?;
    *rest = behind;
    Some((*tag, contents))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &str) -> Option<Timestamp> {
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i16 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2).and_then(|digits| digits.parse::<i8>().ok());
    let date = Date::new(year, part(0)?, part(2)?).ok()?;
    let at = date.at(part(4)?, part(6)?, part(8)?, 0);
    Some(at.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(year: i32) -> Option<String> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["x".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 2, 28);
        let certificate = params.self_signed(&key).unwrap();
        not_after(certificate.der()).map(|end| end.to_string())
    }

    #[test]
    fn the_end_is_read_in_both_forms() {
        assert_eq!(until(2031).as_deref(), Some("2031-02-28T00:00:00Z"));
        assert_eq!(until(2099).as_deref(), Some("2099-02-28T00:00:00Z"));
    }

    #[test]
    fn what_is_no_certificate_has_no_end_and_is_no_trouble() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["x".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let der = certificate.der();
        for len in 0..100.min(der.len()) {
            assert_eq!(not_after(&der[..len]), None);
        }
        assert_eq!(not_after(&[0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF]), None);
        assert_eq!(time(UTC_TIME, "3102280000"), None);
        assert_eq!(time(UTC_TIME, "319928000000Z"), None);
    }
}
