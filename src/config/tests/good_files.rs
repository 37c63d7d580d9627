//! Files of our own that load, and what they mean.

use std::fs;

use super::*;
use crate::config::ClientTls;

fn source(text: &str) -> Source {
    let mut sources = toml(&format!("[[mqttSources]]\n{text}")).unwrap().sources;
    assert_eq!(sources.len(), 1, "{text}");
    sources.remove(0)
}

#[test]
fn broker_toml_comes_before_config_json_and_both_before_the_systems_file() {
    let dir = folder(&[("system.toml", ""), ("broker.toml", ""), ("config.json", "{}")]);
    let system = dir.path().join("system.toml");
    let origin = || search::find(None, dir.path(), &system).unwrap().origin;
    assert_eq!(origin(), Origin::Toml(dir.path().join("broker.toml")));
    fs::remove_file(dir.path().join("broker.toml")).unwrap();
    assert_eq!(origin(), Origin::CoreScope(dir.path().join("config.json")));
    fs::remove_file(dir.path().join("config.json")).unwrap();
    assert_eq!(origin(), Origin::Toml(system.clone()));
    fs::remove_file(&system).unwrap();
    assert_eq!(origin(), Origin::Defaults);
}

#[test]
fn a_named_file_must_be_there_and_one_that_is_found_must_be_readable() {
    let dir = folder(&[]);
    assert_eq!(
        find(Some("other.toml"), dir.path()).err().unwrap().to_string(),
        "other.toml: cannot be read: No such file or directory; name a file that can be read"
    );
    fs::create_dir(dir.path().join("broker.toml")).unwrap();
    assert_eq!(
        find(None, dir.path()).err().unwrap().to_string(),
        format!(
            "{}/broker.toml: cannot be read: Is a directory; let this user read it, or name \
             another file with --config",
            dir.path().display()
        )
    );
}

#[test]
fn the_ending_of_a_named_file_says_what_it_is_or_else_its_first_letter() {
    let dir = folder(&[("a.json", "{}"), ("b.conf", "\n {}"), ("c.conf", "# {"), ("d", "")]);
    for (name, is_json) in [("a.json", true), ("b.conf", true), ("c.conf", false), ("d", false)] {
        let origin = find(Some(name), dir.path()).unwrap().origin;
        assert_eq!(matches!(origin, Origin::CoreScope(_)), is_json, "{name}");
    }
}

#[test]
fn a_byte_order_mark_is_skipped_and_another_encoding_is_named() {
    let dir = folder(&[("a.toml", "\u{feff}dbPath = 'x'")]);
    fs::write(dir.path().join("b.toml"), b"#\n# caf\xe9\n").unwrap();
    assert!(load("a.toml", dir.path(), &no_env).unwrap().db_path.ends_with("x"));
    assert_eq!(
        line(load("b.toml", dir.path(), &no_env)),
        "b.toml:2: not UTF-8; save the file in this encoding"
    );
}

#[test]
fn the_database_is_relative_to_the_working_directory_and_the_environment_goes_over_the_file() {
    let dir = folder(&[("broker.toml", "dbPath = 'a.db'")]);
    let db_path = |env: &dyn Fn(&str) -> Option<String>| {
        load("broker.toml", dir.path(), env).unwrap().db_path
    };
    assert_eq!(db_path(&no_env), dir.path().join("a.db"));
    let absolute = |name: &str| (name == "DB_PATH").then(|| "/var/b.db".to_owned());
    assert_eq!(db_path(&absolute), Path::new("/var/b.db"));
}

#[test]
fn the_environments_broker_takes_the_place_of_every_source() {
    let dir = folder(&[("broker.toml", "[[mqttSources]]\nbroker = 'mqtt://a'\n")]);
    let load = |topic: Option<&str>, broker: &str| {
        let env = |name: &str| match name {
            "MQTT_BROKER" => Some(broker.to_owned()),
            "MQTT_TOPIC" => topic.map(str::to_owned),
            _ => None,
        };
        load("broker.toml", dir.path(), &env)
    };
    let sources = load(None, "tcp://b:1884").unwrap().sources;
    assert_eq!(sources.len(), 1);
    assert_eq!((sources[0].name.as_str(), sources[0].remote.host.as_str()), ("env", "b"));
    assert_eq!(sources[0].topics, ["meshcore/#"]);
    assert_eq!(load(Some("x/#"), "b").unwrap().sources[0].topics, ["x/#"]);
    assert_eq!(
        line(load(None, "gopher://b")),
        "MQTT_BROKER: \"gopher://\" is no kind of broker; use mqtt://, mqtts://, ws:// or wss://"
    );
    assert!(line(load(Some("x#"), "b")).starts_with("MQTT_TOPIC: \"x#\" has a #"));
    assert!(line(load(None, "mqtt://pi")).starts_with("MQTT_BROKER: pi:1883 is our own listener"));
}

