//! Reads HTTP/1.1 messages from a socket and forgives nothing: what a lenient reader would mend is
//! an error here, and a message that broke off is told from one that is whole.

use std::fmt;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use super::wait::PATIENCE;

/// Why no whole message was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The other side ended the stream between two messages.
    Closed,
    /// It ended the stream inside a message.
    Truncated,
    /// It reset the connection.
    Reset,
    /// It said nothing for too long.
    Late,
    /// What it said is not HTTP/1.1.
    Malformed(String),
}

impl Broken {
    /// The other side broke the stream off, and nobody can take what came for a whole message.
    pub fn is_broken_off(&self) -> bool {
        matches!(self, Self::Truncated | Self::Reset)
    }
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// After this many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    Close,
}

/// Header fields in the order they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// The value of the one field called `name`; fails the test if there are several.
    pub fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(
            all.len() <= 1,
            "{name} stands {} times: {self:?}",
            all.len()
        );
        all.first().copied()
    }

    /// All values of fields called `name`.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self
            .0
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// Whether a field is called `name`.
    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }
}

/// A message's first line and fields.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    /// Request line or status line, without its line end.
    pub line: String,
    /// Its fields.
    pub fields: Fields,
    /// All of it, as it came.
    pub raw: Vec<u8>,
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.raw))
    }
}

impl Head {
    fn parse(raw: &[u8]) -> Result<Self, Broken> {
        let malformed =
            |why: &str| Broken::Malformed(format!("{why} in {:?}", String::from_utf8_lossy(raw)));
        let text = raw
            .strip_suffix(b"\r\n\r\n")
            .ok_or_else(|| malformed("no end"))?;
        let text = String::from_utf8_lossy(text);
        if text.replace("\r\n", "").contains(['\r', '\n', '\0']) {
            return Err(malformed("a bare line end or a NUL"));
        }
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let mut fields = Vec::new();
        for field in lines {
            let (name, value) = field.split_once(':').ok_or_else(|| malformed("no colon"))?;
            let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if name.is_empty() || !name.chars().all(is_token) {
                return Err(malformed("a field name that is no token"));
            }
            fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
        Ok(Self {
            line,
            fields: Fields(fields),
            raw: raw.to_vec(),
        })
    }

    /// How the fields say the body ends; `without` where they say nothing.
    pub fn framing(&self, without: Framing) -> Result<Framing, Broken> {
        let malformed = |why: &str| Err(Broken::Malformed(format!("{why}: {self:?}")));
        let lengths = self.fields.all("content-length");
        match (
            lengths.as_slice(),
            self.fields.all("transfer-encoding").as_slice(),
        ) {
            ([], []) => Ok(without),
            ([], ["chunked"]) => Ok(Framing::Chunked),
            ([length], []) if length.bytes().all(|digit| digit.is_ascii_digit()) => length
                .parse()
                .map(Framing::Length)
                .or_else(|_| malformed("a wide length")),
            _ => malformed("an ambiguous length"),
        }
    }
}

/// One end of a connection, read message by message.
#[derive(Debug)]
pub struct Wire {
    /// The socket.
    pub stream: Arc<TcpStream>,
    /// Field lines behind the last body that was read.
    pub trailers: Vec<String>,
    buffer: Vec<u8>,
}

impl Wire {
    /// Reads from `stream`, with the deadline of all tests.
    pub fn new(stream: TcpStream) -> Self {
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket takes a deadline");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a socket takes a deadline");
        stream.set_nodelay(true).expect("a socket takes the option");
        Self {
            stream: Arc::new(stream),
            trailers: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Writes all of `bytes`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        (&*self.stream)
            .write_all(bytes)
            .map_err(|error| broken(&error))
    }

    /// Ends the sending direction.
    pub fn finish(&self) {
        // An error means that the other side is gone already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads a head.
    pub fn head(&mut self) -> Result<Head, Broken> {
        let mut searched: usize = 0;
        loop {
            let from = searched.saturating_sub(3);
            if let Some(at) = self.buffer[from..]
                .windows(4)
                .position(|end| end == b"\r\n\r\n")
            {
                let raw: Vec<u8> = self.buffer.drain(..from + at + 4).collect();
                return Head::parse(&raw);
            }
            searched = self.buffer.len();
            self.fill(self.buffer.is_empty())?;
        }
    }

    /// Reads a body and hands it piece by piece to `sink`.
    pub fn body(&mut self, framing: Framing, sink: &mut dyn FnMut(&[u8])) -> Result<(), Broken> {
        self.trailers.clear();
        match framing {
            Framing::Empty => Ok(()),
            Framing::Length(bytes) => self.exactly(bytes, sink),
            Framing::Chunked => self.chunks(sink),
            Framing::Close => loop {
                sink(&std::mem::take(&mut self.buffer));
                match self.fill(true) {
                    Err(Broken::Closed) => return Ok(()),
                    other => other?,
                }
            },
        }
    }

    /// Everything up to the end of the stream, and how it ended.
    pub fn rest(&mut self) -> (Vec<u8>, Broken) {
        loop {
            if let Err(end) = self.fill(true) {
                return (std::mem::take(&mut self.buffer), end);
            }
        }
    }

    fn chunks(&mut self, sink: &mut dyn FnMut(&[u8])) -> Result<(), Broken> {
        loop {
            let line = self.line()?;
            let digits = !line.is_empty() && line.bytes().all(|digit| digit.is_ascii_hexdigit());
            let size = u64::from_str_radix(&line, 16).ok().filter(|_| digits);
            let Some(size) = size else {
                return Err(Broken::Malformed(format!("chunk size {line:?}")));
            };
            if size == 0 {
                return self.read_trailers();
            }
            self.exactly(size, sink)?;
            let end = self.line()?;
            if !end.is_empty() {
                return Err(Broken::Malformed(format!("{end:?} behind a chunk")));
            }
        }
    }

    fn read_trailers(&mut self) -> Result<(), Broken> {
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(());
            }
            if !line.contains(": ") {
                return Err(Broken::Malformed(format!("trailer {line:?}")));
            }
            self.trailers.push(line);
        }
    }

    fn line(&mut self) -> Result<String, Broken> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=at).collect();
                let line = line.strip_suffix(b"\r\n");
                let line = line.ok_or_else(|| Broken::Malformed("a bare line feed".into()))?;
                return Ok(String::from_utf8_lossy(line).into_owned());
            }
            self.fill(false)?;
        }
    }

    fn exactly(&mut self, mut left: u64, sink: &mut dyn FnMut(&[u8])) -> Result<(), Broken> {
        while left > 0 {
            if self.buffer.is_empty() {
                self.fill(false)?;
            }
            let all = self.buffer.len();
            let taken = usize::try_from(left).unwrap_or(all).min(all);
            sink(&self.buffer[..taken]);
            self.buffer.drain(..taken);
            left -= u64::try_from(taken).expect("a length fits");
        }
        Ok(())
    }

    /// Reads once more; the end is clean only where `may_end`.
    fn fill(&mut self, may_end: bool) -> Result<(), Broken> {
        let mut piece = [0; 64 * 1024];
        match (&*self.stream).read(&mut piece) {
            Ok(0) if may_end => Err(Broken::Closed),
            Ok(0) => Err(Broken::Truncated),
            Ok(bytes) => {
                self.buffer.extend_from_slice(&piece[..bytes]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(broken(&error)),
        }
    }
}

fn broken(error: &std::io::Error) -> Broken {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Broken::Late,
        _ => Broken::Reset,
    }
}
