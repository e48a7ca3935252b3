//! Takes a kept connection to a target, or opens one.

use std::rc::Rc;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::places::Open;
use super::pool::{Connection, Key};
use super::tls::server_name;
use crate::io::{self, Stream};
use crate::record::Counter;
use crate::refusal::Refusal;
use crate::route::balance::Member;
use crate::snapshot::catalog::{Upstream, UpstreamTls};
use crate::worker::Worker;
use crate::worker::deadline::Watch;

/// What connection is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// When it was asked for (monotonic).
    pub asked_ms: u64,
    /// None that was kept.
    pub fresh_only: bool,
    /// There is nobody else to ask: wait for one if there are as many as there may be.
    pub waits: bool,
    /// No longer than until then (monotonic).
    pub due_ms: u64,
}

/// A connection to `member`, and whether it was kept from an earlier exchange.
pub async fn to_member(
    worker: &Worker,
    upstream: &Upstream,
    member: &Member,
    wanted: Wanted,
) -> Result<(Connection, bool), Refusal> {
    let key = key(upstream, member);
    let found = if member.places.has_waiting() {
        None
    } else {
        find(worker, upstream, member, &key, wanted)
    };
    let found = match found {
        None if wanted.waits => waited(worker, upstream, member, &key, wanted).await,
        found => found,
    };
    let open = match found.ok_or(Refusal::UpstreamBusy)? {
        Found::Kept(kept) => {
            worker.count(Counter::UpstreamReuses);
            return Ok((kept, true));
        }
        Found::Place(open) => open,
    };
    // What was waited is part of the time to a connection.
    let due_ms = wanted
        .due_ms
        .min(wanted.asked_ms + u64::from(upstream.connect_timeout_ms));
    match opened(worker, upstream, member, due_ms).await {
        Ok(stream) => {
            worker.count(Counter::UpstreamConnects);
            Ok((Connection::new(stream, open), false))
        }
        // No fault of the target's, and the next one could not be reached either.
        Err(Refusal::NoSocket) => Err(Refusal::NoSocket),
        Err(cause) => {
            worker.count(Counter::UpstreamConnectFailures);
            Err(cause)
        }
    }
}

/// A connection, or room for one.
enum Found {
    Kept(Connection),
    Place(Open),
}

fn find(
    worker: &Worker,
    upstream: &Upstream,
    member: &Member,
    key: &Key,
    wanted: Wanted,
) -> Option<Found> {
    if !wanted.fresh_only
        && let Some(kept) = worker.pool.borrow_mut().take(key)
    {
        return Some(Found::Kept(kept));
    }
    member
        .places
        .enter(upstream.connections_max)
        .map(Found::Place)
}

async fn waited(
    worker: &Worker,
    upstream: &Upstream,
    member: &Member,
    key: &Key,
    wanted: Wanted,
) -> Option<Found> {
    let left_ms = wanted.due_ms.saturating_sub(worker.now_ms());
    let timeout_ms = u64::from(upstream.connect_timeout_ms).min(left_ms);
    let attempt = || find(worker, upstream, member, key, wanted);
    let waiting = member.places.wait(upstream.waiting_max, attempt);
    io::within(Duration::from_millis(timeout_ms), waiting)
        .await
        .flatten()
}

async fn opened(
    worker: &Worker,
    upstream: &Upstream,
    member: &Member,
    due_ms: u64,
) -> Result<Stream, Refusal> {
    let timeout_ms = due_ms.saturating_sub(worker.now_ms());
    let target = &member.endpoint;
    let host = member.host.as_deref();
    let opening = async {
        let stream = Stream::connect(target).await?;
        match upstream.tls.as_ref() {
            None => Ok(stream),
            Some((tls, _)) => {
                let config = worker.client_configs.of(upstream);
                let name = server_name(tls, target, host);
                let (config, name) = config.zip(name).ok_or(std::io::ErrorKind::Unsupported)?;
                // In a box: few upstreams need it, and each exchange would hold room for it.
                Box::pin(io::tls::connect(stream, config, name)).await
            }
        }
    };
    match io::within(Duration::from_millis(timeout_ms), opening).await {
        Some(Ok(stream)) => Ok(stream),
        Some(Err(error)) if is_own(&error) => Err(Refusal::NoSocket),
        Some(Err(error)) => {
            tracing::debug!(worker = worker.index, %target, %error, "a target is unreachable");
            Err(Refusal::ConnectFailed)
        }
        None => Err(Refusal::ConnectTimeout),
    }
}

/// What a kept connection must have in common with the one that is wanted: where it goes, and how
/// TLS was spoken, the name that its certificate was checked for included.
fn key(upstream: &Upstream, member: &Member) -> Key {
    let tls = upstream.tls_key();
    let named = match (&upstream.tls, &member.host) {
        (
            Some((
                UpstreamTls {
                    server_name: None, ..
                },
                _,
            )),
            Some(host),
        ) => xxh3_64_with_seed(host.as_bytes(), tls) | 1,
        _ => tls,
    };
    (member.endpoint.clone(), named)
}

/// A connection failed for want of something on this side: descriptors, ports, memory.
fn is_own(error: &std::io::Error) -> bool {
    use nix::errno::Errno;
    [
        Errno::EMFILE,
        Errno::ENFILE,
        Errno::ENOBUFS,
        Errno::ENOMEM,
        Errno::EADDRNOTAVAIL,
    ]
    .map(|errno| Some(errno as i32))
    .contains(&error.raw_os_error())
}

/// A target's connection during one exchange: watched, and closed at its end unless kept.
#[derive(Debug)]
pub struct Engaged<'w> {
    /// Deadlines of the exchange.
    pub watch: &'w Watch,
    worker: &'w Worker,
    key: Key,
    connection: Option<Connection>,
}

impl<'w> Engaged<'w> {
    /// Engages a connection to `member`.
    pub fn new(
        worker: &'w Worker,
        watch: &'w Watch,
        (upstream, member): (&Upstream, &Rc<Member>),
        connection: Connection,
    ) -> Self {
        watch.engage(connection.stream.fd());
        Self {
            watch,
            worker,
            key: key(upstream, member),
            connection: Some(connection),
        }
    }

    /// The connection.
    pub fn stream(&mut self) -> &mut Stream {
        let connection = self.connection.as_mut();
        &mut connection
            .expect("kept only when the exchange is over")
            .stream
    }

    /// Gives the connection to the pool: its answer was whole and it says nothing more.
    pub fn keep(&mut self) {
        self.watch.release();
        if let Some(connection) = self.connection.take() {
            let now_ms = self.worker.now_ms();
            let mut pool = self.worker.pool.borrow_mut();
            pool.put(self.key.clone(), connection, now_ms);
        }
    }
}

impl Drop for Engaged<'_> {
    fn drop(&mut self) {
        // Before the descriptor closes and its number can become someone else's.
        self.watch.release();
    }
}
