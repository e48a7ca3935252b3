//! The one task that publishes: woken by commits, it brings the snapshot directory up to the store.
//!
//! Publications follow one another; changes that are committed while one is being written go
//! together into the next. A failed one is tried again, ever less often, and said in the status
//! and in every receipt that waits for it. An overlay that has outgrown its bound is
//! [folded](super::fold) beside all this.

use super::check::{Reason, Served};
use super::fold::{Fold, Folded};
use super::step::{self, Base, Begun, How};
use super::{PublishError, PublishOptions, Published};
use crate::domain::Actor;
use crate::store::{Author, Committed, Pinned, Store, StoreError, Tx};
use keyway::clock::Clock;
use keyway::snapshot::load::{self, LoadPolicy};
use keyway::snapshot::manifest::Manifest;
use keyway::snapshot::publish::{PreparedBase, Publisher as Files};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Shortest time from one publication's beginning to the next one's.
const INTERVAL: Duration = Duration::from_millis(5);
/// First and longest wait before a failed publication is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(10);
/// Published generations that receipts are found by.
const RECENT_KEPT: usize = 4_096;

/// What somebody asks the task to do.
#[derive(Debug)]
pub enum Order {
    /// Publish now; ends a hold.
    Publish {
        /// Who asks.
        actor: Actor,
        /// How.
        options: PublishOptions,
        /// Gets what came of it.
        reply: oneshot::Sender<Result<Published, PublishError>>,
    },
    /// Step the configuration back.
    Rollback {
        /// Who asks.
        actor: Actor,
        /// To what this generation served.
        to: u64,
        /// Gets what came of it.
        reply: oneshot::Sender<Result<Published, PublishError>>,
    },
}

/// What the task tells the others.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The newest generation that `CURRENT` names.
    pub published: Option<Published>,
    /// The store's generation that the last try covered, whether it worked or not.
    pub tried: u64,
    /// Why the last try did not work.
    pub problem: Option<String>,
    /// The configuration is held here since a rollback.
    pub held_configuration: Option<u64>,
    /// The last published generations, ascending.
    pub recent: std::collections::VecDeque<u64>,
}

impl State {
    /// The first published generation that holds the change with this number.
    pub fn first_with(&self, change: u64) -> Option<u64> {
        self.recent
            .get(self.recent.partition_point(|&g| g < change))
            .copied()
    }

    fn note(&mut self, published: Published) {
        self.published = Some(published);
        if self.recent.len() == RECENT_KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(published.generation);
    }
}

/// The task's own state.
#[derive(Debug)]
pub(super) struct Engine {
    store: Store,
    clock: Clock,
    directory: PathBuf,
    /// None only while a publication has them, or after it panicked.
    files: Option<Files>,
    served: Served,
    base: Option<Base>,
    fold: Fold,
    /// The overlay that serves is larger than it should be.
    outgrown: bool,
    state: watch::Sender<State>,
    commits: watch::Receiver<Committed>,
    orders: mpsc::Receiver<Order>,
    last_begun: Option<tokio::time::Instant>,
}

impl Engine {
    /// Takes the directory and finds out what is served, and whether this store published it.
    pub(super) async fn open(
        store: Store,
        clock: Clock,
        directory: &Path,
        orders: mpsc::Receiver<Order>,
    ) -> Result<Self, PublishError> {
        let commits = store.commits();
        let files = open_files(directory.to_owned()).await?;
        let current = files.current().cloned();
        let mut engine = Self {
            store,
            clock,
            directory: directory.to_owned(),
            files: Some(files),
            served: Served::Nothing,
            base: None,
            fold: Fold::default(),
            outgrown: false,
            state: watch::Sender::new(State::default()),
            commits,
            orders,
            last_begun: None,
        };
        if let Some(manifest) = current {
            engine.adopt(manifest).await?;
        }
        Ok(engine)
    }

    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Takes `CURRENT` as what is served, if this store published it; else notes the stranger.
    async fn adopt(&mut self, manifest: Manifest) -> Result<(), PublishError> {
        let (generation, base) = (manifest.generation, manifest.base.generation);
        let ours = self.store.read(move |rows| {
            let found = rows
                .publication_begun(generation)?
                .zip(rows.publication_begun(base)?);
            Ok((found, rows.configuration_in_force()?))
        });
        let (ours, (in_force, held)) = ours.await?;
        let Some((newest, base)) = ours else {
            let keys = keys_served(self.directory.clone()).await;
            self.served = Served::Strange { generation, keys };
            return Ok(());
        };
        self.served = Served::Ours;
        self.base = Some(Base {
            generation: base.generation,
            keys: base.keys,
        });
        if newest.done_ms.is_none() {
            // Control died between the manifest and this note of it.
            let bytes = manifest.overlay.as_ref().unwrap_or(&manifest.base).bytes;
            self.note_done(generation, newest.keys, bytes).await?;
        }
        let (configuration, keys) = (newest.configuration, newest.keys);
        let base = base.generation;
        let published = Published {
            generation,
            base,
            configuration,
            keys,
        };
        self.state.send_modify(|state| {
            state.note(published);
            state.tried = generation;
            state.held_configuration = held.then_some(in_force);
        });
        Ok(())
    }

