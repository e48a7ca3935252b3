//! respond: see the crate's table.
