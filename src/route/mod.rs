//! Route: host, path and method in, the API that is meant out.
//!
//! [`matcher`] finds it, [`path`] refuses paths that an upstream could read differently. What
//! becomes of a request that matched is written beside it: [`template`] makes another path,
//! [`edits`] changes headers, [`split`] chooses the upstream, by what [`affinity`] makes of the
//! request. [`balance`] picks which of an upstream's servers is next in line.

pub mod affinity;
pub mod balance;
mod condition;
pub mod edits;
pub mod matcher;
pub mod path;
mod pattern;
pub mod split;
pub mod template;

pub use condition::ConditionFault;
pub use matcher::{Asked, NoRoute, RouteError, RouteMatch, Router};
pub use pattern::PatternFault;

/// Index of an API in its catalog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiIndex(pub u32);

/// Index of an upstream in its catalog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamIndex(pub u32);
