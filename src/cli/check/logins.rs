//! What `meshbox check` says of logins.

use serde_json::{Value, json};

use crate::config::{Config, Role};

const ROLES: [(Role, &str, &str); 4] = [
    (Role::Publisher, "publisher", "publishers"),
    (Role::Reader, "reader", "readers"),
    (Role::Limited, "limited reader", "limited readers"),
    (Role::Admin, "admin", "admins"),
];

/// Lines for people; none without a broker.
pub(super) fn in_words(config: &Config) -> Vec<(&'static str, String)> {
    if !config.broker.enabled {
        return Vec::new();
    }
    let logins = &config.broker.logins;
    let counted = ROLES.into_iter().filter_map(|(role, one, many)| match count(config, role) {
        0 => None,
        1 => Some(format!("1 {one}")),
        n => Some(format!("{n} {many}")),
    });
    let counted: Vec<_> = counted.collect();
    let file = logins.accounts.path.display();
    let accounts = match counted.is_empty() {
        true => format!("none in {file}; user names are not judged on the local network"),
        false => format!("{} in {file}", counted.join(", ")),
    };
    let audience = match logins.audience.any {
        true => "for any broker".to_owned(),
        false => {
            let names = logins.audience.names.join(" ");
            format!("for {names} and the addresses of this machine")
        }
    };
    let skew = logins.token_skew.as_secs();
    let bind = match config.broker.policy.bind_first_key {
        true => "the first observer that they publish for",
        false => "every observer without a login of its own",
    };
    vec![
        ("accounts", accounts),
        ("tokens", format!("{audience}, by clocks up to {skew} s off")),
        ("keyless", format!("publishers without a key speak for {bind}")),
    ]
}

/// The same for programs.
pub(super) fn as_json(config: &Config) -> Value {
    let logins = &config.broker.logins;
    let roles = ROLES.map(|(role, ..)| (role.to_string(), json!(count(config, role))));
    let audience = match logins.audience.any {
        true => vec!["*".to_owned()],
        false => logins.audience.names.clone(),
    };
    json!({
        "accountsFile": logins.accounts.path,
        "accounts": roles.into_iter().collect::<serde_json::Map<_, _>>(),
        "audience": audience,
        "tokenSkewSec": logins.token_skew.as_secs(),
        "bindFirstKey": config.broker.policy.bind_first_key,
    })
}

fn count(config: &Config, role: Role) -> usize {
    config.broker.logins.accounts.accounts.iter().filter(|it| it.role == role).count()
}
