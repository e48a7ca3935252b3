//! The spool's files, in a directory of the node's own.
//!
//! ```text
//! BOOT-SEQUENCE.segment   sealed; whole or not there
//! BOOT-SEQUENCE.open      the journal of what will be sealed under this number, and those after it
//! BOOT.lock               locked while the process lives
//! ```
//!
//! Numbers in hexadecimal. The segments that a journal became get their names in order from the last to
//! the first, so the first one says that all of them are there: then the journal is of no use any
//! more, and before that the segments are. So a crash at any moment loses nothing that was
//! written and counts nothing twice.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// The longest file that is read into memory.
const READ_BYTES_MAX: u64 = 1 << 30;

/// The number of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// Random number of the process that counted.
    pub boot: u64,
    /// Counts its segments.
    pub sequence: u64,
}

/// A sealed segment on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub id: Id,
    /// Its length.
    pub bytes: u64,
    /// When it was written, milliseconds since the epoch.
    pub written_ms: u64,
}

/// What lies in the directory.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// Sealed segments, in the order in which they are to be shipped.
    pub sealed: Vec<Found>,
    /// Journals of processes that are gone.
    pub journals: Vec<Id>,
}

/// The directory.
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    boot: u64,
    /// Held as long as the process lives, and released by the system however it ends.
    _lock: File,
    open: Option<File>,
}

impl Files {
    /// Takes a directory for a process.
    pub fn take(directory: PathBuf, boot: u64) -> io::Result<Self> {
        fs::create_dir_all(&directory).map_err(|cause| at(&directory, cause))?;
        let path = directory.join(format!("{boot:016x}.lock"));
        let lock = File::create(&path).map_err(|cause| at(&path, cause))?;
        lock.try_lock()
            .map_err(|cause| at(&path, io::Error::other(cause)))?;
        Ok(Self {
            directory,
            boot,
            _lock: lock,
            open: None,
        })
    }

