//! Takes a kept connection to a target, or opens one.

use std::rc::Rc;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::pool::{Connection, Key, Open};
use super::tls::server_name;
use crate::io::{self, Stream};
use crate::record::Counter;
use crate::refusal::Refusal;
use crate::route::balance::Member;
use crate::snapshot::catalog::{Upstream, UpstreamTls};
use crate::worker::Worker;
use crate::worker::deadline::Watch;

/// A connection to `member`, and whether it was kept from an earlier exchange. `fresh_only` asks for a
/// new one; nobody waits for it longer than until `due_ms` (monotonic).
pub async fn to_member(
    worker: &Worker,
    upstream: &Upstream,
    member: &Member,
    fresh_only: bool,
    due_ms: u64,
) -> Result<(Connection, bool), Refusal> {
    let key = key(upstream, member);
    if !fresh_only && let Some(kept) = worker.pool.borrow_mut().take(&key) {
        worker.count(Counter::UpstreamReuses);
        return Ok((kept, true));
    }
    let open = Open::enter(&member.connections, upstream.connections_max);
    let open = open.ok_or(Refusal::UpstreamBusy)?;
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

async fn opened(
    worker: &Worker,
    upstream: &Upstream,
    member: &Member,
    due_ms: u64,
) -> Result<Stream, Refusal> {
    let left_ms = due_ms.saturating_sub(worker.now_ms());
    let timeout_ms = u64::from(upstream.connect_timeout_ms).min(left_ms);
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
