//! What every handler of the admin API has in hand.

use crate::domain::Keysmith;
use crate::publish::Publisher;
use crate::store::Store;
use keyway::clock::Clock;
use std::sync::Arc;

/// The running control process; cheap to clone.
#[derive(Clone, Debug)]
pub struct Control {
    /// Truth.
    pub store: Store,
    /// From truth to what is served.
    pub publisher: Publisher,
    /// Makes keys.
    pub keysmith: Arc<Keysmith>,
    /// The process's clock.
    pub clock: Clock,
    /// Keys, and apps, that have series of their own in the metrics: those that call most.
    pub metrics_top: u32,
}
