//! TLS at the door: certificates, and the handshake of one connection.
//!
//! [`store`] holds what is shown and renews it, [`choice`] picks a [`certificate`] by name,
//! [`identity`] is what is known of a client that showed one. The bytes are moved in
//! [`io::tls`].

pub mod certificate;
pub mod choice;
pub mod identity;
pub mod store;

use crate::io::{self, Stream};
use crate::record::Counter;
use crate::worker::Worker;

use identity::ClientIdentity;

/// Takes the server's part in the handshake; the client's identity if it showed one. `None` if there
/// is no connection any more: the alert, if there was one to send, has been.
pub async fn shake_hands(
    worker: &Worker,
    stream: Stream,
) -> Option<(Stream, Option<ClientIdentity>)> {
    let tls = worker.tls.as_ref()?;
    let config = tls.store.config(&mut tls.latest.borrow_mut());
    let watch = worker.deadlines.watch(stream.fd());
    // As for an idle connection: when the time is over, both directions end.
    watch.idle(worker.now_ms(), tls.store.handshake_timeout_ms());
    let outcome = io::tls::accept(stream, config).await;
    match outcome {
        Ok(stream) => {
            drop(watch);
            let identity = ClientIdentity::of(&stream.peer_certificates());
            let now = worker.clock.wall();
            if identity
                .as_ref()
                .is_some_and(|identity| !identity.is_valid_at(now))
            {
                worker.count(Counter::TlsHandshakesFailed);
                tracing::debug!(worker = worker.index, "a client's certificate is over");
                return None;
            }
            worker.count(Counter::TlsHandshakes);
            if stream.is_resumed() {
                worker.count(Counter::TlsHandshakesResumed);
            }
            Some((stream, identity))
        }
        Err(error) => {
            worker.count(Counter::TlsHandshakesFailed);
            tracing::debug!(worker = worker.index, %error, "a TLS handshake failed");
            None
        }
    }
}
