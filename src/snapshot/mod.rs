//! snapshot
pub mod catalog;
pub mod record;
