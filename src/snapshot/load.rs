//! From a directory to a view: what the link thread does when `CURRENT` changes.
//!
//! In: a directory, a policy, and the view that serves now. Out: a whole new view, or an error that
//! says why not, and then the old one stays. A file is copied into sealed memory first and verified
//! there, so what was verified is what is served, whatever happens to the file. A base that the
//! previous view already holds is not read again.
//!
//! Refused beside damage: a generation that is not newer (unless a signed rollback orders it), and
//! one in which more keys vanish than the policy allows (unless the manifest says that it is meant).

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;

use super::catalog::Catalog;
use super::format::FormatError;
use super::ids::KeyId;
use super::manifest::{FileRef, Manifest, ManifestError};
use super::map::{MapError, SealedMap};
use super::verify::Summary;
use super::view::{Image, View};

pub use super::verify::verify_bytes;

/// How often a load is tried when the files it was about to read were replaced and removed. Each
/// time a newer generation is complete, so the second try nearly always does; the bound is there so
/// that a broken directory cannot keep the link thread.
const TRIES_MAX: usize = 4;

/// What a node accepts.
#[derive(Clone)]
pub struct LoadPolicy {
    /// Most keys, in percent of those served now, that may vanish with one generation.
    pub keys_lost_max_percent: u8,
    /// Largest file that is copied into memory, in bytes.
    pub file_bytes_max: u64,
    /// What rollbacks must be signed with; without it none is accepted.
    pub rollback_secret: Option<[u8; 32]>,
}

impl Default for LoadPolicy {
    fn default() -> Self {
        Self {
            keys_lost_max_percent: 50,
            file_bytes_max: 16 << 30,
            rollback_secret: None,
        }
    }
}

impl fmt::Debug for LoadPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadPolicy")
            .field("keys_lost_max_percent", &self.keys_lost_max_percent)
            .field("file_bytes_max", &self.file_bytes_max)
            .field("accepts_rollbacks", &self.rollback_secret.is_some())
            .finish_non_exhaustive()
    }
}

/// Why there is no new view. One variant per cause; the view that serves stays.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Nothing was published yet.
    #[error("{}: nothing was published here yet", directory.display())]
    Absent {
        /// The directory.
        directory: PathBuf,
    },
    /// `CURRENT` cannot be used.
    #[error(transparent)]
    Manifest(ManifestError),
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Not a regular file.
    #[error("{}: is not a regular file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Larger than the policy allows.
    #[error("{}: {bytes} bytes are more than the {max} that are allowed", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        bytes: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// No sealed copy of a file could be made.
    #[error("{}: {source}", path.display())]
    Copy {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: MapError,
    },
    /// A file is no snapshot that this build serves.
    #[error("{}: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: FormatError,
    },
    /// A file is whole, but not the one that `CURRENT` means.
    #[error("{}: is another file than CURRENT names", path.display())]
    OtherFile {
        /// The file.
        path: PathBuf,
    },
    /// An overlay belongs to another base than the one beside it.
    #[error("the overlay was not made for the base of generation {base}")]
    OverlayBase {
        /// The base's generation.
        base: u64,
    },
    /// A key of the overlay belongs to an app that neither file knows.
    #[error("key {key} of the overlay belongs to app {app}, which does not exist")]
    AppUnknown {
        /// The key.
        key: KeyId,
        /// The app's number.
        app: u32,
    },
    /// Not newer than what serves, and not a rollback either.
    #[error("generation {found} is not newer than {serving}, which serves now")]
    NotNewer {
        /// The generation found.
        found: u64,
        /// The generation that serves.
        serving: u64,
    },
    /// A rollback came, and this node has no secret to check it with.
    #[error("generation {found} is a rollback, and this node was given no secret to check it with")]
    RollbackUnchecked {
        /// The generation found.
        found: u64,
    },
    /// A rollback whose signature is wrong.
    #[error("generation {found} is a rollback, and its signature is wrong")]
    RollbackForged {
        /// The generation found.
        found: u64,
    },
    /// A rollback that was ordered before the generation that serves was made.
    #[error("generation {found} is a rollback from {from}, but {serving} serves now")]
    RollbackStale {
        /// The generation found.
        found: u64,
        /// The newest generation when it was ordered.
        from: u64,
        /// The generation that serves.
        serving: u64,
    },
    /// Too many keys would vanish.
    #[error(
        "generation {found} would lose {lost} of {of} keys, more than {max_percent} %; publish it \
         with the override if that is meant"
    )]
    KeysLost {
        /// The generation found.
        found: u64,
        /// Keys that would vanish.
        lost: u64,
        /// Keys that serve now.
        of: u64,
        /// Percent that may vanish.
        max_percent: u8,
    },
}

