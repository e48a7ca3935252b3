//! Where a message's body ends (RFC 9112, section 6.3), decided from its framing headers.

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is no body: the message ends with its head.
    Empty,
    /// Exactly this many bytes.
    Length(u64),
    /// The chunked transfer coding ends itself.
    Chunked,
    /// Everything until the connection closes. Only responses can have it.
    UntilClose,
}
