//! Header names as classes, lists in header values, and the headers that must not travel further.

use httparse::Header;

/// True for headers that belong to one connection and are removed before forwarding.
pub fn is_hop_by_hop(_name: &str) -> bool {
    unimplemented!()
}

/// True if two header names are the same, whatever their case.
pub fn same_name(left: &str, right: &str) -> bool {
    left.eq_ignore_ascii_case(right)
}

/// The elements of a comma-separated list, trimmed; empty elements are skipped.
pub fn split_list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// The header names that a message's `Connection` headers list: they are removed like the
/// hop-by-hop headers.
#[derive(Clone, Copy)]
pub struct ConnectionTokens<'h, 'b> {
    headers: &'h [Header<'b>],
}

impl<'h, 'b> ConnectionTokens<'h, 'b> {
    /// The tokens of the `Connection` headers among `headers`.
    pub fn of(headers: &'h [Header<'b>]) -> Self {
        Self { headers }
    }

    /// True if a `Connection` header lists `name`.
    pub fn contains(&self, _name: &str) -> bool {
        let _ = self.headers;
        unimplemented!()
    }
}
impl std::fmt::Debug for ConnectionTokens<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConnectionTokens")
    }
}
