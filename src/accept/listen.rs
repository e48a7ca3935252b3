//! A worker's accept loop.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use crate::accept::connection;
use crate::io::{self, Listener, Stream};
use crate::record::{CloseCause, Counter};
use crate::worker::Worker;
use crate::worker::unwind::catch;

/// Pause after a failed accept. Out of descriptors, the failure repeats at once and would spin;
/// in this time some connection may have closed.
const BACKOFF: Duration = Duration::from_millis(50);

/// Accepts until the worker drains.
pub async fn run(worker: Rc<Worker>, listener: Rc<Listener>) {
    while !worker.draining() {
        match listener.accept().await {
            Ok((stream, peer)) => take(&worker, stream, peer),
            Err(_) if worker.draining() => break,
            Err(error) => {
                worker.count(Counter::AcceptErrors);
                tracing::warn!(worker = worker.index, %error, "a connection was not accepted");
                io::sleep(BACKOFF).await;
            }
        }
    }
}

fn take(worker: &Rc<Worker>, stream: Stream, peer: SocketAddr) {
    if worker.open_connections() >= worker.connections_max {
        worker.count(Counter::ConnectionsTurnedAway);
        return;
    }
    worker.opened();
    let worker = Rc::clone(worker);
    io::spawn(async move {
        let served = connection::serve(Rc::clone(&worker), stream, peer);
        // A bug that panics costs the connection it happened on and no other. Nothing the
        // connection borrowed from the worker stays borrowed: guards are released by unwinding.
        let cause = catch(AssertUnwindSafe(served))
            .await
            .unwrap_or(CloseCause::Panic);
        worker.closed(cause);
    });
}