impl From<ManifestError> for LoadError {
    fn from(cause: ManifestError) -> Self {
        match cause {
            ManifestError::Absent { directory } => Self::Absent { directory },
            other => Self::Manifest(other),
        }
    }
}

/// Loads the generation that `directory/CURRENT` names.
///
/// `previous` is the view that serves now, if any.
pub fn load(
    directory: &Path,
    policy: &LoadPolicy,
    previous: Option<&Arc<View>>,
) -> Result<Arc<View>, LoadError> {
    let mut manifest = Manifest::read(directory)?;
    let mut tries_left = TRIES_MAX;
    loop {
        let cause = match load_manifest(directory, &manifest, policy, previous) {
            Err(cause @ LoadError::Io { .. }) => cause,
            other => return other,
        };
        // The publisher may have replaced and pruned these files since we read their names.
        tries_left -= 1;
        let newer = Manifest::read(directory)?;
        if newer == manifest || tries_left == 0 {
            return Err(cause);
        }
        manifest = newer;
    }
}

/// Loads the files that a manifest names.
pub(super) fn load_manifest(
    directory: &Path,
    manifest: &Manifest,
    policy: &LoadPolicy,
    previous: Option<&Arc<View>>,
) -> Result<Arc<View>, LoadError> {
    if let Some(previous) = previous {
        check_order(manifest, policy, previous.generation())?;
    }
    let kept = previous
        .map(|view| view.base())
        .filter(|base| is_meant(base, &manifest.base));
    let (base, base_catalog) = match kept {
        Some(base) => (Arc::clone(base), None),
        None => {
            let (base, catalog) = image(directory, &manifest.base, policy)?;
            (Arc::new(base), Some(catalog))
        }
    };
    let (overlay, catalog) = match (&manifest.overlay, base_catalog) {
        (Some(file), _) => {
            let (overlay, catalog) = image(directory, file, policy)?;
            (Some(overlay), catalog)
        }
        (None, Some(catalog)) => (None, catalog),
        (None, None) => {
            let path = directory.join(&manifest.base.file);
            let catalog = base
                .catalog()
                .map_err(|source| LoadError::Format { path, source })?;
            (None, catalog)
        }
    };
    let view = View::assemble(base, overlay, catalog)?;
    if let Some(previous) = previous
        && !manifest.allow_shrink
    {
        check_loss(previous, &view, policy.keys_lost_max_percent)?;
    }
    Ok(Arc::new(view))
}

/// Whether a file in memory is the one that a manifest names.
fn is_meant(image: &Image, file: &FileRef) -> bool {
    let header = image.header();
    (header.generation, header.file_bytes, header.checksum)
        == (file.generation, file.bytes, file.checksum.0)
}

/// Copies one file of a manifest into memory and verifies it.
fn image(
    directory: &Path,
    file: &FileRef,
    policy: &LoadPolicy,
) -> Result<(Image, Catalog), LoadError> {
    let path = directory.join(&file.file);
    let map = read_sealed(&path, policy.file_bytes_max, Some(file.bytes))?;
    match Image::verify(map) {
        Ok((image, catalog, _)) if is_meant(&image, file) => Ok((image, catalog)),
        Ok(_) => Err(LoadError::OtherFile { path }),
        Err(source) => Err(LoadError::Format { path, source }),
    }
}

