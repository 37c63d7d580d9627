//! `meshbox account` and `meshbox token`, as a person uses them.

mod claims;

use crate::support::packets::{OBSERVER, packet_message, packets_topic, text_packet};
use crate::support::process::HubProcess;
use crate::support::{eventually, program};

use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Runs meshbox in `dir`: exit code, stdout, stderr.
fn meshbox(dir: &Path, args: &[&str], stdin: &str) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_meshbox"))
        .args(args)
        .current_dir(dir)
        .write_stdin(stdin)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The same where it has to go well: stdout.
fn done(dir: &Path, args: &[&str], stdin: &str) -> String {
    let (code, stdout, stderr) = meshbox(dir, args, stdin);
    assert_eq!((code, stderr.as_str()), (0, ""), "{args:?}");
    stdout
}

fn accounts(dir: &Path) -> String {
    fs::read_to_string(dir.join("accounts.toml")).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The word behind `password` in what was printed.
fn password(printed: &str) -> &str {
    let line = printed.lines().find_map(|line| line.strip_prefix("password  "));
    line.expect("a password").trim()
}

#[test]
fn accounts_are_added_listed_changed_and_removed_and_comments_stay() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    assert!(done(dir, &["account", "list"], "").starts_with("no accounts in "));
    let key = "ab".repeat(32);
    let args = ["account", "add", "roof", "--role", "publisher", "--key", &key];
    let said =
        done(dir, &[&args[..], &["--max-connections", "2", "--password-stdin"]].concat(), "x\n");
    assert!(said.contains("a hub that runs in this folder takes it within two seconds"), "{said}");
    assert!(said.contains("the first account") && !said.contains("password  "), "{said}");
    assert_eq!(mode(&dir.join("accounts.toml")), 0o600);
    fs::write(dir.join("accounts.toml"), format!("# ours\n\n# up there{}", accounts(dir))).unwrap();
    let said = done(dir, &["account", "add", "ha", "--role", "reader", "--generate"], "");
    assert_eq!(password(&said).len(), 24, "{said}");
    assert!(!accounts(dir).contains(password(&said)), "the password itself is kept nowhere");

    let key = key.to_uppercase();
    let listed = done(dir, &["account", "list"], "");
    let expected = format!("ha    reader\nroof  publisher, for {key}, 2 connections at most\n");
    assert_eq!(listed, expected);
    let listed: Value =
        serde_json::from_str(&done(dir, &["account", "list", "--json"], "")).unwrap();
    assert_eq!(listed["accounts"][1]["key"], key);
    assert_eq!(listed["accounts"][0]["role"], "reader");

    let before = accounts(dir);
    done(dir, &["account", "passwd", "roof", "--password-stdin"], "y\n");
    let changed: Vec<_> =
        before.lines().zip(accounts(dir).lines()).filter(|(a, b)| a != b).map(|_| ()).collect();
    assert_eq!(changed.len(), 1, "one line is another one, and the comments are not");
    assert!(accounts(dir).starts_with("# ours\n\n# up there\n"));
    done(dir, &["account", "remove", "roof"], "");
    assert!(accounts(dir).starts_with("# ours\n\n[accounts.ha]\n"), "{}", accounts(dir));
    let said = done(dir, &["account", "remove", "ha"], "");
    assert!(said.contains("No account is left"), "{said}");
    assert_eq!(mode(&dir.join("accounts.toml")), 0o600);
    assert_eq!(fs::read_dir(dir).unwrap().count(), 1, "no other file is left behind");
}

#[test]
fn the_file_is_the_one_that_the_hub_reads_and_keeps_the_group_that_may_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("etc");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("hub.toml"), "[broker]\naccountsFile = \"who.toml\"\n").unwrap();
    let add = |name: &str| {
        let args = ["account", "--config", "etc/hub.toml", "add", name, "--role", "admin"];
        done(dir.path(), &[&args[..], &["--generate"]].concat(), "")
    };
    assert!(add("a").contains("etc/who.toml as admin; a running hub takes it"));
    let file = home.join("who.toml");
    for (before, after) in [(0o640, 0o640), (0o644, 0o640), (0o600, 0o600)] {
        fs::set_permissions(&file, PermissionsExt::from_mode(before)).unwrap();
        add(&format!("name{before:o}"));
        assert_eq!(mode(&file), after, "{before:o}");
    }
    let said = done(dir.path(), &["check", "--config", "etc/hub.toml"], "");
    assert!(said.contains("accounts  4 admins in ") && said.contains("etc/who.toml"), "{said}");
}

