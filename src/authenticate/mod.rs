//! authenticate: see the crate's table.
pub mod digest;
pub mod key_form;
