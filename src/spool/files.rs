//! The spool's files, in a directory of the node's own.
//!
//! ```text
//! BOOT-SEQUENCE-FIRST.segment   sealed; whole or not there. FIRST: the number of the journal it was in
//! BOOT-SEQUENCE.open            the journal of what will be sealed from this number on
//! BOOT.lock                     locked while the process lives
//! ```
//!
//! Numbers in hexadecimal. The segments that a journal became get their names in order from the last to
//! the first, so the first one says that all of them are there: then the journal is of no use any
//! more, and before that the segments are. So a crash at any moment loses nothing that was
//! written and counts nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::durable::{at, sync_directory, write_whole};

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
    /// The number of the first segment that came of the same journal.
    pub first: u64,
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
        // Under its name only once it is locked: another process would take this one for dead.
        let unnamed = directory.join(format!("{boot:016x}.new"));
        let lock = File::create(&unnamed).map_err(|cause| at(&unnamed, cause))?;
        lock.try_lock()
            .map_err(|cause| at(&unnamed, io::Error::other(cause)))?;
        fs::rename(&unnamed, &path).map_err(|cause| at(&path, cause))?;
        Ok(Self {
            directory,
            boot,
            _lock: lock,
            open: None,
        })
    }

    /// What processes that are gone have left, apart from what is `known`. Another that lives ships
    /// its own.
    pub fn leftovers(&self, known: impl Fn(Id) -> bool) -> io::Result<Leftovers> {
        let mut left = Leftovers::default();
        let mut unfinished = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(|cause| at(&self.directory, cause))? {
            let path = entry.map_err(|cause| at(&self.directory, cause))?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let Some(stem) = stem else { continue };
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("segment") => {
                    let Some((id, first)) = segment_of(stem) else {
                        continue;
                    };
                    // Another process may have shipped it since.
                    let Ok(about) = fs::metadata(&path) else {
                        continue;
                    };
                    left.sealed.push(Found {
                        id,
                        first,
                        bytes: about.len(),
                        written_ms: written_ms(&about),
                    });
                }
                Some("open") => left.journals.extend(id_of(stem)),
                Some("tmp") => unfinished.extend(boot_of(stem).map(|boot| (boot, path.clone()))),
                _ => {}
            }
        }
        let gone = self.gone(&left, &unfinished);
        left.sealed.retain(|found| gone.contains(&found.id.boot));
        left.journals.retain(|id| gone.contains(&id.boot));
        for (_, path) in unfinished.iter().filter(|(boot, _)| gone.contains(boot)) {
            self.remove_path(path)?;
        }
        // What is known is in order, whatever a failing disk has of it.
        left.journals.retain(|id| !known(*id));
        self.drop_what_is_told_twice(&mut left)?;
        left.sealed.retain(|found| !known(found.id));
        // Boots are random; within one the numbers grow, and the older boot goes first.
        let mut began: BTreeMap<u64, u64> = BTreeMap::new();
        for found in &left.sealed {
            let of_boot = began.entry(found.id.boot).or_insert(found.written_ms);
            *of_boot = (*of_boot).min(found.written_ms);
        }
        left.sealed
            .sort_by_key(|found| (began.get(&found.id.boot).copied(), found.id));
        Ok(left)
    }

    /// The processes of these files that are gone. Asked file by file and not by the locks that were
    /// listed: one may have begun in mid-list.
    fn gone(&self, left: &Leftovers, unfinished: &[(u64, PathBuf)]) -> BTreeSet<u64> {
        let sealed = left.sealed.iter().map(|found| found.id.boot);
        let journals = left.journals.iter().map(|id| id.boot);
        let boots: BTreeSet<u64> = sealed
            .chain(journals)
            .chain(unfinished.iter().map(|(boot, _)| *boot))
            .collect();
        boots
            .into_iter()
            .filter(|boot| !self.is_alive(*boot))
            .collect()
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
            let is_of_it = |found: &Found| found.id.boot == id.boot && found.first == id.sequence;
            for found in left.sealed.iter().filter(|found| is_of_it(found)) {
                self.remove_path(&self.segment_path(found.id, found.first))?;
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
        write_whole(&self.path(id, "open"), bytes)?;
        sync_directory(&self.directory)
    }

    /// Writes segments under ascending numbers of `boot` from `first` on, in place of its journal.
    pub fn seal(&mut self, boot: u64, first: u64, segments: &[Vec<u8>]) -> io::Result<()> {
        if boot == self.boot {
            self.open = None;
        }
        let numbered: Vec<_> = (first..).zip(segments).collect();
        for (sequence, bytes) in numbered.into_iter().rev() {
            self.write_segment(Id { boot, sequence }, first, bytes)?;
        }
        sync_directory(&self.directory)?;
        let journal = Id {
            boot,
            sequence: first,
        };
        self.remove(journal, "open")
    }

    /// Writes one segment of those that came of the journal `first`.
    pub fn write_segment(&self, id: Id, first: u64, bytes: &[u8]) -> io::Result<()> {
        write_whole(&self.segment_path(id, first), bytes).map(drop)
    }

    /// Reads a sealed segment.
    pub fn read(&self, found: Found) -> io::Result<Vec<u8>> {
        read(&self.segment_path(found.id, found.first))
    }

    /// Reads a journal of a process that is gone.
    pub fn read_journal(&self, id: Id) -> io::Result<Vec<u8>> {
        read(&self.path(id, "open"))
    }

    /// Removes a sealed segment, and the journal that it was, if a failure left that behind.
    pub fn forget(&self, found: Found) -> io::Result<()> {
        self.remove_path(&self.segment_path(found.id, found.first))?;
        self.remove(found.id, "open")
    }

    /// Removes a journal in which nothing is.
    pub fn forget_journal(&self, id: Id) -> io::Result<()> {
        self.remove(id, "open")
    }

    /// Takes a segment that cannot be read out of the way, for whoever can.
    pub fn set_aside(&self, found: Found) -> io::Result<()> {
        let path = self.segment_path(found.id, found.first);
        let aside = path.with_extension("unreadable");
        fs::rename(&path, aside).map_err(|cause| at(&path, cause))
    }

    fn remove(&self, id: Id, extension: &str) -> io::Result<()> {
        self.remove_path(&self.path(id, extension))
    }

    fn remove_path(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(at(path, cause)),
            _ => Ok(()),
        }
    }

    fn segment_path(&self, id: Id, first: u64) -> PathBuf {
        let Id { boot, sequence } = id;
        self.directory
            .join(format!("{boot:016x}-{sequence:016x}-{first:016x}.segment"))
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

fn segment_of(stem: &str) -> Option<(Id, u64)> {
    let (id, first) = stem.rsplit_once('-')?;
    Some((id_of(id)?, u64::from_str_radix(first, 16).ok()?))
}

fn boot_of(stem: &str) -> Option<u64> {
    let (boot, _) = stem.split_once('-')?;
    u64::from_str_radix(boot, 16).ok()
}

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
