//! snapshot
pub mod catalog;