    /// Runs until the last [`Publisher`](super::Publisher) is dropped.
    pub(super) async fn run(mut self) {
        let mut retry: Option<Duration> = None;
        loop {
            let behind = self.is_behind();
            let wait = if behind {
                retry.unwrap_or_default()
            } else {
                Duration::MAX
            };
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => return,
                },
                folded = self.fold.done() => {
                    if let Some(folded) = folded {
                        self.take_over(folded).await;
                    }
                }
                () = pause(wait), if behind => {
                    retry = self.follow(retry).await;
                }
                changed = self.commits.changed() => match changed {
                    // Something new was committed: no reason to wait out an old failure.
                    Ok(()) => retry = None,
                    Err(_) => return,
                },
            }
        }
    }

    /// Whether the store holds more than what is served.
    fn is_behind(&self) -> bool {
        let newest = self.commits.borrow().generation;
        let state = self.state.borrow();
        newest > state.published.map_or(0, |published| published.generation)
    }

    /// Publishes what the store holds; answers how long to wait before trying again.
    async fn follow(&mut self, retry: Option<Duration>) -> Option<Duration> {
        if let Some(begun) = self.last_begun {
            tokio::time::sleep_until(begun + INTERVAL).await;
        }
        match self.publish(Actor::system(), How::Follow, None).await {
            Ok(_) => None,
            // Only a change or an order mends these; `run` is woken by both.
            Err(PublishError::Refused(_)) => Some(Duration::MAX),
            Err(_) => Some(retry.map_or(RETRY_FIRST, |last| (last * 2).min(RETRY_LONGEST))),
        }
    }

    async fn obey(&mut self, order: Order) {
        let (outcome, reply) = match order {
            Order::Publish {
                actor,
                options,
                reply,
            } => (
                self.publish(actor, How::Ordered(options), None).await,
                reply,
            ),
            Order::Rollback { actor, to, reply } => {
                (self.publish(actor, How::Rollback(to), None).await, reply)
            }
        };
        // Whoever asked may have gone; what was published stays.
        drop(reply.send(outcome));
    }

    /// Puts a folded base in the old one's place, with an overlay of what changed meanwhile.
    async fn take_over(&mut self, folded: Folded) {
        let generation = folded.prepared.generation();
        if self.base.is_some_and(|base| base.generation > generation) {
            // A whole base was ordered meanwhile.
            return;
        }
        let Folded { prepared, written } = folded;
        let base = Base {
            generation,
            keys: written.keys,
        };
        match self
            .publish(Actor::system(), How::Follow, Some((prepared, base)))
            .await
        {
            Ok(_) => self.note_done_later(generation, written),
            Err(error) => self.fold.failed(&error),
        }
    }

    /// One publication, from its number to the note that it is done. `over`: a folded base to take
    /// the old one's place.
    async fn publish(
        &mut self,
        actor: Actor,
        how: How,
        over: Option<(PreparedBase, Base)>,
    ) -> Result<Published, PublishError> {
        self.last_begun = Some(tokio::time::Instant::now());
        let tried = self.commits.borrow_and_update().generation;
        let ordered = !matches!(how, How::Follow);
        let outcome = self.try_publish(actor, how, over).await;
        match &outcome {
            Ok(published) => {
                tracing::info!(
                    generation = published.generation,
                    base = published.base,
                    keys = published.keys,
                    "published"
                );
            }
            // Before there is anything to publish, that is nothing to warn of.
            Err(PublishError::Refused(Reason::Empty)) => {}
            Err(error) => tracing::warn!(%error, "nothing was published"),
        }
        if outcome.is_err() {
            // The try took a number itself, which is no change that would end the wait.
            self.commits.borrow_and_update();
        }
        self.state.send_modify(|state| {
            state.tried = state.tried.max(tried);
            match &outcome {
                Ok(published) => {
                    state.note(*published);
                    state.problem = None;
                }
                // A refused order is its caller's problem; what is served stays up to date.
                Err(_) if ordered => {}
                Err(error) => state.problem = Some(error.to_string()),
            }
        });
        // Only now that it is announced.
        if let (true, Some(files)) = (self.outgrown, &self.files) {
            let writer = files.base_writer();
            self.fold.start(&self.store, self.clock, writer).await;
        }
        outcome
    }

    async fn try_publish(
        &mut self,
        actor: Actor,
        how: How,
        over: Option<(PreparedBase, Base)>,
    ) -> Result<Published, PublishError> {
        let (prepared, base) = match over {
            Some((prepared, base)) => (Some(prepared), Some(base)),
            None => (None, self.base),
        };
        let (begun, pinned) = self.begin(actor, how, base).await?;
        let mut files = match self.files.take() {
            Some(files) => files,
            None => open_files(self.directory.clone()).await?,
        };
        let now = self.clock.wall();
        let written = tokio::task::spawn_blocking(move || {
            let written = step::write(&mut files, &pinned, begun, prepared, now);
            (files, written)
        });
        let (files, written) = written.await.map_err(|_| PublishError::Closed)?;
        self.files = Some(files);
        let written = written?;
        self.served = Served::Ours;
        self.base = match begun.over {
            Some(_) => base,
            None => Some(Base {
                generation: begun.generation,
                keys: written.keys,
            }),
        };
        let held = begun.held.then_some(begun.configuration);
        self.state
            .send_modify(|state| state.held_configuration = held);
        self.note_done_later(begun.generation, written);
        self.outgrown = begun.outgrown;
        Ok(Published {
            generation: begun.generation,
            base: begun.over.unwrap_or(begun.generation),
            configuration: begun.configuration,
            keys: written.keys,
        })
    }

    /// Takes a number for a publication, unless there is a reason not to publish.
    async fn begin(
        &self,
        actor: Actor,
        how: How,
        base: Option<Base>,
    ) -> Result<(Begun, Pinned), PublishError> {
        let served = self.served;
        let begin = move |tx: &mut Tx<'_>| step::begin(tx, how, served, base);
        match (
            self.store.write_and_pin(Author::new(actor), begin).await,
            how,
        ) {
            (Ok((begun, pinned)), _) => Ok((begun?, pinned)),
            (Err(StoreError::NotFound { .. }), How::Rollback(to)) => {
                Err(PublishError::GenerationUnknown(to))
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    /// Notes it in the store without holding up the receipt; a crash before is mended at start.
    fn note_done_later(&self, generation: u64, written: step::Written) {
        let store = self.store.clone();
        tokio::spawn(async move {
            let done =
                move |tx: &mut Tx<'_>| tx.publication_done(generation, written.keys, written.bytes);
            if let Err(error) = store.write(Author::system(), done).await {
                tracing::warn!(%error, "a publication could not be noted as done");
            }
        });
    }

    async fn note_done(&self, generation: u64, keys: u64, bytes: u64) -> Result<(), StoreError> {
        let done = move |tx: &mut Tx<'_>| tx.publication_done(generation, keys, bytes);
        self.store.write(Author::system(), done).await.map(drop)
    }
}

/// Waits; the longest wait never ends by itself.
async fn pause(wait: Duration) {
    if wait == Duration::MAX {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(wait).await;
}

async fn open_files(directory: PathBuf) -> Result<Files, PublishError> {
    let opened = tokio::task::spawn_blocking(move || Files::open(&directory)).await;
    Ok(opened.map_err(|_| PublishError::Closed)??)
}

/// How many keys the served snapshot has that are not revoked.
async fn keys_served(directory: PathBuf) -> Option<u64> {
    let policy = LoadPolicy::default();
    let load = move || {
        load::load(&directory, &policy, None)
            .ok()
            .map(|view| view.keys())
    };
    tokio::task::spawn_blocking(load).await.ok().flatten()
}
