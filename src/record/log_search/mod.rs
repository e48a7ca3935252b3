//! Looking for calls in the log: which lines are meant, and where they are found.
//!
//! A [`LogFilter`] says which, and judges one line; [`scan`] reads files backwards, so that the newest
//! lines are found first, and [`tail`] goes on with what is written from then on. Both are for
//! a thread of their own: they read gigabytes. What lies in a file is not trusted: a line that is none
//! of ours is passed over.

pub mod filter;
pub mod scan;
pub mod tail;

pub use filter::{FilterError, LogFilter};

/// The longest line that is taken for one.
pub const LINE_BYTES_MAX: usize = 256 * 1024;

/// Bytes read at a time.
const BLOCK_BYTES: usize = 256 * 1024;
