//! What is read from a request head, when it is partial, and how its limits answer.

use super::*;

const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 1024,
    target_bytes_max: 64,
    headers_max: 8,
};

/// Parses and hands the head on; `None` while it is partial.
fn parse<T>(
    bytes: &[u8],
    read: impl FnOnce(RequestHead<'_, '_>, usize) -> T,
) -> Result<Option<T>, Refusal> {
    let mut slots = [const { MaybeUninit::uninit() }; 16];
    Ok(match parse_request(bytes, &mut slots, &LIMITS)? {
        Status::Partial => None,
        Status::Complete((head, head_bytes)) => Some(read(head, head_bytes)),
    })
}

/// Reads something from a head that must be whole.
fn whole<T>(text: &str, read: impl FnOnce(RequestHead<'_, '_>) -> T) -> T {
    let parsed = parse(text.as_bytes(), |head, head_bytes| {
        assert_eq!(head_bytes, text.len());
        read(head)
    });
    parsed
        .unwrap_or_else(|refusal| panic!("{refusal:?}: {text:?}"))
        .expect("a whole head")
}

fn refusal(text: &str) -> Option<Refusal> {
    parse(text.as_bytes(), |_, _| ()).err()
}

fn is_partial(text: &str) -> bool {
    parse(text.as_bytes(), |_, _| ()) == Ok(None)
}

#[test]
fn a_head_is_read_from_its_bytes() {
    let text = "POST /orders/5?full=1 HTTP/1.1\r\nHost: Api.Example.com:8080\r\n\
                Content-Length: 12\r\nX-Note:  caf\u{e9} \t\r\nX-Empty:\r\n\r\n";
    whole(text, |head| {
        assert_eq!(head.method, "POST");
        assert_eq!(head.target, "/orders/5?full=1");
        assert_eq!((head.path, head.query), ("/orders/5", Some("full=1")));
        assert_eq!(head.version, Version::H11);
        assert_eq!(
            (head.host, head.authority),
            ("Api.Example.com", "Api.Example.com:8080")
        );
        assert_eq!(head.framing, BodyFraming::Length(12));
        assert_eq!(head.headers.len(), 4);
        assert_eq!(
            head.values("x-note").collect::<Vec<_>>(),
            ["caf\u{e9}".as_bytes()]
        );
        assert_eq!(head.values("x-empty").collect::<Vec<_>>(), [b""]);
        assert!(head.keep_alive && !head.expect_continue && head.upgrade.is_none());
    });
}

#[test]
fn what_follows_the_head_is_left_alone() {
    let head = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    for tail in ["", "body", "\r\n\r\n", "\n\n", head, "\0"] {
        let bytes = [head, tail].concat();
        assert_eq!(
            parse(bytes.as_bytes(), |_, head_bytes| head_bytes),
            Ok(Some(head.len())),
            "{tail:?}"
        );
    }
}

#[test]
fn every_start_of_a_head_is_partial() {
    let text = "\r\nPUT http://h:1/a HTTP/1.1\r\nHost: h:1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for end in 0..text.len() {
        assert!(is_partial(&text[..end]), "{:?}", &text[..end]);
    }
    whole(text, |head| assert_eq!(head.framing, BodyFraming::Chunked));
}

