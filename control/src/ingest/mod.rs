//! Usage in, exactly once: a batch is acknowledged when it is on disk, and one that comes again is
//! acknowledged again and not added.
//!
//! In: batches as the link reads them. Out: minutes in the [`store`](crate::store). Reading them
//! back is the store's part, pictures of them are the portal's.

use crate::store::{Author, Ingested, Store, StoreError, UsageBatch};

/// Adds a batch up, if it was not before. On `Ok` it may be acknowledged.
pub async fn ingest(store: &Store, batch: UsageBatch) -> Result<Ingested, StoreError> {
    let (node, sequence) = (batch.node.clone(), batch.sequence);
    let outcome = store
        .write(Author::system(), move |tx| tx.usage_add(&batch))
        .await?;
    if outcome.value == Ingested::AddedAfterGap {
        tracing::warn!(
            node,
            sequence,
            "usage before this batch was acknowledged and is not here"
        );
    }
    Ok(outcome.value)
}
