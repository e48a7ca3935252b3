//! Declarative configuration: `gateway.yaml` against what the store holds.
//!
//! ```text
//! yaml ──yaml──> RawGateway ──check──> Gateway ─┐
//!                                               ├─plan──> Diff ──steps──> one transaction
//! store ────────────────────current──> Current ─┘
//! ```
//!
//! Rules:
//! - Applying twice changes nothing the second time. All of a document is applied, or nothing.
//! - What the document does not hold stays. With *prune*, a section that the document has
//!   (`upstreams`, `apis`, `plans`, `tenants`, a tenant's `apps`, an app's `subscriptions`) says
//!   all there shall be of its kind, and the rest of that kind is removed; a section that is not
//!   in the document is left alone even then.
//! - Keys are not in the document, so it never ends one: an app that has keys is not removed.
//! - What an operator switched in an emergency (`enabled`, a subscription's `state`) stays, unless
//!   the document says otherwise in so many words.

mod current;
mod diff;
mod document;
mod fields;
mod references;
mod show;
mod steps;
pub mod yaml;

pub use current::{Current, CurrentApp, CurrentSubscription, CurrentTenant, current};
pub use diff::{Diff, plan};
pub use document::{
    AppPart, Gateway, RawApp, RawGateway, RawSubscription, RawTenant, SubscriptionPart, TenantPart,
};
pub use fields::{FieldChange, changed_fields};

use crate::domain::{Invalid, Subject};
use crate::store::{Rows, StoreError, Tx};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How to apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApplyOptions {
    /// Remove what the document's own sections no longer hold.
    pub prune: bool,
}

/// What happens to a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is new.
    Create,
    /// It is there and becomes another.
    Change,
    /// It goes.
    Remove,
}

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "action": "change", "subject": "plan", "id": "free",
    "fields": [{ "path": "limits[burst].requests", "old": 10, "new": 20 }]
}))]
pub struct Change {
    /// What happens to it.
    pub action: Action,
    /// What kind of thing it is.
    pub subject: Subject,
    /// Which one: `free`, `acme/mobile`, `acme/mobile -> orders`.
    pub id: String,
    /// What differs of it; nothing for a thing that goes.
    pub fields: Vec<FieldChange>,
}

/// A thing that the document does not hold and that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({ "subject": "api", "id": "old", "reason": "not in the document" }))]
pub struct LeftAlone {
    /// What kind of thing it is.
    pub subject: Subject,
    /// Which one.
    pub id: String,
    /// Why it stays.
    pub reason: String,
}

/// The difference between a document and the store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// What differs, in the order in which it is made true.
    pub changes: Vec<Change>,
    /// What is not in the document and stays. Tenants are only looked through when pruning.
    pub left_alone: Vec<LeftAlone>,
}

/// Every reference of the document that would point nowhere.
pub fn faults(
    rows: &Rows<'_>,
    desired: &Gateway,
    options: ApplyOptions,
) -> Result<Vec<Invalid>, StoreError> {
    let current = current(rows, desired, options)?;
    Ok(plan(&current, desired, options).err().unwrap_or_default())
}

/// Makes the store hold what the document says; answers what differed.
pub fn apply(
    tx: &mut Tx<'_>,
    desired: &Gateway,
    options: ApplyOptions,
) -> Result<Applied, StoreError> {
    let current = current(tx, desired, options)?;
    let diff = plan(&current, desired, options)
        .map_err(|mut faults| StoreError::Invalid(faults.swap_remove(0)))?;
    let Diff {
        changes,
        left_alone,
    } = diff;
    let mut made = Vec::with_capacity(changes.len());
    for (change, step) in changes {
        step.run(tx)?;
        made.push(change);
    }
    Ok(Applied {
        changes: made,
        left_alone,
    })
}
