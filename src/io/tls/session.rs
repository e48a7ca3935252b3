//! One TLS connection as a machine of bytes: ciphertext in, plaintext out, and the other way round.
//! No I/O.
//!
//! The library decrypts in our buffer and hands each record out as it is asked for, so plaintext goes
//! straight to where the caller wants it; what does not fit waits. What it wants to send by itself (a
//! handshake, a ticket, an answer to a key update, an alert) gathers in `outgoing`, for the next
//! write. One record is a step, so a caller with a small buffer takes small steps, and memory is
//! bounded by what one read of the socket brings.

use std::fmt;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{ClientConfig, Error, HandshakeKind, ServerConfig};

/// The most plaintext of one record (RFC 8446, section 5.1).
pub const RECORD_BYTES_MAX: usize = 16 * 1024;

/// Room for one record with all that surrounds it: "The length MUST NOT exceed 2^14 + 256 bytes"
/// (RFC 8446, section 5.2) behind a head of five.
pub const SEALED_BYTES_MAX: usize = RECORD_BYTES_MAX + 256 + 5;

/// One side of a TLS connection.
pub struct Session {
    side: Side,
    /// Ciphertext that is not used yet, from `incoming_at`. What the library remembers of a message
    /// in pieces points into it, so every call gets exactly this.
    incoming: Vec<u8>,
    incoming_at: usize,
    /// Plaintext that found no room, from `plain_at`.
    plain: Vec<u8>,
    plain_at: usize,
    outgoing: Vec<u8>,
    peer_closed: bool,
    failed: Option<Error>,
}

enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

impl Side {
    /// Something waits to be encoded.
    fn has_words(&self) -> bool {
        match self {
            Self::Server(side) => side.wants_write(),
            Self::Client(side) => side.wants_write(),
        }
    }
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There may be more to do.
    More,
    /// More ciphertext is needed for the handshake.
    Blocked,
    /// The handshake is over, and all ciphertext is used that can be.
    Ready,
    /// Nothing can be sent or received any more.
    Closed,
}

