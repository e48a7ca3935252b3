//! The four forms of a request target (RFC 9112, section 3.2) and the authority they name.

use std::net::Ipv6Addr;

use crate::parse::octets;

/// A request target, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'b> {
    /// Starts with `/`, or is `*`. Not yet checked.
    pub path: &'b str,
    /// Without its `?`.
    pub query: Option<&'b str>,
    /// The host that an absolute-form target names; it counts instead of `Host`.
    pub authority: Option<Authority<'b>>,
}

/// A host with its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Authority<'b> {
    /// Host without port; an IPv6 address keeps its brackets.
    pub host: &'b str,
    /// Host with the port as it was written.
    pub whole: &'b str,
}

impl Authority<'_> {
    /// No host: what an HTTP/1.0 client that sends no `Host` names.
    pub const NONE: Self = Self {
        host: "",
        whole: "",
    };
}

/// Takes `target` apart; `None` if it has none of the forms that `method` may have.
///
/// The authority-form belongs to `CONNECT`, which is not served, and so has no place here.
pub(super) fn split<'b>(method: &str, target: &'b str) -> Option<Target<'b>> {
    // RFC 3986, section 2: a URI is made of ASCII, and RFC 9110, section 7.1: "the target URI
    // excludes the reference's fragment component".
    if !target.is_ascii() || target.contains('#') {
        return None;
    }
    if target.starts_with('/') {
        let (path, query) = split_query(target);
        return Some(Target {
            path,
            query,
            authority: None,
        });
    }
    // "The asterisk-form of request-target is only used for a server-wide OPTIONS request".
    if target == "*" {
        let asterisk = Target {
            path: "*",
            query: None,
            authority: None,
        };
        return (method == "OPTIONS").then_some(asterisk);
    }
    split_absolute(method, target)
}

/// "A server MUST accept the absolute-form in requests even though most HTTP/1.1 clients will only
/// send the absolute-form to a proxy."
fn split_absolute<'b>(method: &str, target: &'b str) -> Option<Target<'b>> {
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(authority_end);
    let authority = Some(parse_authority(authority.as_bytes())?);
    let (path, query) = split_query(rest);
    let path = match path {
        // RFC 9112, section 3.2.4: "If a proxy receives an OPTIONS request with an absolute-form
        // of request-target in which the URI has an empty path and no query component, then the
        // last proxy on the request chain MUST send a request-target of "*"".
        "" if method == "OPTIONS" && query.is_none() => "*",
        // Section 3.2.1: "If the target URI's path component is empty, the client MUST send "/"
        // as the path within the origin-form of request-target."
        "" => "/",
        path => path,
    };
    Some(Target {
        path,
        query,
        authority,
    })
}

fn split_query(target: &str) -> (&str, Option<&str>) {
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

/// Longest host name, as DNS has it.
const HOST_BYTES_MAX: usize = 255;

/// Parses `uri-host [ ":" port ]`; `None` if it is not valid or names no host.
///
/// RFC 9110, section 4.2.1: "A sender MUST NOT generate an "http" URI with an empty host
/// identifier. A recipient that processes such a URI reference MUST reject it as invalid." Section
/// 4.2.4: "a recipient SHOULD parse for userinfo and treat its presence as an error; it is likely
/// being used to obscure the authority for the sake of phishing attacks."
pub(super) fn parse_authority(authority: &[u8]) -> Option<Authority<'_>> {
    let host_len = match authority.first()? {
        b'[' => ipv6_len(authority)?,
        _ => authority
            .iter()
            .position(|octet| *octet == b':')
            .unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_len);
    let bracketed = host.starts_with(b"[");
    let valid = bracketed || (!host.is_empty() && octets::all(host, octets::HOST));
    if !valid || host_len > HOST_BYTES_MAX || !is_port(port) {
        return None;
    }
    let whole = std::str::from_utf8(authority).ok()?;
    Some(Authority {
        host: &whole[..host_len],
        whole,
    })
}

/// The length of a bracketed IPv6 address at the start of `authority`.
fn ipv6_len(authority: &[u8]) -> Option<usize> {
    let end = authority.iter().position(|octet| *octet == b']')?;
    let address = std::str::from_utf8(&authority[1..end]).ok()?;
    // Zones belong to one host only, and future forms do not exist.
    address.parse::<Ipv6Addr>().ok()?;
    Some(end + 1)
}

