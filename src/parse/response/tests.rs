//! What is read from a response head, and what an upstream may not say.

use super::*;

const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 1024,
    target_bytes_max: 0,
    headers_max: 8,
};

fn parse<T>(
    bytes: &[u8],
    request_was_head: bool,
    read: impl FnOnce(ResponseHead<'_, '_>, usize) -> T,
) -> Result<Option<T>, ResponseError> {
    let mut slots = [const { MaybeUninit::uninit() }; 16];
    Ok(
        match parse_response(bytes, &mut slots, &LIMITS, request_was_head)? {
            Status::Partial => None,
            Status::Complete((head, head_bytes)) => Some(read(head, head_bytes)),
        },
    )
}

fn error(text: &str) -> Option<ResponseError> {
    parse(text.as_bytes(), false, |_, _| ()).err()
}

/// Where the body ends and whether the connection may be used again.
fn fate(text: &str) -> (BodyFraming, bool) {
    let parsed = parse(text.as_bytes(), false, |head, head_bytes| {
        assert_eq!(head_bytes, text.len());
        (head.framing, head.keep_alive)
    });
    parsed
        .unwrap_or_else(|error| panic!("{error}: {text:?}"))
        .expect("a whole head")
}

#[test]
fn a_head_is_read_from_its_bytes() {
    let text = "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nX-Note: caf\u{e9}\r\n\r\n";
    let read = parse(
        format!("{text}hello").as_bytes(),
        false,
        |head, head_bytes| {
            assert_eq!(
                (head.status, head.reason, head.version),
                (404, "Not Found", Version::H11)
            );
            assert_eq!(head.framing, BodyFraming::Length(5));
            assert_eq!(head.headers[1].value, "caf\u{e9}".as_bytes());
            assert!(head.keep_alive && !head.names_hop_headers);
            head_bytes
        },
    );
    assert_eq!(read, Ok(Some(text.len())));
}

#[test]
fn every_start_of_a_head_is_partial() {
    let text = "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n";
    for end in 0..text.len() {
        assert_eq!(
            parse(&text.as_bytes()[..end], false, |_, _| ()),
            Ok(None),
            "{:?}",
            &text[..end]
        );
    }
    assert_eq!(fate(text), (BodyFraming::Length(5), false));
}

#[test]
fn a_reason_may_be_missing_or_not_ascii() {
    for line in ["HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.1 200 \u{e9}"] {
        let text = format!("{line}\r\n\r\n");
        let reason = parse(text.as_bytes(), false, |head, _| head.reason.to_owned());
        assert_eq!(reason, Ok(Some(String::new())), "{line}");
    }
}

#[test]
fn a_body_ends_as_the_head_declares() {
    for (text, expected) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            (BodyFraming::Length(5), true),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            (BodyFraming::Chunked, true),
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", (BodyFraming::UntilClose, false)),
        (
            "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n",
            (BodyFraming::UntilClose, false),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
            (BodyFraming::Length(5), false),
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
            (BodyFraming::Length(5), false),
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
            (BodyFraming::Length(5), true),
        ),
        ("HTTP/1.1 100 Continue\r\n\r\n", (BodyFraming::Empty, true)),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            (BodyFraming::Empty, true),
        ),
        (
            "HTTP/1.1 204 No Content\r\n\r\n",
            (BodyFraming::Empty, true),
        ),
        (
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
            (BodyFraming::Empty, false),
        ),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            (BodyFraming::Empty, true),
        ),
    ] {
        assert_eq!(fate(text), expected, "{text:?}");
    }
}

#[test]
fn an_answer_to_head_has_no_body() {
    for lines in [
        "",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        let text = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
        let framing = parse(text.as_bytes(), true, |head, _| {
            (head.framing, head.keep_alive)
        });
        assert_eq!(framing, Ok(Some((BodyFraming::Empty, true))), "{lines:?}");
    }
}

#[test]
fn ambiguous_framing_is_refused() {
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length:",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ] {
        for (status, to_head) in [(200, false), (204, false), (304, false), (200, true)] {
            let text = format!("HTTP/1.1 {status} X\r\n{lines}\r\n\r\n");
            let answer = parse(text.as_bytes(), to_head, |_, _| ());
            assert_eq!(answer, Err(ResponseError::FramingInvalid), "{text:?}");
        }
    }
    let old = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(error(old), Some(ResponseError::FramingInvalid));
}

#[test]
fn a_malformed_head_is_refused() {
    for text in [
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "\nHTTP/1.1 200 OK\r\n\r\n",
        " HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\n\n",
        "HTTP/1.1 200 OK\n\r\n",
        "HTTP/1.1 200\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n",
        "HTTP/1.1 200 OK\0\r\n\r\n",
        "HTTP/1.1 200 O\rK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: a b\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 +20 OK\r\n\r\n",
        "HTTP/1.1 200OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
    ] {
        assert_eq!(error(text), Some(ResponseError::HeadMalformed), "{text:?}");
    }
}

#[test]
fn what_is_no_response_is_refused_at_once() {
    for text in [
        "\u{15}\u{3}\u{3}",
        "\r",
        "SSH-2.0",
        "HTTP/2",
        "HTTPS",
        "<html>",
        "0\r\n\r\n",
        "HTTP/1.1 200 OK\n",
    ] {
        assert_eq!(error(text), Some(ResponseError::HeadMalformed), "{text:?}");
    }
}

#[test]
fn a_status_is_within_its_range() {
    for (status, expected) in [
        ("099", Some(ResponseError::StatusInvalid)),
        ("000", Some(ResponseError::StatusInvalid)),
        ("100", None),
        ("599", None),
        ("600", Some(ResponseError::StatusInvalid)),
        ("999", Some(ResponseError::StatusInvalid)),
    ] {
        assert_eq!(
            error(&format!("HTTP/1.1 {status} X\r\n\r\n")),
            expected,
            "{status}"
        );
    }
}

#[test]
fn heads_and_headers_are_limited() {
    let of = |bytes: usize| {
        let text = "HTTP/1.1 200 OK\r\nX: \r\n\r\n";
        text.replace("X: ", &format!("X: {}", "x".repeat(bytes - text.len())))
    };
    assert_eq!(error(&of(1024)), None);
    assert_eq!(error(&of(1025)), Some(ResponseError::HeadTooLarge));
    assert_eq!(error(&of(1025)[..1024]), Some(ResponseError::HeadTooLarge));
    let lines = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert_eq!(error(&lines(8)), None);
    assert_eq!(error(&lines(9)), Some(ResponseError::TooManyHeaders));
}

#[test]
fn no_value_shows_in_the_debug_form() {
    let text = "HTTP/1.1 200 OK\r\nSet-Cookie: SECRET\r\n\r\n";
    let shown = parse(text.as_bytes(), false, |head, _| format!("{head:?}"))
        .unwrap()
        .unwrap();
    assert!(
        !shown.contains("SECRET") && shown.contains("Set-Cookie"),
        "{shown}"
    );
}
