//! The one who calls: a raw connection that reads answers strictly.

use std::net::{SocketAddr, TcpStream};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::request::Request;
use super::wait;
use super::wire::{Broken, Fields, Framing, Head, Wire};

/// A connection to the gateway.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
}

/// One whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// `HTTP/1.1`
    pub version: String,
    /// Its status.
    pub status: u16,
    /// Its reason.
    pub reason: String,
    /// Its fields.
    pub fields: Fields,
    /// How its body ended.
    pub framing: Framing,
    /// Its body.
    pub body: Vec<u8>,
    /// Field lines behind its body.
    pub trailers: Vec<String>,
    /// The head as it came.
    pub head: Head,
    /// Interim heads that came before it.
    pub interim: Vec<Head>,
}

impl Response {
    /// The value of the one field called `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields.get(name)
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The values of a header in the request that an echo got.
    #[track_caller]
    pub fn echoed(&self, name: &str) -> Vec<String> {
        self.assert_status(200);
        let echo = self.json();
        let headers = echo["headers"].as_array().expect("an echo lists headers");
        let value = |header: &Value, at: usize| header[at].as_str().unwrap_or_default().to_owned();
        let named = headers
            .iter()
            .filter(|header| value(header, 0).eq_ignore_ascii_case(name));
        named.map(|header| value(header, 1)).collect()
    }

    /// Fails the test unless it is a refusal with this status and code.
    #[track_caller]
    pub fn assert_refusal(&self, status: u16, code: &str) {
        assert_eq!(
            self.status,
            status,
            "{:?}\n{}",
            self.head,
            String::from_utf8_lossy(&self.body)
        );
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
    }

    /// Fails the test unless it has this status.
    #[track_caller]
    pub fn assert_status(&self, status: u16) {
        assert_eq!(
            self.status,
            status,
            "{:?}\n{}",
            self.head,
            String::from_utf8_lossy(&self.body)
        );
    }
}

impl Client {
    /// Connects to `address`.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, wait::PATIENCE);
        Self {
            wire: Wire::new(stream.expect("the gateway takes connections")),
        }
    }

    /// Connects to `address` from a local address.
    pub fn connect_from(local: [u8; 4], address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("descriptors are left");
        socket
            .bind(&SocketAddr::from((local, 0)).into())
            .expect("all of 127/8 is local");
        socket
            .connect_timeout(&address.into(), wait::PATIENCE)
            .expect("the gateway takes connections");
        Self {
            wire: Wire::new(socket.into()),
        }
    }

    /// Sends bytes; panics if the gateway is gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.write(bytes.as_ref()).expect("the gateway reads");
    }

    /// Sends bytes; an error if the gateway stopped reading.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Broken> {
        self.wire.write(bytes.as_ref())
    }

    /// Sends a request and reads its answer.
    #[track_caller]
    pub fn exchange(&mut self, request: &Request) -> Response {
        self.send(request.bytes());
        self.read_to(&request.method)
    }

    /// Reads the answer to a request that was not HEAD.
    #[track_caller]
    pub fn read(&mut self) -> Response {
        self.read_to("GET")
    }

    /// Reads the answer to a request with `method`.
    #[track_caller]
    pub fn read_to(&mut self, method: &str) -> Response {
        match self.try_read_to(method) {
            Ok(response) => response,
            Err(broken) => panic!("no whole answer: {broken:?}"),
        }
    }

    /// Reads the answer to a request that was not HEAD, if it is whole.
    pub fn try_read(&mut self) -> Result<Response, Broken> {
        self.try_read_to("GET")
    }

    /// Reads the answer to a request with `method`, if it is whole.
    pub fn try_read_to(&mut self, method: &str) -> Result<Response, Broken> {
        let mut interim = Vec::new();
        loop {
            let head = self.wire.head()?;
            let (version, status, reason) = status_line(&head)?;
            if (100..200).contains(&status) {
                interim.push(head);
                continue;
            }
            let framing = match status {
                _ if method == "HEAD" => Framing::Empty,
                204 | 304 => Framing::Empty,
                _ => head.framing(Framing::Close)?,
            };
            let mut body = Vec::new();
            self.wire
                .body(framing, &mut |piece| body.extend_from_slice(piece))?;
            let fields = head.fields.clone();
            return Ok(Response {
                version,
                status,
                reason,
                fields,
                framing,
                body,
                trailers: self.wire.trailers.clone(),
                head,
                interim,
            });
        }
    }

    /// Reads the next head, interim or final.
    #[track_caller]
    pub fn read_head(&mut self) -> Head {
        self.wire.head().expect("a head comes")
    }

    /// Reads the next bytes of a body.
    pub fn read_piece(&mut self, bytes: u64) -> Result<Vec<u8>, Broken> {
        let mut piece = Vec::new();
        self.wire.body(Framing::Length(bytes), &mut |part| {
            piece.extend_from_slice(part)
        })?;
        Ok(piece)
    }

    /// Everything that still comes, and how the stream ended.
    pub fn read_rest(&mut self) -> (Vec<u8>, Broken) {
        self.wire.rest()
    }

    /// Fails the test unless the gateway closes without another byte.
    #[track_caller]
    pub fn assert_closed(&mut self) {
        let (rest, end) = self.wire.rest();
        assert_eq!(String::from_utf8_lossy(&rest), "", "ended by {end:?}");
        assert!(matches!(end, Broken::Closed | Broken::Reset), "{end:?}");
    }

    /// Fails the test unless the gateway says that there are too many connections, and closes.
    #[track_caller]
    pub fn assert_turned_away(&mut self) {
        let answer = self.read();
        answer.assert_refusal(503, "overloaded");
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.header("connection"), Some("close"));
        self.assert_closed();
    }

    /// Ends the sending direction and goes on reading.
    pub fn finish(&self) {
        self.wire.finish();
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.wire.stream
    }

    /// Resets the connection.
    pub fn reset(self) {
        reset(&self.wire.stream);
    }
}

/// Makes the closing of `stream` a reset.
pub fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream)
        .set_linger(Some(std::time::Duration::ZERO))
        .expect("a socket takes the option");
}

fn status_line(head: &Head) -> Result<(String, u16, String), Broken> {
    let malformed = || Broken::Malformed(format!("status line {:?}", head.line));
    let (version, rest) = head.line.split_once(' ').ok_or_else(malformed)?;
    let (status, reason) = rest.split_once(' ').ok_or_else(malformed)?;
    if version != "HTTP/1.1" || status.len() != 3 {
        return Err(malformed());
    }
    let status = status.parse().map_err(|_| malformed())?;
    Ok((version.into(), status, reason.into()))
}
