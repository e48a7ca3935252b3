//! The verdict on a request line, whole or still coming in.
//!
//! Used where a head is not whole yet, and to name the fault once httparse has refused a head: it
//! knows neither limits nor the difference between an unknown version and no version at all. The
//! line is judged octet by octet from its start, so that the first fault decides, and a line which
//! arrives in pieces gets the answer of one that arrives at once.

use crate::parse::{HeadLimits, octets};
use crate::refusal::Refusal;

/// Longest method that is served. The longest registered one has 17 letters.
pub(super) const METHOD_BYTES_MAX: usize = 32;

/// Checks as much of a request line as `line` holds; what stands behind the line is ignored.
///
/// Binary noise, say a TLS handshake sent to the wrong port, fails on its first octet instead of
/// waiting for a line end that never comes.
pub(super) fn check(line: &[u8], limits: &HeadLimits) -> Result<(), Refusal> {
    let Some(rest) = method(line)? else {
        return Ok(());
    };
    let Some(rest) = target(rest, limits.target_bytes_max)? else {
        return Ok(());
    };
    version(rest)
}

/// Longest part of a path that a glimpse shows.
const GLIMPSE_BYTES_MAX: usize = 1_024;

/// The method and the path of a head that cannot be read, as far as they can: for the log, where
/// whoever wrote the client looks for its request. Decides nothing.
pub fn glimpse(head: &[u8]) -> Option<(&str, &str)> {
    let rest = method(head).ok().flatten()?;
    let name = &head[..head.len() - rest.len() - 1];
    let reach = &rest[..rest.len().min(GLIMPSE_BYTES_MAX)];
    let ends = |octet: &u8| *octet == b'?' || !octets::is(*octet, octets::TARGET);
    let end = reach.iter().position(ends).unwrap_or(reach.len());
    let path = &reach[..end];
    let path = if path.first() == Some(&b'/') {
        path
    } else {
        &[]
    };
    Some((
        std::str::from_utf8(name).ok()?,
        std::str::from_utf8(path).ok()?,
    ))
}

/// Checks the method; what stands behind its space, if it is whole.
fn method(line: &[u8]) -> Result<Option<&[u8]>, Refusal> {
    let reach = &line[..line.len().min(METHOD_BYTES_MAX + 1)];
    match reach
        .iter()
        .position(|octet| !octets::is(*octet, octets::TOKEN))
    {
        Some(end) if end > 0 && reach[end] == b' ' => Ok(Some(&line[end + 1..])),
        Some(_) => Err(Refusal::HeadMalformed),
        // RFC 9112, section 3: "A server that receives a method longer than any that it implements
        // SHOULD respond with a 501 (Not Implemented) status code."
        None if reach.len() > METHOD_BYTES_MAX => Err(Refusal::MethodUnsupported),
        None => Ok(None),
    }
}

/// Checks the target; what stands behind its space, if it is whole.
fn target(rest: &[u8], bytes_max: usize) -> Result<Option<&[u8]>, Refusal> {
    let reach = &rest[..rest.len().min(bytes_max.saturating_add(1))];
    // A long target that drips in is searched anew with every drop; the search is vectorized, and
    // only the octets up to the space are then looked at one by one, without branches.
    let (text, whole) = match memchr::memchr(b' ', reach) {
        Some(space) => (&reach[..space], true),
        None => (reach, false),
    };
    let foreign = text.iter().fold(false, |seen, octet| {
        seen | !octets::is(*octet, octets::TARGET)
    });
    if foreign || (whole && text.is_empty()) {
        return Err(Refusal::HeadMalformed);
    }
    // "A server that receives a request-target longer than any URI it wishes to parse MUST respond
    // with a 414 (URI Too Long) status code".
    if text.len() > bytes_max {
        return Err(Refusal::TargetTooLong);
    }
    Ok(whole.then(|| &rest[text.len() + 1..]))
}