/// `[ ":" *DIGIT ]`, within the range of ports.
fn is_port(text: &[u8]) -> bool {
    let Some((colon, digits)) = text.split_first() else {
        return true;
    };
    let port = digits.iter().try_fold(0_u32, |port, octet| {
        let digit = octet.is_ascii_digit().then(|| u32::from(octet - b'0'))?;
        port.checked_mul(10)?.checked_add(digit)
    });
    *colon == b':' && port.is_some_and(|port| port <= u32::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: &str, target: &str) -> Option<(String, Option<String>, Option<String>)> {
        split(method, target).map(|target| {
            let authority = target.authority.map(|authority| authority.whole.to_owned());
            (
                target.path.to_owned(),
                target.query.map(str::to_owned),
                authority,
            )
        })
    }

    #[test]
    fn targets_are_taken_apart_by_their_form() {
        for (method, target, path, query, authority) in [
            ("GET", "/", "/", None, None),
            ("GET", "/a/b", "/a/b", None, None),
            ("GET", "/a?", "/a", Some(""), None),
            ("GET", "/a?b=c?d", "/a", Some("b=c?d"), None),
            ("GET", "/a?{\"b\":[1]}", "/a", Some("{\"b\":[1]}"), None),
            ("GET", "//a", "//a", None, None),
            ("OPTIONS", "*", "*", None, None),
            ("GET", "http://h/a?b", "/a", Some("b"), Some("h")),
            ("GET", "HTTPS://h:8443/a", "/a", None, Some("h:8443")),
            ("GET", "http://h", "/", None, Some("h")),
            ("GET", "http://h?b", "/", Some("b"), Some("h")),
            ("OPTIONS", "http://h", "*", None, Some("h")),
            ("OPTIONS", "http://h/", "/", None, Some("h")),
            ("OPTIONS", "http://h?b", "/", Some("b"), Some("h")),
        ] {
            let expected = (
                path.into(),
                query.map(str::to_owned),
                authority.map(str::to_owned),
            );
            assert_eq!(parts(method, target), Some(expected), "{method} {target}");
        }
    }

    #[test]
    fn targets_of_no_form_are_refused() {
        for (method, target) in [
            ("GET", "*"),
            ("OPTIONS", "**"),
            ("GET", "a"),
            ("GET", "h:80"),
            ("GET", "ftp://h/"),
            ("GET", "://h/"),
            ("GET", "http:/h/"),
            ("GET", "http:///a"),
            ("GET", "http://?a"),
            ("GET", "http://u@h/"),
            ("GET", "http://u:p@h/"),
            ("GET", "/a#b"),
            ("GET", "http://h#b"),
            ("GET", "/\u{e9}"),
        ] {
            assert_eq!(parts(method, target), None, "{method} {target}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_port() {
        for (authority, host) in [
            ("example.com", "example.com"),
            ("Example.COM:80", "Example.COM"),
            ("a_b-c~d.e.", "a_b-c~d.e."),
            ("127.0.0.1:65535", "127.0.0.1"),
            ("h:", "h"),
            ("h:00080", "h"),
            ("[::1]", "[::1]"),
            ("[2001:db8::1]:443", "[2001:db8::1]"),
        ] {
            let parsed = parse_authority(authority.as_bytes()).map(|parsed| parsed.host);
            assert_eq!(parsed, Some(host), "{authority}");
        }
    }

    #[test]
    fn an_invalid_host_is_refused() {
        let long = "a".repeat(256);
        for authority in [
            "",
            ":80",
            "a b",
            "u@h",
            "h:80:80",
            "h:65536",
            "h:8o",
            "h:-1",
            "h/",
            "h,i",
            "h%2e",
            "h\\i",
            "[::1",
            "::1",
            "[::1]x",
            "[]",
            "[fe80::1%eth0]",
            "[v1.a]",
            "[127.0.0.1]",
            "h\u{e9}",
            "h?",
            "*",
            long.as_str(),
        ] {
            assert_eq!(parse_authority(authority.as_bytes()), None, "{authority}");
        }
    }
}
