//! Why: from the name under which something is counted to the code that the client is told, in both
//! versions of MQTT. Pure; the only place that knows.
//!
//! MQTT 3.1.1 has a code for a refused CONNECT and one for a refused filter; everything else is said
//! by closing. MQTT 5 §2.4 has a reason code for each. A name that is in no table has its packet's
//! general code: nothing is ever said that is not so.

/// A reason code (MQTT 5 §2.4). Those of 0x80 and more are failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Reason {
    /// It is done.
    Success = 0x00,
    /// There was nothing to unsubscribe from.
    NoSubscription = 0x11,
    /// None of the others.
    Unspecified = 0x80,
    /// The bytes are not what the specification lays out.
    Malformed = 0x81,
    /// The bytes are well formed and mean what is forbidden.
    Protocol = 0x82,
    /// Allowed by MQTT, not done here.
    Implementation = 0x83,
    /// Another version of MQTT.
    Version = 0x84,
    /// Not with this client id.
    ClientId = 0x85,
    /// Name or password are wrong.
    Credentials = 0x86,
    /// Not for this client.
    NotAuthorized = 0x87,
    /// No room for now.
    Unavailable = 0x88,
    /// We stop.
    ShuttingDown = 0x8B,
    /// An extended authentication that is not known here.
    AuthMethod = 0x8C,
    /// Nothing was heard for one and a half keepalives.
    KeepAlive = 0x8D,
    /// Another connection has the session now.
    TakenOver = 0x8E,
    /// No such filter can be.
    FilterInvalid = 0x8F,
    /// No such topic can be published to.
    TopicInvalid = 0x90,
    /// A PUBREL for a message that is not here.
    UnknownId = 0x92,
    /// More unacknowledged publishes than were granted.
    ReceiveMaximum = 0x93,
    /// A topic alias, of which none were granted.
    TopicAlias = 0x94,
    /// More bytes than were granted.
    TooLarge = 0x95,
    /// Too much, too many, too often.
    Quota = 0x97,
    /// Shared subscriptions are not done here.
    Shared = 0x9E,
    /// Too many logins.
    Rate = 0x9F,
}

impl Reason {
    /// The byte.
    pub(super) fn code(self) -> u8 {
        self as u8
    }

    /// Whether it says that something was not done.
    pub(super) fn is_failure(self) -> bool {
        self >= Self::Unspecified
    }
}

/// How a CONNECT is answered that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Another version of MQTT.
    RefusedProtocolVersion,
    /// Not with this client id.
    BadClientId,
    /// No room for now.
    ServiceUnavailable,
    /// Name or password are wrong.
    BadUserNamePassword,
    /// This client may not come in.
    NotAuthorized,
    /// Too many logins, or wrong ones, from there.
    TooOften,
    /// What it says is malformed; MQTT 3.1.1 has no code for it, and closes.
    Malformed,
    /// What it says is forbidden; MQTT 3.1.1 has no code for it, and closes.
    Protocol,
    /// Its CONNECT has too many bytes; MQTT 3.1.1 has no code for it, and closes.
    TooLarge,
    /// It wants an extended authentication. In MQTT 3.1.1 there is none.
    AuthMethod,
}

impl Answer {
    /// The return code of MQTT 3.1.1 (§3.2.2.3); `None`: there is none, the connection is closed
    /// without a word.
    pub(super) fn v3(self) -> Option<u8> {
        match self {
            Self::RefusedProtocolVersion => Some(1),
            Self::BadClientId => Some(2),
            Self::ServiceUnavailable | Self::TooOften => Some(3),
            Self::BadUserNamePassword => Some(4),
            Self::NotAuthorized => Some(5),
            Self::Malformed | Self::Protocol | Self::TooLarge | Self::AuthMethod => None,
        }
    }

    /// The reason code of MQTT 5 (§3.2.2.2).
    pub(super) fn v5(self) -> Reason {
        match self {
            Self::RefusedProtocolVersion => Reason::Version,
            Self::BadClientId => Reason::ClientId,
            Self::ServiceUnavailable => Reason::Unavailable,
            Self::BadUserNamePassword => Reason::Credentials,
            Self::NotAuthorized => Reason::NotAuthorized,
            Self::TooOften => Reason::Rate,
            Self::Malformed => Reason::Malformed,
            Self::Protocol => Reason::Protocol,
            Self::TooLarge => Reason::TooLarge,
            Self::AuthMethod => Reason::AuthMethod,
        }
    }
}

