//! One publication: decided and numbered inside a transaction of the store, then written from the
//! state right after it.

use super::build::{self, Extent};
use super::check::{self, Reason, Served};
use super::{PublishError, PublishOptions};
use crate::store::{NewPublication, Pinned, Rows, StoreError, Tx};
use keyway::clock::WallTime;
use keyway::snapshot::publish::{
    BaseWriter, Content, PreparedBase, PublishError as FilesError, Publisher as Files, Release,
    SourceError,
};

/// Entries that an overlay may always have, and may have at most before it is folded: it is
/// written and loaded whole at every change, so its size is what a revocation costs.
const OVERLAY_ENTRIES_MIN: u64 = 20_000;
const OVERLAY_ENTRIES_MAX: u64 = 100_000;

/// What a publication is to be, before the store has its say.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    /// Whatever the store holds.
    Follow,
    /// As a person ordered it.
    Ordered(PublishOptions),
    /// A step back of the configuration.
    Rollback(u64),
}

/// The base that lies in the directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    pub generation: u64,
    pub keys: u64,
}

/// A publication that has its number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    pub generation: u64,
    pub configuration: u64,
    /// The configuration is held there.
    pub held: bool,
    /// The base it lies over; none: it is one.
    pub over: Option<u64>,
    /// The overlay is larger than it should be.
    pub outgrown: bool,
    allow_shrink: bool,
    /// What is served now is this store's own.
    ours: bool,
}

/// What was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub keys: u64,
    pub bytes: u64,
}

/// Inside the transaction: decides whether and what to publish, and takes the number. A reason
/// not to leaves the transaction without a change.
pub(super) fn begin(
    tx: &mut Tx<'_>,
    how: How,
    served: Served,
    base: Option<Base>,
) -> Result<Result<Begun, Reason>, StoreError> {
    let options = match how {
        How::Ordered(options) => options,
        How::Follow | How::Rollback(_) => PublishOptions::default(),
    };
    if !options.allow_shrink
        && let Err(reason) = check::reasons(served, &tx.totals()?)
    {
        return Ok(Err(reason));
    }
    if let Served::Strange { generation, .. } = served {
        tx.outgrow(generation)?;
    }
    match how {
        How::Follow => {}
        How::Ordered(_) => tx.configuration_release()?,
        How::Rollback(to) => drop(tx.configuration_hold(to)?),
    }
    let base = base.filter(|_| !options.new_base);
    let over = base.map(|base| base.generation);
    let rollback = matches!(how, How::Rollback(_));
    let generation = tx.publication_begin(NewPublication {
        base: over,
        rollback,
    })?;
    let (configuration, held) = tx.configuration_in_force()?;
    Ok(Ok(Begun {
        generation,
        configuration,
        held,
        over,
        outgrown: base.map_or(Ok(false), |base| is_outgrown(tx, base))?,
        allow_shrink: options.allow_shrink,
        ours: served == Served::Ours,
    }))
}

/// Whether an overlay over `base` is worth folding into a new base.
fn is_outgrown(rows: &Rows<'_>, base: Base) -> Result<bool, StoreError> {
    let bound = (base.keys / 10).clamp(OVERLAY_ENTRIES_MIN, OVERLAY_ENTRIES_MAX);
    let keys = rows.keys_for_overlay_count(base.generation, bound + 1)?;
    let apps = rows.apps_for_overlay_count(base.generation, bound + 1)?;
    Ok(keys + apps > bound)
}

/// Writes the files and switches `CURRENT` to them. `prepared` is the base that the overlay lies
/// over, if that is not yet the one that serves. Blocks.
pub(super) fn write(
    files: &mut Files,
    pinned: &Pinned,
    begun: Begun,
    prepared: Option<PreparedBase>,
    now: WallTime,
) -> Result<Written, PublishError> {
    let rows = pinned.rows();
    let (extent, release) = plan(&rows, begun, prepared.is_some(), now)?;
    let published = build::content(&rows, extent, |content: Content<'_>| {
        let manifest = match (begun.over, prepared) {
            (None, _) => files.publish_base(release, content),
            (Some(_), None) => files.publish_overlay(release, content),
            (Some(_), Some(base)) => files.publish_over(base, release, content),
        };
        manifest.map(|it| it.overlay.as_ref().unwrap_or(&it.base).bytes)
    });
    let (published, keys) = published?;
    match published {
        Ok(bytes) => Ok(Written { keys, bytes }),
        // It serves already: to try again would only add one more.
        Err(FilesError::Undurable { generation, source }) => {
            tracing::error!(generation, %source, "published, but a power cut may take it back");
            Ok(Written { keys, bytes: 0 })
        }
        Err(error) => Err(of_files(error)),
    }
}

/// Writes a base beside the service. Blocks.
pub(super) fn prepare(
    writer: BaseWriter,
    pinned: &Pinned,
    generation: u64,
    now: WallTime,
) -> Result<(PreparedBase, Written), PublishError> {
    let release = Release {
        generation,
        created_ms: now.0,
        allow_shrink: false,
    };
    let extent = Extent::Base {
        now_s: now.seconds(),
    };
    let (prepared, keys) = build::content(&pinned.rows(), extent, |content| {
        writer.write(release, content)
    })?;
    let prepared = prepared.map_err(of_files)?;
    let bytes = prepared.bytes();
    Ok((prepared, Written { keys, bytes }))
}

fn plan(
    rows: &Rows<'_>,
    begun: Begun,
    new_base: bool,
    now: WallTime,
) -> Result<(Extent, Release), StoreError> {
    let now_s = now.seconds();
    let extent = match begun.over {
        Some(base) => Extent::Overlay { base },
        None => Extent::Base { now_s },
    };
    // A node refuses to lose many keys at once. What a base of ours no longer names has been
    // useless for long; a base of a store that is not known here is left to the node's judgment.
    let retires = (begun.over.is_none() || new_base)
        && begun.ours
        && rows.keys_for_base_count(now_s)? < rows.totals()?.keys;
    let release = Release {
        generation: begun.generation,
        created_ms: now.0,
        allow_shrink: begun.allow_shrink || retires,
    };
    Ok((extent, release))
}

/// An error of the store that went through the snapshot writer comes out as what it was.
fn of_files(error: FilesError) -> PublishError {
    let FilesError::Source(source) = error else {
        return PublishError::Files(error);
    };
    let source: SourceError = source;
    match source.downcast::<StoreError>() {
        Ok(error) => PublishError::Store(*error),
        Err(source) => PublishError::Files(FilesError::Source(source)),
    }
}
