//! Files of our own that do not load, and the one line that says why.

use proptest::prelude::*;

use super::{Config, Error, json, line, toml, uncommented};

fn is_config_or_one_line(result: Result<Config, Error>) {
    if let Err(error) = result {
        let line = error.to_string();
        assert!(!line.contains('\n') && line.starts_with(['b', 'c']), "{line}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_one_line(text in "\\PC{0,200}") {
        is_config_or_one_line(toml(&text));
        is_config_or_one_line(json(&text));
    }

    #[test]
    fn the_example_with_any_piece_replaced_is_a_configuration_or_one_line(
        start in 0_usize..8_000,
        length in 0_usize..40,
        piece in "[\\[\\]{}=\"'#,.0-9a-z\n -]{0,12}",
    ) {
        let text: Vec<char> = uncommented(true).chars().filter(|c| *c != '\r').collect();
        let start = start % text.len();
        let end = (start + length).min(text.len());
        let mangled: String =
            text[..start].iter().copied().chain(piece.chars()).chain(text[end..].iter().copied()).collect();
        is_config_or_one_line(toml(&mangled));
    }
}

#[test]
fn what_is_wrong_in_broker_toml_is_one_line_with_the_place_and_the_way_out() {
    let cases = [
        ("dbpath = 'x'", "broker.toml:1: dbpath: unknown key; did you mean dbPath"),
        // Of two, the first in the file.
        (
            "zz = 1\naa = 1",
            "broker.toml:1: zz: unknown key; remove it, `meshbox config example` shows every key",
        ),
        (
            "\n[retention]\nnodeDay = 3",
            "broker.toml:3: retention.nodeDay: unknown key; did you mean nodeDays",
        ),
        (
            "[web]\nhashChannels = []",
            "broker.toml:2: web.hashChannels: unknown key here; it belongs to the top of the \
             file, above the first [table]",
        ),
        (
            "apiKey = 'hunter2'",
            "broker.toml:1: apiKey: unknown key; remove it, `meshbox config example` shows every \
             key",
        ),
        ("[mqtt]\nbroker = 'b'", "broker.toml:1: mqtt: unknown key; did you mean mqttSources"),
        ("a = = 1", "broker.toml:1: not TOML: extra `=`, expected nothing"),
        (
            "dbPath = 7",
            "broker.toml:1: dbPath: must be a string, and is a whole number; put it in double \
             quotes",
        ),
        (
            "commitIntervalMs = '5'",
            "broker.toml:1: commitIntervalMs: must be a whole number, and is a string; take the \
             quotes away",
        ),
        (
            "ingestBufferSize = 1.5",
            "broker.toml:1: ingestBufferSize: must be a whole number, and is a fractional number; \
             leave the fraction out",
        ),
        (
            "validateSignatures = 'no'",
            "broker.toml:1: validateSignatures: must be true or false, and is a string; write \
             true or false, without quotes",
        ),
        (
            "hashChannels = '#test'",
            "broker.toml:1: hashChannels: must be a list, and is a string; put it in [ ]",
        ),
        (
            "hashChannels = [\n  '#a',\n  3,\n]",
            "broker.toml:3: hashChannels[1]: must be a string, and is a whole number; put it in \
             double quotes",
        ),
        (
            "[mqttSources]\nbroker = 'b'",
            "broker.toml:1: mqttSources: must be a list, and is a table; write it as a list, in \
             TOML with double brackets: [[…]]",
        ),
        (
            "broker = 'b'",
            "broker.toml:1: broker: must be a table, and is a string; give it keys of its own, \
             `meshbox config example` shows them",
        ),
        (
            "[[mqttSources]]\nbroker = 'a'\n[[mqttSources]]\nname = 'x'",
            "broker.toml:3: mqttSources[1].broker: is missing; give it the URL, such as \
             mqtt://host:1883",
        ),
        (
            "[[mqttSources]]\n\nbroker = 'htp://u:hunter2@b'",
            "broker.toml:3: mqttSources[0].broker: \"htp://\" is no kind of broker; use mqtt://, \
             mqtts://, ws:// or wss://",
        ),
        (
            "[[mqttSources]]\nbroker = 'mqtt://b/meshcore/#'",
            "broker.toml:2: mqttSources[0].broker: has a path, which means nothing there; put \
             topics into topics",
        ),
        (
            "[[mqttSources]]\nbroker = 'wss://[::1]/mqtt'",
            "broker.toml:2: mqttSources[0].broker: wss:// cannot reach an IPv6 address; give the \
             broker a name, in DNS or /etc/hosts",
        ),
        (
            "[[mqttSources]]\nbroker = 'b'\ncaFile = 'ca.pem'",
            "broker.toml:3: mqttSources[0].caFile: means nothing with mqtt://; use mqtts:// or \
             wss://, or leave it out",
        ),
        (
            "[[mqttSources]]\nbroker = 'mqtts://b'\ncaFile = '/nowhere/ca.pem'",
            "broker.toml:3: mqttSources[0].caFile: /nowhere/ca.pem is no file; name one in PEM form",
        ),
        (
            "[[mqttSources]]\nbroker = 'mqtts://b'\nclientCertificate = '/dev/../etc/hostname'",
            "broker.toml:3: mqttSources[0].clientCertificate: needs clientKey beside it",
        ),
        (
            "[[mqttSources]]\nbroker = 'b'\nconnectTimeoutSec = -1",
            "broker.toml:3: mqttSources[0].connectTimeoutSec: -1 is no time for a dial; use 1 to 300",
        ),
        (
            "[[mqttSources]]\nbroker = 'b'\nstallSec = 5",
            "broker.toml:3: mqttSources[0].stallSec: 5 is no such time; use 10 to 604800, or 0 for \
             never",
        ),
        (
            "[[mqttSources]]\nbroker = 'b'\ntopics = ['meshcore#']",
            "broker.toml:3: mqttSources[0].topics: \"meshcore#\" has a # that is not its whole \
             last level; write it as meshcore/#",
        ),
        (
            "[[mqttSources]]\nbroker = 'b'\npassword = 'hunter2'",
            "broker.toml:3: mqttSources[0].password: is given without username, and MQTT has no \
             such login; add username",
        ),
        (
            "[[mqttSources]]\nbroker = 'mqtt://u:p@b'\nusername = 'u'",
            "broker.toml:3: mqttSources[0].username: is given in the URL as well, and the URL \
             counts; keep one of the two",
        ),
        (
            "[[mqttSources]]\nbroker = 'b'\npassword = 4711",
            "broker.toml:3: mqttSources[0].password: must be a string, and is a whole number; put \
             it in double quotes",
        ),
        (
            "[[mqttSources]]\nbroker = 'mqtt://localhost'",
            "broker.toml:2: mqttSources[0].broker: localhost:1883 is our own listener on \
             0.0.0.0:1883; remove this source, what is published there is taken in anyway",
        ),
        (
            "[[broker.listeners]]\nbind = 'localhost:1883'",
            "broker.toml:2: broker.listeners[0].bind: \"localhost:1883\" is no address:port; \
             write it as 0.0.0.0:1883, 127.0.0.1:1883 or [::]:1883",
        ),
        (
            "[[broker.listeners]]\n[[broker.listeners]]\naccess = 'local'",
            "broker.toml:2: broker.listeners[1].bind: 0.0.0.0:1883 is taken by a listener above; \
             give each its own port",
        ),
        (
            "[[broker.listeners]]\n[[broker.listeners]]\nbind = '127.0.0.1:1883'",
            "broker.toml:3: broker.listeners[1].bind: 127.0.0.1:1883 is taken by the listener on \
             0.0.0.0:1883 above, which has every address; give each its own port",
        ),
        (
            "[[broker.listeners]]\ntransport = 'tls'\nbind = '0.0.0.0:8883'",
            "broker.toml:1: broker.listeners[0]: tls needs certificateFile and keyFile; name the \
             files that certbot made, or make a pair with `meshbox tls self-signed`",
        ),
        (
            "[[broker.listeners]]\ntransport = 'wss'\nbind = '0.0.0.0:1'\nkeyFile = 'k'",
            "broker.toml:1: broker.listeners[0]: wss needs certificateFile; name the files that \
             certbot made, or make a pair with `meshbox tls self-signed`",
        ),
        (
            "[[broker.listeners]]\ncertificateFile = 'c'",
            "broker.toml:2: broker.listeners[0].certificateFile: tcp is not encrypted and has no \
             use for it; set transport = \"tls\", or remove it",
        ),
        (
            "[[broker.listeners]]\norigins = ['a.example']",
            "broker.toml:2: broker.listeners[0].origins: is for ws and wss, and this is tcp; \
             remove it",
        ),
        (
            "[[broker.listeners]]\ntransport = 'ws'\nbind = '[::]:1'\norigins = ['https://a.b']",
            "broker.toml:4: broker.listeners[0].origins: \"https://a.b\" is no host name; write \
             it as map.example.org",
        ),
        (
            "[[broker.listeners]]\nproxyProtocol = true",
            "broker.toml:2: broker.listeners[0].proxyProtocol: needs to know from whom; name the \
             proxy's address in trustedProxies",
        ),
        (
            "trustedProxies = ['10.0.0.0/8', 'nginx']",
            "broker.toml:1: trustedProxies[1]: \"nginx\" is no address; write 192.168.1.2, \
             10.0.0.0/8 or fd00::/8",
        ),
        (
            "trustedProxies = ['0.0.0.0/0']",
            "broker.toml:1: trustedProxies[0]: would believe anybody's word; name the proxy's own \
             address",
        ),
        (
            "[broker]\nmaxConnections = 0",
            "broker.toml:2: broker.maxConnections: 0 is too small; use 1 to 10000",
        ),
        (
            "[[broker.listeners]]\naccess = 'acounts'",
            "broker.toml:2: broker.listeners[0].access: is not one of anyone, lan, local, \
             accounts; use one of these, perhaps \"accounts\"",
        ),
        (
            "[[broker.listeners]]\ntransport = 'wss'",
            "broker.toml:1: broker.listeners[0]: wss has no port of its own; give bind an \
             address:port",
        ),
        (
            "contentHash = 'md5'",
            "broker.toml:1: contentHash: is not one of firmware, corescope-2026-04; use one of \
             these",
        ),
        (
            "ingestBufferSize = 0",
            "broker.toml:1: ingestBufferSize: 0 is too small; use 1 to 10000000",
        ),
        (
            "commitIntervalMs = 60001",
            "broker.toml:1: commitIntervalMs: 60001 is too large; use 1 to 60000",
        ),
        (
            "ingestBufferMB = 99999999999999999999",
            "broker.toml:1: ingestBufferMB: 9223372036854775807 is too large; use 1 to 2047",
        ),
        (
            "[channelKeys]\nx = 'ab'",
            "broker.toml:2: channelKeys.x: has 2 hex digits; a channel key has 32 or 64",
        ),
        (
            "[channelKeys]\n'my club' = 'secret'",
            "broker.toml:2: channelKeys.\"my club\": is not hex; a channel key has 32 or 64 hex \
             digits",
        ),
        (
            "[web]\naccess = 'open'",
            "broker.toml:2: web.access: is not one of anyone, lan, local, accounts; use one of \
             these",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(line(toml(text)), expected, "in\n{text}");
    }
}