#[test]
fn what_root_writes_the_hub_can_read() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can give files away");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (hub, file) = (dir.path().join("broker.toml"), dir.path().join("accounts.toml"));
    let owned = || {
        let it = fs::metadata(&file).unwrap();
        (it.uid(), it.gid(), mode(&file))
    };
    let add = ["account", "add", "a", "--role", "reader", "--generate"];
    // The folder is the hub's.
    std::os::unix::fs::chown(dir.path(), Some(12345), Some(12346)).unwrap();
    done(dir.path(), &add, "");
    assert_eq!(owned(), (12345, 12346, 0o600));
    // The file is somebody's already.
    std::os::unix::fs::chown(&file, Some(11111), Some(11112)).unwrap();
    done(dir.path(), &["account", "passwd", "a", "--generate"], "");
    assert_eq!(owned(), (11111, 11112, 0o600));
    // The folder is root's, and the hub reads its config by its group, as in deploy/README.md.
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::chown(dir.path(), Some(0), Some(0)).unwrap();
    fs::write(&hub, "").unwrap();
    fs::set_permissions(&hub, PermissionsExt::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&hub, Some(0), Some(12346)).unwrap();
    done(dir.path(), &add, "");
    assert_eq!(owned(), (0, 12346, 0o640));
}

#[test]
fn what_is_wrong_is_said_in_one_line_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let add = ["account", "add", "roof", "--role", "publisher", "--generate"];
    done(dir, &add, "");
    let before = accounts(dir);
    let one_line = |args: &[&str], stdin: &str, code: i32, part: &str| {
        let (was, stdout, stderr) = meshbox(dir, args, stdin);
        assert_eq!((was, stdout.as_str()), (code, ""), "{args:?}: {stderr}");
        assert!(stderr.contains(part), "{args:?}: {stderr}");
        assert!(code == 2 || stderr.lines().count() == 1, "{args:?}: {stderr}");
    };
    let reader = ["account", "add", "ha", "--role", "reader"];
    let with = |more: &[&'static str]| [&reader[..], more].concat();
    one_line(&add, "", 1, "has an account roof already; passwd gives it a new password");
    one_line(&reader, "", 1, "use --password-stdin or --generate");
    one_line(&with(&["--password-stdin"]), "\n", 1, "the password is empty");
    one_line(&with(&["--password-stdin"]), "a\nb\n", 1, "more than one line");
    one_line(&["account", "remove", "attic"], "", 1, "has no account attic");
    one_line(&["account", "passwd", "attic", "--generate"], "", 1, "has no account attic");
    let key: &'static str = OBSERVER;
    one_line(&with(&["--generate", "--key", key]), "", 2, "--key goes with --role publisher");
    one_line(&with(&["--generate", "--password-stdin"]), "x", 2, "cannot be used with");
    one_line(&with(&["--generate", "--key", "12"]), "", 2, "write its 64 hex digits");
    one_line(&with(&["--generate", "--max-connections", "0"]), "", 2, "0 is not in 1..=10000");
    one_line(&["account", "add", "x", "--generate", "--role", "raeder"], "", 2, "\"reader\"");
    one_line(
        &["account", "add", "v1_x", "--generate", "--role", "reader"],
        "",
        2,
        "begins with v1_",
    );
    assert_eq!(accounts(dir), before);

    let broken = format!("{before}\n[accounts.ha]\nrole = 'raeder'\n");
    let line = broken.lines().count();
    fs::write(dir.join("accounts.toml"), &broken).unwrap();
    let place = format!("accounts.toml:{line}: accounts.ha.role: is not one of");
    for args in [&add[..], &["account", "list"], &["account", "remove", "roof"]] {
        one_line(args, "", 1, &place);
    }
    assert_eq!(accounts(dir), broken, "a broken file is left as it is");
    done(dir, &["account", "remove", "ha"], "");
    assert_eq!(accounts(dir), before, "what is broken can be removed");
}

