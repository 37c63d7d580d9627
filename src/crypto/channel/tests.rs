use super::*;

use aes::Aes128;
use aes::cipher::BlockCipherEncrypt;
use proptest::collection::vec;
use proptest::prelude::*;

fn ring(keys: &[(&str, &[u8])]) -> Keyring {
    Keyring::new(keys.iter().map(|(name, key)| ((*name).to_owned(), key.to_vec()))).unwrap()
}

fn hashtags(names: &[&str]) -> Keyring {
    Keyring::new(names.iter().map(|n| ((*n).to_owned(), hashtag_key(n).to_vec()))).unwrap()
}

/// A channel payload as on air: hash, MAC, ciphertext.
fn sealed(payload: &[u8]) -> Sealed<'_> {
    Sealed { channel_hash: payload[0], mac: [payload[1], payload[2]], ciphertext: &payload[3..] }
}

/// Seals a plaintext as the firmware does.
fn seal(key: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut padded = plain.to_vec();
    padded.resize(plain.len().div_ceil(16) * 16, 0);
    let (blocks, _) = Block::slice_as_chunks_mut(&mut padded);
    Aes128::new(&Array(key[..16].try_into().unwrap())).encrypt_blocks(blocks);
    let mac = keyed_mac(key).chain_update(&padded).finalize().into_bytes();
    [&[channel_hash(key)], &mac[..2], &padded].concat()
}

fn with(channel: &str, timestamp: u32, sender: Option<&str>, message: &str) -> Opened<GroupText> {
    let content = GroupText { timestamp, sender: sender.map(Into::into), message: message.into() };
    Opened::With { channel: channel.into(), content }
}

#[track_caller]
fn check(ring: &Keyring, payload: &str, expected: &Opened<GroupText>) {
    let payload = hex::decode(payload).unwrap();
    assert_eq!(ring.open_text(sealed(&payload)), *expected);
}

#[test]
fn hashtag_keys_and_channel_hashes_are_the_firmwares() {
    for (name, key, hash) in [
        ("#test", "9cd8fcf22a47333b591d96a2b848b73f", 0xd9),
        ("#bot", "eb50a1bcb3e4e5d7bf69a57c9dada211", 0xca),
        ("#LongFast", "2cc3d22840e086105ad73443da2cacb8", 0x7d),
        ("#wardriving", "e3c26491e9cd321e3a6be50d57d54acf", 0x81),
    ] {
        assert_eq!(hex::encode(hashtag_key(name)), key);
        assert_eq!(channel_hash(&hashtag_key(name)), hash, "{name}");
    }
    for (name, key) in [
        ("#General", "649af2cab73ed5a890890a5485a0c004"),
        ("#MeshCore", "dcf73f393fa217f6b28fcec6ffc411ad"),
    ] {
        assert_eq!(hex::encode(hashtag_key(name)), key);
    }
    assert_eq!(channel_hash(&PUBLIC_KEY), 0x11);
    assert_eq!(hex::encode(PUBLIC_KEY), "8b3387e9c5cdea6ac9e5edbaa115cd72");
}

#[test]
fn a_public_message_heard_on_air_opens_without_any_configuration() {
    let payload = "11C3C1354D619BAE9590E4D177DB7EEAF982F5BDCF78005D75157D9535FA90178F785D";
    check(&Keyring::default(), payload, &with("Public", 1758484279, Some("🌲 Tree"), "☁️"));
    check(&ring(&[]), payload, &with("Public", 1758484279, Some("🌲 Tree"), "☁️"));
}

#[test]
fn hashtag_messages_heard_on_air_open_with_their_keys() {
    let bot = hashtags(&["#test", "#bot"]);
    let payload = "ca78b9ab0775d477c1f6490a398bf4edc75240";
    check(&bot, payload, &with("#bot", 1772919297, Some("Roy B V4"), "P"));
    let payload = "cab3b15626481a5ba64247ab25766e410b026e0678a32da9f0c3946fae5b714cab170f";
    check(&bot, payload, &with("#bot", 1772918551, Some("Howl 👾"), "prefix 0101"));
    check(&hashtags(&["#test"]), payload, &Opened::Failed);
}

