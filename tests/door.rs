//! The door over real sockets and with clients from outside.