#[test]
fn two_who_change_the_file_at_the_same_time_both_do() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::thread::scope(|scope| {
        for n in 0..6 {
            let name = format!("name{n}");
            scope.spawn(move || {
                done(dir, &["account", "add", &name, "--role", "reader", "--generate"], "");
            });
        }
    });
    assert_eq!(done(dir, &["account", "list"], "").lines().count(), 6);
}

/// A key that the firmware publishes in src/Identity.cpp.
const PRIVATE: &str = "18469d6140447f77de13cd8d761e605431f52269fbff43b0925752ed9e6745435dc6a86d2568af8b70d3365db3f88234760c8ecc645ce469829bc45b65f1d5d5";
const PUBLIC: &str = "4852B69364572B52EFA1B6BB3E6D0ABED4F389A1CBFBB60A9BBA2CCE649CAF0E";

/// A user name and a token for `hub.example.org`, valid for a minute.
fn minted(dir: &Path, more: &[&str]) -> (String, String) {
    let file = dir.join("node.key");
    fs::write(&file, PRIVATE).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let args = ["token", "mint", "node.key", "--audience", "hub.example.org", "--json"];
    let login = done(dir, &[&args[..], more].concat(), "");
    let login: Value = serde_json::from_str(&login).unwrap();
    let text = |key: &str| login[key].as_str().unwrap().to_owned();
    (text("username"), text("password"))
}

#[test]
fn a_minted_token_verifies_for_its_audience_and_for_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (name, token) = minted(dir, &["--email", "me@example.org"]);
    assert_eq!(name, format!("v1_{PUBLIC}"));
    let args = ["token", "verify", "-", "--username", &name, "--audience", "HUB.example.org"];
    let said = done(dir, &args, &format!("{token}\n"));
    for part in [
        &format!("key       {PUBLIC}\n")[..],
        "issued    ",
        "expires   in 59 min",
        "audience  \"hub.example.org\"\n",
        "client    \"meshbox/",
        "owner     not given\nemail     given\nverdict   good",
    ] {
        // A minute that ends between the two programs is an hour that begins.
        let whole = part.replace("in 59 min", "in 1 h 0 min");
        assert!(said.contains(part) || said.contains(&whole), "{part} in {said}");
    }
    assert!(!said.contains("me@example.org"));

    let bad = |args: &[&str], stdin: &str, parts: &[&str]| {
        let (code, said, stderr) = meshbox(dir, args, stdin);
        assert_eq!((code, stderr.as_str()), (1, ""), "{args:?}");
        assert!(parts.iter().all(|part| said.contains(part)), "{parts:?} in {said}");
        said
    };
    let other = ["token", "verify", &token, "--audience", "other.example.org"];
    bad(&other, "", &["bad: the token is for \"hub.example.org\"", "do        set the uploader's"]);
    // Without --audience as the hub of this folder would: it is not called so, until it is.
    bad(&["token", "verify", &token], "", &["broker.audience"]);
    fs::write(dir.join("broker.toml"), "[broker]\naudience = ['hub.example.org']\n").unwrap();
    done(dir, &["token", "verify", &token], "");
    let forged = token.replace(&token[token.len() - 4..], "0000");
    let said =
        bad(&["token", "verify", &forged], "", &["bad: the token's signature", "not proven"]);
    assert!(said.contains("verdict "), "{said}");
    bad(&["token", "verify", "hunter2"], "", &["bad: the password is no token"]);
    let wrong = format!("v1_{OBSERVER}");
    bad(&["token", "verify", &token, "--username", &wrong], "", &["and the user name for 7E76"]);

    let json = |args: &[&str]| -> Value {
        serde_json::from_str(&meshbox(dir, &[args, &["--json"]].concat(), "").1).unwrap()
    };
    let said = json(&other);
    assert_eq!((&said["ok"], &said["error"]), (&false.into(), &"token_audience_wrong".into()));
    assert_eq!((&said["proven"], &said["email"]), (&true.into(), &true.into()));
    let said = json(&["token", "verify", &token]);
    assert_eq!((&said["ok"], &said["publicKey"]), (&true.into(), &PUBLIC.into()));
}

