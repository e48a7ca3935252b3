//! Folding: a new base made in the background, while overlays over the old one go on.

use super::step::{self, Written};
use super::{PublishError, check};
use crate::store::{Author, NewPublication, Store};
use keyway::clock::Clock;
use keyway::snapshot::publish::{BaseWriter, PreparedBase};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Wait after a fold that failed: the overlays go on meanwhile, only larger than they should be.
const RETRY: Duration = Duration::from_secs(60);

/// A base that is ready to take the old one's place.
#[derive(Debug)]
pub(super) struct Folded {
    pub prepared: PreparedBase,
    pub written: Written,
}

type Outcome = Result<Folded, PublishError>;

/// The fold that is under way, if one is.
#[derive(Debug, Default)]
pub(super) struct Fold {
    running: Option<JoinHandle<Outcome>>,
    not_before: Option<Instant>,
}

impl Fold {
    /// Starts one, unless one is under way or has just failed.
    pub(super) async fn start(&mut self, store: &Store, clock: Clock, writer: BaseWriter) {
        let waits = self.not_before.is_some_and(|time| Instant::now() < time);
        if self.running.is_some() || waits {
            return;
        }
        let new = NewPublication {
            base: None,
            rollback: false,
        };
        let begun = store
            .write_and_pin(Author::system(), move |tx| tx.publication_begin(new))
            .await;
        match begun {
            Ok((generation, pinned)) => {
                tracing::info!(generation, "folding the overlay into a new base");
                let now = clock.wall();
                self.running = Some(tokio::task::spawn_blocking(move || {
                    let (prepared, written) = step::prepare(writer, &pinned, generation, now)?;
                    Ok(Folded { prepared, written })
                }));
            }
            Err(error) => self.failed(&error.into()),
        }
    }

    /// Waits for the fold that is under way; for ever if none is.
    pub(super) async fn done(&mut self) -> Option<Folded> {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let outcome = running.await.unwrap_or(Err(PublishError::Closed));
        self.running = None;
        outcome.map_err(|error| self.failed(&error)).ok()
    }

    /// Notes a failure: the next one waits.
    pub(super) fn failed(&mut self, error: &PublishError) {
        // A reason not to publish is said where it stands in somebody's way.
        if !matches!(error, PublishError::Refused(check::Reason::Empty)) {
            tracing::warn!(%error, "the overlay could not be folded into a new base");
        }
        self.not_before = Some(Instant::now() + RETRY);
    }
}