#[test]
fn a_source_has_its_defaults_filled_in_and_its_regions_in_upper_case() {
    let plain = source("broker = 'mqtt://b.example'");
    assert_eq!((plain.name.as_str(), plain.remote.port), ("b.example:1883", 1883));
    assert_eq!(plain.topics, ["meshcore/#"]);
    assert!(plain.persistent_session && plain.iata_filter.is_empty() && plain.region.is_none());

    let full = source(
        "name = ' region '\nbroker = 'b'\ntopics = ['meshcore/+/+/packets', 'meshcore/#']\n\
         iataFilter = [' sjc', 'SFO', '']\nregion = 'sjc'\npersistentSession = false",
    );
    assert_eq!((full.name.as_str(), full.persistent_session), ("region", false));
    assert_eq!(full.topics, ["meshcore/#"]);
    assert_eq!(full.iata_filter, ["SJC", "SFO"]);
    assert_eq!(full.region.as_deref(), Some("SJC"));
}

#[test]
fn names_that_are_taken_get_a_number() {
    let name = |name: &str| format!("[[mqttSources]]\nname = {name:?}\nbroker = 'b'\n");
    let text: String = ["a", "a-2", "a", "a", "x\ty"].map(name).concat();
    let sources = toml(&text).unwrap().sources;
    let names: Vec<_> = sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["a", "a-2", "a-3", "a-4", "x?y"]);
}

#[test]
fn a_key_file_makes_a_source_log_in_by_token_for_the_host_or_the_audience_that_is_named() {
    let key = format!("{}40{}", "00".repeat(31), "11".repeat(32));
    let dir = folder(&[("node.key", &key)]);
    let load = |text: &str| {
        let text = format!("[[mqttSources]]\nbroker = 'wss://b.example/mqtt'\n{text}");
        fs::write(dir.path().join("broker.toml"), text).unwrap();
        load("broker.toml", dir.path(), &no_env)
    };
    for (more, expected) in [("", "b.example"), ("audience = 'other'", "other")] {
        let config = load(&format!("keyFile = 'node.key'\n{more}")).unwrap();
        let Login::Token { keys, audience, lifetime, owner, email } = &config.sources[0].login
        else {
            panic!("a token")
        };
        assert_eq!((keys.len(), &audience[..], owner, email), (1, expected, &None, &None));
        assert_eq!(*lifetime, Duration::from_secs(3_600));
        assert!(!format!("{config:?}").contains("1111"));
    }
    let cases = [
        ("audience = 'b'", "audience: is given without keyFile"),
        ("keyFile = 'node.key'\nusername = 'u'", "keyFile: is given beside username; a token is"),
        ("keyFile = 'absent'", "keyFile: "),
        ("keyFile = 'broker.toml'", "keyFile: "),
    ];
    for (text, words) in cases {
        let error = line(load(text));
        assert!(error.contains(&format!("mqttSources[0].{words}")), "{text}: {error}");
    }
}

