//! How fast rows are committed, beside a bare loop over SQLite in the same run.
//!
//! `cargo test --release --test it store::bench -- --ignored --nocapture`

use super::*;

use rusqlite::params;

/// 16,667 packets heard three times by 20 observers: 50,000 records.
const PACKETS: u64 = 16_667;
const OBSERVERS: u64 = 20;

/// A fifth are adverts, a third channel messages; sizes as the network has them.
fn records() -> Vec<Record> {
    let mut records = Vec::new();
    for number in 0..PACKETS {
        for ear in 0..3 {
            let by = format!("{:064X}", (number * 7 + ear * 5) % OBSERVERS);
            let second = i64::try_from(number / 2_000).unwrap();
            let mut record = match number % 15 {
                0..=2 => with(advert(number, &format!("{:064x}", number % 500), second), |r| {
                    r.observer.as_mut().unwrap().id.clone_from(&by);
                    node(r).name = Some(format!("Node {}", number % 500));
                    (node(r).lat, node(r).lon) = (Some(37.5), Some(-122.1));
                    row(r).decoded_json = "x".repeat(480);
                    row(r).raw_hex = format!("11{number:0250X}");
                }),
                3..=7 => with(packet(number, &by, second), |r| {
                    row(r).payload_type = 5;
                    row(r).channel_hash = Some("#test".into());
                    row(r).decoded_json = "x".repeat(160);
                    row(r).raw_hex = format!("15{number:0100X}");
                }),
                _ => with(packet(number, &by, second), |r| {
                    row(r).decoded_json = "x".repeat(130);
                    row(r).raw_hex = format!("09{number:0080X}");
                }),
            };
            let row = row(&mut record);
            row.hash = format!("{:016x}", (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            row.path_json = format!("[\"{:02X}\",\"{ear:02X}\"]", number % 256);
            (row.snr_db, row.rssi_dbm) = (Some(5.25), Some(-90.0));
            records.push(record);
        }
    }
    records
}

/// The same rows with the least that SQLite needs: prepared statements, nothing looked up, the
/// observers and nodes once.
fn bare(path: &Path, records: &[Record], batch: usize) -> Duration {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;
         PRAGMA cache_size = -8192",
    )
    .unwrap();
    let mut transmission = conn
        .prepare(
            "INSERT INTO transmissions (raw_hex, hash, first_seen, route_type, payload_type,
               payload_version, decoded_json, from_pubkey, last_seen, created_at, channel_hash,
               scope_name) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )
        .unwrap();
    let mut observation = conn
        .prepare(
            "INSERT INTO observations (transmission_id, observer_idx, direction, snr, rssi, score,
               path_json, timestamp) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .unwrap();
    let started = Instant::now();
    let mut id = 0;
    for (n, records) in records.chunks(batch).enumerate() {
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        for (i, record) in records.iter().enumerate() {
            let number = n * batch + i;
            let Body::Packet(p) = &record.body else { continue };
            if number % 3 == 0 {
                transmission
                    .execute(params![
                        p.raw_hex,
                        p.hash,
                        "2026-11-23T04:24:21Z",
                        p.route_type,
                        p.payload_type,
                        p.payload_version,
                        p.decoded_json,
                        p.from_pubkey,
                        START_MS / 1_000,
                        "2026-11-23 04:24:21",
                        p.channel_hash,
                        p.scope_name,
                    ])
                    .unwrap();
                id = conn.last_insert_rowid();
            }
            observation
                .execute(params![
                    id,
                    i64::try_from(number % 20).unwrap(),
                    p.direction,
                    p.snr_db,
                    p.rssi_dbm,
                    p.score,
                    p.path_json,
                    START_MS / 1_000,
                ])
                .unwrap();
        }
        conn.execute_batch("COMMIT").unwrap();
    }
    started.elapsed()
}

/// Bytes that this process has handed to the system.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines().find_map(|l| l.strip_prefix("wchar: ")?.parse().ok()).unwrap_or(0)
}

/// How long the threads of this name, or this thread, have run on a processor.
fn busy(name: Option<&str>) -> Duration {
    let Some(name) = name else { return run_time(Path::new("/proc/thread-self")) };
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
    3.0 * f64::from(u32::try_from(PACKETS).unwrap()) / took.as_secs_f64()
}

#[test]
#[ignore = "a measurement: run it in release"]
fn fifty_thousand_records_beside_a_bare_loop() {
    let mut ratios = Vec::new();
    for _ in 0..3 {
        let (ours, our_cpu) = through_the_store();
        let bare = [2_000, 10_000].map(bare_loop);
        let best = bare.iter().map(|(rate, _)| *rate).fold(0.0, f64::max);
        let cpu = bare.iter().map(|(_, cpu)| *cpu).min().unwrap_or_default();
        ratios.push((ours / best, cpu.as_secs_f64() / our_cpu.as_secs_f64()));
    }
    println!("ratios of rate and of the writer's CPU: {ratios:.2?}");
    assert!(ratios.iter().any(|(rate, _)| *rate > 0.5), "slower than half of a bare loop");
}

fn through_the_store() -> (f64, Duration) {
    let mut bed = Bed::patient(Duration::from_secs(1));
    let all = records();
    let before = written();
    let started = Instant::now();
    bed.store(all);
    let took = started.elapsed();
    let cpu = busy(Some("writer"));
    bed.finish();
    println!(
        "meshbox: {:.0} records/s, {cpu:.0?} CPU of the writer, {} MB written, {} commits",
        rate(took),
        (written() - before) >> 20,
        bed.counters.commits.get()
    );
    assert_eq!(bed.one::<String>("PRAGMA integrity_check"), "ok");
    assert_eq!(bed.count("observations"), 50_001);
    (rate(took), cpu)
}

fn bare_loop(batch: usize) -> (f64, Duration) {
    let mut empty = Bed::new();
    empty.finish();
    let all = records();
    let (before, cpu) = (written(), busy(None));
    let took = bare(&empty.path, &all, batch);
    let cpu = busy(None) - cpu;
    println!(
        "bare: {:.0} records/s in batches of {batch}, {cpu:.0?} CPU, {} MB written",
        rate(took),
        (written() - before) >> 20
    );
    (rate(took), cpu)
}

/// A key of the mesh's `n`th repeater.
fn repeater(n: u64) -> String {
    format!("{:016x}{n:048x}", (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The same records in a mesh of 500 repeaters: paths of four hops, the last one of eight that the
/// observer hears. Not `asked`: as TRACEs, whose paths nobody looks at.
fn carried(asked: bool) -> Vec<Record> {
    let mut records = records();
    for (n, record) in (0_u64..).zip(&mut records) {
        let number = n / 3;
        let hash = |n: u64| repeater(n % 500)[..4].to_uppercase();
        let ear = (number * 7 + n % 3 * 5) % OBSERVERS;
        let hops = [number, number / 3, number / 7, ear * 20 + number / 11 % 8].map(hash);
        let row = row(record);
        row.path_json = format!("[\"{}\"]", hops.join("\",\""));
        if let Some(node) = row.node.as_mut() {
            node.public_key = repeater(number % 500);
            row.from_pubkey = Some(repeater(number % 500));
        }
        if !asked {
            row.payload_type = 9;
        }
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
        let cpu = busy(Some("writer"));
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
