//! Requests as a test writes them: well-formed unless it says otherwise.

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) method: String,
    target: String,
    version: &'static str,
    host: Option<String>,
    fields: Vec<String>,
    body: Vec<u8>,
}

/// `GET target` for the host that tests use.
pub fn get(target: &str) -> Request {
    request("GET", target)
}

/// `POST target` with a body of a known length.
pub fn post(target: &str, body: impl AsRef<[u8]>) -> Request {
    request("POST", target).body(body)
}

/// `method target`, without a body.
pub fn request(method: &str, target: &str) -> Request {
    Request {
        method: method.into(),
        target: target.into(),
        version: "HTTP/1.1",
        host: Some("gateway.test".into()),
        fields: Vec::new(),
        body: Vec::new(),
    }
}

impl Request {
    /// Shows `key` as a bearer token.
    pub fn key(self, key: &str) -> Self {
        self.header("Authorization", &format!("Bearer {key}"))
    }

    /// Adds a field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.fields.push(format!("{name}: {value}\r\n"));
        self
    }

    /// Asks another host.
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Speaks HTTP/1.0, without `Host`.
    pub fn http_1_0(mut self) -> Self {
        self.version = "HTTP/1.0";
        self.host = None;
        self
    }

    /// Adds a body and its length.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        let length = self.body.len().to_string();
        self.header("Content-Length", &length)
    }

    /// Announces a body of `bytes` that the test sends itself.
    pub fn announcing(self, bytes: usize) -> Self {
        self.header("Content-Length", &bytes.to_string())
    }

    /// Adds a body in these chunks.
    pub fn chunks(mut self, chunks: &[&[u8]]) -> Self {
        self.body = chunked(chunks);
        self.header("Transfer-Encoding", "chunked")
    }

    /// What goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} {}\r\n", self.method, self.target, self.version);
        if let Some(host) = &self.host {
            bytes.push_str(&format!("Host: {host}\r\n"));
        }
        bytes.extend(self.fields.iter().map(String::as_str));
        bytes.push_str("\r\n");
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// `chunks` framed, with the last one.
pub fn chunked(chunks: &[&[u8]]) -> Vec<u8> {
    let mut framed = Vec::new();
    for chunk in chunks {
        framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(b"0\r\n\r\n");
    framed
}
