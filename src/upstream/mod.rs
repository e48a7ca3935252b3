//! upstream: see the crate's table.
