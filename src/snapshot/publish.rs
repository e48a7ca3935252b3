//! How a generation gets into a directory so that every reader sees the old one or the new one,
//! whole, whatever happens in between.
//!
//! ```text
//! write base-…7.kws.tmp   → fsync → rename to base-…7.kws → fsync directory
//! write CURRENT.tmp       → fsync → rename to CURRENT     → fsync directory
//! ```
//!
//! The second rename is the moment of publication. A crash before it leaves files that nothing
//! names: the next [`Publisher::open`] removes them. An error before it removes them at once, and
//! the old generation stays. Only the very last step can fail after the moment of publication
//! ([`PublishError::Undurable`]): the new generation then serves, but a power cut may take it back.
//!
//! One publisher a directory, held by a lock on it. Readers need none: they follow `CURRENT`, and a
//! file that it named is kept for [`Publisher::keep`] more generations. All calls block.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::catalog::CatalogFile;
use super::format::{BaseRef, FILE_BYTES_MAX, HEADER_BYTES, Header, Kind};
use super::load::{self, LoadError, LoadPolicy};
use super::manifest::{
    CURRENT, Checksum, FileRef, Manifest, ManifestError, file_name, parse_file_name,
};
use super::record::{AppEntry, KeyRecord};
use super::write::{SnapshotWriter, Start, WriteError, Written};

mod prepare;

pub use prepare::{BaseWriter, PreparedBase};

/// Generations whose files are kept unless [`Publisher::keep`] says otherwise.
pub const GENERATIONS_KEPT: usize = 16;

const TEMPORARY: &str = ".tmp";

/// Whatever went wrong in the source of apps and keys, usually a database.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// What is published.
pub struct Content<'c> {
    /// All tenants, plans, APIs and upstreams, also in an overlay.
    pub catalog: &'c CatalogFile,
    /// Apps by ascending number: all of them, or in an overlay those that changed.
    pub apps: &'c mut dyn Iterator<Item = Result<AppEntry, SourceError>>,
    /// Exactly how many keys come.
    pub key_count: u64,
    /// Keys by ascending digest: all of them, or in an overlay those that changed since the base,
    /// with those that are gone as revoked.
    pub keys: &'c mut dyn Iterator<Item = Result<KeyRecord, SourceError>>,
}

impl fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("key_count", &self.key_count)
            .finish_non_exhaustive()
    }
}

/// When it is published, and as what.
#[derive(Clone, Copy, Debug)]
pub struct Release {
    /// Above every earlier one.
    pub generation: u64,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// Set when it is meant that many keys vanish: nodes then do not refuse.
    pub allow_shrink: bool,
}

/// Why nothing was published. One variant per cause.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Another publisher has the directory.
    #[error("{}: another process publishes here", directory.display())]
    Busy {
        /// The directory.
        directory: PathBuf,
    },
    /// `CURRENT` cannot be read, so nobody knows which generation is next.
    #[error("{0}; remove the file to publish anew")]
    Manifest(ManifestError),
    /// A step of the protocol failed.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// The step.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// What was to be published may not be.
    #[error(transparent)]
    Write(WriteError),
    /// The source of apps and keys failed.
    #[error("the apps and keys to publish cannot be read: {0}")]
    Source(SourceError),
    /// The generation is not above every earlier one.
    #[error("generation {generation} is not above {highest}, which was published before")]
    NotNewer {
        /// The generation asked for.
        generation: u64,
        /// The highest so far.
        highest: u64,
    },
    /// An overlay without anything to lie over.
    #[error("an overlay needs a base, and none was published yet")]
    NoBase,
    /// The generation to go back to is not there any more.
    #[error("generation {generation} is not kept here, or not whole")]
    NotKept {
        /// The generation asked for.
        generation: u64,
    },
    /// The generation to go back to is damaged.
    #[error(transparent)]
    Kept(LoadError),
    /// Published, but the last step failed: a power cut may bring the old one back.
    #[error("generation {generation} serves, but may not survive a power cut: {source}")]
    Undurable {
        /// The generation.
        generation: u64,
        /// The cause.
        source: io::Error,
    },
}

/// The one writer of a snapshot directory.
#[derive(Debug)]
pub struct Publisher {
    directory: PathBuf,
    /// The directory itself: locked, and synced after each rename.
    handle: File,
    current: Option<Manifest>,
    keep: usize,
}

