//! io: see the crate's table.
