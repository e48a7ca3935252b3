//! APIs with their routes.

use super::limits::Owner;
use super::sql::{self, Conditions, Order};
use super::{Page, Paged, Rows, StoreError, Tx};
use crate::domain::{Api, ApiNumber, ApiSpec, Name, Subject, Upstream};
use rusqlite::{Row, params};

const SELECT: &str = "SELECT number, spec FROM apis";

fn api(row: &Row<'_>) -> Result<Api, StoreError> {
    Ok(Api {
        number: ApiNumber(row.get("number")?),
        spec: sql::json(row, "spec")?,
    })
}

impl Rows<'_> {
    /// APIs by number.
    pub fn apis(&self, page: Page) -> Result<Paged<Api>, StoreError> {
        let (conditions, order) = (Conditions::default(), Order::OldestFirst);
        sql::paged(
            self.connection(),
            SELECT,
            "number",
            order,
            conditions,
            page,
            |row| {
                let api = api(row)?;
                Ok((api.number.0.into(), api))
            },
        )
    }

    /// The API of that name.
    pub fn api(&self, name: &Name) -> Result<Api, StoreError> {
        self.api_if_any(name)?
            .ok_or_else(|| StoreError::not_found(Subject::Api, name))
    }

    /// All APIs by number.
    pub(super) fn apis_all(&self) -> Result<Vec<Api>, StoreError> {
        sql::all(
            self.connection(),
            &format!("{SELECT} ORDER BY number"),
            &[],
            api,
        )
    }

    fn api_if_any(&self, name: &Name) -> Result<Option<Api>, StoreError> {
        let select = format!("{SELECT} WHERE name = ?1");
        sql::one(self.connection(), &select, params![name.as_str()], api)
    }
}

impl Tx<'_> {
    /// Makes an API.
    pub fn api_create(&mut self, spec: ApiSpec) -> Result<Api, StoreError> {
        if self.api_if_any(&spec.name)?.is_some() {
            let id = spec.name.to_string();
            return Err(StoreError::Exists {
                subject: Subject::Api,
                id,
            });
        }
        let upstream = self.upstreams_of(&spec)?;
        self.configuration_changes()?;
        let insert = "INSERT INTO apis (name, upstream, spec) VALUES (?1, ?2, ?3)";
        sql::run(
            self.connection(),
            insert,
            params![spec.name.as_str(), upstream.number.0, sql::to_json(&spec)?],
        )?;
        let number = ApiNumber(sql::new_number(self.connection(), Subject::Api)?);
        self.limits_write(Owner::Api(number.0), &spec.limits)?;
        let created = Api { number, spec };
        self.audit_created(Subject::Api, created.spec.name.as_str(), &created)?;
        Ok(created)
    }

    /// Changes an API to `spec`; the name stays.
    pub fn api_replace(&mut self, spec: ApiSpec) -> Result<Api, StoreError> {
        let before = self.api(&spec.name)?;
        if before.spec == spec {
            return Ok(before);
        }
        let upstream = self.upstreams_of(&spec)?;
        self.configuration_changes()?;
        let update = "UPDATE apis SET upstream = ?2, spec = ?3 WHERE number = ?1";
        sql::run(
            self.connection(),
            update,
            params![before.number.0, upstream.number.0, sql::to_json(&spec)?],
        )?;
        self.limits_write(Owner::Api(before.number.0), &spec.limits)?;
        let after = Api {
            number: before.number,
            spec,
        };
        let id = after.spec.name.as_str();
        self.audit("replace", Subject::Api, id, Some(&before), Some(&after))?;
        Ok(after)
    }

    /// The upstream that serves an API; all others that it names must exist as well.
    fn upstreams_of(&self, spec: &ApiSpec) -> Result<Upstream, StoreError> {
        for (_, name) in spec.upstreams() {
            self.upstream(name)?;
        }
        self.upstream(&spec.upstream)
    }

    /// Deletes an API that no plan includes and no one subscribes to. Subscriptions to it that
    /// were cancelled go with it; the audit log remembers them.
    pub fn api_delete(&mut self, name: &Name) -> Result<(), StoreError> {
        let before = self.api(name)?;
        let users = "SELECT 'the plan `' || name || '`' FROM plan_apis
                JOIN plans ON plans.number = plan_apis.plan WHERE api = ?1
            UNION ALL SELECT 'subscription ' || number FROM subscriptions
                WHERE api = ?1 AND state <> 'cancelled' LIMIT 1";
        let by: Option<String> =
            sql::one(self.connection(), users, params![before.number.0], |row| {
                Ok(row.get(0)?)
            })?;
        if let Some(by) = by {
            return Err(StoreError::InUse {
                subject: Subject::Api,
                id: name.to_string(),
                by,
            });
        }
        self.configuration_changes()?;
        let number = params![before.number.0];
        sql::run(
            self.connection(),
            "DELETE FROM subscriptions WHERE api = ?1",
            number,
        )?;
        self.limits_write(Owner::Api(before.number.0), &[])?;
        sql::run(
            self.connection(),
            "DELETE FROM apis WHERE number = ?1",
            number,
        )?;
        self.audit_deleted(Subject::Api, name.as_str(), &before)
    }
}
