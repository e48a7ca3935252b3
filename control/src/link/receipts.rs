//! Keeps who served which generation, for whoever asks later. Written once a second and not at
//! every word of a node, so that it never stands in the way of a change.

use crate::store::{Author, NodeDone, Store};
use std::time::Duration;
use tokio::sync::mpsc;

/// How often they are written.
const INTERVAL: Duration = Duration::from_secs(1);
/// Receipts that may wait; more are dropped, since the board knows what is served now.
const WAITING_MAX: usize = 10_000;

/// The way to the keeper; it ends with the last one.
#[derive(Clone, Debug)]
pub(super) struct ReceiptKeeper {
    waiting: mpsc::Sender<(u64, NodeDone)>,
}

impl ReceiptKeeper {
    /// Starts the keeper.
    pub(super) fn start(store: Store) -> Self {
        let (waiting, mut coming) = mpsc::channel(WAITING_MAX);
        tokio::spawn(async move {
            let mut batch: Vec<(u64, NodeDone)> = Vec::new();
            while coming.recv_many(&mut batch, WAITING_MAX).await > 0 {
                write(&store, std::mem::take(&mut batch)).await;
                tokio::time::sleep(INTERVAL).await;
            }
        });
        Self { waiting }
    }

    /// Keeps one.
    pub(super) fn keep(&self, generation: u64, done: NodeDone) {
        // Full: what is dropped is history, not what is served.
        let _ = self.waiting.try_send((generation, done));
    }
}

async fn write(store: &Store, batch: Vec<(u64, NodeDone)>) {
    let keep = move |tx: &mut crate::store::Tx<'_>| {
        batch.iter().try_for_each(|(generation, done)| {
            tx.receipts_keep(*generation, std::slice::from_ref(done))
        })
    };
    if let Err(error) = store.write(Author::system(), keep).await {
        tracing::warn!(%error, "receipts could not be kept");
    }
}