#[test]
fn wrong_arguments_of_token_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    minted(dir, &[]);
    let mint = ["token", "mint", "node.key"];
    for more in [
        &[][..],
        &["--audience", "https://hub.example.org"],
        &["--audience", "hub.example.org", "--lifetime", "soon"],
        &["--audience", "hub.example.org", "--owner", "me"],
    ] {
        let (code, stdout, stderr) = meshbox(dir, &[&mint[..], more].concat(), "");
        assert_eq!((code, stdout.as_str()), (2, ""), "{more:?}: {stderr}");
    }
    let (code, _, stderr) = meshbox(dir, &["token", "mint", "no.key", "--audience", "hub"], "");
    assert_eq!((code, stderr.lines().count()), (1, 1), "{stderr}");
}

/// Publishes with mosquitto_pub at QoS 1: whether it went well, and what it said.
fn publish(port: u16, number: u32, login: &[&str]) -> Option<(bool, String)> {
    let port = port.to_string();
    let message = packet_message(&text_packet(number));
    let output = std::process::Command::new(program("mosquitto_pub")?)
        .args(["-h", "127.0.0.1", "-p", &port, "-q", "1"])
        .args(["-t", &packets_topic(OBSERVER), "-m", &message])
        .args(login)
        .output()
        .unwrap();
    Some((output.status.success(), String::from_utf8_lossy(&output.stderr).to_lowercase()))
}

#[test]
fn a_running_hub_lets_a_new_account_in_and_keeps_a_wrong_password_out() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[[broker.listeners]]\nbind = '127.0.0.1:0'\naccess = 'accounts'\n";
    fs::write(dir.path().join("broker.toml"), config).unwrap();
    let hub = HubProcess::start(dir.path(), &[]);
    let port = hub.mqtt.unwrap().port();
    let Some((let_in, said)) = publish(port, 1, &["-u", "roof", "-P", "x"]) else { return };
    assert!(!let_in && said.contains("not authorised"), "{said}");
    let add = ["account", "add", "roof", "--role", "publisher", "--key", OBSERVER, "--generate"];
    let printed = done(dir.path(), &add, "");
    let login = ["-u", "roof", "-P", password(&printed)];
    eventually("the new account is let in", || publish(port, 2, &login)?.0.then_some(()));
    let (let_in, said) = publish(port, 3, &["-u", "roof", "-P", "wrong"]).unwrap();
    assert!(!let_in, "{said}");
    assert!(
        said.contains("bad user name or password") || said.contains("not authorised"),
        "{said}"
    );
    done(dir.path(), &["account", "remove", "roof"], "");
    eventually("the removed account is kept out", || (!publish(port, 4, &login)?.0).then_some(()));
}

#[test]
fn the_log_says_who_was_refused_and_what_helps() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[[broker.listeners]]\nbind = '127.0.0.1:0'\n";
    fs::write(dir.path().join("broker.toml"), config).unwrap();
    let (name, token) = minted(dir.path(), &[]);
    let hub = HubProcess::start(dir.path(), &[]);
    let port = hub.mqtt.unwrap().port();
    let Some((let_in, _)) = publish(port, 1, &["-u", &name, "-P", &token]) else { return };
    assert!(!let_in);
    let said = eventually("the log", || {
        hub.output().lines().find(|line| line.contains("token_audience_wrong")).map(str::to_owned)
    });
    for part in
        [&name[..], "the token is for \"hub.example.org\"", "add its name to broker.audience"]
    {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
    assert!(!hub.output().contains(&token), "no token is in the log");
}
