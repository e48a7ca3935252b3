//! Connections to targets, and the idle ones that a worker keeps for itself.

use hashbrown::HashMap;

use super::places::Open;
use crate::io::{Endpoint, Peek, Stream};

/// A connection to a target, counted among those of its target while it exists.
#[derive(Debug)]
pub struct Connection {
    /// The connection.
    pub stream: Stream,
    open: Open,
}

impl Connection {
    /// A connection that took its place before it was opened.
    pub fn new(stream: Stream, open: Open) -> Self {
        Self { stream, open }
    }
}

/// What makes two connections the same to a request: where they go, and how TLS was spoken (0: not).
pub type Key = (Endpoint, u64);

/// An idle connection.
#[derive(Debug)]
struct Idle {
    connection: Connection,
    since_ms: u64,
}

/// One worker's idle connections, newest last.
#[derive(Debug)]
pub struct Pool {
    idle: HashMap<Key, Vec<Idle>, ahash::RandomState>,
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

    /// The connection that rested least, if one is alive.
    ///
    /// One that ended is dropped, and so is one on which bytes wait: nothing was asked of it, and
    /// what it says unasked would be taken for the answer to the next request.
    pub fn take(&mut self, key: &Key) -> Option<Connection> {
        let idle = self.idle.get_mut(key)?;
        while let Some(candidate) = idle.pop() {
            if candidate.connection.stream.look() == Peek::Quiet {
                return Some(candidate.connection);
            }
        }
        None
    }

    /// Keeps a connection for a next request.
    pub fn put(&mut self, key: Key, connection: Connection, now_ms: u64) {
        let idle = self.idle.entry(key).or_default();
        // One that is not kept is closed, and calls whoever waits by that.
        if idle.len() < self.per_target_max {
            connection.open.rests();
            idle.push(Idle {
                connection,
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
}
