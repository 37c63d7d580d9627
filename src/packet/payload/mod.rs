//! One file a payload type, each in the same order: layout, struct, parse, emit, Display, tests.
