//! Trailer fields on their way through: read as fields, written anew, and only those that may come
//! behind a body.
//!
//! RFC 9110, section 6.5.1: "A sender MUST NOT generate a trailer field unless the sender knows the
//! corresponding header field name's definition permits sending in trailers". A field that is not
//! known passes, for nobody else's definitions are known here; those that frame, route, authorize or
//! modify a message, or by which a client could pretend to be the gateway, do not. The edits of a
//! route are for its header and do not apply.

use super::request_head::{field, is_withheld};
use crate::parse::headers::{is_hop_by_hop, trim};

/// The trailer section of one body.
#[derive(Debug, Default)]
pub(super) struct Trailers {
    /// Its field lines as they came; no longer than the parser allows.
    section: Vec<u8>,
}

impl Trailers {
    /// Takes in more of the section, which the parser has found well-formed.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.section.extend_from_slice(bytes);
    }

    /// Appends the fields that may pass.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for line in self.section.split(|octet| *octet == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let mut parts = line.splitn(2, |octet| *octet == b':');
            let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
                continue;
            };
            if let Some(name) = std::str::from_utf8(name).ok().filter(|name| passes(name)) {
                field(out, name, trim(value));
            }
        }
    }
}

/// Fields that mean something only in a header (RFC 9110, section 6.5.1).
const IN_HEADERS_ONLY: [&str; 30] = [
    "age",
    "authorization",
    "cache-control",
    "clear-site-data",
    "content-encoding",
    "content-range",
    "content-security-policy",
    "content-type",
    "cookie",
    "date",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "location",
    "max-forwards",
    "pragma",
    "range",
    "refresh",
    "retry-after",
    "set-cookie",
    "strict-transport-security",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-api-key",
];

fn passes(name: &str) -> bool {
    // A target that keeps fields in CGI variables reads `_` as `-`.
    let folded = name.to_ascii_lowercase().replace('_', "-");
    let denied = IN_HEADERS_ONLY.binary_search(&&*folded).is_ok()
        || folded.starts_with("proxy-")
        || folded.starts_with("access-control-")
        || is_hop_by_hop(&folded)
        || is_withheld(&folded, None);
    !denied
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(section: &str) -> String {
        let mut trailers = Trailers::default();
        // However it is cut.
        section.bytes().for_each(|octet| trailers.take(&[octet]));
        let mut out = Vec::new();
        trailers.write(&mut out);
        String::from_utf8(out).expect("is text")
    }

    #[test]
    fn what_tells_of_the_body_passes() {
        assert_eq!(
            passed("Grpc-Status:0\r\nx-checksum: \t abc \r\nServer-Timing: db;dur=5\r\nEmpty:\r\n"),
            "Grpc-Status: 0\r\nx-checksum: abc\r\nServer-Timing: db;dur=5\r\nEmpty: \r\n"
        );
    }

    #[test]
    fn what_frames_routes_authorizes_or_pretends_does_not() {
        for name in [
            "Transfer-Encoding",
            "Content-Length",
            "Content_Length",
            "Host",
            "Connection",
            "TE",
            "Trailer",
            "Upgrade",
            "Authorization",
            "X-API-Key",
            "Cookie",
            "Set-Cookie",
            "set_cookie",
            "Proxy-Authenticate",
            "Content-Type",
            "Cache-Control",
            "Keyway-Tenant",
            "keyway_plan",
            "X-Forwarded-For",
            "Forwarded",
            "Expect",
            "Access-Control-Allow-Origin",
        ] {
            assert_eq!(
                passed(&format!("{name}: v\r\nA: b\r\n")),
                "A: b\r\n",
                "{name}"
            );
        }
    }

    #[test]
    fn the_list_can_be_searched() {
        assert!(IN_HEADERS_ONLY.is_sorted());
    }
}
