//! What a listener asks of a connection before its first request: the balancer's header, a TLS
//! handshake, both in this order, or neither.
//!
//! A connection that does not greet as it must costs its task and, once it has begun to speak TLS,
//! one buffer, for a bounded time, and gets no answer: nobody knows what it speaks.

use crate::accept::admission::Admitted;
use crate::accept::proxy_protocol::{self, HEADER_BYTES_MAX};
use crate::accept::turn_away::Cause;
use crate::accept::{Peer, tls};
use crate::io::Stream;
use crate::parse::Status;
use crate::record::Counter;
use crate::worker::Worker;
use std::net::SocketAddr;

/// What a listener asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// TLS.
    pub tls: bool,
    /// A header of the PROXY protocol.
    pub proxy_protocol: bool,
}

/// Greets a connection from `address`; `None` if there is nobody to serve. The place is counted again
/// for the client that a balancer tells of.
pub async fn greet(
    worker: &Worker,
    greeting: Greeting,
    mut stream: Stream,
    mut address: SocketAddr,
    place: &mut Admitted,
) -> Option<(Stream, Peer)> {
    if greeting.proxy_protocol
        && let Some(client) = told_client(worker, &mut stream).await?
    {
        if let Err(denied) = place.admit_address(client.ip()) {
            worker.count(Cause::from(denied).counter());
            return None;
        }
        address = client;
    }
    let mut identity = None;
    if greeting.tls {
        (stream, identity) = tls::shake_hands(worker, stream).await?;
    }
    let peer = Peer {
        address,
        is_secure: greeting.tls,
        tls: stream.tls_facts(),
        identity: identity.map(Box::new),
    };
    Some((stream, peer))
}

/// Reads the balancer's header and no byte more: what follows is TLS or a request.
async fn told_client(worker: &Worker, stream: &mut Stream) -> Option<Option<SocketAddr>> {
    let watch = worker.deadlines.watch(stream.fd());
    watch.idle(worker.now_ms(), worker.http.head_timeout_ms);
    let mut header = Vec::with_capacity(64);
    let told = loop {
        match proxy_protocol::read(&header) {
            Ok(Status::Complete(told)) => break Some(told.client),
            Err(_) => break None,
            Ok(Status::Partial) if header.len() >= HEADER_BYTES_MAX => break None,
            Ok(Status::Partial) => {}
        }
        let missing = proxy_protocol::missing_bytes(&header);
        header.reserve(missing);
        let outcome;
        (outcome, header) = stream.read.read_up_to(header, Some(missing as u64)).await;
        if !matches!(outcome, Ok(bytes) if bytes > 0) {
            break None;
        }
    };
    if told.is_none() {
        worker.count(Counter::ProxyHeadersRefused);
    }
    told
}
