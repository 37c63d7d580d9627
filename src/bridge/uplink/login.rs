//! Who we are at a broker: a name and a password, or a token made for each connection.

use super::super::link::address;
use crate::clock::{Doubt, Trust};
use crate::config::secret::Secret;
use crate::config::{Login, Scheme, Uplink};
use crate::crypto::token::{self, Claims, SigningKey};

use rumqttc::MqttOptions;
use std::sync::Arc;
use std::time::Duration;

/// Who we are on a connection.
#[derive(Clone, Debug)]
pub(super) enum Credentials {
    /// A name and a password, or neither.
    Account(Option<String>, Option<Secret>),
    /// A token of this key, made for each connection.
    Token(Arc<SigningKey>),
}

/// The largest packet in either direction, in bytes: four times the largest payload that is taken in.
const MAX_PACKET: usize = 1 << 20;

/// Packet ids in use at once: far more than are under way, so that none is used twice.
const PACKET_IDS: u16 = 1_000;

/// The options of a connection that is made now.
pub(super) fn options(
    settings: &Uplink,
    credentials: &Credentials,
    client_id: &str,
    now_ms: i64,
) -> MqttOptions {
    let remote = &settings.remote;
    let mut options = MqttOptions::new(client_id, address(remote), remote.port);
    options
        .set_keep_alive(settings.keep_alive)
        .set_clean_session(true)
        .set_inflight(PACKET_IDS)
        .set_max_packet_size(MAX_PACKET, MAX_PACKET);
    match credentials {
        Credentials::Account(None, _) => {}
        Credentials::Account(Some(name), password) => {
            options.set_credentials(name, password.as_ref().map_or("", |it| it.reveal()));
        }
        Credentials::Token(key) => {
            let token = token::mint(key, &claims(settings, now_ms));
            options.set_credentials(token::username(key.public_key()), token);
        }
    }
    options
}

/// Owner and email are personal: they are told over TLS with a known end alone.
fn claims(settings: &Uplink, now_ms: i64) -> Claims {
    let Login::Token { audience, lifetime, owner, email, .. } = &settings.login else {
        return Claims::default();
    };
    let remote = &settings.remote;
    let verified = matches!(remote.scheme, Scheme::Tls | Scheme::Wss) && remote.tls.verify;
    let personal = |it: &Option<String>| it.clone().filter(|_| verified);
    let now_s = now_ms / 1_000;
    let lifetime_s = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
    Claims {
        issued_at_s: now_s,
        expires_at_s: Some(now_s.saturating_add(lifetime_s)),
        audience: vec![audience.clone()],
        owner: personal(owner),
        email: personal(email),
        client: Some(concat!("meshbox/", env!("CARGO_PKG_VERSION")).to_owned()),
    }
}

/// After this a connection is made anew, with a new token.
pub(super) fn renewal(settings: &Uplink) -> Option<Duration> {
    match &settings.login {
        Login::Token { lifetime, .. } => Some(*lifetime * 4 / 5),
        Login::Account { .. } => None,
    }
}

/// Whether a token that is made now has times that a broker would refuse.
///
/// A clock that has only not run for long enough is tried: most are right. Once a login was refused
/// meanwhile, that clock is waited for too.
#[derive(Debug, Default)]
pub(super) struct Times {
    refused: bool,
}

impl Times {
    /// Why no token is made now.
    pub(super) fn doubt(&mut self, credentials: &Credentials, trust: &Trust) -> Option<Doubt> {
        if matches!(credentials, Credentials::Account(..)) {
            return None;
        }
        match trust.now_ms() {
            Ok(_) => {
                self.refused = false;
                None
            }
            Err(Doubt::Unsettled { .. }) if !self.refused => None,
            Err(doubt) => Some(doubt),
        }
    }

    /// A login was refused.
    pub(super) fn refused(&mut self, trust: &Trust) {
        self.refused |= trust.now_ms().is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const RIGHT_MS: i64 = 1_800_000_000_000;

    #[test]
    fn a_token_waits_for_a_clock_that_is_wrong_and_after_a_refusal_for_one_that_is_new() {
        let token = Credentials::Token(Arc::new(SigningKey::from_expanded(&[9; 64])));
        let clock = Clock::by_hand(5);
        let trust = Trust::judge(clock.clone());
        let mut times = Times::default();
        assert_eq!(times.doubt(&token, &trust), Some(Doubt::BeforeRelease));
        assert_eq!(times.doubt(&Credentials::Account(None, None), &trust), None);
        clock.set(RIGHT_MS);
        assert!(trust.now_ms().is_err(), "it has just jumped");
        assert_eq!(times.doubt(&token, &trust), None);
        times.refused(&trust);
        assert!(matches!(times.doubt(&token, &trust), Some(Doubt::Unsettled { .. })));
        clock.run(Duration::from_secs(700));
        assert_eq!(times.doubt(&token, &trust), None);
        times.refused(&trust);
        assert_eq!(times.doubt(&token, &trust), None, "the clock is not to blame");
    }
}
