//! The keyed digest under which keys are stored and looked up.
//!
//! A snapshot and a control database hold `HMAC-SHA-256(pepper, key)` and never a key. Whoever
//! steals them cannot even test guesses without the pepper, which lives in a file of its own, mode
//! 0600. A pepper has an id, which key records name, so that peppers can be rotated.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::parse::octets::hex_value;
use crate::snapshot::record::Digest;

/// Fewest bytes of a pepper: 128 bits.
const SECRET_BYTES_MIN: usize = 16;
/// Bytes of a pepper that is read from a file or made.
const SECRET_BYTES: usize = 32;

/// A node's secret, ready to compute digests: its key schedule is done once.
///
/// Its [`Debug`] form shows the id only.
#[derive(Clone)]
pub struct Pepper {
    id: u8,
    mac: Hmac<Sha256>,
}

/// Why a pepper cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PepperError {
    /// Fewer than 16 bytes.
    #[error("the pepper has {bytes} bytes; it needs at least {SECRET_BYTES_MIN}")]
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
    /// Group or others may read or write the file.
    #[error("{}: mode {mode:03o} lets others at the pepper; chmod it to 600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file does not hold 64 hexadecimal digits.
    #[error("{}: a pepper is 64 hexadecimal digits and nothing else", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The system has no randomness to give.
    #[error("no randomness for a new pepper: {0}")]
    NoRandomness(getrandom::Error),
}

