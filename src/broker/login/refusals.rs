//! Every refusal of a client: the code it gets, the name it is counted by, and the words that help
//! whoever set it up. Never a password or a token.

use std::time::Duration;

use crate::broker::identity::ObserverKey;
use crate::broker::reason::Answer;
use crate::config::Account;
use crate::crypto::token;

/// A client that is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Refusal {
    /// What it is told; `None`: what came is no MQTT login, and gets no answer.
    pub(in crate::broker) code: Option<Answer>,
    /// The name under which it is counted.
    pub(in crate::broker) reason: &'static str,
    /// For the log and the list of refusals: who it was, what is wrong, what to do.
    pub(in crate::broker) help: Option<Box<str>>,
}

impl Refusal {
    fn because(self, help: String) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Whether wrong credentials were shown, which an address may do so often and no more.
    pub(in crate::broker) fn is_wrong_login(&self) -> bool {
        use Answer::{BadUserNamePassword, NotAuthorized};
        matches!(self.code, Some(BadUserNamePassword | NotAuthorized))
    }
}

/// What came is no MQTT login, and gets no answer.
pub(in crate::broker) fn silently(reason: &'static str) -> Refusal {
    Refusal { code: None, reason, help: None }
}

/// An answer with this code.
pub(in crate::broker) fn with(code: Answer, reason: &'static str) -> Refusal {
    Refusal { code: Some(code), reason, help: None }
}

/// A token that is not right: code 5 for one that is its owner's, but not for us or for now; else 4.
pub(in crate::broker) fn token(key: ObserverKey, error: &token::Error) -> Refusal {
    let code = match error.is_genuine() {
        true => Answer::NotAuthorized,
        false => Answer::BadUserNamePassword,
    };
    with(code, error.name()).because(format!("v1_{key}: {error}"))
}

/// A user name that announces a token and has no key.
pub(in crate::broker) fn no_key_in_name(name: &str) -> Refusal {
    with(Answer::BadUserNamePassword, "token_user_name_without_key").because(format!(
        "{}: a user name that begins with v1_ goes on with the 64 hex digits of the public key",
        shown(name)
    ))
}

/// A name that no account has.
pub(in crate::broker) fn unknown_account(name: &str) -> Refusal {
    with(Answer::BadUserNamePassword, "account_unknown").because(format!(
        "{}: there is no such account; make one with `meshbox account add`",
        shown(name)
    ))
}

/// A password that is not the account's.
pub(in crate::broker) fn wrong_password(name: &str) -> Refusal {
    with(Answer::BadUserNamePassword, "password_wrong").because(format!(
        "{}: the password is wrong; `meshbox account passwd` sets another one",
        shown(name)
    ))
}

/// Too many logins wait before this one.
pub(in crate::broker) fn busy(name: &str) -> Refusal {
    with(Answer::ServiceUnavailable, "login_queue_full")
        .because(format!("{}: too many logins at once; it will come again", shown(name)))
}

/// An account whose connections are all there.
pub(in crate::broker) fn no_seat(account: &Account) -> Refusal {
    with(Answer::ServiceUnavailable, "account_connections_used_up").because(format!(
        "{}: it has the {} connections of its maxConnections already",
        shown(&account.name),
        account.max_connections.unwrap_or_default()
    ))
}

/// An account that changed while its client was coming in.
pub(in crate::broker) fn account_changed(name: &str) -> Refusal {
    with(Answer::ServiceUnavailable, "account_changed")
        .because(format!("{}: the account has just changed", shown(name)))
}

/// Wrong credentials from an address that has shown too many.
pub(in crate::broker) fn throttled(wait: Duration) -> Refusal {
    with(Answer::TooOften, "login_throttled").because(format!(
        "too many failed logins within a minute; further ones are judged in {} s",
        wait.as_secs() + 1
    ))
}

/// Someone who needs a login and has none that could be judged.
pub(in crate::broker) fn uninvited(refusal: Refusal, has_login: bool) -> Refusal {
    let help = match has_login {
        true => {
            "its password cannot be judged: there are no accounts; `meshbox account add` makes one"
        }
        false => "it gave no user name and password",
    };
    refusal.because(help.to_owned())
}

/// In quotes, with control characters escaped, and not too long for a line.
fn shown(name: &str) -> String {
    let start: String = name.chars().take(super::SHOWN_OF_NAME).collect();
    format!("{start:?}")
}