impl Publisher {
    /// Takes a directory, made if missing, and removes what a crash left in it.
    pub fn open(directory: &Path) -> Result<Self, PublishError> {
        let io = |doing| move |source| io_error(doing, directory, source);
        make_directory(directory).map_err(io("making"))?;
        let handle = File::open(directory).map_err(io("opening"))?;
        match handle.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(PublishError::Busy {
                    directory: directory.into(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io("locking")(source)),
        }
        let current = match Manifest::read(directory) {
            Ok(manifest) => Some(manifest),
            Err(ManifestError::Absent { .. }) => None,
            Err(cause) => return Err(PublishError::Manifest(cause)),
        };
        let publisher = Self {
            directory: directory.into(),
            handle,
            current,
            keep: GENERATIONS_KEPT,
        };
        publisher.clean()?;
        Ok(publisher)
    }

    /// Keeps the files of the newest `generations`, at least 1, when publishing.
    pub fn keep(&mut self, generations: usize) {
        self.keep = generations.max(1);
    }

    /// What serves now.
    pub fn current(&self) -> Option<&Manifest> {
        self.current.as_ref()
    }

    /// Publishes everything, as a base.
    pub fn publish_base(
        &mut self,
        release: Release,
        content: Content<'_>,
    ) -> Result<&Manifest, PublishError> {
        let base = self.put_snapshot(release, None, content)?;
        self.commit(Manifest::new(base, None, release.allow_shrink))
    }

    /// Publishes what changed since the base that serves now, as an overlay over it.
    pub fn publish_overlay(
        &mut self,
        release: Release,
        content: Content<'_>,
    ) -> Result<&Manifest, PublishError> {
        let base = self
            .current
            .as_ref()
            .ok_or(PublishError::NoBase)?
            .base
            .clone();
        let over = BaseRef {
            generation: base.generation,
            checksum: base.checksum.0,
        };
        let overlay = self.put_snapshot(release, Some(over), content)?;
        self.commit(Manifest::new(base, Some(overlay), release.allow_shrink))
    }

    /// Goes back to a generation whose files are still kept. The order is signed with the secret
    /// that nodes check it with. What is published next lies above every generation there ever was.
    pub fn rollback(
        &mut self,
        generation: u64,
        secret: &[u8; 32],
        allow_shrink: bool,
    ) -> Result<&Manifest, PublishError> {
        let not_kept = PublishError::NotKept { generation };
        let (overlay, base) = match self.kept_file(Kind::Overlay, generation) {
            Some((overlay, header)) => (Some(overlay), header.base.map_or(0, |it| it.generation)),
            None => (None, generation),
        };
        let (base, _) = self.kept_file(Kind::Base, base).ok_or(not_kept)?;
        let manifest = Manifest::new(base, overlay, allow_shrink);
        // As a node will: nothing damaged may come back.
        let policy = LoadPolicy {
            file_bytes_max: FILE_BYTES_MAX,
            ..LoadPolicy::default()
        };
        load::load_manifest(&self.directory, &manifest, &policy, None)
            .map_err(PublishError::Kept)?;
        self.commit(manifest.signed(self.highest_generation(), secret))
    }

    fn highest_generation(&self) -> u64 {
        self.current
            .as_ref()
            .map_or(0, Manifest::highest_generation)
    }

    /// A file that is still there, by its header.
    fn kept_file(&self, kind: Kind, generation: u64) -> Option<(FileRef, Header)> {
        let file = file_name(kind, generation);
        let header = header_of(&self.directory.join(&file))?;
        let checksum = Checksum(header.checksum);
        Some((
            FileRef {
                file,
                generation,
                bytes: header.file_bytes,
                checksum,
            },
            header,
        ))
    }

    /// Writes a snapshot file under its final name, where nothing names it yet.
    fn put_snapshot(
        &self,
        release: Release,
        base: Option<BaseRef>,
        content: Content<'_>,
    ) -> Result<FileRef, PublishError> {
        let Release {
            generation,
            created_ms,
            ..
        } = release;
        let highest = self.highest_generation();
        if generation <= highest {
            return Err(PublishError::NotNewer {
                generation,
                highest,
            });
        }
        let kind = if base.is_some() {
            Kind::Overlay
        } else {
            Kind::Base
        };
        let file = file_name(kind, generation);
        let temporary = self.directory.join(format!("{file}{TEMPORARY}"));
        let start = Start {
            base,
            generation,
            created_ms,
        };
        // One that an earlier failure could not remove.
        self.discard(&temporary);
        let put = write_content(&temporary, start, content)
            .and_then(|written| self.put(&written.file, &temporary, &file).map(|()| written));
        match put {
            Ok(Written {
                bytes, checksum, ..
            }) => Ok(FileRef {
                file,
                generation,
                bytes,
                checksum: Checksum(checksum),
            }),
            Err(cause) => {
                self.discard(&temporary);
                self.discard(&self.directory.join(&file));
                Err(cause)
            }
        }
    }

    /// Makes a manifest the one that serves.
    fn commit(&mut self, manifest: Manifest) -> Result<&Manifest, PublishError> {
        let temporary = self.directory.join(format!("{CURRENT}{TEMPORARY}"));
        if let Err(cause) = self.put_current(&manifest, &temporary) {
            self.discard(&temporary);
            self.discard_unnamed(&manifest);
            return Err(cause);
        }
        let generation = manifest.generation;
        let current = self.current.insert(manifest);
        self.handle
            .sync_all()
            .map_err(|source| PublishError::Undurable { generation, source })?;
        prune(&self.directory, current, self.keep);
        Ok(current)
    }

    /// All steps up to the moment of publication.
    fn put_current(&self, manifest: &Manifest, temporary: &Path) -> Result<(), PublishError> {
        let step = |doing| move |source| io_error(doing, temporary, source);
        let mut file = File::create(temporary).map_err(step("making"))?;
        file.write_all(&manifest.encode())
            .map_err(step("writing"))?;
        file.sync_all().map_err(step("syncing"))?;
        fs::rename(temporary, self.directory.join(CURRENT)).map_err(step("renaming"))
    }

    /// Syncs a written file and gives it its final name, for good.
    fn put(&self, file: &File, temporary: &Path, name: &str) -> Result<(), PublishError> {
        let step = |doing| move |source| io_error(doing, temporary, source);
        file.sync_all().map_err(step("syncing"))?;
        fs::rename(temporary, self.directory.join(name)).map_err(step("renaming"))?;
        self.handle
            .sync_all()
            .map_err(|source| io_error("syncing", &self.directory, source))
    }

    /// Removes a file that nothing names. If that fails too, the next [`Publisher::open`] does it.
    fn discard(&self, path: &Path) {
        if let Err(cause) = fs::remove_file(path)
            && cause.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %cause, "a leftover could not be removed");
        }
    }

    /// Removes the file that was made for a manifest that did not come to serve.
    fn discard_unnamed(&self, failed: &Manifest) {
        if failed.rollback.is_some() {
            return;
        }
        let made = failed.overlay.as_ref().unwrap_or(&failed.base);
        self.discard(&self.directory.join(&made.file));
    }

    /// Removes what a crash left: temporary files, and snapshots that were never published.
    fn clean(&self) -> Result<(), PublishError> {
        let listing = |source| io_error("listing", &self.directory, source);
        let mut removed = false;
        for entry in fs::read_dir(&self.directory).map_err(listing)? {
            let entry = entry.map_err(listing)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if is_temporary(name) || self.is_unpublished(name) {
                let path = entry.path();
                fs::remove_file(&path).map_err(|source| io_error("removing", &path, source))?;
                removed = true;
            }
        }
        if removed {
            self.handle
                .sync_all()
                .map_err(|source| io_error("syncing", &self.directory, source))?;
        }
        Ok(())
    }

    /// A snapshot above every published generation. Without `CURRENT` nobody knows, and all stay.
    fn is_unpublished(&self, name: &str) -> bool {
        let highest = self.current.as_ref().map(Manifest::highest_generation);
        parse_file_name(name)
            .zip(highest)
            .is_some_and(|((_, generation), highest)| generation > highest)
    }
}

