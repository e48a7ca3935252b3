//! Where a head ends, and that each of its lines ends in CRLF.
//!
//! RFC 9112, section 2.2: "Although the line terminator for the start-line and fields is the
//! sequence CRLF, a recipient MAY recognize a single LF as a line terminator and ignore any
//! preceding CR." Servers differ in whether they do, and so a head with a bare LF is one message
//! to some and another to others. httparse recognizes it; this module takes that back.

use httparse::Header;

/// The end of a head that began at the start of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadEnd {
    /// The head with its empty line is this many bytes long.
    At(usize),
    /// The window holds no empty line.
    Beyond,
    /// A line ends in a bare LF.
    BareLf,
}

/// Looks for the end of a head line by line, at the price of one vectorized search a line: far
/// less than a parse, so that a head which drips in is not parsed again with every drop.
pub(super) fn head_end(window: &[u8]) -> HeadEnd {
    let mut line_start = 0;
    for line_feed in memchr::memchr_iter(b'\n', window) {
        let Some(line) = window[line_start..line_feed].strip_suffix(b"\r") else {
            return HeadEnd::BareLf;
        };
        if line.is_empty() {
            return HeadEnd::At(line_feed + 1);
        }
        line_start = line_feed + 1;
    }
    HeadEnd::Beyond
}

/// True if every line of a parsed head ends in CRLF.
///
/// Costs two comparisons a header instead of a search: httparse has split the head at its line
/// feeds and let no other one through, and a header's name starts right behind the line feed of
/// the line above. What stands before each name, and before the empty line, decides for all lines.
pub(super) fn all_end_in_crlf(head: &[u8], headers: &[Header<'_>]) -> bool {
    let start = head.as_ptr().addr();
    head.ends_with(b"\r\n\r\n")
        && headers.iter().all(|header| {
            let line_start = header.name.as_ptr().addr().wrapping_sub(start);
            let above = line_start
                .checked_sub(2)
                .and_then(|end| head.get(end..line_start));
            above == Some(b"\r\n")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_behind_its_first_empty_line() {
        for (window, expected) in [
            ("", HeadEnd::Beyond),
            ("GET / HTTP/1.1", HeadEnd::Beyond),
            ("GET / HTTP/1.1\r", HeadEnd::Beyond),
            ("GET / HTTP/1.1\r\n", HeadEnd::Beyond),
            ("GET / HTTP/1.1\r\nA: b\r\n\r", HeadEnd::Beyond),
            ("GET / HTTP/1.1\r\nA: b\r\n\r\n", HeadEnd::At(24)),
            (
                "GET / HTTP/1.1\r\nA: b\r\n\r\nbody\r\n\r\n",
                HeadEnd::At(24),
            ),
            ("GET / HTTP/1.1\r\nA: b\r\n\r\nbody\n\n", HeadEnd::At(24)),
        ] {
            assert_eq!(head_end(window.as_bytes()), expected, "{window:?}");
        }
    }

    #[test]
    fn a_bare_line_feed_is_found_wherever_it_stands() {
        for window in [
            "\n",
            "GET / HTTP/1.1\n",
            "a\r\nb\n",
            "a\r\n\n",
            "a\nb\r\n\r\n",
            "a\r\r\n\n",
        ] {
            assert_eq!(head_end(window.as_bytes()), HeadEnd::BareLf, "{window:?}");
        }
    }

    #[test]
    fn a_parsed_head_with_a_bare_line_feed_is_told_from_one_without() {
        fn crlf(head: &str) -> bool {
            let mut slots = [httparse::EMPTY_HEADER; 4];
            let mut request = httparse::Request::new(&mut slots);
            let parsed = request.parse(head.as_bytes()).unwrap();
            assert_eq!(parsed, httparse::Status::Complete(head.len()), "{head:?}");
            all_end_in_crlf(head.as_bytes(), request.headers)
        }
        assert!(crlf("GET / HTTP/1.1\r\n\r\n"));
        assert!(crlf("GET / HTTP/1.1\r\nA: b\r\nC:\r\n\r\n"));
        for head in [
            "GET / HTTP/1.1\n\r\n",
            "GET / HTTP/1.1\r\n\n",
            "GET / HTTP/1.1\n\n",
            "GET / HTTP/1.1\nA: b\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n",
            "GET / HTTP/1.1\r\nA: \nC: d\r\n\r\n",
            "GET / HTTP/1.1\r\nA:\nC: d\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\nC: d\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\nC: d\r\n\n",
        ] {
            assert!(!crlf(head), "{head:?}");
        }
    }
}
