//! A worker's accept loop.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use super::admission::{Admitted, Denied};
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

/// Accepts until the worker drains.
pub async fn run(worker: Rc<Worker>, listener: Rc<Listener>) {
    let mut reserve = Reserve::new();
    while !worker.draining() {
        match listener.accept().await {
            Ok((stream, peer)) if reserve.fill() => take(&worker, stream, peer),
            Ok((stream, _)) => turn_away(&worker, stream, Cause::Descriptors),
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

fn take(worker: &Rc<Worker>, stream: Stream, peer: SocketAddr) {
    if worker.overload.refuses_connection() {
        return turn_away(worker, stream, Cause::Overload);
    }
    match admit(worker, peer) {
        Ok(place) => serve(worker, stream, peer, place),
        Err(denied) => turn_away(worker, stream, denied.into()),
    }
}

fn admit(worker: &Worker, peer: SocketAddr) -> Result<Admitted, Denied> {
    let mut place = worker.admission.admit()?;
    place.admit_address(peer.ip())?;
    Ok(place)
}

fn turn_away(worker: &Worker, stream: Stream, cause: Cause) {
    worker.count(cause.counter());
    worker
        .turned_away
        .take(stream, true, cause, worker.now_ms());
}

fn serve(worker: &Rc<Worker>, stream: Stream, peer: SocketAddr, place: Admitted) {
    worker.opened();
    let worker = Rc::clone(worker);
    io::spawn(async move {
        let mut served = pin!(connection::serve(Rc::clone(&worker), stream, peer));
        // A bug that panics costs the connection it happened on and no other. Nothing the
        // connection borrowed from the worker stays borrowed: guards are released by unwinding.
        let cause = catch(AssertUnwindSafe(served.as_mut()))
            .await
            .unwrap_or(CloseCause::Panic);
        drop(place);
        worker.closed(cause);
    });
}
