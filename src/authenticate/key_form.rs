//! The written form of Keyway's own keys: `kw_<env>_<27 base62 digits>_<6 base62 digits of CRC-32>`.

use crate::snapshot::record::Environment;

/// What a presented key looks like, before any lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Ours, checksum right.
    Native,
    /// Starts like ours but is damaged: cannot be a key.
    NativeBroken,
    /// Not ours; may have been imported.
    Foreign,
}

/// Writes the key for 160 random bits, which the caller brings.
pub fn mint(_environment: Environment, _random: &[u8; 20]) -> String {
    unimplemented!()
}

/// Tells what `key` looks like, at constant cost and without allocation.
pub fn is_ours(_key: &[u8]) -> Form {
    unimplemented!()
}
