//! Who we are at another broker: for sources and uplinks alike.

use crate::config::secret::Secret;
use crate::config::{Login, NodeKey, Remote, Scheme};
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
    Token(Arc<SigningKey>, Arc<Terms>),
}

/// What a token says beside its key and its times. `Debug` leaves out what is personal.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Terms {
    audience: String,
    lifetime: Duration,
    owner: Option<String>,
    email: Option<String>,
}

impl std::fmt::Debug for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terms")
            .field("audience", &self.audience)
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Those of a login at this broker: one for an account, one for each key with tokens.
    pub(super) fn of(login: &Login, remote: &Remote) -> Vec<Self> {
        match login {
            Login::Account { username, password } => {
                vec![Self::Account(username.clone(), password.clone())]
            }
            Login::Token { keys, audience, lifetime, owner, email } => {
                let verified =
                    matches!(remote.scheme, Scheme::Tls | Scheme::Wss) && remote.tls.verify;
                // They are told to a known end alone.
                let personal = |it: &Option<String>| it.clone().filter(|_| verified);
                let terms = Arc::new(Terms {
                    audience: audience.clone(),
                    lifetime: *lifetime,
                    owner: personal(owner),
                    email: personal(email),
                });
                let token = |key: &NodeKey| {
                    let key = SigningKey::from_expanded(key.private.reveal());
                    Self::Token(Arc::new(key), Arc::clone(&terms))
                };
                keys.iter().map(token).collect()
            }
        }
    }

    /// The observer whose key it is, in upper case.
    pub(super) fn observer(&self) -> Option<String> {
        match self {
            Self::Account(..) => None,
            Self::Token(key, _) => Some(hex::encode_upper(key.public_key())),
        }
    }

    /// Puts them into the options of a connection; a token is made now.
    pub(super) fn put(&self, options: &mut MqttOptions, now_ms: i64) {
        match self {
            Self::Account(None, _) => {}
            Self::Account(Some(name), password) => {
                options.set_credentials(name, password.as_ref().map_or("", |it| it.reveal()));
            }
            Self::Token(key, terms) => {
                let token = token::mint(key, &terms.claims(now_ms / 1_000));
                options.set_credentials(token::username(key.public_key()), token);
            }
        }
    }

    /// How long after the dial a connection is made anew, with a new token: a broker may end one
    /// whose token has expired.
    pub(super) fn renewal(&self) -> Option<Duration> {
        match self {
            Self::Account(..) => None,
            Self::Token(_, terms) => Some(terms.lifetime * 4 / 5),
        }
    }

    /// What a person should look at when the login is refused again and again.
    pub(super) fn advice(&self) -> String {
        let port = "that this port speaks what `broker` says (mqtt://, mqtts://, ws:// or wss://)";
        match self {
            Self::Account(..) => {
                format!("check the source's `username` and `password`, and {port}")
            }
            Self::Token(_, terms) => format!(
                "check that the broker knows itself as {:?} (the source's `audience`), that the key \
                 in `keyFile` may read there, this machine's clock, and {port}",
                terms.audience
            ),
        }
    }
}

impl Terms {
    fn claims(&self, now_s: i64) -> Claims {
        let lifetime_s = i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX);
        Claims {
            issued_at_s: now_s,
            expires_at_s: Some(now_s.saturating_add(lifetime_s)),
            audience: vec![self.audience.clone()],
            owner: self.owner.clone(),
            email: self.email.clone(),
            client: Some(concat!("meshbox/", env!("CARGO_PKG_VERSION")).to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::KeyBytes;
    use crate::crypto::token::Token;

    fn login() -> Login {
        let mut private = [0x11; 64];
        private[..32].fill(0);
        private[31] = 0x40;
        let file = "node.key".into();
        Login::Token {
            keys: vec![NodeKey { file, private: KeyBytes::new(private), public: None }],
            audience: "hub.example".into(),
            lifetime: Duration::from_secs(3_600),
            owner: Some("AB".into()),
            email: Some("me@example.org".into()),
        }
    }

    fn said(remote: &Remote, now_ms: i64) -> Claims {
        let [credentials] = &Credentials::of(&login(), remote)[..] else { panic!("one key") };
        let mut options = MqttOptions::new("id", "localhost", 1883);
        credentials.put(&mut options, now_ms);
        let login = options.credentials().unwrap();
        assert_eq!(login.username, format!("v1_{}", credentials.observer().unwrap()));
        Token::parse(login.password.as_bytes()).unwrap().claims
    }

    #[test]
    fn a_token_is_made_for_each_connection_and_is_renewed_before_it_expires() {
        let remote = Remote::mqtt("hub.example", 1883);
        let (first, second) = (said(&remote, 1_000_000), said(&remote, 2_000_999));
        assert_eq!((first.issued_at_s, first.expires_at_s), (1_000, Some(4_600)));
        assert_eq!((second.issued_at_s, second.expires_at_s), (2_000, Some(5_600)));
        assert_eq!(first.audience, ["hub.example"]);
        let renewal = Credentials::of(&login(), &remote)[0].renewal();
        assert_eq!(renewal, Some(Duration::from_secs(2_880)));
        assert_eq!(Credentials::Account(None, None).renewal(), None);
    }

    #[test]
    fn owner_and_email_are_told_over_verified_tls_alone() {
        let mut remote = Remote::mqtt("hub.example", 8883);
        assert_eq!((said(&remote, 0).owner, said(&remote, 0).email), (None, None));
        remote.scheme = Scheme::Tls;
        assert_eq!(said(&remote, 0).email.as_deref(), Some("me@example.org"));
        remote.tls.verify = false;
        assert_eq!((said(&remote, 0).owner, said(&remote, 0).email), (None, None));
    }
}
