//! How fast rows are committed, beside a bare loop over SQLite in the same run.
//!
//! `cargo test --release --test it store::bench -- --ignored --nocapture`

#[path = "../bench/bare.rs"]
mod bare;

use self::bare::{copy, written};
use super::*;

use meshbox::cli::simulate::mesh::{Mesh, Shape};
use meshbox::record::{Recorder, Rules};

/// 16,667 packets heard three times by 20 observers: 50,000 records and one.
const PACKETS: u32 = 16_667;
const EARS: usize = 3;

/// What the pipeline makes of so much traffic of `meshbox simulate`: a fifth adverts, a third channel
/// texts.
fn records() -> Vec<Record> {
    let shape = Shape { nodes: 500, ears: EARS..=EARS, ..Shape::default() };
    let mut mesh = Mesh::new(1, &shape);
    let mut recorder = Recorder::new(Rules::default());
    let mut records = Vec::new();
    for number in 0..PACKETS {
        let second = number / 2_000;
        let now_ms = START_MS + i64::from(second) * 1_000;
        let clock_s = u32::try_from(START_MS / 1_000).unwrap() + second;
        for publication in mesh.transmit(clock_s, now_ms).publications {
            let message = Message {
                topic: publication.topic,
                payload: publication.payload.into(),
                origin: Origin { kind: OriginKind::Anonymous, name: "10.0.0.1".into() },
                received_at_ms: now_ms,
                retained: false,
                receipt: Receipt::none(),
                place: None,
            };
            records.push(recorder.record(message).unwrap());
        }
    }
    records
}

/// How long the threads of this name have run on a processor.
fn busy(name: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|t| t.unwrap().path());
    let named = |task: &PathBuf| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    tasks.filter(named).map(|task| run_time(&task)).sum()
}

fn run_time(task: &Path) -> Duration {
    let text = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    Duration::from_nanos(nanos)
}

fn rate(took: Duration) -> f64 {
    f64::from(3 * PACKETS) / took.as_secs_f64()
}

#[test]
#[ignore = "a measurement: run it in release"]
fn fifty_thousand_records_beside_a_bare_loop() {
    let mut ratios = Vec::new();
    for _ in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meshcore.db");
        let (ours, our_cpu) = through_the_store(&path);
        let bare = [2_000, 10_000].map(|batch| bare_loop(&path, batch));
        let best = bare.iter().map(|(rate, _)| *rate).fold(0.0, f64::max);
        let cpu = bare.iter().map(|(_, cpu)| *cpu).min().unwrap_or_default();
        ratios.push((ours / best, cpu.as_secs_f64() / our_cpu.as_secs_f64()));
    }
    println!("ratios of rate and of the writer's CPU: {ratios:.2?}");
    assert!(ratios.iter().any(|(rate, _)| *rate > 0.5), "slower than half of a bare loop");
}

fn through_the_store(path: &Path) -> (f64, Duration) {
    let mut bed = Bed::with_interval(path, Duration::from_secs(1));
    let all = records();
    let before = written();
    let started = Instant::now();
    bed.store(all);
    let took = started.elapsed();
    let cpu = busy("writer");
    bed.finish();
    println!(
        "meshbox: {:.0} records/s, {cpu:.0?} CPU of the writer, {} MB written, {} commits",
        rate(took),
        (written() - before) >> 20,
        bed.counters.commits.get()
    );
    assert_eq!(bed.one::<String>("PRAGMA integrity_check"), "ok");
    assert_eq!(bed.count("observations"), 50_001);
    assert_eq!(bed.count("transmissions"), i64::from(PACKETS));
    (rate(took), cpu)
}

fn bare_loop(from: &Path, batch: usize) -> (f64, Duration) {
    let mut empty = Bed::new();
    empty.finish();
    let cost = copy(from, &empty.path, batch);
    assert_eq!(empty.count("observations"), 50_001);
    println!(
        "bare: {:.0} records/s in batches of {batch}, {:.0?} CPU, {} MB written",
        rate(cost.took),
        cost.cpu,
        cost.bytes >> 20
    );
    (rate(cost.took), cost.cpu)
}

/// Not `asked`: as TRACEs, whose paths nobody looks at.
fn carried(asked: bool) -> Vec<Record> {
    let mut records = records();
    if !asked {
        records.iter_mut().for_each(|record| row(record).payload_type = 9);
    }
    records
}

#[test]
#[ignore = "a measurement: run it in release"]
fn what_neighbours_and_resolved_paths_cost() {
    let run = |asked| {
        let all = carried(asked);
        let mut bed = Bed::patient(Duration::from_secs(1));
        let before = written();
        bed.store(all);
        let cpu = busy("writer");
        bed.finish();
        let sql = "SELECT json_array(COUNT(resolved_path), AVG(LENGTH(resolved_path)),
            (SELECT COUNT(*) FROM neighbor_edges)) FROM observations";
        let found = bed.one::<String>(sql);
        println!("{cpu:.0?} CPU of the writer, {} MB written, {found}", (written() - before) >> 20);
        cpu
    };
    let mut ratios = Vec::new();
    for _ in 0..3 {
        let [without, with] = [false, true].map(run);
        let each = with.saturating_sub(without) / 50_001;
        ratios.push(without.as_secs_f64() / with.as_secs_f64());
        println!("{each:?} an observation");
    }
    println!("ratios of the writer's CPU without and with: {ratios:.2?}");
    assert!(ratios.iter().any(|ratio| *ratio > 0.5), "dearer than the rows themselves");
}
