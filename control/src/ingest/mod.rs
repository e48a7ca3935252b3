//! Usage in, exactly once: a segment is acknowledged when it is on disk, and one that comes again is
//! acknowledged again and not added.
//!
//! In: segments as the link reads them. Out: sums by minute, hour and day in the
//! [`store`](crate::store), and in time the end of what is old. Reading them back is the store's
//! part, pictures of them are the portal's.

use crate::store::{Author, Ingested, Retention, Store, StoreError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyway::clock::Clock;
use keyway::record::segment::{Segment, SegmentError};
use std::time::Duration;

/// Pause between two rounds of forgetting.
const FORGETTING: Duration = Duration::from_secs(60);
/// Pause between two steps of one round, in which others write.
const BREATH: Duration = Duration::from_millis(50);
/// A node's clock that differs by more than this is told of.
const CLOCKS_APART_MS: u64 = 24 * 3_600 * 1_000;

/// Why a segment cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// It is no segment, or one of a later version: it must not be acknowledged.
    #[error("a usage segment {0}")]
    Segment(#[from] SegmentError),
    /// It is no base64.
    #[error("a usage segment is no base64")]
    Encoding,
    /// It says another name or number than the message around it.
    #[error("a usage segment is not the one that its message says")]
    Another,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Adds a segment up, if it was not before. On `Ok` it may be acknowledged.
pub async fn ingest(
    store: &Store,
    (node, boot, sequence): (&str, u64, u64),
    data: &str,
) -> Result<Ingested, IngestError> {
    let body = STANDARD.decode(data).map_err(|_| IngestError::Encoding)?;
    let segment = Segment::decode(&body)?;
    // The name of a killed process's segment may be an earlier one of the node's.
    if (segment.boot, segment.sequence) != (boot, sequence) || segment.node.is_empty() {
        return Err(IngestError::Another);
    }
    let now_ms = Clock::system().wall().0;
    if now_ms.abs_diff(segment.sealed_ms) > CLOCKS_APART_MS {
        tracing::warn!(
            node,
            sealed_ms = segment.sealed_ms,
            "usage that is more than a day old, or of a node whose clock is wrong"
        );
    }
    if segment.dropped_requests > 0 {
        let requests = segment.dropped_requests;
        tracing::warn!(node, requests, "a node had to drop usage");
    }
    let add = move |tx: &mut crate::store::Tx<'_>| tx.usage_add(&segment, &body);
    Ok(store.write(Author::system(), add).await?.value)
}

/// Forgets what is too old, a little at a time, for ever.
pub async fn forget(store: Store, retention: Retention) {
    loop {
        let step = store.write(Author::system(), move |tx| tx.usage_forget(&retention));
        let more = match step.await {
            Ok(outcome) => outcome.value,
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, "old usage is not forgotten");
                false
            }
        };
        tokio::time::sleep(if more { BREATH } else { FORGETTING }).await;
    }
}
