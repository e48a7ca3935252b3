//! limit: see the crate's table.
