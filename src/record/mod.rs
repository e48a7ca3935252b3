//! record: see the crate's table.
