//! Feeds the path check what strangers ask for: a path that passes has one reading.
//!
//! The reading here is a naive server's: decode each segment once, and see what it would do.

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
    }
});

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
