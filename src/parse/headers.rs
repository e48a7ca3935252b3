//! Header names as classes, lists in header values, and the headers that must not travel further.
//!
//! A name is classified once by its length and then compared with the one or two names of that
//! length that matter, without a hash and without copying it to lower case.

use std::fmt;

use httparse::Header;

use crate::parse::{Version, octets};

/// What a header is to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Forwarded as it is.
    Other,
    /// `Connection`: names this connection's options and hop-by-hop headers.
    Connection,
    /// `Content-Length`.
    ContentLength,
    /// `Expect`.
    Expect,
    /// `Host`.
    Host,
    /// `TE`.
    Te,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Upgrade`.
    Upgrade,
    /// `Content_Length` or `Transfer_Encoding`: another header to us, the same one to a server that
    /// keeps headers in CGI variables.
    DisguisedFraming,
    /// `Trailer`: announces what a chunked body may bring behind it.
    Trailer,
    /// Any other header that belongs to one connection only.
    OtherHopByHop,
}

/// Classifies a header name, which must be a token as in every parsed head.
pub fn kind(name: &str) -> Kind {
    let name = name.as_bytes();
    match name.len() {
        2 if is(name, b"te") => Kind::Te,
        4 if is(name, b"host") => Kind::Host,
        6 if is(name, b"expect") => Kind::Expect,
        7 if is(name, b"upgrade") => Kind::Upgrade,
        7 if is(name, b"trailer") => Kind::Trailer,
        10 if is(name, b"connection") => Kind::Connection,
        10 if is(name, b"keep-alive") => Kind::OtherHopByHop,
        14 if is(name, b"content-length") => Kind::ContentLength,
        14 if name.eq_ignore_ascii_case(b"content_length") => Kind::DisguisedFraming,
        14 if is(name, b"http2-settings") => Kind::OtherHopByHop,
        16 if is(name, b"proxy-connection") => Kind::OtherHopByHop,
        17 if is(name, b"transfer-encoding") => Kind::TransferEncoding,
        17 if name.eq_ignore_ascii_case(b"transfer_encoding") => Kind::DisguisedFraming,
        18 if is(name, b"proxy-authenticate") => Kind::OtherHopByHop,
        19 if is(name, b"proxy-authorization") => Kind::OtherHopByHop,
        _ => Kind::Other,
    }
}

/// True if `name` is `lower` in any case. Setting bit 5 folds letters, and moves nothing else that
/// a name or a value can hold onto a letter, a digit or `-`: only control octets would be.
#[inline]
fn is<const N: usize>(name: &[u8], lower: &[u8; N]) -> bool {
    let Ok(name) = <&[u8; N]>::try_from(name) else {
        return false;
    };
    let mut differing = 0;
    for (octet, wanted) in name.iter().zip(lower) {
        differing |= (octet | 0x20) ^ wanted;
    }
    differing == 0
}

/// True for headers that belong to one connection: removed before a message is forwarded.
///
/// RFC 9110, section 7.6.1: "Intermediaries SHOULD remove or replace fields that are known to
/// require removal before forwarding, whether or not they appear as a connection-option".
pub fn is_hop_by_hop(name: &str) -> bool {
    match kind(name) {
        Kind::Connection
        | Kind::Te
        | Kind::TransferEncoding
        | Kind::Upgrade
        | Kind::Trailer
        | Kind::OtherHopByHop => true,
        Kind::Other | Kind::ContentLength | Kind::Expect | Kind::Host | Kind::DisguisedFraming => {
            false
        }
    }
}

/// True for `Trailer`, which passes where trailers do.
pub fn is_trailer(name: &str) -> bool {
    kind(name) == Kind::Trailer
}

/// True if two header names are the same, whatever their case.
pub fn same_name(left: &str, right: &str) -> bool {
    left.eq_ignore_ascii_case(right)
}

/// The elements of a comma-separated list, without the white space around them.
///
/// RFC 9110, section 5.6.1: "A recipient MUST parse and ignore a reasonable number of empty list
/// elements".
pub fn split_list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|octet| *octet == b',')
        .map(trim)
        .filter(|element| !element.is_empty())
}

/// `value` without `OWS` at its ends: space and tab only, unlike the standard library's trim.
pub fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The header names that a message's `Connection` headers list: removed like hop-by-hop headers.
///
/// RFC 9110, section 7.6.1: "Intermediaries MUST parse a received Connection header field before a
/// message is forwarded and, for each connection-option in this field, remove any header or
/// trailer field(s) from the message with the same name as the connection-option".
#[derive(Clone, Copy)]
pub struct ConnectionTokens<'h, 'b> {
    headers: &'h [Header<'b>],
}

impl<'h, 'b> ConnectionTokens<'h, 'b> {
    /// The tokens of the `Connection` headers among `headers`.
    pub fn of(headers: &'h [Header<'b>]) -> Self {
        Self { headers }
    }

    /// True if a `Connection` header lists `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.iter()
            .any(|token| token.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The tokens in order.
    pub fn iter(&self) -> impl Iterator<Item = &'b [u8]> + use<'h, 'b> {
        self.headers
            .iter()
            .filter(|header| kind(header.name) == Kind::Connection)
            .flat_map(|header| split_list(header.value))
    }
}

