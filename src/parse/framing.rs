//! Where a message's body ends (RFC 9112, section 6.3), decided from its framing headers.
//!
//! Two servers that disagree on this are what request smuggling is made of. So there is one
//! accepted way to say it: one `Content-Length` of digits, or one `Transfer-Encoding: chunked`, or
//! neither. Whatever else the RFC lets a recipient repair is refused here.

use crate::parse::headers::split_list;
use crate::parse::{ResponseError, Version, octets};
use crate::refusal::Refusal;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is no body: the message ends with its head.
    Empty,
    /// Exactly this many bytes; 0 if the sender said so.
    Length(u64),
    /// The chunked transfer coding ends itself.
    Chunked,
    /// Everything until the connection closes. Only responses can have it.
    UntilClose,
}

impl BodyFraming {
    /// True if no byte of body follows the head.
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::Empty | Self::Length(0))
    }
}

/// A header that means something only if it comes once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Once<'b> {
    #[default]
    Never,
    Value(&'b [u8]),
    Repeated,
}

impl<'b> Once<'b> {
    pub fn add(&mut self, value: &'b [u8]) {
        *self = match self {
            Self::Never => Self::Value(value),
            Self::Value(_) | Self::Repeated => Self::Repeated,
        };
    }
}

/// The framing headers of one message as they came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FramingHeaders<'b> {
    pub content_length: Once<'b>,
    pub transfer_encoding: Once<'b>,
    /// One of them came in a spelling that only some servers take for it.
    pub disguised: bool,
}

/// Why the framing headers say nothing that can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Faulty {
    /// The length is ambiguous or malformed.
    Ambiguous,
    /// The body ends itself, but in a coding that is not served.
    CodingUnknown,
}

impl FramingHeaders<'_> {
    /// The body of a request.
    pub fn of_request(&self, version: Version) -> Result<BodyFraming, Refusal> {
        match self.declared(version) {
            // "If this is a request message and none of the above are true, then the message body
            // length is zero (no message body is present)."
            Ok(framing) => Ok(framing.unwrap_or(BodyFraming::Empty)),
            Err(Faulty::Ambiguous) => Err(Refusal::FramingInvalid),
            Err(Faulty::CodingUnknown) => Err(Refusal::CodingUnsupported),
        }
    }

    /// The body of a response, and whether the connection is in a known state after it.
    pub fn of_response(
        &self,
        version: Version,
        status: u16,
        request_was_head: bool,
    ) -> Result<(BodyFraming, bool), ResponseError> {
        let declared = self
            .declared(version)
            .map_err(|_| ResponseError::FramingInvalid)?;
        // "Any response to a HEAD request and any response with a 1xx (Informational), 204 (No
        // Content), or 304 (Not Modified) status code is always terminated by the first empty line
        // after the header fields, regardless of the header fields present in the message, and
        // thus cannot contain a message body or trailer section."
        match status {
            100..=199 | 204 => {
                // RFC 9112, section 6.1: "A server MUST NOT send a Transfer-Encoding header field
                // in any response with a status code of 1xx (Informational) or 204 (No Content)",
                // and RFC 9110, section 8.6, says the same of Content-Length. Servers that do it
                // tend to send that body, too: what follows must not pass for the next response.
                let clean = declared.is_none_or(BodyFraming::is_empty);
                Ok((BodyFraming::Empty, clean))
            }
            304 => Ok((BodyFraming::Empty, true)),
            _ if request_was_head => Ok((BodyFraming::Empty, true)),
            // "Otherwise, this is a response message without a declared message body length, so
            // the message body length is determined by the number of octets received prior to the
            // server closing the connection."
            _ => {
                let framing = declared.unwrap_or(BodyFraming::UntilClose);
                Ok((framing, framing != BodyFraming::UntilClose))
            }
        }
    }

    /// What the headers declare, by the rules that requests and responses share.
    fn declared(&self, version: Version) -> Result<Option<BodyFraming>, Faulty> {
        match (self.transfer_encoding, self.content_length) {
            _ if self.disguised => Err(Faulty::Ambiguous),
            (Once::Never, Once::Never) => Ok(None),
            // "If a valid Content-Length header field is present without Transfer-Encoding, its
            // decimal value defines the expected message body length in octets."
            (Once::Never, Once::Value(value)) => match decimal(value) {
                Some(length) => Ok(Some(BodyFraming::Length(length))),
                None => Err(Faulty::Ambiguous),
            },
            // "[...] unless the field value can be successfully parsed as a comma-separated list,
            // all values in the list are valid, and all values in the list are the same" is the
            // repair that is not made here.
            (Once::Never, Once::Repeated) => Err(Faulty::Ambiguous),
            (Once::Value(value), Once::Never) => coding(value, version).map(Some),
            // Several lines would be one list, so there is more than a single coding.
            (Once::Repeated, Once::Never) => Err(Faulty::Ambiguous),
            // "If a message is received with both a Transfer-Encoding and a Content-Length header
            // field, the Transfer-Encoding overrides the Content-Length. Such a message might
            // indicate an attempt to perform request smuggling (Section 11.2) or response
            // splitting (Section 11.1) and ought to be handled as an error."
            (Once::Value(_) | Once::Repeated, Once::Value(_) | Once::Repeated) => {
                Err(Faulty::Ambiguous)
            }
        }
    }
}

