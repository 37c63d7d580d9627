//! SQLite: the schema, the one writer thread, retention, read-only queries.
