//! Reading the audit log; rows come from [`Tx`](super::Tx), and triggers keep them as they are.

use super::sql::{self, Conditions, Order};
use super::{Page, Paged, Rows, StoreError};
use crate::domain::{Actor, AuditEntry, Subject};
use rusqlite::Row;

const SELECT: &str = "SELECT number, generation, at_ms, actor, action, subject, subject_id,
    coalesce(before, 'null') AS before, coalesce(after, 'null') AS after FROM audit";

/// Which audit rows to list; every field narrows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// About this kind of thing.
    pub subject: Option<Subject>,
    /// About this one: a key's id, a name, `tenant/app`, or a number as text.
    pub subject_id: Option<String>,
}

fn entry(row: &Row<'_>) -> Result<AuditEntry, StoreError> {
    Ok(AuditEntry {
        number: row.get("number")?,
        generation: row.get("generation")?,
        at_ms: row.get("at_ms")?,
        actor: Actor::recorded(row.get("actor")?),
        action: row.get("action")?,
        subject: sql::word(row, "subject")?,
        subject_id: row.get("subject_id")?,
        before: sql::json(row, "before")?,
        after: sql::json(row, "after")?,
    })
}

impl Rows<'_> {
    /// Audit rows, newest first.
    pub fn audit(&self, filter: &AuditFilter, page: Page) -> Result<Paged<AuditEntry>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.add_if("subject = ?", filter.subject.map(|s| s.word().to_owned()));
        conditions.add_if("subject_id = ?", filter.subject_id.clone());
        let order = Order::NewestFirst;
        sql::paged(
            self.connection(),
            SELECT,
            "number",
            order,
            conditions,
            page,
            |row| {
                let entry = entry(row)?;
                Ok((entry.number, entry))
            },
        )
    }
}
