//! Bytes to a packet, without any key.

use crate::fixture::{self, ONE_OF_EACH};

use divan::{Bencher, black_box};
use meshbox::packet::hash::{Digest, Formula};
use meshbox::packet::{Frame, Packet, hex};
use meshbox::record::{Decoded, Inside};

/// Header, path and payload.
#[divan::bench(args = ONE_OF_EACH)]
fn parse(bencher: Bencher<'_, '_>, name: &str) {
    let bytes = fixture::bytes(name);
    bencher.bench(|| Packet::parse(black_box(&bytes)));
}

/// Back to the bytes.
#[divan::bench(args = ONE_OF_EACH)]
fn emit(bencher: Bencher<'_, '_>, name: &str) {
    let bytes = fixture::bytes(name);
    let packet = Packet::parse(&bytes).unwrap();
    bencher.bench(|| black_box(&packet).to_bytes());
}

/// CoreScope's `decoded_json`, nothing opened.
#[divan::bench(args = ONE_OF_EACH)]
fn decoded_json(bencher: Bencher<'_, '_>, name: &str) {
    let bytes = fixture::bytes(name);
    let packet = Packet::parse(&bytes).unwrap();
    let decoded = Decoded { packet: &packet, inside: &Inside::Nothing };
    bencher.bench(|| black_box(decoded).to_json());
}

#[divan::bench(args = ["ack/four_bytes", "grp_txt/heard_public", "advert/heard_repeater"])]
fn hash(bencher: Bencher<'_, '_>, name: &str) {
    let bytes = fixture::bytes(name);
    let frame = Frame::parse(&bytes).unwrap();
    bencher.bench(|| Digest::of(black_box(&frame), Formula::Firmware).content_hash());
}

#[divan::bench(args = ["ack/four_bytes", "grp_txt/heard_public", "advert/heard_repeater"])]
fn from_hex(bencher: Bencher<'_, '_>, name: &str) {
    let raw = fixture::raw(name);
    bencher.bench(|| hex::parse(black_box(&raw)));
}
