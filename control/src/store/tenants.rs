//! Tenants.

use super::sql::{self, Conditions, Order};
use super::{Page, Paged, Rows, StoreError, Tx};
use crate::domain::{Invalid, Name, Subject, Tenant, TenantNumber, TenantSpec};
use rusqlite::{Row, params};

/// A deleted tenant stays in the catalog under such a name for as long as an overlay has to tell
/// of its apps.
pub(super) const DELETED_PREFIX: &str = "deleted.";

const SELECT: &str = "SELECT number, name, enabled, created_ms FROM tenants";

fn tenant(row: &Row<'_>) -> Result<Tenant, StoreError> {
    Ok(Tenant {
        number: TenantNumber(row.get("number")?),
        name: sql::word(row, "name")?,
        enabled: row.get("enabled")?,
        created_ms: row.get("created_ms")?,
    })
}

impl Rows<'_> {
    /// Tenants by number.
    pub fn tenants(&self, page: Page) -> Result<Paged<Tenant>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.add("deleted_ms IS NULL");
        let order = Order::OldestFirst;
        sql::paged(
            self.connection(),
            SELECT,
            "number",
            order,
            conditions,
            page,
            |row| {
                let tenant = tenant(row)?;
                Ok((tenant.number.0.into(), tenant))
            },
        )
    }

    /// The tenant of that name.
    pub fn tenant(&self, name: &Name) -> Result<Tenant, StoreError> {
        self.tenant_if_any(name)?
            .ok_or_else(|| StoreError::not_found(Subject::Tenant, name))
    }

    fn tenant_if_any(&self, name: &Name) -> Result<Option<Tenant>, StoreError> {
        let select = format!("{SELECT} WHERE name = ?1 AND deleted_ms IS NULL");
        sql::one(self.connection(), &select, params![name.as_str()], tenant)
    }
}

impl Tx<'_> {
    /// Makes a tenant.
    pub fn tenant_create(&mut self, spec: TenantSpec) -> Result<Tenant, StoreError> {
        if spec.name.as_str().starts_with(DELETED_PREFIX) {
            let problem = format!("names that begin with `{DELETED_PREFIX}` are Keyway's own");
            return Err(Invalid::at("name", problem).into());
        }
        if self.tenant_if_any(&spec.name)?.is_some() {
            let id = spec.name.to_string();
            return Err(StoreError::Exists {
                subject: Subject::Tenant,
                id,
            });
        }
        let insert = "INSERT INTO tenants (name, enabled, created_ms) VALUES (?1, ?2, ?3)";
        sql::run(
            self.connection(),
            insert,
            params![spec.name.as_str(), spec.enabled, self.now().0],
        )?;
        sql::new_number(self.connection(), Subject::Tenant)?;
        let created = self.tenant(&spec.name)?;
        self.catalog_changed = true;
        self.audit_created(Subject::Tenant, spec.name.as_str(), &created)?;
        Ok(created)
    }

    /// Switches a tenant, and with it all its keys, on or off.
    pub fn tenant_set_enabled(&mut self, name: &Name, enabled: bool) -> Result<Tenant, StoreError> {
        let before = self.tenant(name)?;
        if before.enabled == enabled {
            return Ok(before);
        }
        let update = "UPDATE tenants SET enabled = ?2 WHERE number = ?1";
        sql::run(self.connection(), update, params![before.number.0, enabled])?;
        let after = Tenant {
            enabled,
            ..before.clone()
        };
        self.catalog_changed = true;
        let action = if enabled { "enable" } else { "disable" };
        self.audit(
            action,
            Subject::Tenant,
            name.as_str(),
            Some(&before),
            Some(&after),
        )?;
        Ok(after)
    }

    /// Deletes a tenant without apps, and frees its name.
    pub fn tenant_delete(&mut self, name: &Name) -> Result<(), StoreError> {
        let before = self.tenant(name)?;
        let apps = "SELECT name FROM apps WHERE tenant = ?1 AND deleted_ms IS NULL LIMIT 1";
        let app: Option<String> =
            sql::one(self.connection(), apps, params![before.number.0], |row| {
                Ok(row.get(0)?)
            })?;
        if let Some(app) = app {
            let (subject, by) = (Subject::Tenant, format!("the app `{app}`"));
            return Err(StoreError::InUse {
                subject,
                id: name.to_string(),
                by,
            });
        }
        let update = "UPDATE tenants SET deleted_ms = ?2, enabled = 0 WHERE number = ?1";
        sql::run(
            self.connection(),
            update,
            params![before.number.0, self.now().0],
        )?;
        self.catalog_changed = true;
        self.audit_deleted(Subject::Tenant, name.as_str(), &before)
    }
}