#[test]
fn a_message_under_another_channels_hash_is_not_opened() {
    // CoreScope tries every key and would open it; the firmware goes by the channel hash.
    let payload = "AAD176F9AEBCD82B0000E9DA2CC2596692C40B9D2CBC5942EF0528152A42B26B93CA5E";
    check(&hashtags(&["#LongFast"]), payload, &Opened::Failed);
    let payload = payload.replacen("AA", "7D", 1);
    let expected = with("#LongFast", 1_700_000_000, Some("Bob"), "Testing 123");
    check(&hashtags(&["#LongFast"]), &payload, &expected);
}

#[test]
fn a_key_of_32_bytes_ciphers_with_16_and_authenticates_with_all() {
    let key: Vec<u8> = (0..32).collect();
    let payload = "632fe11b36a8e03f81b1169dcd75f63482316b";
    check(&ring(&[("wide", &key)]), payload, &with("wide", 1772919297, Some("a"), "b"));
    check(&ring(&[("narrow", &key[..16])]), payload, &Opened::Failed);
}

#[test]
fn a_32_byte_key_with_an_empty_upper_half_is_the_16_byte_key() {
    let mut wide = hashtag_key("#test").to_vec();
    let payload = seal(&wide, b"\0\0\0\0\0a: b");
    wide.resize(32, 0);
    assert_eq!(channel_hash(&wide), 0xd9);
    let opened = ring(&[("t", &wide)]).open_text(sealed(&payload));
    assert_eq!(opened, with("t", 0, Some("a"), "b"));
}

#[test]
fn fewer_than_five_bytes_are_no_key_and_everything_else_that_does_not_open_failed() {
    let ours = hashtags(&["#bot"]);
    for len in 0..=40 {
        let ciphertext = vec![7; len];
        let status = |channel_hash| {
            ours.open_text(Sealed { channel_hash, mac: [0, 0], ciphertext: &ciphertext }).status()
        };
        let expected = if len < 5 { "no_key" } else { "decryption_failed" };
        assert_eq!(status(0xca), expected, "{len} bytes, a candidate");
        assert_eq!(status(0x59), expected, "{len} bytes, no candidate");
    }
    let payload = seal(&PUBLIC_KEY, b"\0\0\0\0\0a: b");
    assert_eq!(Keyring::empty().open_text(sealed(&payload)).status(), "no_key");
    assert_eq!(Keyring::default().open_text(sealed(&payload)).status(), "decrypted");
}

#[test]
fn half_a_block_is_not_opened_even_if_its_mac_holds() {
    let key = hashtag_key("#test");
    let ciphertext = [9; 24];
    let mac = keyed_mac(&key).chain_update(ciphertext).finalize().into_bytes();
    let sealed = Sealed { channel_hash: 0xd9, mac: [mac[0], mac[1]], ciphertext: &ciphertext };
    assert_eq!(hashtags(&["#test"]).open_text(sealed), Opened::Failed);
    assert_eq!(hashtags(&["#test"]).open_data(sealed), Opened::Failed);
}

#[test]
fn one_changed_bit_of_the_mac_keeps_it_shut() {
    let mut payload = seal(&PUBLIC_KEY, b"\0\0\0\0\0a: b");
    payload[2] ^= 1;
    assert_eq!(Keyring::default().open_text(sealed(&payload)), Opened::Failed);
}

#[test]
fn group_data_has_a_type_a_length_and_data() {
    let payload = hex::decode("7d882f989c1ea92bced603e59b25efd063594b").unwrap();
    let opened = hashtags(&["#LongFast"]).open_data(sealed(&payload));
    let data = Some(vec![0x10, 0x20, 0x30, 0x40, 0x50]);
    let content = GroupData { data_type: 0x1234, data_len: 5, data };
    assert_eq!(opened, Opened::With { channel: "#LongFast".into(), content });
}

#[test]
fn group_data_that_claims_more_than_is_there_keeps_type_and_length() {
    let open = |plain: &[u8]| {
        let payload = seal(&PUBLIC_KEY, plain);
        let Opened::With { content, .. } = Keyring::default().open_data(sealed(&payload)) else {
            panic!("it is sealed with our key")
        };
        content
    };
    let content = open(&[0x34, 0x12, 14]);
    assert_eq!(content, GroupData { data_type: 0x1234, data_len: 14, data: None });
    assert_eq!(open(&[0x34, 0x12, 13]).data, Some(vec![0; 13]));
    assert_eq!(open(&[0x34, 0x12, 0]).data, Some(vec![]));
}

