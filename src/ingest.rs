//! The loop from message to record: counts every outcome by name, never stops for a message.
