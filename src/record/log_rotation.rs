//! The files of a log that the node rotates itself: `access.log`, and `access.log.1` to
//! `access.log.N` behind it, the higher the older.
//!
//! A file is put aside by renaming it, never by copying or truncating, so that no line is lost to
//! whoever reads it at that moment. Whoever else rotates by name, such as logrotate without its
//! compression, leaves files that are found here too.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Most files that are looked for behind a log.
pub const FILES_MAX: usize = 256;

/// When a log is rotated, and how much of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// A file that would outgrow this is put aside first.
    pub bytes: u64,
    /// Files kept behind the current one, at least one; the oldest is overwritten.
    pub files: u32,
}

/// The name of the file that was put aside `place` rotations ago.
pub fn rotated(path: &Path, place: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{place}"));
    name.into()
}

/// Puts the file at `path` aside, and overwrites the oldest one if there are as many as are kept.
/// On an error nothing is lost: what was not renamed is where it was.
pub fn put_aside(path: &Path, rotation: Rotation) -> io::Result<()> {
    // A gap ends the chain: what lies behind it need not move.
    let mut last = 1;
    while last < rotation.files && rotated(path, last).try_exists()? {
        last += 1;
    }
    for place in (1..last).rev() {
        fs::rename(rotated(path, place), rotated(path, place + 1))?;
    }
    fs::rename(path, rotated(path, 1))
}

/// What tells one file from another, whatever they are called.
pub fn identity(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Whether `file` is what lies at `path` now.
pub fn is_at(file: &File, path: &Path) -> bool {
    let there = fs::metadata(path).map(|there| (there.dev(), there.ino()));
    matches!((identity(file), there), (Ok(own), Ok(there)) if own == there)
}

/// Opens all files of the log at `path`, the newest first. A rotation meanwhile moves files back in
/// this order, so none is missed, and one that is met twice is left out.
pub fn open_all(path: &Path) -> io::Result<Vec<File>> {
    let mut files = vec![open_regular(path)?];
    let mut seen = vec![identity(&files[0])?];
    for place in (1..).take(FILES_MAX) {
        let file = match open_regular(&rotated(path, place)) {
            Ok(file) => file,
            // The first that is missing may have been deleted alone.
            Err(error) if error.kind() == io::ErrorKind::NotFound && place == 1 => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        let own = identity(&file)?;
        if !seen.contains(&own) {
            seen.push(own);
            files.push(file);
        }
    }
    Ok(files)
}

fn open_regular(path: &Path) -> io::Result<File> {
    // Before the open, which would wait at a pipe that nobody writes to.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    File::open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn texts(path: &Path) -> Vec<String> {
        let read = |mut file: File| {
            let mut text = String::new();
            file.read_to_string(&mut text).expect("is text");
            text
        };
        open_all(path)
            .expect("opens")
            .into_iter()
            .map(read)
            .collect()
    }

    #[test]
    fn files_move_back_and_the_oldest_is_overwritten() {
        let directory = tempfile::tempdir().expect("makes a directory");
        let path = directory.path().join("access.log");
        let rotation = Rotation { bytes: 1, files: 2 };
        for text in ["a", "b", "c", "d"] {
            fs::write(&path, text).expect("writes");
            if text != "d" {
                put_aside(&path, rotation).expect("rotates");
            }
        }
        assert_eq!(texts(&path), ["d", "c", "b"]);
        assert_eq!(fs::read_dir(directory.path()).expect("is one").count(), 3);
    }

    #[test]
    fn a_gap_is_filled_before_anything_is_overwritten() {
        let directory = tempfile::tempdir().expect("makes a directory");
        let path = directory.path().join("access.log");
        fs::write(&path, "new").expect("writes");
        fs::write(rotated(&path, 2), "old").expect("writes");
        put_aside(&path, Rotation { bytes: 1, files: 2 }).expect("rotates");
        fs::write(&path, "newest").expect("writes");
        assert_eq!(texts(&path), ["newest", "new", "old"]);
    }

    #[test]
    fn a_file_with_two_names_is_read_once() {
        let directory = tempfile::tempdir().expect("makes a directory");
        let path = directory.path().join("access.log");
        fs::write(&path, "a").expect("writes");
        fs::hard_link(&path, rotated(&path, 1)).expect("links");
        assert_eq!(texts(&path), ["a"]);
    }
}