/// Checks the version and the line's end.
fn version(rest: &[u8]) -> Result<(), Refusal> {
    for (place, octet) in rest.iter().take(b"HTTP/1.1\r\n".len()).enumerate() {
        let fits = match place {
            // RFC 9112, section 2.3: "HTTP-version is case-sensitive."
            0..5 => *octet == b"HTTP/"[place],
            5 | 7 if !octet.is_ascii_digit() => false,
            // "A server can send a 505 (HTTP Version Not Supported) response if it wishes, for any
            // reason, to refuse service of the client's major protocol version."
            5 if *octet != b'1' => return Err(Refusal::VersionUnsupported),
            7 if *octet > b'1' => return Err(Refusal::VersionUnsupported),
            6 => *octet == b'.',
            8 => *octet == b'\r',
            9 => *octet == b'\n',
            _ => true,
        };
        if !fits {
            return Err(Refusal::HeadMalformed);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        head_bytes_max: 1024,
        target_bytes_max: 10,
        headers_max: 8,
    };

    fn verdict(line: &str) -> Result<(), Refusal> {
        check(line.as_bytes(), &LIMITS)
    }

    #[test]
    fn every_start_of_a_good_line_passes() {
        for line in [
            "GET / HTTP/1.1\r\n",
            "M-SEARCH * HTTP/1.0\r\n",
            "GET /23456789a HTTP/1.1\r\n",
            "ABCDEFGHIJABCDEFGHIJABCDEFGHIJAB / HTTP/1.1\r\n",
        ] {
            for end in 0..=line.len() {
                assert_eq!(verdict(&line[..end]), Ok(()), "{:?}", &line[..end]);
            }
        }
    }

    #[test]
    fn the_first_fault_of_a_line_decides() {
        for (line, expected) in [
            (" ", Refusal::HeadMalformed),
            (" GET", Refusal::HeadMalformed),
            ("G\u{16}", Refusal::HeadMalformed),
            ("GET\t/ HTTP/1.1", Refusal::HeadMalformed),
            ("GET\r\n", Refusal::HeadMalformed),
            ("GET  ", Refusal::HeadMalformed),
            ("GET \t", Refusal::HeadMalformed),
            ("GET /\r\n", Refusal::HeadMalformed),
            ("GET /\u{e9}", Refusal::HeadMalformed),
            ("GET /#a", Refusal::HeadMalformed),
            ("GET /\u{7f}", Refusal::HeadMalformed),
            ("GET / HTTP/1.1 ", Refusal::HeadMalformed),
            ("GET / HTTP/1.1\n", Refusal::HeadMalformed),
            ("GET / HTTP/1.1\r\r", Refusal::HeadMalformed),
            ("GET / http", Refusal::HeadMalformed),
            ("GET / HTTP/1,", Refusal::HeadMalformed),
            ("GET / HTTP/x", Refusal::HeadMalformed),
            ("GET / HTTP/1.x", Refusal::HeadMalformed),
            ("GET / FTP/1.1\r\n", Refusal::HeadMalformed),
            ("PRI * HTTP/2.0\r\n\r\nSM", Refusal::VersionUnsupported),
            ("GET / HTTP/1.2", Refusal::VersionUnsupported),
            ("GET / HTTP/0.9", Refusal::VersionUnsupported),
            ("GET / HTTP/3", Refusal::VersionUnsupported),
            ("GET /23456789ab", Refusal::TargetTooLong),
            ("GET /23456789ab\u{1}", Refusal::TargetTooLong),
            ("GET /23456789ab HTTP/9", Refusal::TargetTooLong),
            ("GET /23456789\u{1}", Refusal::HeadMalformed),
            ("GET /2345678\u{1}b ", Refusal::HeadMalformed),
            (
                "ABCDEFGHIJABCDEFGHIJABCDEFGHIJABC",
                Refusal::MethodUnsupported,
            ),
        ] {
            assert_eq!(verdict(line), Err(expected), "{line:?}");
        }
    }

    #[test]
    fn a_glimpse_shows_no_more_than_a_method_and_a_path() {
        for (head, expected) in [
            (
                "GET /orders/1?key=secret HTTP/1.1\r\nBad header\r\n",
                Some(("GET", "/orders/1")),
            ),
            ("GET /orders/1", Some(("GET", "/orders/1"))),
            ("GET /a\u{1}b HTTP/1.1", Some(("GET", "/a"))),
            ("GET http://u:p@host/a HTTP/1.1", Some(("GET", ""))),
            ("GET ", Some(("GET", ""))),
            ("GET", None),
            ("\u{16}\u{3}\u{1}", None),
            ("", None),
        ] {
            assert_eq!(glimpse(head.as_bytes()), expected, "{head:?}");
        }
        let long = format!("PUT /{} HTTP/1.1", "a".repeat(5_000));
        assert_eq!(
            glimpse(long.as_bytes()).map(|(_, path)| path.len()),
            Some(1_024)
        );
    }

    #[test]
    fn more_octets_never_change_a_refusal() {
        for line in [
            "GET /23456789ab HTTP/1.1\r\n",
            "GET /2345#789ab HTTP/1.1\r\n",
            "GET /23456789\u{1}b HTTP/1.1\r\n",
            "GET /23456789a\u{1} HTTP/1.1\r\n",
            "GET /23456789ab\u{1} HTTP/1.1\r\n",
            "GET / HTTP/2.x\r\n",
            "GET  / HTTP/1.1\r\n",
        ] {
            let whole = verdict(line);
            assert!(whole.is_err(), "{line:?}");
            let first = (0..=line.len())
                .map(|end| verdict(&line[..end]))
                .find(Result::is_err);
            assert_eq!(first, Some(whole), "{line:?}");
        }
    }
}
