//! `traceparent`: the place of a request in a trace that began before it (W3C Trace Context, level 1,
//! section 3.2).
//!
//! In: the value of the one field line. Out: a [`Parent`], or nothing: a value that is not to the
//! letter is treated as absent, and a new trace begins. Pure; the ids that the gateway itself gives
//! come from [`tracer`](super::tracer).

use std::fmt;

/// Bytes of a value of version 00; a higher version may go on behind a `-`.
const BYTES: usize = 55;

/// The flag that says that the caller may have recorded the trace.
const SAMPLED: u8 = 0x01;

/// The id of a trace; never all zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

/// The id of a span; never all zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// An id of these bytes; `None` if they are all zero.
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// The bytes.
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// Lower-case digits.
    pub fn hex(self) -> [u8; 32] {
        let mut digits = [0; 32];
        write_hex(&self.0, &mut digits);
        digits
    }
}

impl SpanId {
    /// An id of these bytes; `None` if they are all zero.
    pub fn new(bytes: [u8; 8]) -> Option<Self> {
        (bytes != [0; 8]).then_some(Self(bytes))
    }

    /// The bytes.
    pub const fn bytes(self) -> [u8; 8] {
        self.0
    }

    /// Lower-case digits.
    pub fn hex(self) -> [u8; 16] {
        let mut digits = [0; 16];
        write_hex(&self.0, &mut digits);
        digits
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.hex()))
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.hex()))
    }
}

/// What a valid `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The trace.
    pub trace: TraceId,
    /// The span of the caller.
    pub span: SpanId,
    /// The caller may have recorded it.
    pub sampled: bool,
}

impl Parent {
    /// Reads a field's value.
    ///
    /// > If a higher version is detected, the implementation SHOULD try to parse it by trying the
    /// > following: If the size of the header is shorter than 55 characters, the vendor should not
    /// > parse the header and should restart the trace. […] Vendors MUST check that the 2 characters
    /// > are either the end of the string or a dash.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (fixed, rest) = value.split_at_checked(BYTES)?;
        let [version] = read_hex::<1>(&fixed[..2])?;
        let may_go_on = match version {
            0 => rest.is_empty(),
            // "Version 255 is invalid."
            0xff => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        if !may_go_on || [fixed[2], fixed[35], fixed[52]] != [b'-'; 3] {
            return None;
        }
        let [flags] = read_hex::<1>(&fixed[53..])?;
        Some(Self {
            trace: TraceId::new(read_hex(&fixed[3..35])?)?,
            span: SpanId::new(read_hex(&fixed[36..52])?)?,
            // Other flags are not known to level 1, which says to set them to zero.
            sampled: flags & SAMPLED != 0,
        })
    }

    /// Appends the value that a target reads.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"00-");
        out.extend_from_slice(&self.trace.hex());
        out.push(b'-');
        out.extend_from_slice(&self.span.hex());
        out.extend_from_slice(if self.sampled { b"-01" } else { b"-00" });
    }
}

/// `HEXDIGLC`: upper-case digits are not allowed.
fn read_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

fn write_hex(bytes: &[u8], digits: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(digits.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0xf)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parse(value: &str) -> Option<Parent> {
        Parent::parse(value.as_bytes())
    }

    #[test]
    fn the_example_of_the_recommendation_is_read() {
        let parent = parse(GOOD).expect("it is valid");
        assert_eq!(&parent.trace.hex(), b"4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(&parent.span.hex(), b"00f067aa0ba902b7");
        assert!(parent.sampled);
        assert!(!parse(&GOOD.replace("-01", "-00")).expect("valid").sampled);
        assert!(parse(&GOOD.replace("-01", "-ff")).expect("valid").sampled);
        assert!(!parse(&GOOD.replace("-01", "-fe")).expect("valid").sampled);
    }

    #[test]
    fn a_higher_version_is_read_as_far_as_it_is_known() {
        for good in [
            GOOD.replacen("00", "01", 1),
            GOOD.replacen("00", "cc", 1) + "-",
            GOOD.replacen("00", "fe", 1) + "-what-the-future-will-be-like",
        ] {
            assert_eq!(parse(&good), parse(GOOD), "{good}");
        }
        for bad in [
            GOOD.replacen("00", "01", 1) + ".",
            GOOD.replacen("00", "cc", 1) + "0-",
            GOOD.replacen("00", "ff", 1),
            GOOD.replacen("00", "cc", 1)[..54].to_owned(),
        ] {
            assert_eq!(parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_not_to_the_letter_is_no_parent() {
        for bad in [
            String::new(),
            GOOD.to_owned() + "-",
            GOOD.to_owned() + "-00",
            GOOD.to_uppercase(),
            GOOD.replace("4bf9", "4BF9"),
            GOOD.replace("4bf9", "4bg9"),
            GOOD.replace('-', "_"),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            format!(" {GOOD}"),
            format!("{GOOD} "),
            format!("{GOOD},{GOOD}"),
            GOOD[..54].to_owned(),
            GOOD.replacen("00-", "0-0", 1),
        ] {
            assert_eq!(parse(&bad), None, "{bad:?}");
        }
    }

    /// The grammar once more, by another way.
    fn model(value: &[u8]) -> Option<(String, String, bool)> {
        // Behind a higher version anything may stand, also what is no text.
        let text = String::from_utf8_lossy(value);
        let parts: Vec<&str> = text.split('-').collect();
        let lower = |part: &str, length: usize| {
            part.len() == length
                && part
                    .chars()
                    .all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
        };
        let [version, trace, span, flags] = *parts.get(..4)? else {
            return None;
        };
        let whole = lower(version, 2) && lower(trace, 32) && lower(span, 16) && lower(flags, 2);
        let known = version != "ff" && (version != "00" || parts.len() == 4);
        let some = |id: &str| id.chars().any(|c| c != '0');
        let flags = u8::from_str_radix(flags, 16).ok()?;
        (whole && known && some(trace) && some(span))
            .then(|| (trace.to_owned(), span.to_owned(), flags & 1 == 1))
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_as_the_grammar_does(
            good in "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[a-z-]{0,9})?",
            edits in prop::collection::vec((0..70_usize, any::<u8>()), 0..3),
        ) {
            let mut value = good.into_bytes();
            for (place, byte) in edits {
                if let Some(place) = value.get_mut(place) {
                    *place = byte;
                }
            }
            let read = Parent::parse(&value).map(|parent| {
                let text = |hex: &[u8]| String::from_utf8(hex.to_vec()).expect("digits");
                (text(&parent.trace.hex()), text(&parent.span.hex()), parent.sampled)
            });
            prop_assert_eq!(read, model(&value));
        }

        #[test]
        fn what_is_written_is_read_as_the_same(
            trace: [u8; 16], span: [u8; 8], sampled: bool,
        ) {
            let (Some(trace), Some(span)) = (TraceId::new(trace), SpanId::new(span)) else {
                return Ok(());
            };
            let parent = Parent { trace, span, sampled };
            let mut value = Vec::new();
            parent.write(&mut value);
            prop_assert_eq!(Parent::parse(&value), Some(parent));
        }

        #[test]
        fn no_bytes_make_it_panic(value: Vec<u8>) {
            let _ = Parent::parse(&value);
        }
    }
}
