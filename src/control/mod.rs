//! The running hub's door for its own people: a Unix socket beside the database.
