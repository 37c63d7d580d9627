use super::*;
use crate::clock::Clock;
use crate::message::queue::{Bounds, queue};
use crate::message::{Completion, Origin, OriginKind, Receipt};

use std::collections::VecDeque;
use std::sync::Mutex;
use tokio::sync::mpsc;

/// Messages with receipts, and what became of them.
struct Door {
    mailbox: mpsc::UnboundedSender<Completion>,
    inbox: mpsc::UnboundedReceiver<Completion>,
    serial: u64,
}

impl Door {
    #[expect(clippy::disallowed_methods, reason = "one completion per receipt")]
    fn new() -> Self {
        let (mailbox, inbox) = mpsc::unbounded_channel();
        Self { mailbox, inbox, serial: 0 }
    }

    /// A message whose receipt has the next serial number, from 1.
    fn message(&mut self, payload: &str) -> Message {
        self.serial += 1;
        Message {
            topic: "meshcore/SJC/x/packets".into(),
            payload: payload.to_owned().into(),
            origin: Origin { kind: OriginKind::Source, name: "reg\nion".into() },
            received_at_ms: 0,
            retained: false,
            receipt: Receipt::new(self.mailbox.clone(), 0, self.serial),
            place: None,
        }
    }

    fn outcomes(&mut self) -> Vec<(u64, Outcome)> {
        std::iter::from_fn(|| self.inbox.try_recv().ok()).map(|c| (c.serial, c.outcome)).collect()
    }
}

/// Makes a record of everything but what its payload says otherwise.
fn make(message: Message) -> Result<Message, Unrecorded> {
    let (reason, noise) = match &message.payload[..] {
        b"panic" => panic!("as told"),
        b"bad" => ("not_json", false),
        b"noise" => ("unknown_topic", true),
        _ => return Ok(message),
    };
    Err(Unrecorded { message: Box::new(message), reason, detail: "no\nline".into(), noise })
}

/// Whether a record is taken, or comes back.
type Taken = Result<(), Box<Message>>;

/// Takes messages one by one and keeps what would be stored.
struct Bench {
    door: Door,
    counters: Arc<Counters>,
    clock: Clock,
    stored: Arc<Mutex<VecDeque<Message>>>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    fn new() -> Self {
        let (counters, stored, log) = <(Arc<Counters>, Arc<_>, Arc<_>)>::default();
        Self { door: Door::new(), counters, clock: Clock::by_hand(0), stored, log }
    }

    /// The loop of this bench, with what makes records of messages.
    fn ingest<M: FnMut(Message) -> Result<Message, Unrecorded>>(
        &self,
        make: M,
    ) -> Ingest<M, impl FnMut(Message) -> Taken + use<M>, impl FnMut(Level, &str) + use<M>> {
        let (stored, log) = (Arc::clone(&self.stored), Arc::clone(&self.log));
        let put = move |message| {
            stored.lock().unwrap().push_back(message);
            Ok(())
        };
        let say = move |level, line: &str| log.lock().unwrap().push(format!("{level} {line}"));
        let trust = Trust::given(self.clock.clone());
        let counters = Arc::clone(&self.counters);
        Ingest { make, put, say, trust, counters, panicked: Panicked::default() }
    }

    fn count(&self, reason: &str) -> u64 {
        self.counters.reasons.count(reason)
    }
}

#[test]
fn a_receipt_stays_open_until_the_record_ends() {
    let mut bench = Bench::new();
    let mut ingest = bench.ingest(make);
    ingest.take(bench.door.message("a"));
    ingest.take(bench.door.message("b"));
    assert_eq!(bench.door.outcomes(), []);
    let first = bench.stored.lock().unwrap().pop_front().unwrap();
    assert_eq!(first.payload, "a");
    first.receipt.complete(Outcome::Stored);
    assert_eq!(bench.door.outcomes(), [(1, Outcome::Stored)]);
    assert_eq!(bench.counters.ingest_messages.get(), 2);
    assert_eq!(bench.counters.ingest_records.get(), 2);
}

