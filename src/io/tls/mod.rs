//! TLS on a stream: the handshake, and the reads and writes behind it.
//!
//! Both directions share one [`Session`], which is borrowed between two operations and never during
//! one. A read brings ciphertext into a buffer of the worker's, which the session then owns until
//! its last record is used; a write seals record after record into another. Both buffers come from
//! pools of the thread and go back to them, so that a connection that rests holds neither. Absent on
//! purpose: early data, which can be replayed, and renegotiation.

mod session;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use monoio::buf::{IoBuf, IoBufMut};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CipherSuite, ClientConfig, ProtocolVersion, ServerConfig};

use super::buffers::Buffers;
use super::parking::{self, Parking};
use super::socket::{ReadSocket, WriteSocket};
use super::stream::Stream;
use session::{Delivered, SEALED_BYTES_MAX, Session};

/// A read into a smaller buffer than this rests: it waits with [`RESTING_BYTES`] of ciphertext.
const RESTING_BELOW_BYTES: usize = 512;
const RESTING_BYTES: usize = 64;

/// Buffers to seal into that a thread keeps for reuse.
const SEALING_KEPT_MAX: usize = 64;

thread_local! {
    /// What ciphertext is read into.
    static INCOMING: Buffers = const { Buffers::of(SEALED_BYTES_MAX) };
    /// What is sealed into, of [`SEALED_BYTES_MAX`] and initialized once: filling them anew each time
    /// would cost as much as a copy.
    static SEALING: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

fn take_buffer() -> Vec<u8> {
    INCOMING.with(Buffers::take)
}

fn give_buffer(buffer: Vec<u8>) {
    INCOMING.with(|buffers| buffers.give(buffer));
}

fn take_sealing() -> Vec<u8> {
    SEALING
        .with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| vec![0; SEALED_BYTES_MAX])
}

fn give_sealing(buffer: Vec<u8>) {
    SEALING.with_borrow_mut(|kept| {
        if kept.len() < SEALING_KEPT_MAX {
            kept.push(buffer);
        }
    });
}

/// What was agreed upon in a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    version: ProtocolVersion,
    cipher: CipherSuite,
}

impl TlsFacts {
    /// The version, as people write it.
    pub fn version(self) -> &'static str {
        match self.version {
            ProtocolVersion::TLSv1_3 => "1.3",
            ProtocolVersion::TLSv1_2 => "1.2",
            _ => "other",
        }
    }

    /// The cipher suite's registered name.
    pub fn cipher(self) -> &'static str {
        self.cipher.as_str().unwrap_or("other")
    }
}

/// A session that both directions of a stream share.
#[derive(Clone, Debug)]
pub(super) struct Secured(Rc<RefCell<Session>>);

/// Takes the server's part in a handshake on a connection that was accepted.
pub async fn accept(stream: Stream, config: Arc<ServerConfig>) -> io::Result<Stream> {
    secure(stream, Session::server(config).map_err(io::Error::other)?).await
}