#[test]
fn a_password_comes_from_the_file_the_key_or_the_url_and_is_never_shown() {
    let dir = folder(&[("secret", "hunter2\nsecond line"), ("empty", "")]);
    let load = |text: &str| {
        fs::write(dir.path().join("broker.toml"), format!("[[mqttSources]]\n{text}")).unwrap();
        load("broker.toml", dir.path(), &no_env)
    };
    for text in [
        "broker = 'b'\nusername = 'u'\npassword = 'hunter2'",
        "broker = 'b'\nusername = 'u'\npasswordFile = 'secret'",
        "broker = 'mqtt://u:hunter2@b'",
        "broker = 'mqtt://u@b'\npassword = 'hunter2'",
        "broker = 'mqtt://:hunter2@b'\nusername = 'u'",
    ] {
        let config = load(text).unwrap();
        let source = &config.sources[0];
        let account = Login::Account {
            username: Some("u".into()),
            password: Some(secret::Secret::new("hunter2")),
        };
        assert_eq!(source.login, account, "{text}");
        assert!(!format!("{config:?}").contains("hunter2"), "{text}");
    }
    let at = "broker.toml:4: mqttSources[0].passwordFile: ";
    let text = |file: &str| format!("broker = 'b'\nusername = 'u'\npasswordFile = '{file}'");
    let (empty, absent) = (dir.path().join("empty"), dir.path().join("absent"));
    assert_eq!(
        line(load(&text("empty"))),
        format!("{at}{} is empty; write the password into it", empty.display())
    );
    assert_eq!(
        line(load(&text("absent"))),
        format!(
            "{at}cannot read {}: No such file or directory; name a file that can be read",
            absent.display()
        )
    );
    assert_eq!(
        line(load("password = 'x'\nbroker = 'b'\npasswordFile = 'secret'")),
        format!("{at}is given beside password; keep one of the two")
    );
}

#[test]
fn a_source_is_reached_as_its_url_says() {
    let cases = [
        ("b.example", "mqtt://b.example:1883"),
        ("tcp://[2001:db8::1]", "mqtt://[2001:db8::1]:1883"),
        ("ssl://b.example", "mqtts://b.example:8883"),
        ("mqtts://bob:s3cret@b.example:443", "mqtts://b.example:443"),
        ("ws://b.example", "ws://b.example:80/"),
        ("wss://b.example/mqtt?x=1", "wss://b.example:443/mqtt?x=1"),
    ];
    for (url, remote) in cases {
        let source = toml(&format!("[[mqttSources]]\nbroker = '{url}'")).unwrap().sources.remove(0);
        assert_eq!(source.remote.url(), remote);
        assert_eq!(source.remote.tls, ClientTls::default());
        assert_eq!(source.connect_timeout, Duration::from_secs(10));
        assert_eq!(source.stall, Some(Duration::from_secs(300)));
    }
    let text = "[[mqttSources]]\nbroker = 'wss://b'\nrejectUnauthorized = false\n\
                connectTimeoutSec = 25\nstallSec = 0";
    let source = toml(text).unwrap().sources.remove(0);
    assert!(!source.remote.tls.verify);
    assert_eq!((source.connect_timeout, source.stall), (Duration::from_secs(25), None));
}

#[test]
fn a_broker_that_is_off_listens_nowhere_and_its_port_may_be_somebody_elses() {
    let config = toml(
        "[broker]\nenabled = false\n[[broker.listeners]]\n[[mqttSources]]\nbroker = 'localhost'",
    )
    .unwrap();
    assert!(!config.broker.enabled && config.broker.listeners.is_empty());
    assert_eq!(config.sources.len(), 1);
}

#[test]
fn listeners_are_as_they_are_written() {
    let config = toml(
        "[[broker.listeners]]\nbind = '127.0.0.1:0'\naccess = 'anyone'\n\
         [[broker.listeners]]\nbind = '127.0.0.1:0'\naccess = 'local'\n\
         [[broker.listeners]]\nbind = '[::1]:1884'\naccess = 'accounts'",
    )
    .unwrap();
    let found: Vec<_> = config
        .broker
        .listeners
        .iter()
        .map(|it| format!("{} {} {}", it.transport, it.bind, it.access))
        .collect();
    assert_eq!(
        found,
        ["tcp 127.0.0.1:0 anyone", "tcp 127.0.0.1:0 local", "tcp [::1]:1884 accounts"]
    );
}

