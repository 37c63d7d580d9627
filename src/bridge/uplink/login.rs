//! What a connection is asked for with, and when a token may be made for it.

use super::super::link::address;
use super::super::login::Credentials;
use crate::clock::{Doubt, Trust};
use crate::config::Uplink;

use rumqttc::MqttOptions;

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
    credentials.put(&mut options, now_ms);
    options
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
    use crate::config::secret::KeyBytes;
    use crate::config::{Login, NodeKey, Remote};
    use std::time::Duration;

    const RIGHT_MS: i64 = 1_800_000_000_000;

    #[test]
    fn a_token_waits_for_a_clock_that_is_wrong_and_after_a_refusal_for_one_that_is_new() {
        let login = Login::Token {
            keys: vec![NodeKey {
                file: "node.key".into(),
                private: KeyBytes::new([9; 64]),
                public: None,
            }],
            audience: "hub.example".into(),
            lifetime: Duration::from_secs(3_600),
            owner: None,
            email: None,
        };
        let token = Credentials::of(&login, &Remote::mqtt("hub.example", 1883)).remove(0);
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
