//! What holds for all bytes and for all packets.

use super::payload::app_data::{Fields, Flags, NodeType, Position};
use super::payload::control::Subtype;
use super::payload::{
    Ack, Advert, AnonRequest, AppData, Control, Group, Multipart, Peer, Trace, advert,
};
use super::*;

use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_bytes_are_a_packet_or_a_named_error_with_an_offset(bytes in vec(any::<u8>(), 0..400)) {
        look_at(&bytes)?;
    }

    /// Random bytes rarely get past the path; these do.
    #[test]
    fn any_payload_is_read_or_kept(
        header in any::<u8>(),
        codes in any::<[u8; 4]>(),
        path in path(),
        body in vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = vec![header];
        if Header::from_byte(header).route.has_codes() {
            bytes.extend(codes);
        }
        bytes.push(path.length_byte());
        bytes.extend(path.bytes());
        bytes.extend(body);
        look_at(&bytes)?;
    }

    #[test]
    fn what_is_emitted_is_read_back(packet in packet()) {
        let bytes = packet.to_bytes();
        prop_assert_eq!(Packet::parse(&bytes), Ok(packet));
        look_at(&bytes)?;
    }

    #[test]
    fn a_packet_cut_short_errs_or_is_a_shorter_packet(packet in packet()) {
        let bytes = packet.to_bytes();
        for end in 0..bytes.len() {
            look_at(&bytes[..end])?;
        }
    }

    #[test]
    fn any_text_is_hex_or_not(text in any::<String>()) {
        if let Err(error) = hex::parse(&text) {
            prop_assert!(error.at() <= text.chars().count());
        }
    }

    #[test]
    fn hex_in_any_case_and_spacing_is_read(bytes in vec(any::<u8>(), 0..300), every in 1usize..9) {
        let lower = hex::Hex(&bytes).to_string();
        let spaced: Vec<&str> =
            lower.as_bytes().chunks(every).map(|c| std::str::from_utf8(c).unwrap()).collect();
        prop_assert_eq!(hex::parse(&spaced.join(" \n")), Ok(bytes.clone()));
        prop_assert_eq!(hex::parse(&format!("{:X}", hex::Hex(&bytes))), Ok(bytes));
    }
}

/// Everything that can be asked about bytes can be asked, and no byte of a packet is lost.
fn look_at(bytes: &[u8]) -> Result<(), TestCaseError> {
    let packet = match Packet::parse(bytes) {
        Ok(packet) => packet,
        Err(error) => {
            prop_assert!(error.at() <= bytes.len(), "{error}");
            prop_assert!(!error.to_string().is_empty());
            return Ok(());
        }
    };
    prop_assert_eq!(packet.to_bytes(), bytes);
    let outline = packet.outline();
    let mut at = 0;
    for line in &outline.lines {
        prop_assert_eq!(line.at, at);
        prop_assert!(!line.meaning.contains(char::is_control), "{:?}", line);
        at += line.bytes.len();
    }
    prop_assert_eq!(outline.lines.iter().flat_map(|l| l.bytes.clone()).collect::<Vec<_>>(), bytes);
    prop_assert!(!packet.to_string().contains(char::is_control));
    let _ = (packet.anomalies(), packet.hash_size(), packet.hops().count());
    prop_assert!(packet.snrs_db().all(|db| (-32.0..32.0).contains(&db)));
    if let Payload::Undecoded { why, .. } = packet.payload {
        prop_assert!(why.at() <= bytes.len());
    }
    Ok(())
}

/// Bytes that live as long as the test does: a packet borrows them.
fn bytes(
    length: impl Into<proptest::collection::SizeRange>,
) -> impl Strategy<Value = &'static [u8]> {
    vec(any::<u8>(), length).prop_map(|bytes| &*bytes.leak())
}

fn array<const N: usize>() -> impl Strategy<Value = &'static [u8; N]> {
    any::<[u8; N]>().prop_map(|array| &*Box::leak(Box::new(array)))
}

fn path() -> impl Strategy<Value = Path<'static>> {
    (1u8..=3)
        .prop_flat_map(|size| {
            let most: usize = [63, 32, 21][usize::from(size) - 1];
            (Just(size), 0..=most)
        })
        .prop_flat_map(|(size, count)| (Just(size), bytes(usize::from(size) * count)))
        .prop_map(|(size, bytes)| Path::new(size, bytes).unwrap())
}

fn packet() -> impl Strategy<Value = Packet<'static>> {
    let codes = (any::<u16>(), any::<u16>());
    let codes = codes.prop_map(|(scope, home)| TransportCodes { scope, home });
    (any::<bool>(), proptest::option::of(codes), path(), payload()).prop_map(
        |(flood, transport, path, payload)| {
            let put_together = if flood { Packet::flood } else { Packet::direct };
            put_together(transport, path, payload)
        },
    )
}

