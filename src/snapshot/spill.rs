//! A side stream of a writer: kept in memory while small, in a file without a name once large.
//!
//! An app's grants and name belong to sections of their own, but arrive with the app. A writer of
//! millions of apps must not hold them all, a writer of an overlay must not touch the disk for a
//! handful.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;

/// Bytes kept in memory before the file is opened.
const MEMORY_BYTES_MAX: usize = 1 << 20;

/// Bytes to be read back once, in the order in which they came.
#[derive(Debug)]
pub struct Spill {
    path: PathBuf,
    memory: Vec<u8>,
    file: Option<File>,
    bytes: u64,
}

impl Spill {
    /// An empty spill; `path` is used, and unlinked at once, if it grows.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            memory: Vec::new(),
            file: None,
            bytes: 0,
        }
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds bytes at the end.
    pub fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.memory.extend_from_slice(bytes);
        self.bytes += u64::try_from(bytes.len()).map_err(io::Error::other)?;
        if self.memory.len() >= MEMORY_BYTES_MAX {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes all of it to `out`.
    pub fn copy_to(mut self, out: &mut impl Write) -> io::Result<()> {
        if self.file.is_none() {
            return out.write_all(&self.memory);
        }
        self.flush()?;
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(0))?;
            let copied = io::copy(file, out)?;
            if copied != self.bytes {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "a spill file was cut",
                ));
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            let mut options = OpenOptions::new();
            let file = options
                .read(true)
                .write(true)
                .create_new(true)
                .open(&self.path)?;
            // Without a name it goes when this process does, however that ends.
            std::fs::remove_file(&self.path)?;
            self.file = Some(file);
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.memory)?;
            self.memory.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_comes_back_from_memory_and_from_a_file() {
        let dir = tempfile::tempdir().expect("a directory");
        for pieces in [0, 1, 1_000, 40_000] {
            let mut spill = Spill::new(dir.path().join("spill.tmp"));
            let mut expected = Vec::new();
            for piece in 0..pieces {
                let text = format!("piece {piece} of a side stream, with some more text to it;");
                spill.put(text.as_bytes()).expect("room");
                expected.extend_from_slice(text.as_bytes());
            }
            assert_eq!(spill.file.is_some(), expected.len() >= MEMORY_BYTES_MAX);
            assert_eq!(spill.bytes(), u64::try_from(expected.len()).expect("small"));
            let mut copied = Vec::new();
            spill.copy_to(&mut copied).expect("readable");
            assert!(copied == expected);
            assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0);
        }
    }
}
