//! Logins and certificates that are wrong: a clear line each.

use super::{hub, hub_at, key_file, messages, publish, stop, to, until};
use crate::support::certificates::Authority;
use crate::support::process::{Mosquitto, free_port};

use meshbox::clock::Clock;
use std::path::Path;
use std::process::Command;

/// The line of an uplink that fails.
async fn said(dir: &Path, uplink: &str) -> String {
    let hub = hub(dir, free_port(), uplink).await;
    let failed = until(&hub, "up", "fails", |it| !it.last_error.is_empty()).await;
    assert!(!failed.connected);
    stop(hub).await;
    failed.last_error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mosquitto_with_tls_and_a_password_takes_what_we_send_and_what_is_wrong_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mosquitto_passwd) = crate::support::program("mosquitto_passwd") else { return };
    let passwords = dir.path().join("passwords");
    let made = Command::new(mosquitto_passwd)
        .args(["-b", "-c"])
        .arg(&passwords)
        .args(["hub", "s3cret"])
        .status()
        .unwrap();
    assert!(made.success());
    let authority = Authority::new(dir.path());
    let port = free_port().port();
    let pair = authority.sign("localhost");
    let tls = format!(
        "listener {port} 127.0.0.1\ncertfile {}\nkeyfile {}\npassword_file {}\n",
        pair.certificate.display(),
        pair.key.display(),
        passwords.display()
    );
    let Some(_broker) = Mosquitto::start(dir.path(), &tls) else { return };
    let ca = authority.file();
    let uplink = |host: &str, password: &str, ca: &str| {
        format!(
            "[[uplinks]]\nname = 'up'\nbroker = 'mqtts://{host}:{port}'\nusername = 'hub'\n\
             password = '{password}'\ntypes = ['packets']\n{ca}\n"
        )
    };
    let believed = format!("caFile = '{}'", ca.display());
    let at = free_port();
    let home = dir.path().join("hub");
    let right = hub(&home, at, &uplink("localhost", "s3cret", &believed)).await;
    until(&right, "up", "connects", |it| it.connected).await;
    publish(at, &messages(0..5)).await;
    until(&right, "up", "all acknowledged", |it| it.sent == 5).await;
    stop(right).await;

    let wrong = said(&home, &uplink("localhost", "wr0ng", &believed)).await;
    assert!(wrong.starts_with("login: refused: "), "{wrong}");
    assert!(wrong.ends_with("check the uplink's `username` and `password`"), "{wrong}");
    let stranger = said(&home, &uplink("localhost", "s3cret", "")).await;
    assert!(stranger.starts_with("tls: its certificate is signed by nobody"), "{stranger}");
    assert!(stranger.contains("caFile"), "{stranger}");
    let named = said(&home, &uplink("127.0.0.1", "s3cret", &believed)).await;
    assert!(
        named.starts_with("tls: its certificate is for localhost, not for 127.0.0.1"),
        "{named}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_has_expired_a_name_that_nobody_has_and_a_dead_port_are_said() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    let pair = authority.sign_expired("localhost");
    let port = free_port().port();
    let (certificate, key) = (pair.certificate.display(), pair.key.display());
    let tls = format!("listener {port} 127.0.0.1\ncertfile {certificate}\nkeyfile {key}\n");
    let Some(_broker) = Mosquitto::start(dir.path(), &tls) else { return };
    let home = dir.path().join("hub");
    let expired = format!(
        "[[uplinks]]\nname = 'up'\nbroker = 'mqtts://localhost:{port}'\ncaFile = '{}'\n",
        authority.file().display()
    );
    let expired = said(&home, &expired).await;
    assert!(expired.starts_with("tls: its certificate has expired"), "{expired}");
    let nowhere = "[[uplinks]]\nname = 'up'\nbroker = 'mqtt://hub.invalid:1883'\n";
    let nowhere = said(&home, nowhere).await;
    assert!(nowhere.starts_with("resolving: "), "{nowhere}");
    assert!(
        nowhere.ends_with("check the host name in `broker` and this machine's DNS"),
        "{nowhere}"
    );
    let nobody = said(&home, &to(free_port())).await;
    assert!(nobody.starts_with("connecting: nothing listens there"), "{nobody}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_for_another_audience_is_refused_with_what_was_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let name = format!("up/{}", key_file(&dir.path().join("hub")));
    let public = free_port();
    let listener = "[broker]\naudience = ['hub.example']\n[[broker.listeners]]\n";
    let text = format!("{listener}bind = '{public}'\naccess = 'accounts'\n");
    let there = dir.path().join("public");
    std::fs::create_dir_all(&there).unwrap();
    std::fs::write(there.join("broker.toml"), text).unwrap();
    let config = meshbox::config::Config::load(None, &|_| None, &there).unwrap();
    let public_hub = meshbox::app::Hub::start(&config, Clock::system()).await.unwrap();
    let at = free_port();
    let uplink = |audience: &str| {
        format!(
            "[[uplinks]]\nname = 'up'\nbroker = 'mqtt://{public}'\nkeyFiles = ['node.key']\n\
             audience = '{audience}'\n"
        )
    };
    let home = dir.path().join("hub");
    let wrong = hub(&home, at, &uplink("other.example")).await;
    let refused = until(&wrong, &name, "is refused", |it| !it.last_error.is_empty()).await;
    assert!(refused.last_error.starts_with("login: refused: "), "{}", refused.last_error);
    let words = "the token was for audience \"other.example\" and 3600 s: check `audience`";
    assert!(refused.last_error.contains(words), "{}", refused.last_error);
    stop(wrong).await;
    let right = hub(&home, at, &uplink("hub.example")).await;
    until(&right, &name, "is taken", |it| it.connected).await;
    stop(right).await;
    stop(public_hub).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_begins_in_1970_makes_no_token_until_its_clock_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let broker = crate::bridge::fake::Fake::start().await;
    let key = key_file(dir.path());
    let text = format!(
        "[[uplinks]]\nname = 'up'\nbroker = 'mqtt://{}'\nkeyFiles = ['node.key']\n",
        broker.at
    );
    let clock = Clock::by_hand(5_000);
    let hub = hub_at(dir.path(), free_port(), &text, clock.clone()).await;
    let name = format!("up/{key}");
    let waits = until(&hub, &name, "says so", |it| !it.last_error.is_empty()).await;
    assert!(waits.last_error.starts_with("waits for this machine's clock"), "{}", waits.last_error);
    assert_eq!(waits.attempts, 0, "no login is burnt");
    clock.set(1_800_000_000_000);
    let (_client, connect) = broker.log_in(false).await;
    let token = meshbox::crypto::token::Token::parse(connect.login.unwrap().password.as_bytes());
    assert_eq!(token.unwrap().claims.issued_at_s, 1_800_000_000);
    stop(hub).await;
}
