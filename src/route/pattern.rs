//! Path patterns and hosts as a catalog writes them, checked.

use crate::parse::octets::{self, is};
use crate::route::path::{check_path, first_octet};

/// Longest literal segment of a pattern, in bytes and without escapes.
pub(super) const SEGMENT_BYTES_MAX: usize = 128;
/// Most segments of a pattern; the search for a route descends as deep.
pub(super) const SEGMENTS_MAX: usize = 32;
/// Longest host name, as DNS has it.
pub(super) const HOST_BYTES_MAX: usize = 255;

/// What is wrong with a path pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternFault {
    /// It does not begin with `/`.
    #[error("a path begins with `/`")]
    NotAbsolute,
    /// It has more than 32 segments.
    #[error("a path has at most {SEGMENTS_MAX} segments")]
    TooDeep,
    /// A segment is longer than 128 bytes.
    #[error("a segment has at most {SEGMENT_BYTES_MAX} bytes")]
    SegmentTooLong,
    /// A `*` is not the whole last segment.
    #[error("`*` stands for the rest of the path: it is the whole last segment, as in `/orders/*`")]
    WildcardMisplaced,
    /// Braces do not enclose one whole segment with a name of letters, digits, `_` and `-`.
    #[error("a parameter is one whole segment, as in `/orders/{{id}}`")]
    ParameterMalformed,
    /// No request with such a path is let through.
    #[error("no request has such a path: it is refused as unsafe before it is routed")]
    Unsafe,
}

/// One segment of a path pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// Matches itself. Without escapes.
    Literal(Vec<u8>),
    /// Matches any one segment that is not empty; with its name.
    Parameter(Box<str>),
    /// Matches the rest of the path, also none.
    Rest,
}

/// Parses a path pattern.
pub(super) fn parse(pattern: &str) -> Result<Vec<Segment>, PatternFault> {
    let Some(relative) = pattern.strip_prefix('/') else {
        return Err(PatternFault::NotAbsolute);
    };
    let written: Vec<&str> = relative.split('/').collect();
    if written.len() > SEGMENTS_MAX {
        return Err(PatternFault::TooDeep);
    }
    let last = written.len() - 1;
    let mut segments = Vec::with_capacity(written.len());
    for (place, text) in written.into_iter().enumerate() {
        segments.push(match text {
            "*" if place == last => Segment::Rest,
            _ if text.contains('*') => return Err(PatternFault::WildcardMisplaced),
            _ if text.contains(['{', '}']) => parameter(text)?,
            // A path's last segment may be empty: `/orders/` is not `/orders`.
            "" if place == last => Segment::Literal(Vec::new()),
            _ => literal(text)?,
        });
    }
    Ok(segments)
}

/// Parses a version that stands as a path's first segment.
pub(super) fn version(text: &str) -> Result<Segment, PatternFault> {
    match text {
        _ if text.contains('*') => Err(PatternFault::WildcardMisplaced),
        _ if text.contains('/') => Err(PatternFault::Unsafe),
        _ => literal(text),
    }
}

fn parameter(text: &str) -> Result<Segment, PatternFault> {
    let name = text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    let named = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'_' || octet == b'-';
    match name {
        Some(name) if !name.is_empty() && name.bytes().all(named) => {
            Ok(Segment::Parameter(name.into()))
        }
        _ => Err(PatternFault::ParameterMalformed),
    }
}

fn literal(text: &str) -> Result<Segment, PatternFault> {
    if text.is_empty() || check_path(&format!("/{text}")).is_err() {
        return Err(PatternFault::Unsafe);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((octet, behind)) = first_octet(rest) {
        plain.push(octet);
        rest = behind;
    }
    if plain.len() > SEGMENT_BYTES_MAX {
        return Err(PatternFault::SegmentTooLong);
    }
    Ok(Segment::Literal(plain))
}

/// True for a host as requests are matched against: lower case, without port, without the dot
/// that may end a name.
pub(super) fn is_host(host: &str) -> bool {
    let lower = !host.bytes().any(|octet| octet.is_ascii_uppercase());
    let named = match host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && octets::all(host.as_bytes(), octets::HOST),
    };
    lower && named && !host.ends_with('.') && host.len() <= HOST_BYTES_MAX
}

