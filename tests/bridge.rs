//! External brokers as sources, real and in-process.