#[test]
fn a_certificate_lies_beside_the_file_and_every_transport_is_taken() {
    let config = toml(
        "trustedProxies = ['10.0.0.1', 'fd00::/8']\n[broker]\nmaxConnections = 100\n\
         [[broker.listeners]]\ntransport = 'wss'\nbind = '0.0.0.0:0'\ncertificateFile = 'c.pem'\n\
         keyFile = '/etc/k.pem'\norigins = ['Map.Example.org']\nproxyProtocol = true\n\
         [[broker.listeners]]\ntransport = 'ws'\nbind = '0.0.0.0:0'",
    )
    .unwrap();
    let [wss, ws] = &config.broker.listeners[..] else { panic!() };
    let files = wss.certificate.as_ref().unwrap();
    assert!(files.certificate.is_absolute() && files.certificate.ends_with("c.pem"));
    assert_eq!(files.key, Path::new("/etc/k.pem"));
    assert_eq!((&wss.origins[..], wss.proxy_protocol), (&["map.example.org".to_owned()][..], true));
    assert_eq!((ws.transport.to_string().as_str(), ws.certificate.is_none()), ("ws", true));
    assert_eq!(config.broker.max_connections_per_address, 25);
    assert_eq!(config.broker.trusted_proxies.len(), 2);
}

#[test]
fn risky_listeners_are_noted_in_words() {
    let notes = |text: &str| toml(&format!("{text}\n[web]\nenabled = false")).unwrap().notes;
    let cases = [
        (
            "[[broker.listeners]]\naccess = 'anyone'",
            "anyone who can reach 0.0.0.0:1883 may publish",
        ),
        (
            "[[broker.listeners]]\naccess = 'accounts'",
            "passwords travel to 0.0.0.0:1883 unencrypted",
        ),
        (
            "[[broker.listeners]]\nbind = '127.0.0.1:0'\naccess = 'accounts'",
            "there are no accounts, 127.0.0.1:0 takes logins by token alone",
        ),
        ("trustedProxies = ['10.0.0.1']", "a proxy before 0.0.0.0:1883 would let everybody in"),
        ("trustedProxies = ['10.0.0.1']", "trustedProxies: no listener asks a proxy"),
        (
            "[[broker.listeners]]\ntransport = 'ws'\nbind = '127.0.0.1:8083'",
            "if a proxy on this machine points to 127.0.0.1:8083",
        ),
    ];
    for (text, words) in cases {
        let notes = notes(text);
        assert!(notes.iter().any(|note| note.contains(words)), "{text}: {notes:?}");
    }
    for quiet in ["", "[[broker.listeners]]\nbind = '127.0.0.1:1'\naccess = 'anyone'"] {
        assert!(notes(quiet).is_empty(), "{quiet}");
    }
}

#[test]
fn channel_keys_come_in_corescopes_order_and_their_bytes_are_not_shown() {
    let key = "0f".repeat(16);
    let dir = folder(&[
        ("keys.json", &format!("{{\"#z\": \"{key}\",\n\"#a\": \"{key}\"}}")),
        (
            "broker.toml",
            &format!(
                "channelKeysPath = 'keys.json'\nhashChannels = [' test ', '#own', '', '#test']\n\
                 [channelKeys]\n'#own' = '{}'\npublic = '{key}'",
                key.repeat(2)
            ),
        ),
    ]);
    let config = load("broker.toml", dir.path(), &no_env).unwrap();
    let bytes = vec![0x0f; 16];
    assert_eq!(
        config.channel_keys,
        [
            ChannelKey::Given("#z".into(), bytes.clone()),
            ChannelKey::Given("#a".into(), bytes.clone()),
            ChannelKey::Hashtag("#test".into()),
            ChannelKey::Given("#own".into(), bytes.repeat(2)),
            ChannelKey::Given("public".into(), bytes),
        ]
    );
    let shown = format!("{:?}", config.channel_keys);
    assert!(shown.contains("Given(\"#own\", 32 bytes)") && !shown.contains("15"), "{shown}");
}

#[test]
fn a_key_file_that_cannot_be_used_is_an_error_at_its_line() {
    let dir = folder(&[("broker.toml", "\nchannelKeysPath = 'keys.json'")]);
    let file = dir.path().join("keys.json");
    assert_eq!(
        line(load("broker.toml", dir.path(), &no_env)),
        format!(
            "broker.toml:2: channelKeysPath: cannot read {}: No such file or directory; name a \
             file that can be read",
            file.display()
        )
    );
    let cases = [
        ("{\n\"#a\": \"ab\"}", "2: #a: has 2 hex digits; a channel key has 32 or 64"),
        ("{\"#a\": 7}", "1: #a: must be a string; a channel key has 32 or 64 hex digits"),
        ("[]", "1: not an object; write {\"#name\": \"32 hex digits\"}"),
        ("{\n,}", "2: not JSON: key must be a string"),
    ];
    for (text, expected) in cases {
        fs::write(&file, text).unwrap();
        assert_eq!(
            line(load("broker.toml", dir.path(), &no_env)),
            format!("{}:{expected}", file.display())
        );
    }
}

