//! Any bytes as a packet.

use super::rules::{self, WIDE};
use super::sealing::seal;
use super::{assert_hex, assert_name, assert_printable, decoded, envelope, inside};

use meshbox::crypto::channel::channel_hash;
use meshbox::packet::hash::{Digest, Formula};
use meshbox::packet::header::Header;
use meshbox::packet::payload::Group;
use meshbox::packet::{Error, Frame, Packet, Path, Payload, PayloadType, hex};
use meshbox::record::{Reading, Rules};

use std::collections::HashSet;
use std::sync::LazyLock;

/// What holds for all bytes.
pub(crate) fn check(bytes: &[u8]) {
    let text = hex::Hex(bytes).to_string();
    assert_eq!(hex::parse(&text).as_deref(), Ok(bytes));
    match Packet::parse(bytes) {
        Err(error) => no_packet(bytes, error),
        Ok(packet) => {
            let frame = Frame::parse(bytes).expect("a packet is a frame");
            assert_eq!(Packet::of(&frame), packet);
            whole(&packet, bytes);
            outline(&packet, bytes);
            questions(&packet, bytes);
            hashes(&packet, &frame);
            for signed in [None, Some(true), Some(false)] {
                reading(frame, signed);
            }
            secrets(&packet);
        }
    }
    envelope::message("meshcore/SJC/7E7662676F7F0850/packets", format!(r#"{{"raw":"{text}"}}"#));
}

fn no_packet(bytes: &[u8], error: Error) {
    assert_eq!(Frame::parse(bytes), Err(error));
    assert!(error.at() <= bytes.len(), "{error}");
    assert_name(error.name());
    assert_printable(&error.to_string());
}

/// No byte is lost, and none is made up.
fn whole(packet: &Packet<'_>, bytes: &[u8]) {
    assert_eq!(packet.to_bytes(), bytes);
    assert_eq!(Header::from_byte(bytes[0]).to_byte(), bytes[0]);
    assert_eq!(packet.transport.is_some(), packet.header.route.has_codes());
    assert_eq!(packet.payload.payload_type(), packet.header.payload_type);
    let rebuilt = Path::new(packet.path.size(), packet.path.bytes()).expect("a path that was read");
    assert_eq!(rebuilt, packet.path);
}

/// The outline has every byte once, in order, and says something about each field.
fn outline(packet: &Packet<'_>, bytes: &[u8]) {
    let mut at = 0;
    for line in &packet.outline().lines {
        assert_eq!(line.at, at, "{line:?}");
        assert_eq!(bytes.get(at..at + line.bytes.len()), Some(&line.bytes[..]), "{line:?}");
        assert_printable(line.name);
        assert_printable(&line.meaning);
        at += line.bytes.len();
    }
    assert_eq!(at, bytes.len());
}

fn questions(packet: &Packet<'_>, bytes: &[u8]) {
    assert_printable(&packet.to_string());
    if let Some(size) = packet.hash_size() {
        assert!(packet.hops().all(|hop| hop.len() == size));
    }
    assert!(packet.snrs_db().all(|db| (-32.0..32.0).contains(&db)));
    let anomalies = packet.anomalies();
    let distinct: HashSet<_> = anomalies.iter().map(|anomaly| anomaly.name()).collect();
    assert_eq!(distinct.len(), anomalies.len(), "{anomalies:?}");
    distinct.into_iter().for_each(assert_name);
    if let Payload::Undecoded { why, .. } = packet.payload {
        assert!(why.at() <= bytes.len(), "{why}");
        assert_name(why.name());
        assert_printable(&why.to_string());
    }
}

/// Path and codes are in no hash, the route is not in the firmware's; a TRACE is another at each hop.
fn hashes(packet: &Packet<'_>, frame: &Frame<'_>) {
    let bare = Packet { path: Path::EMPTY, transport: None, ..*packet };
    same_hash(frame, &bare, Formula::CoreScope202604);
    if packet.header.payload_type != PayloadType::Trace {
        same_hash(frame, &Packet::flood(None, Path::EMPTY, packet.payload), Formula::Firmware);
    }
}

fn same_hash(frame: &Frame<'_>, other: &Packet<'_>, formula: Formula) {
    let digest = Digest::of(frame, formula);
    assert_hex(&digest.content_hash().to_string(), 8);
    let other = other.to_bytes();
    assert_eq!(Digest::of(&Frame::parse(&other).expect("no longer than it was"), formula), digest);
}

/// All that the pipeline and `meshbox decode` ask of a packet.
fn reading(frame: Frame<'_>, signed: Option<bool>) {
    let reading = Reading::of(frame, &RULES, |_, _| signed);
    let json = decoded(&reading.decoded().to_json());
    let path: Vec<String> = serde_json::from_str(&reading.path_json()).expect("path_json is JSON");
    assert_eq!(path, reading.hops());
    let scoped = frame.transport.is_some_and(|codes| codes.scope != 0);
    assert_eq!(reading.scope_name(&RULES).is_some(), scoped);
    let group_text = matches!(reading.packet.payload, Payload::GroupText(_));
    assert_eq!(reading.channel_column().is_some(), group_text);
    let key = reading.from_pubkey();
    assert_eq!(key.is_some(), reading.advert().is_some());
    if let Some(key) = key {
        assert_hex(&key, 32);
        assert_eq!(json["pubKey"], key);
        assert_eq!(reading.signature_valid(), signed);
    }
}

/// Random bytes do not get past a MAC: the same bytes, sealed, do.
fn secrets(packet: &Packet<'_>) {
    let kind = packet.header.payload_type;
    match packet.payload {
        Payload::GroupText(group) | Payload::GroupData(group) => {
            for (channel, key) in rules::keys() {
                if channel == "#test" || channel == WIDE {
                    opened(&channel, &key, group.ciphertext, kind);
                }
            }
        }
        Payload::AnonRequest(request) => inside::check(kind, request.ciphertext),
        Payload::Request(peer)
        | Payload::Response(peer)
        | Payload::Text(peer)
        | Payload::Path(peer) => inside::check(kind, peer.ciphertext),
        _ => {}
    }
}

/// A channel message with `plain` inside opens, unless it is no plain text or too long for a packet.
fn opened(channel: &str, key: &[u8], plain: &[u8], kind: PayloadType) {
    let (mac, ciphertext) = seal(key, plain, 11);
    let group = Group { channel_hash: channel_hash(key), mac, ciphertext: &ciphertext };
    let text = kind == PayloadType::GroupText;
    let payload = if text { Payload::GroupText(group) } else { Payload::GroupData(group) };
    let bytes = Packet::flood(None, Path::EMPTY, payload).to_bytes();
    let reading = Reading::of(Frame::parse(&bytes).expect("it fits"), &RULES, |_, _| None);
    let json = decoded(&reading.decoded().to_json());
    if json["decryptionStatus"] == "decrypted" {
        assert_eq!(json["channel"], channel);
        assert_eq!(json["type"], if text { "CHAN" } else { "GRP_DATA" });
    } else {
        assert!(text, "{json}");
        assert_eq!(json["decryptionStatus"], "decryption_failed");
    }
}

static RULES: LazyLock<Rules> = LazyLock::new(|| rules::rules(false));