/// True for a host, or for `*.` before a name: all names below it.
pub(super) fn is_host_pattern(host: &str) -> bool {
    let name = host.strip_prefix("*.").unwrap_or(host);
    is_host(name) && !(name.starts_with(['[', '.']) && name.len() < host.len())
}

/// True for a method that a route may list: a token in upper case that requests can carry.
pub(super) fn is_method(method: &str) -> bool {
    let upper = |octet: u8| is(octet, octets::TOKEN) && !octet.is_ascii_lowercase();
    !method.is_empty() && method.bytes().all(upper) && !matches!(method, "CONNECT" | "TRACE")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literals(texts: &[&str]) -> Vec<Segment> {
        texts
            .iter()
            .map(|text| Segment::Literal(text.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn patterns_are_segments() {
        assert_eq!(parse("/"), Ok(literals(&[""])));
        assert_eq!(parse("/a/b"), Ok(literals(&["a", "b"])));
        assert_eq!(parse("/a/"), Ok(literals(&["a", ""])));
        assert_eq!(parse("/a%20b/%63"), Ok(literals(&["a b", "c"])));
        assert_eq!(parse("/*"), Ok(vec![Segment::Rest]));
        assert_eq!(
            parse("/a/{id}/*"),
            Ok(vec![
                Segment::Literal(b"a".to_vec()),
                Segment::Parameter("id".into()),
                Segment::Rest
            ])
        );
    }

    #[test]
    fn bad_patterns_are_refused_with_their_fault() {
        let deep = "/a".repeat(33);
        let long = format!("/{}", "a".repeat(129));
        for (pattern, expected) in [
            ("", PatternFault::NotAbsolute),
            ("orders", PatternFault::NotAbsolute),
            ("*", PatternFault::NotAbsolute),
            (deep.as_str(), PatternFault::TooDeep),
            (long.as_str(), PatternFault::SegmentTooLong),
            ("/*/a", PatternFault::WildcardMisplaced),
            ("/a*", PatternFault::WildcardMisplaced),
            ("/**", PatternFault::WildcardMisplaced),
            ("/{*rest}", PatternFault::WildcardMisplaced),
            ("/{}", PatternFault::ParameterMalformed),
            ("/{id", PatternFault::ParameterMalformed),
            ("/id}", PatternFault::ParameterMalformed),
            ("/{id}.json", PatternFault::ParameterMalformed),
            ("/{a}{b}", PatternFault::ParameterMalformed),
            ("/{a b}", PatternFault::ParameterMalformed),
            ("//a", PatternFault::Unsafe),
            ("/a//b", PatternFault::Unsafe),
            ("/a/../b", PatternFault::Unsafe),
            ("/a%2fb", PatternFault::Unsafe),
            ("/a b", PatternFault::Unsafe),
            ("/a?b", PatternFault::Unsafe),
            ("/caf\u{e9}", PatternFault::Unsafe),
        ] {
            assert_eq!(parse(pattern), Err(expected), "{pattern}");
        }
    }

    #[test]
    fn hosts_are_lower_case_names_or_addresses_without_port() {
        for host in ["a", "api.example.com", "127.0.0.1", "[::1]", "x_y"] {
            assert!(is_host(host), "{host}");
        }
        for host in [
            "", "A", "a:80", "a.", "*", "*.a", "[::1", "[::G]", "[::A]", "a b", "a/b",
        ] {
            assert!(!is_host(host), "{host}");
        }
    }

    #[test]
    fn methods_are_upper_case_tokens() {
        for method in ["GET", "M-SEARCH", "X1"] {
            assert!(is_method(method), "{method}");
        }
        for method in ["", "get", "G T", "TRACE", "CONNECT", "*,"] {
            assert!(!is_method(method), "{method}");
        }
    }
}
