//! Apps.

use super::sql::{self, Conditions, Order};
use super::{Page, Paged, Rows, StoreError, Tx};
use crate::domain::{App, AppNumber, AppSpec, Name, Subject, TenantNumber};
use rusqlite::{Row, params};
use serde_json::json;

const SELECT: &str = "SELECT apps.number, tenant, tenants.name AS tenant_name, apps.name,
    apps.enabled, apps.unlimited, apps.created_ms
    FROM apps JOIN tenants ON tenants.number = apps.tenant";

fn app(row: &Row<'_>) -> Result<App, StoreError> {
    Ok(App {
        number: AppNumber(row.get("number")?),
        tenant: TenantNumber(row.get("tenant")?),
        tenant_name: sql::word(row, "tenant_name")?,
        name: sql::word(row, "name")?,
        enabled: row.get("enabled")?,
        unlimited: row.get("unlimited")?,
        created_ms: row.get("created_ms")?,
    })
}

/// An app's id in the audit log and in errors.
fn id_of(tenant: &Name, app: &Name) -> String {
    format!("{tenant}/{app}")
}

impl Rows<'_> {
    /// Apps by number, of one tenant or of all.
    pub fn apps(&self, tenant: Option<TenantNumber>, page: Page) -> Result<Paged<App>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.add("apps.deleted_ms IS NULL");
        conditions.add_if("apps.tenant = ?", tenant.map(|t| i64::from(t.0)));
        let order = Order::OldestFirst;
        sql::paged(
            self.connection(),
            SELECT,
            "apps.number",
            order,
            conditions,
            page,
            |row| {
                let app = app(row)?;
                Ok((app.number.0.into(), app))
            },
        )
    }

    /// The app of that name in that tenant.
    pub fn app(&self, tenant: &Name, name: &Name) -> Result<App, StoreError> {
        self.app_if_any(tenant, name)?
            .ok_or_else(|| StoreError::not_found(Subject::App, id_of(tenant, name)))
    }

    /// The app of that number.
    pub fn app_numbered(&self, number: AppNumber) -> Result<App, StoreError> {
        let select = format!("{SELECT} WHERE apps.number = ?1 AND apps.deleted_ms IS NULL");
        sql::one(self.connection(), &select, params![number.0], app)?
            .ok_or_else(|| StoreError::not_found(Subject::App, number))
    }

    fn app_if_any(&self, tenant: &Name, name: &Name) -> Result<Option<App>, StoreError> {
        let select = format!(
            "{SELECT} WHERE tenants.name = ?1 AND tenants.deleted_ms IS NULL
             AND apps.name = ?2 AND apps.deleted_ms IS NULL"
        );
        sql::one(
            self.connection(),
            &select,
            params![tenant.as_str(), name.as_str()],
            app,
        )
    }
}

impl Tx<'_> {
    /// Makes an app.
    pub fn app_create(&mut self, tenant: &Name, spec: AppSpec) -> Result<App, StoreError> {
        let tenant = self.tenant(tenant)?;
        let id = id_of(&tenant.name, &spec.name);
        if self.app_if_any(&tenant.name, &spec.name)?.is_some() {
            return Err(StoreError::Exists {
                subject: Subject::App,
                id,
            });
        }
        let changed = self.stamp()?;
        let insert = "INSERT INTO apps (tenant, name, enabled, unlimited, created_ms, changed)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        sql::run(
            self.connection(),
            insert,
            params![
                tenant.number.0,
                spec.name.as_str(),
                spec.enabled,
                spec.unlimited,
                self.now().0,
                changed
            ],
        )?;
        let created =
            self.app_numbered(AppNumber(sql::new_number(self.connection(), Subject::App)?))?;
        self.audit_created(Subject::App, &id, &created)?;
        Ok(created)
    }

    /// Switches an app, and with it all its keys, on or off.
    pub fn app_set_enabled(&mut self, number: AppNumber, enabled: bool) -> Result<App, StoreError> {
        let before = self.app_numbered(number)?;
        if before.enabled == enabled {
            return Ok(before);
        }
        let changed = self.stamp()?;
        let update = "UPDATE apps SET enabled = ?2, changed = ?3 WHERE number = ?1";
        sql::run(
            self.connection(),
            update,
            params![number.0, enabled, changed],
        )?;
        let after = App {
            enabled,
            ..before.clone()
        };
        let action = if enabled { "enable" } else { "disable" };
        let id = id_of(&before.tenant_name, &before.name);
        self.audit(action, Subject::App, &id, Some(&before), Some(&after))?;
        Ok(after)
    }

    /// Sets whether the limits of its plans hold for an app's keys.
    pub fn app_set_unlimited(
        &mut self,
        number: AppNumber,
        unlimited: bool,
    ) -> Result<App, StoreError> {
        let before = self.app_numbered(number)?;
        if before.unlimited == unlimited {
            return Ok(before);
        }
        let changed = self.stamp()?;
        let update = "UPDATE apps SET unlimited = ?2, changed = ?3 WHERE number = ?1";
        sql::run(
            self.connection(),
            update,
            params![number.0, unlimited, changed],
        )?;
        let after = App {
            unlimited,
            ..before.clone()
        };
        let id = id_of(&before.tenant_name, &before.name);
        self.audit(
            "set_unlimited",
            Subject::App,
            &id,
            Some(&before),
            Some(&after),
        )?;
        Ok(after)
    }

    /// Deletes an app: revokes its keys, cancels its subscriptions, frees its name.
    pub fn app_delete(&mut self, number: AppNumber) -> Result<(), StoreError> {
        let before = self.app_numbered(number)?;
        let (changed, now_ms) = (self.stamp()?, self.now().0);
        let revoke = "UPDATE keys SET state = 'revoked', revoked_ms = ?2, changed = ?3
            WHERE app = ?1 AND state <> 'revoked'";
        let keys = sql::run(
            self.connection(),
            revoke,
            params![number.0, now_ms, changed],
        )?;
        let cancel = "UPDATE subscriptions SET state = 'cancelled'
            WHERE app = ?1 AND state <> 'cancelled'";
        let subscriptions = sql::run(self.connection(), cancel, params![number.0])?;
        let delete = "UPDATE apps SET deleted_ms = ?2, enabled = 0, changed = ?3 WHERE number = ?1";
        sql::run(
            self.connection(),
            delete,
            params![number.0, now_ms, changed],
        )?;
        let before_all = json!({
            "app": before,
            "keys_revoked": keys,
            "subscriptions_cancelled": subscriptions,
        });
        self.audit_deleted(
            Subject::App,
            &id_of(&before.tenant_name, &before.name),
            &before_all,
        )
    }

    /// Tells the data plane anew about an app.
    pub(super) fn app_touch(&mut self, number: AppNumber) -> Result<(), StoreError> {
        let changed = self.stamp()?;
        let update = "UPDATE apps SET changed = ?2 WHERE number = ?1";
        sql::run(self.connection(), update, params![number.0, changed])?;
        Ok(())
    }
}
