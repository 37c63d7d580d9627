//! CoreScope's `config.json` as it is.

use super::*;

#[test]
fn an_empty_file_is_the_ingestor_beside_a_broker_and_a_server() {
    let config = json("{}").unwrap();
    assert!(!config.broker.enabled && config.broker.listeners.is_empty());
    let [source] = config.sources.as_slice() else { panic!("one source") };
    assert_eq!((source.name.as_str(), source.remote.host.as_str()), ("local", "localhost"));
    assert_eq!(
        (source.remote.port, source.topics.as_slice()),
        (1883, ["meshcore/#".into()].as_slice())
    );
    assert_eq!(config.notes, [""; 0]);
}

#[test]
fn its_example_loads_with_everything_that_only_the_server_reads() {
    let config = json(
        r##"{
          "_comment": "for both", "port": 3000, "apiKey": "x", "logLevel": "debug",
          "dbPath": "data/mesh.db",
          "https": {"cert": "/c", "key": "/k"}, "branding": {"siteName": "x"}, "theme": {},
          "nodeColors": {}, "home": {}, "healthThresholds": {}, "defaultRegion": "SJC",
          "mapDefaults": {"center": [37.4, -122.0], "zoom": 9}, "regions": {"SJC": "San Jose"},
          "cacheTTL": {}, "liveMap": {}, "timestamps": {}, "packetStore": {"maxMemoryMB": 1024},
          "runtime": {"maxMemoryMB": 512}, "nodeBlacklist": ["x"], "hiddenNamePrefixes": ["x"],
          "mqttSources": [
            {"name": "local", "broker": "mqtt://localhost:1883",
             "topics": ["meshcore/+/+/packets", "meshcore/#"], "connectTimeoutSec": 30},
            {"name": "lincomatic", "broker": "mqtts://mqtt.example:8883", "username": "u",
             "password": "p", "rejectUnauthorized": false,
             "topics": ["meshcore/SJC/#", "meshcore/SFO/#"], "iataFilter": ["SJC", "SFO"]}
          ],
          "channelKeys": {"_comment": "mine", "public": "8b3387e9c5cdea6ac9e5edbaa115cd72"},
          "hashChannels": ["#test", "bot"],
          "retention": {"nodeDays": 30, "packetDays": 14, "_comment": "days"},
          "geo_filter": {"polygon": [[1, 2], [3.5, 4], [5, 6]], "bufferKm": 20}
        }"##,
    )
    .unwrap();
    assert!(!config.broker.enabled && config.db_path.ends_with("data/mesh.db"));
    let [source, far] = config.sources.as_slice() else { panic!("two sources") };
    assert_eq!((source.name.as_str(), source.topics.len()), ("local", 1));
    assert_eq!(far.remote.to_string(), "mqtts://mqtt.example:8883");
    assert_eq!(config.channel_keys.len(), 3);
    assert_eq!(config.retention.nodes, Duration::from_secs(30 * 86_400));
    assert_eq!(config.notes, [""; 0]);
}

#[test]
fn the_case_of_keys_does_not_matter_the_last_of_two_counts_and_null_is_absent() {
    let config = json(
        r#"{"DBPATH": "a", "dbPath": "b", "hashchannels": ["x", null], "RETENTION": {"NodeDays": 2},
            "DbPath": null, "mqttSources": null, "geo_filter": null, "validateSignatures": null}"#,
    )
    .unwrap();
    assert!(config.db_path.ends_with("b") && config.validate_signatures);
    assert_eq!(config.channel_keys, [ChannelKey::Hashtag("#x".into())]);
    assert_eq!(config.retention.nodes, Duration::from_secs(2 * 86_400));
    assert_eq!(config.sources.len(), 1);
}

