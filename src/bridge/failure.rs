//! Why a connection to an external broker ended, in words: at which step, and what to check.

use super::handshake;
use super::login::Credentials;

use rumqttc::{ConnectReturnCode, ConnectionError, StateError, TlsError, mqttbytes};

use std::borrow::Cow;
use std::io;
use std::time::Duration;

/// The steps of a connection, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The host name becomes an address.
    Resolving,
    /// The TCP connection.
    Connecting,
    /// The TLS handshake.
    Tls,
    /// The WebSocket handshake.
    WebSocket,
    /// CONNECT and CONNACK.
    Login,
    /// SUBSCRIBE and SUBACK.
    Subscribing,
    /// All is well until it breaks.
    Receiving,
}

impl Step {
    /// The word for it in the state and in the log.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Resolving => "resolving",
            Self::Connecting => "connecting",
            Self::Tls => "tls",
            Self::WebSocket => "websocket",
            Self::Login => "login",
            Self::Subscribing => "subscribing",
            Self::Receiving => "receiving",
        }
    }

    /// What a person should look at when this step fails again and again.
    pub(super) fn advice(self, credentials: &Credentials) -> Cow<'static, str> {
        let words = match self {
            Self::Resolving => {
                "check the host name in the source's `broker` and this machine's DNS"
            }
            Self::Connecting => "check host and port, firewalls, and that a broker runs there",
            Self::Tls => "check that this port speaks TLS, and the source's `caFile` if it has one",
            Self::WebSocket => "check host, port and path of the source's `broker`",
            Self::Login => return credentials.advice().into(),
            Self::Subscribing => "check the source's `topics` and this account's permissions",
            Self::Receiving => {
                "look into the broker's log; a second program with the same client id would do this"
            }
        };
        words.into()
    }
}

/// One connection's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Where it happened.
    pub(super) step: Step,
    /// What happened, without credentials.
    pub(super) reason: String,
    /// The broker sent something that cannot be read, and may send it again on every connection.
    pub(super) unreadable: bool,
}

impl Failure {
    /// A failure that was noticed here.
    pub(super) fn new(step: Step, reason: impl Into<String>) -> Self {
        Self { step, reason: reason.into(), unreadable: false }
    }

    /// rumqttc panicked; whatever it did that on may come again.
    pub(super) fn panicked(step: Step) -> Self {
        let unreadable = step != Step::Connecting;
        Self { step, reason: "the MQTT client panicked".into(), unreadable }
    }

    /// What rumqttc says, for a connection that had come as far as `at`.
    pub(super) fn of(error: &ConnectionError, at: Step, patience: Duration) -> Self {
        let seconds = patience.as_secs();
        if let Some(tls) = handshake::tls_error(error) {
            return Self::new(Step::Tls, handshake::tls_words(tls));
        }
        match error {
            // getaddrinfo's errors are no system errors: they carry no number.
            ConnectionError::Io(e) if e.raw_os_error().is_none() && at == Step::Connecting => {
                Self::new(Step::Resolving, e.to_string())
            }
            ConnectionError::Io(e) => Self::new(at, io_words(e)),
            ConnectionError::NetworkTimeout if at == Step::Connecting => {
                Self::new(at, format!("no answer in {seconds} s, to the dial or to the login"))
            }
            ConnectionError::NetworkTimeout => Self::new(at, format!("no answer in {seconds} s")),
            ConnectionError::FlushTimeout => {
                Self::new(at, format!("the broker took nothing for {seconds} s"))
            }
            ConnectionError::ConnectionRefused(code) => Self::new(Step::Login, refusal(*code)),
            ConnectionError::NotConnAck(_) => Self::new(Step::Login, NO_BROKER),
            ConnectionError::MqttState(e) => Self::of_state(e, at),
            ConnectionError::Tls(TlsError::Io(e)) if is_closed(e) => {
                Self::new(Step::Tls, "the connection was closed instead of a handshake")
            }
            ConnectionError::Tls(TlsError::Io(e)) => Self::new(Step::Tls, io_words(e)),
            ConnectionError::Tls(e) => Self::new(Step::Tls, e.to_string()),
            ConnectionError::ResponseValidation(_) => Self::new(
                Step::WebSocket,
                "what answers at this path does not speak MQTT (no subprotocol mqtt)",
            ),
            ConnectionError::Websocket(e) => Self::new(Step::WebSocket, e.to_string()),
            ConnectionError::WsConnect(e) => Self::new(Step::WebSocket, e.to_string()),
            ConnectionError::InvalidUrl(e) => Self::new(Step::WebSocket, e.to_string()),
            ConnectionError::RequestsDone => Self::new(at, error.to_string()),
        }
    }

