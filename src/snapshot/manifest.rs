//! `CURRENT`: the small file that says which snapshot files make up the generation to serve.
//!
//! One line of JSON, written in one way only: a reader serializes what it understood and wants the
//! same bytes back, so no byte of the file can be other than it should. Its checksum catches
//! damage; against a deliberate step back in time there is a signature, see [`Rollback`].

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use nix::fcntl::OFlag;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;
use xxhash_rust::xxh3::xxh3_64;

use super::format::{FILE_BYTES_MAX, Kind};

/// The name of the manifest in its directory.
pub const CURRENT: &str = "CURRENT";
/// The only manifest format that this build reads and writes.
pub const MANIFEST_FORMAT: u32 = 1;
/// The longest manifest; a real one has some 500 bytes.
const MANIFEST_BYTES_MAX: u64 = 16 << 10;
/// What a rollback's signature is made over, before the manifest itself.
const ROLLBACK_DOMAIN: &[u8] = b"keyway rollback manifest 1\n";

/// Which files to serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`].
    pub format: u32,
    /// The generation to serve: the overlay's, or the base's if there is none.
    pub generation: u64,
    /// The base.
    pub base: FileRef,
    /// The overlay, if something changed since the base was made.
    pub overlay: Option<FileRef>,
    /// Present when this is a deliberate step back to an earlier generation.
    pub rollback: Option<Rollback>,
    /// Set when it is meant that many keys vanish with this generation.
    pub allow_shrink: bool,
    /// xxh3-64 of this manifest with a checksum of zero.
    pub checksum: Checksum,
}

/// One snapshot file of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRef {
    /// Its name in the directory; follows from its kind and generation.
    pub file: String,
    /// Its generation.
    pub generation: u64,
    /// Its length.
    pub bytes: u64,
    /// The checksum in its header, which stands for all of it.
    pub checksum: Checksum,
}

/// What makes a step back acceptable to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The newest generation there was when it was ordered. A node that serves a later one refuses,
    /// so that an old order cannot be played back.
    pub from: u64,
    /// HMAC-SHA-256 of the manifest by a secret that control shares with its nodes.
    pub signature: Signature,
}

/// 64 bits, in JSON 16 hexadecimal digits.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Checksum(pub u64);

/// 256 bits, in JSON 64 hexadecimal digits.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Signature(pub [u8; 32]);

/// Why a manifest cannot be used. One variant per cause.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// There is none.
    #[error("{}: there is no {CURRENT} here; nothing was published yet", directory.display())]
    Absent {
        /// The directory.
        directory: PathBuf,
    },
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Longer than any manifest.
    #[error("{CURRENT} is longer than {MANIFEST_BYTES_MAX} bytes")]
    TooLong,
    /// Not the JSON that this build knows.
    #[error("{CURRENT} cannot be read: {0}")]
    Syntax(serde_json::Error),
    /// Written by another release.
    #[error("{CURRENT} has format {found}; this build reads format {MANIFEST_FORMAT}")]
    Format {
        /// The format it has.
        found: u32,
    },
    /// Damaged.
    #[error("{CURRENT} is damaged: its checksum does not match")]
    Checksum,
    /// Says what it says in another way than it is written.
    #[error("{CURRENT} is damaged: it is not in the form in which it is written")]
    Form,
    /// Generations that do not fit together.
    #[error("{CURRENT} names generations that do not fit together")]
    Generation,
    /// A file whose name or length cannot be.
    #[error("{CURRENT} names the file {0:?}, which cannot be")]
    File(String),
}

/// The name of a snapshot file.
pub fn file_name(kind: Kind, generation: u64) -> String {
    match kind {
        Kind::Base => format!("base-{generation:020}.kws"),
        Kind::Overlay => format!("overlay-{generation:020}.kws"),
    }
}

/// The kind and generation in the name of a snapshot file; `None` for any other name.
pub fn parse_file_name(name: &str) -> Option<(Kind, u64)> {
    let stem = name.strip_suffix(".kws")?;
    let (kind, digits) = match stem.split_once('-')? {
        ("base", digits) => (Kind::Base, digits),
        ("overlay", digits) => (Kind::Overlay, digits),
        _ => return None,
    };
    let generation = digits.parse().ok()?;
    (file_name(kind, generation) == name).then_some((kind, generation))
}

impl Manifest {
    /// A manifest for these files.
    pub(super) fn new(base: FileRef, overlay: Option<FileRef>, allow_shrink: bool) -> Self {
        Self {
            format: MANIFEST_FORMAT,
            generation: overlay.as_ref().unwrap_or(&base).generation,
            base,
            overlay,
            rollback: None,
            allow_shrink,
            checksum: Checksum::default(),
        }
        .with_checksum()
    }

