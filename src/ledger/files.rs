//! The files of the ledger: one for each process that consumed quotas, in the node's state directory.
//!
//! The first process of a node reads all of them, begins with their sum, and writes it to its own
//! file, which names those that it contains; only then are they removed. A process that takes over
//! from another goes on with its bank in memory and writes beside it. So what the files say together is
//! what was consumed, at every moment, also between two system calls.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::journal::{self, ABSORBED_MAX, BATCH_ROWS_MAX, Header, Journal, Row, Sums};
use crate::clock::WallTime;
use crate::durable::{at, sync_directory, write_whole};
use crate::limit::journal::Spent;

const EXTENSION: &str = "quotas";
/// Rows of windows that began longer ago say nothing any more.
const HOURS_KEPT: u64 = 32 * 24;
/// A file this long is written anew, shorter.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// The longest file that is read.
const READ_BYTES_MAX: u64 = 1 << 30;

/// What this process writes.
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    header: Header,
    sums: Sums,
    /// Open for appending; `None` after a failure, which may have left half a batch.
    file: Option<File>,
    bytes: u64,
    synced_bytes: u64,
}

impl Files {
    /// The files of a node's first process; also answers what was consumed before it.
    pub(super) fn begin(directory: PathBuf, now: WallTime) -> io::Result<(Self, Vec<Row>)> {
        fs::create_dir_all(&directory).map_err(|cause| at(&directory, cause))?;
        let found = read_all(&directory)?;
        let absorbed: Vec<u64> = found.iter().map(|(_, one)| one.header.boot).collect();
        let mut files = Self::new(directory, Header::default())?;
        // An address has the same tag as before only under the same hash.
        let seeds = found.last().map(|(_, newest)| newest.header.seeds);
        files.header.seeds = seeds.map_or_else(random_pair, Ok)?;
        for (_, journal) in &found {
            let contained = found
                .iter()
                .any(|(_, other)| other.header.absorbed.contains(&journal.header.boot));
            if !contained {
                files.take_in(journal);
            }
        }
        files.header.absorbed = absorbed.into_iter().take(ABSORBED_MAX).collect();
        files.forget_past(now);
        files.rewrite()?;
        for (path, _) in &found {
            fs::remove_file(path).map_err(|cause| at(path, cause))?;
        }
        let rows = files.rows();
        Ok((files, rows))
    }

    /// The file of a process that goes on with the bank of one that may still write its own.
    pub(super) fn beside(directory: PathBuf, seeds: [u64; 2]) -> io::Result<Self> {
        fs::create_dir_all(&directory).map_err(|cause| at(&directory, cause))?;
        let header = Header {
            seeds,
            ..Header::default()
        };
        let mut files = Self::new(directory, header)?;
        files.rewrite()?;
        Ok(files)
    }

    fn new(directory: PathBuf, header: Header) -> io::Result<Self> {
        let [boot, _] = random_pair()?;
        Ok(Self {
            directory,
            header: Header { boot, ..header },
            sums: Sums::default(),
            file: None,
            bytes: 0,
            synced_bytes: 0,
        })
    }

    /// What addresses are hashed with.
    pub(super) fn seeds(&self) -> [u64; 2] {
        self.header.seeds
    }

    /// Quotas with something consumed.
    pub(super) fn quotas(&self) -> usize {
        self.sums.len()
    }

