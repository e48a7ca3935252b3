//! Which kernel interface a worker's loop runs on, and how it is built.
//!
//! A ring belongs to the thread that built it (`SINGLE_ISSUER`), so each worker builds its own;
//! which [`Driver`] all of them use is settled between them in [`crate::worker::start`].

use std::fmt;
use std::future::Future;
use std::io;

use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

/// Entries of a submission queue: more operations than this in one turn of the loop are submitted
/// in several system calls.
const RING_ENTRIES: u32 = 2048;

/// The ways to run a worker's loop, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring with `SINGLE_ISSUER` and `DEFER_TASKRUN` (Linux 6.1): completions run when the
    /// worker waits, not in the middle of its work.
    UringDeferred,
    /// io_uring without these flags.
    Uring,
    /// epoll, where io_uring is missing or forbidden (the default of container runtimes).
    Epoll,
}

impl Driver {
    /// What to try when this one cannot be built.
    pub const fn next(self) -> Option<Driver> {
        match self {
            Self::UringDeferred => Some(Self::Uring),
            Self::Uring => Some(Self::Epoll),
            Self::Epoll => None,
        }
    }

    /// Name in logs, `/status` and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UringDeferred => "uring-deferred",
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One worker's event loop.
pub enum Runtime {
    /// On a ring.
    Uring(monoio::Runtime<TimeDriver<IoUringDriver>>),
    /// On epoll.
    Epoll(monoio::Runtime<TimeDriver<LegacyDriver>>),
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uring(_) => "Runtime::Uring",
            Self::Epoll(_) => "Runtime::Epoll",
        })
    }
}

impl Runtime {
    /// Builds a loop for the calling thread; fails if the kernel refuses what `driver` needs.
    pub fn build(driver: Driver) -> io::Result<Self> {
        let ring = |flags: io_uring::Builder| {
            RuntimeBuilder::<IoUringDriver>::new()
                .uring_builder(flags)
                .with_entries(RING_ENTRIES)
                .enable_timer()
                .build()
                .map(Self::Uring)
        };
        match driver {
            Driver::UringDeferred => {
                let mut flags = io_uring::IoUring::builder();
                flags.setup_single_issuer().setup_defer_taskrun();
                ring(flags)
            }
            Driver::Uring => ring(io_uring::IoUring::builder()),
            Driver::Epoll => RuntimeBuilder::<LegacyDriver>::new()
                .enable_timer()
                .build()
                .map(Self::Epoll),
        }
    }

    /// Runs the loop until `main` is done.
    pub fn block_on<T>(&mut self, main: impl Future<Output = T>) -> T {
        match self {
            Self::Uring(runtime) => runtime.block_on(main),
            Self::Epoll(runtime) => runtime.block_on(main),
        }
    }
}
