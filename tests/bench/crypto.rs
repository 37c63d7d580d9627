//! What keys tell: channel messages, signatures, scopes.

use crate::fixture;

use divan::{Bencher, black_box};
use meshbox::crypto::channel::{Keyring, Opened, Sealed, hashtag_key};
use meshbox::crypto::peer::NodeKey;
use meshbox::crypto::scope::Regions;
use meshbox::packet::{Frame, Packet, Payload, hex};
use meshbox::record::signature_is_good;

/// `#test` and 299 other hashtag channels: more than one a channel hash.
pub(crate) fn three_hundred() -> Keyring {
    let names = (1..300).map(|n| format!("#channel-{n}")).chain(["#test".to_owned()]);
    Keyring::new(names.map(|name| (name.clone(), hashtag_key(&name).to_vec()))).unwrap()
}

/// The nodes of `txt_msg/for_known_keys`, whose keys the firmware publishes (`src/Identity.cpp`): who
/// receives it, and who sends it.
pub(crate) fn receiver() -> NodeKey {
    const PRIVATE: &str = "18469d6140447f77de13cd8d761e605431f52269fbff43b0925752ed9e6745435dc6a86d2568af8b70d3365db3f88234760c8ecc645ce469829bc45b65f1d5d5";
    NodeKey::from_expanded(&hex::parse(PRIVATE).unwrap().try_into().unwrap())
}

pub(crate) const SENDER: [u8; 32] = [
    0x1e, 0xc7, 0x71, 0x75, 0xb0, 0x91, 0x8e, 0xd2, 0x06, 0xf9, 0xae, 0x04, 0xec, 0x13, 0x6d, 0x6d,
    0x5d, 0x43, 0x15, 0xbb, 0x26, 0x30, 0x54, 0x27, 0xf6, 0x45, 0xb4, 0x92, 0xe9, 0x35, 0x0c, 0x10,
];

/// A message in one of 300 channels.
#[divan::bench]
fn open_one_of_300(bencher: Bencher<'_, '_>) {
    open(bencher, "grp_txt/in_test", true);
}

/// A message in a channel that is not among 300: the candidates of its channel hash are tried.
#[divan::bench]
fn open_none_of_300(bencher: Bencher<'_, '_>) {
    open(bencher, "grp_txt/heard_scoped", false);
}

fn open(bencher: Bencher<'_, '_>, name: &str, opens: bool) {
    let ring = three_hundred();
    let bytes = fixture::bytes(name);
    let Payload::GroupText(group) = Packet::parse(&bytes).unwrap().payload else {
        panic!("{name} is no channel message")
    };
    let (channel_hash, mac, ciphertext) = (group.channel_hash, group.mac, group.ciphertext);
    let sealed = Sealed { channel_hash, mac, ciphertext };
    assert_eq!(matches!(ring.open_text(sealed), Opened::With { .. }), opens);
    assert!(ring.channels(channel_hash).count() > 0);
    bencher.bench(|| ring.open_text(black_box(sealed)));
}

/// At the start, and when the configuration is read again.
#[divan::bench]
fn build_300_keys(bencher: Bencher<'_, '_>) {
    bencher.bench(three_hundred);
}

#[divan::bench]
fn check_advert_signature(bencher: Bencher<'_, '_>) {
    let bytes = fixture::bytes("advert/heard_repeater");
    let Payload::Advert(advert) = Packet::parse(&bytes).unwrap().payload else {
        panic!("no advert")
    };
    assert!(signature_is_good(&advert));
    bencher.bench(|| signature_is_good(black_box(&advert)));
}

/// Once for each pair of nodes, then it is remembered.
#[divan::bench]
fn find_shared_secret(bencher: Bencher<'_, '_>) {
    let node = receiver();
    bencher.bench(|| node.shared_secret(black_box(&SENDER)));
}

/// A scope that is none of ten regions.
#[divan::bench]
fn look_for_scope_among_10(bencher: Bencher<'_, '_>) {
    let regions = Regions::new((0..10).map(|n| format!("#region-{n}")));
    let bytes = fixture::bytes("grp_txt/heard_scoped");
    let frame = Frame::parse(&bytes).unwrap();
    let (code, kind) = (frame.transport.unwrap().scope, frame.header.payload_type.nibble());
    assert_eq!(regions.name_of(code, kind, frame.body), None);
    bencher.bench(|| regions.name_of(black_box(code), kind, black_box(frame.body)));
}
