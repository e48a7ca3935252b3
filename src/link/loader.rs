//! Takes published snapshots over: looks at `CURRENT`, loads what is new, refuses what cannot be
//! served.
//!
//! Answers an [`Outcome`] each time it looks. The last good view stays whatever happens. A
//! publication that failed is not tried again at every look: its files do not change. Absent on
//! purpose: workers, metrics and messages; the [feed](super::feed) has those.

use crate::clock::{Clock, Tick};
use crate::snapshot::load::{LoadError, LoadPolicy, load};
use crate::snapshot::manifest::{Checksum, Manifest, ManifestError};
use crate::snapshot::view::View;
use std::path::PathBuf;
use std::sync::Arc;

/// Pause before a publication that failed is tried again unasked. Its files are immutable, so
/// only an operator's hand can have mended them.
const RETRY_NS: u64 = 30_000_000_000;

/// Pause where the system, not the publication, was at fault: memory, descriptors, disk.
const RETRY_SYSTEM_NS: u64 = 5_000_000_000;

/// What a look at the directory found.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing new.
    Unchanged,
    /// Nothing was published there yet.
    Absent {
        /// For a person: is there a directory at all?
        reason: String,
    },
    /// A new view, to be offered to every worker.
    Loaded {
        /// The view.
        view: Arc<View>,
        /// Milliseconds that it took.
        load_ms: u64,
    },
    /// Something new that cannot be served.
    Failed {
        /// Its generation; 0 if `CURRENT` itself cannot be read.
        generation: u64,
        /// Why, for a person.
        reason: String,
        /// False when the same was already answered.
        news: bool,
    },
}

/// The loader of one snapshot directory.
#[derive(Debug)]
pub struct Loader {
    directory: PathBuf,
    policy: LoadPolicy,
    /// Ids of the peppers this node has.
    peppers: Vec<u8>,
    clock: Clock,
    current: Option<Arc<View>>,
    failed: Option<Failure>,
}

#[derive(Debug)]
struct Failure {
    generation: u64,
    /// Names the publication; absent if `CURRENT` could not be read.
    manifest: Option<Checksum>,
    reason: String,
    retry: Tick,
}

/// Why a publication cannot be served.
#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Its keys would all be unknown here: refused, so that somebody sees why.
    #[error("its keys were made with pepper {0}, which this node's settings do not name")]
    Pepper(u8),
}

impl Loader {
    /// A loader that has not looked yet.
    pub fn new(directory: PathBuf, policy: LoadPolicy, peppers: Vec<u8>, clock: Clock) -> Self {
        Self {
            directory,
            policy,
            peppers,
            clock,
            current: None,
            failed: None,
        }
    }