    fn of_state(error: &StateError, at: Step) -> Self {
        // While rumqttc connects it speaks MQTT only for the login.
        let step = if at == Step::Connecting { Step::Login } else { at };
        let closed = match step {
            Step::Login => "the broker closed the connection instead of answering the login",
            _ => "the broker closed the connection",
        };
        let words = |e: &io::Error| match step {
            Step::Login if is_closed(e) => closed.to_owned(),
            _ => io_words(e),
        };
        match error {
            StateError::ConnectionAborted => Self::new(step, closed),
            StateError::Io(e) => Self::new(step, words(e)),
            StateError::Deserialization(mqttbytes::Error::Io(e)) => Self::new(step, words(e)),
            StateError::AwaitPingResp => Self::new(step, "the broker no longer answers pings"),
            StateError::Deserialization(mqttbytes::Error::PayloadSizeLimitExceeded(size)) => {
                Self::unreadable(step, format!("a packet of {size} bytes is too large"))
            }
            StateError::Deserialization(mqttbytes::Error::InvalidConnectReturnCode(code)) => {
                Self::new(Step::Login, format!("refused with unknown code {code}"))
            }
            _ if step == Step::Login => Self::new(step, NO_BROKER),
            other => Self::unreadable(step, format!("the broker sent what is not MQTT: {other}")),
        }
    }

    /// Before the login whoever answers may be no broker at all, and no session is to blame.
    fn unreadable(step: Step, reason: String) -> Self {
        Self { step, reason, unreadable: step != Step::Login }
    }
}

const NO_BROKER: &str = "what listens there answers, and not as an MQTT broker does";

/// CONNACK's return codes (MQTT 3.1.1, table 3.1).
fn refusal(code: ConnectReturnCode) -> &'static str {
    match code {
        ConnectReturnCode::Success => "accepted",
        ConnectReturnCode::RefusedProtocolVersion => "refused: not MQTT 3.1.1 (code 1)",
        ConnectReturnCode::BadClientId => "refused: client id not allowed (code 2)",
        ConnectReturnCode::ServiceUnavailable => "refused: broker not available (code 3)",
        ConnectReturnCode::BadUserNamePassword => "refused: wrong username or password (code 4)",
        ConnectReturnCode::NotAuthorized => "refused: not authorized (code 5)",
    }
}

/// Whether the other end closed the connection, other than by falling silent.
pub(super) fn is_hang_up(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::Io(e) | ConnectionError::MqttState(StateError::Io(e)) => is_closed(e),
        ConnectionError::MqttState(StateError::Deserialization(mqttbytes::Error::Io(e))) => {
            is_closed(e)
        }
        ConnectionError::MqttState(state) => matches!(state, StateError::ConnectionAborted),
        _ => false,
    }
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
        || is_cut(error)
}

/// The stream ended in the middle of a packet: tokio-util's codec has no kind of its own for that.
fn is_cut(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Other && error.to_string() == "bytes remaining on stream"
}

fn io_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens there (connection refused)".into(),
        io::ErrorKind::ConnectionReset => "the connection was reset".into(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            "the broker closed the connection".into()
        }
        _ if is_cut(error) => "the connection ended in the middle of a packet".into(),
        _ => error.to_string(),
    }
}

/// Counts failures in a row: at the same step, and of unreadable packets.
#[derive(Debug, Default)]
pub(super) struct Series {
    step: Option<Step>,
    at_step: u32,
    unreadable: u32,
}

