//! What went wrong at a broker that traffic is passed on to, and what to look at: in the words of an
//! uplink's own keys.

use super::super::failure::{Failure, PATTERN, Step};
use crate::config::Login;

/// One line. `insists`: the last failures were at the same step; `everything`: that broker hangs up
/// whatever it is sent.
pub(super) fn words(failure: &Failure, login: &Login, insists: bool, everything: bool) -> String {
    let step = match failure.step {
        Step::Receiving => "sending",
        step => step.as_str(),
    };
    let mut words = format!("{step}: {}", failure.reason);
    if insists {
        words.push_str(&format!(" ({PATTERN} times or more in a row)"));
    }
    let advice = if everything {
        Some(
            "it hangs up on every message: look at what this login may publish, and at `topic` and \
             `types`"
                .to_owned(),
        )
    } else {
        advice(failure.step, login, insists)
    };
    if let Some(advice) = advice {
        words.push_str(&format!("; {advice}"));
    }
    words
}

fn advice(step: Step, login: &Login, insists: bool) -> Option<String> {
    let advice = match (step, login) {
        (Step::Login, Login::Account { username: None, .. }) => {
            "that broker may want `username` and `password`, or a token: `keyFiles`".to_owned()
        }
        (Step::Login, Login::Account { .. }) => {
            "check the uplink's `username` and `password`".to_owned()
        }
        (Step::Login, Login::Token { audience, lifetime, .. }) => format!(
            "the token was for audience {audience:?} and {} s: check `audience`, this machine's \
             clock, and that the observer of `keyFiles` is known there",
            lifetime.as_secs()
        ),
        (Step::Resolving, _) => "check the host name in `broker` and this machine's DNS".to_owned(),
        (Step::Connecting, _) if insists => {
            "check host and port in `broker`, firewalls, and that it runs".to_owned()
        }
        (Step::WebSocket, _) if insists => "check host, port and path of `broker`".to_owned(),
        (Step::Receiving, _) if insists => {
            "look into that broker's log, and at what this login may publish there".to_owned()
        }
        _ => return None,
    };
    Some(advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_refused_token_is_told_with_what_was_in_it() {
        let (audience, lifetime) = ("hub.example".to_owned(), Duration::from_secs(3_300));
        let token = Login::Token { keys: vec![], audience, lifetime, owner: None, email: None };
        let failure = Failure::new(Step::Login, "refused: not authorized (code 5)");
        let words = words(&failure, &token, true, false);
        let expected = "login: refused: not authorized (code 5) (3 times or more in a row); the \
                        token was for audience \"hub.example\" and 3300 s: check `audience`, ";
        assert!(words.starts_with(expected), "{words}");
    }

    #[test]
    fn a_single_failure_at_the_network_needs_no_advice_and_a_series_has_some() {
        let account = Login::Account { username: None, password: None };
        let said = |step, insists| words(&Failure::new(step, "x"), &account, insists, false);
        assert_eq!(said(Step::Connecting, false), "connecting: x");
        assert!(said(Step::Connecting, true).ends_with("firewalls, and that it runs"));
        assert_eq!(said(Step::Receiving, false), "sending: x");
        let all = words(&Failure::new(Step::Receiving, "x"), &account, true, true);
        assert!(all.contains("hangs up on every message"), "{all}");
    }
}