/// Takes the client's part on a connection that was opened, to a server that must be `name`.
pub async fn connect(
    stream: Stream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> io::Result<Stream> {
    let session = Session::client(config, name).map_err(io::Error::other)?;
    secure(stream, session).await
}

async fn secure(mut stream: Stream, mut session: Session) -> io::Result<Stream> {
    let (read, write) = stream.sockets();
    let mut heard = false;
    loop {
        let outcome = session.shake_hands();
        let outgoing = session.take_outgoing();
        if !outgoing.is_empty() {
            write.write_all(outgoing).await.0?;
        }
        // The alert has gone out before this.
        if outcome.map_err(io::Error::other)? {
            break;
        }
        // Rests first: who connects and says nothing is given no buffer.
        let first = if heard {
            take_buffer()
        } else {
            Vec::with_capacity(RESTING_BYTES)
        };
        let (outcome, buffer) = fill(read, first).await;
        heard = true;
        if outcome? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        session.feed(buffer).into_iter().for_each(give_buffer);
    }
    session.spent().into_iter().for_each(give_buffer);
    stream.secure(Secured(Rc::new(RefCell::new(session))));
    Ok(stream)
}

/// Reads ciphertext; the buffer's length is what came.
async fn fill(read: &mut ReadSocket, mut buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
    buffer.clear();
    read.read(buffer).await
}

impl Secured {
    /// Reads plaintext into the spare capacity of `buffer`, at most `bytes_max`, if given. With
    /// `parking`, `None` when the wait was long enough for the buffers to be given back.
    pub(super) async fn read(
        &self,
        socket: &mut ReadSocket,
        mut buffer: Vec<u8>,
        bytes_max: Option<u64>,
        parking: Option<&Parking>,
    ) -> (Option<io::Result<usize>>, Vec<u8>) {
        let spare = buffer.capacity() - buffer.len();
        let wanted = bytes_max.and_then(|max| usize::try_from(max).ok());
        let room = wanted.map_or(spare, |wanted| wanted.min(spare));
        loop {
            if let Some(delivered) = self.deliver(&mut buffer, room) {
                return (Some(delivered), buffer);
            }
            let ciphertext = if buffer.capacity() < RESTING_BELOW_BYTES {
                Vec::with_capacity(RESTING_BYTES)
            } else {
                take_buffer()
            };
            let (outcome, ciphertext) = match parking {
                Some(parking) => park(socket, ciphertext, parking).await,
                None => {
                    let (outcome, ciphertext) = fill(socket, ciphertext).await;
                    (Some(outcome), ciphertext)
                }
            };
            let failure = match outcome {
                Some(Ok(bytes)) if bytes > 0 => {
                    let spare = self.0.borrow_mut().feed(ciphertext);
                    spare.into_iter().for_each(give_buffer);
                    continue;
                }
                // RFC 8446, section 6.1: an end that was not announced may be a truncation.
                Some(Ok(_)) => Some(Err(io::ErrorKind::UnexpectedEof.into())),
                Some(Err(error)) => Some(Err(error)),
                None => None,
            };
            give_buffer(ciphertext);
            return (failure, buffer);
        }
    }

    fn deliver(&self, buffer: &mut Vec<u8>, room: usize) -> Option<io::Result<usize>> {
        let mut session = self.0.borrow_mut();
        let delivered = session.deliver(buffer, room);
        session.spent().into_iter().for_each(give_buffer);
        match delivered {
            Ok(Delivered::Bytes(bytes)) => Some(Ok(bytes)),
            Ok(Delivered::NeedsMore) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        }
    }

    /// Writes `buffer[from..]` whole.
    pub(super) async fn write_all(
        &self,
        socket: &mut WriteSocket,
        buffer: Vec<u8>,
        from: usize,
    ) -> (io::Result<usize>, Vec<u8>) {
        let mut at = from;
        while at < buffer.len() {
            let mut sealed = take_sealing();
            let outcome = self.0.borrow_mut().seal(&buffer[at..], &mut sealed);
            let (taken, bytes) = match outcome {
                Ok(outcome) => outcome,
                Err(error) => return (Err(io::Error::other(error)), buffer),
            };
            let (outcome, sealed) = socket.write_all(sealed.slice(..bytes)).await;
            give_sealing(sealed.into_inner());
            if let Err(error) = outcome {
                return (Err(error), buffer);
            }
            at += taken;
        }
        (Ok(buffer.len() - from), buffer)
    }

    /// Announces the end of what is sent.
    pub(super) async fn finish(&self, socket: &mut WriteSocket) {
        let mut last = Vec::new();
        self.0.borrow_mut().say_end(&mut last);
        // An error means that the peer is gone already.
        let _ = socket.write_all(last).await;
    }

    /// Takes in ciphertext that has arrived, without waiting; true if it is nothing that a peer would
    /// say to somebody who asked for nothing: a session ticket, but no data and no end.
    pub(super) fn is_quiet_after(&self, ciphertext: Vec<u8>) -> bool {
        let mut session = self.0.borrow_mut();
        session.feed(ciphertext);
        let mut plain = Vec::new();
        let delivered = session.deliver(&mut plain, 1);
        let quiet = matches!(delivered, Ok(Delivered::NeedsMore)) && !session.holds_bytes();
        session.spent().into_iter().for_each(give_buffer);
        quiet
    }

    /// Bytes of the peer wait to be read.
    pub(super) fn holds_bytes(&self) -> bool {
        let session = self.0.borrow();
        session.holds_bytes() || session.peer_closed()
    }

    /// The peer's certificates, its own first.
    pub(super) fn peer_certificates(&self) -> Vec<CertificateDer<'static>> {
        let session = self.0.borrow();
        session.peer_certificates().unwrap_or_default().to_vec()
    }

    /// What was agreed upon.
    pub(super) fn facts(&self) -> Option<TlsFacts> {
        self.0.borrow().facts()
    }

    /// Whether the handshake was resumed.
    pub(super) fn is_resumed(&self) -> bool {
        self.0.borrow().is_resumed()
    }
}

/// Reads ciphertext, or is told to give the buffer back.
async fn park(
    socket: &mut ReadSocket,
    mut ciphertext: Vec<u8>,
    parking: &Parking,
) -> (Option<io::Result<usize>>, Vec<u8>) {
    ciphertext.clear();
    let capacity = ciphertext.capacity();
    let slice = ciphertext.slice_mut(..capacity);
    let (outcome, slice) = socket.cancelable_read(slice, parking.ticket()).await;
    match outcome {
        Err(error) if parking::is_canceled(&error) => (None, slice.into_inner()),
        outcome => (Some(outcome), slice.into_inner()),
    }
}

#[cfg(test)]
mod tests;
