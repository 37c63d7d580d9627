//! Config files and the commands that read them, as a user has them.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use meshbox::cli::{check, config};
use meshbox::config::{Config, Origin};
use serde_json::Value;

use crate::support::reference;

/// What `meshbox check` prints for the file `name` with this text; the error line where it is bad.
fn check(dir: &Path, name: &str, text: &str, json: bool) -> Result<String, String> {
    fs::write(dir.join(name), text).expect("a file to check");
    let args = check::Args { config: None, json };
    let mut out = Vec::new();
    let code = check::run(&args, &|_| None, dir, &mut out).map_err(|error| error.to_string())?;
    let bad = String::from_utf8_lossy(&out).contains("\"ok\":false");
    assert_eq!(code, if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    Ok(String::from_utf8_lossy(&out).into_owned())
}

#[test]
fn check_says_what_would_run_without_starting_it_or_showing_a_password() {
    let dir = tempfile::tempdir().unwrap();
    let text = "hashChannels = ['#test']\nhashRegions = ['sjc', 'europe']\n\
                commitIntervalMs = 500\n\
                [channelKeys]\nclub = '000102030405060708090a0b0c0d0e0f'\n\
                [[broker.listeners]]\nbind = '127.0.0.1:1885'\naccess = 'local'\n\
                [[mqttSources]]\nname = 'region'\nbroker = 'mqtt://reader:hunter2@[2001:db8::1]'\n\
                iataFilter = ['sjc']\nregion = 'SFO'\n";
    let printed = check(dir.path(), "broker.toml", text, false).unwrap();
    let at = dir.path().display();
    // Of this machine: its names.
    let (tokens, others): (Vec<&str>, Vec<&str>) =
        printed.lines().partition(|line| line.starts_with("tokens "));
    let named = tokens.iter().any(|line| line.contains(" localhost and the addresses"));
    assert!(named && tokens.len() == 1, "{printed}");
    let printed = format!("{}\n", others.join("\n"));
    assert_eq!(
        printed,
        format!(
            "config    {at}/broker.toml\n\
             database  {at}/data/meshcore.db\n\
             hash      firmware\n\
             listener  mqtt tcp 127.0.0.1:1885, access local: this machine only\n\
             accounts  none in {at}/accounts.toml; user names are not judged on the local network\n\
             keyless   publishers without a key speak for every observer without a login of its \
             own\n\
             source    region mqtt://[2001:db8::1]:1883, as \"reader\" with a password, topics \
             meshcore/#, regions SJC, else SFO, persistent session\n\
             observers all\n\
             channels  Public, 1 by name, 1 by key\n\
             regions   sjc europe\n\
             adverts   dropped if the signature is wrong\n\
             limits    50000 messages or 16 MiB received and not yet stored, a commit every 500 ms\n\
             kept      packets for ever, nodes for 7 days, observers for 14 days, metrics and \
             dropped packets for 30 days, neighbours for 5 days, coverage reports for ever\n\
             note      web: not built yet, nothing listens on 0.0.0.0:8080\n"
        )
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "check made a file");

    let printed = check(dir.path(), "broker.toml", text, true).unwrap();
    assert!(!printed.contains("hunter2"));
    let object: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(object["ok"], true);
    assert_eq!(object["sources"][0]["broker"], "mqtt://[2001:db8::1]:1883");
    assert_eq!(object["sources"][0]["password"], true);
    assert_eq!(object["listeners"][0]["access"], "local");
    assert_eq!(object["channels"]["byKey"], 1);
    assert_eq!(object["notes"].as_array().unwrap().len(), 1);
}

#[test]
fn check_says_who_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let text = "observerBlacklist = ['Roof']\nobserverIATAWhitelist = ['sjc', 'SFO']\n\
                [geo_filter]\npolygon = [[1, 2], [3, 4], [5, 0.5]]\nbufferKm = 20\n";
    let printed = check(dir.path(), "broker.toml", text, false).unwrap();
    let told = "observers all but 1 that are blacklisted, of regions SJC SFO only\n";
    assert!(printed.contains(told), "{printed}");
    let told = "home      a polygon of 3 corners and 20 km around it; adverts from elsewhere are stored \
                and flagged\n";
    assert!(printed.contains(told), "{printed}");
    let printed = check(dir.path(), "broker.toml", text, true).unwrap();
    let object: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(object["observerBlacklist"], serde_json::json!(["roof"]));
    assert_eq!(object["observerIATAWhitelist"], serde_json::json!(["SJC", "SFO"]));
}

