//! authorize: see the crate's table.
