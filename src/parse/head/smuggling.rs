//! Known ways to make two servers see two requests, each refused: one row a vector.

use super::*;

const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 16_384,
    target_bytes_max: 8192,
    headers_max: 100,
};

fn answer(bytes: &[u8]) -> Result<Status<usize>, Refusal> {
    let mut slots = [const { MaybeUninit::uninit() }; 100];
    Ok(match parse_request(bytes, &mut slots, &LIMITS)? {
        Status::Partial => Status::Partial,
        Status::Complete((_, head_bytes)) => Status::Complete(head_bytes),
    })
}

/// Each row is the lines behind `Host`, of which the last one lacks its line end.
fn check(expected: Refusal, rows: &[&str]) {
    for lines in rows {
        let text = format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n");
        assert_eq!(answer(&octets_of(&text)), Err(expected), "{text:?}");
    }
}

/// One octet a letter, so that a row can say any octet.
fn octets_of(text: &str) -> Vec<u8> {
    text.chars()
        .map(|letter| u8::try_from(letter).expect("Latin-1"))
        .collect()
}

#[test]
fn the_plain_forms_pass_so_that_the_rows_below_fail_for_their_own_reason() {
    for lines in [
        "Content-Length: 5",
        "Content-Length: 0005",
        "Content-Length:5",
        "Content-Length: \t5\t ",
        "Transfer-Encoding: chunked",
        "transfer-encoding:CHUNKED",
        "X-Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "X: \u{80}\u{ff}",
        "X: a\tb",
    ] {
        let text = octets_of(&format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n"));
        assert_eq!(answer(&text), Ok(Status::Complete(text.len())), "{lines:?}");
    }
}

#[test]
fn a_length_beside_a_coding_is_refused() {
    check(
        Refusal::FramingInvalid,
        &[
            "Content-Length: 6\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 6",
            "Content-Length: 0\r\nTransfer-Encoding: chunked",
            "Content-Length: 6\r\nTransfer-Encoding: identity",
            "CONTENT-LENGTH: 6\r\ntransfer-encoding: chunked",
        ],
    );
}

#[test]
fn a_disguised_coding_is_refused() {
    check(
        Refusal::FramingInvalid,
        &[
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
            "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-encoding: cow",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: \"chunked\"",
            "Transfer-Encoding: chunked;",
            "Transfer-Encoding: chunked;x=y",
            "Transfer-Encoding: ,chunked",
            "Transfer-Encoding: chunk\u{ad}ed",
            "Transfer-Encoding: \u{a0}chunked",
            "Transfer-Encoding:",
            "Transfer_Encoding: chunked",
            "Content-Length: 5\r\ntransfer_encoding: chunked",
        ],
    );
    check(
        Refusal::HeadMalformed,
        &[
            "Transfer-Encoding : chunked",
            "Transfer-Encoding\t: chunked",
            " Transfer-Encoding: chunked",
            "X: y\r\n Transfer-Encoding: chunked",
            "Transfer-Encoding\r\n : chunked",
            "Transfer-Encoding:\r\n chunked",
            "Transfer-Encoding: chunked\r\n\t, identity",
            "X: y\nTransfer-Encoding: chunked",
            "X: y\rTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\u{b}",
            "Transfer-Encoding: \u{c}chunked",
            "Transfer-Encoding: chunked\0",
            "Transfer-\0Encoding: chunked",
            "Transfer-Encoding\u{a0}: chunked",
            "Transfer-Encod\u{ef}ng: chunked",
            "\u{0}Transfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r",
        ],
    );
    check(
        Refusal::CodingUnsupported,
        &[
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: identity, chunked",
        ],
    );
}

#[test]
fn a_disguised_length_is_refused() {
    check(
        Refusal::FramingInvalid,
        &[
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5\r\ncontent-length: 5",
            "Content-Length: 5, 5",
            "Content-Length: 5,5",
            "Content-Length: 5, 6",
            "Content-Length: +5",
            "Content-Length: -5",
            "Content-Length: -0",
            "Content-Length: 0x5",
            "Content-Length: 5.0",
            "Content-Length: 5e0",
            "Content-Length: 5 5",
            "Content-Length: \"5\"",
            "Content-Length: 5;",
            "Content-Length: 1_0",
            "Content-Length: \u{a0}5",
            "Content-Length: \u{b2}",
            "Content-Length:",
            "Content-Length: 18446744073709551616",
            "Content-Length: 184467440737095516150",
            "Content-Length: 99999999999999999999999999999999",
            "Content_Length: 5",
            "Transfer-Encoding: chunked\r\nCONTENT_LENGTH: 5",
        ],
    );
    check(
        Refusal::HeadMalformed,
        &[
            "Content-Length : 5",
            "Content-Length: 5\r\n 0",
            "Content-Length:\r\n 5",
            "Content-Length: 5\u{b}",
            "Content-Length: 5\0",
            "X: y\nContent-Length: 5",
            "X: y\rContent-Length: 5",
            "Content-Length 5",
        ],
    );
}

#[test]
fn a_coding_in_http_1_0_is_refused() {
    for lines in ["", "Content-Length: 5\r\n", "Connection: keep-alive\r\n"] {
        let text =
            format!("POST / HTTP/1.0\r\nHost: h\r\n{lines}Transfer-Encoding: chunked\r\n\r\n");
        assert_eq!(
            answer(text.as_bytes()),
            Err(Refusal::FramingInvalid),
            "{lines:?}"
        );
    }
}

#[test]
fn a_broken_header_line_is_refused() {
    check(
        Refusal::HeadMalformed,
        &[
            ": no name",
            ":",
            "no colon",
            "na me: v",
            "n\u{e9}: v",
            "n@: v",
            "n: v\0",
            "n: \u{1}",
            "n: v\u{1b}[0m",
            "n: v\u{7f}",
            "n: v\rm: w",
            "n: v\r\rm: w",
            "n: v\nm: w",
            "n: v\n\nGET /admin HTTP/1.1\nHost: h",
            "\tn: v",
            " n: v",
            "n: v\r\n\tw",
            "n: v\r\n \r\nm: w",
            "\rn: v",
            "n\r: v",
        ],
    );
}

#[test]
fn a_missing_repeated_or_invalid_host_is_refused() {
    for lines in [
        "X: y",
        "Host: h\r\nHost: h",
        "Host: h\r\nhost: i",
        "Host:",
        "Host: h, i",
        "Host: h i",
        "Host: u@h",
        "Host: h:80:81",
        "Host: h:x",
        "Host: h:99999",
        "Host: h/",
        "Host: http://h",
        "Host: h\\",
        "Host: h#",
        "Host: h?",
        "Host: h%00",
        "Host: [::1",
        "Host: \u{e9}",
        "Host: h\0",
        "Host : h",
        "Host: h\r\n i",
    ] {
        let text = octets_of(&format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n"));
        assert_eq!(answer(&text), Err(Refusal::HeadMalformed), "{lines:?}");
    }
}

#[test]
fn a_broken_request_line_is_refused() {
    for (line, expected) in [
        ("GET  / HTTP/1.1", Refusal::HeadMalformed),
        ("GET /  HTTP/1.1", Refusal::HeadMalformed),
        ("GET / HTTP/1.1 ", Refusal::HeadMalformed),
        (" GET / HTTP/1.1", Refusal::HeadMalformed),
        ("GET\t/ HTTP/1.1", Refusal::HeadMalformed),
        ("GET /\tHTTP/1.1", Refusal::HeadMalformed),
        ("GET /\u{b}HTTP/1.1", Refusal::HeadMalformed),
        ("GET / HTTP/1.1\r", Refusal::HeadMalformed),
        ("GET /a b HTTP/1.1", Refusal::HeadMalformed),
        ("GET /\0 HTTP/1.1", Refusal::HeadMalformed),
        ("GET /\u{e9} HTTP/1.1", Refusal::HeadMalformed),
        ("GET /\u{c3}\u{a9} HTTP/1.1", Refusal::HeadMalformed),
        ("GET /#a HTTP/1.1", Refusal::HeadMalformed),
        ("GET a HTTP/1.1", Refusal::HeadMalformed),
        ("GET h:80 HTTP/1.1", Refusal::HeadMalformed),
        ("GET ftp://h/ HTTP/1.1", Refusal::HeadMalformed),
        ("GET /", Refusal::HeadMalformed),
        ("GET", Refusal::HeadMalformed),
        ("GET / http/1.1", Refusal::HeadMalformed),
        ("GET / HTTP/1.1.1", Refusal::HeadMalformed),
        ("GET / HTTP/01.1", Refusal::VersionUnsupported),
        ("GET / HTTP/11.1", Refusal::HeadMalformed),
        ("GET / HTTP/1.9", Refusal::VersionUnsupported),
        ("GET / HTTP/2.0", Refusal::VersionUnsupported),
        ("GET / HTTP/0.9", Refusal::VersionUnsupported),
        ("GET / HTTPS/1.1", Refusal::HeadMalformed),
        ("GET / ICY/1.1", Refusal::HeadMalformed),
    ] {
        let text = octets_of(&format!("{line}\r\nHost: h\r\n\r\n"));
        assert_eq!(answer(&text), Err(expected), "{line:?}");
    }
}

#[test]
fn control_octets_are_refused_wherever_they_stand() {
    let good = octets_of("GET /a?b HTTP/1.1\r\nHost: h\r\nAccept: text/html\r\n\r\n");
    assert!(answer(&good).is_ok());
    for place in 0..good.len() - 4 {
        for control in (0..=0x1f_u8).chain([0x7f]) {
            let mut bent = good.clone();
            bent.insert(place, control);
            let fine = answer(&bent).is_ok();
            // A tab inside a value, or before one, is white space.
            let text = String::from_utf8_lossy(&bent[..place]).into_owned();
            let line = text.rsplit('\n').next().unwrap_or_default();
            let tab_in_value = control == b'\t' && line.contains(": ") && !line.starts_with("Host");
            let tab_around_host =
                control == b'\t' && ["Host:", "Host: ", "Host: h"].contains(&line);
            let tab_around_value = control == b'\t' && line == "Accept:";
            assert_eq!(
                fine,
                tab_in_value || tab_around_host || tab_around_value,
                "{bent:?}"
            );
        }
    }
}
