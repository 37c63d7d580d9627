//! Who comes in, who does not, and what stays of it.

use super::*;
use crate::broker::access;
use crate::config::Accounts;
use crate::config::password::PasswordHash;
use std::path::Path;

const KEY: ObserverKey = ObserverKey([0xAB; 32]);

fn accounts(more: &str) -> AccountsFile {
    let hash = PasswordHash::make(b"hunter2", b"0123456789abcdef").unwrap();
    let text = format!(
        "[accounts.roof]\nrole = 'publisher'\nkey = '{KEY}'\npassword = '{}'\n{more}\n",
        hash.as_str()
    );
    let accounts = Accounts::parse(Path::new("accounts.toml"), &text).unwrap();
    AccountsFile { accounts, ..AccountsFile::default() }
}

fn register(file: AccountsFile) -> Register {
    let logins = Logins { accounts: file, ..Logins::default() };
    let parts = Parts {
        clock: Clock::by_hand(5),
        clock_trusted: Arc::new(|| true),
        counters: Arc::default(),
        secret: [7; 32],
        remembered: Remembered::default(),
        keeper: Arc::new(|_| {}),
    };
    Register::new(logins, parts)
}

async fn recognised(register: &Register) -> Recognised {
    let way = Way::Password { name: "roof", password: b"hunter2" };
    register.recognise(way, "10.0.0.9".parse().unwrap(), Nearness::Lan).await.unwrap()
}

#[tokio::test]
async fn who_is_recognised_and_finds_no_seat_has_claimed_nothing() {
    let register = register(accounts("maxConnections = 1"));
    let first = recognised(&register).await;
    let _seat = register.seat(&first, "a").unwrap();
    let second = recognised(&register).await;
    let refusal = register.seat(&second, "b").unwrap_err();
    assert_eq!(refusal.reason, "account_connections_used_up");
    assert!(!register.claims.is_claimed(&KEY));
    register.let_in(&first.who);
    assert!(register.claims.is_claimed(&KEY));
    assert_eq!(register.counters.broker_logins.get(), 1);
}

#[tokio::test]
async fn who_was_recognised_by_an_account_that_has_changed_since_finds_no_seat() {
    for after in [AccountsFile::default(), {
        let mut file = accounts("");
        let text = format!(
            "[accounts.roof]\nrole = 'admin'\npassword = '{}'\n",
            file.accounts.find("roof").unwrap().password.as_str()
        );
        file.accounts = Accounts::parse(Path::new("accounts.toml"), &text).unwrap();
        file
    }] {
        let register = register(accounts(""));
        let before = recognised(&register).await;
        register.replace(after);
        let refusal = register.seat(&before, "a").unwrap_err();
        assert_eq!(refusal.reason, "account_changed");
        assert!(!register.claims.is_claimed(&KEY));
    }
}

#[tokio::test]
async fn whoever_has_learnt_a_key_that_was_taken_back_speaks_for_it_no_more() {
    let mut file = accounts("");
    let text = format!(
        "[accounts.roof]\nrole = 'publisher'\npassword = '{}'\n",
        file.accounts.find("roof").unwrap().password.as_str()
    );
    file.accounts = Accounts::parse(Path::new("accounts.toml"), &text).unwrap();
    let register = register(file);
    let identity = Identity::Account("roof".into());
    let binding = access::Binding { identity, key: KEY };
    access::Claims::bind(&**register.claims(), &binding).unwrap();
    let before = recognised(&register).await;
    assert_eq!(before.who.key, Some(KEY));
    assert!(register.still_knows(&before), "its will may be said");
    register.release(KEY);
    assert!(!register.still_knows(&before), "a will that has waited is not said");
    // Nor does one come in that was recognised a moment before.
    let refusal = register.seat(&before, "a").unwrap_err();
    assert_eq!(refusal.reason, "account_changed");
    let after = recognised(&register).await;
    assert_eq!(after.who.key, None);
    assert!(register.still_knows(&after) && register.seat(&after, "a").is_ok());
}

#[tokio::test]
async fn a_name_has_the_key_that_its_login_would_be_for() {
    let register = register(accounts(""));
    assert_eq!(register.key_of("roof"), Some(KEY));
    assert_eq!(register.key_of(&format!("V1_{}", KEY.to_string().to_lowercase())), Some(KEY));
    assert_eq!(register.key_of("v1_12"), None);
    assert_eq!(register.key_of("nobody"), None);
}
