//! Captured and synthetic packets beside what both CoreScopes make of them.
