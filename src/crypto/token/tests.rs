//! Facts about tokens: the golden vector, every form that uploaders send, everything that is refused.

use super::*;
use proptest::prelude::*;
use sha2::{Digest, Sha512};

/// A token that libsodium has verified; the seed of its key is 00 to 1f.
const GOLDEN: &str = "eyJhbGciOiJFZDI1NTE5IiwidHlwIjoiSldUIn0.eyJwdWJsaWNLZXkiOiIwM0ExMDdCRkYzQ0UxMEJFMUQ3MEREMThFNzRCQzA5OTY3RTRENjMwOUJBNTBENUYxRERDODY2NDEyNTUzMUI4IiwiaWF0IjoxNzYwMDAwMDAwLCJleHAiOjE3NjAwMDM2MDAsImF1ZCI6Imh1Yi5leGFtcGxlLm9yZyIsImNsaWVudCI6Im1lc2hjb3JldG9tcXR0LzEuMS4wIn0.3E993C977D48BA326DCBC05844F901AA12BF0DFAE273B44BDBCD1BE913D45673661EBCD61A3E70E540DE0233FBD2AE97488241BACF220C1D0E6E63DBF57C5402";
const KEY: &str = "03A107BFF3CE10BE1D70DD18E74BC09967E4D6309BA50D5F1DDC8664125531B8";
const ISSUED: i64 = 1_760_000_000;

fn signing_key() -> SigningKey {
    let seed: Vec<u8> = (0..32).collect();
    SigningKey::from_expanded(&Sha512::digest(seed).into())
}

fn golden_claims() -> Claims {
    Claims {
        issued_at_s: ISSUED,
        expires_at_s: Some(ISSUED + 3_600),
        audience: vec!["hub.example.org".into()],
        client: Some("meshcoretomqtt/1.1.0".into()),
        ..Claims::default()
    }
}

/// A token with these claims as they are written, signed with the golden key.
fn signed(header: &str, claims: &str) -> String {
    use ed25519_dalek::Signer;
    let seed: Vec<u8> = (0..32).collect();
    let key = ed25519_dalek::SigningKey::from_bytes(seed[..].try_into().unwrap());
    let text = [header, claims].map(|part| BASE64URL_NOPAD.encode(part.as_bytes())).join(".");
    format!("{text}.{}", hex::encode(key.sign(text.as_bytes()).to_bytes()))
}

const HEADER: &str = r#"{"alg":"Ed25519","typ":"JWT"}"#;

fn with_claims(claims: &str) -> String {
    signed(HEADER, &claims.replace("KEY", KEY))
}

/// Judged for `hub.example.org` and the golden key a minute after it was issued.
fn judge(token: &str) -> Result<Claims, Error> {
    judge_at(token, Some(ISSUED + 60))
}

fn judge_at(token: &str, now_s: Option<i64>) -> Result<Claims, Error> {
    let token = Token::parse(token.as_bytes())?;
    let public_key = key_in(&format!("v1_{KEY}")).unwrap();
    let audiences = ["192.168.1.10".to_owned(), "hub.example.org".to_owned()];
    let expected =
        Expected { public_key: Some(&public_key), audiences: &audiences, now_s, skew_s: 300 };
    token.judge(&expected).map(|()| token.claims)
}

fn refused(token: &str) -> &'static str {
    judge(token).expect_err(token).name()
}

#[test]
fn the_golden_token_verifies_and_is_minted_again_to_the_byte() {
    assert_eq!(judge(GOLDEN), Ok(golden_claims()));
    let key = signing_key();
    assert_eq!(hex::encode_upper(key.public_key()), KEY);
    assert_eq!(mint(&key, &golden_claims()), GOLDEN);
    assert_eq!(username(key.public_key()), format!("v1_{KEY}"));
}

