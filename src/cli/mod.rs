//! The command line: one file a subcommand; arguments to calls to an exit code.

pub mod decode;
