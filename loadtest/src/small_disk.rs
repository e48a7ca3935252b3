//! A directory on a disk of its own that is small enough to be filled: a `tmpfs`, which takes the
//! rights of an administrator.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::trouble::{Outcome, Trouble};

/// A mounted directory; it is unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    directory: PathBuf,
}

impl SmallDisk {
    /// Makes a directory and mounts it; `None` where that is not allowed.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn mount(directory: &Path, mib: u32) -> Outcome<Option<Self>> {
        std::fs::create_dir_all(directory).map_err(Trouble::io("make a directory"))?;
        let options = format!("size={mib}m,mode=0700");
        let mounted = mount(
            Some("tmpfs"),
            directory,
            Some("tmpfs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            Some(options.as_str()),
        );
        Ok(mounted.ok().map(|()| Self {
            directory: directory.to_owned(),
        }))
    }

    /// Leaves no room.
    ///
    /// # Errors
    /// When it fails for another reason than that.
    pub fn fill(&self) -> Outcome<()> {
        let filled = std::fs::File::create(self.filler()).and_then(|mut file| {
            let block = [0; 4_096];
            loop {
                file.write_all(&block)?;
            }
        });
        match filled {
            Err(error) if error.kind() == ErrorKind::StorageFull => Ok(()),
            Err(error) => Err(Trouble::io("fill the small disk")(error)),
            Ok(()) => Ok(()),
        }
    }

    /// Makes room again.
    ///
    /// # Errors
    /// When what filled it cannot be removed.
    pub fn free(&self) -> Outcome<()> {
        std::fs::remove_file(self.filler()).map_err(Trouble::io("make room again"))
    }

    fn filler(&self) -> PathBuf {
        self.directory.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is about to end may have a file open.
        let _ = umount2(&self.directory, MntFlags::MNT_DETACH);
    }
}
