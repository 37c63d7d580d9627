//! However the same records fall into batches, the same rows are stored.

use super::*;

use proptest::prelude::*;

/// What a generated record is made of: kind, packet, observer, second, and a value that is there or
/// not.
type Recipe = (u8, u64, u8, i64, Option<i8>);

fn record((kind, number, by, second, value): Recipe) -> Record {
    let by = format!("OBS{by}");
    let name = value.map(|v| format!("name {}", v % 3));
    let mut record = match kind {
        0..=4 => with(packet(number, &by, second), |r| {
            row(r).snr_db = value.map(f64::from);
            row(r).path_json = format!("[\"{:02X}\"]", second % 2);
            row(r).raw_hex = format!("11{:02X}", value.unwrap_or(0) % 2);
        }),
        5 | 6 => with(advert(number, &format!("key{}", number % 4), second), |r| {
            node(r).name.clone_from(&name);
            node(r).lat = value.map(f64::from);
            node(r).default_scope = value.filter(|v| *v > 50).map(|_| "#test".into());
        }),
        7 => with(packet(number, &by, second), |r| r.observer = None),
        8 => dropped(&by, second),
        9 => with(status(&by, second, Activity::None), |r| {
            about(r).battery_mv = value.map(Into::into);
        }),
        _ => with(status(&by, second, Activity::Status), |r| {
            about(r).noise_floor_dbm = value.map(Into::into);
            about(r).can_relay = value.map(|v| v > 0);
        }),
    };
    if let Some(observer) = record.observer.as_mut() {
        observer.name = name;
    }
    record
}

/// Every row of every table, without ids and in a fixed order.
fn rows(path: &Path) -> Vec<String> {
    let queries = [
        "SELECT 'tx', hash, raw_hex, first_seen, last_seen, payload_type FROM transmissions",
        "SELECT 'obs', t.hash, b.id, o.direction, o.snr, o.rssi, o.path_json, o.timestamp,
           o.raw_hex FROM observations o JOIN transmissions t ON t.id = transmission_id
           LEFT JOIN observers b ON b.rowid = observer_idx",
        "SELECT * FROM observers",
        "SELECT * FROM nodes",
        "SELECT * FROM observer_metrics",
        "SELECT * FROM meshbox_origins",
        "SELECT observer_id, dropped_at FROM dropped_packets",
        "SELECT reason FROM meshbox_refused",
    ];
    let conn = Connection::open(path).unwrap();
    let mut all = Vec::new();
    for sql in queries {
        let mut statement = conn.prepare(sql).unwrap();
        let width = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let cells = (0..width).map(|n| format!("{:?}", row.get_ref(n).unwrap()));
            all.push(cells.collect::<Vec<_>>().join(" "));
        }
    }
    all.sort();
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn batches_in_any_split_store_the_same_rows(
        recipes in prop::collection::vec(
            (0..12_u8, 0..12_u64, 0..3_u8, 0..900_i64, any::<Option<i8>>()),
            1..60,
        ),
        // After this many records a commit, and perhaps a restart.
        splits in prop::collection::vec((1..12_usize, any::<bool>()), 1..20),
    ) {
        // Later than every record: what lies in the future is brought back at each batch.
        let now_ms = START_MS + DAY_MS;
        let mut whole = Bed::patient(Duration::from_secs(60));
        whole.clock.set(now_ms);
        whole.put(recipes.iter().map(|r| record(*r)));
        whole.finish();
        prop_assert_eq!(whole.counters.commits.get(), 1);

        let mut split = Bed::new();
        let dir = split._dir.take();
        split.clock.set(now_ms);
        let mut left = &recipes[..];
        for (length, restart) in splits.into_iter().cycle() {
            let (chunk, rest) = left.split_at(length.min(left.len()));
            split.store(chunk.iter().map(|r| record(*r)));
            if restart {
                split.finish();
                split = Bed::on(&split.path.clone());
                split.clock.set(now_ms);
            }
            left = rest;
            if left.is_empty() {
                break;
            }
        }
        split.finish();
        prop_assert_eq!(rows(&split.path), rows(&whole.path));
        drop(dir);
    }
}
