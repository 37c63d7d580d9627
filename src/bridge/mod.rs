//! Other brokers: `source` takes their traffic in, `uplink` passes ours on.
