//! `gateway.yaml` against what there is: the difference, shown or made true, in one transaction.

use super::Admin;
use super::answer::{Answer, Changed, Wait, WaitQuery};
use super::asked::Asked;
use super::problem::{Fault, Problem};
use super::query::Query;
use crate::apply::{self, Applied, ApplyOptions, RawGateway};
use crate::domain::Invalid;
use crate::store::{Outcome, Tx};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// How to apply.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ApplyQuery {
    /// `true`: check everything and show the difference, but change nothing.
    #[serde(default)]
    #[param(default = false)]
    dry_run: bool,
    /// `true`: also remove what the document's own sections no longer hold. A section that is
    /// not in the document is left alone, and so is, in any case, an app with keys.
    #[serde(default)]
    #[param(default = false)]
    prune: bool,
    /// `enforced`: answer with the receipt.
    #[param(inline)]
    wait: Option<Wait>,
    /// Longest wait in milliseconds, 1 to 60000; default 10000.
    #[param(minimum = 1, maximum = 60000)]
    timeout_ms: Option<u32>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApplyView {
    /// True: nothing was changed.
    pub dry_run: bool,
    /// The difference.
    #[serde(flatten)]
    pub applied: Applied,
}

/// Makes the store hold what the document says: all of it or nothing.
#[utoipa::path(post, path = "/v1/apply", tag = "apply", params(ApplyQuery),
    request_body = RawGateway,
    responses((status = 200, description = "The difference", body = Changed<ApplyView>)))]
pub(super) async fn apply(
    State(admin): State<Admin>,
    Query(query): Query<ApplyQuery>,
    asked: Asked<RawGateway>,
) -> Result<Answer<Changed<ApplyView>>, Problem> {
    let timeout = WaitQuery::new(query.wait, query.timeout_ms).timeout()?;
    let desired = asked.body.check().map_err(all)?;
    let options = ApplyOptions { prune: query.prune };
    let store = &admin.control.store;
    // Looked at once before, so that all slips are told at once and not only the first.
    let looked = desired.clone();
    let faults = store
        .read(move |rows| apply::faults(rows, &looked, options))
        .await?;
    if !faults.is_empty() {
        return Err(all(faults));
    }
    if query.dry_run {
        let change = move |tx: &mut Tx<'_>| apply::apply(tx, &desired, options);
        let value = store.rehearse(asked.author, change).await?;
        let generation = store.read(|rows| rows.generation()).await?;
        let outcome = Outcome {
            value,
            generation,
            replayed: false,
        };
        let view = |applied| ApplyView {
            dry_run: true,
            applied,
        };
        return Ok(admin.changed(outcome, None, view).await);
    }
    let change = move |tx: &mut Tx<'_>| apply::apply(tx, &desired, options);
    let outcome = store.write(asked.author, change).await?;
    Ok(admin
        .changed(outcome, timeout, |applied| ApplyView {
            dry_run: false,
            applied,
        })
        .await)
}

fn all(faults: Vec<Invalid>) -> Problem {
    Problem::faults(faults.into_iter().map(Fault::from).collect())
}
