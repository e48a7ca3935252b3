//! Reads what is written to a log from some place on, over its rotations.

use super::filter::Sieve;
use super::{BLOCK_BYTES, LINE_BYTES_MAX};
use crate::record::log_rotation::{identity, is_at, open_all};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

/// A reader that is behind by more than this has lines passed over.
const BEHIND_BYTES_MAX: u64 = 16 << 20;

/// The end of a log that is read on.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    file: File,
    offset: u64,
    /// The file was put aside, and has been read once more since.
    is_last_look: bool,
}

/// What one look brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Lines that are meant, without their newlines.
    pub lines: Vec<String>,
    /// Lines that were passed over unread.
    pub missed: u64,
    /// There may be more at once.
    pub has_more: bool,
}

impl Tail {
    /// Goes on at `offset` of `file`, which is the newest of the log at `path`.
    pub fn new(path: PathBuf, file: File, offset: u64) -> Self {
        Self {
            path,
            file,
            offset,
            is_last_look: false,
        }
    }

    /// Reads a block more, if there is one.
    pub fn read(&mut self, sieve: &Sieve) -> io::Result<Read> {
        let mut read = Read::default();
        let bytes = self.file.metadata()?.len();
        if bytes < self.offset {
            // It was made shorter, and began anew.
            self.offset = 0;
        }
        if bytes - self.offset > BEHIND_BYTES_MAX {
            read.missed = self.pass_over(bytes - BLOCK_BYTES as u64)?;
        }
        let mut block = vec![0; BLOCK_BYTES];
        let count = self.file.read_at(&mut block, self.offset)?;
        let block = &block[..count];
        let Some(last) = memchr::memrchr(b'\n', block) else {
            if count == LINE_BYTES_MAX.min(BLOCK_BYTES) {
                // No line of ours is as long.
                self.offset += u64::try_from(count).unwrap_or(0);
                read.has_more = true;
            } else {
                read.has_more = self.go_on()?;
            }
            return Ok(read);
        };
        self.is_last_look = false;
        self.offset += u64::try_from(last + 1).unwrap_or(0);
        let kept = block[..last]
            .split(|octet| *octet == b'\n')
            .filter(|line| sieve.keeps(line));
        read.lines = kept
            .filter_map(|line| String::from_utf8(line.to_vec()).ok())
            .collect();
        read.has_more = true;
        Ok(read)
    }

    /// Counts the lines up to about `end` and goes on behind them.
    fn pass_over(&mut self, end: u64) -> io::Result<u64> {
        let mut missed = 0;
        let mut block = vec![0; BLOCK_BYTES];
        while self.offset < end {
            let count = self.file.read_at(&mut block, self.offset)?;
            let Some(last) = memchr::memrchr(b'\n', &block[..count]) else {
                break;
            };
            let lines = memchr::memchr_iter(b'\n', &block[..=last]).count();
            missed += u64::try_from(lines).unwrap_or(0);
            self.offset += u64::try_from(last + 1).unwrap_or(0);
        }
        Ok(missed)
    }

    /// At the end of a file: takes the next one, if this one was put aside.
    fn go_on(&mut self) -> io::Result<bool> {
        if is_at(&self.file, &self.path) {
            return Ok(false);
        }
        if !self.is_last_look {
            // What was written between the last look and the rotation.
            self.is_last_look = true;
            return Ok(true);
        }
        let mut files = match open_all(&self.path) {
            Ok(files) => files,
            // Between the rename and the new file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let own = identity(&self.file)?;
        let is_own = |file: &File| identity(file).is_ok_and(|other| other == own);
        let place = match files.iter().position(is_own) {
            Some(place) => place.saturating_sub(1),
            // Gone, or under a name of somebody else's.
            None => 0,
        };
        self.file = files.swap_remove(place);
        self.offset = 0;
        self.is_last_look = false;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::LogFilter;
    use super::*;
    use crate::record::log_rotation::{Rotation, put_aside};
    use std::fs;
    use std::io::Write as _;
    use std::path::Path;

    fn append(path: &Path, numbers: std::ops::Range<usize>) {
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(path)
            .expect("opens");
        for number in numbers {
            let time = "2026-11-21T08:00:00.000Z";
            writeln!(
                file,
                "{{\"time\":\"{time}\",\"path\":\"/{number}\",\"status\":200}}"
            )
            .expect("writes");
        }
    }

    fn tail(path: &Path) -> Tail {
        Tail::new(path.to_owned(), File::open(path).expect("opens"), 0)
    }

    /// Everything that is there: the numbers of the lines, and how many were passed over.
    fn rest(tail: &mut Tail) -> (Vec<usize>, u64) {
        let sieve = LogFilter::default().sieve().expect("can be meant");
        let (mut numbers, mut missed) = (Vec::new(), 0);
        loop {
            let read = tail.read(&sieve).expect("reads");
            missed += read.missed;
            numbers.extend(read.lines.iter().map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).expect("is whole");
                line["path"].as_str().expect("has one")[1..]
                    .parse::<usize>()
                    .expect("a number")
            }));
            if !read.has_more {
                return (numbers, missed);
            }
        }
    }

    #[test]
    fn lines_are_read_on_over_rotations() {
        let directory = tempfile::tempdir().expect("makes a directory");
        let path = directory.path().join("access.log");
        let rotation = Rotation { bytes: 1, files: 9 };
        append(&path, 0..10);
        let mut tail = tail(&path);
        assert_eq!(rest(&mut tail), ((0..10).collect(), 0));
        for start in [10, 20, 30] {
            append(&path, start..start + 5);
            put_aside(&path, rotation).expect("rotates");
            append(&path, start + 5..start + 10);
        }
        assert_eq!(rest(&mut tail), ((10..40).collect(), 0));
        put_aside(&path, rotation).expect("rotates");
        assert_eq!(rest(&mut tail), (vec![], 0), "there is no new file yet");
        append(&path, 40..41);
        assert_eq!(rest(&mut tail), (vec![40], 0));
    }

    #[test]
    fn half_a_line_waits_for_its_end_and_a_truncated_file_begins_anew() {
        let directory = tempfile::tempdir().expect("makes a directory");
        let path = directory.path().join("access.log");
        append(&path, 0..2);
        let whole = fs::read(&path).expect("reads");
        fs::write(&path, &whole[..whole.len() - 5]).expect("writes");
        let mut tail = tail(&path);
        assert_eq!(rest(&mut tail).0, [0]);
        fs::write(&path, &whole).expect("writes");
        assert_eq!(rest(&mut tail).0, [1]);
        fs::write(&path, &whole[..whole.len() / 2]).expect("writes");
        assert_eq!(rest(&mut tail).0, [0]);
    }

    #[test]
    fn who_is_far_behind_is_told_how_many_lines_were_passed_over() {
        let directory = tempfile::tempdir().expect("makes a directory");
        let path = directory.path().join("access.log");
        let count = 400_000;
        append(&path, 0..1);
        let mut tail = tail(&path);
        rest(&mut tail);
        let mut text = Vec::new();
        for number in 0..count {
            writeln!(
                text,
                "{{\"time\":\"2026-11-21T08:00:00.000Z\",\"path\":\"/{number}\",\"status\":200}}"
            )
            .expect("a vector takes all");
        }
        File::options()
            .append(true)
            .open(&path)
            .expect("opens")
            .write_all(&text)
            .expect("writes");
        let (numbers, missed) = rest(&mut tail);
        assert!(missed > 0);
        assert_eq!(
            numbers.len() + usize::try_from(missed).expect("is small"),
            count
        );
        assert_eq!(numbers.last(), Some(&(count - 1)));
    }
}
