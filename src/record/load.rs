//! How loaded the node is, as its threads tell each other.
//!
//! Each worker writes its own words on its beat and reads the others' then; the link thread writes
//! the process's memory. Never on the request path: what a worker decides a request by is its own.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

/// How far a worker is from what it can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// It takes what comes.
    #[default]
    Normal = 0,
    /// New requests are refused.
    Overloaded = 1,
    /// New connections are turned away as well.
    Closed = 2,
}

/// The node's load.
#[derive(Debug)]
pub struct Load {
    resident_bytes: AtomicU64,
    workers: Box<[CachePadded<WorkerLoad>]>,
}

#[derive(Debug, Default)]
struct WorkerLoad {
    in_flight: AtomicU64,
    lag_us: AtomicU64,
    level: AtomicU8,
}

/// One worker's load, as of its last beat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Requests between their head and the end of their answer.
    pub in_flight: u64,
    /// How late its beats are, smoothed.
    pub lag_us: u64,
    /// What it refuses.
    pub level: Level,
}

impl Load {
    /// A node of so many workers that does nothing yet.
    pub fn new(workers: usize) -> Self {
        Self {
            resident_bytes: AtomicU64::new(0),
            workers: (0..workers).map(|_| CachePadded::default()).collect(),
        }
    }

    /// Says how much memory the process has resident.
    pub fn note_resident(&self, bytes: u64) {
        // Relaxed, like all here: each word stands for itself.
        self.resident_bytes.store(bytes, Ordering::Relaxed);
    }

    /// What was said last.
    pub fn resident_bytes(&self) -> u64 {
        self.resident_bytes.load(Ordering::Relaxed)
    }

    /// Says how worker `index` stands.
    pub fn tell(&self, index: usize, told: Told) {
        if let Some(worker) = self.workers.get(index) {
            worker.in_flight.store(told.in_flight, Ordering::Relaxed);
            worker.lag_us.store(told.lag_us, Ordering::Relaxed);
            worker.level.store(told.level as u8, Ordering::Relaxed);
        }
    }

    /// How worker `index` stands.
    pub fn of(&self, index: usize) -> Told {
        let Some(worker) = self.workers.get(index) else {
            return Told::default();
        };
        Told {
            in_flight: worker.in_flight.load(Ordering::Relaxed),
            lag_us: worker.lag_us.load(Ordering::Relaxed),
            level: match worker.level.load(Ordering::Relaxed) {
                0 => Level::Normal,
                1 => Level::Overloaded,
                _ => Level::Closed,
            },
        }
    }

    /// Requests in flight on all workers but `index`.
    pub fn in_flight_beside(&self, index: usize) -> u64 {
        let others = (0..self.workers.len()).filter(|other| *other != index);
        others.map(|other| self.of(other).in_flight).sum()
    }
}
