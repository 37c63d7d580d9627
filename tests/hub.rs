//! The whole hub, in-process and as a program.
