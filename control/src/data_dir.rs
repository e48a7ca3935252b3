//! The data directory: what lies where, and that only one control process works in it.
//!
//! ```text
//! DIR/control.lock   held while a control process runs
//! DIR/control.db     truth
//! DIR/pepper.hex     the secret that keys are digested with; nodes need it too
//! DIR/snapshots/     what nodes serve
//! DIR/control.sock   where nodes connect
//! ```

use keyway::authenticate::digest::{Pepper, PepperError};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The id of the pepper that [`DataDir::pepper`] makes.
const PEPPER_ID: u8 = 1;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another control process works in it.
    #[error("{}: another keyway-control works here", .0.display())]
    Busy(PathBuf),
    /// The database is there and the pepper is not: a new one would make every key unknown.
    #[error(
        "{}: the pepper is missing, and without it no key of this database can be recognized; \
         put it back", .0.display()
    )]
    PepperLost(PathBuf),
    /// The pepper cannot be read or made.
    #[error(transparent)]
    Pepper(#[from] PepperError),
    /// A file or the directory cannot be made.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// A data directory, locked for this process until dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Takes the directory; makes it, closed to group and others, if it is not there.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| DataDirError::Io { path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed(path))?;
        let lock_path = path.join("control.lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::Busy(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(&lock_path)(source)),
        }
    }

    /// The database file.
    pub fn database(&self) -> PathBuf {
        self.path.join("control.db")
    }

    /// The snapshot directory.
    pub fn snapshots(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// The socket that nodes connect to.
    pub fn socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// The pepper's file.
    pub fn pepper_path(&self) -> PathBuf {
        self.path.join("pepper.hex")
    }

    /// Reads the pepper, or makes it in a directory that has no database yet.
    pub fn pepper(&self) -> Result<Pepper, DataDirError> {
        let path = self.pepper_path();
        if path.exists() {
            return Ok(Pepper::read(PEPPER_ID, &path)?);
        }
        if self.database().exists() {
            return Err(DataDirError::PepperLost(path));
        }
        Ok(Pepper::create(PEPPER_ID, &path)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path)
            .expect("is there")
            .permissions()
            .mode()
            & 0o777
    }

    #[test]
    fn a_new_directory_and_its_pepper_are_closed_to_others() {
        let parent = tempfile::tempdir().expect("a directory");
        let dir = DataDir::open(&parent.path().join("a/b")).expect("opens");
        dir.pepper().expect("makes the pepper");
        assert_eq!(mode(&parent.path().join("a/b")), 0o700);
        assert_eq!(mode(&dir.pepper_path()), 0o600);
    }

    #[test]
    fn two_processes_never_share_a_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = DataDir::open(directory.path()).expect("opens");
        let second = DataDir::open(directory.path());
        assert!(matches!(second, Err(DataDirError::Busy(_))), "{second:?}");
        drop(first);
        DataDir::open(directory.path()).expect("opens again");
    }

    #[test]
    fn a_lost_pepper_is_not_replaced_by_another() {
        let directory = tempfile::tempdir().expect("a directory");
        let dir = DataDir::open(directory.path()).expect("opens");
        std::fs::write(dir.database(), b"keys of the old pepper").expect("writes");
        assert!(matches!(dir.pepper(), Err(DataDirError::PepperLost(_))));
    }
}