/// What a caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// So many bytes of plaintext; 0 is the end that the peer announced.
    Bytes(usize),
    /// None without more ciphertext.
    NeedsMore,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither keys nor plaintext.
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// The server's side.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, Error> {
        UnbufferedServerConnection::new(config).map(|side| Self::new(Side::Server(side)))
    }

    /// The client's side, to a server that must be `name`.
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, Error> {
        UnbufferedClientConnection::new(config, name).map(|side| Self::new(Side::Client(side)))
    }

    fn new(side: Side) -> Self {
        Self {
            side,
            incoming: Vec::new(),
            incoming_at: 0,
            plain: Vec::new(),
            plain_at: 0,
            outgoing: Vec::new(),
            peer_closed: false,
            failed: None,
        }
    }

    /// Takes ciphertext in; a buffer that is not needed comes back.
    pub fn feed(&mut self, ciphertext: Vec<u8>) -> Option<Vec<u8>> {
        if self.incoming.is_empty() {
            let spare = std::mem::replace(&mut self.incoming, ciphertext);
            return (spare.capacity() > 0).then_some(spare);
        }
        self.incoming.extend_from_slice(&ciphertext);
        Some(ciphertext)
    }

    /// A buffer whose bytes are all used.
    pub fn spent(&mut self) -> Option<Vec<u8>> {
        let is_spent = self.incoming.is_empty() && self.incoming.capacity() > 0;
        is_spent.then(|| std::mem::take(&mut self.incoming))
    }

    /// Goes on with the handshake; true once it is over. What must be sent is in
    /// [`Session::take_outgoing`] then and before, also behind an error.
    pub fn shake_hands(&mut self) -> Result<bool, Error> {
        match self.settle()? {
            Step::Ready => Ok(true),
            Step::Blocked => Ok(false),
            Step::More | Step::Closed => Err(Error::HandshakeNotComplete),
        }
    }

    /// Appends plaintext to `out`, at most `room` bytes.
    pub fn deliver(&mut self, out: &mut Vec<u8>, room: usize) -> Result<Delivered, Error> {
        let waiting = self.plain.len() - self.plain_at;
        if waiting > 0 {
            let bytes = waiting.min(room);
            out.extend_from_slice(&self.plain[self.plain_at..self.plain_at + bytes]);
            self.plain_at += bytes;
            if self.plain_at == self.plain.len() {
                // Freed: it may have been large, and an idle connection holds nothing.
                (self.plain, self.plain_at) = (Vec::new(), 0);
            }
            return Ok(Delivered::Bytes(bytes));
        }
        let before = out.len();
        // A record with other content gives no plaintext; the next one may.
        while !self.peer_closed && out.len() - before < room {
            let left = room - (out.len() - before);
            match self.step(out, left)? {
                Step::More => {}
                Step::Blocked | Step::Ready | Step::Closed => break,
            }
        }
        match out.len() - before {
            0 if !self.peer_closed => Ok(Delivered::NeedsMore),
            bytes => Ok(Delivered::Bytes(bytes)),
        }
    }

    /// Seals as much of `plaintext` as one record takes, behind what is to be sent by itself, into
    /// `out`, which must have [`SEALED_BYTES_MAX`] bytes; how much was taken, and how much written.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<(usize, usize), Error> {
        if self.settle()? != Step::Ready {
            return Err(Error::HandshakeNotComplete);
        }
        let own = self.outgoing.len().min(out.len());
        out[..own].copy_from_slice(&self.outgoing[..own]);
        self.outgoing.drain(..own);
        let around = SEALED_BYTES_MAX - RECORD_BYTES_MAX;
        let room = (out.len() - own).saturating_sub(around);
        let piece = &plaintext[..plaintext.len().min(room).min(RECORD_BYTES_MAX)];
        if piece.is_empty() {
            return Ok((0, own));
        }
        let sealed = self.seal_piece(piece, &mut out[own..])?;
        Ok((piece.len(), own + sealed))
    }

    /// Writes the announcement that nothing more is sent, behind what is to be sent by itself.
    pub fn say_end(&mut self, out: &mut Vec<u8>) {
        // After a failure the alert is all that is left to say.
        if self.settle() == Ok(Step::Ready) {
            let mut alert = [0; 256];
            let incoming = &mut self.incoming[self.incoming_at..];
            let bytes = match &mut self.side {
                Side::Server(side) => end(side.process_tls_records(incoming), &mut alert),
                Side::Client(side) => end(side.process_tls_records(incoming), &mut alert),
            };
            self.outgoing.extend_from_slice(&alert[..bytes]);
        }
        out.append(&mut self.outgoing);
    }

    /// What is to be sent without anybody having asked.
    pub fn take_outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outgoing)
    }

    /// The peer announced its end.
    pub fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Plaintext waits, or a part of a record.
    pub fn holds_bytes(&self) -> bool {
        self.plain_at < self.plain.len() || self.incoming_at < self.incoming.len()
    }

    /// The peer's certificates, if it showed some.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        match &self.side {
            Side::Server(side) => side.peer_certificates(),
            Side::Client(side) => side.peer_certificates(),
        }
    }

    /// What was agreed upon; `None` before the handshake is over.
    pub fn facts(&self) -> Option<super::TlsFacts> {
        let (version, suite) = match &self.side {
            Side::Server(side) => (side.protocol_version(), side.negotiated_cipher_suite()),
            Side::Client(side) => (side.protocol_version(), side.negotiated_cipher_suite()),
        };
        Some(super::TlsFacts {
            version: version?,
            cipher: suite?.suite(),
        })
    }

    /// Whether the handshake was resumed.
    pub fn is_resumed(&self) -> bool {
        let kind = match &self.side {
            Side::Server(side) => side.handshake_kind(),
            Side::Client(side) => side.handshake_kind(),
        };
        kind == Some(HandshakeKind::Resumed)
    }

    /// Steps until the library has no more to do by itself; plaintext on the way waits.
    fn settle(&mut self) -> Result<Step, Error> {
        loop {
            match self.step(&mut Vec::new(), 0)? {
                Step::More => {}
                last => return Ok(last),
            }
        }
    }

    /// One step: one record, one message to be sent, or none.
    fn step(&mut self, out: &mut Vec<u8>, room: usize) -> Result<Step, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut effects = Effects {
            out,
            room,
            rest: &mut self.plain,
            outgoing: &mut self.outgoing,
            peer_closed: &mut self.peer_closed,
        };
        let incoming = &mut self.incoming[self.incoming_at..];
        let (used, step) = match &mut self.side {
            Side::Server(side) => effects.take(side.process_tls_records(incoming)),
            Side::Client(side) => effects.take(side.process_tls_records(incoming)),
        };
        self.use_up(used);
        if let Err(error) = &step {
            self.failed = Some(error.clone());
            self.gather_alert();
        }
        step
    }

    /// The alert that tells the peer of a failure is handed out behind it.
    fn gather_alert(&mut self) {
        let mut nowhere = Vec::new();
        let (mut rest, mut peer_closed) = (Vec::new(), false);
        let mut effects = Effects {
            out: &mut nowhere,
            room: 0,
            rest: &mut rest,
            outgoing: &mut self.outgoing,
            peer_closed: &mut peer_closed,
        };
        // Only while there is one: behind it the library would go on with the input that failed.
        while self.side.has_words() {
            let incoming = &mut self.incoming[self.incoming_at..];
            let (_, step) = match &mut self.side {
                Side::Server(side) => effects.take(side.process_tls_records(incoming)),
                Side::Client(side) => effects.take(side.process_tls_records(incoming)),
            };
            if step.is_err() {
                break;
            }
        }
    }

    fn use_up(&mut self, bytes: usize) {
        self.incoming_at += bytes;
        if self.incoming_at >= self.incoming.len() {
            self.incoming.clear();
            self.incoming_at = 0;
        } else if self.incoming_at > SEALED_BYTES_MAX {
            // Bytes that keep coming in behind an unfinished record must not pile up.
            self.incoming.drain(..self.incoming_at);
            self.incoming_at = 0;
        }
    }

    fn seal_piece(&mut self, piece: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let incoming = &mut self.incoming[self.incoming_at..];
        match &mut self.side {
            Side::Server(side) => seal(side.process_tls_records(incoming), piece, out),
            Side::Client(side) => seal(side.process_tls_records(incoming), piece, out),
        }
    }
}

