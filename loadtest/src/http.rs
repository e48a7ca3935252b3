//! One HTTP/1.1 connection at a time, in full view.
//!
//! A pooled client would reconnect by itself and so hide which connection, and with it which
//! worker, gave an answer. Here a [`Connection`] is one TCP connection; when it is gone, it says so.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::trouble::{Outcome, Trouble};

/// An answer with its whole body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// A header's text; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// What to send.
#[derive(Clone, Debug)]
pub struct Ask {
    method: Method,
    target: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

impl std::fmt::Display for Ask {
    /// Method and target; never a header, which may hold a token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.target)
    }
}

impl Ask {
    /// A request for `target` (path and query).
    pub fn new(method: Method, target: impl Into<String>) -> Self {
        Self {
            method,
            target: target.into(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// A GET request for `target`.
    pub fn get(target: impl Into<String>) -> Self {
        Self::new(Method::GET, target)
    }

    /// Adds a header.
    ///
    /// # Panics
    /// When the name or the value is not one: both come from our own code.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("header values are visible ASCII");
        self.headers.push((HeaderName::from_static(name), value));
        self
    }

    /// Adds a JSON body.
    #[must_use]
    pub fn json(mut self, body: &serde_json::Value) -> Self {
        self.body = Bytes::from(body.to_string());
        self.header("content-type", "application/json")
    }
}

/// One keep-alive connection.
#[derive(Debug)]
pub struct Connection {
    to: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`Trouble::Http`] when nobody listens.
    pub async fn open(to: SocketAddr) -> Outcome<Self> {
        let trouble = |error: &dyn ToString| Trouble::Http {
            what: "connect to".into(),
            target: to.to_string(),
            reason: error.to_string(),
        };
        let stream = TcpStream::connect(to)
            .await
            .map_err(|error| trouble(&error))?;
        stream.set_nodelay(true).map_err(|error| trouble(&error))?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| trouble(&error))?;
        // Ends with its sender; its errors reach whoever waits for an answer.
        tokio::spawn(driver);
        Ok(Self { to, sender })
    }

    /// Sends a request and waits for the whole answer.
    ///
    /// # Errors
    /// [`Trouble::Http`] when the connection is gone or the answer is no HTTP.
    pub async fn send(&mut self, ask: Ask) -> Outcome<Answer> {
        let what = ask.method.to_string();
        let target = format!("{}{}", self.to, ask.target);
        let trouble = |error: &dyn ToString| Trouble::Http {
            what: what.clone(),
            target: target.clone(),
            reason: error.to_string(),
        };
        let mut request = Request::builder()
            .method(ask.method)
            .uri(ask.target)
            .header("host", self.to.to_string())
            .body(Full::new(ask.body))
            .map_err(|error| trouble(&error))?;
        request.headers_mut().extend(ask.headers);
        let response = self
            .sender
            .send_request(request)
            .await
            .map_err(|error| trouble(&error))?;
        let (head, body) = response.into_parts();
        let body = body
            .collect()
            .await
            .map_err(|error| trouble(&error))?
            .to_bytes();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }

    /// Sends a GET request with an API key, as most callers do.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub async fn get(&mut self, target: &str, key: Option<&str>) -> Outcome<Answer> {
        let ask = Ask::get(target);
        self.send(match key {
            Some(key) => ask.header("x-api-key", key),
            None => ask,
        })
        .await
    }
}

/// Sends one request on a connection of its own.
///
/// # Errors
/// As [`Connection::open`] and [`Connection::send`].
pub async fn once(to: SocketAddr, ask: Ask) -> Outcome<Answer> {
    Connection::open(to).await?.send(ask).await
}
