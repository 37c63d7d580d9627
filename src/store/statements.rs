//! The writer's statements, prepared once.

use rusqlite::{Connection, Statement};

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident: $sql:expr,)*) => {
        /// Every statement of the hot path.
        #[derive(Debug)]
        pub(super) struct Statements<'c> {
            $($(#[$doc])* pub(super) $name: Statement<'c>,)*
        }

        impl<'c> Statements<'c> {
            pub(super) fn prepare(conn: &'c Connection) -> rusqlite::Result<Self> {
                Ok(Self { $($name: conn.prepare($sql)?,)* })
            }
        }
    };
}

statements! {
    /// Changes when another connection has committed.
    data_version: "PRAGMA data_version",
    find_observer: "SELECT rowid FROM observers WHERE id = ?1",
    /// Observers whose id is a key that is not in upper case: another program wrote them.
    odd_observers:
        "SELECT rowid, id FROM observers WHERE typeof(id) = 'text' AND length(id) = 64
           AND id <> upper(id) AND id NOT GLOB '*[^0-9A-Fa-f]*'",
    /// Its counts and times follow in the same transaction, with `update_observer`.
    insert_observer:
        "INSERT INTO observers (id, last_seen, first_seen, packet_count) VALUES (?1, ?2, ?2, 0)",
    // A time in the future (a clock that was ahead) is first brought back to the latest, ?4: without
    // that the observer would look alive until then (CoreScope #1465).
    update_observer:
        "UPDATE observers SET
           packet_count = COALESCE(packet_count, 0) + ?2,
           last_seen = CASE WHEN ?3 IS NULL THEN last_seen
             ELSE MAX(MIN(COALESCE(last_seen, ''), ?4), ?3) END,
           inactive = CASE WHEN ?3 IS NULL THEN inactive ELSE 0 END,
           last_packet_at = CASE WHEN ?5 IS NULL THEN last_packet_at
             ELSE MAX(MIN(COALESCE(last_packet_at, ''), ?4), ?5) END,
           name = COALESCE(?6, name),
           iata = COALESCE(?7, iata)
         WHERE rowid = ?1",
    update_observer_meta:
        "UPDATE observers SET
           model = COALESCE(?2, model),
           firmware = COALESCE(?3, firmware),
           client_version = COALESCE(?4, client_version),
           radio = COALESCE(?5, radio),
           battery_mv = COALESCE(?6, battery_mv),
           uptime_secs = COALESCE(?7, uptime_secs),
           noise_floor = COALESCE(?8, noise_floor),
           can_relay = COALESCE(?9, can_relay),
           can_relay_seen = CASE WHEN ?9 IS NULL THEN can_relay_seen ELSE 1 END
         WHERE rowid = ?1",
    // The count goes on if the last wrong clock was seen since ?5, a day before the first of these
    // ?3; ?4: it has begun anew among them.
    update_observer_clock:
        "UPDATE observers SET
           clock_skew_seconds = ?2,
           clock_skew_count_24h = ?3 + CASE WHEN NOT ?4 AND clock_last_naive_at >= ?5
             THEN COALESCE(clock_skew_count_24h, 0) ELSE 0 END,
           clock_last_naive_at = MAX(MIN(COALESCE(clock_last_naive_at, ''), ?7), ?6)
         WHERE rowid = ?1",
    replace_metrics:
        "INSERT OR REPLACE INTO observer_metrics (observer_id, timestamp, noise_floor, tx_air_secs,
           rx_air_secs, recv_errors, battery_mv, packets_sent, packets_recv)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    upsert_origin:
        "INSERT INTO meshbox_origins (observer, kind, name, first_seen, last_seen, count)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (observer, kind, name) DO UPDATE SET
           first_seen = MIN(first_seen, excluded.first_seen),
           last_seen = MAX(last_seen, excluded.last_seen),
           count = count + excluded.count",
    // Nothing is changed on a conflict, so that the number of changed rows tells new from known.
    insert_transmission:
        "INSERT INTO transmissions (raw_hex, hash, first_seen, route_type, payload_type,
           payload_version, decoded_json, from_pubkey, last_seen, created_at, channel_hash,
           scope_name)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT (hash) DO NOTHING",
    find_transmission:
        "SELECT id, CAST(raw_hex AS BLOB), unixepoch(first_seen), CAST(last_seen AS INTEGER)
         FROM transmissions WHERE hash = ?1",
    // Heard earlier or later than the row says. 0 marks a row of an older file whose new columns are
    // not filled yet: it stays, and is filled by its observations.
    update_transmission:
        "UPDATE transmissions SET
           first_seen = MIN(first_seen, ?2),
           last_seen = CASE WHEN last_seen = 0 THEN 0 ELSE MAX(last_seen, ?3) END
         WHERE id = ?1",
    // Without a conflict target it holds in a file without the index as well.
    insert_observation:
        "INSERT INTO observations (transmission_id, observer_idx, direction, snr, rssi, score,
           path_json, timestamp, raw_hex, resolved_path)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT DO NOTHING",
    find_observation:
        "SELECT id FROM observations
         WHERE transmission_id = ?1 AND observer_idx IS ?2 AND COALESCE(path_json, '') = ?3
         LIMIT 1",
    // The same in a file without the unique index, where SQLite would take the observer's index and
    // walk through all that it ever heard. Of duplicates the last one is filled: when they become
    // one, what the last one has counts.
    find_unguarded:
        "SELECT id FROM observations
         WHERE transmission_id = ?1 AND +observer_idx IS ?2 AND COALESCE(path_json, '') = ?3
         ORDER BY +id DESC LIMIT 1",
    /// What came late fills in (CoreScope #802); the row stays clean if nothing is new.
    fill_observation:
        "UPDATE observations SET
           snr = COALESCE(?2, snr), rssi = COALESCE(?3, rssi), score = COALESCE(?4, score),
           raw_hex = COALESCE(?5, raw_hex), resolved_path = COALESCE(?6, resolved_path)
         WHERE id = ?1 AND (COALESCE(?2, snr) IS NOT snr OR COALESCE(?3, rssi) IS NOT rssi
           OR COALESCE(?4, score) IS NOT score OR COALESCE(?5, raw_hex) IS NOT raw_hex
           OR COALESCE(?6, resolved_path) IS NOT resolved_path)",
    upsert_pair:
        "INSERT INTO neighbor_edges (node_a, node_b, count, last_seen) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (node_a, node_b) DO UPDATE SET
           count = COALESCE(count, 0) + excluded.count,
           last_seen = MAX(COALESCE(last_seen, ''), excluded.last_seen)",
    upsert_node:
        "INSERT INTO nodes (public_key, name, role, lat, lon, first_seen, last_seen, advert_count,
           battery_mv, temperature_c, default_scope, foreign_advert)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, COALESCE(?13, 0))
         ON CONFLICT (public_key) DO UPDATE SET
           name = COALESCE(excluded.name, name),
           role = COALESCE(excluded.role, role),
           lat = COALESCE(excluded.lat, lat),
           lon = COALESCE(excluded.lon, lon),
           last_seen = MAX(MIN(COALESCE(last_seen, ''), ?12), excluded.last_seen),
           advert_count = COALESCE(advert_count, 0) + excluded.advert_count,
           battery_mv = COALESCE(excluded.battery_mv, battery_mv),
           temperature_c = COALESCE(excluded.temperature_c, temperature_c),
           default_scope = COALESCE(excluded.default_scope, default_scope),
           foreign_advert = COALESCE(?13, foreign_advert)",
    scope_inactive_node: "UPDATE inactive_nodes SET default_scope = ?2 WHERE public_key = ?1",
    insert_dropped:
        "INSERT INTO dropped_packets (hash, raw_hex, reason, observer_id, observer_name,
           node_pubkey, node_name, dropped_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    // By id: a gap that another program's pruning left only makes the table smaller.
    trim_dropped:
        "DELETE FROM dropped_packets WHERE id IN
           (SELECT id FROM dropped_packets WHERE id <= ?1 ORDER BY id LIMIT ?2)",
    insert_refused:
        "INSERT INTO meshbox_refused (received_at, reason, topic, payload, origin_kind, origin)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    trim_refused: "DELETE FROM meshbox_refused WHERE id <= ?1",
}
