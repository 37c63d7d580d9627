//! The tables: CoreScope's schema of July 2026, which is a superset of April's, and our own.
//!
//! Both CoreScope servers open a file made here. Column order matters in `nodes` and
//! `inactive_nodes`, which CoreScope copies by position, and nowhere else.

/// `PRAGMA user_version` of a file whose tables are as below; CoreScope leaves it at 0.
pub(super) const VERSION: i64 = 1;

/// Every table: CoreScope's, then ours. A column that an older file may lack is written as
/// `ALTER TABLE … ADD COLUMN` takes it.
pub(super) const TABLES: &[Table] = &[
    Table { name: "nodes", columns: NODES, constraints: "" },
    Table { name: "inactive_nodes", columns: NODES, constraints: "" },
    Table {
        name: "observers",
        columns: &[
            "id TEXT PRIMARY KEY",
            "name TEXT",
            "iata TEXT",
            "last_seen TEXT",
            "first_seen TEXT",
            "packet_count INTEGER DEFAULT 0",
            "model TEXT",
            "firmware TEXT",
            "client_version TEXT",
            "radio TEXT",
            "battery_mv INTEGER",
            "uptime_secs INTEGER",
            "noise_floor REAL",
            "inactive INTEGER DEFAULT 0",
            "last_packet_at TEXT DEFAULT NULL",
            "clock_skew_seconds INTEGER DEFAULT NULL",
            "clock_skew_count_24h INTEGER DEFAULT 0",
            "clock_last_naive_at TEXT DEFAULT NULL",
            "can_relay INTEGER DEFAULT 1",
            "can_relay_seen INTEGER DEFAULT 0",
        ],
        constraints: "",
    },
    Table {
        name: "transmissions",
        columns: &[
            "id INTEGER PRIMARY KEY AUTOINCREMENT",
            "raw_hex TEXT NOT NULL",
            "hash TEXT NOT NULL UNIQUE",
            "first_seen TEXT NOT NULL",
            "route_type INTEGER",
            "payload_type INTEGER",
            "payload_version INTEGER",
            "decoded_json TEXT",
            "from_pubkey TEXT",
            "last_seen INTEGER NOT NULL DEFAULT 0",
            "created_at TEXT DEFAULT (datetime('now'))",
            "channel_hash TEXT DEFAULT NULL",
            "scope_name TEXT DEFAULT NULL",
        ],
        constraints: "",
    },
    Table {
        name: "observations",
        columns: &[
            "id INTEGER PRIMARY KEY AUTOINCREMENT",
            "transmission_id INTEGER NOT NULL REFERENCES transmissions(id)",
            "observer_idx INTEGER",
            "direction TEXT",
            "snr REAL",
            "rssi REAL",
            "score INTEGER",
            "path_json TEXT",
            "timestamp INTEGER NOT NULL",
            "resolved_path TEXT",
            "raw_hex TEXT",
        ],
        constraints: "",
    },
    Table {
        name: "observer_metrics",
        columns: &[
            "observer_id TEXT NOT NULL",
            "timestamp TEXT NOT NULL",
            "noise_floor REAL",
            "tx_air_secs INTEGER",
            "rx_air_secs INTEGER",
            "recv_errors INTEGER",
            "battery_mv INTEGER",
            "packets_sent INTEGER",
            "packets_recv INTEGER",
        ],
        constraints: ", PRIMARY KEY (observer_id, timestamp)",
    },
    Table {
        name: "dropped_packets",
        columns: &[
            "id INTEGER PRIMARY KEY AUTOINCREMENT",
            "hash TEXT",
            "raw_hex TEXT",
            "reason TEXT NOT NULL",
            "observer_id TEXT",
            "observer_name TEXT",
            "node_pubkey TEXT",
            "node_name TEXT",
            "dropped_at DATETIME DEFAULT CURRENT_TIMESTAMP",
        ],
        constraints: "",
    },
    Table {
        name: "neighbor_edges",
        columns: &[
            "node_a TEXT NOT NULL",
            "node_b TEXT NOT NULL",
            "count INTEGER DEFAULT 1",
            "last_seen TEXT",
        ],
        constraints: ", PRIMARY KEY (node_a, node_b)",
    },
    Table {
        name: "client_receptions",
        columns: &[
            "id INTEGER PRIMARY KEY AUTOINCREMENT",
            "rx_pubkey TEXT NOT NULL",
            "heard_key TEXT NOT NULL",
            "heard_keylen INTEGER NOT NULL",
            "rssi INTEGER",
            "snr REAL",
            "lat REAL NOT NULL",
            "lon REAL NOT NULL",
            "pos_acc_m REAL",
            "rx_at TEXT NOT NULL",
            "ingested_at TEXT NOT NULL",
            "src TEXT NOT NULL",
        ],
        constraints: ", UNIQUE (rx_pubkey, heard_key, rx_at)",
    },
    Table {
        name: "client_observers",
        columns: &["pubkey TEXT PRIMARY KEY", "name TEXT", "last_seen TEXT"],
        constraints: "",
    },
    Table { name: "_migrations", columns: &["name TEXT PRIMARY KEY"], constraints: "" },
    Table {
        name: "_async_migrations",
        columns: &[
            "name TEXT PRIMARY KEY",
            "status TEXT NOT NULL",
            "started_at TEXT NOT NULL DEFAULT (datetime('now'))",
            "ended_at TEXT",
            "error TEXT",
        ],
        constraints: "",
    },
    // Who spoke for whom: an observer, and the identity, address or source that published for it.
    Table {
        name: "meshbox_origins",
        columns: &[
            "observer TEXT NOT NULL",
            "kind TEXT NOT NULL",
            "name TEXT NOT NULL",
            "first_seen TEXT NOT NULL",
            "last_seen TEXT NOT NULL",
            "count INTEGER NOT NULL DEFAULT 0",
        ],
        constraints: ", PRIMARY KEY (observer, kind, name)",
    },
    // How far a walk over a table of an older file is.
    Table {
        name: "meshbox_progress",
        columns: &["step TEXT PRIMARY KEY", "at INTEGER NOT NULL"],
        constraints: "",
    },
    // What could not be stored, and why.
    Table {
        name: "meshbox_refused",
        columns: &[
            "id INTEGER PRIMARY KEY AUTOINCREMENT",
            "received_at TEXT NOT NULL",
            "reason TEXT NOT NULL",
            "topic TEXT NOT NULL",
            "payload BLOB NOT NULL",
            "origin_kind TEXT NOT NULL",
            "origin TEXT NOT NULL",
        ],
        constraints: "",
    },
];

