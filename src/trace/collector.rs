//! The way to the collector: one POST over a connection of its own, tried again within bounds.
//!
//! A small client instead of a large one: a batch goes out once in a while, so nothing is pooled, no
//! redirect is followed and no proxy asked. It tells [`Failure`]s apart by their cause, which the
//! exporter of the library does not. Names are resolved by the system.

use super::span::DropCause;
use crate::settings::TracingSettings;
use crate::snapshot::catalog::UpstreamTls;
use crate::upstream::tls::Trusts;
use async_trait::async_trait;
use http::header::{CONTENT_LENGTH, HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

/// Tries after the first one.
const RETRIES: u32 = 2;

/// Before the second try; twice as long before the third.
const PAUSE: Duration = Duration::from_millis(250);

/// The longest pause that a collector may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// An answer says little; more of it is not read.
const ANSWER_BYTES_MAX: usize = 64 * 1_024;

/// Why a batch was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The cause, as it is counted.
    pub cause: DropCause,
    /// What happened, for the log.
    pub text: String,
}

/// What became of a batch beyond what the library tells.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Why it was not taken, if it was not.
    pub failure: Option<Failure>,
    /// Spans of it that the collector did not take although it took others.
    pub rejected: u64,
}

/// A collector.
pub struct Collector {
    host: String,
    port: u16,
    authority: HeaderValue,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// Fields that the settings add. Some are secrets.
    headers: HeaderMap,
    /// How long one try may take, its connection included.
    timeout: Duration,
    stopping: watch::Receiver<bool>,
    report: Mutex<Report>,
}

// By hand, for the headers must never be shown.
impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector")
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

impl Collector {
    /// The collector that `settings` name; why it can never be reached, if so.
    pub fn new(
        settings: &TracingSettings,
        headers: HeaderMap,
        trusts: &Trusts,
        stopping: watch::Receiver<bool>,
    ) -> Result<Self, String> {
        let endpoint = &settings.endpoint;
        let is_https = endpoint.scheme_str() == Some("https");
        let host = endpoint.host().unwrap_or_default();
        // An IPv6 address stands in brackets in a URL, and nowhere else.
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let tls = if is_https {
            let tls = UpstreamTls {
                trust: settings.trust.clone(),
                ..UpstreamTls::default()
            };
            let name = ServerName::try_from(host.clone()).map_err(|error| error.to_string())?;
            Some((Arc::new(trusts.config(&tls)?), name))
        } else {
            None
        };
        Ok(Self {
            port: endpoint
                .port_u16()
                .unwrap_or(if is_https { 443 } else { 80 }),
            authority: authority(endpoint)?,
            host,
            tls,
            headers,
            timeout: Duration::from_millis(settings.timeout_ms),
            stopping,
            report: Mutex::default(),
        })
    }

