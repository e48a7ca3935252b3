//! Time as the data plane uses it: a monotonic [`Tick`] for limits and deadlines, and
//! [`WallTime`] for validity and logs.
//!
//! The decision never reads a clock: the worker does, once per request, and passes both in, so
//! that a test or a bench replays a request at any time it likes. Limits live on the monotonic
//! clock because the wall clock may jump.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds on the machine's monotonic clock (`CLOCK_MONOTONIC`), which counts from about its
/// start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u64);

impl Tick {
    /// This tick in whole milliseconds.
    pub const fn millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Nanoseconds from `earlier` to this tick; zero if `earlier` is later.
    pub const fn since_ns(self, earlier: Tick) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime(pub u64);

impl WallTime {
    /// Whole seconds since the epoch: the unit of a key's validity.
    pub const fn seconds(self) -> u64 {
        self.0 / 1_000
    }
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// The monotonic clock.
    pub tick: Tick,
    /// The wall clock.
    pub wall: WallTime,
}

/// Where the data plane gets its time from.
///
/// Ticks of two processes on one machine compare, so that one process can go on with limits that
/// another began.
#[derive(Clone, Copy, Debug)]
pub struct Clock(());

impl Clock {
    /// The system's clocks.
    pub const fn system() -> Self {
        Self(())
    }

    /// Reads the monotonic clock.
    pub fn tick(&self) -> Tick {
        // Every kernel that runs the data plane has this clock, so zero is never seen.
        let now =
            clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap_or(nix::sys::time::TimeSpec::new(0, 0));
        let seconds = u64::try_from(now.tv_sec()).unwrap_or_default();
        let nanoseconds = u64::try_from(now.tv_nsec()).unwrap_or_default();
        Tick(
            seconds
                .saturating_mul(1_000_000_000)
                .saturating_add(nanoseconds),
        )
    }

    /// Reads the wall clock; zero if it stands before 1970.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the clocks"
    )]
    pub fn wall(&self) -> WallTime {
        let elapsed = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        WallTime(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }

    /// Reads both clocks.
    pub fn now(&self) -> Now {
        Now {
            tick: self.tick(),
            wall: self.wall(),
        }
    }
}
