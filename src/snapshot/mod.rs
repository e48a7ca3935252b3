//! Everything a request is judged by, as immutable files: written by control, served by nodes.
//!
//! # What there is
//! A *base* holds all of one generation: the [`catalog`] (tenants, plans, APIs with routes,
//! upstreams), the apps with their grants, and the key [`table`]. An *overlay* holds the whole
//! catalog again and only those apps and keys that changed since one base; it is cumulative, so a
//! [`View`] is one base and at most one overlay, which is read first. Generations only grow, over
//! bases and overlays together. [`mod@format`] tells the bytes, [`record`] those of one key.
//!
//! # How it gets from control to a request
//! 1. [`mod@write`] streams a file, in memory that does not grow with the keys, and refuses whatever a
//!    node would refuse.
//! 2. [`publish`] gives it its name and switches the small [`manifest`] `CURRENT` to it, so that a
//!    crash at any step leaves the old generation or the new one, whole.
//! 3. [`mod@load`] copies the file into sealed memory, [`verify`] checks every byte of it there, and
//!    only then a [`View`] exists. A bad file is an error; the last good view stays.
//! 4. A [`ViewSlot`] hands the view to each worker, which adopts it between two requests.
//!
//! ```text
//! snapshots/
//!   CURRENT                            which files to serve
//!   base-00000000000000000007.kws      everything, as of generation 7
//!   overlay-00000000000000000009.kws   what changed from 7 to 9
//! ```
//!
//! Absent on purpose: keys themselves and the peppers (a stolen file opens nothing), and anything
//! that a worker would have to wait for.

pub mod catalog;
pub mod cli;
mod fault;
pub mod fixture;
pub mod format;
pub mod ids;
pub mod load;
pub mod manifest;
mod map;
mod numbers;
pub mod publish;
pub mod record;
pub mod slot;
mod spill;
pub mod table;
pub mod verify;
pub mod view;
pub mod write;

pub use catalog::{Catalog, CatalogError, CatalogFile};
pub use ids::KeyId;
pub use load::{LoadError, LoadPolicy, load};
pub use map::MapError;
pub use record::{AppEntry, Digest, Environment, Grant, KeyRecord, KeyState};
pub use slot::ViewSlot;
pub use view::{App, View};