fn payload() -> impl Strategy<Value = Payload<'static>> {
    prop_oneof![
        peer().prop_map(Payload::Request),
        peer().prop_map(Payload::Response),
        peer().prop_map(Payload::Text),
        peer().prop_map(Payload::Path),
        (any::<[u8; 4]>(), bytes(0..5)).prop_map(|(code, extra)| Payload::Ack(Ack { code, extra })),
        advert().prop_map(Payload::Advert),
        group().prop_map(Payload::GroupText),
        group().prop_map(Payload::GroupData),
        (any::<u8>(), array(), any::<[u8; 2]>(), bytes(0..150)).prop_map(
            |(dest, sender_key, mac, ciphertext)| {
                Payload::AnonRequest(AnonRequest { dest, sender_key, mac, ciphertext })
            }
        ),
        (any::<u32>(), any::<u32>(), any::<u8>(), bytes(0..176)).prop_map(
            |(tag, auth_code, flags, route)| Payload::Trace(Trace { tag, auth_code, flags, route })
        ),
        (0u8..16, 0u8..16, bytes(0..184)).prop_map(|(remaining, inner, bytes)| {
            let inner_type = PayloadType::from_nibble(inner);
            Payload::Multipart(Multipart { remaining, inner_type, inner: bytes })
        }),
        control().prop_map(Payload::Control),
        (12u8..15, bytes(0..185))
            .prop_map(|(kind, bytes)| Payload::Reserved(PayloadType::from_nibble(kind), bytes)),
        bytes(0..185).prop_map(Payload::RawCustom),
    ]
}

fn peer() -> impl Strategy<Value = Peer<'static>> {
    (any::<u8>(), any::<u8>(), any::<[u8; 2]>(), bytes(0..181))
        .prop_map(|(dest, source, mac, ciphertext)| Peer { dest, source, mac, ciphertext })
}

fn group() -> impl Strategy<Value = Group<'static>> {
    (any::<u8>(), any::<[u8; 2]>(), bytes(0..182))
        .prop_map(|(channel_hash, mac, ciphertext)| Group { channel_hash, mac, ciphertext })
}

fn advert() -> impl Strategy<Value = Advert<'static>> {
    (array(), any::<u32>(), array(), app_data(), bytes(0..50)).prop_map(
        |(public_key, timestamp, signature, app_data, beyond)| {
            let mut written = Vec::new();
            app_data.emit(&mut written);
            // There is only something beyond when the 32 bytes are full.
            let beyond = if written.len() == advert::MAX_APP_DATA { beyond } else { &[] };
            Advert { public_key, timestamp, signature, app_data, beyond }
        },
    )
}

fn app_data() -> impl Strategy<Value = AppData<'static>> {
    let position = proptest::option::of((any::<i32>(), any::<i32>()));
    let features = proptest::option::of(any::<u16>());
    let fields = (0u8..16, position, features.clone(), features, any::<bool>(), bytes(0..32));
    let fields = fields.prop_map(|(kind, position, feature1, feature2, named, tail)| {
        let fixed = 1
            + if position.is_some() { 8 } else { 0 }
            + if feature1.is_some() { 2 } else { 0 }
            + if feature2.is_some() { 2 } else { 0 };
        AppData::Fields(Fields {
            node_type: NodeType::from_nibble(kind),
            position: position.map(|(lat_e6, lon_e6)| Position { lat_e6, lon_e6 }),
            feature1,
            feature2,
            named,
            tail: &tail[..tail.len().min(advert::MAX_APP_DATA - fixed)],
        })
    });
    prop_oneof![
        fields,
        Just(AppData::Absent),
        bytes(0..8).prop_map(|rest| AppData::Truncated(Flags(0x92), rest)),
    ]
}

fn control() -> impl Strategy<Value = Control<'static>> {
    let since = (proptest::option::of(any::<u32>()), bytes(0..20));
    prop_oneof![
        (0u8..16, any::<u8>(), any::<u32>(), since).prop_map(
            |(low, filter, tag, (since, rest))| {
                // Four bytes or more after the tag are a date.
                let rest = if since.is_some() { rest } else { &rest[..rest.len().min(3)] };
                Control::DiscoverRequest { low, filter, tag, since, rest }
            }
        ),
        (0u8..16, any::<i8>(), any::<u32>(), bytes(0..40)).prop_map(
            |(kind, snr_quarter_db, tag, key)| Control::DiscoverResponse {
                node_type: NodeType::from_nibble(kind),
                snr_quarter_db,
                tag,
                key,
            }
        ),
        (any::<u8>(), bytes(0..5)).prop_map(|(first, body)| Control::Other { first, body }),
        (any::<u8>(), bytes(5..150))
            .prop_map(|(first, body)| Control::Other { first, body })
            .prop_filter("known kinds are read", |c| c.subtype() == Subtype::Unknown),
    ]
}
