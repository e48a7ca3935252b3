//! An upstream's response head, borrowed from its connection's buffer.

use std::fmt;
use std::mem::MaybeUninit;

use httparse::{Header, Status};

use crate::parse::{BodyFraming, HeadLimits, Version};

/// Why an upstream's answer is refused. The connection to it closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// Not one well-formed HTTP/1.x response head.
    #[error("the head is malformed")]
    HeadMalformed,
    /// Longer than `head_bytes_max`.
    #[error("the head is too large")]
    HeadTooLarge,
    /// More header lines than `headers_max`.
    #[error("the head has too many headers")]
    TooManyHeaders,
    /// Its length is ambiguous, malformed, or in a coding other than `chunked`.
    #[error("the length of the response is ambiguous")]
    FramingInvalid,
    /// A status code outside 100 to 599.
    #[error("the status code is out of range")]
    StatusInvalid,
}

/// One well-formed response head, also of an interim (1xx) response.
///
/// Its [`Debug`] form shows no header values.
#[derive(Clone, Copy)]
pub struct ResponseHead<'h, 'b> {
    /// 100 to 599. An interim response (1xx) has no body and another head follows it, except 101:
    /// after it the connection speaks another protocol.
    pub status: u16,
    /// The reason phrase; empty if it is missing or not ASCII.
    pub reason: &'b str,
    /// The upstream's version.
    pub version: Version,
    /// All header lines in order, values trimmed.
    pub headers: &'h [Header<'b>],
    /// Where the body ends.
    pub framing: BodyFraming,
    /// The connection may be used again once the body was read to its end.
    pub keep_alive: bool,
    /// `Connection` lists header names besides `close`, `keep-alive` and `upgrade`.
    pub names_hop_headers: bool,
}

impl fmt::Debug for ResponseHead<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHead")
            .field("status", &self.status)
            .field("framing", &self.framing)
            .finish_non_exhaustive()
    }
}

/// Parses one response head at the start of `bytes`. `limits.target_bytes_max` has no meaning here.
pub fn parse_response<'h, 'b>(
    _bytes: &'b [u8],
    _slots: &'h mut [MaybeUninit<Header<'b>>],
    _limits: &HeadLimits,
    _request_was_head: bool,
) -> Result<Status<(ResponseHead<'h, 'b>, usize)>, ResponseError> {
    unimplemented!()
}
