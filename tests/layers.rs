//! The law of imports.
