//! A clock that jumps while the hub runs.
