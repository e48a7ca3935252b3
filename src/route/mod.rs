//! route: see the crate's table.
