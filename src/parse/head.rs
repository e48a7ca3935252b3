//! A request's head, borrowed from the connection's buffer.
//!
//! httparse splits the head and checks most of its octets; what it lets through and a gateway must
//! not is refused here and in the modules below: bare line feeds ([`lines`](super::lines)), faults
//! of the request line by name ([`request_line`]), targets and hosts
//! ([`target`]), framing ([`framing`](super::framing)), unsafe paths
//! ([`path`](crate::route::path)). A [`RequestHead`] exists only if all of them agree.

use std::fmt;
use std::mem::MaybeUninit;

use httparse::{Header, Status};

use crate::parse::framing::Once;
use crate::parse::lines::{HeadEnd, all_end_in_crlf, head_end};
use crate::parse::request_line::{self, METHOD_BYTES_MAX};
use crate::parse::survey::Survey;
use crate::parse::target::{self, Authority, Target};
use crate::parse::{BodyFraming, headers};
use crate::refusal::Refusal;

/// The HTTP versions that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    H10,
    /// HTTP/1.1
    H11,
}

/// What a head may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Longest head, from its first byte to the end of its empty line, in bytes.
    pub head_bytes_max: usize,
    /// Longest request target in bytes.
    pub target_bytes_max: usize,
    /// Most header lines.
    pub headers_max: usize,
}

/// One well-formed request head. `'b` is the connection's buffer, `'h` the header slots.
///
/// Its [`Debug`] form shows header names but no values and no query: both may hold a key.
#[derive(Clone, Copy)]
pub struct RequestHead<'h, 'b> {
    /// The method, case kept; never `CONNECT` or `TRACE`.
    pub method: &'b str,
    /// The request target as it came.
    pub target: &'b str,
    /// The path: starts with `/` and passed
    /// [`check_path`](crate::route::path::check_path), or is `*` for a server-wide `OPTIONS`.
    /// Still percent-encoded: it is forwarded as it is.
    pub path: &'b str,
    /// The query without its `?`.
    pub query: Option<&'b str>,
    /// The client's version.
    pub version: Version,
    /// Host without port, case kept, brackets of an IPv6 address kept; from an absolute-form target
    /// if there is one, else from `Host`. Empty only for HTTP/1.0 without `Host`.
    pub host: &'b str,
    /// Host with the port as the client wrote it: what upstreams are told.
    pub authority: &'b str,
    /// All header lines in order, values trimmed.
    pub headers: &'h [Header<'b>],
    /// Where the body ends; never [`BodyFraming::UntilClose`].
    pub framing: BodyFraming,
    /// The client lets the connection live on after this exchange.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends its body.
    pub expect_continue: bool,
    /// What the client may switch to on this connection, its `Upgrade` field: absent where there are
    /// several, or where `Connection` or the version does not bear it out.
    pub upgrade: Option<&'b [u8]>,
    /// The client understands trailers (`TE: trailers`).
    pub accepts_trailers: bool,
    /// `Connection` lists header names besides `close`, `keep-alive` and `upgrade`.
    /// [`ConnectionTokens`](headers::ConnectionTokens) finds them.
    pub names_hop_headers: bool,
}

impl<'b> RequestHead<'_, 'b> {
    /// The values of all headers called `name`, in order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.headers
            .iter()
            .filter(move |header| headers::same_name(header.name, name))
            .map(|header| header.value)
    }
}

impl fmt::Debug for RequestHead<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|header| header.name).collect();
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("version", &self.version)
            .field("host", &self.host)
            .field("headers", &names)
            .field("framing", &self.framing)
            .finish_non_exhaustive()
    }
}

/// Parses one request head at the start of `bytes`.
///
/// Complete: the head and its length in bytes, after which the body begins. Partial: more bytes
/// are needed, and `bytes` is within all limits so far. A refusal is final, and framing is lost:
/// the connection closes. Any split of the same stream ends in the same answer.
///
/// `slots` is scratch space; at most `limits.headers_max` of it are used.
pub fn parse_request<'h, 'b>(
    bytes: &'b [u8],
    slots: &'h mut [MaybeUninit<Header<'b>>],
    limits: &HeadLimits,
) -> Result<Status<(RequestHead<'h, 'b>, usize)>, Refusal> {
    let window = &bytes[..bytes.len().min(limits.head_bytes_max)];
    let Some(skipped) = empty_line(window)? else {
        return Ok(Status::Partial);
    };
    let head = &window[skipped..];
    // Most heads come whole and alone, which their last bytes show. The others are first searched
    // for their end, so that a head which drips in is parsed once and not with every drop.
    let alone = window.len() == bytes.len() && head.ends_with(b"\r\n\r\n");
    let end = if alone {
        HeadEnd::At(head.len())
    } else {
        head_end(head)
    };
    match end {
        HeadEnd::At(end) => {
            let (parsed, head_bytes) = parse_whole(&head[..end], slots, limits)?;
            Ok(Status::Complete((parsed, skipped + head_bytes)))
        }
        HeadEnd::BareLf => Err(name_fault(head, limits, None)),
        HeadEnd::Beyond => {
            request_line::check(head, limits)?;
            if window.len() >= limits.head_bytes_max {
                return Err(Refusal::HeadTooLarge);
            }
            Ok(Status::Partial)
        }
    }
}