/// What a client whose CONNECT cannot be read is told, by the name of what is wrong with it.
pub(super) fn of_connect(name: &str) -> Answer {
    match of_end(name) {
        Reason::Malformed => Answer::Malformed,
        Reason::TooLarge => Answer::TooLarge,
        Reason::AuthMethod => Answer::AuthMethod,
        Reason::ClientId => Answer::BadClientId,
        _ => Answer::Protocol,
    }
}

/// What a client is told whose connection ends for a reason of this name.
pub(super) fn of_end(name: &str) -> Reason {
    match name {
        "malformed_length"
        | "malformed_flags"
        | "malformed_packet"
        | "malformed_text"
        | "malformed_properties"
        | "unknown_property"
        | "unknown_reason_code"
        | "nul_in_topic"
        | "publish_with_qos_3"
        | "reserved_bits_set"
        | "malformed_connect" => Reason::Malformed,
        "second_connect"
        | "packet_that_only_a_server_sends"
        | "packet_id_0"
        | "unsubscribe_from_nothing"
        | "subscribe_to_nothing"
        | "property_twice"
        | "property_not_allowed"
        | "property_value_not_allowed"
        | "publish_without_topic"
        | "shared_without_local"
        | "session_expiry_too_late"
        | "auth_data_without_method"
        | "auth_without_method" => Reason::Protocol,
        "auth_method_unknown" => Reason::AuthMethod,
        "topic_alias_not_granted" => Reason::TopicAlias,
        "packet_too_large" | "connect_too_large" => Reason::TooLarge,
        "too_many_unreleased_packet_ids" => Reason::ReceiveMaximum,
        "too_many_large_packets" => Reason::Quota,
        _ => Reason::Unspecified,
    }
}

/// How a publish is acknowledged that was denied for a reason of this name.
pub(super) fn of_publish(name: &str) -> Reason {
    match name {
        "publish_to_empty_topic" | "publish_to_wildcard_topic" => Reason::TopicInvalid,
        "publish_too_large"
        | "publish_properties_too_large"
        | "publish_over_rate"
        | "publish_of_a_duplicate" => Reason::Quota,
        _ => Reason::NotAuthorized,
    }
}

/// How a filter is answered that was denied for a reason of this name.
pub(super) fn of_subscribe(name: &str) -> Reason {
    match name {
        "subscribe_to_malformed_filter" => Reason::FilterInvalid,
        "subscribe_shared" => Reason::Shared,
        "subscribe_to_too_many_filters" | "subscribe_to_too_many_filters_in_all" => Reason::Quota,
        "subscribe_to_unroutable_filter" => Reason::Implementation,
        _ => Reason::NotAuthorized,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_code_in_each_version_that_has_one_for_it() {
        let cases = [
            (Answer::RefusedProtocolVersion, Some(1), 0x84),
            (Answer::BadClientId, Some(2), 0x85),
            (Answer::ServiceUnavailable, Some(3), 0x88),
            (Answer::TooOften, Some(3), 0x9F),
            (Answer::BadUserNamePassword, Some(4), 0x86),
            (Answer::NotAuthorized, Some(5), 0x87),
            (Answer::Malformed, None, 0x81),
            (Answer::Protocol, None, 0x82),
            (Answer::TooLarge, None, 0x95),
            (Answer::AuthMethod, None, 0x8C),
        ];
        for (answer, v3, v5) in cases {
            assert_eq!((answer.v3(), answer.v5().code()), (v3, v5), "{answer:?}");
        }
    }

    #[test]
    fn a_name_that_nobody_knows_has_the_general_code() {
        assert_eq!(of_end("new"), Reason::Unspecified);
        assert_eq!(of_publish("new"), Reason::NotAuthorized);
        assert_eq!(of_subscribe("new"), Reason::NotAuthorized);
    }
}
