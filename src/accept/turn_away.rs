//! What a connection is told that may not exist: a short 503, written without waiting, and the
//! close.
//!
//! No task serves it. Its socket is kept for a moment, a few of them at once, since a close while
//! the request is still on its way would reset the connection and could take the answer away
//! before it is read (RFC 9112, section 9.6). However many are turned away, the log gets a line
//! every ten seconds.

use std::cell::RefCell;
use std::collections::VecDeque;

use super::admission::Denied;
use crate::io::{self, Shutdown, Stream};
use crate::record::Counter;
use crate::record::throttle::Throttle;

/// Sockets kept at once; one more closes the oldest.
const KEPT_MAX: usize = 64;

/// Time for a client to read its answer.
const LINGER_MS: u64 = 1_000;

/// Pause between two lines of the log.
const LOG_PAUSE_MS: u64 = 10_000;

/// `Date` may be left out of a 5xx (RFC 9110, section 6.6.1), so the answer is always the same.
const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: application/problem+json\r\n\
    Content-Length: 110\r\n\
    Cache-Control: no-store\r\n\
    Retry-After: 1\r\n\
    Connection: close\r\n\
    \r\n\
    {\"type\":\"urn:keyway:problem:overloaded\",\"title\":\"The gateway is overloaded\",\
    \"status\":503,\"code\":\"overloaded\"}\n";

/// Why a connection is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The node has `http.connections_max` of them.
    Node,
    /// The client's address has `http.connections_per_address_max` of them.
    Address,
    /// The process has no descriptor left.
    Descriptors,
    /// The worker is far beyond a threshold of `[overload]`.
    Overload,
}

impl From<Denied> for Cause {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Node => Self::Node,
            Denied::Address => Self::Address,
        }
    }
}

impl Cause {
    /// What it counts as.
    pub const fn counter(self) -> Counter {
        match self {
            Self::Node => Counter::ConnectionsTurnedAway,
            Self::Address => Counter::AddressesTurnedAway,
            Self::Descriptors => Counter::DescriptorsTurnedAway,
            Self::Overload => Counter::OverloadTurnedAway,
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::Node => "the node has http.connections_max connections",
            Self::Address => "an address has http.connections_per_address_max connections",
            Self::Overload => "the worker is far beyond a threshold of [overload]",
            Self::Descriptors => "no descriptor is left; raise the limit of open files",
        }
    }
}

/// A worker's connections that were turned away a moment ago.
#[derive(Debug)]
pub struct TurnedAway {
    kept: RefCell<VecDeque<Kept>>,
    log: RefCell<Throttle>,
}

#[derive(Debug)]
struct Kept {
    stream: Stream,
    until_ms: u64,
}

impl Default for TurnedAway {
    fn default() -> Self {
        Self {
            kept: RefCell::default(),
            log: RefCell::new(Throttle::every_ms(LOG_PAUSE_MS)),
        }
    }
}

impl TurnedAway {
    /// Ends `stream`; with an answer in plain HTTP, if it `is_plain`.
    pub fn take(&self, stream: Stream, is_plain: bool, cause: Cause, now_ms: u64) {
        if let Some(connections) = self.log.borrow_mut().tell(now_ms) {
            let reason = cause.reason();
            tracing::warn!(connections, reason, "connections are turned away");
        }
        if !is_plain {
            return;
        }
        io::offer(stream.fd(), ANSWER);
        io::shut(stream.fd(), Shutdown::Write);
        if cause == Cause::Descriptors {
            // It holds the one that the next connection needs.
            io::discard(stream.fd());
            return;
        }
        let mut kept = self.kept.borrow_mut();
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(Kept {
            stream,
            until_ms: now_ms + LINGER_MS,
        });
    }

    /// Closes those whose moment is over.
    pub fn sweep(&self, now_ms: u64) {
        let mut kept = self.kept.borrow_mut();
        while kept.front().is_some_and(|oldest| oldest.until_ms <= now_ms) {
            if let Some(oldest) = kept.pop_front() {
                io::discard(oldest.stream.fd());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let text = std::str::from_utf8(ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
