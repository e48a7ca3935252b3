//! accept: see the crate's table.
