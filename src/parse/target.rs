//! The four forms of a request target (RFC 9112, section 3.2) and the authority they name.

use std::net::Ipv6Addr;
use std::str;

use crate::parse::octets;
use crate::refusal::Refusal;
use crate::route::path::Scanned;

/// A request target, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'b> {
    /// Passed [`check_path`](crate::route::path::check_path), or is `*`.
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

/// Takes `target` apart and checks it for the forms that `method` may have.
///
/// The authority-form belongs to `CONNECT`, which is not served, and so has no place here.
pub(super) fn split<'b>(method: &str, target: &'b str) -> Result<Target<'b>, Refusal> {
    if target.starts_with('/') {
        let (path, query) = split_path(target, target)?;
        return Ok(Target {
            path,
            query,
            authority: None,
        });
    }
    // "The asterisk-form of request-target is only used for a server-wide OPTIONS request".
    if target == "*" && method == "OPTIONS" {
        return Ok(Target {
            path: "*",
            query: None,
            authority: None,
        });
    }
    split_absolute(method, target)
}

/// "A server MUST accept the absolute-form in requests even though most HTTP/1.1 clients will only
/// send the absolute-form to a proxy."
fn split_absolute<'b>(method: &str, target: &'b str) -> Result<Target<'b>, Refusal> {
    let (scheme, rest) = target.split_once("://").ok_or(Refusal::HeadMalformed)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Refusal::HeadMalformed);
    }
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(authority_end);
    let authority = parse_authority(authority.as_bytes()).ok_or(Refusal::HeadMalformed)?;
    let (path, query) = match rest.as_bytes().first() {
        Some(b'/') => split_path(target, rest)?,
        // RFC 9112, section 3.2.4: "If a proxy receives an OPTIONS request with an absolute-form
        // of request-target in which the URI has an empty path and no query component, then the
        // last proxy on the request chain MUST send a request-target of "*"".
        None if method == "OPTIONS" => ("*", None),
        None => ("/", None),
        // Section 3.2.1: "If the target URI's path component is empty, the client MUST send "/"
        // as the path within the origin-form of request-target."
        Some(_) => ("/", split_path(target, rest)?.1),
    };
    Ok(Target {
        path,
        query,
        authority: Some(authority),
    })
}

/// Splits `rest`, the end of `target`, at its query. The path is checked unless it is empty.
fn split_path<'b>(target: &str, rest: &'b str) -> Result<(&'b str, Option<&'b str>), Refusal> {
    let scanned = Scanned::of(rest.as_bytes());
    let (path, query) = rest.split_at(scanned.path_bytes);
    let path_safe = path.is_empty() || scanned.check(path.as_bytes()).is_ok();
    if path_safe && octets::all(query.as_bytes(), octets::TARGET) {
        return Ok((path, query.strip_prefix('?')));
    }
    Err(name_fault(target))
}

/// RFC 3986, section 2: a URI is made of ASCII; and RFC 9110, section 7.1: "the target URI
/// excludes the reference's fragment component". Without either, the path is at fault.
#[cold]
fn name_fault(target: &str) -> Refusal {
    match octets::all(target.as_bytes(), octets::TARGET) {
        true => Refusal::PathUnsafe,
        false => Refusal::HeadMalformed,
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
    let host_bytes = match authority.first()? {
        b'[' => ipv6_bytes(authority)?,
        _ => authority
            .iter()
            .position(|octet| !octets::is(*octet, octets::HOST))
            .unwrap_or(authority.len()),
    };
    let port = &authority[host_bytes..];
    if host_bytes == 0 || host_bytes > HOST_BYTES_MAX || !is_port(port) {
        return None;
    }
    let whole = str::from_utf8(authority).ok()?;
    Some(Authority {
        host: &whole[..host_bytes],
        whole,
    })
}

/// The length of a bracketed IPv6 address at the start of `authority`.
fn ipv6_bytes(authority: &[u8]) -> Option<usize> {
    let end = authority.iter().position(|octet| *octet == b']')?;
    let address = str::from_utf8(&authority[1..end]).ok()?;
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

    type Parts = (String, Option<String>, Option<String>);

    fn parts(method: &str, target: &str) -> Result<Parts, Refusal> {
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
            assert_eq!(parts(method, target), Ok(expected), "{method} {target}");
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
            assert_eq!(
                parts(method, target),
                Err(Refusal::HeadMalformed),
                "{method} {target}"
            );
        }
    }

    #[test]
    fn an_unsafe_path_is_told_from_a_malformed_target() {
        for (target, expected) in [
            ("//a", Refusal::PathUnsafe),
            ("/a/..", Refusal::PathUnsafe),
            ("/a|b", Refusal::PathUnsafe),
            ("http://h//a", Refusal::PathUnsafe),
            ("http://h/a/../b?c", Refusal::PathUnsafe),
            ("//a#b", Refusal::HeadMalformed),
            ("/a/..?\u{e9}", Refusal::HeadMalformed),
            ("/a?#", Refusal::HeadMalformed),
            ("http://h?#", Refusal::HeadMalformed),
        ] {
            assert_eq!(parts("GET", target), Err(expected), "{target}");
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
