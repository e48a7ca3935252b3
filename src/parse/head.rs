//! A request's head, borrowed from the connection's buffer.

use std::fmt;
use std::mem::MaybeUninit;

use httparse::{Header, Status};

use crate::parse::BodyFraming;
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
    /// Longest head, from the first byte of the request line to the empty line, in bytes.
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
    /// The path: starts with `/` and passed [`check_path`](crate::route::path::check_path), or is
    /// `*` for a server-wide `OPTIONS`. Still percent-encoded: it is forwarded as it is.
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
    /// The client asks to switch to WebSocket. Other protocols are not offered to upstreams: an
    /// upgrade to `h2c` would tunnel requests past every check.
    pub upgrade: bool,
    /// The client understands trailers (`TE: trailers`).
    pub accepts_trailers: bool,
    /// `Connection` lists header names besides `close`, `keep-alive` and `upgrade`.
    /// [`ConnectionTokens`](crate::parse::headers::ConnectionTokens) finds them.
    pub names_hop_headers: bool,
}

impl<'h, 'b> RequestHead<'h, 'b> {
    /// The values of all headers called `name`, in order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    }
}

impl fmt::Debug for RequestHead<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("host", &self.host)
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
    _bytes: &'b [u8],
    _slots: &'h mut [MaybeUninit<Header<'b>>],
    _limits: &HeadLimits,
) -> Result<Status<(RequestHead<'h, 'b>, usize)>, Refusal> {
    unimplemented!()
}
