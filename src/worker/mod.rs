//! worker
pub mod deadline;
