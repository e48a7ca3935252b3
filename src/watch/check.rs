//! One active check: does a target accept a connection, and answer as it should?

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::plan::Watched;
use crate::io::Endpoint;
use crate::link::pages::VERSION;
use crate::snapshot::catalog::HealthCheck;
use crate::upstream::tls::{Trusts, server_name};

/// Longest head of an answer that is read; its first line is what matters.
const HEAD_BYTES_MAX: u64 = 4_096;

/// What a target is asked, made once.
#[derive(Clone)]
pub(super) struct Check {
    endpoint: Endpoint,
    timeout: Duration,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// What is sent, and which answers are good; none: a connection is enough.
    request: Option<(Vec<u8>, Vec<u16>)>,
}

impl Check {
    /// The check of one target of `upstream`, which `host` stands for if it has a name; an error
    /// tells why it can never succeed.
    pub(super) fn new(
        upstream: &Watched,
        rule: &HealthCheck,
        (endpoint, host): (&Endpoint, Option<&str>),
        trusts: &Trusts,
    ) -> Result<Self, String> {
        let tls = match &upstream.tls {
            None => None,
            Some(tls) => {
                let name = server_name(tls, endpoint, host).ok_or("no name to ask for over TLS")?;
                Some((Arc::new(trusts.config(tls)?), name))
            }
        };
        let asked = rule.host.as_deref().or(upstream.host.as_deref()).or(host);
        let asked = asked.map_or_else(|| authority(endpoint), str::to_owned);
        let request = rule.path.as_ref().map(|path| {
            let text = format!(
                "GET {path} HTTP/1.1\r\nHost: {asked}\r\nUser-Agent: keyway-health/{VERSION}\r\n\
                 Accept: */*\r\nConnection: close\r\n\r\n"
            );
            (text.into_bytes(), rule.statuses.clone())
        });
        Ok(Self {
            endpoint: endpoint.clone(),
            timeout: Duration::from_millis(rule.timeout_ms.into()),
            tls,
            request,
        })
    }

    /// Checks once; what is wrong, if anything is.
    pub(super) async fn run(&self) -> Result<(), String> {
        match timeout(self.timeout, self.ask()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {} ms", self.timeout.as_millis())),
        }
    }

    async fn ask(&self) -> Result<(), String> {
        let unreachable = |error: std::io::Error| format!("no connection: {error}");
        match &self.endpoint {
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(unreachable)?;
                self.over(stream).await
            }
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(unreachable)?;
                self.over(stream).await
            }
        }
    }

    async fn over(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), String> {
        let Some((config, name)) = &self.tls else {
            return self.exchange(stream).await;
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let shaken = connector.connect(name.clone(), stream).await;
        let stream = shaken.map_err(|error| format!("no TLS: {error}"))?;
        self.exchange(stream).await
    }

    async fn exchange(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
    ) -> Result<(), String> {
        let Some((request, statuses)) = &self.request else {
            return Ok(());
        };
        let broken = |error: std::io::Error| format!("the connection broke: {error}");
        stream.write_all(request).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;
        let mut head = Vec::new();
        let mut stream = stream.take(HEAD_BYTES_MAX);
        while !head.contains(&b'\n') {
            if stream.read_buf(&mut head).await.map_err(broken)? == 0 {
                return Err("the answer has no status line".into());
            }
        }
        let status = status(&head).ok_or("the answer is not HTTP/1")?;
        let good = if statuses.is_empty() {
            (200..400).contains(&status)
        } else {
            statuses.contains(&status)
        };
        if good {
            Ok(())
        } else {
            Err(format!("it answers {status}"))
        }
    }
}

fn authority(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Tcp(address) => address.to_string(),
        Endpoint::Unix(_) => "localhost".to_owned(),
    }
}

/// The status of the first line (RFC 9112, section 4).
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let rest = line
        .strip_prefix(b"HTTP/1.1 ")
        .or(line.strip_prefix(b"HTTP/1.0 "))?;
    let (digits, rest) = rest.split_at_checked(3)?;
    let ends = matches!(rest.first(), None | Some(b' ' | b'\r'));
    let digits = std::str::from_utf8(digits).ok()?;
    let all = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| ends && all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_status_line_has_a_status() {
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.0 503\r\n", Some(503)),
            ("HTTP/1.1 204 \n", Some(204)),
            ("HTTP/2 200\r\n", None),
            ("HTTP/1.1 +20 OK\r\n", None),
            ("HTTP/1.1 2000\r\n", None),
            ("HTTP/1.1 20\r\n", None),
            ("SSH-2.0-x\r\n", None),
            ("", None),
        ] {
            assert_eq!(status(head.as_bytes()), expected, "{head:?}");
        }
    }
}
