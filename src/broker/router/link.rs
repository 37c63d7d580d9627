//! One router and the links into it: what of rumqttd's API is used, and how.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rumqttd::local::{LinkBuilder, LinkError, LinkRx, LinkTx};
use rumqttd::protocol::{
    Disconnect, DisconnectReasonCode, Filter, Packet, PingReq, QoS, RetainForwardRule, Subscribe,
    SubscribeProperties, Unsubscribe,
};
use rumqttd::{RouterConfig, Strategy};
use tokio::sync::watch;

/// A router that was built.
pub(super) struct Generation {
    connect: Connect,
    /// Pumps that have subscribed to it.
    pub(super) joined: watch::Sender<usize>,
    filters: Mutex<HashSet<String>>,
}

impl Generation {
    /// Notes that this router has seen a filter, and says how many it has seen.
    pub(super) fn note_filter(&self, filter: &str) -> usize {
        let mut filters = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        if !filters.contains(filter) {
            filters.insert(filter.to_owned());
        }
        filters.len()
    }

    /// Distinct filters that this router has seen.
    pub(super) fn filters(&self) -> usize {
        self.filters.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Opens a link: the router's own handle has a type that cannot be named.
type Connect = Box<dyn Fn(&str) -> Result<Link, Gone> + Send + Sync>;

/// Both ends of a link.
pub(super) type Link = (LinkTx, LinkRx);

/// The router does not answer, or is gone.
#[derive(Debug, thiserror::Error)]
#[error("the router is gone: {0}")]
pub(super) struct Gone(String);

impl From<&LinkError> for Gone {
    fn from(error: &LinkError) -> Self {
        Self(error.to_string())
    }
}

/// Bytes of a filter's log are charged in segments; the oldest goes when all are full. Small, since
/// tiny messages cost many times what they are charged.
const SEGMENT_BYTES: usize = 64 * 1024;
const SEGMENTS: usize = 4;

/// Above the door's own cap with room to spare: a router that reaches it refuses without a word.
const MAX_LINKS: usize = 2 * crate::config::MOST_CONNECTIONS + 100;

/// Messages that the router reads for a subscriber at once.
const SWEEP: u64 = 100;

/// A router answers at once, or it is not there.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How often and how long a full event queue is tried again.
const RING_AGAIN: (usize, Duration) = (500, Duration::from_millis(5));

/// A filter that nobody has subscribed to: leaving it does nothing but wake the router.
const NO_FILTER: &str = "meshbox doorbell";

/// Builds a router and the first link into it. Its thread starts at once.
pub(super) async fn build(number: usize) -> Result<(Generation, Link), Gone> {
    let build = move || {
        let config = RouterConfig {
            max_connections: MAX_LINKS,
            max_outgoing_packet_count: SWEEP,
            max_segment_size: SEGMENT_BYTES,
            max_segment_count: SEGMENTS,
            custom_segment: None,
            initialized_filters: None,
            shared_subscriptions_strategy: Strategy::RoundRobin,
        };
        let events = rumqttd::Router::new(number, config).spawn();
        let connect: Connect = Box::new(move |name| {
            let link = LinkBuilder::new(name, events.clone()).build();
            link.map(|(sender, receiver, _)| (sender, receiver)).map_err(|e| Gone::from(&e))
        });
        let link = connect("feed")?;
        let (joined, filters) = (watch::Sender::new(0), Mutex::default());
        Ok((Generation { connect, joined, filters }, link))
    };
    off_the_runtime(build).await
}

/// Opens a link.
pub(super) async fn connect(generation: &Arc<Generation>, name: String) -> Result<Link, Gone> {
    let generation = Arc::clone(generation);
    off_the_runtime(move || (generation.connect)(&name)).await
}

/// Wakes the router for what is in the link's buffer. Without blocking: the link's own calls wait on
/// a full event queue with the thread.
pub(super) async fn ring(sender: &mut LinkTx) -> Result<(), Gone> {
    let (times, pause) = RING_AGAIN;
    for _ in 0..times {
        match sender.try_unsubscribe(NO_FILTER) {
            Ok(_) => return Ok(()),
            Err(e) if !is_full(&e) => return Err(Gone::from(&e)),
            Err(_) => tokio::time::sleep(pause).await,
        }
    }
    Err(Gone("it takes no more events".to_owned()))
}

/// Puts a subscription into a link's buffer; [`ring`] afterwards.
///
/// `number`: what every copy that comes by it is to be marked with, in the place of an identifier of
/// MQTT 5; never 0. Asked for again, the mark alone is changed.
pub(super) fn add_filter(sender: &LinkTx, filter: &str, number: Option<usize>) {
    let filter = Filter {
        path: filter.to_owned(),
        // Never more: the router panics over unacknowledged copies of some subscribers.
        qos: QoS::AtMostOnce,
        nolocal: false,
        preserve_retain: false,
        retain_forward_rule: RetainForwardRule::Never,
    };
    let subscribe = Subscribe { pkid: 0, filters: vec![filter] };
    let marked = |id| SubscribeProperties { id: Some(id), user_properties: Vec::new() };
    let properties = number.map(marked);
    sender.buffer().push_back(Packet::Subscribe(subscribe, properties));
}

/// Puts the end of a subscription into a link's buffer; [`ring`] afterwards.
pub(super) fn drop_filter(sender: &LinkTx, filter: &str) {
    let unsubscribe = Unsubscribe { pkid: 0, filters: vec![filter.to_owned()] };
    sender.buffer().push_back(Packet::Unsubscribe(unsubscribe, None));
}

/// Asks for a sign of life. What is buffered before it is dealt with, too.
pub(super) fn ping(sender: &mut LinkTx) -> Result<(), Gone> {
    sender.buffer().push_back(Packet::PingReq(PingReq));
    match sender.try_unsubscribe(NO_FILTER) {
        Err(e) if !is_full(&e) => Err(Gone::from(&e)),
        // A full queue wakes it as well.
        _ => Ok(()),
    }
}

/// Takes a link off the router, which would keep it for ever otherwise.
pub(super) async fn leave(mut sender: LinkTx) {
    let goodbye = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection };
    sender.buffer().push_back(Packet::Disconnect(goodbye, None));
    // If it fails the router is gone, and the link with it.
    let _ = ring(&mut sender).await;
}

/// Whether a link's call failed only because the event queue is full.
pub(super) fn is_full(error: &LinkError) -> bool {
    // The channel's own error type cannot be named without depending on the channel.
    matches!(error, LinkError::TrySend(e) if e.to_string() == "sending on a full channel")
}

/// A payload whose last copy, dropped in a router's thread, ends that thread.
///
/// A router cannot be stopped: its thread waits on a channel whose other end it holds itself, and
/// keeps all its memory. Unwinding is its only way out; this does it without the panic hook.
pub(super) fn fuse() -> Bytes {
    Bytes::from_owner(Fuse)
}

struct Fuse;

impl AsRef<[u8]> for Fuse {
    fn as_ref(&self) -> &[u8] {
        b"end"
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        let here = std::thread::current();
        let in_router = here.name().is_some_and(|name| name.starts_with("router-"));
        if in_router && !std::thread::panicking() {
            std::panic::resume_unwind(Box::new("a retired router"));
        }
    }
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Gone> + Send + 'static,
) -> Result<T, Gone> {
    let done = tokio::time::timeout(ANSWER_WITHIN, tokio::task::spawn_blocking(work)).await;
    match done {
        Ok(Ok(result)) => result,
        Ok(Err(e)) => Err(Gone(e.to_string())),
        Err(_) => Err(Gone(format!("no answer within {} s", ANSWER_WITHIN.as_secs()))),
    }
}