/// Makes the directory if it is missing, so that it outlives a power cut.
fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(directory)?;
    let parent = directory
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Ours and unfinished: nothing else in the directory is touched.
fn is_temporary(name: &str) -> bool {
    let ours =
        |stem: &str| stem == CURRENT || stem.starts_with("base-") || stem.starts_with("overlay-");
    name.strip_suffix(TEMPORARY).is_some_and(ours)
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> PublishError {
    PublishError::Io {
        doing,
        path: path.into(),
        source,
    }
}

/// Writes a snapshot to `path`, not yet synced.
pub(super) fn write_content(
    path: &Path,
    start: Start,
    content: Content<'_>,
) -> Result<Written, PublishError> {
    let mut writer =
        SnapshotWriter::create(path, start, content.catalog).map_err(PublishError::Write)?;
    for app in content.apps {
        writer
            .app(&app.map_err(PublishError::Source)?)
            .map_err(PublishError::Write)?;
    }
    let mut writer = writer
        .keys(content.key_count)
        .map_err(PublishError::Write)?;
    for key in content.keys {
        writer
            .key(&key.map_err(PublishError::Source)?)
            .map_err(PublishError::Write)?;
    }
    writer.finish().map_err(PublishError::Write)
}

/// Removes the files of old generations: all but the newest `keep`, those that `current` names, and
/// the bases that a kept overlay needs. A file that stays by an error is tried again next time.
fn prune(directory: &Path, current: &Manifest, keep: usize) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    let mut files: Vec<(u64, Kind)> = entries
        .filter_map(|entry| parse_file_name(entry.ok()?.file_name().to_str()?))
        .map(|(kind, generation)| (generation, kind))
        .collect();
    files.sort_unstable_by_key(|(generation, _)| std::cmp::Reverse(*generation));
    let old = files.split_off(keep.min(files.len()));
    let mut needed = vec![current.base.generation, current.generation];
    needed.extend(files.iter().filter_map(|(generation, kind)| {
        match kind {
            Kind::Overlay => header_of(&directory.join(file_name(Kind::Overlay, *generation)))?
                .base
                .map(|base| base.generation),
            Kind::Base => None,
        }
    }));
    for (generation, kind) in old {
        if !needed.contains(&generation) {
            let path = directory.join(file_name(kind, generation));
            if let Err(cause) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %cause, "an old snapshot stays");
            }
        }
    }
}

/// The header of a file; `None` if it is not there or damaged.
fn header_of(path: &Path) -> Option<Header> {
    let mut header = [0; HEADER_BYTES];
    File::open(path).ok()?.read_exact(&mut header).ok()?;
    Header::decode(&header).ok()
}