    /// What became of the last batch.
    pub fn take_report(&self) -> Report {
        std::mem::take(&mut *self.report.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn report(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }

    async fn attempt(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, Failure> {
        match timeout(self.timeout, self.post(request)).await {
            Ok(outcome) => outcome.map_err(|text| Failure {
                cause: DropCause::Unreachable,
                text,
            }),
            Err(_) => Err(Failure {
                cause: DropCause::Timeout,
                text: format!("no answer within {} ms", self.timeout.as_millis()),
            }),
        }
    }

    async fn post(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, String> {
        let stream = TcpStream::connect((&*self.host, self.port)).await;
        let stream = stream.map_err(|error| format!("no connection: {error}"))?;
        let Some((config, name)) = &self.tls else {
            return self.over(stream, request).await;
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let shaken = connector.connect(name.clone(), stream).await;
        let stream = shaken.map_err(|error| format!("no TLS: {error}"))?;
        self.over(stream, request).await
    }

    async fn over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        request: &Request<Bytes>,
    ) -> Result<Response<Bytes>, String> {
        let broken = |error: hyper::Error| format!("the connection broke: {error}");
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(broken)?;
        // Ends with the sender, or with the answer.
        tokio::spawn(connection);
        let answer = sender.send_request(self.message(request)).await;
        let (head, body) = answer.map_err(broken)?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| format!("the answer broke off: {error}"))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    /// The request as it goes over this connection: in origin form, with our fields.
    fn message(&self, request: &Request<Bytes>) -> Request<Full<Bytes>> {
        let mut message = Request::new(Full::new(request.body().clone()));
        *message.method_mut() = request.method().clone();
        let target = request.uri().path_and_query().cloned();
        *message.uri_mut() = target.map_or_else(Uri::default, Uri::from);
        let headers = message.headers_mut();
        *headers = request.headers().clone();
        headers.extend(self.headers.clone());
        headers.insert(HOST, self.authority.clone());
        headers.insert(CONTENT_LENGTH, request.body().len().into());
        message
    }

    /// Waits before the next try; false if there must be none, for the node ends.
    async fn pause(&self, pause: Duration) -> bool {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            () = sleep(pause) => true,
            _ = stopping.wait_for(|stopping| *stopping) => false,
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut pause = PAUSE;
        let mut left = RETRIES;
        loop {
            let outcome = self.attempt(&request).await;
            let (failure, asked) = match &outcome {
                Ok(answer) if answer.status().is_success() => {
                    self.report(|report| report.rejected = rejected(answer.body()));
                    return Ok(outcome?);
                }
                Ok(answer) => (refused(answer), retry_after(answer.headers())),
                Err(failure) => (failure.clone(), None),
            };
            let may_repeat = match &outcome {
                Ok(answer) => is_retryable(answer.status()),
                Err(_) => true,
            };
            let wait = asked.unwrap_or(pause).min(PAUSE_MAX);
            if !may_repeat || left == 0 || !self.pause(wait).await {
                self.report(|report| report.failure = Some(failure));
                return Ok(outcome?);
            }
            left -= 1;
            pause *= 2;
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// The host and port of the URL. Its user part was refused with the settings.
fn authority(endpoint: &Uri) -> Result<HeaderValue, String> {
    let authority = endpoint
        .authority()
        .map_or("", |authority| authority.as_str());
    HeaderValue::from_str(authority).map_err(|error| error.to_string())
}

/// What the answer's body says may be long and is not ours to log.
fn refused(answer: &Response<Bytes>) -> Failure {
    Failure {
        cause: DropCause::Refused,
        text: format!("the collector answers {}", answer.status().as_u16()),
    }
}

/// "The client SHOULD retry" on these alone (OTLP 1.7, section OTLP/HTTP response).
fn is_retryable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.parse().ok().map(Duration::from_secs)
}

fn rejected(body: &Bytes) -> u64 {
    let answer = ExportTraceServiceResponse::decode(body.clone()).unwrap_or_default();
    let partial = answer.partial_success.unwrap_or_default();
    u64::try_from(partial.rejected_spans).unwrap_or(0)
}

/// Field lines for the collector; which one cannot be, if any. Their values are never shown.
pub fn headers<'a>(lines: impl Iterator<Item = (&'a str, &'a str)>) -> Result<HeaderMap, &'a str> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| name)?;
        let mut value = HeaderValue::from_str(value).map_err(|_| name)?;
        value.set_sensitive(true);
        headers.insert(field, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_that_asks_for_a_pause_gets_it_within_bounds() {
        let asked = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            retry_after(&headers)
        };
        assert_eq!(asked("3"), Some(Duration::from_secs(3)));
        assert_eq!(asked("Fri, 31 Dec 1999 23:59:59 GMT"), None);
        assert_eq!(asked("-1"), None);
    }

    #[test]
    fn what_a_collector_rejects_is_read_from_its_answer_and_garbage_is_nothing() {
        use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
        let answer = ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans: 3,
                error_message: String::new(),
            }),
        };
        assert_eq!(rejected(&answer.encode_to_vec().into()), 3);
        assert_eq!(rejected(&Bytes::new()), 0);
        assert_eq!(rejected(&Bytes::from_static(&[0xff; 9])), 0);
    }

    #[test]
    fn a_secret_is_not_shown() {
        let headers = headers([("Authorization", "Bearer s3cret")].into_iter()).expect("valid");
        assert!(!format!("{headers:?}").contains("s3cret"));
        assert_eq!(super::headers([("a", "b\nc")].into_iter()), Err("a"));
    }
}