/// Verifies one file by itself, of whatever generation, as `keyway snapshot verify` does.
pub fn verify_file(path: &Path, file_bytes_max: u64) -> Result<Summary, LoadError> {
    let map = read_sealed(path, file_bytes_max, None)?;
    let verified = Image::verify(map);
    verified
        .map(|(_, _, summary)| summary)
        .map_err(|source| LoadError::Format {
            path: path.into(),
            source,
        })
}

/// Makes a view of files that are in memory already: for tests, benches and the fuzzer. Takes the
/// same way as [`load`] from sealed memory on.
pub fn load_bytes(base: &[u8], overlay: Option<&[u8]>) -> Result<Arc<View>, LoadError> {
    let image = |bytes: &[u8], name: &str| {
        let path = PathBuf::from(name);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let map = SealedMap::copy_of(bytes, length).map_err(|source| LoadError::Copy {
            path: path.clone(),
            source,
        })?;
        let verified = Image::verify(map).map_err(|source| LoadError::Format { path, source })?;
        Ok::<_, LoadError>((verified.0, verified.1))
    };
    let (base, catalog) = image(base, "(base)")?;
    let (overlay, catalog) = match overlay {
        Some(bytes) => {
            let (overlay, catalog) = image(bytes, "(overlay)")?;
            (Some(overlay), catalog)
        }
        None => (None, catalog),
    };
    Ok(Arc::new(View::assemble(Arc::new(base), overlay, catalog)?))
}

/// Copies a file into sealed memory. `expected` is the length that a manifest promises.
pub(super) fn read_sealed(
    path: &Path,
    bytes_max: u64,
    expected: Option<u64>,
) -> Result<SealedMap, LoadError> {
    let io = |source| LoadError::Io {
        path: path.into(),
        source,
    };
    // Without O_NONBLOCK a pipe in the file's place would hold the link thread until someone
    // writes to it.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path);
    let file = file.map_err(io)?;
    let about = file.metadata().map_err(io)?;
    if !about.is_file() {
        return Err(LoadError::NotAFile { path: path.into() });
    }
    let bytes = about.len();
    if bytes > bytes_max {
        return Err(LoadError::TooLarge {
            path: path.into(),
            bytes,
            max: bytes_max,
        });
    }
    let copied = match expected {
        Some(expected) if expected != bytes => Err(MapError::Length {
            found: bytes,
            expected,
        }),
        _ => SealedMap::copy_of(file, bytes),
    };
    copied.map_err(|source| LoadError::Copy {
        path: path.into(),
        source,
    })
}

fn check_order(manifest: &Manifest, policy: &LoadPolicy, serving: u64) -> Result<(), LoadError> {
    let found = manifest.generation;
    if found > serving {
        return Ok(());
    }
    let Some(rollback) = manifest.rollback.as_ref().filter(|_| found < serving) else {
        return Err(LoadError::NotNewer { found, serving });
    };
    let Some(secret) = &policy.rollback_secret else {
        return Err(LoadError::RollbackUnchecked { found });
    };
    if !manifest.is_signed_with(secret) {
        return Err(LoadError::RollbackForged { found });
    }
    if serving > rollback.from {
        return Err(LoadError::RollbackStale {
            found,
            from: rollback.from,
            serving,
        });
    }
    Ok(())
}

fn check_loss(previous: &View, next: &View, max_percent: u8) -> Result<(), LoadError> {
    let (lost, of) = (previous.keys_lost_in(next), previous.keys());
    if u128::from(lost) * 100 <= u128::from(of) * u128::from(max_percent) {
        return Ok(());
    }
    Err(LoadError::KeysLost {
        found: next.generation(),
        lost,
        of,
        max_percent,
    })
}
