//! A new base made beside the service: writing ten million keys takes seconds, and a revocation may
//! not wait for it.
//!
//! [`BaseWriter`] writes the base under a temporary name, on whatever thread, while the publisher
//! goes on with overlays over the old one. [`Publisher::publish_over`] then names it together with
//! an overlay of what changed meanwhile. Until that moment nothing of it counts: it is removed when
//! dropped, and by the next [`Publisher::open`] after a crash.

use std::fs;
use std::path::PathBuf;

use super::{
    BaseRef, Checksum, Content, FileRef, Kind, Manifest, PublishError, Publisher, Release, Start,
    TEMPORARY, Written, file_name, io_error, write_content,
};

/// Writes one base beside the service.
#[derive(Debug)]
pub struct BaseWriter {
    directory: PathBuf,
}

/// A whole base on disk, under a temporary name.
#[derive(Debug)]
pub struct PreparedBase {
    temporary: PathBuf,
    file: FileRef,
}

impl Drop for PreparedBase {
    fn drop(&mut self) {
        // After `publish_over` renamed it there is nothing to remove.
        drop(fs::remove_file(&self.temporary));
    }
}

impl BaseWriter {
    /// Writes and syncs the base. `allow_shrink` is said again when it is published, and not read
    /// here. Blocks.
    pub fn write(
        self,
        release: Release,
        content: Content<'_>,
    ) -> Result<PreparedBase, PublishError> {
        let generation = release.generation;
        let file = file_name(Kind::Base, generation);
        let temporary = self.directory.join(format!("{file}{TEMPORARY}"));
        // One that an earlier failure could not remove.
        drop(fs::remove_file(&temporary));
        let start = Start {
            base: None,
            generation,
            created_ms: release.created_ms,
        };
        let written = write_content(&temporary, start, content);
        // From here on it is removed when anything fails.
        let mut prepared = PreparedBase {
            temporary,
            file: FileRef {
                file,
                generation,
                bytes: 0,
                checksum: Checksum(0),
            },
        };
        let Written {
            file,
            bytes,
            checksum,
            ..
        } = written?;
        file.sync_all()
            .map_err(|source| io_error("syncing", &prepared.temporary, source))?;
        prepared.file.bytes = bytes;
        prepared.file.checksum = Checksum(checksum);
        Ok(prepared)
    }
}

impl PreparedBase {
    /// Its generation.
    pub fn generation(&self) -> u64 {
        self.file.generation
    }

    /// Its bytes.
    pub fn bytes(&self) -> u64 {
        self.file.bytes
    }
}

impl Publisher {
    /// What writes a base while this publisher goes on publishing overlays.
    pub fn base_writer(&self) -> BaseWriter {
        BaseWriter {
            directory: self.directory.clone(),
        }
    }

    /// Publishes a prepared base together with an overlay of what changed since it was read.
    pub fn publish_over(
        &mut self,
        prepared: PreparedBase,
        release: Release,
        content: Content<'_>,
    ) -> Result<&Manifest, PublishError> {
        let base = prepared.file.clone();
        let highest = self.current.as_ref().map_or(0, |it| it.base.generation);
        if base.generation <= highest {
            return Err(PublishError::NotNewer {
                generation: base.generation,
                highest,
            });
        }
        let path = self.directory.join(&base.file);
        fs::rename(&prepared.temporary, &path)
            .map_err(|source| io_error("renaming", &prepared.temporary, source))?;
        let over = BaseRef {
            generation: base.generation,
            checksum: base.checksum.0,
        };
        // Its sync of the directory is that of the base too.
        let overlay = match self.put_snapshot(release, Some(over), content) {
            Ok(overlay) => overlay,
            Err(cause) => {
                self.discard(&path);
                return Err(cause);
            }
        };
        let manifest = Manifest::new(base, Some(overlay), release.allow_shrink);
        let generation = manifest.generation;
        if let Err(cause) = self.commit(manifest) {
            if !matches!(cause, PublishError::Undurable { .. }) {
                self.discard(&path);
            }
            return Err(cause);
        }
        let current = self.current.as_ref();
        Ok(current
            .filter(|current| current.generation == generation)
            .expect("just committed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::fixture::{Fixture, digest};
    use crate::snapshot::load::{LoadPolicy, load};
    use crate::snapshot::record::KeyState;

    fn prepare(publisher: &Publisher, generation: u64, content: &Fixture) -> PreparedBase {
        let release = content.release(generation);
        content
            .with_content(|content| publisher.base_writer().write(release, content))
            .expect("writes")
    }

    fn files_in(directory: &std::path::Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("the directory");
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn overlays_go_on_while_a_base_is_prepared_and_none_is_lost() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut publisher = Publisher::open(directory.path()).expect("opens");
        let old = Fixture::small();
        old.publish_to(&mut publisher, 1).expect("a base");
        let serving = load(directory.path(), &LoadPolicy::default(), None).expect("loads");

        let prepared = prepare(&publisher, 2, &Fixture::small().keys([digest(70)]));
        let changed = Fixture::small().keys([digest(80)]);
        changed
            .publish_overlay_to(&mut publisher, 3)
            .expect("an overlay beside the preparation");
        let meanwhile =
            load(directory.path(), &LoadPolicy::default(), Some(&serving)).expect("loads");
        assert_eq!(
            (meanwhile.base_generation(), meanwhile.generation()),
            (1, 3)
        );

        let release = changed.release(4);
        changed
            .with_content(|content| {
                publisher
                    .publish_over(prepared, release, content)
                    .map(|_| ())
            })
            .expect("publishes both");
        let after =
            load(directory.path(), &LoadPolicy::default(), Some(&meanwhile)).expect("loads");
        assert_eq!((after.base_generation(), after.generation()), (2, 4));
        for n in [70, 80] {
            let key = after.key(&digest(n)).expect("of base or overlay");
            assert_eq!(key.state, KeyState::Active);
        }
    }

    #[test]
    fn a_prepared_base_that_is_not_wanted_leaves_nothing_behind() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut publisher = Publisher::open(directory.path()).expect("opens");
        let content = Fixture::small();
        content.publish_to(&mut publisher, 1).expect("a base");
        let before = files_in(directory.path());
        drop(prepare(&publisher, 2, &content));
        assert_eq!(files_in(directory.path()), before);

        // A whole base was published meanwhile: the prepared one is older.
        let late = prepare(&publisher, 2, &content);
        content.publish_to(&mut publisher, 3).expect("a newer base");
        let release = content.release(4);
        let refused =
            content.with_content(|content| publisher.publish_over(late, release, content).err());
        assert!(matches!(
            refused,
            Some(PublishError::NotNewer {
                generation: 2,
                highest: 3
            })
        ));
        assert!(
            files_in(directory.path())
                .iter()
                .all(|name| !name.ends_with(TEMPORARY))
        );
    }

    #[test]
    fn a_base_whose_preparation_died_is_removed_at_the_next_start() {
        let directory = tempfile::tempdir().expect("a directory");
        let publisher = Publisher::open(directory.path()).expect("opens");
        std::mem::forget(prepare(&publisher, 2, &Fixture::small()));
        drop(publisher);
        assert!(!files_in(directory.path()).is_empty());
        drop(Publisher::open(directory.path()).expect("opens again"));
        assert!(files_in(directory.path()).is_empty());
    }
}
