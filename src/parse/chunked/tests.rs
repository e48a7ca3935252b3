//! Chunked bodies that pass, those that are refused, and the limits.

use super::*;

/// The payload and the bytes consumed of a body that arrives at once; `None` while it is not over.
fn decode_with(limits: ChunkLimits, body: &[u8]) -> Result<Option<(String, usize)>, FramingError> {
    let mut decoder = ChunkedDecoder::new(limits);
    let mut payload = Vec::new();
    let mut at = 0;
    while at < body.len() && !decoder.is_done() {
        let step = decoder.step(&body[at..])?;
        payload.extend_from_slice(&body[at..][step.data]);
        at += step.consumed;
    }
    let payload = String::from_utf8(payload).expect("text");
    Ok(decoder.is_done().then_some((payload, at)))
}

fn decode(body: &str) -> Result<Option<(String, usize)>, FramingError> {
    decode_with(ChunkLimits::default(), body.as_bytes())
}

#[test]
fn chunks_become_their_payload() {
    for (body, payload) in [
        ("0\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n", "hello, world"),
        (
            "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
            "01234567890123456789",
        ),
        ("0005\r\nhello\r\n0000\r\n\r\n", "hello"),
        ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
        ("5;name\r\nhello\r\n0;last\r\n\r\n", "hello"),
        ("1;a=\"q;\\\" \"\r\nx\r\n0\r\n\r\n", "x"),
        ("1 ; a = b ;c\r\nx\r\n0\r\n\r\n", "x"),
        ("0\r\nA: b\r\nC:\r\n\r\n", ""),
    ] {
        let whole = Ok(Some((payload.to_owned(), body.len())));
        assert_eq!(decode(body), whole, "{body:?}");
    }
}

#[test]
fn what_follows_the_body_is_left_alone() {
    for tail in ["GET / HTTP/1.1\r\n", "0\r\n\r\n", "\r\n", "\0"] {
        let body = format!("1\r\nx\r\n0\r\n\r\n{tail}");
        assert_eq!(decode(&body), Ok(Some(("x".to_owned(), 11))), "{tail:?}");
    }
}

#[test]
fn every_start_of_a_body_wants_more() {
    let body = "5;a=\"b\"\r\nhello\r\n0\r\nA: b\r\n\r\n";
    for end in 0..body.len() {
        assert_eq!(decode(&body[..end]), Ok(None), "{:?}", &body[..end]);
    }
}

#[test]
fn payload_is_handed_out_as_it_arrives() {
    let mut decoder = ChunkedDecoder::new(ChunkLimits::default());
    for (input, consumed, data, done) in [
        ("", 0, 0..0, false),
        ("6", 1, 0..0, false),
        ("\r\nab", 4, 2..4, false),
        ("cd", 2, 0..2, false),
        // One run of payload a step: the next chunk is the next step's.
        ("ef\r\n1\r\ng\r\n", 4, 0..2, false),
        ("1\r\ng\r\n0\r\n", 6, 3..4, false),
        ("0\r\n\r\nGET", 5, 0..0, true),
        ("GET", 0, 0..0, true),
    ] {
        assert_eq!(
            decoder.step(input.as_bytes()),
            Ok(Step {
                consumed,
                data,
                trailer: 0..0,
                done
            }),
            "{input:?}"
        );
    }
}

#[test]
fn a_size_is_hexadecimal_digits_and_fits_64_bits() {
    for body in [
        "x\r\n",
        "\r\n",
        "\n",
        "+5\r\n",
        "-5\r\n",
        " 5\r\n",
        "\t5\r\n",
        ";a\r\n",
        "\0",
        "5x\r\n",
        "0x5\r\n",
        "5_0\r\n",
        "5.\r\n",
        "5,5\r\n",
        "\u{b2}\r\n",
    ] {
        assert_eq!(decode(body), Err(FramingError::SizeInvalid), "{body:?}");
    }
    for body in [
        "10000000000000000\r\n",
        "FFFFFFFFFFFFFFFFF\r\n",
        "fffffffffffffffff0",
    ] {
        assert_eq!(decode(body), Err(FramingError::SizeTooLarge), "{body:?}");
    }
    for body in [
        "FFFFFFFFFFFFFFFF\r\nx",
        "0000000000000000000000000001\r\n",
        "8000000000000000\r\n",
    ] {
        assert_eq!(decode(body), Ok(None), "{body:?}");
    }
}

