//! Counters of one worker: plain words it alone writes, and their published copy.
//!
//! [`Counters`] is the worker's own; each count is one addition in a cache line that no other
//! core touches. On the worker's tick [`Counters::publish`] copies all words to
//! [`PublishedCounters`], which [`metrics`](super::metrics) reads. A reader may see a request in
//! one word and not yet in another, until the next tick. Counters only grow; what can shrink is
//! the difference of two of them.

use super::histogram::{self, BUCKETS};
use crate::refusal::Refusal;
use crossbeam::utils::CachePadded;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters with a name of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Counter {
    /// Bytes received from clients, heads included.
    BytesIn,
    /// Bytes sent to clients, heads included.
    BytesOut,
    /// Client connections accepted and kept.
    ConnectionsAccepted,
    /// Client connections closed at once because the node has `http.connections_max` of them.
    ConnectionsTurnedAway,
    /// Client connections closed at once because their address has
    /// `http.connections_per_address_max` of them.
    AddressesTurnedAway,
    /// Client connections closed at once because no descriptor was left for another.
    DescriptorsTurnedAway,
    /// Client connections closed at once because the node is overloaded.
    OverloadTurnedAway,
    /// Times that a worker became overloaded.
    Overloads,
    /// Failed accepts: descriptors exhausted, mostly.
    AcceptErrors,
    /// Connections made to targets.
    UpstreamConnects,
    /// Connections to targets that could not be made.
    UpstreamConnectFailures,
    /// Exchanges on a kept connection.
    UpstreamReuses,
    /// Exchanges that a target broke or never answered.
    UpstreamErrors,
    /// Exchanges tried again on another connection.
    UpstreamRetries,
    /// Retries that the budget of an upstream did not allow.
    UpstreamRetriesDenied,
    /// Circuits that opened after failures in a row.
    CircuitsOpened,
    /// Targets ejected for their failure rate.
    TargetsEjected,
    /// TLS handshakes with clients that succeeded.
    TlsHandshakes,
    /// Those of them that went on from an earlier connection.
    TlsHandshakesResumed,
    /// Those that failed or took too long.
    TlsHandshakesFailed,
    /// Connections to a listener with the PROXY protocol that did not begin with its header.
    ProxyHeadersRefused,
    /// Connections that switched protocols.
    TunnelsOpened,
    /// Those that have ended.
    TunnelsClosed,
    /// Panics caught in a connection's task.
    Panics,
    /// Access log lines dropped because the log thread was behind.
    LogLinesDropped,
    /// Snapshots adopted.
    SnapshotSwaps,
    /// Leases taken from the bank.
    LeasesTaken,
    /// Leases returned to the bank with something left.
    LeasesReturned,
    /// Spans dropped because the exporter was behind.
    SpansDropped,
    /// Requests missing from usage because its table was full.
    UsageLost,
}

/// Why a client connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum CloseCause {
    /// The client closed between two requests.
    Client,
    /// The client closed or reset inside a request or its answer.
    ClientAborted,
    /// One side asked for `Connection: close`, or HTTP/1.0 implied it.
    Requested,
    /// No next request within `http.idle_timeout_ms`.
    IdleTimeout,
    /// A head or body did not arrive in time.
    ReadTimeout,
    /// The client took nothing of its answer for `http.write_timeout_ms`.
    WriteTimeout,
    /// A refusal after which the framing or the unread body forbids another request.
    Refused,
    /// The target broke off inside its answer, so the client's connection had to break too.
    UpstreamBroken,
    /// A tunnel that both sides ended.
    TunnelEnded,
    /// A tunnel that one side broke.
    TunnelBroken,
    /// A tunnel in which nothing moved for `http.tunnel_idle_timeout_ms`.
    TunnelIdle,
    /// A tunnel whose key is not valid for it any more.
    KeyRefused,
    /// The node is draining.
    Drain,
    /// No TLS handshake, or no header of the PROXY protocol, where there must be one.
    NotGreeted,
    /// A panic in the connection's task.
    Panic,
}

const NAMED: usize = Counter::UsageLost as usize + 1;
const CLASSES: usize = 6;
const CLOSES: usize = CloseCause::Panic as usize + 1;
/// How many different refusals there are.
pub const REFUSAL_COUNT: usize = 39;

// Where each group of words starts.
const CLASS_AT: usize = NAMED;
const REFUSAL_AT: usize = CLASS_AT + CLASSES;
const CLOSE_AT: usize = REFUSAL_AT + REFUSAL_COUNT;
const DURATION_AT: usize = CLOSE_AT + CLOSES;
const UPSTREAM_AT: usize = DURATION_AT + BUCKETS + 1;
const WORDS: usize = UPSTREAM_AT + BUCKETS + 1;

/// Which histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// From a request's first byte to its answer's last.
    Request,
    /// From the request's dispatch to the target to the head of its answer.
    Upstream,
}

