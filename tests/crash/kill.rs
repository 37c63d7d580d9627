//! `kill -9`, at moments that nobody has chosen.

use super::*;
use crate::support::database::count;
use crate::support::eventually;
use crate::support::process::Mosquitto;

use std::time::Duration;

/// Moments from a seed, which is printed. `MESHBOX_SEED` repeats a run, as far as two programs that
/// run side by side can be repeated.
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        let given = std::env::var("MESHBOX_SEED").ok();
        let now = meshbox::clock::Clock::system().now_ms().unsigned_abs();
        let seed = given.map_or(now, |seed| seed.parse().expect("MESHBOX_SEED is a number"));
        println!("MESHBOX_SEED={seed}");
        Self(seed)
    }

    /// The next one below `bound` (SplitMix64).
    fn next(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// So many rounds on one file: start, publish, kill, look.
fn kill_rounds(rounds: u32) {
    let mut moments = Moments::new();
    let dir = folder("");
    let db = database(dir.path());
    let mut all = BTreeSet::new();
    for round in 0..rounds {
        let (hub, at) = start(dir.path());
        let loads = publish(at, round, EACH);
        // Large transactions, too.
        let first = 10_000_000 + round * EACH;
        let flood = Load::flood(at, gateway(GATEWAYS), first..first + EACH);
        // Some at the very start, while the file is still recovering from the last one.
        let (after, micros) = (moments.next(3_000), moments.next(30_000));
        eventually("so many acknowledgements", || {
            (acknowledged(&loads) as u64 >= after).then_some(())
        });
        std::thread::park_timeout(Duration::from_micros(micros));
        hub.kill();
        flood.join().unwrap();
        let acknowledged = finish(loads);
        assert!(acknowledged.len() < (GATEWAYS * EACH) as usize, "it was killed too late");
        println!(
            "round {round}: killed {micros} µs after {after}, {} acknowledged",
            acknowledged.len()
        );
        all.extend(acknowledged);
        is_whole(&db, &all);
    }
    let (hub, _) = start(dir.path());
    assert_eq!(hub.terminate(), Some(0));
    is_whole(&db, &all);
    println!("{} acknowledged, all of them stored", all.len());
}

#[test]
fn kill_minus_9_at_five_moments_loses_nothing_that_was_acknowledged() {
    kill_rounds(5);
}

#[test]
#[ignore = "the same at twenty moments"]
fn kill_minus_9_at_twenty_moments_loses_nothing_that_was_acknowledged() {
    kill_rounds(20);
}

/// A real mosquitto holds what it has acknowledged for us; ours is killed so many times.
fn kill_rounds_beside_mosquitto(rounds: u64) {
    let mut moments = Moments::new();
    let dir = tempfile::tempdir().unwrap();
    let Some(mosquitto) = Mosquitto::start(dir.path(), "") else { return };
    let config = format!(
        "[broker]\nenabled = false\n[[mqttSources]]\nname = \"outside\"\nbroker = \"mqtt://{}\"\n",
        mosquitto.at
    );
    std::fs::write(dir.path().join("broker.toml"), config).unwrap();
    let db = database(dir.path());
    let mut hub = HubProcess::start(dir.path(), &[]);
    eventually("the source is subscribed", || {
        status(dir.path()).filter(|s| s.sources["outside"].step == "receiving")
    });
    let rows = || count(&db, "select count(*) from transmissions");
    let each = 2_000;
    let loads = publish(mosquitto.at, 0, each);
    for round in 0..rounds {
        let (share, micros) = (u64::from(GATEWAYS * each) / rounds, moments.next(50_000));
        let after = i64::try_from(round * share + moments.next(share)).unwrap();
        eventually("so many rows", || (rows() >= after).then_some(()));
        std::thread::park_timeout(Duration::from_micros(micros));
        hub.kill();
        println!("round {round}: killed {micros} µs after {after} rows");
        hub = HubProcess::start(dir.path(), &[]);
    }
    let published = finish(loads);
    assert_eq!(published.len(), (GATEWAYS * each) as usize);
    eventually("every packet is a row", || (rows() == i64::from(GATEWAYS * each)).then_some(()));
    assert_eq!(hub.terminate(), Some(0));
    is_whole(&db, &published);
}

#[test]
fn kill_minus_9_loses_nothing_that_a_real_mosquitto_holds_for_us() {
    kill_rounds_beside_mosquitto(2);
}

#[test]
#[ignore = "the same at twenty moments"]
fn kill_minus_9_at_twenty_moments_loses_nothing_that_a_real_mosquitto_holds_for_us() {
    kill_rounds_beside_mosquitto(20);
}
