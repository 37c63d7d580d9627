//! Config files and the commands that read them, as a user runs them.
