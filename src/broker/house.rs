//! What all connections of a broker share.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rumqttc::mqttbytes::QoS;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::access::{self, Claims, Gate, Redacted, Rules};
use super::board::{Board, Refused, Sort};
use super::copy::Copy;
use super::frame::Will;
use super::grant::Grant;
use super::identity::{Author, Identity};
use super::limits::{Excess, Limits, Subject};
use super::neighbourhood::Surroundings;
use super::outbox::Outboxes;
use super::presence::{Announcement, Presence};
use super::register::Register;
use super::retained::policy::{self, Keep};
use super::retained::{Full, Retained};
use super::router::Router;
use super::sessions::Sessions;
use super::state::State;
use super::wills::Wills;
use crate::clock::Clock;
use crate::config::Policy;
use crate::counters::Counters;
use crate::message::{Inlet, Message};

/// The shared state of one broker.
pub(super) struct House {
    pub(super) clock: Clock,
    pub(super) counters: Arc<Counters>,
    pub(super) router: Router,
    pub(super) register: Arc<Register>,
    pub(super) sessions: Sessions,
    pub(super) surroundings: Surroundings,
    /// What outlives a restart: retained messages, queues, presence.
    pub(super) state: State,
    /// What clients may do, and how much.
    pub(super) policy: Policy,
    pub(super) gate: Arc<Gate>,
    pub(super) board: Board,
    /// What limited readers were given a moment ago.
    pub(super) redacted: Redacted,
    /// Fires when nothing more is to be accepted or read.
    pub(super) quiet: CancellationToken,
    /// Fires when no receipt will be completed any more.
    pub(super) closing: CancellationToken,
    /// Wills that wait for their clients to come back.
    pub(super) wills: Wills,
    limits: Mutex<Limits>,
    will_room: Arc<Semaphore>,
    large: Arc<Semaphore>,
    unknown_names: Mutex<HashSet<String>>,
    generations: AtomicU64,
}

/// The way into the pipeline. The broker knows when the last one is gone: nothing more will come.
#[derive(Clone)]
pub(super) struct Intake {
    pub(super) inlet: Inlet,
    /// Counts this intake as open.
    _open: TaskTrackerToken,
}

impl Intake {
    /// An intake that `open` waits for.
    pub(super) fn new(inlet: Inlet, open: &TaskTracker) -> Self {
        Self { inlet, _open: open.token() }
    }
}

/// Bytes of all wills together with [`WILL_OVERHEAD`]: 12 MiB, one of the usual size for each of the
/// most connections that there can be, or four thousand of the largest that gateways send.
const WILL_BYTES: usize = 12 << 20;

/// What a will costs beside its topic, payload and properties, in bytes: while it waits, what is known
/// of its client stands with it.
const WILL_OVERHEAD: usize = 768;

/// Bytes of all large packets that have begun and not wholly arrived, or that wait for the queue:
/// 8 MiB, thirty-two of the largest. Without it a thousand clients that each begin one and go on
/// slowly would take 400 MB.
const LARGE_BYTES: usize = 8 << 20;

/// A packet up to this size counts for nothing: the largest that gateways are known to send has
/// 10 KiB.
const LARGE: usize = 16 * 1024;

/// Unknown names that are said in the log; further ones are not.
const UNKNOWN_NAMES: usize = 100;

impl House {
    /// A house without guests.
    pub(super) fn new(
        clock: Clock,
        counters: Arc<Counters>,
        router: Router,
        (state, register): (State, Arc<Register>),
        (quiet, closing): (CancellationToken, CancellationToken),
    ) -> Self {
        Self {
            clock,
            counters,
            router,
            state,
            register,
            sessions: Sessions::default(),
            surroundings: Surroundings::default(),
            policy: Policy::default(),
            gate: Arc::default(),
            board: Board::default(),
            redacted: Redacted::default(),
            quiet,
            closing,
            limits: Mutex::default(),
            wills: Wills::default(),
            will_room: Arc::new(Semaphore::new(WILL_BYTES)),
            large: Arc::new(Semaphore::new(LARGE_BYTES)),
            unknown_names: Mutex::default(),
            generations: AtomicU64::new(1),
        }
    }

    /// With rules other than the defaults, and with what is known of the keys that are somebody's.
    pub(super) fn with_policy(mut self, policy: Policy, claims: Arc<dyn Claims>) -> Self {
        let Policy { allow_topics, bind_first_key, .. } = &policy;
        let rules = Rules { allow_topics: allow_topics.clone(), bind_first_key: *bind_first_key };
        self.gate = Arc::new(Gate { rules, claims });
        self.policy = policy;
        self
    }

    /// With a board that others look at, too.
    pub(super) fn with_board(mut self, board: Board) -> Self {
        self.board = board;
        self
    }

