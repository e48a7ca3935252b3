//! Paths that every server reads the same way.
//!
//! The router judges the path that is forwarded, as it is. If an upstream then resolved `..`,
//! decoded a slash or merged two of them, it would serve another path than the one that was
//! judged. So a path with more than one reading is refused, not repaired. That holds for what it
//! reads after further decodings too: `%252e%252e` is a plain name here and `..` behind a server
//! that decodes twice, and such servers are why people write it.
//!
//! Escapes of plain characters (`/%6frders` for `/orders`) have one reading, and the router knows
//! it: see [`matcher`](super::matcher). What an upstream makes of `;` and of letter case is its
//! own: if it ignores either, its routes must be written accordingly.

use std::str;

use crate::parse::octets::{self, hex_value, is};

/// The path could be read differently by an upstream than by the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path has segments that could be misread")]
pub struct PathUnsafe;

const SLASH: u8 = 1;
const DOUBLE_SLASH: u8 = SLASH << 1;
const DOT: u8 = 1 << 2;
const ESCAPE: u8 = 1 << 3;
const FOREIGN: u8 = 1 << 4;
const QUERY: u8 = 1 << 5;

/// What needs a closer look, by octet.
const MARKS: [u8; 256] = {
    let mut marks = [0; 256];
    let mut octet: u8 = 0;
    loop {
        marks[octet as usize] = match octet {
            b'/' => SLASH,
            b'.' => DOT,
            b'%' => ESCAPE,
            b'?' => QUERY,
            _ if is(octet, octets::PATH) => 0,
            _ => FOREIGN,
        };
        if octet == u8::MAX {
            break marks;
        }
        octet += 1;
    }
};

/// Checks a percent-encoded path: it is absolute, made of RFC 3986 path characters, has no empty
/// segment but the last one, no dot segment in any spelling, no escaped separator, control
/// character or incomplete escape, and its escapes are UTF-8.
pub fn check_path(path: &str) -> Result<(), PathUnsafe> {
    let scanned = Scanned::of(path.as_bytes());
    if scanned.path_bytes != path.len() {
        return Err(PathUnsafe);
    }
    scanned.check(path.as_bytes())
}

/// One pass over a path, which may have a query behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scanned {
    /// Bytes before the query, or all.
    pub path_bytes: usize,
    seen: u8,
}

impl Scanned {
    /// Scans up to the first `?`.
    pub fn of(target: &[u8]) -> Self {
        let mut seen = 0;
        let mut previous = 0;
        for (place, octet) in target.iter().enumerate() {
            let mark = MARKS[usize::from(*octet)];
            if mark == QUERY {
                return Self {
                    path_bytes: place,
                    seen,
                };
            }
            seen |= mark | (mark & previous & SLASH) << 1;
            previous = mark;
        }
        Self {
            path_bytes: target.len(),
            seen,
        }
    }

    /// What [`check_path`] checks, given the path that was scanned.
    #[inline]
    pub fn check(self, path: &[u8]) -> Result<(), PathUnsafe> {
        if self.seen & (FOREIGN | DOUBLE_SLASH) != 0 || path.first() != Some(&b'/') {
            return Err(PathUnsafe);
        }
        if self.seen & (ESCAPE | DOT) != 0 {
            return check_closer(path, self.seen);
        }
        Ok(())
    }
}

/// Checks a path that has escapes or dots.
fn check_closer(path: &[u8], seen: u8) -> Result<(), PathUnsafe> {
    if seen & ESCAPE != 0 {
        check_escapes(path)?;
    }
    if path.split(|octet| *octet == b'/').any(is_dots) {
        return Err(PathUnsafe);
    }
    Ok(())
}

/// Checks every escape on its own, and those beyond ASCII as the characters they spell.
fn check_escapes(whole: &[u8]) -> Result<(), PathUnsafe> {
    let mut path = whole;
    let mut is_nested = false;
    while let Some(place) = memchr::memchr(b'%', path) {
        path = &path[place..];
        let first = escape(path).ok_or(PathUnsafe)?;
        let octets = match first {
            // A separator or a string's end to the upstream, but not to the router.
            b'/' | b'\\' | 0..=0x1f | 0x7f => return Err(PathUnsafe),
            b'%' => {
                is_nested = true;
                1
            }
            0x20..=0x7e => 1,
            0x80.. => character_octets(path, first)?,
        };
        path = &path[3 * octets..];
    }
    if is_nested {
        return check_readings(whole);
    }
    Ok(())
}

/// How often a path may be decoded until no escape is left; nobody writes more for a good reason.
const READINGS_MAX: usize = 4;

/// Checks what a path with an escaped `%` reads when it is decoded again and again. Nobody has to
/// write escapes there, so what is no escape is only text: `/100%25` passes.
fn check_readings(path: &[u8]) -> Result<(), PathUnsafe> {
    let mut reading = path.to_vec();
    for _ in 0..READINGS_MAX {
        reading = decoded(&reading);
        if reading.split(|octet| *octet == b'/').any(is_dots) {
            return Err(PathUnsafe);
        }
        let mut goes_on = false;
        for place in memchr::memchr_iter(b'%', &reading) {
            match escape(&reading[place..]) {
                // Overlong forms of the separators begin with the last two.
                Some(b'/' | b'\\' | 0..=0x1f | 0x7f | 0xc0 | 0xc1) => return Err(PathUnsafe),
                // Whatever it stands for may make an escape of what is around it.
                Some(_) => goes_on = true,
                None => {}
            }
        }
        if !goes_on {
            return Ok(());
        }
    }
    Err(PathUnsafe)
}