#[test]
fn a_key_file_beside_the_config_file_is_read_without_being_named() {
    let text = format!("{{\"_comment\": \"mine\", \"#a\": \"{}\"}}", "00".repeat(16));
    let dir = folder(&[("broker.toml", ""), ("channel-rainbow.json", &text)]);
    let keys = load("broker.toml", dir.path(), &no_env).unwrap().channel_keys;
    assert_eq!(keys, [ChannelKey::Given("#a".into(), vec![0; 16])]);
    // The environment's word goes over it.
    let env = |name: &str| (name == "CHANNEL_KEYS_PATH").then(|| "absent.json".to_owned());
    assert!(line(load("broker.toml", dir.path(), &env)).starts_with("CHANNEL_KEYS_PATH: cannot"));
}

#[test]
fn node_days_that_are_not_positive_mean_seven() {
    for (days, kept) in [("-1", 7), ("0", 7), ("1", 1), ("3650", 3650), ("99999999", 36_500)] {
        let config = toml(&format!("[retention]\nnodeDays = {days}")).unwrap();
        assert_eq!(config.retention.nodes, Duration::from_secs(kept * 86_400), "{days}");
    }
}

#[test]
fn the_sample_interval_is_five_minutes_unless_another_is_set() {
    let interval = |text: &str| toml(text).unwrap().sample_interval;
    assert_eq!(interval(""), Duration::from_secs(300));
    let config = toml("[metrics]\nsampleIntervalSec = 60").unwrap();
    assert_eq!(config.sample_interval, Duration::from_secs(60));
    assert!(!config.notes.iter().any(|note| note.contains("metrics")), "{:?}", config.notes);
    let zero = json(r#"{"metrics": {"sampleIntervalSec": 0}}"#).unwrap();
    assert_eq!(zero.sample_interval, Duration::from_secs(300), "CoreScope's zero");
    for (seconds, word) in [("0", "small"), ("-300", "small"), ("86401", "large")] {
        let refused = toml(&format!("[metrics]\nsampleIntervalSec = {seconds}")).unwrap_err();
        let expected = format!("metrics.sampleIntervalSec: {seconds} is too {word}");
        assert!(refused.to_string().contains(&expected), "{refused}");
    }
}

#[test]
fn the_write_ahead_log_has_bounds_in_mib() {
    assert_eq!(toml("").unwrap().wal_max_bytes, 64 << 20);
    let config = toml("walMaxMB = 128").unwrap();
    assert_eq!(config.wal_max_bytes, 128 << 20);
    assert!(!config.notes.iter().any(|note| note.contains("wal")), "{:?}", config.notes);
    for (mib, word) in [("0", "small"), ("15", "small"), ("-64", "small"), ("16385", "large")] {
        let refused = toml(&format!("walMaxMB = {mib}")).unwrap_err().to_string();
        let expected = format!("broker.toml:1: walMaxMB: {mib} is too {word}; use 16 to 16384");
        assert!(refused.contains(&expected), "{refused}");
    }
}

#[test]
fn what_is_asked_for_and_does_not_happen_is_noted_once() {
    let config = toml(
        "nodeBlacklist = ['x']\nhiddenNamePrefixes = ['x']\nnodeKeys = []\n[broker]\nbindFirstKey = true\n\
         [db]\nvacuumOnStartup = false\n[foreignAdverts]\nmode = 'flag'\n[geo_filter]\n\
         [retention]\nobserverDays = -1\nmetricsDays = 30\npacketDays = 0\n[web]\nenabled = false",
    )
    .unwrap();
    assert_eq!(
        config.notes,
        [
            "nodeBlacklist: not built yet, there is no page to hide nodes on",
            "hiddenNamePrefixes: not built yet, nothing is hidden",
        ]
    );
}