#[test]
fn of_two_names_for_one_key_the_later_one_wins_and_public_comes_last() {
    let key = hashtag_key("#test");
    let payload = seal(&key, b"\0\0\0\0\0a: b");
    let ours = ring(&[("#test", &key), ("club", &key)]);
    assert_eq!(ours.channels(0xd9).collect::<Vec<_>>(), ["club", "#test"]);
    assert_eq!(ours.open_text(sealed(&payload)), with("club", 0, Some("a"), "b"));
    let ours = ring(&[("club", &PUBLIC_KEY)]);
    assert_eq!(ours.channels(0x11).collect::<Vec<_>>(), ["club", "Public"]);
}

#[test]
fn the_name_public_in_any_case_is_one_channel_and_an_explicit_key_replaces_the_built_in_one() {
    let key = hashtag_key("#test");
    let spelled = |names: &[&str]| {
        let keys: Vec<(&str, &[u8])> = names.iter().map(|n| (*n, &key[..])).collect();
        ring(&keys)
    };
    for name in ["public", "PUBLIC", "Public"] {
        let ours = spelled(&[name]);
        assert_eq!(ours.channels(0xd9).collect::<Vec<_>>(), ["Public"]);
        assert_eq!(ours.channels(0x11).count(), 0);
    }
    assert_eq!(spelled(&["#public"]).channels(0xd9).collect::<Vec<_>>(), ["#public"]);
    let other = hashtag_key("#bot");
    let ours = ring(&[("Public", &key), ("public", &other)]);
    assert_eq!(ours.channels(0xd9).collect::<Vec<_>>(), ["Public"]);
    let ours = ring(&[("public", &other), ("Public", &key)]);
    assert_eq!(ours.channels(0xd9).collect::<Vec<_>>(), ["Public"]);
}

#[test]
fn a_later_entry_of_the_same_name_replaces_an_earlier_one() {
    let (test, bot) = (hashtag_key("#test"), hashtag_key("#bot"));
    let ours = ring(&[("x", &test), ("x", &bot)]);
    assert_eq!(ours.channels(0xd9).count(), 0);
    assert_eq!(ours.channels(0xca).collect::<Vec<_>>(), ["x"]);
}

#[test]
fn a_key_of_another_length_is_an_error_that_names_the_channel() {
    for bytes in [0, 15, 17, 31, 33, 64] {
        let error = Keyring::new([("club".to_owned(), vec![0; bytes])]).unwrap_err();
        assert_eq!(error, KeyError::Length { channel: "club".into(), bytes });
    }
}

#[test]
fn keys_are_never_printed() {
    let shown = format!("{:?}", hashtags(&["#test"]));
    assert_eq!(shown, r##"{"Public", "#test"}"##);
}

proptest! {
    #[test]
    fn any_bytes_do_not_panic(channel_hash: u8, mac: [u8; 2], ciphertext: Vec<u8>) {
        let sealed = Sealed { channel_hash, mac, ciphertext: &ciphertext };
        let ours = hashtags(&["#test", "#bot"]);
        prop_assert_eq!(ours.open_text(sealed).status() == "no_key", ciphertext.len() < SHORTEST);
        prop_assert_eq!(ours.open_data(sealed).status() == "no_key", ciphertext.len() < SHORTEST);
    }

    #[test]
    fn what_is_sealed_with_a_key_opens_with_it(
        key in prop_oneof![vec(any::<u8>(), 16), vec(any::<u8>(), 32)],
        timestamp: u32,
        attempt in 0u8..4,
        sender in "[^\\pC:\\[\\]\\x{FFFD}]{1,12}",
        message in "[^\\pC\\x{FFFD}]{0,60}",
        data in vec(any::<u8>(), 0..100),
    ) {
        let ours = ring(&[("#test", &hashtag_key("#test")), ("club", &key)]);
        let text = format!("{sender}: {message}");
        let plain = [&timestamp.to_le_bytes()[..], &[attempt], text.as_bytes()].concat();
        let opened = ours.open_text(sealed(&seal(&key, &plain)));
        prop_assert_eq!(opened, with("club", timestamp, Some(&sender), &message));

        let data_len = u8::try_from(data.len()).unwrap();
        let plain = [&[0x34, 0x12, data_len][..], &data].concat();
        let content = GroupData { data_type: 0x1234, data_len, data: Some(data) };
        let opened = ours.open_data(sealed(&seal(&key, &plain)));
        prop_assert_eq!(opened, Opened::With { channel: "club".into(), content });
    }
}