#[test]
fn bad_input_is_refused_and_noise_acknowledged_and_both_are_counted() {
    let mut bench = Bench::new();
    let mut ingest = bench.ingest(make);
    for payload in ["bad", "noise", "fine", "bad"] {
        ingest.take(bench.door.message(payload));
    }
    let expected = [(1, Outcome::Refused), (2, Outcome::Stored), (4, Outcome::Refused)];
    assert_eq!(bench.door.outcomes(), expected);
    assert_eq!((bench.count("not_json"), bench.count("unknown_topic")), (2, 1));
    assert_eq!(bench.counters.ingest_records.get(), 1);
}

#[test]
fn a_message_that_panics_fails_first_and_is_refused_when_it_is_sent_again() {
    let mut bench = Bench::new();
    let mut asked = 0;
    let counted = |message| {
        asked += 1;
        make(message)
    };
    let mut ingest = bench.ingest(counted);
    for payload in ["panic", "fine", "panic", "panic"] {
        ingest.take(bench.door.message(payload));
    }
    let expected = [(1, Outcome::Failed), (3, Outcome::Refused), (4, Outcome::Refused)];
    assert_eq!(bench.door.outcomes(), expected);
    let mut elsewhere = bench.door.message("panic");
    elsewhere.topic = "another/topic".into();
    ingest.take(elsewhere);
    assert_eq!(bench.door.outcomes(), [(5, Outcome::Failed)]);
    drop(ingest);
    assert_eq!(asked, 3, "what panicked before is not tried again");
    assert_eq!(bench.counters.ingest_panics.get(), 2);
    assert_eq!((bench.count(PANICKED), bench.count(PANICKED_BEFORE)), (2, 2));
    assert_eq!(bench.stored.lock().unwrap().len(), 1);
}

#[test]
fn after_the_writer_has_ended_receipts_fail_and_the_loop_goes_on() {
    let mut bench = Bench::new();
    let Ingest { make, say, trust, counters, panicked, .. } = bench.ingest(make);
    let put = |message: Message| Err(Box::new(message));
    let mut ingest = Ingest { make, put, say, trust, counters, panicked };
    for payload in ["a", "bad", "b"] {
        ingest.take(bench.door.message(payload));
    }
    let expected = [(1, Outcome::Failed), (2, Outcome::Refused), (3, Outcome::Failed)];
    assert_eq!(bench.door.outcomes(), expected);
    assert_eq!(bench.count(STORE_ENDED), 2);
    assert_eq!(bench.counters.ingest_records.get(), 0);
}

#[test]
fn the_loop_takes_all_that_is_queued_in_order_and_ends_after_the_last_inlet() {
    let mut bench = Bench::new();
    let (inlet, outlet) = queue(Bounds { messages: 100, bytes: 1 << 20 });
    for n in 0..100 {
        inlet.try_send(bench.door.message(&n.to_string())).unwrap();
    }
    drop(inlet);
    let ingest = bench.ingest(make);
    let thread = std::thread::spawn(move || ingest.run(outlet));
    thread.join().unwrap();
    let stored: Vec<_> = bench.stored.lock().unwrap().drain(..).map(|m| m.payload).collect();
    let expected: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(stored, expected);
    assert_eq!(bench.door.outcomes().len(), 100, "their receipts ended with them");
    assert_eq!(Arc::strong_count(&bench.stored), 1, "the sink is dropped");
}

#[test]
fn the_log_has_one_line_a_minute_and_reason_without_control_characters_and_none_for_noise() {
    let mut bench = Bench::new();
    let mut ingest = bench.ingest(make);
    for payload in ["bad", "bad", "noise", "noise", "panic", "panic", "fine"] {
        ingest.take(bench.door.message(payload));
    }
    bench.clock.set(60_000);
    ingest.take(bench.door.message("bad"));
    let whence = "a message from reg?ion on meshcore/SJC/x/packets";
    let since = "since the last such line)";
    let expected = [
        format!("WARN refused {whence}: no?line (not_json, 1 {since}"),
        format!(
            "ERROR {whence} made the pipeline panic; sent again, it is refused (panicked, 1 {since}"
        ),
        format!(
            "WARN refused {whence}: the pipeline panicked on it before (panicked_before, 1 {since}"
        ),
        format!("WARN refused {whence}: no?line (not_json, 2 {since}"),
    ];
    assert_eq!(*bench.log.lock().unwrap(), expected);
}