    /// Adds what was spent, and writes the new sums.
    pub(super) fn append(&mut self, spent: &[Spent], now: WallTime) -> io::Result<()> {
        let mut changed: Vec<_> = spent.iter().map(|one| (one.tag, one.window)).collect();
        for one in spent {
            let (granule, units) = self.sums.entry((one.tag, one.window)).or_insert((1, 0));
            *granule = one.granule;
            *units = units.saturating_add_signed(one.units);
        }
        // After a failure nothing is known of the file: it is written anew, as a whole.
        if self.file.is_none() || self.bytes > FILE_BYTES_MAX {
            self.forget_past(now);
            return self.rewrite();
        }
        if changed.is_empty() {
            return Ok(());
        }
        changed.sort_unstable();
        changed.dedup();
        let rows: Vec<Row> = changed.into_iter().map(|key| self.row(key)).collect();
        let mut bytes = Vec::new();
        for rows in rows.chunks(BATCH_ROWS_MAX) {
            journal::write_batch(&mut bytes, rows);
        }
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let written = file.write_all(&bytes);
        if written.is_err() {
            self.file = None;
        }
        self.bytes += bytes.len() as u64;
        written
    }

    /// Forces what was written to the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let Some(file) = self
            .file
            .as_ref()
            .filter(|_| self.synced_bytes < self.bytes)
        else {
            return Ok(());
        };
        self.synced_bytes = self.bytes;
        file.sync_data()
    }

    fn take_in(&mut self, journal: &Journal) {
        for (key, (granule, units)) in &journal.sums {
            let (of, sum) = self.sums.entry(*key).or_insert((1, 0));
            *of = *granule;
            *sum = sum.saturating_add(*units);
        }
    }

    fn forget_past(&mut self, now: WallTime) {
        let oldest = (now.seconds() / 3_600).saturating_sub(HOURS_KEPT);
        self.sums
            .retain(|(_, window), (_, units)| u64::from(*window) >= oldest && *units > 0);
    }

    fn row(&self, key: (crate::limit::tag::Tag, u32)) -> Row {
        let (granule, units) = self.sums.get(&key).copied().unwrap_or((1, 0));
        Row {
            tag: key.0,
            window: key.1,
            granule,
            units,
        }
    }

    fn rows(&self) -> Vec<Row> {
        self.sums.keys().map(|key| self.row(*key)).collect()
    }

    /// Writes the file as a whole: beside the old one, then in its place.
    fn rewrite(&mut self) -> io::Result<()> {
        let path = self.path();
        let mut bytes = self.header.encode();
        for rows in self.rows().chunks(BATCH_ROWS_MAX) {
            journal::write_batch(&mut bytes, rows);
        }
        let file = write_whole(&path, &bytes)?;
        sync_directory(&self.directory)?;
        self.file = Some(file);
        self.bytes = bytes.len() as u64;
        self.synced_bytes = self.bytes;
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.directory
            .join(format!("{:016x}.{EXTENSION}", self.header.boot))
    }
}

/// All journals of the directory, the one written last at the end. One that cannot be read is left
/// where it is and told about: whoever can read it again finds it.
fn read_all(directory: &Path) -> io::Result<Vec<(PathBuf, Journal)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(|cause| at(directory, cause))? {
        let path = entry.map_err(|cause| at(directory, cause))?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some(EXTENSION) => {}
            // Of a process that died over it; another that lives would write it again.
            Some("tmp") => {
                let _ = fs::remove_file(&path);
                continue;
            }
            _ => continue,
        }
        let about = fs::metadata(&path).map_err(|cause| at(&path, cause))?;
        let written = about.modified().map_err(|cause| at(&path, cause))?;
        if about.len() > READ_BYTES_MAX {
            tracing::error!(path = %path.display(), "a quota journal is too long to be read");
            continue;
        }
        let bytes = fs::read(&path).map_err(|cause| at(&path, cause))?;
        match Journal::decode(&bytes) {
            Ok(journal) => {
                if journal.torn_bytes > 0 {
                    let bytes = journal.torn_bytes;
                    tracing::warn!(path = %path.display(), bytes, "the end of a quota journal is torn");
                }
                found.push((written, path, journal));
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "a quota journal is left aside")
            }
        }
    }
    found.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
    Ok(found
        .into_iter()
        .map(|(_, path, journal)| (path, journal))
        .collect())
}