#[test]
fn every_form_that_uploaders_send_is_taken() {
    let (start, signature) = GOLDEN.rsplit_once('.').unwrap();
    let lower = format!("{start}.{}", signature.to_ascii_lowercase());
    let forms = [
        lower,
        format!("  {GOLDEN}\r\n"),
        with_claims(r#"{"publicKey":"KEY","iat":1760000000,"aud":"hub.example.org"}"#),
        with_claims(
            r#"{"aud":"HUB.example.org.","exp":1760003600,"iat":1760000000,"publicKey":"KEY"}"#,
        ),
        with_claims(
            r#"{"publicKey":"KEY","iat":1760000000.75,"exp":1760003600.5,"aud":"192.168.1.10"}"#,
        ),
        with_claims(
            r#"{"publicKey":"KEY","iat":1760000000,"exp":null,"aud":"hub.example.org","email":"","owner":""}"#,
        ),
        with_claims(
            r#"{"publicKey":"KEY","iat":1760000000,"aud":["x","hub.example.org"],"more":{"a":[1]},"client":7}"#,
        ),
        with_claims(&format!(
            r#"{{"publicKey":"{}","iat":1760000000,"aud":"hub.example.org"}}"#,
            KEY.to_ascii_lowercase()
        )),
        with_claims(
            r#"{"publicKey":"KEY","iat":1760000000,"exp":9999999999999999999,"aud":"hub.example.org"}"#,
        ),
    ];
    for token in forms {
        let claims = judge(&token).unwrap_or_else(|error| panic!("{token}: {error}"));
        assert_eq!((claims.issued_at_s, claims.owner, claims.email), (ISSUED, None, None));
    }
}

#[test]
fn owner_email_and_client_are_read_and_minted() {
    let claims = Claims {
        owner: Some("AB".repeat(32)),
        email: Some("me@example.org".into()),
        ..golden_claims()
    };
    let token = mint(&signing_key(), &claims);
    assert_eq!(judge(&token), Ok(claims.clone()));
    assert!(!format!("{claims:?}").contains("example.org\"}"));
    let shown = format!("{claims:?} {:?}", Token::parse(token.as_bytes()).unwrap());
    assert!(!shown.contains("me@") && !shown.contains("ABAB"), "{shown}");
}

#[test]
fn what_is_wrong_has_a_name_and_says_what_was_found() {
    let good = |from: &str, to: &str| {
        let claims =
            r#"{"publicKey":"KEY","iat":1760000000,"exp":1760003600,"aud":"hub.example.org"}"#;
        assert!(claims.contains(from), "{from}");
        with_claims(&claims.replace(from, to))
    };
    let other = "0".repeat(64);
    let flip = |at: usize| {
        let mut token = GOLDEN.as_bytes().to_vec();
        token[at] ^= 1;
        String::from_utf8(token).unwrap()
    };
    let cases = [
        ("", "token_malformed"),
        ("hunter2", "token_malformed"),
        ("a.b.c.d", "token_malformed"),
        ("..", "token_malformed"),
        (&GOLDEN[..GOLDEN.len() - 1], "token_malformed"),
        (&GOLDEN.replace(".eyJ", "=.eyJ"), "token_malformed"),
        (&"x".repeat(LONGEST + 1), "token_too_long"),
        (&flip(GOLDEN.len() - 1), "token_signature_wrong"),
        (&signed(r#"{"alg":"EdDSA","typ":"JWT"}"#, "{}"), "token_of_another_kind"),
        (&signed(r#"{"alg":"none","typ":"JWT"}"#, "{}"), "token_of_another_kind"),
        (&signed(r#"{"alg":"Ed25519"}"#, "{}"), "token_of_another_kind"),
        (&signed("[]", "{}"), "token_malformed"),
        (&signed(HEADER, "7"), "token_malformed"),
        (&good("publicKey", "key"), "token_claim_missing"),
        (&good(KEY_WORD, "AB"), "token_claim_missing"),
        (&good(r#""iat":1760000000,"#, ""), "token_claim_missing"),
        (&good("1760000000", "\"now\""), "token_claim_missing"),
        (&good("1760003600", "true"), "token_claim_missing"),
        (&good("\"hub.example.org\"", "5"), "token_claim_missing"),
        (&good(KEY_WORD, &other), "token_of_another_key"),
        (&good("hub.example.org", "https://hub.example.org"), "token_audience_wrong"),
        (&good(",\"aud\":\"hub.example.org\"", ""), "token_audience_wrong"),
        (&good("1760003600", "1759999700"), "token_expired"),
        (&good("1760000000", "1760000361"), "token_from_the_future"),
    ];
    for (token, name) in cases {
        assert_eq!(refused(token), name, "{token}");
    }
}

const KEY_WORD: &str = "KEY";

#[test]
fn a_refusal_helps_whoever_set_the_uploader_up() {
    let line = |token: &str, now_s| judge_at(token, Some(now_s)).unwrap_err().to_string();
    assert_eq!(
        line(GOLDEN, ISSUED + 7_200),
        "the token expired 3600 s ago; is the gateway's clock right?"
    );
    assert_eq!(
        line(GOLDEN, ISSUED - 301),
        "the token is from 301 s in the future; is the gateway's clock right?"
    );
    let elsewhere =
        with_claims(r#"{"publicKey":"KEY","iat":1760000000,"aud":"https://hub\nexample.org"}"#);
    assert_eq!(
        line(&elsewhere, ISSUED),
        "the token is for \"https://hub\\nexample.org\", and we are \"192.168.1.10\", \
         \"hub.example.org\"; set the uploader's token audience to one of these, or add its name to \
         broker.audience"
    );
    let long = with_claims(&format!(
        r#"{{"publicKey":"KEY","iat":1760000000,"aud":"{}"}}"#,
        "x".repeat(2_000)
    ));
    assert!(line(&long, ISSUED).len() < 400);
}

#[test]
fn skew_is_tolerated_in_both_directions_and_an_untrusted_clock_judges_no_times() {
    for now_s in [ISSUED - 300, ISSUED, ISSUED + 3_600, ISSUED + 3_900] {
        assert!(judge_at(GOLDEN, Some(now_s)).is_ok(), "{now_s}");
    }
    for now_s in [ISSUED - 301, ISSUED + 3_901, i64::MIN, i64::MAX] {
        assert!(judge_at(GOLDEN, Some(now_s)).is_err(), "{now_s}");
    }
    assert!(judge_at(GOLDEN, None).is_ok());
}

#[test]
fn a_key_for_which_anybody_can_sign_does_not_log_in() {
    // The neutral element as key and R, S = 0: verifies under the looser rules.
    let key = format!("01{}", "0".repeat(62));
    let text = signed(HEADER, &format!(r#"{{"publicKey":"{key}","iat":1}}"#));
    let (start, _) = text.rsplit_once('.').unwrap();
    let token = Token::parse(format!("{start}.{key}{}", "0".repeat(64)).as_bytes()).unwrap();
    let expected = Expected { public_key: None, audiences: &[], now_s: None, skew_s: 0 };
    assert_eq!(token.judge(&expected), Err(Error::Signature));
}

#[test]
fn the_key_is_in_the_user_name_in_any_case() {
    for name in [format!("v1_{KEY}"), format!("V1_{}", KEY.to_lowercase())] {
        assert_eq!(key_in(&name).map(hex::encode_upper).as_deref(), Some(KEY), "{name}");
    }
    for name in ["v1_", "v1_AB12", "v1", "", "gateway", &format!("v2_{KEY}"), "v1é"] {
        assert_eq!(key_in(name), None, "{name}");
    }
    assert!(is_announced_by("v1_AB12") && !is_announced_by("v1") && !is_announced_by("é1_"));
}

proptest! {
    #[test]
    fn a_changed_token_never_verifies(at in 0..GOLDEN.len(), byte: u8) {
        let mut token = GOLDEN.as_bytes().to_vec();
        let same = token[at].eq_ignore_ascii_case(&byte) && at > GOLDEN.len() - 129;
        prop_assume!(token[at] != byte && !same);
        token[at] = byte;
        let judged = Token::parse(&token).and_then(|token| {
            let expected = Expected { public_key: None, audiences: &[], now_s: None, skew_s: 0 };
            token.judge(&expected)
        });
        prop_assert!(judged.is_err());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, dots in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[0-9a-f]{128}") {
        let _ = Token::parse(&bytes);
        let _ = Token::parse(dots.as_bytes());
    }

    #[test]
    fn any_claims_are_judged_without_a_panic(claims in "\\{(\"(publicKey|iat|exp|aud)\":(-?[0-9]{1,25}(\\.[0-9]{1,3})?|\"[a-f0-9]{0,64}\"|null|\\[\\]),?){0,6}\\}", now: i64, skew: i64) {
        if let Ok(token) = Token::parse(with_claims(&claims).as_bytes()) {
            let expected = Expected { public_key: None, audiences: &[], now_s: Some(now), skew_s: skew };
            let _ = token.judge(&expected);
        }
    }

    #[test]
    fn what_is_minted_verifies(private: [u8; 32], prefix: [u8; 32], iat in 0..i64::MAX, aud in ".{0,30}") {
        let mut expanded = [0; 64];
        expanded[..32].copy_from_slice(&private);
        expanded[32..].copy_from_slice(&prefix);
        let key = SigningKey::from_expanded(&expanded);
        let audience = vec![aud];
        let claims = Claims { issued_at_s: iat, audience: audience.clone(), ..Claims::default() };
        let token = Token::parse(mint(&key, &claims).as_bytes()).unwrap();
        let expected = Expected {
            public_key: Some(key.public_key()), audiences: &audience, now_s: Some(iat), skew_s: 0,
        };
        prop_assert_eq!(token.judge(&expected), Ok(()));
        prop_assert_eq!(token.claims, claims);
    }
}
