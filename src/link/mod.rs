//! link: see the crate's table.
