//! One request at a scripted origin: what came, and what the script makes of it.

use std::fmt::Write as _;
use std::net::TcpStream;
use std::sync::Arc;

use super::client::reset;
use super::origin::{Received, Shared};
use super::request::chunked;
use super::wire::{Broken, Framing, Head, Wire};

/// What becomes of the connection after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The next request is read.
    Keep,
    /// It ends.
    Close,
    /// It is reset.
    Reset,
}

/// One request, and the means to answer it.
#[derive(Debug)]
pub struct Turn {
    /// Its head.
    pub head: Head,
    /// Counts the origin's requests from 1.
    pub number: usize,
    /// Which of the origin's connections it came on, from 1.
    pub connection: usize,
    /// Its place on that connection, from 1.
    pub place: usize,
    wire: Wire,
    shared: Arc<Shared>,
    body_read: bool,
}

impl Turn {
    /// The request's method.
    pub fn method(&self) -> &str {
        self.head.line.split(' ').next().unwrap_or_default()
    }

    /// The request's target.
    pub fn target(&self) -> &str {
        self.head.line.split(' ').nth(1).unwrap_or_default()
    }

    /// Reads the body; keeps it for [`Origin::received`](super::Origin::received).
    pub fn body(&mut self) -> Result<Vec<u8>, Broken> {
        let mut body = Vec::new();
        self.body_into(&mut |piece| body.extend_from_slice(piece))?;
        self.shared.note_body(self.number, &body);
        Ok(body)
    }

    /// Reads the body piece by piece.
    pub fn body_into(&mut self, sink: &mut dyn FnMut(&[u8])) -> Result<(), Broken> {
        if std::mem::replace(&mut self.body_read, true) {
            return Ok(());
        }
        let framing = self.head.framing(Framing::Empty)?;
        let read = self.wire.body(framing, sink);
        self.shared
            .note_body_end(self.number, read.is_ok(), &self.wire.trailers);
        read
    }

    /// Reads `bytes` of a body with a known length.
    pub fn body_part(&mut self, bytes: u64) -> Result<(), Broken> {
        self.wire.body(Framing::Length(bytes), &mut |_| {})
    }

    /// The socket.
    pub fn stream(&self) -> Arc<TcpStream> {
        Arc::clone(&self.wire.stream)
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Broken> {
        self.wire.write(bytes.as_ref())
    }

    /// Reads the body and answers `200` with `body`.
    pub fn answer(&mut self, body: impl AsRef<[u8]>) -> Result<Flow, Broken> {
        self.body()?;
        self.send(answer(200, &[], body))?;
        Ok(Flow::Keep)
    }

    /// Says nothing until the gateway gives the connection up.
    pub fn hang(&mut self) -> Result<Flow, Broken> {
        self.wire.rest();
        Ok(Flow::Close)
    }

    /// Reads the body and answers with the request as JSON.
    pub fn echo(&mut self) -> Result<Flow, Broken> {
        let (mut bytes, mut hash) = (0, crc32fast::Hasher::new());
        self.body_into(&mut |piece| {
            bytes += piece.len();
            hash.update(piece);
        })?;
        let headers: Vec<_> = self
            .head
            .fields
            .0
            .iter()
            .map(|(name, value)| [name, value])
            .collect();
        let echo = serde_json::json!({
            "method": self.method(),
            "target": self.target(),
            "headers": headers,
            "body_bytes": bytes,
            "body_crc32": hash.finalize(),
        });
        self.send(answer(
            200,
            &[("Content-Type", "application/json")],
            echo.to_string(),
        ))?;
        Ok(Flow::Keep)
    }

    pub(super) fn new(
        head: Head,
        connection: usize,
        place: usize,
        wire: Wire,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            head,
            number: 0,
            connection,
            place,
            wire,
            shared,
            body_read: false,
        }
    }

    /// The connection, if it goes on.
    pub(super) fn end(self, flow: Flow) -> Option<Wire> {
        if flow == Flow::Reset {
            reset(&self.wire.stream);
        }
        (flow == Flow::Keep).then_some(self.wire)
    }

    pub(super) fn received(&self) -> Received {
        Received {
            head: self.head.clone(),
            body: Vec::new(),
            trailers: Vec::new(),
            whole: false,
            connection: self.connection,
        }
    }
}

/// A whole answer with a known length.
pub fn answer(status: u16, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut head = head(status, fields);
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    [head.as_bytes(), body].concat()
}

/// A whole answer in these chunks.
pub fn answer_in_chunks(chunks: &[&[u8]]) -> Vec<u8> {
    let head = head(200, &[("Transfer-Encoding", "chunked")]) + "\r\n";
    [head.as_bytes(), &chunked(chunks)].concat()
}

/// Status line and fields, without the empty line.
pub fn head(status: u16, fields: &[(&str, &str)]) -> String {
    let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
    for (name, value) in fields {
        write!(head, "{name}: {value}\r\n").expect("a String takes all");
    }
    head
}

/// The checksum of `bytes` as the echo tells it.
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}
