//! A copy of what the pipeline takes, for the uplinks: bounded, and never waited for.

use super::{OVERHEAD, Origin};

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// One message as the pipeline took it.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// The topic as it came.
    pub topic: String,
    /// The payload as it came.
    pub payload: Bytes,
    /// Who brought it.
    pub origin: Origin,
    /// Of a packet: its payload type, 0 to 15.
    pub payload_type: Option<u8>,
    /// Of an advert with a position: degrees north and east.
    pub position: Option<(f64, f64)>,
    /// Not a message of an observer, but our broker's word on whether it is there.
    pub presence: Option<Presence>,
    /// Our clock when it came, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// Whether an observer is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// It is.
    pub online: bool,
    /// Neither the observer nor its will has said so.
    pub news: bool,
}

/// Messages between the pipeline and the uplinks. When it is full the copy is lost and counted; the
/// pipeline never waits.
const MESSAGES: usize = 4_096;

/// Their bytes, with their overhead.
const BYTES: usize = 4 << 20;

/// Where copies go in.
#[derive(Clone, Debug)]
pub struct Feed {
    sender: mpsc::Sender<Heard>,
    bytes: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
}

/// A [`Feed`] that does not keep it from ending.
#[derive(Clone, Debug)]
pub struct WeakFeed {
    sender: mpsc::WeakSender<Heard>,
    bytes: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
}

/// Where the uplinks take them out.
#[derive(Debug)]
pub struct Fed {
    receiver: mpsc::Receiver<Heard>,
    bytes: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
}

/// Makes a feed; it ends when every [`Feed`] is dropped.
pub fn feed() -> (Feed, Fed) {
    let (sender, receiver) = mpsc::channel(MESSAGES);
    let (bytes, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
    let feed = Feed { sender, bytes: Arc::clone(&bytes), lost: Arc::clone(&lost) };
    (feed, Fed { receiver, bytes, lost })
}

impl Feed {
    /// Hands a copy on; false when there is no room for it.
    pub fn give(&self, heard: Heard) -> bool {
        let cost = cost(&heard);
        if self.bytes.fetch_add(cost, Ordering::Relaxed) + cost > BYTES
            || self.sender.try_send(heard).is_err()
        {
            self.bytes.fetch_sub(cost, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Another way in, which ends when this one does.
    pub fn downgrade(&self) -> WeakFeed {
        let (bytes, lost) = (Arc::clone(&self.bytes), Arc::clone(&self.lost));
        WeakFeed { sender: self.sender.downgrade(), bytes, lost }
    }
}

impl WeakFeed {
    /// Hands a copy on; false when there is no room for it, or the feed has ended.
    pub fn give(&self, heard: Heard) -> bool {
        let Some(sender) = self.sender.upgrade() else { return false };
        let (bytes, lost) = (Arc::clone(&self.bytes), Arc::clone(&self.lost));
        Feed { sender, bytes, lost }.give(heard)
    }
}

impl Fed {
    /// How many copies found no room so far; goes on counting.
    pub fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    /// The next copy; `None` when the pipeline has ended.
    pub async fn next(&mut self) -> Option<Heard> {
        let heard = self.receiver.recv().await?;
        self.bytes.fetch_sub(cost(&heard), Ordering::Relaxed);
        Some(heard)
    }
}

fn cost(heard: &Heard) -> usize {
    heard.topic.len() + heard.payload.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::super::OriginKind;
    use super::*;

    #[tokio::test]
    async fn a_full_feed_loses_copies_and_has_room_again_once_they_are_taken() {
        let (feed, mut fed) = feed();
        let heard = Heard {
            topic: "t".into(),
            payload: vec![0; 1 << 20].into(),
            origin: Origin { kind: OriginKind::Anonymous, name: "x".into() },
            payload_type: None,
            position: None,
            presence: None,
            at_ms: 0,
        };
        let given: Vec<bool> = (0..4).map(|_| feed.give(heard.clone())).collect();
        assert_eq!(given, [true, true, true, false]);
        assert_eq!(fed.lost().load(Ordering::Relaxed), 1);
        assert_eq!(fed.next().await, Some(heard.clone()));
        assert!(feed.give(heard.clone()));
        let weak = feed.downgrade();
        assert!(!weak.give(heard.clone()));
        drop(feed);
        assert!(!weak.give(heard), "it has ended");
        while fed.next().await.is_some() {}
    }
}