/// The bytes of an empty line before the request line; `None` if that cannot be told yet.
///
/// RFC 9112, section 2.2: "a server that is expecting to receive and parse a request-line SHOULD
/// ignore at least one empty line (CRLF) received prior to the request-line." One it is; a second
/// one fails as a request line.
fn empty_line(window: &[u8]) -> Result<Option<usize>, Refusal> {
    match window {
        [] | [b'\r'] => Ok(None),
        [b'\r', b'\n'] => Ok(Some(2)),
        [b'\r', b'\n', next, ..] if !matches!(next, b'\r' | b'\n') => Ok(Some(2)),
        [b'\r' | b'\n', ..] => Err(Refusal::HeadMalformed),
        _ => Ok(Some(0)),
    }
}

/// Parses a head that ends in an empty line: its own, or that of a request behind it.
fn parse_whole<'h, 'b>(
    head: &'b [u8],
    slots: &'h mut [MaybeUninit<Header<'b>>],
    limits: &HeadLimits,
) -> Result<(RequestHead<'h, 'b>, usize), Refusal> {
    let slots_len = slots.len().min(limits.headers_max);
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(head, &mut slots[..slots_len]);
    let (Ok(Status::Complete(end)), Some(method), Some(target), Some(minor)) =
        (parsed, request.method, request.path, request.version)
    else {
        return Err(name_fault(head, limits, parsed.err()));
    };
    if method.len() > METHOD_BYTES_MAX || target.len() > limits.target_bytes_max {
        return Err(name_fault(head, limits, None));
    }
    let version = if minor == 0 {
        Version::H10
    } else {
        Version::H11
    };
    let headers = &*request.headers;
    if !all_end_in_crlf(&head[..end], headers) {
        return Err(Refusal::HeadMalformed);
    }
    Ok((judge(method, target, version, headers)?, end))
}

/// Names the fault of a head that cannot be parsed: the first one on the wire.
#[cold]
fn name_fault(head: &[u8], limits: &HeadLimits, error: Option<httparse::Error>) -> Refusal {
    if let Err(refusal) = request_line::check(head, limits) {
        return refusal;
    }
    match error {
        // A bare line feed is refused as soon as it comes, however many headers follow it.
        Some(httparse::Error::TooManyHeaders) if head_end(head) != HeadEnd::BareLf => {
            Refusal::TooManyHeaders
        }
        _ => Refusal::HeadMalformed,
    }
}

/// Reads the meaning of a head whose octets are in order.
fn judge<'h, 'b>(
    method: &'b str,
    target: &'b str,
    version: Version,
    headers: &'h [Header<'b>],
) -> Result<RequestHead<'h, 'b>, Refusal> {
    // CONNECT asks for a tunnel past every check, TRACE for an echo of the request with its key.
    if matches!(method, "CONNECT" | "TRACE") {
        return Err(Refusal::MethodUnsupported);
    }
    let survey = Survey::of(headers).ok_or(Refusal::HeadMalformed)?;
    let parts = target::split(method, target)?;
    let authority = authority(survey.host, version, &parts)?;
    let framing = survey.framing.of_request(version)?;
    let expect_continue = expect_continue(survey.expect, version, framing)?;
    Ok(RequestHead {
        method,
        target,
        path: parts.path,
        query: parts.query,
        version,
        host: authority.host,
        authority: authority.whole,
        headers,
        framing,
        keep_alive: survey.connection.keeps_alive(version),
        expect_continue,
        upgrade: upgrade(&survey, version),
        accepts_trailers: survey.accepts_trailers,
        names_hop_headers: survey.connection.names_headers,
    })
}

/// The host that is meant.
fn authority<'b>(
    host: Once<'b>,
    version: Version,
    target: &Target<'b>,
) -> Result<Authority<'b>, Refusal> {
    let from_header = match host {
        // "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request
        // message that lacks a Host header field and to any request message that contains more
        // than one Host header field line or a Host header field with an invalid field value."
        // HTTP/1.0 clients need not send one: they reach the APIs that answer on every host.
        Once::Never if version == Version::H10 => Authority::NONE,
        Once::Never | Once::Repeated => return Err(Refusal::HeadMalformed),
        Once::Value(value) => target::parse_authority(value).ok_or(Refusal::HeadMalformed)?,
    };
    // "When an origin server receives a request with an absolute-form of request-target, the
    // origin server MUST ignore the received Host header field (if any) and instead use the host
    // information of the request-target."
    Ok(target.authority.unwrap_or(from_header))
}

/// True if the client waits for `100 Continue`.
fn expect_continue(
    expect: Once<'_>,
    version: Version,
    framing: BodyFraming,
) -> Result<bool, Refusal> {
    match expect {
        Once::Never => Ok(false),
        // RFC 9110, section 10.1.1: "A server that receives a 100-continue expectation in an
        // HTTP/1.0 request MUST ignore that expectation." And: "A server MAY omit sending a 100
        // (Continue) response if [...] the framing indicates that there is no content."
        Once::Value(value) if value.eq_ignore_ascii_case(b"100-continue") => {
            Ok(version == Version::H11 && !framing.is_empty())
        }
        // "A server that receives an Expect field value containing a member other than
        // 100-continue MAY respond with a 417 (Expectation Failed) status code".
        Once::Value(_) | Once::Repeated => Err(Refusal::ExpectationUnknown),
    }
}

/// The protocols that the client asks to switch to.
///
/// RFC 9110, section 7.8: "A server MUST ignore an Upgrade header field that is received in an
/// HTTP/1.0 request." And: "A server MAY ignore a received Upgrade header field if it wishes to
/// continue using the current protocol on that connection."
fn upgrade<'b>(survey: &Survey<'b>, version: Version) -> Option<&'b [u8]> {
    match survey.upgrade {
        Once::Value(value) if survey.connection.upgrade && version == Version::H11 => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod smuggling;
#[cfg(test)]
mod tests;
