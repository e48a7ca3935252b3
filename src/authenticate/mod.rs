//! authenticate: see the crate's table.
