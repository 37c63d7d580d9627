//! The writer and its file.
