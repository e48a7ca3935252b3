//! Takes a kept connection to a target, or opens one.

use std::net::SocketAddr;
use std::time::Duration;

use crate::accept::judge::Job;
use crate::io::{self, Stream};
use crate::record::Counter;
use crate::refusal::Refusal;
use crate::snapshot::catalog::Upstream;
use crate::worker::Worker;
use crate::worker::deadline::Watch;

/// A connection to the job's target, and whether it was kept from an earlier exchange.
///
/// A target that refuses the connection has seen nothing of the request, so the next one in line
/// is tried, each once. `fresh_only` asks for a new connection.
pub async fn to_target(
    worker: &Worker,
    job: &mut Job,
    fresh_only: bool,
) -> Result<(Stream, bool), Refusal> {
    let mut refusal = Refusal::NoTarget;
    for _ in 0..job.targets().len() {
        let target = job.target_address().ok_or(Refusal::NoTarget)?;
        if !fresh_only && let Some(kept) = worker.pool.borrow_mut().take(target) {
            worker.count(Counter::UpstreamReuses);
            return Ok((kept, true));
        }
        match open(worker, job.upstream(), target).await {
            Ok(stream) => {
                worker.count(Counter::UpstreamConnects);
                return Ok((stream, false));
            }
            // No fault of the target's, and the next one could not be reached either.
            Err(Refusal::NoSocket) => return Err(Refusal::NoSocket),
            Err(cause) => {
                worker.count(Counter::UpstreamConnectFailures);
                refusal = cause;
                job.next_target();
            }
        }
    }
    Err(refusal)
}

async fn open(
    worker: &Worker,
    upstream: Option<&Upstream>,
    target: SocketAddr,
) -> Result<Stream, Refusal> {
    let timeout_ms = upstream.map_or(0, |upstream| u64::from(upstream.connect_timeout_ms));
    match io::within(
        Duration::from_millis(timeout_ms),
        Stream::connect(&target.into()),
    )
    .await
    {
        Some(Ok(stream)) => Ok(stream),
        Some(Err(error)) if is_own(&error) => Err(Refusal::NoSocket),
        Some(Err(error)) => {
            tracing::debug!(worker = worker.index, %target, %error, "a target is unreachable");
            Err(Refusal::ConnectFailed)
        }
        None => Err(Refusal::ConnectTimeout),
    }
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
    target: SocketAddr,
    stream: Option<Stream>,
}

impl<'w> Engaged<'w> {
    /// Engages `stream` to `target`.
    pub fn new(worker: &'w Worker, watch: &'w Watch, target: SocketAddr, stream: Stream) -> Self {
        watch.engage(stream.fd());
        Self {
            watch,
            worker,
            target,
            stream: Some(stream),
        }
    }

    /// The connection.
    pub fn stream(&mut self) -> &mut Stream {
        self.stream
            .as_mut()
            .expect("kept only when the exchange is over")
    }

    /// Gives the connection to the pool: its answer was whole and it says nothing more.
    pub fn keep(&mut self) {
        self.watch.release();
        if let Some(stream) = self.stream.take() {
            self.worker
                .pool
                .borrow_mut()
                .put(self.target, stream, self.worker.now_ms());
        }
    }
}

impl Drop for Engaged<'_> {
    fn drop(&mut self) {
        // Before the descriptor closes and its number can become someone else's.
        self.watch.release();
    }
}
