//! From rows to what every worker serves, and the proof of it.
//!
//! Every commit of the [`store`](crate::store) wakes the publisher by itself: nobody has to say
//! that something changed.

use crate::domain::Actor;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Handle to the publishing task; cheap to clone.
#[derive(Clone, Debug)]
pub struct Publisher {}

/// Proof, or the lack of it, that a change is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    #[error("{0}")]
    Refused(String),
    /// That generation's configuration is not kept.
    #[error("generation {0} was never published, or its configuration is no longer kept")]
    GenerationUnknown(u64),
    /// The files could not be written.
    #[error("the snapshot could not be written: {0}")]
    Files(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// The publishing task has ended.
    #[error("the publisher has ended")]
    Closed,
}

impl Publisher {
    /// Wakes the publisher. The store does this at every commit; it is only needed after a problem
    /// outside of the store (a full disk) was mended.
    pub fn changed(&self) {}

    /// Waits until every worker of every known node serves a generation that holds the change
    /// with this number ([`Outcome::generation`](crate::store::Outcome::generation)), at most
    /// `timeout`. Who is late is named in the receipt, which then is not complete.
    pub async fn enforced(&self, generation: u64, timeout: Duration) -> Receipt {
        let _ = (generation, timeout);
        unimplemented!()
    }

    /// Publishes now, and ends a hold after a rollback. Answers when the manifest is in place.
    pub async fn publish(
        &self,
        actor: Actor,
        options: PublishOptions,
    ) -> Result<Published, PublishError> {
        let _ = (actor, options);
        unimplemented!()
    }

    /// Steps the configuration back to what generation `to` served and holds it there.
    pub async fn rollback(&self, actor: Actor, to: u64) -> Result<Published, PublishError> {
        let _ = (actor, to);
        unimplemented!()
    }

    /// What is served, by whom.
    pub fn status(&self) -> PublishStatus {
        unimplemented!()
    }
}