#[test]
fn check_names_the_line_that_is_wrong_in_words_and_in_json() {
    let dir = tempfile::tempdir().unwrap();
    let line = format!(
        "{}/broker.toml:2: hashChanels: unknown key; did you mean hashChannels",
        dir.path().display()
    );
    let text = "\nhashChanels = []\n";
    assert_eq!(check(dir.path(), "broker.toml", text, false).unwrap_err(), line);
    let object: Value =
        serde_json::from_str(&check(dir.path(), "broker.toml", text, true).unwrap()).unwrap();
    assert_eq!((&object["ok"], object["error"].as_str()), (&Value::Bool(false), Some(&*line)));
}

#[test]
fn the_printed_example_is_a_file_that_means_the_defaults() {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        config: config::Args,
    }
    let args = Line::parse_from(["config", "example"]).config;
    let mut out = Vec::new();
    assert_eq!(config::run(&args, &mut out).unwrap(), ExitCode::SUCCESS);

    let dir = tempfile::tempdir().unwrap();
    let load = || Config::load(None, &|_| None, dir.path()).unwrap();
    let defaults = load();
    fs::write(dir.path().join("broker.toml"), out).unwrap();
    assert_eq!(Config { origin: Origin::Defaults, ..load() }, defaults);
}

#[test]
fn every_toml_block_for_broker_toml_in_the_readme_loads() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let Ok(text) = fs::read_to_string(&readme) else {
        eprintln!("SKIPPED: {} is not there", readme.display());
        return;
    };
    let blocks = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    for block in blocks.filter(|block| block.contains("broker.toml")) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("broker.toml"), block).unwrap();
        let key = format!("{}40{}", "00".repeat(31), "11".repeat(32));
        let files = [
            ("node.key", &key[..]),
            ("region.password", "x"),
            ("attic.password", "x"),
            ("attic-cert.pem", ""),
        ];
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        if let Err(error) = Config::load(None, &|_| None, dir.path()) {
            panic!("{error}\nin\n{block}");
        }
    }
}

#[test]
fn the_config_of_the_reference_replay_loads_as_corescope_means_it() {
    let Some(file) = reference("replay-config.json") else { return };
    let dir = tempfile::tempdir().unwrap();
    let config = Config::load(Some(&file), &|_| None, dir.path()).unwrap();
    assert_eq!(config.origin, Origin::CoreScope(file));
    assert_eq!(config.db_path, dir.path().join("replay.db"));
    assert!(!config.broker.enabled);
    assert_eq!((config.sources.len(), config.sources[0].remote.port), (1, 18831));
    assert_eq!(config.hash_regions, ["#sjc", "#europe", "#test"]);
    // The key file lies beside the config file: 296 names, two hashtags, one key by hand.
    assert_eq!(config.channel_keys.len(), 299);
    assert_eq!(config.channel_keys.last().unwrap().name(), "public");
    assert_eq!(config.retention.nodes.as_secs(), 3650 * 86_400);
    assert_eq!(config.notes, [""; 0]);
}

#[test]
fn check_names_the_nodes_whose_messages_are_opened_and_a_public_key_that_is_not_theirs() {
    // Keys that the firmware publishes in src/Identity.cpp.
    let private = "18469d6140447f77de13cd8d761e605431f52269fbff43b0925752ed9e6745435dc6a86d2568af8b70d3365db3f88234760c8ecc645ce469829bc45b65f1d5d5";
    let public = "4852b69364572b52efa1b6bb3e6d0abed4f389a1cbfbb60a9bba2cce649caf0e";
    let other = "1ec77175b0918ed206f9ae04ec136d6d5d4315bb26305427f645b492e9350c10";
    let dir = tempfile::tempdir().unwrap();
    let text = "nodeKeys = ['node.json']\n";
    let key = |public: &str| {
        let key = format!(r#"{{"private_key": "{private}", "public_key": "{public}"}}"#);
        fs::write(dir.path().join("node.json"), key).unwrap();
    };
    key(&public.to_uppercase());
    let printed = check(dir.path(), "broker.toml", text, false).unwrap();
    let told = format!("node key  {public}, whose private messages are opened and stored\n");
    assert!(printed.contains(&told), "{printed}");
    let printed = check(dir.path(), "broker.toml", text, true).unwrap();
    let object: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(object["nodeKeys"], serde_json::json!([public]));
    assert!(!printed.contains(&private[..16]));

    key(other);
    let line = format!(
        "{}/node.json: public_key is not that of private_key, which is {public}; export the node \
         again",
        dir.path().display()
    );
    assert_eq!(check(dir.path(), "broker.toml", text, false).unwrap_err(), line);
    let printed = check(dir.path(), "broker.toml", text, true).unwrap();
    let object: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&object["ok"], object["error"].as_str()), (&Value::Bool(false), Some(&*line)));
}
