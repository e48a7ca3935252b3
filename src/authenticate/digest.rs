//! The keyed digest under which keys are stored and looked up.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _};
use sha2::Sha256;

use crate::snapshot::record::Digest;

/// A node's secret, ready to compute digests.
#[derive(Clone)]
pub struct Pepper {
    id: u8,
    mac: Hmac<Sha256>,
}

/// Why a pepper cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PepperError {
    /// Fewer than 16 bytes.
    #[error("the pepper has {bytes} bytes; it needs at least 16")]
    TooShort {
        /// Bytes given.
        bytes: usize,
    },
    /// The file cannot be read or made.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl Pepper {
    /// A pepper from its secret bytes, at least 16.
    pub fn new(id: u8, secret: &[u8]) -> Result<Self, PepperError> {
        if secret.len() < 16 {
            return Err(PepperError::TooShort {
                bytes: secret.len(),
            });
        }
        let mac = Hmac::new_from_slice(secret).expect("HMAC takes keys of any length");
        Ok(Self { id, mac })
    }

    /// Reads a pepper file: 64 hexadecimal digits, a line end allowed. The file must be closed to
    /// group and others.
    pub fn read(_id: u8, _path: &Path) -> Result<Self, PepperError> {
        unimplemented!()
    }

    /// Makes a new pepper file, mode 0600, from the system's randomness. Never overwrites.
    pub fn create(_id: u8, _path: &Path) -> Result<Self, PepperError> {
        unimplemented!()
    }

    /// The id that key records name.
    pub fn id(&self) -> u8 {
        self.id
    }

    /// The digest of a key.
    pub fn digest(&self, _key: &[u8]) -> Digest {
        let _ = &self.mac;
        unimplemented!()
    }

    /// The digest of a key of which only the SHA-256 is known.
    pub fn digest_of_sha256(&self, _sha256: &[u8; 32]) -> Digest {
        unimplemented!()
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pepper")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