    /// What processes that are gone have left. Another that lives ships its own.
    pub fn leftovers(&self) -> io::Result<Leftovers> {
        let mut left = Leftovers::default();
        let (mut locks, mut halves) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.directory).map_err(|cause| at(&self.directory, cause))? {
            let path = entry.map_err(|cause| at(&self.directory, cause))?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let Some(stem) = stem else { continue };
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("segment") => {
                    let Some(id) = id_of(stem) else { continue };
                    let about = fs::metadata(&path).map_err(|cause| at(&path, cause))?;
                    left.sealed.push(Found {
                        id,
                        bytes: about.len(),
                        written_ms: written_ms(&about),
                    });
                }
                Some("open") => left.journals.extend(id_of(stem)),
                Some("lock") => locks.extend(u64::from_str_radix(stem, 16)),
                Some("tmp") => halves.extend(id_of(stem).map(|id| (id, path.clone()))),
                _ => {}
            }
        }
        let alive: Vec<u64> = locks
            .into_iter()
            .filter(|boot| self.is_alive(*boot))
            .collect();
        for (_, half) in halves.iter().filter(|(id, _)| !alive.contains(&id.boot)) {
            // A process died while it wrote it.
            let _ = fs::remove_file(half);
        }
        left.sealed.retain(|found| !alive.contains(&found.id.boot));
        left.journals.retain(|id| !alive.contains(&id.boot));
        self.drop_what_is_told_twice(&mut left)?;
        left.sealed.sort_by_key(|found| found.id);
        // Boots are random; within one the numbers grow, and the older boot goes first.
        let began = |boot: u64, all: &[Found]| {
            let of_boot = all.iter().filter(|found| found.id.boot == boot);
            of_boot.map(|found| found.written_ms).min()
        };
        let all = left.sealed.clone();
        left.sealed
            .sort_by_key(|found| (began(found.id.boot, &all), found.id));
        Ok(left)
    }

    /// Of a journal and what it became, one counts.
    fn drop_what_is_told_twice(&self, left: &mut Leftovers) -> io::Result<()> {
        let mut journals = Vec::new();
        for id in std::mem::take(&mut left.journals) {
            if left.sealed.iter().any(|found| found.id == id) {
                self.remove(id, "open")?;
                continue;
            }
            // Sealed in part: the journal still says all of it.
            let is_of_it = |found: &Found| found.id.boot == id.boot && found.id > id;
            for found in left.sealed.iter().filter(|found| is_of_it(found)) {
                self.remove(found.id, "segment")?;
            }
            left.sealed.retain(|found| !is_of_it(found));
            journals.push(id);
        }
        left.journals = journals;
        Ok(())
    }

    /// A lock that can be had is one of a process that is gone.
    fn is_alive(&self, boot: u64) -> bool {
        let path = self.directory.join(format!("{boot:016x}.lock"));
        if boot == self.boot {
            return true;
        }
        let Ok(lock) = File::open(&path) else {
            return false;
        };
        if lock.try_lock().is_err() {
            return true;
        }
        let _ = fs::remove_file(&path);
        false
    }

    /// Appends to the journal of the open count, which will be sealed as `sequence`.
    pub fn append(&mut self, sequence: u64, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(self.id(sequence), "open");
        if self.open.is_none() {
            let file = OpenOptions::new().create(true).append(true).open(&path);
            self.open = Some(file.map_err(|cause| at(&path, cause))?);
        }
        let Some(file) = &mut self.open else {
            return Ok(());
        };
        file.write_all(bytes).map_err(|cause| at(&path, cause))
    }

    /// Writes the journal anew, as a whole: after a failure nobody knows what is in it.
    pub fn rewrite(&mut self, sequence: u64, bytes: &[u8]) -> io::Result<()> {
        self.open = None;
        let id = self.id(sequence);
        self.write_whole(id, bytes, "open")?;
        self.sync_directory()
    }

    /// Writes segments under ascending numbers of `boot` from `first` on, in place of its journal.
    pub fn seal(&mut self, boot: u64, first: u64, segments: &[Vec<u8>]) -> io::Result<()> {
        if boot == self.boot {
            self.open = None;
        }
        let ids = (first..).map(|sequence| Id { boot, sequence });
        for (id, bytes) in ids.zip(segments).rev_by_collecting() {
            self.write_whole(id, bytes, "segment")?;
        }
        self.sync_directory()?;
        let journal = Id {
            boot,
            sequence: first,
        };
        self.remove(journal, "open")
    }

    fn write_whole(&self, id: Id, bytes: &[u8], extension: &str) -> io::Result<()> {
        let path = self.path(id, extension);
        let temporary = path.with_extension("tmp");
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|cause| at(&path, cause))
    }

    fn sync_directory(&self) -> io::Result<()> {
        let directory = File::open(&self.directory);
        let synced = directory.and_then(|directory| directory.sync_all());
        synced.map_err(|cause| at(&self.directory, cause))
    }

    /// Reads a sealed segment.
    pub fn read(&self, id: Id) -> io::Result<Vec<u8>> {
        read(&self.path(id, "segment"))
    }

    /// Reads a journal of a process that is gone.
    pub fn read_journal(&self, id: Id) -> io::Result<Vec<u8>> {
        read(&self.path(id, "open"))
    }

    /// Removes a sealed segment.
    pub fn forget(&self, id: Id) -> io::Result<()> {
        self.remove(id, "segment")
    }

    /// Takes a segment that cannot be read out of the way, for whoever can.
    pub fn set_aside(&self, id: Id) -> io::Result<()> {
        let path = self.path(id, "segment");
        let aside = path.with_extension("unreadable");
        fs::rename(&path, aside).map_err(|cause| at(&path, cause))
    }

    fn remove(&self, id: Id, extension: &str) -> io::Result<()> {
        let path = self.path(id, extension);
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(at(&path, cause)),
            _ => Ok(()),
        }
    }

    fn id(&self, sequence: u64) -> Id {
        Id {
            boot: self.boot,
            sequence,
        }
    }

    fn path(&self, id: Id, extension: &str) -> PathBuf {
        let Id { boot, sequence } = id;
        self.directory
            .join(format!("{boot:016x}-{sequence:016x}.{extension}"))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.directory.join(format!("{:016x}.lock", self.boot)));
    }
}

/// Goes through a few from the last to the first.
trait RevByCollecting: Iterator + Sized {
    fn rev_by_collecting(self) -> std::iter::Rev<std::vec::IntoIter<Self::Item>> {
        self.collect::<Vec<_>>().into_iter().rev()
    }
}

impl<I: Iterator> RevByCollecting for I {}

fn id_of(stem: &str) -> Option<Id> {
    let (boot, sequence) = stem.split_once('-')?;
    Some(Id {
        boot: u64::from_str_radix(boot, 16).ok()?,
        sequence: u64::from_str_radix(sequence, 16).ok()?,
    })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|cause| at(path, cause))?;
    file.take(READ_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|cause| at(path, cause))?;
    Ok(bytes)
}

fn written_ms(about: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let seconds = u64::try_from(about.mtime()).unwrap_or(0);
    seconds.saturating_mul(1_000)
}

/// Says where.
fn at(path: &Path, cause: io::Error) -> io::Error {
    io::Error::new(cause.kind(), format!("{}: {cause}", path.display()))
}