#[test]
fn the_oldest_form_counts_where_the_newer_one_is_absent() {
    let source = |text: &str| {
        let source = json(text).unwrap().sources.remove(0);
        (source.name, source.remote.host, source.topics)
    };
    let own = (String::from("default"), String::from("b"));
    let all = vec![String::from("meshcore/#")];
    let both = vec![String::from("x/#"), String::from("meshcore/#")];
    let text = r#"{"mqtt": {"broker": "tcp://b:1", "topic": "x/#"}, "mqttSources": []}"#;
    assert_eq!(source(text), (own.0.clone(), own.1.clone(), both));
    assert_eq!(source(r#"{"mqtt": {"broker": "b"}}"#), (own.0, own.1, all.clone()));
    let text = r#"{"mqtt": {"broker": "b"}, "mqttSources": [{"broker": "c"}]}"#;
    assert_eq!(source(text), ("c:1883".into(), "c".into(), all.clone()));
    assert_eq!(source(r#"{"mqtt": {"broker": ""}}"#), ("local".into(), "localhost".into(), all));
}

#[test]
fn its_own_sections_switch_the_broker_and_the_page_on() {
    let config = json(r#"{"broker": {}, "web": {}}"#).unwrap();
    assert_eq!((config.broker.enabled, config.broker.listeners.len()), (true, 1));
    // The default source would be our own listener.
    assert_eq!(config.sources, []);
    assert_eq!(config.notes, ["web: not built yet, nothing listens on 0.0.0.0:8080"]);
    let config = json(r#"{"broker": {"enabled": false}, "web": {"enabled": false}}"#).unwrap();
    assert_eq!((config.broker.enabled, config.notes), (false, vec![]));
    assert_eq!(config.sources.len(), 1);
}

#[test]
fn what_corescope_only_finds_out_later_is_a_note_and_left_out() {
    let dir = folder(&[
        ("channel-rainbow.json", "{\"#a\": \"xx\", \"#b\": 7, \"#c\": null}"),
        (
            "config.json",
            r##"{"channelKeys": {"#short": "abcd"},
                "mqttSources": [{"broker": "b", "topics": ["a#", "b/#"], "password": "hunter2"}],
                "ingestBufferSize": 0}"##,
        ),
    ]);
    let config = load("config.json", dir.path(), &no_env).unwrap();
    assert_eq!(config.channel_keys, []);
    assert_eq!(config.sources[0].topics, ["b/#"]);
    let nobody = Login::Account { username: None, password: None };
    assert_eq!(config.sources[0].login, nobody);
    assert_eq!(config.ingest.messages, 50_000);
    assert_eq!(
        config.notes,
        [
            "mqttSources[0].topics: \"a#\" has a # that is not its whole last level; write it as \
             meshcore/#"
                .to_owned(),
            "mqttSources[0].password: is given without username, and MQTT has no such login; add \
             username"
                .to_owned(),
            format!(
                "left out 2 of 2 channel keys, the first is {}/channel-rainbow.json:1: #a: is not \
                 hex; a channel key has 32 or 64 hex digits",
                dir.path().display()
            ),
            "channelKeys.#short: has 4 hex digits; a channel key has 32 or 64".to_owned(),
        ]
    );
}

#[test]
fn a_key_file_is_looked_for_in_the_working_directory_and_then_beside_the_file() {
    let key = |name: &str| format!("{{\"{name}\": \"{}\"}}", "00".repeat(16));
    let dir = folder(&[("keys.json", &key("here"))]);
    let elsewhere = folder(&[
        ("keys.json", &key("there")),
        ("config.json", r#"{"channelKeysPath": "keys.json"}"#),
    ]);
    let file = elsewhere.path().join("config.json");
    let names = || -> Vec<String> {
        let written = search::find(Some(&file), dir.path(), Path::new(NOWHERE)).unwrap();
        let config = Config::judged(&written, &no_env, dir.path(), &machine()).unwrap();
        config.channel_keys.iter().map(|key| key.name().to_owned()).collect()
    };
    assert_eq!(names(), ["here"]);
    fs::remove_file(dir.path().join("keys.json")).unwrap();
    assert_eq!(names(), ["there"]);
}

#[test]
fn a_wrong_type_or_a_bad_url_is_an_error_with_its_line() {
    let cases = [
        ("", "config.json:1: not JSON: EOF while parsing a value"),
        ("{\n\"a\": 1,\n}", "config.json:3: not JSON: trailing comma"),
        (
            "[]",
            "config.json:1: must be a table, and is a list; give one table instead of a list of them",
        ),
        (
            "{\"retention\": {\n\"nodedays\": 7.5}}",
            "config.json:2: retention.nodeDays: must be a whole number, and is a fractional \
             number; leave the fraction out",
        ),
        (
            "{\"channelKeys\":\n {\"public\":\n 5}}",
            "config.json:3: channelKeys.public: must be a string, and is a whole number; put it \
             in double quotes",
        ),
        (
            "{\"mqttSources\": [{\n\"Broker\": \"ftp://b\"}]}",
            "config.json:2: mqttSources[0].broker: \"ftp://\" is no kind of broker; use mqtt://, \
             mqtts://, ws:// or wss://",
        ),
        (
            "{\"broker\": {},\n\"mqttSources\": [{\"broker\": \"mqtt://192.168.1.5\"}]}",
            "config.json:2: mqttSources[0].broker: 192.168.1.5:1883 is our own listener on \
             0.0.0.0:1883; remove this source, what is published there is taken in anyway",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(line(json(text)), expected, "in\n{text}");
    }
}
