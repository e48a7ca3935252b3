//! parse: see the crate's table.
