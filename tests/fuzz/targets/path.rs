//! Feeds the path check what strangers ask for: a path that passes has one reading.
//!
//! The readings here are those of naive servers: decode each segment once, or as often as there is
//! something to decode, and see what they would do.

#![no_main]

use keyway::route::path::check_path;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(path) = std::str::from_utf8(input) else {
        return;
    };
    if check_path(path).is_err() {
        return;
    }
    assert!(path.starts_with('/') && path.is_ascii());
    let segments: Vec<Vec<u8>> = path[1..].split('/').map(decoded).collect();
    for (place, segment) in segments.iter().enumerate() {
        let is_last = place + 1 == segments.len();
        assert!(is_last || !segment.is_empty(), "an empty segment: {path:?}");
        let name = segment.split(|octet| *octet == b';').next().unwrap_or(&[]);
        assert!(name != b"." && name != b"..", "a dot segment: {path:?}");
        let moves = |octet: &u8| matches!(octet, b'/' | b'\\' | 0..=0x1f | 0x7f);
        assert!(!segment.iter().any(moves), "a hidden separator: {path:?}");
        assert!(std::str::from_utf8(segment).is_ok(), "no text: {path:?}");
        let mut reading = segment.clone();
        loop {
            let name = reading.split(|octet| *octet == b';').next().unwrap_or(&[]);
            assert!(name != b"." && name != b"..", "hidden dots: {path:?}");
            assert!(!reading.iter().any(moves), "a deeper separator: {path:?}");
            let deeper = decoded_where_it_can_be(&reading);
            if deeper == reading {
                break;
            }
            reading = deeper;
        }
    }
});

/// What a server reads that leaves alone what is no escape.
fn decoded_where_it_can_be(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let digit = |place: usize| {
            text.get(place)
                .and_then(|one| char::from(*one).to_digit(16))
        };
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                plain.push(u8::try_from(high * 16 + low).expect("two digits"));
                at += 3;
            }
            (octet, ..) => {
                plain.push(octet);
                at += 1;
            }
        }
    }
    plain
}

/// A segment without its escapes, which must all be whole.
fn decoded(segment: &str) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut octets = segment.bytes();
    while let Some(octet) = octets.next() {
        plain.push(match octet {
            b'%' => {
                let mut digit = || {
                    octets
                        .next()
                        .and_then(|digit| char::from(digit).to_digit(16))
                };
                let (high, low) = (digit(), digit());
                let value = high.zip(low).map(|(high, low)| high * 16 + low);
                u8::try_from(value.expect("a whole escape")).expect("two digits")
            }
            plain => plain,
        });
    }
    plain
}
