//! Making keys: the only place where a secret exists, between the random source and the one
//! answer that shows it.
//!
//! Out: a [`Credential`], which is all that the store ever sees.

use super::{Environment, KeyId, KeyOrigin};
use std::fmt;

/// A key in plain text. Shown once, never stored, never printed by `Debug`.
pub struct Secret(String);

impl Secret {
    /// The key itself, to be handed to its owner and to nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What the store keeps of a key: who it is, and a keyed digest to recognize it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Public id, fresh.
    pub id: KeyId,
    /// First 16 bytes of the keyed digest.
    pub digest: [u8; 16],
    /// Which pepper keyed it.
    pub pepper: u8,
    /// Whether it was made here or brought.
    pub origin: KeyOrigin,
}

/// A fresh key.
#[derive(Debug)]
pub struct Issued {
    /// For its owner.
    pub secret: Secret,
    /// For the store.
    pub credential: Credential,
}

/// Why no key could be made or taken in.
#[derive(Debug, thiserror::Error)]
pub enum KeysmithError {
    /// The system gave no randomness.
    #[error("the system gave no randomness: {0}")]
    Random(String),
    /// A key brought in plain text is too short to be safe or too long to travel.
    #[error("an imported key has 16 to 512 printable ASCII characters")]
    ImportForm,
    /// A key brought in plain text looks like ours but its checksum is wrong.
    #[error("the key looks like one of ours but is damaged")]
    ImportDamaged,
}

/// Makes keys and digests them under the pepper.
#[derive(Debug)]
pub struct Keysmith {}

impl Keysmith {
    /// Makes a fresh key from the system's randomness.
    pub fn issue(&self, environment: Environment) -> Result<Issued, KeysmithError> {
        let _ = environment;
        Err(KeysmithError::Random("not wired yet".to_owned()))
    }

    /// Takes in a key made elsewhere, in plain text.
    pub fn adopt_plain(&self, key: &str) -> Result<Credential, KeysmithError> {
        let _ = key;
        Err(KeysmithError::ImportForm)
    }

    /// Takes in the SHA-256 of a key made elsewhere.
    pub fn adopt_sha256(&self, sha256: &[u8; 32]) -> Result<Credential, KeysmithError> {
        let _ = sha256;
        Err(KeysmithError::ImportForm)
    }
}