#[test]
fn every_line_ends_in_crlf() {
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\r\nhello",
        "5\rhello",
        "5;a\nhello",
        "5;a\rb",
        "5;a=\"\n\"",
        "5;a=\"\r\n\"",
        "0\n\n",
        "0\r\n\n",
        "0\r\n\r\r",
        "0\r\nA: b\n\r\n",
        "0\r\nA: b\r\r\n",
        "0\r\nA\n",
    ] {
        assert_eq!(decode(body), Err(FramingError::LineEndInvalid), "{body:?}");
    }
}

#[test]
fn a_chunk_ends_where_its_size_says() {
    for body in [
        "5\r\nhello!\r\n",
        "5\r\nhello0\r\n",
        "5\r\nhello\n",
        "5\r\nhello\r\r\n",
        "5\r\nhello\r0",
        "1\r\nx;",
    ] {
        assert_eq!(
            decode(body),
            Err(FramingError::ChunkUnterminated),
            "{body:?}"
        );
    }
}

#[test]
fn an_extension_is_well_formed() {
    for body in [
        "5 x\r\n",
        "5 \r",
        "5;;",
        "5; ;",
        "5;=b\r\n",
        "5;a=;",
        "5;a==b\r\n",
        "5;a=\"b\"c",
        "5;a b",
        "5;\0",
        "5;a=\0",
        "5;a\u{7f}",
        "5;a=\"\0\"",
        "5;a=\"\\\0",
        "5;\u{e9}",
        "5;a@b",
        "5;a=b=c",
        "5;a/b",
    ] {
        let answer = decode(body);
        let line_end = body.ends_with('\r');
        let expected = if line_end {
            FramingError::LineEndInvalid
        } else {
            FramingError::ExtensionInvalid
        };
        assert_eq!(answer, Err(expected), "{body:?}");
    }
    assert_eq!(decode("5;\r\n"), Err(FramingError::LineEndInvalid));
    assert_eq!(decode("5;a=\r\n"), Err(FramingError::LineEndInvalid));
}

#[test]
fn a_trailer_is_a_header_line() {
    for body in [
        "0\r\n: b\r\n\r\n",
        "0\r\n A: b\r\n\r\n",
        "0\r\nA : b\r\n\r\n",
        "0\r\nA b\r\n\r\n",
        "0\r\nA\r\n\r\n",
        "0\r\nA: b\0\r\n\r\n",
        "0\r\nA: b\r\n c\r\n\r\n",
        "0\r\n\u{e9}: b\r\n\r\n",
        "0\r\nGET / HTTP/1.1\r\n",
    ] {
        assert_eq!(decode(body), Err(FramingError::TrailerInvalid), "{body:?}");
    }
}

#[test]
fn lines_and_trailers_may_be_as_long_as_their_limits_and_no_longer() {
    let limits = ChunkLimits {
        size_line_bytes_max: 10,
        excess_bytes_max: 100,
        trailer_bytes_max: 20,
    };
    let decode = |body: String| decode_with(limits, body.as_bytes());
    // The line's CR counts, its LF does not.
    assert_eq!(decode(format!("1;{}\r\nx", "e".repeat(7))), Ok(None));
    assert_eq!(
        decode(format!("1;{}\r\nx", "e".repeat(8))),
        Err(FramingError::SizeLineTooLong)
    );
    assert_eq!(decode("0".repeat(11)), Err(FramingError::SizeLineTooLong));

    let trailer = |bytes: usize| format!("0\r\nA:{}\r\n\r\n", "v".repeat(bytes - 6));
    assert!(decode(trailer(20)).expect("within the limit").is_some());
    assert_eq!(decode(trailer(21)), Err(FramingError::TrailersTooLong));
    assert_eq!(
        decode("0\r\n".to_owned() + &"A:\r\n".repeat(6)),
        Err(FramingError::TrailersTooLong)
    );
}

#[test]
fn a_body_of_mostly_framing_is_refused_and_one_of_small_chunks_is_not() {
    let fat = format!("1;{}\r\nx\r\n", "e".repeat(200)).repeat(1000);
    assert_eq!(decode(&fat), Err(FramingError::TooMuchFraming));
    let small = "1\r\nx\r\n".repeat(100_000) + "0\r\n\r\n";
    assert_eq!(decode(&small), Ok(Some(("x".repeat(100_000), small.len()))));
    // What large chunks earn does not pay for later excess.
    let late = format!("1000\r\n{}\r\n", "x".repeat(4096)).repeat(10) + &fat;
    assert_eq!(decode(&late), Err(FramingError::TooMuchFraming));
}
