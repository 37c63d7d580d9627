//! The board as it is shown: plain values, for JSON.

use serde::{Deserialize, Serialize};

use crate::counters::QueueState;

/// Everything about clients at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Clients {
    /// Our clock, in milliseconds since the Unix epoch, as all times here.
    pub now_ms: i64,
    /// Who is connected.
    pub connections: Vec<ConnectionRow>,
    /// Sessions that are kept while their client is away.
    #[serde(default)]
    pub away: Vec<QueueState>,
    /// What was refused lately.
    pub refusals: Vec<RefusalRow>,
    /// Who was spoken for since the start.
    pub observers: Vec<ObserverRow>,
}

/// A connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionRow {
    /// When it was let in.
    pub since_ms: i64,
    /// Its address.
    pub from: String,
    /// Who it is to us: the account's name, the key of its token; `None` without a login.
    pub identity: Option<String>,
    /// `publisher`, `reader`, `limited`, `admin`, or `anonymous`.
    pub role: String,
    /// The one observer that it speaks for, 64 hex digits.
    pub key: Option<String>,
    /// What it calls itself, at most 128 characters of it.
    pub client_id: String,
    /// Where it came in: transport and address.
    pub listener: String,
    /// `3.1.1` or `5`.
    pub protocol: String,
    /// Seconds within which it promised to send something; 0: no promise.
    pub keep_alive_sec: u16,
    /// Its filters, the first 20 of them.
    pub subscriptions: Vec<String>,
    /// How many filters it has.
    pub subscription_count: u64,
    /// Copies that wait for it to read or to acknowledge them.
    pub queued: u64,
    /// Bytes of those at QoS 1.
    #[serde(default)]
    pub queued_bytes: u64,
    /// Copies at QoS 1 that its session has lost because it did not read.
    #[serde(default)]
    pub lost: u64,
    /// When the token it logged in with ends.
    #[serde(default)]
    pub token_ends_ms: Option<i64>,
    /// Publishes of its that wait for their acknowledgement.
    pub unacknowledged: u64,
    /// Publishes received.
    pub messages_in: u64,
    /// Copies sent.
    pub messages_out: u64,
    /// When its last publish came.
    pub last_message_ms: Option<i64>,
    /// Regions in its topics, the first four of them.
    pub regions: Vec<String>,
    /// What is odd: `placeholder_region`, `same_client_id`, `same_observer`, `over_rate`,
    /// `duplicates`.
    pub flags: Vec<String>,
}

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sort {
    /// A connection, before or with its CONNACK.
    Connection,
    /// A connection, later.
    Closed,
    /// A publish or a will.
    Publish,
    /// A subscription.
    Subscription,
}

/// A refusal, or several of one kind from one address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusalRow {
    /// The last time.
    pub at_ms: i64,
    /// The first time.
    pub first_ms: i64,
    /// How often, from this address for this reason.
    pub times: u64,
    /// What was refused.
    pub sort: Sort,
    /// The address.
    pub from: String,
    /// Who it was to us, or said that it is; `None` if that is not known.
    pub identity: Option<String>,
    /// What it calls itself, at most 128 characters of it.
    pub client_id: String,
    /// Where it came in: transport and address.
    pub listener: String,
    /// The reason's name, as in the counters.
    pub reason: String,
    /// The topic or filter, at most 128 characters of it; empty where there is none.
    pub about: String,
    /// What can be done about it; empty where nobody needs to do anything.
    pub help: String,
}

/// Why a key is somebody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClaimKind {
    /// The holder of its private key has logged in by token.
    Token,
    /// An account has logged in whose key it is.
    Account,
    /// An account has learnt it at its first use (`broker.bindFirstKey`).
    Learnt,
}

/// A key that somebody has logged in for, and who: nobody without a login speaks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimRow {
    /// The key, 64 upper-case hex digits.
    pub key: String,
    /// Why it is whose it is.
    pub by: ClaimKind,
    /// The account's name; for a token the key.
    pub holder: String,
    /// When that was first, in milliseconds since the Unix epoch.
    pub since_ms: i64,
}

/// What became of taking a key back. Without any row nobody had claimed it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Released {
    /// The claims that are gone.
    pub released: Vec<ClaimRow>,
    /// The claims of accounts whose key it is in `accounts.toml`: those stay as long as the account.
    pub kept: Vec<ClaimRow>,
}

/// An observer, or a client that speaks for none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObserverRow {
    /// The observer's key; `None` for a client whose topics name none.
    pub key: Option<String>,
    /// Who spoke last: an account's name, a key, an address.
    pub identity: String,
    /// Its address.
    pub from: String,
    /// What it calls itself, at most 128 characters of it.
    pub client_id: String,
    /// The program that speaks for it, by its status or its token, as far as it says.
    #[serde(default)]
    pub client: Option<String>,
    /// Whether a live connection speaks for it; `None` for a client that is no observer.
    #[serde(default)]
    pub online: Option<bool>,
    /// When it was heard first since the hub started.
    pub first_ms: i64,
    /// When it was heard last.
    pub last_ms: i64,
    /// Messages since the hub started.
    pub messages: u64,
    /// Its last region.
    pub region: String,
    /// When the token it logged in with ends.
    pub token_ends_ms: Option<i64>,
    /// Messages beyond the rate.
    pub over_rate: u64,
    /// Packets that were sent again.
    pub duplicates: u64,
    /// The name of the last refusal.
    pub last_refusal: Option<String>,
    /// When that was.
    pub last_refusal_ms: Option<i64>,
    /// What can be done about it; empty where nobody needs to do anything.
    #[serde(default)]
    pub help: String,
}