    /// The same as a signed step back from generation `from`.
    pub(super) fn signed(mut self, from: u64, secret: &[u8; 32]) -> Self {
        self.rollback = Some(Rollback {
            from,
            signature: Signature::default(),
        });
        let signature = Signature(self.mac(secret).finalize().into_bytes().into());
        self.rollback = Some(Rollback { from, signature });
        self.with_checksum()
    }

    /// Whether this is a step back, signed with this secret. Constant-time.
    pub(super) fn is_signed_with(&self, secret: &[u8; 32]) -> bool {
        self.rollback
            .as_ref()
            .is_some_and(|rollback| self.mac(secret).verify_slice(&rollback.signature.0).is_ok())
    }

    /// The highest generation that this manifest knows to have existed.
    pub fn highest_generation(&self) -> u64 {
        self.rollback
            .as_ref()
            .map_or(self.generation, |rollback| rollback.from)
    }

    /// Reads the manifest of a directory.
    pub fn read(directory: &Path) -> Result<Self, ManifestError> {
        let path = directory.join(CURRENT);
        let mut bytes = Vec::new();
        // O_NONBLOCK: a pipe in the file's place must not hold us.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let read = options
            .open(&path)
            .and_then(|file| file.take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => Self::decode(&bytes),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(ManifestError::Absent {
                directory: directory.into(),
            }),
            Err(source) => Err(ManifestError::Io { path, source }),
        }
    }

    /// Reads a manifest from its bytes, and checks all that it says about itself.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > usize::try_from(MANIFEST_BYTES_MAX).expect("a small constant") {
            return Err(ManifestError::TooLong);
        }
        let found: Self = serde_json::from_slice(bytes).map_err(ManifestError::Syntax)?;
        if found.format != MANIFEST_FORMAT {
            return Err(ManifestError::Format {
                found: found.format,
            });
        }
        if found.checksum != found.own_checksum() {
            return Err(ManifestError::Checksum);
        }
        if found.encode() != bytes {
            return Err(ManifestError::Form);
        }
        found.check_meaning()?;
        Ok(found)
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.json();
        bytes.push(b'\n');
        bytes
    }

    fn check_meaning(&self) -> Result<(), ManifestError> {
        let newest = self.overlay.as_ref().unwrap_or(&self.base).generation;
        let ordered = match &self.overlay {
            Some(overlay) => overlay.generation > self.base.generation,
            None => true,
        };
        let known = self.highest_generation() >= self.generation;
        if self.base.generation == 0 || newest != self.generation || !ordered || !known {
            return Err(ManifestError::Generation);
        }
        let files = [
            (Kind::Base, Some(&self.base)),
            (Kind::Overlay, self.overlay.as_ref()),
        ];
        for (kind, file) in files {
            let Some(file) = file else { continue };
            // Only this name: a manifest must not lead anywhere else in the file system.
            if file.file != file_name(kind, file.generation) || file.bytes > FILE_BYTES_MAX {
                return Err(ManifestError::File(file.file.clone()));
            }
        }
        Ok(())
    }

    fn with_checksum(mut self) -> Self {
        self.checksum = self.own_checksum();
        self
    }

    fn own_checksum(&self) -> Checksum {
        let bare = Self {
            checksum: Checksum::default(),
            ..self.clone()
        };
        Checksum(xxh3_64(&bare.json()))
    }

    fn mac(&self, secret: &[u8; 32]) -> Hmac<Sha256> {
        let mut bare = Self {
            checksum: Checksum::default(),
            ..self.clone()
        };
        if let Some(rollback) = &mut bare.rollback {
            rollback.signature = Signature::default();
        }
        let mut mac = Hmac::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(ROLLBACK_DOMAIN);
        mac.update(&bare.json());
        mac
    }

    fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest has nothing that JSON cannot say")
    }
}

impl Serialize for Checksum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = from_hex(&String::deserialize(deserializer)?);
        let bytes = bytes.ok_or_else(|| D::Error::custom("16 hexadecimal digits expected"))?;
        Ok(Self(u64::from_be_bytes(bytes)))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hex: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&hex)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = from_hex(&String::deserialize(deserializer)?);
        bytes
            .map(Self)
            .ok_or_else(|| D::Error::custom("64 hexadecimal digits expected"))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(…)")
    }
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
    }
    Some(bytes)
}
