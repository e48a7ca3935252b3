//! Spool: usage on its way to control, kept on the disk until control has it.
//!
//! In: what workers hand over once a second ([`UsageQueue`](crate::record::usage::UsageQueue)). Out:
//! [`Segment`](crate::record::segment::Segment)s, one at a time, for the [`link`](crate::link) to send
//! and, on its word that control has it, to forget. One thread of its own does the disk's part: a disk
//! that stalls delays no request, and no revocation either.
//!
//! Rows of all workers merge into one *open* count, which a [`journal`] on the disk follows; it is
//! *sealed* as a segment every second while control takes them, and every minute while it does not,
//! when the rows of a minute have become one each. A segment is counted exactly once by `(node, boot,
//! sequence)`: the numbers of a process that merges its workers say as much as numbers for each
//! worker would, and the rows are fewer. A process that is killed loses what its workers held, less
//! than two seconds; the next one finds the journal, seals it under the number it was to have, and ships
//! it first. Beyond `state.usage_bytes_max` the oldest segments are dropped, counted and told: a bill
//! that lacks the hours of an outage's begin is settled by hand, while a dashboard and an alarm
//! need what happened last. A disk that fails leaves segments in memory, bounded, and is tried again.
//!
//! Two processes of one node stand side by side while one takes over from the other: each has its own
//! boot, files and lock, and what the one that ends could not ship the other finds within seconds.

mod bounds;
mod cut;
pub mod files;
pub mod journal;
mod keeper;
pub mod names;
mod recover;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use crate::clock::Clock;
use crate::link::WorkerHandle;
use keeper::{Keeper, Order};
use names::RouteNames;

/// A sealed segment, as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Random number of the process that counted.
    pub boot: u64,
    /// Its number among those of the boot.
    pub sequence: u64,
    /// The encoded segment.
    pub bytes: Arc<[u8]>,
    /// Requests in it.
    pub requests: u64,
    /// Requests that it tells to have been dropped.
    pub dropped_requests: u64,
}

/// How the spool stands, for those who show it.
#[derive(Debug, Default)]
pub struct SpoolState {
    /// Names of routes.
    pub names: RouteNames,
    /// Rows in the open count.
    pub open_rows: AtomicU64,
    /// Sealed segments that control does not have.
    pub segments: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
    /// When the oldest of them was sealed, milliseconds since the epoch; 0 for none.
    pub oldest_ms: AtomicU64,
    /// Requests whose usage control has.
    pub shipped: AtomicU64,
    /// Requests whose usage was dropped for want of room.
    pub dropped: AtomicU64,
    /// Requests whose usage a process before this one left behind.
    pub recovered: AtomicU64,
    /// Failed writes and reads.
    pub errors: AtomicU64,
}

/// Where the spool keeps what.
#[derive(Clone, Debug)]
pub struct SpoolSettings {
    /// The node's name.
    pub node: String,
    /// The directory; without it all is kept in memory.
    pub directory: Option<PathBuf>,
    /// Most bytes that wait.
    pub bytes_max: u64,
}

/// The running spool.
#[derive(Debug)]
pub struct Spool {
    orders: Sender<Order>,
    /// Disconnected when the thread is gone.
    gone: Receiver<()>,
}

/// The link's side: takes segments one at a time.
#[derive(Debug)]
pub struct Outlet {
    /// The next segment; there is none while the one before was not told of.
    pub next: Receiver<Sealed>,
    orders: Sender<Order>,
}

impl Outlet {
    /// Control has this one.
    pub fn shipped(&self, boot: u64, sequence: u64) {
        // Its thread is gone only when the process ends.
        let _ = self.orders.send(Order::Shipped { boot, sequence });
    }

    /// An outlet from which nothing ever comes.
    pub fn closed() -> Self {
        Self {
            next: crossbeam::channel::never(),
            orders: unbounded().0,
        }
    }
}

impl Spool {
    /// Finds what processes before this one left, and starts the thread.
    pub fn start(
        settings: &SpoolSettings,
        workers: Vec<Arc<WorkerHandle>>,
        state: Arc<SpoolState>,
        clock: Clock,
    ) -> io::Result<(Self, Outlet)> {
        let (orders, ordered) = unbounded();
        // A meeting place: the keeper learns at once when the link takes one.
        let (offer, next) = bounded(1);
        let (here, gone) = bounded(0);
        let mut keeper = Keeper::new(settings, workers, state, clock)?;
        std::thread::Builder::new()
            .name("keyway-spool".into())
            .spawn(move || {
                let _here: Sender<()> = here;
                keeper.run(&ordered, &offer);
            })?;
        let outlet = Outlet {
            next,
            orders: orders.clone(),
        };
        Ok((Self { orders, gone }, outlet))
    }

    /// The workers are done: seals what they counted last, so that the link can ship it.
    pub fn seal(&self) {
        let (done, sealed) = bounded(1);
        if self.orders.send(Order::Seal(done)).is_ok() {
            // A disk that stalls must not hold up the end for ever.
            let _ = sealed.recv_timeout(Duration::from_secs(5));
        }
    }

    /// Ends the thread; false if it did not end within `patience`.
    pub fn stop(self, patience: Duration) -> bool {
        let _ = self.orders.send(Order::Stop);
        self.gone.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected)
    }
}
