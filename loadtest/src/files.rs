//! Small files: written whole or not at all, so that a reader who waits for one never sees half.

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::trouble::{Outcome, Trouble};

/// A fresh directory that goes away with its handle.
///
/// # Errors
/// When the system's directory for temporary files refuses one.
pub fn scratch(name: &str) -> Outcome<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix(&format!("keyway-{name}-"))
        .tempdir()
        .map_err(Trouble::io("make a temporary directory"))
}

/// Writes `text` to `path`, all at once.
///
/// # Errors
/// When the file system refuses.
pub fn write(path: &Path, text: impl AsRef<[u8]>) -> Outcome<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    fs::write(&part, text).map_err(Trouble::file("write", &part))?;
    fs::rename(&part, path).map_err(Trouble::file("rename to", path))
}

/// Writes `text` to the new file `path` that only its owner may read.
///
/// # Errors
/// When it exists already, or the file system refuses.
pub fn write_secret(path: &Path, text: impl AsRef<[u8]>) -> Outcome<()> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_ref()))
        .map_err(Trouble::file("write", path))
}

/// Reads a text file.
///
/// # Errors
/// When it is not there or no UTF-8.
pub fn read(path: &Path) -> Outcome<String> {
    fs::read_to_string(path).map_err(Trouble::file("read", path))
}

/// Counts the lines of a log and empties it. The writer must append.
///
/// # Errors
/// When the log cannot be read or cut.
pub fn count_lines_and_empty(path: &Path) -> Outcome<u64> {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(Trouble::file("open", path))?;
    let mut lines = 0_u64;
    let mut reader = BufReader::with_capacity(1 << 20, &file);
    loop {
        let block = reader.fill_buf().map_err(Trouble::file("read", path))?;
        if block.is_empty() {
            break;
        }
        lines += block
            .iter()
            .map(|byte| u64::from(*byte == b'\n'))
            .sum::<u64>();
        let length = block.len();
        reader.consume(length);
    }
    file.set_len(0).map_err(Trouble::file("empty", path))?;
    Ok(lines)
}

/// The last `lines` lines of a file; what is said about it when it cannot be read.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => return format!("({}: {error})", path.display()),
    };
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_counted_and_emptied_under_its_writer() {
        let directory = scratch("files-test").unwrap();
        let path = directory.path().join("log");
        let mut log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        std::io::Write::write_all(&mut log, b"a\nb\nhalf").unwrap();
        assert_eq!(count_lines_and_empty(&path).unwrap(), 2);
        std::io::Write::write_all(&mut log, b"c\n").unwrap();
        assert_eq!(read(&path).unwrap(), "c\n");
    }

    #[test]
    fn a_tail_is_the_end_of_a_file_or_says_why_there_is_none() {
        let directory = scratch("files-test").unwrap();
        let path = directory.path().join("log");
        assert!(tail(&path, 2).contains("No such file"));
        write(&path, "1\n2\n3\n").unwrap();
        assert_eq!(tail(&path, 2), "2\n3");
    }
}
