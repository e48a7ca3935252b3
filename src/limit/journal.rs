//! What was consumed of quotas, for those who keep it on the disk.

use crate::limit::tag::Tag;

/// Units of a quota that one worker spent in one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Which limit of which subject.
    pub tag: Tag,
    /// When the window began, hours since 1970.
    pub window: u32,
    /// Units of a granule of the shared word.
    pub granule: u32,
    /// Units; less than zero when some came back that were told before.
    pub units: i64,
}
