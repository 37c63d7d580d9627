//! Brokers to pass traffic on to.

use super::*;
use crate::config::Login;

#[test]
fn a_token_preset_without_key_files_says_so_and_with_them_is_expanded() {
    let error = line(toml("[[uplinks]]\npreset = 'waev-a'"));
    assert!(error.contains("uplinks[0].keyFiles: is missing; this broker"), "{error}");
    let key = format!("{}40{}", "00".repeat(31), "11".repeat(32));
    let text = "[[uplinks]]\npreset = 'waev-a'\nkeyFiles = ['k']\nspoolMaxAge = '12h'";
    let dir = folder(&[("broker.toml", text), ("k", &key)]);
    let config = load("broker.toml", dir.path(), &no_env).unwrap();
    let [uplink] = &config.uplinks[..] else { panic!("one uplink") };
    assert_eq!(uplink.name, "waev-a");
    assert_eq!(uplink.remote.to_string(), "wss://mqtt-a.waev.app:443/");
    assert!(uplink.needs_origin_id && !uplink.retain);
    assert_eq!(uplink.keep_alive, Duration::from_secs(55));
    assert_eq!((uplink.spool_bytes, uplink.spool_age), (64 << 20, Duration::from_secs(43_200)));
    let Login::Token { keys, audience, lifetime, .. } = &uplink.login else { panic!("tokens") };
    assert_eq!((keys.len(), &audience[..]), (1, "mqtt-a.waev.app"));
    assert_eq!(*lifetime, Duration::from_secs(3_300));
}

#[test]
fn what_is_wrong_with_an_uplink_is_said_in_one_line() {
    let cases = [
        ("rate = 5", "broker: is missing"),
        ("preset = 'letsmesh'", "preset: is not one of"),
        ("preset = 'inwmesh'\nbroker = 'mqtt://x'", "broker: is given beside preset"),
        ("broker = 'mqtt://localhost:1883'", "our own listener on 0.0.0.0:1883"),
        ("broker = 'mqtt://a:b@x'", "use username and password"),
        ("broker = 'mqtt://x'\ntopic = 'a/#'", "topic: is no topic to publish on"),
        ("broker = 'mqtt://x'\ntypes = ['raw']", "types[0]: use one of packets"),
        ("broker = 'mqtt://x'\npayloadTypes = [16]", "payloadTypes: are numbers from 0 to 15"),
        ("broker = 'mqtt://x'\nspoolMaxAge = '7 days'", "spoolMaxAge: is no time"),
        ("broker = 'mqtt://x'\nrate = 0", "rate: 0 is too small"),
        (
            "broker = 'mqtt://x'\n[uplinks.geo_filter]\nlatMin = 1.0",
            "uplinks[0].geo_filter: is no area",
        ),
        ("broker = 'mqtt://x'\npassword = 'x'", "add username"),
        ("broker = 'mqtt://x'\n[[uplinks]]\nbroker = 'mqtt://x'", "name of another one"),
    ];
    for (text, expected) in cases {
        let error = line(toml(&format!("[[uplinks]]\n{text}")));
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn an_area_is_written_as_for_the_whole_hub() {
    let text = "[[uplinks]]\nbroker = 'mqtt://x'\n[uplinks.geo_filter]\npolygon = [[1, 1], [1, 3], \
                [3, 1]]\nbufferKm = 5";
    let area = toml(text).unwrap().uplinks.remove(0).area.unwrap();
    assert!(area.holds(1.5, 1.5) && area.holds(0.97, 1.5) && !area.holds(0.9, 1.5));
}

#[test]
fn every_preset_is_a_configuration_once_its_login_is_there() {
    let key = format!("{}40{}", "00".repeat(31), "11".repeat(32));
    for (name, login) in crate::config::uplinks::preset_names() {
        let bare = format!("[[uplinks]]\npreset = '{name}'\n");
        let given = match login {
            Some("keyFiles") => "keyFiles = ['k']",
            Some(_) => "username = 'u'\npassword = 'p'",
            None => "",
        };
        let dir = folder(&[("broker.toml", &format!("{bare}{given}")), ("k", &key)]);
        let config = load("broker.toml", dir.path(), &no_env).unwrap();
        assert_eq!(config.uplinks[0].name, name);
        if let Some(login) = login {
            let error = line(toml(&bare));
            assert!(error.contains(&format!("{login}: is missing; this broker ")), "{error}");
        }
    }
}