#[test]
fn one_empty_line_before_the_request_line_is_ignored() {
    whole("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", |head| {
        assert_eq!(head.method, "GET")
    });
    for before in ["\n", "\r\r\n", "\r\n\r\n", "\r\n\n", "\r\nG\n", " ", "\r "] {
        let text = format!("{before}GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(refusal(&text), Some(Refusal::HeadMalformed), "{before:?}");
    }
}

#[test]
fn noise_is_refused_at_once_and_not_waited_for() {
    for noise in [
        "\u{16}\u{3}\u{1}\u{2}", // TLS ClientHello
        "\0",
        "\u{5}\u{1}", // SOCKS 5
        "{\"jsonrpc\"",
        "GET /\n",
        "GET / HTTP/1.1\n",
        "GET / HTTP/1.1\r\nHost: h\n",
        "HTTP/1.1 200 OK",
        "\u{1b}[A",
    ] {
        assert_eq!(refusal(noise), Some(Refusal::HeadMalformed), "{noise:?}");
    }
    assert_eq!(
        refusal("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        Some(Refusal::VersionUnsupported)
    );
    assert_eq!(refusal("PRI * HTTP/2"), Some(Refusal::VersionUnsupported));
}

#[test]
fn a_head_may_be_as_long_as_its_limit_and_no_longer() {
    let head_of = |bytes: usize| {
        let text = "GET / HTTP/1.1\r\nHost: h\r\nX: \r\n\r\n";
        text.replace("X: ", &format!("X: {}", "x".repeat(bytes - text.len())))
    };
    whole(&head_of(1024), |head| assert_eq!(head.headers.len(), 2));
    let too_long = head_of(1025);
    assert_eq!(refusal(&too_long), Some(Refusal::HeadTooLarge));
    assert_eq!(
        refusal(&(too_long.clone() + "body")),
        Some(Refusal::HeadTooLarge)
    );
    assert!(is_partial(&too_long[..1023]));
    assert_eq!(refusal(&too_long[..1024]), Some(Refusal::HeadTooLarge));
    // A long body is none of the head's business.
    let with_body = head_of(1000) + &"b".repeat(5000);
    assert_eq!(
        parse(with_body.as_bytes(), |_, head_bytes| head_bytes),
        Ok(Some(1000))
    );
}

#[test]
fn a_target_may_be_as_long_as_its_limit_and_no_longer() {
    let target = "/".to_owned() + &"a".repeat(63);
    whole(
        &format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"),
        |head| assert_eq!(head.path, target),
    );
    assert!(is_partial(&format!("GET {target}")));
    for tail in ["b", "b HTTP/1.1\r\nHost: h\r\n\r\n", "b HTTP/1.1\nbad"] {
        assert_eq!(
            refusal(&format!("GET {target}{tail}")),
            Some(Refusal::TargetTooLong),
            "{tail:?}"
        );
    }
}

#[test]
fn headers_are_counted() {
    let head_of = |count: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: h\r\n{}\r\n",
            "A: b\r\n".repeat(count - 1)
        )
    };
    whole(&head_of(8), |head| assert_eq!(head.headers.len(), 8));
    assert_eq!(refusal(&head_of(9)), Some(Refusal::TooManyHeaders));
    // A bare line feed would have been refused before the last of them came.
    let bare = head_of(9).replacen("A: b\r\n", "A: b\n", 1);
    assert_eq!(refusal(&bare), Some(Refusal::HeadMalformed));
    // The slots may be fewer than the limit allows.
    let text = head_of(3);
    let mut slots = [const { MaybeUninit::uninit() }; 2];
    let few = parse_request(text.as_bytes(), &mut slots, &LIMITS).err();
    assert_eq!(few, Some(Refusal::TooManyHeaders));
}