const NODES: &[&str] = &[
    "public_key TEXT PRIMARY KEY",
    "name TEXT",
    "role TEXT",
    "lat REAL",
    "lon REAL",
    "last_seen TEXT",
    "first_seen TEXT",
    "advert_count INTEGER DEFAULT 0",
    "battery_mv INTEGER",
    "temperature_c REAL",
    "foreign_advert INTEGER DEFAULT 0",
    "default_scope TEXT DEFAULT NULL",
    "multibyte_sup INTEGER NOT NULL DEFAULT 0",
    "multibyte_evidence TEXT",
];

/// One table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [&'static str],
    constraints: &'static str,
}

impl Table {
    /// The statement that makes it.
    pub(super) fn create(&self) -> String {
        let columns = self.columns.join(",\n  ");
        format!("CREATE TABLE {} (\n  {columns}{}\n)", self.name, self.constraints)
    }
}

/// The name of a column, given as in [`Table::columns`].
pub(super) fn column_name(column: &str) -> &str {
    column.split(' ').next().unwrap_or(column)
}

/// Tables and columns that every CoreScope file of the v3 layout has had from the start; a file
/// without them is something else.
pub(super) const OLDEST: &[(&str, &[&str])] = &[
    ("nodes", &["public_key", "name", "role", "lat", "lon", "last_seen", "first_seen"]),
    ("observers", &["id", "name", "iata", "last_seen", "first_seen"]),
    ("transmissions", &["id", "raw_hex", "hash", "first_seen", "decoded_json"]),
    (
        "observations",
        &["id", "transmission_id", "observer_idx", "snr", "rssi", "path_json", "timestamp"],
    ),
];

/// The index that makes an observation unique. Files older than it may hold duplicates.
pub(super) const DEDUP: &str = "idx_observations_dedup";

