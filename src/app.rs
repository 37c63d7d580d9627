//! The only file that knows every room: builds them in order, supervises them, stops them in reverse.
