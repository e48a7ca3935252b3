//! Upstreams.

use super::sql::{self, Conditions, Order};
use super::{Page, Paged, Rows, StoreError, Tx};
use crate::domain::{Api, Name, Subject, Upstream, UpstreamNumber, UpstreamSpec};
use rusqlite::{Row, params};

const SELECT: &str = "SELECT number, spec FROM upstreams";

fn upstream(row: &Row<'_>) -> Result<Upstream, StoreError> {
    Ok(Upstream {
        number: UpstreamNumber(row.get("number")?),
        spec: sql::json(row, "spec")?,
    })
}

impl Rows<'_> {
    /// Upstreams by number.
    pub fn upstreams(&self, page: Page) -> Result<Paged<Upstream>, StoreError> {
        let (conditions, order) = (Conditions::default(), Order::OldestFirst);
        sql::paged(
            self.connection(),
            SELECT,
            "number",
            order,
            conditions,
            page,
            |row| {
                let upstream = upstream(row)?;
                Ok((upstream.number.0.into(), upstream))
            },
        )
    }

    /// The upstream of that name.
    pub fn upstream(&self, name: &Name) -> Result<Upstream, StoreError> {
        self.upstream_if_any(name)?
            .ok_or_else(|| StoreError::not_found(Subject::Upstream, name))
    }

    /// All upstreams by number.
    pub(super) fn upstreams_all(&self) -> Result<Vec<Upstream>, StoreError> {
        sql::all(
            self.connection(),
            &format!("{SELECT} ORDER BY number"),
            &[],
            upstream,
        )
    }

    fn upstream_if_any(&self, name: &Name) -> Result<Option<Upstream>, StoreError> {
        let select = format!("{SELECT} WHERE name = ?1");
        sql::one(self.connection(), &select, params![name.as_str()], upstream)
    }
}

impl Tx<'_> {
    /// Makes an upstream.
    pub fn upstream_create(&mut self, spec: UpstreamSpec) -> Result<Upstream, StoreError> {
        if self.upstream_if_any(&spec.name)?.is_some() {
            let id = spec.name.to_string();
            return Err(StoreError::Exists {
                subject: Subject::Upstream,
                id,
            });
        }
        self.configuration_changes()?;
        let insert = "INSERT INTO upstreams (name, spec) VALUES (?1, ?2)";
        sql::run(
            self.connection(),
            insert,
            params![spec.name.as_str(), sql::to_json(&spec)?],
        )?;
        let number = UpstreamNumber(sql::new_number(self.connection(), Subject::Upstream)?);
        let created = Upstream { number, spec };
        self.audit_created(Subject::Upstream, created.spec.name.as_str(), &created)?;
        Ok(created)
    }

    /// Changes an upstream to `spec`; the name stays.
    pub fn upstream_replace(&mut self, spec: UpstreamSpec) -> Result<Upstream, StoreError> {
        let before = self.upstream(&spec.name)?;
        if before.spec == spec {
            return Ok(before);
        }
        self.configuration_changes()?;
        let update = "UPDATE upstreams SET spec = ?2 WHERE number = ?1";
        sql::run(
            self.connection(),
            update,
            params![before.number.0, sql::to_json(&spec)?],
        )?;
        let after = Upstream {
            number: before.number,
            spec,
        };
        let id = after.spec.name.as_str();
        self.audit(
            "replace",
            Subject::Upstream,
            id,
            Some(&before),
            Some(&after),
        )?;
        Ok(after)
    }

    /// Deletes an upstream that no API uses.
    pub fn upstream_delete(&mut self, name: &Name) -> Result<(), StoreError> {
        let before = self.upstream(name)?;
        // Also where it has a share or a route only, which stands in the API's document.
        let uses = |api: &Api| api.spec.upstreams().any(|(_, one)| one == name);
        let user = self.apis_all()?.into_iter().find(uses);
        if let Some(api) = user {
            let (subject, by) = (Subject::Upstream, format!("the API `{}`", api.spec.name));
            return Err(StoreError::InUse {
                subject,
                id: name.to_string(),
                by,
            });
        }
        self.configuration_changes()?;
        let delete = "DELETE FROM upstreams WHERE number = ?1";
        sql::run(self.connection(), delete, params![before.number.0])?;
        self.audit_deleted(Subject::Upstream, name.as_str(), &before)
    }
}