/// Each index: its name, its table, and the rest of the statement.
pub(super) const INDEXES: &[(&str, &str, &str)] = &[
    ("idx_nodes_last_seen", "nodes", "(last_seen)"),
    ("idx_nodes_foreign_advert", "nodes", "(foreign_advert) WHERE foreign_advert = 1"),
    ("idx_inactive_nodes_last_seen", "inactive_nodes", "(last_seen)"),
    ("idx_observers_last_seen", "observers", "(last_seen)"),
    ("idx_transmissions_hash", "transmissions", "(hash)"),
    ("idx_transmissions_first_seen", "transmissions", "(first_seen)"),
    ("idx_transmissions_payload_type", "transmissions", "(payload_type)"),
    ("idx_transmissions_from_pubkey", "transmissions", "(from_pubkey)"),
    ("idx_tx_channel_hash", "transmissions", "(channel_hash) WHERE payload_type = 5"),
    ("idx_tx_scope_name", "transmissions", "(scope_name) WHERE scope_name IS NOT NULL"),
    ("idx_tx_last_seen_zero", "transmissions", "(id) WHERE last_seen = 0"),
    ("idx_observations_transmission_id", "observations", "(transmission_id)"),
    ("idx_observations_observer_idx", "observations", "(observer_idx)"),
    ("idx_observations_timestamp", "observations", "(timestamp)"),
    ("idx_observations_tx_ts", "observations", "(transmission_id, timestamp)"),
    ("idx_observations_observer_idx_timestamp", "observations", "(observer_idx, timestamp)"),
    (DEDUP, "observations", "(transmission_id, observer_idx, COALESCE(path_json, ''))"),
    ("idx_observer_metrics_timestamp", "observer_metrics", "(timestamp)"),
    ("idx_dropped_observer", "dropped_packets", "(observer_id)"),
    ("idx_dropped_node", "dropped_packets", "(node_pubkey)"),
    ("idx_client_recept_heard_geo", "client_receptions", "(heard_key, heard_keylen, lat, lon)"),
    ("idx_client_recept_latlon", "client_receptions", "(lat, lon)"),
    ("idx_client_recept_rxat", "client_receptions", "(rx_at)"),
];

/// The statement that makes an index of [`INDEXES`].
pub(super) fn create_index((name, table, on): (&str, &str, &str)) -> String {
    let unique = if name == DEDUP { "UNIQUE " } else { "" };
    format!("CREATE {unique}INDEX {name} ON {table}{on}")
}

/// One row an observation, as CoreScope's server reads it.
pub(super) const VIEW: &str = "\
CREATE VIEW packets_v AS
  SELECT o.id, COALESCE(o.raw_hex, t.raw_hex) AS raw_hex,
    datetime(o.timestamp, 'unixepoch') AS timestamp,
    obs.id AS observer_id, obs.name AS observer_name,
    o.direction, o.snr, o.rssi, o.score, t.hash, t.route_type,
    t.payload_type, t.payload_version, o.path_json, t.decoded_json, t.created_at
  FROM observations o
  JOIN transmissions t ON t.id = o.transmission_id
  LEFT JOIN observers obs
    ON obs.rowid = o.observer_idx AND (obs.inactive IS NULL OR obs.inactive = 0)";

/// What CoreScope's ingestors have done to a file that is made like this one: they find nothing to
/// do in it. Only for a fresh file: in an older one their backfills may still be needed.
pub(super) const MIGRATIONS: &[&str] = &[
    "advert_count_unique_v1",
    "noise_floor_real_v1",
    "node_telemetry_v1",
    "obs_timestamp_index_v1",
    "observer_metrics_v1",
    "observer_metrics_ts_idx",
    "observers_inactive_v1",
    "observer_metrics_packets_v1",
    "channel_hash_v1",
    "dropped_packets_v1",
    "observers_last_packet_at_v1",
    "observers_clock_naive_v1",
    "cleanup_legacy_null_hash_ts",
    "foreign_advert_v1",
    "from_pubkey_v1",
    "channel_hash_casing_v1",
    "scope_name_v1",
    "nodes_default_scope_v1",
    "observations_raw_hex_v1",
    "obs_observer_ts_idx_v1",
    "backfill_path_json_from_raw_hex_v1",
    "backfill_default_scope_v1",
];

/// The same for its background migrations.
pub(super) const ASYNC_MIGRATIONS: &[&str] =
    &["obs_observer_ts_idx_v1", "tx_last_seen_backfill_v1"];
