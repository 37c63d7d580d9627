//! What was sealed for a peer, opened by one of our nodes.

use super::decoded;
use super::sealing::seal;

use curve25519_dalek::edwards::CompressedEdwardsY;
use meshbox::crypto::peer::NodeKey;
use meshbox::packet::inside::Contents;
use meshbox::packet::payload::{AnonRequest, Peer};
use meshbox::packet::{Frame, Packet, Path, Payload, PayloadType};
use meshbox::record::{Inside, Opener, Reading, Rules};

use std::cell::RefCell;
use std::sync::LazyLock;

/// What holds for any plaintext of any payload type.
pub(super) fn check(kind: PayloadType, plain: &[u8]) {
    let contents = Contents::parse(kind, plain);
    if let Some(contents) = &contents {
        let mut emitted = Vec::new();
        contents.emit(&mut emitted);
        emitted.resize(emitted.len().max(plain.len()), 0);
        assert_eq!(Contents::parse(kind, &emitted).as_ref(), Some(contents));
        assert!(!format!("{contents:?}").is_empty());
        let _ = contents.is_telling(plain);
    }
    opened(kind, plain);
}

/// The same bytes, sent by one of our nodes to another, are opened if a node would write them; and
/// what may be a secret is told to nobody.
fn opened(kind: PayloadType, plain: &[u8]) {
    let [ours, other] = &*NODES;
    let (key, other) = (ours.public_key(), other.public_key());
    let (mac, ciphertext) = seal(&*SECRET, plain, 9);
    let peer = Peer { dest: key[0], source: other[0], mac, ciphertext: &ciphertext };
    let payload = match kind {
        PayloadType::Request => Payload::Request(peer),
        PayloadType::Response => Payload::Response(peer),
        PayloadType::Text => Payload::Text(peer),
        PayloadType::Path => Payload::Path(peer),
        _ => Payload::AnonRequest(AnonRequest {
            dest: key[0],
            sender_key: other,
            mac,
            ciphertext: &ciphertext,
        }),
    };
    let bytes = Packet::direct(None, Path::EMPTY, payload).to_bytes();
    let mut reading = Reading::of(Frame::parse(&bytes).expect("it fits"), &RULES, |_, _| None);
    OPENER.with_borrow_mut(|opener| opener.take(&reading.packet, &mut reading.inside));
    let mut padded = plain[..plain.len().min(ciphertext.len())].to_vec();
    padded.resize(ciphertext.len(), 0);
    let readable = Contents::parse(kind, &padded).is_some();
    let Inside::Unsealed(unsealed) = &reading.inside else {
        assert!(!readable, "{kind} {padded:?} stays closed");
        return;
    };
    assert_eq!(unsealed.contents(), Contents::parse(kind, &padded));
    let json = decoded(&reading.decoded().to_json());
    let told = &json["meshbox"]["opened"];
    assert!(told["kind"].is_string(), "{json}");
    if matches!(told["kind"].as_str(), Some("command" | "login")) {
        let secret = ["text", "parameters", "body"].iter().any(|key| !told[key].is_null());
        assert!(!secret, "{json}");
    }
}

/// Two nodes of ours.
pub(super) static NODES: LazyLock<[NodeKey; 2]> =
    LazyLock::new(|| [PRIVATE, [0x77; 64]].map(|key| NodeKey::from_expanded(&key)));

const PRIVATE: [u8; 64] = [0x48; 64];

/// What the two share.
static SECRET: LazyLock<[u8; 32]> = LazyLock::new(|| {
    let other = CompressedEdwardsY(*NODES[1].public_key()).decompress().expect("a point");
    other.to_montgomery().mul_clamped([PRIVATE[0]; 32]).to_bytes()
});

static RULES: LazyLock<Rules> = LazyLock::new(Rules::default);

thread_local! {
    static OPENER: RefCell<Opener> =
        RefCell::new(Opener::new(NODES.to_vec()).expect("there are keys"));
}
