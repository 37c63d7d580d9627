//! Every refusal of a client: the code it gets, the name it is counted by, and the words that help
//! whoever set it up. Never a password or a token.

use std::time::Duration;

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
    /// For the log and the list of refusals: what is wrong with this one, where that is more than what
    /// helps against its like.
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
pub(in crate::broker) fn token(error: &token::Error) -> Refusal {
    let code = match error.is_genuine() {
        true => Answer::NotAuthorized,
        false => Answer::BadUserNamePassword,
    };
    with(code, error.name()).because(error.to_string())
}

/// A user name that announces a token and has no key.
pub(in crate::broker) fn no_key_in_name() -> Refusal {
    with(Answer::BadUserNamePassword, "token_user_name_without_key")
}

/// A name that no account has.
pub(in crate::broker) fn unknown_account() -> Refusal {
    with(Answer::BadUserNamePassword, "account_unknown")
}

/// A password that is not the account's.
pub(in crate::broker) fn wrong_password() -> Refusal {
    with(Answer::BadUserNamePassword, "password_wrong")
}

/// Too many logins wait before this one.
pub(in crate::broker) fn busy() -> Refusal {
    with(Answer::ServiceUnavailable, "login_queue_full")
}

/// An account whose connections are all there.
pub(in crate::broker) fn no_seat(account: &Account) -> Refusal {
    with(Answer::ServiceUnavailable, "account_connections_used_up").because(format!(
        "it has the {} connections of its maxConnections already: meshbox status --connections",
        account.max_connections.unwrap_or_default()
    ))
}

/// An account that changed while its client was coming in.
pub(in crate::broker) fn account_changed() -> Refusal {
    with(Answer::ServiceUnavailable, "account_changed")
}

/// Wrong credentials from an address that has shown too many.
pub(in crate::broker) fn throttled(wait: Duration) -> Refusal {
    with(Answer::TooOften, "login_throttled").because(format!(
        "too many failed logins within a minute; further ones are judged in {} s",
        wait.as_secs() + 1
    ))
}

/// Someone who needs a login and has one that cannot be judged, for want of accounts.
pub(in crate::broker) fn uninvited(refusal: Refusal, has_login: bool) -> Refusal {
    if !has_login {
        return refusal;
    }
    let help =
        "its password cannot be judged: there are no accounts; `meshbox account add` makes one";
    refusal.because(help.to_owned())
}
