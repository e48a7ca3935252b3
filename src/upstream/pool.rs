//! Idle connections to targets, kept by one worker for itself.

use std::net::SocketAddr;

use hashbrown::HashMap;

use crate::io::{Peek, Stream};

/// An idle connection.
#[derive(Debug)]
struct Idle {
    stream: Stream,
    since_ms: u64,
}

/// One worker's idle connections, newest last.
#[derive(Debug)]
pub struct Pool {
    idle: HashMap<SocketAddr, Vec<Idle>, ahash::RandomState>,
    per_target_max: usize,
    idle_timeout_ms: u64,
}

impl Pool {
    /// A pool that keeps at most `per_target_max` connections to a target, each for at most
    /// `idle_timeout_ms`.
    pub fn new(per_target_max: usize, idle_timeout_ms: u64) -> Self {
        Self {
            idle: HashMap::default(),
            per_target_max,
            idle_timeout_ms,
        }
    }

    /// The connection to `target` that rested least, if one is alive.
    ///
    /// One that ended is dropped, and so is one on which bytes wait: nothing was asked of it, and
    /// what it says unasked would be taken for the answer to the next request.
    pub fn take(&mut self, target: SocketAddr) -> Option<Stream> {
        let idle = self.idle.get_mut(&target)?;
        while let Some(candidate) = idle.pop() {
            if candidate.stream.look() == Peek::Quiet {
                return Some(candidate.stream);
            }
        }
        None
    }

    /// Keeps `stream` for a next request.
    pub fn put(&mut self, target: SocketAddr, stream: Stream, now_ms: u64) {
        let idle = self.idle.entry(target).or_default();
        if idle.len() < self.per_target_max {
            idle.push(Idle {
                stream,
                since_ms: now_ms,
            });
        }
    }

    /// Closes what rested too long and forgets targets without connections.
    pub fn prune(&mut self, now_ms: u64) {
        let oldest_ms = now_ms.saturating_sub(self.idle_timeout_ms);
        self.idle.retain(|_, idle| {
            idle.retain(|entry| entry.since_ms >= oldest_ms);
            !idle.is_empty()
        });
    }

    /// Connections resting now.
    pub fn resting(&self) -> usize {
        self.idle.values().map(Vec::len).sum()
    }
}