impl fmt::Debug for ConnectionTokens<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(String::from_utf8_lossy))
            .finish()
    }
}

/// Most tokens that all `Connection` headers of a message may list together. Each costs a
/// comparison per header when the message is forwarded; real messages have one or two.
const CONNECTION_TOKENS_MAX: u32 = 32;

/// What a message's `Connection` headers say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ConnectionOptions {
    pub close: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
    /// Header names are listed beside the three options above.
    pub names_headers: bool,
    tokens: u32,
}

impl ConnectionOptions {
    /// True if the sender lets the connection persist.
    ///
    /// RFC 9112, section 9.3: "If the "close" connection option is present [...], the connection
    /// will not persist after the current response; else, if the received protocol is HTTP/1.1 (or
    /// later), the connection will persist after the current response; else, if the received
    /// protocol is HTTP/1.0, the "keep-alive" connection option is present, [...] the connection
    /// will persist after the current response; otherwise, the connection will close".
    pub fn keeps_alive(self, version: Version) -> bool {
        !self.close && (version == Version::H11 || self.keep_alive)
    }

    /// Takes in one `Connection` value; false if it is not a list of tokens, if there are too many
    /// of them, or if it would have a header removed that the message cannot do without.
    #[must_use]
    pub fn add(&mut self, value: &[u8]) -> bool {
        // What nearly all of them say.
        if is(value, b"keep-alive") {
            self.keep_alive = true;
            return true;
        }
        split_list(value).all(|token| self.add_token(token))
    }

