//! What a request's head said, read once more from its bytes where a line of the call log tells of
//! it: most of it is not worth keeping for the time of every request.
//!
//! The head was parsed before, so its lines end in CRLF and none is folded; any other bytes make for
//! fewer fields and nothing worse.

/// A whole head, or nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadText<'h>(&'h [u8]);

impl<'h> HeadText<'h> {
    /// The bytes of a head that was whole.
    pub const fn new(bytes: &'h [u8]) -> Self {
        Self(bytes)
    }

    /// The query of its target, without the `?`.
    pub fn query(self) -> Option<&'h [u8]> {
        let end = memchr::memchr(b'\r', self.0)?;
        let target = self.0[..end].split(|octet| *octet == b' ').nth(1)?;
        let start = memchr::memchr(b'?', target)?;
        Some(&target[start + 1..])
    }

    /// Its fields in order, values trimmed.
    pub fn fields(self) -> impl Iterator<Item = (&'h [u8], &'h [u8])> {
        let start = memchr::memchr(b'\n', self.0).map_or(self.0.len(), |end| end + 1);
        let mut rest = &self.0[start..];
        std::iter::from_fn(move || {
            let end = memchr::memchr(b'\n', rest)?;
            let line = &rest[..end];
            rest = &rest[end + 1..];
            let colon = memchr::memchr(b':', line)?;
            Some((&line[..colon], line[colon + 1..].trim_ascii()))
        })
    }

    /// The values of the fields called `name`, in order.
    pub fn values(self, name: &str) -> impl Iterator<Item = &'h [u8]> {
        self.fields()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: HeadText<'_> = HeadText::new(
        b"GET /a?b=c?d HTTP/1.1\r\nHost: h\r\nUser-Agent:  curl/8 \r\nX: 1\r\nx: 2\r\n\r\n",
    );

    #[test]
    fn fields_and_the_query_are_found() {
        assert_eq!(HEAD.query(), Some(&b"b=c?d"[..]));
        assert_eq!(HEAD.values("user-agent").next(), Some(&b"curl/8"[..]));
        assert_eq!(HEAD.values("X").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(HEAD.values("y").next(), None);
        assert_eq!(HeadText::default().query(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes: Vec<u8>) {
            let head = HeadText::new(&bytes);
            prop_assert!(head.fields().count() <= bytes.len());
            prop_assert!(head.query().is_none_or(|query| query.len() < bytes.len()));
        }
    }
}
