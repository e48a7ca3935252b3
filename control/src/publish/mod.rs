//! From rows to what every worker serves, and the proof of it.
//!
//! Every commit of the [`store`](crate::store) wakes the publisher by itself: nobody has to say
//! that something changed. One task ([`push`]) decides and publishes: [`check`] holds the reasons
//! not to, [`build`] turns rows into the snapshot's content, the data plane's own library writes
//! the files. The [`board`] knows who serves what; a [`Receipt`] is read off it.
//!
//! # Generations
//! Changes and publications draw their numbers from one sequence, so a change with number 7 is in
//! every generation from 7 up. A publication's number is on disk before its first file is; after a
//! crash the next one gets a higher number, and what the store says is published at once.
//!
//! # Base and overlay
//! A small change is published as an overlay: everything that changed since the base, however
//! many millions of keys the base has. When an overlay outgrows its bound, a new base is made
//! beside the publications that go on, and takes the old one's place with a small overlay.
//!
//! # Rollback
//! [`Publisher::rollback`] steps the *configuration* (plans, APIs, upstreams) back to what an
//! earlier generation served, and holds it there. Tenants, apps, subscriptions and keys stay as
//! they are now: to step those back would bring revoked keys and cancelled subscriptions to life
//! again. It is published under a new, higher number, so nodes take it like any other generation,
//! receipts prove it, and nothing has to be signed. While the configuration is held, keys and apps
//! go on changing. The hold ends, and the store's own configuration is published again, with the
//! next change of a plan, an API or an upstream, or with [`Publisher::publish`].

pub mod board;
pub mod build;
pub mod check;
mod fold;
pub mod process;
pub mod push;
mod receipts;
mod step;

use crate::domain::Actor;
use crate::store::Store;
use board::Board;
use keyway::clock::Clock;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Handle to the publishing task; cheap to clone. The task ends with the last one.
#[derive(Clone, Debug)]
pub struct Publisher {
    store: Store,
    clock: Clock,
    board: Board,
    orders: mpsc::Sender<push::Order>,
    state: watch::Receiver<push::State>,
}

/// Proof, or the lack of it, that a change is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Receipt {
    /// The first published generation that holds the change; 0: not published in time.
    pub generation: u64,
    /// True: at least one node is known, and every worker of every known node serves
    /// `generation` or a later one.
    pub complete: bool,
    /// Milliseconds from the commit to the last worker's word, or to now if not complete.
    pub elapsed_ms: u64,
    /// Every known node.
    pub nodes: Vec<NodeReceipt>,
    /// Why nothing was published, if nothing was.
    pub problem: Option<String>,
}

/// What one node said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NodeReceipt {
    /// The node's name.
    pub node: String,
    /// How many workers it has.
    pub workers: u32,
    /// The generation that every one of its workers serves.
    pub generation: u64,
    /// True: that is the receipt's generation or a later one.
    pub enforced: bool,
    /// True: its link is up.
    pub connected: bool,
    /// Milliseconds from the commit until its last worker served the generation.
    pub elapsed_ms: Option<u64>,
    /// Why it refused a newer generation, if it did.
    pub refused: Option<String>,
}

/// How a publication is to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishOptions {
    /// Publish even though the store is empty or far smaller than what is served.
    pub allow_shrink: bool,
    /// Write a whole new base, also where an overlay would do.
    pub new_base: bool,
}

/// What was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Published {
    /// The generation.
    pub generation: u64,
    /// The generation of its base.
    pub base: u64,
    /// The generation whose configuration it carries.
    pub configuration: u64,
    /// Key records in the written file.
    pub keys: u64,
}

/// What is served, by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishStatus {
    /// The newest generation; none: never published.
    pub published: Option<Published>,
    /// The last change's generation number.
    pub store_generation: u64,
    /// The configuration is held here since a rollback; released by the next change of a plan,
    /// API or upstream, or by `publish`.
    pub held_configuration: Option<u64>,
    /// Why the newest state is not published.
    pub problem: Option<String>,
    /// Every known node.
    pub nodes: Vec<NodeReceipt>,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// One of the reasons not to.
    #[error(transparent)]
    Refused(#[from] check::Reason),
    /// That generation's configuration is not kept.
    #[error("generation {0} was never published, or its configuration is no longer kept")]
    GenerationUnknown(u64),
    /// The files could not be written.
    #[error("the snapshot could not be written: {0}")]
    Files(#[from] keyway::snapshot::publish::PublishError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// The publishing task has ended.
    #[error("the publisher has ended")]
    Closed,
}

/// Orders that may wait; the next one makes its caller wait.
const ORDERS_WAITING_MAX: usize = 64;

impl Publisher {
    /// Which nodes there are.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Takes the snapshot directory, and starts the task that keeps it up with the store. What the
    /// store holds beyond what is served is published at once.
    pub async fn start(
        store: Store,
        clock: Clock,
        board: Board,
        snapshots: &Path,
    ) -> Result<Self, PublishError> {
        let (orders, waiting) = mpsc::channel(ORDERS_WAITING_MAX);
        let engine = push::Engine::open(store.clone(), clock, snapshots, waiting).await?;
        let state = engine.state();
        tokio::spawn(engine.run());
        Ok(Self {
            store,
            clock,
            board,
            orders,
            state,
        })
    }

    /// Waits until every worker of every known node serves a generation that holds the change
    /// with this number ([`Outcome::generation`](crate::store::Outcome::generation)), at most
    /// `timeout`. Who is late is named in the receipt, which then is not complete.
    pub async fn enforced(&self, generation: u64, timeout: Duration) -> Receipt {
        receipts::enforced(self, generation, timeout).await
    }

    /// Publishes now, and ends a hold after a rollback. Answers when the manifest is in place.
    pub async fn publish(
        &self,
        actor: Actor,
        options: PublishOptions,
    ) -> Result<Published, PublishError> {
        self.order(|reply| push::Order::Publish {
            actor,
            options,
            reply,
        })
        .await
    }

    /// Steps the configuration back to what generation `to` served and holds it there.
    pub async fn rollback(&self, actor: Actor, to: u64) -> Result<Published, PublishError> {
        self.order(|reply| push::Order::Rollback { actor, to, reply })
            .await
    }

    async fn order(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<Published, PublishError>>) -> push::Order,
    ) -> Result<Published, PublishError> {
        let (reply, replied) = oneshot::channel();
        self.orders
            .send(order(reply))
            .await
            .map_err(|_| PublishError::Closed)?;
        replied.await.map_err(|_| PublishError::Closed)?
    }

    /// What is served, by whom.
    pub fn status(&self) -> PublishStatus {
        let state = self.state.borrow().clone();
        let newest = state.published.map_or(0, |published| published.generation);
        PublishStatus {
            published: state.published,
            store_generation: self.store.commits().borrow().generation,
            held_configuration: state.held_configuration,
            problem: state.problem,
            nodes: self.board.verdict(newest, self.clock.tick()).nodes,
        }
    }

    /// Tells of every published generation: what the link announces.
    pub fn published(&self) -> watch::Receiver<push::State> {
        self.state.clone()
    }
}