/// `text` with each escape replaced by what it stands for; what is none stays.
fn decoded(mut text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    while let Some((octet, rest)) = first_octet(text) {
        plain.push(octet);
        text = rest;
    }
    plain
}

/// How many escapes at the start of `path` spell one character beyond ASCII.
///
/// Overlong forms are refused with all else that is not UTF-8: `%c0%af` is a slash to decoders
/// that do not check.
fn character_octets(path: &[u8], first: u8) -> Result<usize, PathUnsafe> {
    let octets = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Err(PathUnsafe),
    };
    let mut spelled = [0; 4];
    for (place, octet) in spelled.iter_mut().take(octets).enumerate() {
        *octet = path.get(3 * place..).and_then(escape).ok_or(PathUnsafe)?;
    }
    str::from_utf8(&spelled[..octets]).map_err(|_| PathUnsafe)?;
    Ok(octets)
}

/// The octet that an escape at the start of `text` stands for.
///
/// RFC 3986, section 2.1: `pct-encoded = "%" HEXDIG HEXDIG`.
pub(super) fn escape(text: &[u8]) -> Option<u8> {
    match text {
        [b'%', high, low, ..] => Some(hex_value(*high)? << 4 | hex_value(*low)?),
        _ => None,
    }
}

/// The first octet that `segment` stands for, and what follows it. Its escapes were checked.
pub(super) fn first_octet(segment: &[u8]) -> Option<(u8, &[u8])> {
    match escape(segment) {
        Some(octet) => Some((octet, &segment[3..])),
        None => segment.split_first().map(|(octet, rest)| (*octet, rest)),
    }
}

/// True for `.` and `..` in any spelling.
///
/// RFC 3986, section 6.2.2.2, has `%2e` mean `.`. Some application servers strip what follows a
/// `;` from a segment before they resolve it, so `..;` is `..` to them.
fn is_dots(mut segment: &[u8]) -> bool {
    let mut dots = 0;
    loop {
        match first_octet(segment) {
            Some((b'.', rest)) if dots < 2 => {
                dots += 1;
                segment = rest;
            }
            None | Some((b';', _)) => return dots > 0,
            Some(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_one_reading_pass() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a/b/c.json",
            "/v1.2/.well-known/x",
            "/a/...",
            "/a/..b/b..",
            "/a/b;c=d",
            "/things:purge",
            "/a@b/!$&'()*+,=:~_-",
            "/a%20b",
            "/%6frders",
            "/100%25",
            "/100%25/%25",
            "/%2541",
            "/a%253ab%25252Bc",
            "/%252ehidden",
            "/caf%C3%A9",
            "/%e2%82%ac/%f0%9f%92%b6",
            "/%2ehidden",
            "/a%3fb%23c",
        ] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn paths_with_two_readings_are_refused() {
        for path in [
            "",
            "a",
            "*",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/.",
            "/..",
            "/a/./b",
            "/a/../b",
            "/a/..",
            "/%2e",
            "/%2E%2e/a",
            "/.%2e/a",
            "/%2e./a",
            "/..;/a",
            "/..;x=y/a",
            "/.;/a",
            "/..%3b/a",
            "/%2e%2e%3Bx/a",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0d%0a",
            "/a%1f",
            "/a%7F",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%2g",
            "/%%20",
            "/a b",
            "/a\tb",
            "/a\0",
            "/caf\u{e9}",
            "/a?b",
            "/a#b",
            "/a|b",
            "/a[0]",
            "/{id}",
            "/a\"b",
            "/<a>",
            "/a^",
            "/a`",
        ] {
            assert_eq!(check_path(path), Err(PathUnsafe), "{path:?}");
        }
    }

    #[test]
    fn paths_with_two_readings_behind_further_decodings_are_refused() {
        for path in [
            "/%252e%252e/a",
            "/%252e",
            "/.%252e/a",
            "/%252e%252e;x/a",
            "/%25%32%65%25%32%65/a",
            "/%25252e%25252e",
            "/a%252fb",
            "/a%25%32%46b",
            "/a%255cb",
            "/a%2500",
            "/a%25250d",
            "/a%25c0%25af",
            "/a%252525252541",
            "/%252%252566",
        ] {
            assert_eq!(check_path(path), Err(PathUnsafe), "{path}");
        }
    }

    #[test]
    fn escapes_that_are_not_utf_8_are_refused() {
        for path in [
            "/%80",
            "/%c0%ae",
            "/%c0%af",
            "/%e0%80%af",
            "/%f0%80%80%af",
            "/%c3",
            "/%c3a9",
            "/%c3%",
            "/%e2%82",
            "/%e2%82a",
            "/%ed%a0%80",
            "/%f5%80%80%80",
            "/%ff",
            "/caf%e9",
        ] {
            assert_eq!(check_path(path), Err(PathUnsafe), "{path}");
        }
    }
}
