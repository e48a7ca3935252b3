//! Files that outlive a crash: written as a whole or not there, and errors that name the place.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Writes a file beside its place and moves it there, so that it is whole or not there, also after a
/// power cut once its directory is [synced](sync_directory). Answers it, open behind its last byte.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        Ok(file)
    };
    write().map_err(|cause| {
        // A part of it would take the room that the next try needs.
        let _ = fs::remove_file(&temporary);
        at(path, cause)
    })
}

/// Makes the names in a directory outlive a power cut.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    let opened = File::open(directory);
    let synced = opened.and_then(|opened| opened.sync_all());
    synced.map_err(|cause| at(directory, cause))
}

/// Says where.
pub fn at(path: &Path, cause: io::Error) -> io::Error {
    io::Error::new(cause.kind(), format!("{}: {cause}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_leaves_the_old_file_and_nothing_beside_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let mut file = write_whole(&path, b"old").expect("is written");
        file.write_all(b", and more").expect("goes on at its end");
        assert_eq!(fs::read(&path).expect("is there"), b"old, and more");
        // A directory cannot be replaced by a file.
        let taken = directory.path().join("taken");
        fs::create_dir(&taken).expect("a directory");
        let error = write_whole(&taken, b"new").expect_err("cannot be moved there");
        assert!(error.to_string().contains("taken"), "{error}");
        let left = fs::read_dir(directory.path()).expect("is read").count();
        assert_eq!(left, 2);
        sync_directory(directory.path()).expect("is synced");
    }
}
