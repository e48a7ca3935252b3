//! From rows to what the snapshot writer takes: no decisions, no files, and no more memory for ten
//! million keys than for ten.

use crate::store::{Rows, StoreError};
use keyway::snapshot::publish::{Content, SourceError};

/// What a snapshot is built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Everything.
    Base {
        /// Now, seconds since the epoch: decides which retired keys are still named.
        now_s: u64,
    },
    /// What changed after the base of this generation.
    Overlay {
        /// The base's generation.
        base: u64,
    },
}

/// Hands the content of a snapshot to `publish`, streamed from `rows`. Answers what `publish`
/// answers, and how many keys there were.
pub fn content<R>(
    rows: &Rows<'_>,
    extent: Extent,
    publish: impl FnOnce(Content<'_>) -> R,
) -> Result<(R, u64), StoreError> {
    match extent {
        Extent::Base { now_s } => {
            let head = rows.snapshot_head(u64::MAX)?;
            let key_count = rows.keys_for_base_count(now_s)?;
            let published = rows.apps_for_base(&head, |apps| {
                rows.keys_for_base(now_s, |keys| {
                    publish(Content {
                        catalog: &head.catalog,
                        apps: &mut apps.map(|app| app.map_err(SourceError::from)),
                        key_count,
                        keys: &mut keys.map(|key| key.map_err(SourceError::from)),
                    })
                })
            })??;
            Ok((published, key_count))
        }
        Extent::Overlay { base } => {
            let head = rows.snapshot_head(base)?;
            let key_count = rows.keys_for_overlay_count(base, u64::from(u32::MAX))?;
            let published = rows.apps_for_overlay(&head, base, |apps| {
                rows.keys_for_overlay(base, |keys| {
                    publish(Content {
                        catalog: &head.catalog,
                        apps: &mut apps.map(|app| app.map_err(SourceError::from)),
                        key_count,
                        keys: &mut keys.map(|key| key.map_err(SourceError::from)),
                    })
                })
            })??;
            Ok((published, key_count))
        }
    }
}