impl Span {
    const fn at(self) -> usize {
        match self {
            Self::Request => DURATION_AT,
            Self::Upstream => UPSTREAM_AT,
        }
    }
}

/// One worker's own counters.
#[derive(Clone, Debug)]
pub struct Counters {
    words: [u64; WORDS],
}

impl Default for Counters {
    fn default() -> Self {
        Self { words: [0; WORDS] }
    }
}

impl Counters {
    /// All zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds 1 to a named counter.
    pub fn count(&mut self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Adds `n` to a named counter.
    pub fn add(&mut self, counter: Counter, n: u64) {
        self.bump(counter as usize, n);
    }

    /// Counts one finished request: its status (0 if no answer was sent), its bytes and its time. A
    /// tunnel's time is how long its two ends liked to talk, and no measure of the gateway.
    pub fn finished(&mut self, status: u16, bytes_in: u64, bytes_out: u64, duration_ns: u64) {
        self.bump(CLASS_AT + usize::from(class_of(status)), 1);
        self.add(Counter::BytesIn, bytes_in);
        self.add(Counter::BytesOut, bytes_out);
        if status != 101 {
            self.took(Span::Request, duration_ns);
        }
    }

    /// Counts a refusal by its cause, beside [`Counters::finished`].
    pub fn refused(&mut self, refusal: Refusal) {
        self.bump(REFUSAL_AT + refusal_slot(refusal), 1);
    }

    /// Counts the end of a client connection.
    pub fn closed(&mut self, cause: CloseCause) {
        self.bump(CLOSE_AT + cause as usize, 1);
    }

    /// Counts a duration.
    pub fn took(&mut self, span: Span, duration_ns: u64) {
        self.bump(span.at() + histogram::bucket(duration_ns), 1);
        self.bump(span.at() + BUCKETS, duration_ns);
    }

    /// Client connections now open on this worker.
    pub fn open_connections(&self) -> u64 {
        open(|at| self.words[at])
    }

    /// Copies every word to where others may read it. Called on the worker's tick.
    pub fn publish(&self, published: &PublishedCounters) {
        for (word, shared) in self.words.iter().zip(published.words.iter()) {
            // Relaxed: each word stands for itself, readers draw no conclusion from their order.
            shared.store(*word, Ordering::Relaxed);
        }
    }

    fn bump(&mut self, at: usize, n: u64) {
        // Wrapping, as Prometheus counters may: a sum of nanoseconds lasts five centuries.
        self.words[at] = self.words[at].wrapping_add(n);
    }
}

/// The published copy of one worker's [`Counters`]; padded, so that workers share no cache line.
#[derive(Debug)]
pub struct PublishedCounters {
    words: CachePadded<[AtomicU64; WORDS]>,
}

impl Default for PublishedCounters {
    fn default() -> Self {
        Self {
            words: CachePadded::new([const { AtomicU64::new(0) }; WORDS]),
        }
    }
}

impl PublishedCounters {
    /// All zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// A named counter.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.read(counter as usize)
    }

    /// Requests answered with this status class; class 0 are those that got no answer.
    pub fn requests(&self, class: u8) -> u64 {
        self.read(CLASS_AT + usize::from(class).min(CLASSES - 1))
    }

    /// Refusals of this cause.
    pub fn refusals(&self, refusal: Refusal) -> u64 {
        self.read(REFUSAL_AT + refusal_slot(refusal))
    }

    /// Client connections that ended for this cause.
    pub fn closed(&self, cause: CloseCause) -> u64 {
        self.read(CLOSE_AT + cause as usize)
    }

    /// Client connections now open.
    pub fn open_connections(&self) -> u64 {
        open(|at| self.read(at))
    }

    /// A histogram's buckets, each counting only its own range, and its sum in nanoseconds.
    pub fn histogram(&self, span: Span) -> ([u64; BUCKETS], u64) {
        (
            std::array::from_fn(|i| self.read(span.at() + i)),
            self.read(span.at() + BUCKETS),
        )
    }

    fn read(&self, at: usize) -> u64 {
        self.words[at].load(Ordering::Relaxed)
    }
}

/// Accepted and kept, less closed. Words are read one by one, so clamp instead of wrapping.
fn open(word: impl Fn(usize) -> u64) -> u64 {
    let closed: u64 = (CLOSE_AT..CLOSE_AT + CLOSES).map(&word).sum();
    word(Counter::ConnectionsAccepted as usize).saturating_sub(closed)
}

/// The class of a status: 1 to 5, and 0 for none or for a status no class holds.
pub const fn class_of(status: u16) -> u8 {
    match status {
        100..=199 => 1,
        200..=299 => 2,
        300..=399 => 3,
        400..=499 => 4,
        500..=599 => 5,
        _ => 0,
    }
}