/// Where the effects of a step go.
struct Effects<'e> {
    out: &'e mut Vec<u8>,
    room: usize,
    rest: &'e mut Vec<u8>,
    outgoing: &'e mut Vec<u8>,
    peer_closed: &'e mut bool,
}

impl Effects<'_> {
    /// Handles a status; how much ciphertext is used, and what it came to.
    fn take<Data>(
        &mut self,
        status: UnbufferedStatus<'_, '_, Data>,
    ) -> (usize, Result<Step, Error>) {
        let UnbufferedStatus { mut discard, state } = status;
        let state = match state {
            Ok(state) => state,
            Err(error) => return (discard, Err(error)),
        };
        let step = match state {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => {
                            discard += record.discard;
                            self.plaintext(record.payload);
                        }
                        Err(error) => return (discard, Err(error)),
                    }
                }
                Step::More
            }
            ConnectionState::EncodeTlsData(mut data) => {
                let encoded = grow(self.outgoing, |room| match data.encode(room) {
                    Ok(bytes) => Ok(bytes),
                    Err(EncodeError::InsufficientSize(needed)) => Err(Some(needed)),
                    Err(EncodeError::AlreadyEncoded) => Err(None),
                });
                match encoded {
                    true => Step::More,
                    false => return (discard, Err(Error::EncryptError)),
                }
            }
            ConnectionState::TransmitTlsData(data) => {
                // It is: whoever holds `outgoing` sends it before anything else.
                data.done();
                Step::More
            }
            ConnectionState::PeerClosed => {
                *self.peer_closed = true;
                Step::More
            }
            ConnectionState::Closed => Step::Closed,
            ConnectionState::BlockedHandshake => Step::Blocked,
            ConnectionState::WriteTraffic(_) => Step::Ready,
            // Early data is switched off: it could be replayed.
            _ => return (discard, Err(Error::General("unexpected state".into()))),
        };
        (discard, Ok(step))
    }

    fn plaintext(&mut self, payload: &[u8]) {
        let now = if self.rest.is_empty() {
            payload.len().min(self.room)
        } else {
            0
        };
        self.out.extend_from_slice(&payload[..now]);
        self.room -= now;
        self.rest.extend_from_slice(&payload[now..]);
    }
}

/// Lets `encode` write behind what `outgoing` holds, with as much room as it asks for.
fn grow(
    outgoing: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, Option<InsufficientSizeError>>,
) -> bool {
    let start = outgoing.len();
    let mut room = 1024;
    loop {
        outgoing.resize(start + room, 0);
        match encode(&mut outgoing[start..]) {
            Ok(bytes) => {
                outgoing.truncate(start + bytes);
                return true;
            }
            Err(Some(needed)) if needed.required_size > room => room = needed.required_size,
            Err(_) => {
                outgoing.truncate(start);
                return false;
            }
        }
    }
}

fn seal<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    piece: &[u8],
    out: &mut [u8],
) -> Result<usize, Error> {
    match status.state? {
        ConnectionState::WriteTraffic(mut traffic) => {
            traffic.encrypt(piece, out).map_err(|error| match error {
                EncryptError::EncryptExhausted => Error::EncryptError,
                EncryptError::InsufficientSize(_) => Error::General("record without room".into()),
            })
        }
        _ => Err(Error::HandshakeNotComplete),
    }
}

fn end<Data>(status: UnbufferedStatus<'_, '_, Data>, out: &mut [u8]) -> usize {
    match status.state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            traffic.queue_close_notify(out).unwrap_or(0)
        }
        _ => 0,
    }
}