    fn add_token(&mut self, token: &[u8]) -> bool {
        self.tokens += 1;
        if token.eq_ignore_ascii_case(b"close") {
            self.close = true;
        } else if token.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
        } else if token.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        } else if token.eq_ignore_ascii_case(b"te") {
            // Names what is removed anyway.
        } else {
            self.names_headers = true;
            let Ok(name) = std::str::from_utf8(token) else {
                return false;
            };
            let needed = matches!(kind(name), Kind::Host | Kind::ContentLength);
            return octets::is_token(token) && !needed && self.tokens <= CONNECTION_TOKENS_MAX;
        }
        self.tokens <= CONNECTION_TOKENS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<'a>(lines: &[(&'a str, &'a str)]) -> Vec<Header<'a>> {
        lines
            .iter()
            .map(|&(name, value)| Header {
                name,
                value: value.as_bytes(),
            })
            .collect()
    }

    #[test]
    fn names_are_classified_in_any_case() {
        for (name, expected) in [
            ("Host", Kind::Host),
            ("hOST", Kind::Host),
            ("content-length", Kind::ContentLength),
            ("Content-Length", Kind::ContentLength),
            ("TRANSFER-ENCODING", Kind::TransferEncoding),
            ("Connection", Kind::Connection),
            ("te", Kind::Te),
            ("TE", Kind::Te),
            ("Expect", Kind::Expect),
            ("Upgrade", Kind::Upgrade),
            ("Keep-Alive", Kind::OtherHopByHop),
            ("Proxy-Connection", Kind::OtherHopByHop),
            ("Trailer", Kind::Trailer),
            ("HTTP2-Settings", Kind::OtherHopByHop),
            ("Content-Lengt", Kind::Other),
            ("Content_Length", Kind::DisguisedFraming),
            ("TRANSFER_encoding", Kind::DisguisedFraming),
            ("Content-Length0", Kind::Other),
            ("Hos", Kind::Other),
            ("Authorization", Kind::Other),
            ("", Kind::Other),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
    }

    #[test]
    fn no_other_token_folds_onto_a_known_name() {
        // Every name at distance one from a known one, over all token octets.
        for known in [
            "host",
            "te",
            "connection",
            "content-length",
            "transfer-encoding",
        ] {
            for place in 0..known.len() {
                for octet in (0..0x80).filter(|octet| octets::is(*octet, octets::TOKEN)) {
                    let mut name = known.to_owned().into_bytes();
                    name[place] = octet;
                    let name = String::from_utf8(name).unwrap();
                    let same = name.eq_ignore_ascii_case(known);
                    assert_eq!(kind(&name) == kind(known), same, "{name}");
                }
            }
        }
    }

    #[test]
    fn hop_by_hop_headers_are_known_and_end_to_end_headers_are_kept() {
        for name in [
            "Connection",
            "Keep-Alive",
            "TE",
            "Trailer",
            "Transfer-Encoding",
            "Upgrade",
        ] {
            assert!(is_hop_by_hop(name), "{name}");
        }
        for name in [
            "Host",
            "Content-Length",
            "Expect",
            "Authorization",
            "X-Connection",
        ] {
            assert!(!is_hop_by_hop(name), "{name}");
        }
    }

    #[test]
    fn lists_lose_white_space_and_empty_elements() {
        fn elements(value: &str) -> Vec<&str> {
            split_list(value.as_bytes())
                .map(|part| std::str::from_utf8(part).unwrap())
                .collect()
        }
        assert_eq!(elements("a, b ,\tc"), ["a", "b", "c"]);
        assert_eq!(elements(",, a,,"), ["a"]);
        assert_eq!(elements(" "), Vec::<&str>::new());
    }

    #[test]
    fn connection_tokens_name_headers_over_several_lines() {
        let lines = headers(&[
            ("Connection", "close, X-One"),
            ("A", "b"),
            ("CONNECTION", "x-two"),
        ]);
        let tokens = ConnectionTokens::of(&lines);
        assert!(tokens.contains("x-one") && tokens.contains("X-TWO") && tokens.contains("Close"));
        assert!(!tokens.contains("x-three") && !tokens.contains("A"));
    }

    #[test]
    fn connection_options_are_read_and_bad_lists_refused() {
        let mut options = ConnectionOptions::default();
        assert!(options.add(b"Keep-Alive, UPGRADE"));
        assert!(options.keep_alive && options.upgrade && !options.close && !options.names_headers);
        assert!(options.add(b"x-hop"));
        assert!(options.names_headers);

        for bad in ["clo se", "a;b", "x-\u{fc}", "host", "Content-Length"] {
            assert!(!ConnectionOptions::default().add(bad.as_bytes()), "{bad}");
        }
        assert!(ConnectionOptions::default().add(&b"a,".repeat(32)));
        assert!(!ConnectionOptions::default().add(&b"a,".repeat(33)));
    }
}