/// So many failures in a row make a pattern.
pub(super) const PATTERN: u32 = 3;

impl Series {
    /// Notes a failure; true when it is the third in a row at its step.
    pub(super) fn note(&mut self, failure: &Failure) -> bool {
        self.at_step = if self.step == Some(failure.step) { self.at_step + 1 } else { 1 };
        self.step = Some(failure.step);
        self.unreadable = if failure.unreadable { self.unreadable + 1 } else { 0 };
        self.at_step == PATTERN
    }

    /// Whether the last three or more failures were at the same step.
    pub(super) fn is_pattern(&self) -> bool {
        self.at_step >= PATTERN
    }

    /// True once after every third unreadable packet in a row.
    pub(super) fn is_poisoned(&mut self) -> bool {
        let poisoned = self.unreadable >= PATTERN;
        if poisoned {
            self.unreadable = 0;
        }
        poisoned
    }

    /// The connection held: the next failure begins a new series.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn connecting(error: &ConnectionError) -> (Step, String) {
        let failure = Failure::of(error, Step::Connecting, PATIENCE);
        (failure.step, failure.reason)
    }

    #[test]
    fn each_refusal_of_connack_has_words_and_its_code() {
        use ConnectReturnCode::*;
        let codes = [
            RefusedProtocolVersion,
            BadClientId,
            ServiceUnavailable,
            BadUserNamePassword,
            NotAuthorized,
        ];
        for (code, number) in codes.into_iter().zip(1..) {
            let (step, reason) = connecting(&ConnectionError::ConnectionRefused(code));
            assert_eq!(step, Step::Login);
            assert!(reason.ends_with(&format!("(code {number})")), "{reason}");
        }
    }

    #[test]
    fn a_failed_look_up_is_told_from_a_failed_dial() {
        let look_up = io::Error::other("failed to lookup address information");
        assert_eq!(connecting(&ConnectionError::Io(look_up)).0, Step::Resolving);
        let dial = io::Error::from_raw_os_error(rustix::io::Errno::CONNREFUSED.raw_os_error());
        let (step, reason) = connecting(&ConnectionError::Io(dial));
        assert_eq!(step, Step::Connecting);
        assert!(reason.contains("refused"), "{reason}");
        assert_eq!(
            connecting(&ConnectionError::NetworkTimeout).1,
            "no answer in 10 s, to the dial or to the login"
        );
    }

    #[test]
    fn a_broker_that_hangs_up_at_the_login_fails_there_and_later_at_its_step() {
        let hung_up = ConnectionError::MqttState(StateError::ConnectionAborted);
        assert_eq!(connecting(&hung_up).0, Step::Login);
        assert_eq!(Failure::of(&hung_up, Step::Receiving, PATIENCE).step, Step::Receiving);
    }

    #[test]
    fn three_failures_at_one_step_are_a_pattern_and_said_once() {
        let mut series = Series::default();
        let login = Failure::new(Step::Login, "refused");
        let dial = Failure::new(Step::Connecting, "refused");
        assert!(!series.note(&login) && !series.note(&login));
        assert!(!series.note(&dial), "another step begins anew");
        assert!(!series.note(&login) && !series.note(&login));
        assert!(series.note(&login) && series.is_pattern());
        assert!(!series.note(&login) && series.is_pattern());
        series.reset();
        assert!(!series.note(&login) && !series.is_pattern());
    }

    #[test]
    fn three_unreadable_packets_in_a_row_are_poison() {
        let mut series = Series::default();
        let utf8 = StateError::Deserialization(mqttbytes::Error::TopicNotUtf8);
        let unreadable = Failure::of(&utf8.into(), Step::Receiving, PATIENCE);
        assert!(unreadable.unreadable);
        let portal = StateError::Deserialization(mqttbytes::Error::InvalidPacketType(0));
        assert!(!Failure::of(&portal.into(), Step::Connecting, PATIENCE).unreadable);
        for _ in 0..2 {
            series.note(&unreadable);
            assert!(!series.is_poisoned());
        }
        series.note(&unreadable);
        assert!(series.is_poisoned() && !series.is_poisoned());
    }
}