fn random_pair() -> io::Result<[u64; 2]> {
    let random = || getrandom::u64().map_err(io::Error::other);
    Ok([random()?, random()?])
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::limit::tag::{Kind, Tag};

    const NOW: WallTime = WallTime(490_000 * 3_600_000);

    fn spent(subject: u32, units: i64) -> Spent {
        Spent {
            tag: Tag::numbered(Kind::Quota, NonZeroU32::MIN, subject),
            window: 490_000,
            granule: 1,
            units,
        }
    }

    fn begin(directory: &Path) -> (Files, Vec<(u32, u64)>) {
        let (files, rows) = Files::begin(directory.to_owned(), NOW).unwrap();
        let subject = |tag: Tag| u32::try_from(tag.get() & 0xffff_ffff).unwrap();
        let mut rows: Vec<_> = rows
            .iter()
            .map(|row| (subject(row.tag), row.units))
            .collect();
        rows.sort_unstable();
        (files, rows)
    }

    fn count(directory: &Path) -> usize {
        fs::read_dir(directory).unwrap().count()
    }

    #[test]
    fn a_process_begins_with_what_those_before_it_consumed() {
        let directory = tempfile::tempdir().unwrap();
        let (mut first, found) = begin(directory.path());
        assert_eq!(found, []);
        first.append(&[spent(1, 5), spent(2, 1)], NOW).unwrap();
        first.append(&[spent(1, 2), spent(2, -1)], NOW).unwrap();
        let (mut second, found) = begin(directory.path());
        assert_eq!((found, count(directory.path())), (vec![(1, 7)], 1));
        assert_eq!(second.seeds(), first.seeds());
        second.append(&[spent(1, 1)], NOW).unwrap();
        assert_eq!(begin(directory.path()).1, [(1, 8)]);
    }

    #[test]
    fn processes_beside_each_other_add_up() {
        let directory = tempfile::tempdir().unwrap();
        let (mut old, _) = begin(directory.path());
        old.append(&[spent(1, 5)], NOW).unwrap();
        let mut new = Files::beside(directory.path().to_owned(), old.seeds()).unwrap();
        new.append(&[spent(1, 3)], NOW).unwrap();
        old.append(&[spent(1, 1)], NOW).unwrap();
        assert_eq!(begin(directory.path()).1, [(1, 9)]);
    }

    #[test]
    fn a_crash_before_the_old_files_are_gone_counts_nothing_twice() {
        let directory = tempfile::tempdir().unwrap();
        let (mut first, _) = begin(directory.path());
        first.append(&[spent(1, 5)], NOW).unwrap();
        let old = fs::read(first.path()).unwrap();
        let (mut second, _) = begin(directory.path());
        second.append(&[spent(1, 2)], NOW).unwrap();
        // As if the removal had never come to the disk.
        fs::write(first.path(), old).unwrap();
        assert_eq!(begin(directory.path()).1, [(1, 7)]);
    }

    #[test]
    fn windows_that_are_over_are_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let (mut first, _) = begin(directory.path());
        let past = Spent {
            window: 480_000,
            ..spent(1, 5)
        };
        first.append(&[past, spent(2, 1)], NOW).unwrap();
        assert_eq!(begin(directory.path()).1, [(2, 1)]);
    }

    #[test]
    fn a_file_that_failed_is_written_anew_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let (mut files, _) = begin(directory.path());
        files.append(&[spent(1, 5)], NOW).unwrap();
        files.file = None;
        files.append(&[spent(1, 1), spent(2, 2)], NOW).unwrap();
        files.sync().unwrap();
        assert_eq!(begin(directory.path()).1, [(1, 6), (2, 2)]);
    }

    #[test]
    fn a_foreign_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let foreign = directory.path().join("x.quotas");
        fs::write(&foreign, "hello").unwrap();
        assert_eq!(begin(directory.path()).1, []);
        assert_eq!(fs::read(&foreign).unwrap(), b"hello");
    }
}