    /// The generation of the last view loaded; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.current.as_ref().map_or(0, |view| view.generation())
    }

    /// Generation and reason, while the newest publication is one that failed.
    pub fn failure(&self) -> Option<(u64, &str)> {
        self.failed
            .as_ref()
            .map(|failure| (failure.generation, failure.reason.as_str()))
    }

    /// Looks at `CURRENT`. `urgent`: also try again what failed before, for control asked.
    pub fn look(&mut self, urgent: bool) -> Outcome {
        let now = self.clock.tick();
        let manifest = match Manifest::read(&self.directory) {
            Ok(manifest) => manifest,
            Err(ManifestError::Absent { .. }) if self.current.is_none() => return self.absent(),
            Err(error) => return self.failed(0, None, &Cause::Load(error.into())),
        };
        if manifest.generation == self.generation() {
            self.failed = None;
            return Outcome::Unchanged;
        }
        let again = self.failed.as_ref().is_some_and(|failure| {
            failure.manifest == Some(manifest.checksum) && now < failure.retry
        });
        if again && !urgent {
            return Outcome::Unchanged;
        }
        match self.load() {
            Ok(view) if view.generation() == self.generation() => Outcome::Unchanged,
            Ok(view) => {
                self.failed = None;
                self.current = Some(Arc::clone(&view));
                Outcome::Loaded {
                    view,
                    load_ms: self.clock.tick().since_ns(now) / 1_000_000,
                }
            }
            Err(cause) => self.failed(manifest.generation, Some(manifest.checksum), &cause),
        }
    }

    fn absent(&self) -> Outcome {
        let directory = self.directory.display();
        let reason = if self.directory.is_dir() {
            format!("nothing was published to {directory} yet")
        } else {
            format!("there is no directory {directory}")
        };
        Outcome::Absent { reason }
    }

    fn load(&self) -> Result<Arc<View>, Cause> {
        let view = load(&self.directory, &self.policy, self.current.as_ref())?;
        match view.peppers().iter().find(|id| !self.peppers.contains(id)) {
            Some(&id) => Err(Cause::Pepper(id)),
            None => Ok(view),
        }
    }

    fn failed(&mut self, generation: u64, manifest: Option<Checksum>, cause: &Cause) -> Outcome {
        let reason = cause.to_string();
        let news = self
            .failed
            .as_ref()
            .is_none_or(|before| before.generation != generation || before.reason != reason);
        let system = matches!(
            cause,
            Cause::Load(LoadError::Io { .. } | LoadError::Copy { .. })
        );
        let pause_ns = if system { RETRY_SYSTEM_NS } else { RETRY_NS };
        let retry = Tick(self.clock.tick().0.saturating_add(pause_ns));
        self.failed = Some(Failure {
            generation,
            manifest,
            reason: reason.clone(),
            retry,
        });
        Outcome::Failed {
            generation,
            reason,
            news,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::fixture::Fixture;
    use crate::snapshot::publish::Publisher;
    use std::path::Path;

    fn loader(directory: &Path, rollback_secret: Option<[u8; 32]>) -> Loader {
        let policy = LoadPolicy {
            rollback_secret,
            ..LoadPolicy::default()
        };
        Loader::new(directory.to_owned(), policy, vec![1], Clock::system())
    }

    fn publish(directory: &Path, generation: u64) {
        Fixture::small()
            .publish(directory, generation)
            .expect("publishes");
    }

    #[test]
    fn a_directory_without_a_publication_is_told_from_one_that_is_not_there() {
        let directory = tempfile::tempdir().expect("makes a directory");
        for (path, expected) in [
            (directory.path().to_owned(), "nothing was published to "),
            (
                directory.path().join("misspelled"),
                "there is no directory ",
            ),
        ] {
            let Outcome::Absent { reason } = loader(&path, None).look(false) else {
                panic!("nothing can be there");
            };
            assert!(reason.starts_with(expected), "{reason}");
        }
    }

    #[test]
    fn what_is_served_already_is_not_loaded_again() {
        let directory = tempfile::tempdir().expect("makes a directory");
        publish(directory.path(), 1);
        let mut loader = loader(directory.path(), None);
        assert!(matches!(loader.look(false), Outcome::Loaded { .. }));
        assert!(matches!(loader.look(false), Outcome::Unchanged));
        assert!(matches!(loader.look(true), Outcome::Unchanged));
        assert_eq!(loader.generation(), 1);
    }

    #[test]
    fn a_publication_that_failed_is_tried_again_when_control_asks_and_not_at_every_look() {
        let directory = tempfile::tempdir().expect("makes a directory");
        publish(directory.path(), 1);
        let mut fixture = Fixture::small();
        fixture.keys.iter_mut().for_each(|key| key.pepper = 9);
        let mut loader = loader(directory.path(), None);
        loader.look(false);
        fixture.publish(directory.path(), 2).expect("publishes");
        assert!(matches!(
            loader.look(false),
            Outcome::Failed {
                generation: 2,
                news: true,
                ..
            }
        ));
        assert!(matches!(loader.look(false), Outcome::Unchanged));
        assert_eq!(loader.failure().map(|(generation, _)| generation), Some(2));
        assert!(matches!(
            loader.look(true),
            Outcome::Failed { news: false, .. }
        ));
        publish(directory.path(), 3);
        assert!(matches!(loader.look(false), Outcome::Loaded { .. }));
        assert_eq!(loader.failure(), None);
    }

    #[test]
    fn a_manifest_that_vanished_or_is_garbage_leaves_the_last_good_view() {
        let directory = tempfile::tempdir().expect("makes a directory");
        publish(directory.path(), 1);
        let mut loader = loader(directory.path(), None);
        loader.look(false);
        let current = directory.path().join("CURRENT");
        let good = std::fs::read(&current).expect("reads");
        std::fs::write(&current, "garbage").expect("writes");
        assert!(matches!(
            loader.look(false),
            Outcome::Failed {
                generation: 0,
                news: true,
                ..
            }
        ));
        assert!(matches!(
            loader.look(false),
            Outcome::Failed { news: false, .. }
        ));
        std::fs::remove_file(&current).expect("removes");
        assert!(matches!(
            loader.look(false),
            Outcome::Failed { news: true, .. }
        ));
        assert_eq!(loader.generation(), 1);
        std::fs::write(&current, good).expect("writes");
        assert!(matches!(loader.look(false), Outcome::Unchanged));
        assert_eq!(loader.failure(), None);
    }

    #[test]
    fn a_step_back_is_taken_only_when_it_is_signed_with_the_secret() {
        let directory = tempfile::tempdir().expect("makes a directory");
        publish(directory.path(), 1);
        publish(directory.path(), 2);
        let mut of_this_node = loader(directory.path(), Some([7; 32]));
        let mut of_another = loader(directory.path(), Some([8; 32]));
        of_this_node.look(false);
        of_another.look(false);
        let mut publisher = Publisher::open(directory.path()).expect("opens");
        publisher.rollback(1, &[7; 32], false).expect("goes back");
        assert!(matches!(of_this_node.look(false), Outcome::Loaded { .. }));
        assert_eq!(of_this_node.generation(), 1);
        assert!(matches!(
            of_another.look(false),
            Outcome::Failed { generation: 1, .. }
        ));
        assert_eq!(of_another.generation(), 2);
    }
}