#[test]
fn a_method_that_cannot_be_forwarded_is_refused() {
    for (method, expected) in [
        ("CONNECT", Some(Refusal::MethodUnsupported)),
        ("TRACE", Some(Refusal::MethodUnsupported)),
        (
            "ABCDEFGHIJABCDEFGHIJABCDEFGHIJABC",
            Some(Refusal::MethodUnsupported),
        ),
        ("ABCDEFGHIJABCDEFGHIJABCDEFGHIJAB", None),
        ("PROPFIND", None),
        ("get", None),
        ("M-SEARCH", None),
        ("G(T", Some(Refusal::HeadMalformed)),
    ] {
        assert_eq!(
            refusal(&format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n")),
            expected,
            "{method}"
        );
    }
    let connect = "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n";
    assert_eq!(refusal(connect), Some(Refusal::MethodUnsupported));
}

#[test]
fn the_host_of_an_absolute_target_wins_over_the_header() {
    let text = "GET http://real:81/a HTTP/1.1\r\nHost: other:82\r\n\r\n";
    whole(text, |head| {
        assert_eq!(
            (head.host, head.authority, head.path),
            ("real", "real:81", "/a")
        );
    });
    for text in [
        "GET http://real/a HTTP/1.1\r\n\r\n",
        "GET http://real/a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET http://real/a HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET http://user@real/a HTTP/1.1\r\nHost: real\r\n\r\n",
    ] {
        assert_eq!(refusal(text), Some(Refusal::HeadMalformed), "{text:?}");
    }
}

#[test]
fn only_http_1_0_may_leave_out_the_host() {
    whole("GET / HTTP/1.0\r\n\r\n", |head| {
        assert_eq!(
            (head.host, head.authority, head.version),
            ("", "", Version::H10)
        );
    });
    whole("GET / HTTP/1.0\r\nHost: h\r\n\r\n", |head| {
        assert_eq!(head.host, "h")
    });
    assert_eq!(
        refusal("GET / HTTP/1.1\r\n\r\n"),
        Some(Refusal::HeadMalformed)
    );
    assert_eq!(
        refusal("GET / HTTP/1.0\r\nHost:\r\n\r\n"),
        Some(Refusal::HeadMalformed)
    );
    assert_eq!(
        refusal("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
        Some(Refusal::HeadMalformed)
    );
}

#[test]
fn a_server_wide_options_has_no_path() {
    whole("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", |head| {
        assert_eq!(head.path, "*")
    });
    whole("OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n", |head| {
        assert_eq!(head.path, "*")
    });
    assert_eq!(
        refusal("GET * HTTP/1.1\r\nHost: h\r\n\r\n"),
        Some(Refusal::HeadMalformed)
    );
}

#[test]
fn an_unsafe_path_is_refused_also_in_an_absolute_target() {
    for target in [
        "/a/../b",
        "/%2e%2e/b",
        "//b",
        "/a%2fb",
        "http://h/a/..",
        "http://h//a",
        "/a\\b",
    ] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(refusal(&text), Some(Refusal::PathUnsafe), "{target}");
    }
    whole("GET /a?b=/../c HTTP/1.1\r\nHost: h\r\n\r\n", |head| {
        assert_eq!(head.query, Some("b=/../c"))
    });
}

#[test]
fn connection_options_decide_whether_the_connection_persists() {
    for (version, connection, expected) in [
        ("1.1", "", true),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: keep-alive, CLOSE\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let text = format!("GET / HTTP/{version}\r\nHost: h\r\n{connection}\r\n");
        whole(&text, |head| {
            assert_eq!(head.keep_alive, expected, "{text:?}")
        });
    }
}

#[test]
fn named_hop_headers_are_told() {
    for (value, expected) in [
        ("close", false),
        ("keep-alive, Upgrade", false),
        ("close, X-Hop", true),
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: {value}\r\n\r\n");
        whole(&text, |head| {
            assert_eq!(head.names_hop_headers, expected, "{value}")
        });
    }
    for value in ["a b", "a;b", "\"close\"", "Host", "content-length"] {
        let text = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: {value}\r\n\r\n");
        assert_eq!(refusal(&text), Some(Refusal::HeadMalformed), "{value}");
    }
}

#[test]
fn an_expectation_is_100_continue_or_refused() {
    let with =
        |version: &str, lines: &str| format!("PUT / HTTP/{version}\r\nHost: h\r\n{lines}\r\n");
    for (version, lines, expected) in [
        ("1.1", "Content-Length: 5\r\nExpect: 100-continue\r\n", true),
        (
            "1.1",
            "Transfer-Encoding: chunked\r\nExpect: 100-Continue\r\n",
            true,
        ),
        (
            "1.1",
            "Content-Length: 0\r\nExpect: 100-continue\r\n",
            false,
        ),
        ("1.1", "Expect: 100-continue\r\n", false),
        (
            "1.0",
            "Content-Length: 5\r\nExpect: 100-continue\r\n",
            false,
        ),
    ] {
        whole(&with(version, lines), |head| {
            assert_eq!(head.expect_continue, expected, "{lines:?}")
        });
    }
    for lines in [
        "Expect: x\r\n",
        "Expect:\r\n",
        "Expect: 100-continue, x\r\n",
        "Expect: 100-continue\r\nExpect: 100-continue\r\n",
    ] {
        assert_eq!(
            refusal(&with("1.1", lines)),
            Some(Refusal::ExpectationUnknown),
            "{lines:?}"
        );
    }
}

#[test]
fn an_upgrade_is_seen_where_connection_and_version_bear_it_out() {
    for (version, lines, expected) in [
        (
            "1.1",
            "Connection: Upgrade\r\nUpgrade: WebSocket\r\n",
            Some("WebSocket"),
        ),
        (
            "1.1",
            "Connection: keep-alive, upgrade\r\nUpgrade: a, b\r\n",
            Some("a, b"),
        ),
        ("1.1", "Upgrade: websocket\r\n", None),
        ("1.1", "Connection: Upgrade\r\n", None),
        (
            "1.1",
            "Connection: Upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n",
            None,
        ),
        ("1.0", "Connection: Upgrade\r\nUpgrade: websocket\r\n", None),
    ] {
        let text = format!("GET / HTTP/{version}\r\nHost: h\r\n{lines}\r\n");
        let expected = expected.map(str::as_bytes);
        whole(&text, |head| assert_eq!(head.upgrade, expected, "{text:?}"));
    }
}

#[test]
fn trailers_are_accepted_if_te_says_so() {
    for (te, expected) in [
        ("trailers", true),
        ("gzip, Trailers", true),
        ("gzip;q=0.5", false),
        ("", false),
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: h\r\nTE: {te}\r\n\r\n");
        whole(&text, |head| {
            assert_eq!(head.accepts_trailers, expected, "{te}")
        });
    }
}

#[test]
fn no_value_and_no_query_shows_in_the_debug_form() {
    let text = "GET /a?key=SECRET1 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer SECRET2\r\n\r\n";
    whole(text, |head| {
        let shown = format!("{head:?}");
        assert!(!shown.contains("SECRET"), "{shown}");
        assert!(
            shown.contains("Authorization") && shown.contains("/a"),
            "{shown}"
        );
    });
}
