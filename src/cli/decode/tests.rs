use super::*;

use clap::Parser;
use serde_json::Value;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

const ADVERT: &str = "120046D62DE27D4C5194D7821FC5A34A45565DCC2537B300B9AB6275255CEFB65D840CE5C169C94C9AED39E8BCB6CB6EB0335497A198B33A1A610CD3B03D8DCFC160900E5244280323EE0B44CACAB8F02B5B38B91CFA18BD067B0B5E63E94CFC85F758A8530B9240933402E0E6B8F84D5252322D52";
const PUBLIC: &str = "150011C3C1354D619BAE9590E4D177DB7EEAF982F5BDCF78005D75157D9535FA90178F785D";
const BOT: &str = "1540cab3b15626481a5ba64247ab25766e410b026e0678a32da9f0c3946fae5b714cab170f";

fn decode(arguments: &[&str], stdin: &[u8], colours: bool) -> (ExitCode, String) {
    let (code, out, err) = all_streams(arguments, stdin, colours);
    assert_eq!(err, "");
    (code, out)
}

fn all_streams(arguments: &[&str], stdin: &[u8], colours: bool) -> (ExitCode, String, String) {
    let args = Cli::try_parse_from([&["decode"], arguments].concat()).unwrap().args;
    let (mut stdin, mut out, mut err) = (stdin, Vec::new(), Vec::new());
    let streams = Streams { stdin: &mut stdin, stdout: &mut out, stderr: &mut err, colours };
    let code = run(&args, streams).unwrap();
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn json(arguments: &[&str], stdin: &[u8]) -> (ExitCode, Vec<Value>) {
    let (code, text) = decode(&[&["--json"], arguments].concat(), stdin, false);
    (code, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn the_object_has_all_its_keys_in_order_whatever_it_is_about() {
    let keys = "raw_hex ok error route_type payload_type payload_version transport_codes path_json \
                hash hash_2026_04 decoded_json channel_hash from_pubkey scope_name signature_valid \
                anomaly";
    for packet in [ADVERT, PUBLIC, "zz", "0A"] {
        let (_, text) = decode(&["--json", packet], b"", false);
        let positions: Vec<_> =
            keys.split_whitespace().map(|k| text.find(&format!("\"{k}\":")).unwrap()).collect();
        assert!(positions.is_sorted(), "{text}");
        let object: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object.as_object().unwrap().len(), keys.split_whitespace().count());
    }
}

#[test]
fn an_advert_is_told_with_its_signature() {
    let (code, answers) = json(&[ADVERT], b"");
    assert_eq!(code, ExitCode::SUCCESS);
    let advert = &answers[0];
    assert_eq!(advert["ok"], true);
    assert_eq!(advert["hash"], "a2df093d3bfc51f5");
    assert_eq!(advert["hash_2026_04"], "8319c7e495bd6f62");
    assert_eq!(advert["signature_valid"], true);
    assert_eq!(advert["path_json"], serde_json::json!([]));
    assert_eq!(advert["decoded_json"]["name"], "MRR2-R");
    assert_eq!(advert["transport_codes"], Value::Null);
    assert_eq!(advert["anomaly"], Value::Null);
}

#[test]
fn each_line_of_stdin_is_an_object_in_order_and_one_bad_line_makes_the_exit_code_1() {
    let stdin = format!("{ADVERT}\r\n\n0A 00 D69FD7A5\nrubb\u{1b}ish\n{PUBLIC}");
    let (code, answers) = json(&["-"], stdin.as_bytes());
    assert_eq!(code, ExitCode::FAILURE);
    let ok: Vec<_> = answers.iter().map(|a| a["ok"].as_bool().unwrap()).collect();
    assert_eq!(ok, [true, false, true, false, true]);
    assert_eq!(answers[2]["raw_hex"], "0A 00 D69FD7A5");
    assert_eq!(answers[3]["error"], "'r' at character 0 is not a hex digit");
    assert_eq!(answers[4]["channel_hash"], "Public");
}

#[test]
fn a_line_that_is_no_utf8_is_an_object_too() {
    let (code, answers) = json(&["-"], b"0A\xFF\n");
    assert_eq!((code, answers.len()), (ExitCode::FAILURE, 1));
    assert_eq!(answers[0]["error"], "'\u{fffd}' at character 2 is not a hex digit");
}

#[test]
fn keys_from_a_file_open_more() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.json");
    std::fs::write(&file, r##"{"#bot": "eb50a1bcb3e4e5d7bf69a57c9dada211"}"##).unwrap();
    let (_, without) = json(&[BOT], b"");
    assert_eq!(without[0]["decoded_json"]["decryptionStatus"], "decryption_failed");
    assert_eq!(without[0]["channel_hash"], "enc_CA");
    let (_, with) = json(&["--keys", file.to_str().unwrap(), BOT], b"");
    assert_eq!(with[0]["decoded_json"]["text"], "Howl 👾: prefix 0101");
    assert_eq!(with[0]["channel_hash"], "#bot");
}

#[test]
fn keys_that_cannot_be_read_are_wrong_arguments() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.json");
    let wrong = |content: Option<&str>| {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let (code, out, err) = all_streams(&["--keys", file.to_str().unwrap(), PUBLIC], b"", false);
        assert_eq!((code, out.as_str(), err.lines().count()), (ExitCode::from(2), "", 1));
        assert!(err.contains(&format!("{file:?}")), "{err}");
        err
    };
    assert!(wrong(None).starts_with("meshbox: cannot read "));
    assert!(wrong(Some("[]")).contains("is not a JSON object of channel names and hex keys"));
    assert!(wrong(Some(r#"{"a": 1}"#)).contains("expected a string"));
    assert!(wrong(Some(r#"{"a": "xx"}"#)).contains("channel \"a\": 'x' at character 0"));
    assert!(wrong(Some(r#"{"a": "00"}"#)).contains("16 or 32 bytes, this one has 1"));
}

#[test]
fn no_packet_at_all_is_a_wrong_argument() {
    assert_eq!(Cli::try_parse_from(["decode"]).err().unwrap().exit_code(), 2);
}

#[test]
fn the_tree_shows_every_field_with_offset_bytes_and_meaning() {
    let (_, text) = decode(&[ADVERT], b"", false);
    for line in [
        "    0  header             12                ADVERT by DIRECT, version 0",
        "   34    timestamp        0CE5C169          2026-03-24T01:12:44Z",
        "  103    lat              40933402          37.000000° north",
        "  signature               the node's own",
        "  hash                    a2df093d3bfc51f5, by the formula of April 2026 8319c7e495bd6f62",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn the_tree_tells_what_the_keys_opened_without_control_characters() {
    let (_, text) = decode(&[PUBLIC], b"", false);
    assert!(text.contains("  sender                  \"🌲 Tree\", unproven\n"), "{text}");
    assert!(text.contains("  text                    \"☁\u{fe0f}\"\n"), "{text}");
    assert!(text.contains("  sent                    2025-09-21T19:51:19Z\n"), "{text}");
}

#[test]
fn the_tree_points_at_the_offending_byte() {
    let (code, text) = decode(&["1165AABB"], b"", false);
    assert_eq!(code, ExitCode::FAILURE);
    assert_eq!(
        text,
        "not a packet: path length 0x65 at offset 1 means 74 bytes, a path has at most 64\n    \
         11 65 AA BB\n       ^^\n\n"
    );
}

#[test]
fn the_tree_points_at_the_offending_character_and_hides_control_characters() {
    let (_, text) = decode(&["0A\u{1b}0"], b"", false);
    assert_eq!(
        text,
        "not a packet: '\\u{1b}' at character 2 is not a hex digit\n    0A?0\n      ^\n\n"
    );
}

#[test]
fn an_offending_byte_far_behind_is_shown_with_its_surroundings() {
    let long = format!("0A00{:0>370}", 0);
    let (_, text) = decode(&[&long], b"", false);
    let mark = text.lines().nth(2).unwrap();
    assert_eq!(mark, format!("    {}^^", "   ".repeat(12)));
}

#[test]
fn colours_are_there_when_they_are_wanted() {
    let (_, text) = decode(&[ADVERT], b"", true);
    assert!(text.contains("\u{1b}[36m"), "{text}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let args = Cli::try_parse_from(["decode", ADVERT]).unwrap().args;
    let streams = Streams {
        stdin: &mut &b""[..],
        stdout: &mut Closed,
        stderr: &mut Vec::new(),
        colours: false,
    };
    assert_eq!(run(&args, streams).unwrap(), ExitCode::SUCCESS);
}

/// wire-protocol §9 row 3b: from the first key of the firmware's src/Identity.cpp to the second.
const LETTER: &str = "0a00481e886a6206b3b1012703546b881173f1e7223f";
const SENDER: &str = "1ec77175b0918ed206f9ae04ec136d6d5d4315bb26305427f645b492e9350c10";
const RECEIVER: &str = "4852b69364572b52efa1b6bb3e6d0abed4f389a1cbfbb60a9bba2cce649caf0e";
const RECEIVERS_KEY: &str = "18469d6140447f77de13cd8d761e605431f52269fbff43b0925752ed9e6745435dc6a86d2568af8b70d3365db3f88234760c8ecc645ce469829bc45b65f1d5d5";

fn node_key(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn the_key_of_a_node_opens_what_a_known_peer_wrote_to_it() {
    let file = node_key(RECEIVERS_KEY);
    let key = file.path().to_str().unwrap();
    let (_, unknown) = json(&["--node-key", key, LETTER], b"");
    assert_eq!(unknown[0]["decoded_json"]["meshbox"], Value::Null);
    let (code, answers) = json(&["--node-key", key, "--peer", SENDER, LETTER], b"");
    assert_eq!(code, ExitCode::SUCCESS);
    assert_eq!(
        answers[0]["decoded_json"],
        serde_json::json!({
            "type": "TXT_MSG", "destHash": "48", "srcHash": "1e", "mac": "886a",
            "encryptedData": "6206b3b1012703546b881173f1e7223f",
            "meshbox": { "opened": {
                "kind": "text", "node": RECEIVER, "peer": SENDER, "direction": "received",
                "certain": true, "timestamp": 1_772_919_297, "attempt": 0, "text": "hello",
                "ackHash": "a09f8cf2",
            }},
        })
    );
    let (_, tree) = decode(&["--node-key", key, "--peer", SENDER, LETTER], b"", false);
    for line in [
        format!("  from                    {SENDER}\n"),
        format!("  to our node             {RECEIVER}\n"),
        "  text                    \"hello\"\n".to_owned(),
        "  sent                    2026-03-07T21:34:57Z\n".to_owned(),
        "  ack code                f28c9fa0\n".to_owned(),
    ] {
        assert!(tree.contains(&line), "{line} is not in\n{tree}");
    }
    assert!(!tree.contains(&RECEIVERS_KEY[..16]));
}

#[test]
fn a_node_key_or_a_peer_that_is_none_is_a_wrong_argument() {
    let good = node_key(RECEIVERS_KEY);
    let good = good.path().to_str().unwrap();
    let mismatch = format!(r#"{{"private_key": "{RECEIVERS_KEY}", "public_key": "{SENDER}"}}"#);
    let mismatch = node_key(&mismatch);
    let wrong = ExitCode::from(2);
    for arguments in [
        &["--node-key", "/nonexistent", LETTER][..],
        &["--node-key", mismatch.path().to_str().unwrap(), LETTER],
        &["--node-key", good, "--peer", "1ec7", LETTER],
        &["--node-key", good, "--peer", "hello", LETTER],
    ] {
        let (code, out, err) = all_streams(arguments, b"", false);
        assert_eq!((code, out.as_str()), (wrong, ""), "{arguments:?}");
        assert!(err.starts_with("meshbox: ") && err.lines().count() == 1, "{err}");
    }
    assert!(Cli::try_parse_from(["decode", "--peer", SENDER, LETTER]).is_err());
}
