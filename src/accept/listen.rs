//! A worker's accept loop.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use super::Peer;
use super::admission::{Admitted, Denied};
use super::greet::{self, Greeting};
use super::reserve::{Reserve, is_exhausted};
use super::turn_away::Cause;
use crate::accept::connection;
use crate::io::{self, Listener, Stream};
use crate::record::CloseCause;
use crate::worker::Worker;
use crate::worker::unwind::catch;

/// Pause after a failed accept. Out of descriptors, the failure repeats at once and would spin;
/// in this time some connection may have closed.
const BACKOFF: Duration = Duration::from_millis(50);

/// Accepts until the worker drains, and serves those who have connected until then: the kernel has
/// told them that they are welcome, and their requests may be on the way. Where another process has
/// the same socket, all later ones are its own; where none has, who comes between the last look and
/// the end is reset, and nothing in the kernel closes that gap.
pub fn run(
    worker: Rc<Worker>,
    listener: Rc<Listener>,
    greeting: Greeting,
) -> impl Future<Output = ()> {
    // Now, and not at the first poll: a worker that does not listen may end.
    worker.listens();
    async move {
        accept(&worker, &listener, greeting).await;
        // Also with a heir to the socket: the kernel wakes one of those who wait, and the one that
        // it woke may have been the accept that was given up.
        //
        // No more than can have waited: newcomers must not keep a draining node alive.
        for _ in 0..io::BACKLOG {
            match listener.accept_waiting() {
                Some((stream, peer)) => take(&worker, greeting, stream, peer),
                None => break,
            }
        }
        drop(listener);
        worker.listened();
    }
}

async fn accept(worker: &Rc<Worker>, listener: &Listener, greeting: Greeting) {
    let mut reserve = Reserve::new();
    while !worker.draining() {
        match listener.accept().await {
            Ok((stream, peer)) if reserve.fill() => take(worker, greeting, stream, peer),
            Ok((stream, _)) => turn_away(worker, greeting, stream, Cause::Descriptors),
            Err(_) if worker.draining() => break,
            Err(error) => {
                worker.accept_failed(&error);
                // With the reserve given up the next accept waits for a connection to turn away;
                // without one to give up it would fail like this one.
                if !(is_exhausted(&error) && reserve.give_up()) {
                    io::sleep(BACKOFF).await;
                }
            }
        }
    }
}

fn take(worker: &Rc<Worker>, greeting: Greeting, stream: Stream, peer: SocketAddr) {
    if worker.overload.refuses_connection() {
        return turn_away(worker, greeting, stream, Cause::Overload);
    }
    match admit(worker, greeting, peer) {
        Ok(place) => serve(worker, greeting, stream, peer, place),
        Err(denied) => turn_away(worker, greeting, stream, denied.into()),
    }
}

fn admit(worker: &Worker, greeting: Greeting, peer: SocketAddr) -> Result<Admitted, Denied> {
    let mut place = worker.admission.admit()?;
    // A balancer has many connections; its clients are counted once it has told of them.
    if !greeting.proxy_protocol {
        place.admit_address(peer.ip())?;
    }
    Ok(place)
}

fn turn_away(worker: &Worker, greeting: Greeting, stream: Stream, cause: Cause) {
    worker.count(cause.counter());
    // An answer in clear text would be noise to whoever expects TLS.
    worker
        .turned_away
        .take(stream, !greeting.tls, cause, worker.now_ms());
}

fn serve(
    worker: &Rc<Worker>,
    greeting: Greeting,
    stream: Stream,
    peer: SocketAddr,
    mut place: Admitted,
) {
    worker.opened();
    let worker = Rc::clone(worker);
    io::spawn(async move {
        // A bug that panics costs the connection it happened on and no other. Nothing the
        // connection borrowed from the worker stays borrowed: guards are released by unwinding.
        let cause = if greeting == Greeting::default() {
            let peer = Peer {
                address: peer,
                is_secure: false,
                tls: None,
                identity: None,
            };
            let mut served = pin!(connection::serve(Rc::clone(&worker), stream, peer));
            catch(AssertUnwindSafe(served.as_mut())).await
        } else {
            let served = greeted(&worker, greeting, stream, peer, &mut place);
            // In a box: it holds a whole handshake, and connections that need none hold none.
            let mut served = Box::pin(served);
            catch(AssertUnwindSafe(served.as_mut())).await
        };
        drop(place);
        worker.closed(cause.unwrap_or(CloseCause::Panic));
    });
}

async fn greeted(
    worker: &Rc<Worker>,
    greeting: Greeting,
    stream: Stream,
    peer: SocketAddr,
    place: &mut Admitted,
) -> CloseCause {
    // In a box of its own, gone before the first request.
    match Box::pin(greet::greet(worker, greeting, stream, peer, place)).await {
        Some((stream, peer)) => connection::serve(Rc::clone(worker), stream, peer).await,
        None => CloseCause::NotGreeted,
    }
}
