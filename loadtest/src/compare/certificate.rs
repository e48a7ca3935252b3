//! The certificate that every proxy shows: ECDSA on P-256, as most of the public web has it, signed
//! by itself. The same files for all, so that all pay for the same signature.

use std::path::{Path, PathBuf};

use rcgen::generate_simple_self_signed;

use crate::files;
use crate::trouble::{Outcome, Trouble};

/// The name in it.
pub const NAME: &str = "gateway.test";

/// A certificate and its key, as files in PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate.
    pub chain: PathBuf,
    /// Its private key, mode 0600.
    pub key: PathBuf,
    /// Both in one file, mode 0600, as HAProxy wants them.
    pub both: PathBuf,
}

impl Certificate {
    /// Makes one under `directory`.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn make(directory: &Path) -> Outcome<Self> {
        let made = generate_simple_self_signed([NAME.to_owned()])
            .map_err(|error| Trouble::io("make a certificate")(std::io::Error::other(error)))?;
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let files = Self {
            chain: directory.join("gateway.pem"),
            key: directory.join("gateway.key"),
            both: directory.join("gateway-both.pem"),
        };
        files::write(&files.chain, &chain)?;
        files::write_secret(&files.key, &key)?;
        files::write_secret(&files.both, format!("{chain}{key}"))?;
        Ok(files)
    }
}
