//! The audit log: who changed what, from what to what. It is only ever read here.

use super::Admin;
use super::answer::Shown;
use super::problem::Problem;
use super::query::{self, Listed, Query};
use super::time::Moment;
use crate::domain::{AuditEntry, Subject};
use crate::store::AuditFilter;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "number": 9, "generation": 17, "at": "2026-11-21T08:00:00Z", "actor": "token:first",
    "action": "revoke", "subject": "key", "subject_id": "key_06t0q3zkd8v1w",
    "before": { "state": "active" }, "after": { "state": "revoked" }
}))]
pub struct AuditView {
    /// Ever-growing position in the log.
    pub number: u64,
    /// The generation number that the change took.
    pub generation: u64,
    /// When.
    pub at: Moment,
    /// Who: `token:` and the token's label, or `system`.
    pub actor: String,
    /// What was done: `create`, `disable`, `revoke`, `rotate` and so on.
    pub action: String,
    /// To what kind of thing.
    pub subject: Subject,
    /// To which one: its public id, name or number.
    pub subject_id: String,
    /// The thing before, as control keeps it; null: it was created.
    pub before: serde_json::Value,
    /// The thing after; null: it was deleted.
    pub after: serde_json::Value,
}

impl From<AuditEntry> for AuditView {
    fn from(entry: AuditEntry) -> Self {
        Self {
            number: entry.number,
            generation: entry.generation,
            at: Moment::at_ms(entry.at_ms),
            actor: entry.actor.to_string(),
            action: entry.action,
            subject: entry.subject,
            subject_id: entry.subject_id,
            before: entry.before,
            after: entry.after,
        }
    }
}

/// Which changes to list; every filter narrows.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// Of this kind of thing.
    #[param(inline)]
    subject: Option<Subject>,
    /// Of this one: its public id, name or number; goes with `subject`.
    subject_id: Option<String>,
    /// Rows of the page, 1 to 1000; default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists changes, newest first.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(AuditQuery),
    responses((status = 200, description = "Newest first", body = Listed<AuditView>)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(query): Query<AuditQuery>,
) -> Result<Shown<Listed<AuditView>>, Problem> {
    let page = query::page(query.limit, query.cursor.as_deref())?;
    if query.subject.is_none() && query.subject_id.is_some() {
        return Err(Problem::invalid("subject_id", "goes with `subject`"));
    }
    let filter = AuditFilter {
        subject: query.subject,
        subject_id: query.subject_id,
    };
    let entries = admin
        .control
        .store
        .read(move |rows| rows.audit(&filter, page))
        .await?;
    Ok(Shown(Listed::of(entries, AuditView::from)))
}
