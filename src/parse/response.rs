//! An upstream's response head, borrowed from its connection's buffer.
//!
//! An upstream may be broken, taken over, or a proxy that relays what a client made it say. So its
//! answers are read as strictly as requests: what one reader could take for two responses is
//! refused, and the connection to it closes.

use std::fmt;
use std::mem::MaybeUninit;

use httparse::{Header, Status};

use crate::parse::lines::{HeadEnd, all_end_in_crlf, head_end};
use crate::parse::survey::Survey;
use crate::parse::{BodyFraming, HeadLimits, Version};

/// Why an upstream's answer is refused. The connection to it closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// Not one well-formed HTTP/1.0 or HTTP/1.1 response head.
    #[error("the head is malformed")]
    HeadMalformed,
    /// Longer than `head_bytes_max`.
    #[error("the head is too large")]
    HeadTooLarge,
    /// More header lines than `headers_max`.
    #[error("the head has too many headers")]
    TooManyHeaders,
    /// A status code outside 100 to 599.
    #[error("the status code is out of range")]
    StatusInvalid,
    /// Its length is ambiguous, malformed, or in a coding other than `chunked`.
    #[error("the length of the response is ambiguous")]
    FramingInvalid,
}

/// One well-formed response head, also of an interim (1xx) response.
///
/// Its [`Debug`] form shows header names but no values.
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
    /// [`ConnectionTokens`](crate::parse::headers::ConnectionTokens) finds them.
    pub names_hop_headers: bool,
}

impl fmt::Debug for ResponseHead<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|header| header.name).collect();
        f.debug_struct("ResponseHead")
            .field("status", &self.status)
            .field("version", &self.version)
            .field("headers", &names)
            .field("framing", &self.framing)
            .field("keep_alive", &self.keep_alive)
            .finish_non_exhaustive()
    }
}

/// Parses one response head at the start of `bytes`.
///
/// Complete: the head and its length in bytes. Partial: more bytes are needed. An error is final.
/// Any split of the same stream ends in the same answer. `limits.target_bytes_max` has no meaning
/// here.
pub fn parse_response<'h, 'b>(
    bytes: &'b [u8],
    slots: &'h mut [MaybeUninit<Header<'b>>],
    limits: &HeadLimits,
    request_was_head: bool,
) -> Result<Status<(ResponseHead<'h, 'b>, usize)>, ResponseError> {
    let window = &bytes[..bytes.len().min(limits.head_bytes_max)];
    // A request may follow an empty line, a response may not: it would be a leftover of the one
    // before it. And what does not begin like a response is refused without waiting for a line.
    let start = window.len().min(b"HTTP/1.".len());
    if window[..start] != b"HTTP/1."[..start] {
        return Err(ResponseError::HeadMalformed);
    }
    let alone = window.len() == bytes.len() && window.ends_with(b"\r\n\r\n");
    let end = if alone {
        HeadEnd::At(window.len())
    } else {
        head_end(window)
    };
    match end {
        HeadEnd::At(end) => {
            parse_whole(&window[..end], slots, limits, request_was_head).map(Status::Complete)
        }
        HeadEnd::BareLf => Err(ResponseError::HeadMalformed),
        HeadEnd::Beyond if window.len() >= limits.head_bytes_max => {
            Err(ResponseError::HeadTooLarge)
        }
        HeadEnd::Beyond => Ok(Status::Partial),
    }
}

/// Parses a head that ends in an empty line: its own, or that of a response behind it.
fn parse_whole<'h, 'b>(
    head: &'b [u8],
    slots: &'h mut [MaybeUninit<Header<'b>>],
    limits: &HeadLimits,
    request_was_head: bool,
) -> Result<(ResponseHead<'h, 'b>, usize), ResponseError> {
    let slots_len = slots.len().min(limits.headers_max);
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        head,
        &mut slots[..slots_len],
    );
    let (Ok(Status::Complete(end)), Some(status), Some(minor)) =
        (parsed, response.code, response.version)
    else {
        let too_many = parsed == Err(httparse::Error::TooManyHeaders);
        return Err(match too_many && head_end(head) != HeadEnd::BareLf {
            true => ResponseError::TooManyHeaders,
            false => ResponseError::HeadMalformed,
        });
    };
    let headers = &*response.headers;
    if !all_end_in_crlf(&head[..end], headers) {
        return Err(ResponseError::HeadMalformed);
    }
    // RFC 9110, section 15: "HTTP status codes are three-digit integer values from 100 to 599 [..]
    // values outside this range are invalid".
    if !(100..=599).contains(&status) {
        return Err(ResponseError::StatusInvalid);
    }
    let version = if minor == 0 {
        Version::H10
    } else {
        Version::H11
    };
    let survey = Survey::of(headers).ok_or(ResponseError::HeadMalformed)?;
    let (framing, reusable) = survey
        .framing
        .of_response(version, status, request_was_head)?;
    let head = ResponseHead {
        status,
        reason: response.reason.unwrap_or_default(),
        version,
        headers,
        framing,
        keep_alive: reusable && survey.connection.keeps_alive(version),
        names_hop_headers: survey.connection.names_headers,
    };
    Ok((head, end))
}

#[cfg(test)]
mod tests;