impl Pepper {
    /// A pepper from its secret bytes, at least 16.
    pub fn new(id: u8, secret: &[u8]) -> Result<Self, PepperError> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(PepperError::TooShort {
                bytes: secret.len(),
            });
        }
        let mac = Hmac::new_from_slice(secret).expect("HMAC takes keys of any length");
        Ok(Self { id, mac })
    }

    /// Reads a pepper file: 64 hexadecimal digits, a line end allowed. The file must be closed to
    /// group and others.
    pub fn read(id: u8, path: &Path) -> Result<Self, PepperError> {
        let fault = |source| PepperError::File {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(fault)?;
        let mode = file.metadata().map_err(fault)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(PepperError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
        // One byte more than any good file has shows that a longer one is not good.
        let mut text = Vec::with_capacity(2 * SECRET_BYTES + 3);
        file.take(2 * SECRET_BYTES as u64 + 3)
            .read_to_end(&mut text)
            .map_err(fault)?;
        match parse_hex(&text) {
            Some(secret) => Self::new(id, &secret),
            None => Err(PepperError::Malformed {
                path: path.to_owned(),
            }),
        }
    }

    /// Makes a new pepper file, mode 0600, from the system's randomness, and waits until it is on
    /// disk: digests made with a pepper that a power cut takes away are lost. Never overwrites.
    pub fn create(id: u8, path: &Path) -> Result<Self, PepperError> {
        let fault = |source| PepperError::File {
            path: path.to_owned(),
            source,
        };
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret).map_err(PepperError::NoRandomness)?;
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(fault)?;
        file.write_all(&write_hex(&secret))
            .and_then(|()| file.sync_all())
            .map_err(fault)?;
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(fault)?;
        Self::new(id, &secret)
    }

    /// The id that key records name.
    pub fn id(&self) -> u8 {
        self.id
    }

    /// The digest of a key.
    pub fn digest(&self, key: &[u8]) -> Digest {
        truncate(self.mac.clone().chain_update(key))
    }

    /// The digest of a key of which only the SHA-256 is known: an imported one.
    pub fn digest_of_sha256(&self, sha256: &[u8; 32]) -> Digest {
        truncate(
            self.mac
                .clone()
                .chain_update(b"sha256:")
                .chain_update(sha256),
        )
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pepper")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The first 128 of the digest's 256 bits: as many as RFC 2104 wants to be left, and what fits a
/// record beside all else in one cache line.
fn truncate(mac: Hmac<Sha256>) -> Digest {
    let whole = mac.finalize().into_bytes();
    let mut digest = [0; 16];
    digest.copy_from_slice(&whole[..16]);
    Digest(digest)
}

fn parse_hex(text: &[u8]) -> Option<[u8; SECRET_BYTES]> {
    let digits = text.strip_suffix(b"\n").unwrap_or(text);
    let digits = digits.strip_suffix(b"\r").unwrap_or(digits);
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != SECRET_BYTES || !rest.is_empty() {
        return None;
    }
    let mut secret = [0; SECRET_BYTES];
    for (octet, [high, low]) in secret.iter_mut().zip(pairs) {
        *octet = hex_value(*high)? << 4 | hex_value(*low)?;
    }
    Some(secret)
}

/// 64 digits and a line end.
fn write_hex(secret: &[u8; SECRET_BYTES]) -> Vec<u8> {
    let mut text = Vec::with_capacity(2 * SECRET_BYTES + 1);
    for octet in secret {
        text.extend([octet >> 4, octet & 0xf].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
    }
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use sha2::Digest as _;

    use super::*;

    fn pepper(octet: u8) -> Pepper {
        Pepper::new(1, &[octet; 32]).unwrap()
    }

    #[test]
    fn a_digest_is_the_first_half_of_the_hmac() {
        // RFC 4231, test case 1.
        let pepper = Pepper::new(1, &[0x0b; 20]).unwrap();
        let expected = 0xb034_4c61_d8db_3853_5ca8_afce_af0b_f12b_u128.to_be_bytes();
        assert_eq!(pepper.digest(b"Hi There").0, expected);
    }

    #[test]
    fn digests_differ_by_key_by_pepper_and_by_kind() {
        let key = b"kw_live_x";
        let sha256: [u8; 32] = Sha256::digest(key).into();
        let digests = [
            pepper(1).digest(key),
            pepper(2).digest(key),
            pepper(1).digest(b"kw_live_y"),
            pepper(1).digest(&sha256),
            pepper(1).digest_of_sha256(&sha256),
            pepper(2).digest_of_sha256(&sha256),
        ];
        for (place, digest) in digests.iter().enumerate() {
            assert!(!digests[..place].contains(digest), "{place}");
        }
        let spelled = [b"sha256:".as_slice(), &sha256].concat();
        assert_eq!(
            pepper(1).digest_of_sha256(&sha256),
            pepper(1).digest(&spelled)
        );
    }

    #[test]
    fn a_short_pepper_is_refused() {
        assert!(matches!(
            Pepper::new(1, &[0; 15]),
            Err(PepperError::TooShort { bytes: 15 })
        ));
        assert!(Pepper::new(1, &[0; 16]).is_ok());
    }

    #[test]
    fn a_made_pepper_file_is_private_and_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pepper.hex");
        let made = Pepper::create(3, &path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let read = Pepper::read(3, &path).unwrap();
        assert_eq!(read.id(), 3);
        assert_eq!(made.digest(b"key"), read.digest(b"key"));

        let text = fs::read(&path).unwrap();
        assert!(matches!(
            Pepper::create(4, &path),
            Err(PepperError::File { .. })
        ));
        assert_eq!(
            fs::read(&path).unwrap(),
            text,
            "an existing pepper is never overwritten"
        );

        let other = Pepper::create(3, &directory.path().join("other.hex")).unwrap();
        assert_ne!(other.digest(b"key"), made.digest(b"key"));
    }

    #[test]
    fn a_pepper_that_others_may_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pepper.hex");
        Pepper::create(1, &path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let refused = Pepper::read(1, &path).unwrap_err();
            assert!(matches!(&refused, PepperError::Exposed { mode: seen, .. } if *seen == mode));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(Pepper::read(1, &path).is_ok());
    }

    #[test]
    fn a_pepper_file_holds_64_digits_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pepper.hex");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            Pepper::read(1, &path).map(|pepper| pepper.digest(b"key"))
        };
        let digits = "0123456789abcdef".repeat(4);
        let expected = Pepper::new(1, &0x0123_4567_89ab_cdef_u64.to_be_bytes().repeat(4)).unwrap();
        for good in [
            digits.clone(),
            format!("{digits}\n"),
            format!("{digits}\r\n"),
            digits.to_uppercase(),
        ] {
            assert_eq!(read(&good).unwrap(), expected.digest(b"key"), "{good:?}");
        }
        for bad in [
            String::new(),
            "\n".into(),
            digits[1..].into(),
            format!("{digits}0"),
            format!("{digits}00"),
            format!("{digits}\n\n"),
            format!(" {digits}"),
            format!("{digits}\n{digits}"),
            digits.replace('f', "g"),
        ] {
            assert!(
                matches!(read(&bad), Err(PepperError::Malformed { .. })),
                "{bad:?}"
            );
        }
        assert!(matches!(
            Pepper::read(1, &directory.path().join("absent")),
            Err(PepperError::File { .. })
        ));
    }

    #[test]
    fn nothing_of_a_pepper_shows_in_its_debug_form() {
        assert_eq!(format!("{:?}", pepper(0xab)), "Pepper { id: 1, .. }");
    }
}