impl CloseCause {
    /// Every cause.
    pub const ALL: [CloseCause; CLOSES] = [
        Self::Client,
        Self::ClientAborted,
        Self::Requested,
        Self::IdleTimeout,
        Self::ReadTimeout,
        Self::WriteTimeout,
        Self::Refused,
        Self::UpstreamBroken,
        Self::TunnelEnded,
        Self::TunnelBroken,
        Self::TunnelIdle,
        Self::KeyRefused,
        Self::Drain,
        Self::NotGreeted,
        Self::Panic,
    ];

    /// Its metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::ClientAborted => "client_aborted",
            Self::Requested => "requested",
            Self::IdleTimeout => "idle_timeout",
            Self::ReadTimeout => "read_timeout",
            Self::WriteTimeout => "write_timeout",
            Self::Refused => "refused",
            Self::UpstreamBroken => "upstream_broken",
            Self::TunnelEnded => "tunnel_ended",
            Self::TunnelBroken => "tunnel_broken",
            Self::TunnelIdle => "tunnel_idle",
            Self::KeyRefused => "key_refused",
            Self::Drain => "drain",
            Self::NotGreeted => "not_greeted",
            Self::Panic => "panic",
        }
    }
}

/// Every refusal, in the order of its words.
pub const REFUSALS: [Refusal; REFUSAL_COUNT] = [
    Refusal::HeadMalformed,
    Refusal::HeadTooLarge,
    Refusal::TargetTooLong,
    Refusal::TooManyHeaders,
    Refusal::HeadTimeout,
    Refusal::VersionUnsupported,
    Refusal::CodingUnsupported,
    Refusal::FramingInvalid,
    Refusal::ExpectationUnknown,
    Refusal::PathUnsafe,
    Refusal::MethodUnsupported,
    Refusal::NotReady,
    Refusal::RouteUnknown,
    Refusal::MethodNotAllowed,
    Refusal::KeyMissing,
    Refusal::KeyAmbiguous,
    Refusal::KeyMalformed,
    Refusal::KeyUnknown,
    Refusal::KeyRevoked,
    Refusal::KeyDisabled,
    Refusal::KeyNotYetValid,
    Refusal::KeyExpired,
    Refusal::NotEntitled,
    Refusal::BodyTooLarge,
    Refusal::NoTarget,
    Refusal::LimitReached { retry_after_s: 0 },
    Refusal::BodyTimeout,
    Refusal::BodyMalformed,
    Refusal::UpstreamBusy,
    Refusal::ConnectFailed,
    Refusal::ConnectTimeout,
    Refusal::UpstreamClosed,
    Refusal::UpstreamMalformed,
    Refusal::UpstreamTimeout,
    Refusal::Internal,
    Refusal::LimitUnavailable,
    Refusal::ApiVersionUnknown,
    Refusal::Overloaded,
    Refusal::NoSocket,
];

/// What a refusal is counted under in usage: one more than its place in [`REFUSALS`], so that zero is
/// none.
pub fn refusal_number(refusal: Refusal) -> u8 {
    u8::try_from(refusal_slot(refusal) + 1).unwrap_or(u8::MAX)
}

/// Where a refusal stands in [`REFUSALS`]; a new variant does not compile until it is listed.
const fn refusal_slot(refusal: Refusal) -> usize {
    match refusal {
        Refusal::HeadMalformed => 0,
        Refusal::HeadTooLarge => 1,
        Refusal::TargetTooLong => 2,
        Refusal::TooManyHeaders => 3,
        Refusal::HeadTimeout => 4,
        Refusal::VersionUnsupported => 5,
        Refusal::CodingUnsupported => 6,
        Refusal::FramingInvalid => 7,
        Refusal::ExpectationUnknown => 8,
        Refusal::PathUnsafe => 9,
        Refusal::MethodUnsupported => 10,
        Refusal::NotReady => 11,
        Refusal::RouteUnknown => 12,
        Refusal::MethodNotAllowed => 13,
        Refusal::KeyMissing => 14,
        Refusal::KeyAmbiguous => 15,
        Refusal::KeyMalformed => 16,
        Refusal::KeyUnknown => 17,
        Refusal::KeyRevoked => 18,
        Refusal::KeyDisabled => 19,
        Refusal::KeyNotYetValid => 20,
        Refusal::KeyExpired => 21,
        Refusal::NotEntitled => 22,
        Refusal::BodyTooLarge => 23,
        Refusal::NoTarget => 24,
        Refusal::LimitReached { .. } => 25,
        Refusal::BodyTimeout => 26,
        Refusal::BodyMalformed => 27,
        Refusal::UpstreamBusy => 28,
        Refusal::ConnectFailed => 29,
        Refusal::ConnectTimeout => 30,
        Refusal::UpstreamClosed => 31,
        Refusal::UpstreamMalformed => 32,
        Refusal::UpstreamTimeout => 33,
        Refusal::Internal => 34,
        Refusal::LimitUnavailable => 35,
        Refusal::ApiVersionUnknown => 36,
        Refusal::Overloaded => 37,
        Refusal::NoSocket => 38,
    }
}

#[cfg(test)]
mod tests;