    /// The number of a new connection.
    pub(super) fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed)
    }

    /// A client id that nobody else has or had: for a client of MQTT 5 without one (MQTT-3.1.3-6).
    pub(super) fn client_id(&self) -> String {
        format!("meshbox-{:x}-{:x}", self.clock.now_ms(), self.next_generation())
    }

    /// Counts a reason, and says so in the log at most once a minute.
    pub(super) fn note(&self, reason: &'static str, what: impl FnOnce() -> String) {
        if let Some(times) = self.counters.reasons.note(reason, self.clock.now_ms()) {
            tracing::warn!(reason, times, "{}", what());
        }
    }

    /// Counts a refusal, says so in the log at most once a minute, and puts it on the board.
    pub(super) fn refuse(&self, refused: &Refused<'_>) {
        let (reason, from) = (refused.reason, refused.whom.from);
        self.note(reason, || {
            let what = match refused.sort {
                Sort::Connection => "a connection was refused",
                Sort::Closed => "a connection was closed",
                Sort::Publish => "a publish was ignored",
                Sort::Subscription => "a subscription was refused",
            };
            format!("{what}: from {from}{}", refused.in_words())
        });
        self.board.refuse(refused);
    }

    /// Looks at a message of a subject; `packet` is its payload if nobody sends it twice.
    pub(super) fn look(&self, subject: &Subject, packet: Option<&[u8]>) -> Excess {
        let excess = lock(&self.limits).look(subject, packet, Instant::now());
        self.counters.broker_over_rate.add(u64::from(excess.over_rate));
        self.counters.broker_duplicates.add(u64::from(excess.duplicate));
        excess
    }

    /// Notes that a message which nobody will send again found no room until the end.
    pub(super) fn note_lost(&self, message: &Message) {
        let from = &message.origin.name;
        self.note("message_lost_at_shutdown", || {
            format!("a message from {from} was lost: the queue stayed full to the end")
        });
    }

    /// Notes, once for each name, that a client gave credentials while there are no accounts.
    pub(super) fn note_unknown_name(&self, name: &str, identity: &Identity) {
        let mut names = lock(&self.unknown_names);
        if names.len() < UNKNOWN_NAMES && names.insert(name.to_owned()) {
            tracing::info!(
                "{name:?} from {identity} enters as anonymous: there are no accounts yet"
            );
        }
    }

    /// Room for a will in the budget of all wills; counted when there is none.
    pub(super) fn room_for_will(&self, will: &Will) -> Option<OwnedSemaphorePermit> {
        let said = will.said.as_ref().map_or(0, |said| said.cost());
        let bytes = will.topic.len() + will.payload.len() + said + WILL_OVERHEAD;
        let bytes = u32::try_from(bytes).ok()?;
        let room = Arc::clone(&self.will_room).try_acquire_many_owned(bytes).ok();
        if room.is_none() {
            self.note("will_without_room", || "a will was not kept: there are too many".to_owned());
        }
        room
    }

    /// Room for a packet of so many bytes in the budget of all large packets; `None` for one that is
    /// not large.
    ///
    /// # Errors
    /// The budget is used up.
    pub(super) fn room_for_packet(
        &self,
        bytes: usize,
    ) -> Result<Option<OwnedSemaphorePermit>, TryAcquireError> {
        if bytes <= LARGE {
            return Ok(None);
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::clone(&self.large).try_acquire_many_owned(bytes).map(Some)
    }

    /// Passes a copy of an allowed publish to subscribers, and retains it if it is to be retained and
    /// its topic is one for that. True: the state file has to have it before it is acknowledged.
    pub(super) fn copy(&self, copy: &Copy<'_>) -> bool {
        if !access::routable(copy.topic) {
            // Nobody can have subscribed to it by name, and the router must not see it.
            self.note("topic_not_for_subscribers", || {
                "a message was stored but not copied to subscribers: its topic is not plain ASCII \
                 of at most 1024 bytes"
                    .to_owned()
            });
            return false;
        }
        let kept = copy.retain && self.retain(copy);
        self.send(copy) || kept
    }

    /// Tells who is subscribed, and who will be, what is true of an observer.
    pub(super) fn announce(&self, announcement: Announcement) {
        let Announcement { topic, payload, live } = announcement;
        let at_ms = self.clock.now_ms();
        let truth = Retained {
            topic: Arc::clone(&topic),
            payload: payload.clone(),
            said: None,
            qos: QoS::AtLeastOnce,
            owner: None,
            author: Author::default(),
            at_ms,
        };
        // What we say ourselves always finds room.
        let _ = self.state.keepsakes().shelf().keep(truth);
        if live {
            self.send(&Copy::ours(&topic, &payload, at_ms));
        }
        self.state.changed();
    }

    /// The retained messages that `reader` gets for these filters, each once, at the QoS of the filter
    /// that grants most.
    pub(super) fn retained(&self, filters: &[(String, Grant)], reader: Author) -> Vec<Retained> {
        let now_ms = self.clock.now_ms();
        self.state.keepsakes().shelf().matching(filters, reader, now_ms)
    }

    /// Every queue for subscribers at QoS 1.
    pub(super) fn outboxes(&self) -> &Outboxes {
        &self.state.keepsakes().outboxes
    }

    /// Who is there.
    pub(super) fn presence(&self) -> &Presence {
        &self.state.keepsakes().presence
    }

    fn retain(&self, copy: &Copy<'_>) -> bool {
        if !matches!(policy::keep(copy.topic), Keep::Yes(_)) {
            self.counters.broker_retain_ignored.increment();
            return false;
        }
        let message = Retained {
            topic: copy.topic.into(),
            payload: copy.payload.clone(),
            said: copy.said.cloned(),
            qos: copy.served_qos(),
            owner: copy.from.cloned(),
            author: copy.author,
            at_ms: copy.at_ms,
        };
        let full = self.state.keepsakes().shelf().keep(message).err();
        let reason = match full {
            None => {
                self.state.changed();
                return true;
            }
            Some(Full::All) => "retained_without_room",
            Some(Full::Own) => "retained_over_own_share",
        };
        self.note(reason, || format!("{} was not retained: no room", copy.topic));
        false
    }

    /// Copies for whoever is subscribed now. True: a kept session has to have it stored.
    fn send(&self, copy: &Copy<'_>) -> bool {
        self.router.offer(copy);
        let mut lost = 0;
        let queued = self.outboxes().offer(copy, &mut lost);
        if lost > 0 {
            self.counters.broker_copies_lost.add(lost);
            self.note("subscriber_queue_full", || {
                "a subscriber that is away or too slow loses its oldest messages".to_owned()
            });
        }
        if queued {
            self.state.changed();
        }
        queued && copy.qos != QoS::AtMostOnce
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
