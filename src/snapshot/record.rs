//! One key's record.

/// The first 16 bytes of `HMAC-SHA-256(pepper, key)`: under it a key is stored and found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 16]);

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Environment {
    /// Real traffic.
    Live,
    /// A sandbox.
    Test,
}