/// Reads `Content-Length = 1*DIGIT`: no sign, no list, no white space.
///
/// RFC 9110, section 8.6: "a recipient MUST anticipate potentially large decimal numerals and
/// prevent parsing errors due to integer conversion overflows or precision loss due to integer
/// conversion".
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |length, octet| {
        let digit = octet.is_ascii_digit().then(|| u64::from(octet - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })
}

/// Reads the value of a single `Transfer-Encoding` line.
fn coding(value: &[u8], version: Version) -> Result<BodyFraming, Faulty> {
    // "A server or client that receives an HTTP/1.0 message containing a Transfer-Encoding header
    // field MUST treat the message as if the framing is faulty, even if a Content-Length is
    // present, and close the connection after processing the message."
    if version == Version::H10 {
        return Err(Faulty::Ambiguous);
    }
    // "All transfer-coding names are case-insensitive".
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(BodyFraming::Chunked);
    }
    // "A server that receives a request message with a transfer coding it does not understand
    // SHOULD respond with 501 (Not Implemented)": only where the body has a known end, because
    // "if a Transfer-Encoding header field is present in a request and the chunked transfer coding
    // is not the final encoding, the message body length cannot be determined reliably; the server
    // MUST respond with the 400 (Bad Request) status code and then close the connection."
    let chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let well_formed = split_list(value).all(octets::is_token);
    // "A sender MUST NOT apply the chunked transfer coding more than once to a message body".
    let chunked_once = split_list(value).filter(|coding| chunked(coding)).count() == 1;
    let chunked_last = split_list(value).last().is_some_and(chunked);
    let other_first = split_list(value).count() > 1;
    if well_formed && chunked_once && chunked_last && other_first {
        return Err(Faulty::CodingUnknown);
    }
    Err(Faulty::Ambiguous)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<'b>(lengths: &[&'b str], codings: &[&'b str]) -> FramingHeaders<'b> {
        let mut headers = FramingHeaders::default();
        lengths
            .iter()
            .for_each(|value| headers.content_length.add(value.as_bytes()));
        codings
            .iter()
            .for_each(|value| headers.transfer_encoding.add(value.as_bytes()));
        headers
    }

    fn request(lengths: &[&str], codings: &[&str]) -> Result<BodyFraming, Refusal> {
        headers(lengths, codings).of_request(Version::H11)
    }

    fn response(
        status: u16,
        lengths: &[&str],
        codings: &[&str],
    ) -> Result<(BodyFraming, bool), ResponseError> {
        headers(lengths, codings).of_response(Version::H11, status, false)
    }

    #[test]
    fn a_length_is_one_run_of_digits() {
        for (value, expected) in [
            ("0", 0),
            ("5", 5),
            ("00000000000000000000000000000000000000005", 5),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(
                request(&[value], &[]),
                Ok(BodyFraming::Length(expected)),
                "{value}"
            );
        }
        for value in [
            "",
            "+5",
            "-5",
            "0x5",
            "5,5",
            "5, 5",
            "5 5",
            "5;",
            "5.0",
            "1e3",
            "٥",
            "5\u{b}",
            "18446744073709551616",
            "99999999999999999999999999",
        ] {
            assert_eq!(
                request(&[value], &[]),
                Err(Refusal::FramingInvalid),
                "{value}"
            );
        }
    }

    #[test]
    fn a_repeated_length_is_refused_even_if_both_agree() {
        assert_eq!(request(&["5", "5"], &[]), Err(Refusal::FramingInvalid));
        assert_eq!(request(&["5", "6"], &[]), Err(Refusal::FramingInvalid));
        assert_eq!(request(&["5", "5", "5"], &[]), Err(Refusal::FramingInvalid));
    }

    #[test]
    fn a_coding_is_chunked_and_nothing_else() {
        assert_eq!(request(&[], &["chunked"]), Ok(BodyFraming::Chunked));
        assert_eq!(request(&[], &["Chunked"]), Ok(BodyFraming::Chunked));
        for value in [
            "",
            ",",
            "identity",
            "gzip",
            "xchunked",
            "chunkedx",
            "chunked;q=1",
            "chunked, gzip",
            "chunked, chunked",
            "chunked,",
            ",chunked",
            "\"chunked\"",
            "chunked\u{b}",
            "chunk ed",
            "gzip; x, chunked",
            "chunked, gzip, chunked",
        ] {
            assert_eq!(
                request(&[], &[value]),
                Err(Refusal::FramingInvalid),
                "{value}"
            );
        }
        for value in ["gzip, chunked", "identity,chunked", "a, b ,CHUNKED"] {
            assert_eq!(
                request(&[], &[value]),
                Err(Refusal::CodingUnsupported),
                "{value}"
            );
        }
    }

    #[test]
    fn two_codings_or_a_coding_with_a_length_are_refused() {
        assert_eq!(
            request(&[], &["chunked", "chunked"]),
            Err(Refusal::FramingInvalid)
        );
        assert_eq!(
            request(&[], &["chunked", "identity"]),
            Err(Refusal::FramingInvalid)
        );
        assert_eq!(request(&["5"], &["chunked"]), Err(Refusal::FramingInvalid));
        assert_eq!(
            request(&["5"], &["gzip, chunked"]),
            Err(Refusal::FramingInvalid)
        );
        assert_eq!(
            request(&["5", "5"], &["chunked", "chunked"]),
            Err(Refusal::FramingInvalid)
        );
    }

    #[test]
    fn http_1_0_knows_no_coding() {
        let chunked = headers(&[], &["chunked"]).of_request(Version::H10);
        assert_eq!(chunked, Err(Refusal::FramingInvalid));
        let response = headers(&[], &["chunked"]).of_response(Version::H10, 200, false);
        assert_eq!(response, Err(ResponseError::FramingInvalid));
        let length = headers(&["5"], &[]).of_request(Version::H10);
        assert_eq!(length, Ok(BodyFraming::Length(5)));
    }

    #[test]
    fn without_framing_headers_a_request_is_empty_and_a_response_ends_with_the_connection() {
        assert_eq!(request(&[], &[]), Ok(BodyFraming::Empty));
        assert_eq!(
            response(200, &[], &[]),
            Ok((BodyFraming::UntilClose, false))
        );
    }

    #[test]
    fn a_response_with_a_declared_end_leaves_the_connection_usable() {
        assert_eq!(
            response(200, &["5"], &[]),
            Ok((BodyFraming::Length(5), true))
        );
        assert_eq!(
            response(200, &[], &["chunked"]),
            Ok((BodyFraming::Chunked, true))
        );
        assert_eq!(
            response(404, &["0"], &[]),
            Ok((BodyFraming::Length(0), true))
        );
    }

    #[test]
    fn a_bodiless_status_is_empty_whatever_it_declares() {
        for status in [100, 103, 199, 204] {
            assert_eq!(
                response(status, &[], &[]),
                Ok((BodyFraming::Empty, true)),
                "{status}"
            );
            assert_eq!(
                response(status, &["0"], &[]),
                Ok((BodyFraming::Empty, true)),
                "{status}"
            );
            // Whether those bytes come is anyone's guess: the connection is not used again.
            assert_eq!(
                response(status, &["5"], &[]),
                Ok((BodyFraming::Empty, false)),
                "{status}"
            );
            let chunked = response(status, &[], &["chunked"]);
            assert_eq!(chunked, Ok((BodyFraming::Empty, false)), "{status}");
        }
        assert_eq!(response(304, &["5"], &[]), Ok((BodyFraming::Empty, true)));
        assert_eq!(
            response(304, &[], &["chunked"]),
            Ok((BodyFraming::Empty, true))
        );
        let to_head = headers(&["5"], &[]).of_response(Version::H11, 200, true);
        assert_eq!(to_head, Ok((BodyFraming::Empty, true)));
    }

    #[test]
    fn an_ambiguous_response_is_refused_also_where_it_has_no_body() {
        for status in [200, 204, 304] {
            for (lengths, codings) in [
                (&["5", "5"][..], &[][..]),
                (&["x"], &[]),
                (&["5"], &["chunked"]),
                (&[], &["gzip"]),
                (&[], &["gzip, chunked"]),
                (&[], &["chunked", "chunked"]),
            ] {
                let answer = response(status, lengths, codings);
                assert_eq!(
                    answer,
                    Err(ResponseError::FramingInvalid),
                    "{status} {lengths:?}"
                );
            }
        }
    }
}
