//! JSON strings from hostile bytes, appended to a buffer without allocation of their own.
//!
//! What a client sent may be anything. The result is always one valid JSON string: control
//! characters are escaped, so that a log shown on a terminal cannot drive it, and bytes that are
//! no UTF-8 become U+FFFD, as in [`String::from_utf8_lossy`].

/// Ends a text that was cut.
const CUT_MARK: &str = "…";

/// Appends `bytes` as a JSON string with its quotes; at most `bytes_max` of them, then `…`.
pub fn write_string(bytes: &[u8], bytes_max: usize, out: &mut Vec<u8>) {
    let kept = &bytes[..bytes.len().min(bytes_max)];
    out.push(b'"');
    if kept.iter().all(|&byte| is_plain(byte)) {
        out.extend_from_slice(kept);
    } else {
        write_escaped(kept, out);
    }
    if kept.len() < bytes.len() {
        out.extend_from_slice(CUT_MARK.as_bytes());
    }
    out.push(b'"');
}

/// Bytes that stand for themselves in a JSON string, whatever their neighbors.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..0x7f) && byte != b'"' && byte != b'\\'
}

fn write_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            write_char(character, out);
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn write_char(character: char, out: &mut Vec<u8>) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        // The C0 and C1 controls and DEL; all below U+0100.
        c if c.is_control() => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            let [low, ..] = u32::from(c).to_le_bytes();
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(low >> 4)]);
            out.push(HEX[usize::from(low & 15)]);
        }
        c => {
            let mut utf8 = [0; 4];
            out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(bytes: &[u8], bytes_max: usize) -> String {
        let mut out = Vec::new();
        write_string(bytes, bytes_max, &mut out);
        String::from_utf8(out).expect("always UTF-8")
    }

    #[test]
    fn controls_quotes_and_broken_utf8_cannot_leave_the_string() {
        for (bytes, expected) in [
            (&b"plain /path"[..], r#""plain /path""#),
            (b"a\"b\\c", r#""a\"b\\c""#),
            (b"line\r\nbreak\t\0", r#""line\r\nbreak\t\u0000""#),
            (b"\x1b[31mred\x7f", r#""\u001b[31mred\u007f""#),
            ("\u{9b}31m".as_bytes(), r#""\u009b31m""#),
            ("größe 😀".as_bytes(), "\"größe 😀\""),
            (b"\xff\xfe", "\"\u{fffd}\u{fffd}\""),
        ] {
            assert_eq!(written(bytes, 64), expected);
        }
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        assert_eq!(written(b"abcdef", 4), "\"abcd…\"");
        assert_eq!(written(b"abcd", 4), "\"abcd\"");
        // A character cut in its middle is a broken one.
        assert_eq!(written("aü".as_bytes(), 2), "\"a\u{fffd}…\"");
    }

    proptest! {
        #[test]
        fn a_parser_reads_back_the_lossy_text_of_any_bytes(bytes: Vec<u8>) {
            let text: String = serde_json::from_str(&written(&bytes, usize::MAX)).expect("valid JSON");
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn no_control_character_is_written_as_it_is(text: String) {
            prop_assert!(!written(text.as_bytes(), usize::MAX).chars().any(char::is_control));
        }
    }
}
