//! Keys. Their secrets never come here.

use super::sql::{self, Conditions, Order};
use super::{Page, Paged, Rows, StoreError, Tx};
use crate::domain::{
    AppNumber, Attributes, Credential, Environment, Key, KeyId, KeyNumber, KeyState, NewKey,
    Subject, TenantNumber, Validity,
};
use rusqlite::{Row, params};

const SELECT: &str = "SELECT keys.number, keys.id, keys.app, tenants.name AS tenant_name,
    apps.name AS app_name, environment, state, not_before_s, not_after_s, attributes,
    keys.unlimited, origin, rotated_from, keys.created_ms, revoked_ms, last_used.minute_ms AS last_used_ms
    FROM keys JOIN apps ON apps.number = keys.app JOIN tenants ON tenants.number = apps.tenant
    LEFT JOIN last_used ON last_used.key = keys.id";

/// Which keys to list; every field narrows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// Of this tenant.
    pub tenant: Option<TenantNumber>,
    /// Of this app.
    pub app: Option<AppNumber>,
    /// In this state.
    pub state: Option<KeyState>,
    /// In this environment.
    pub environment: Option<Environment>,
}

fn key(row: &Row<'_>) -> Result<Key, StoreError> {
    let validity = Validity::new(row.get("not_before_s")?, row.get("not_after_s")?)?;
    let rotated_from: Option<i64> = row.get("rotated_from")?;
    Ok(Key {
        number: KeyNumber(row.get("number")?),
        id: id_from_sql(row.get("id")?)?,
        app: AppNumber(row.get("app")?),
        tenant_name: sql::word(row, "tenant_name")?,
        app_name: sql::word(row, "app_name")?,
        environment: sql::word(row, "environment")?,
        state: sql::word(row, "state")?,
        validity,
        attributes: sql::json(row, "attributes")?,
        unlimited: row.get("unlimited")?,
        origin: sql::word(row, "origin")?,
        rotated_from: rotated_from.map(id_from_sql).transpose()?,
        created_ms: row.get("created_ms")?,
        revoked_ms: row.get("revoked_ms")?,
        last_used_ms: row.get("last_used_ms")?,
    })
}

/// SQLite's integers are signed; an id is 64 bits all the same.
pub(super) fn id_to_sql(id: KeyId) -> i64 {
    id.get().cast_signed()
}

pub(super) fn id_from_sql(id: i64) -> Result<KeyId, StoreError> {
    KeyId::new(id.cast_unsigned()).ok_or_else(|| StoreError::Corrupt("column `id`".to_owned()))
}

impl Rows<'_> {
    /// Keys by number.
    pub fn keys(&self, filter: &KeyFilter, page: Page) -> Result<Paged<Key>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.add_if(
            "keys.app IN (SELECT number FROM apps WHERE tenant = ?)",
            filter.tenant.map(|tenant| i64::from(tenant.0)),
        );
        conditions.add_if("keys.app = ?", filter.app.map(|app| i64::from(app.0)));
        conditions.add_if("keys.state = ?", filter.state.map(|s| s.word().to_owned()));
        conditions.add_if(
            "keys.environment = ?",
            filter.environment.map(|e| e.word().to_owned()),
        );
        let order = Order::OldestFirst;
        sql::paged(
            self.connection(),
            SELECT,
            "keys.number",
            order,
            conditions,
            page,
            |row| {
                let key = key(row)?;
                Ok((key.number.0.into(), key))
            },
        )
    }

    /// The key of that id.
    pub fn key(&self, id: KeyId) -> Result<Key, StoreError> {
        let select = format!("{SELECT} WHERE keys.id = ?1");
        sql::one(self.connection(), &select, params![id_to_sql(id)], key)?
            .ok_or_else(|| StoreError::not_found(Subject::Key, id))
    }

    /// The key of that number.
    pub fn key_numbered(&self, number: KeyNumber) -> Result<Key, StoreError> {
        let select = format!("{SELECT} WHERE keys.number = ?1");
        sql::one(self.connection(), &select, params![number.0], key)?
            .ok_or_else(|| StoreError::not_found(Subject::Key, number))
    }

    /// The id of the key with that digest.
    pub(super) fn key_by_digest(&self, digest: &[u8; 16]) -> Result<Option<KeyId>, StoreError> {
        let select = "SELECT id FROM keys WHERE digest = ?1";
        sql::one(self.connection(), select, params![digest], |row| {
            id_from_sql(row.get(0)?)
        })
    }
}

impl Tx<'_> {
    /// Makes a key.
    pub fn key_create(&mut self, new: NewKey) -> Result<Key, StoreError> {
        self.app_numbered(new.app)?;
        if let Some(id) = self.key_by_digest(&new.credential.digest)? {
            return Err(StoreError::Exists {
                subject: Subject::Key,
                id: id.to_string(),
            });
        }
        let created = self.key_insert(&new, None)?;
        self.audit_created(Subject::Key, &created.id.to_string(), &created)?;
        Ok(created)
    }

    pub(super) fn key_insert(
        &mut self,
        new: &NewKey,
        rotated_from: Option<KeyId>,
    ) -> Result<Key, StoreError> {
        let changed = self.stamp()?;
        let insert = "INSERT INTO keys (id, digest, pepper, app, environment, state, not_before_s,
            not_after_s, attributes, unlimited, origin, rotated_from, created_ms, changed)
            VALUES (?1, ?2, ?3, ?4, ?5, 'active', ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
        sql::run(
            self.connection(),
            insert,
            params![
                id_to_sql(new.credential.id),
                new.credential.digest,
                new.credential.pepper,
                new.app.0,
                new.environment.word(),
                new.validity.not_before_s(),
                new.validity.not_after_s(),
                sql::to_json(&new.attributes)?,
                new.unlimited,
                new.credential.origin.word(),
                rotated_from.map(id_to_sql),
                self.now().0,
                changed
            ],
        )?;
        self.key_numbered(KeyNumber(sql::new_number(self.connection(), Subject::Key)?))
    }

    /// Switches a key on or off.
    pub fn key_set_enabled(&mut self, id: KeyId, enabled: bool) -> Result<Key, StoreError> {
        let before = self.key(id)?;
        let wanted = if enabled {
            KeyState::Active
        } else {
            KeyState::Disabled
        };
        let state = before.state.become_(wanted)?;
        let action = if enabled { "enable" } else { "disable" };
        self.key_change(action, before, |key| key.state = state)
    }

    /// Sets when a key is valid.
    pub fn key_set_validity(&mut self, id: KeyId, validity: Validity) -> Result<Key, StoreError> {
        let before = self.key(id)?;
        before.state.alive()?;
        self.key_change("set_validity", before, |key| key.validity = validity)
    }

    /// Sets a key's attributes, all of them.
    pub fn key_set_attributes(
        &mut self,
        id: KeyId,
        attributes: Attributes,
    ) -> Result<Key, StoreError> {
        let before = self.key(id)?;
        before.state.alive()?;
        self.key_change("set_attributes", before, |key| key.attributes = attributes)
    }

    /// Sets whether the limits of its plans hold for a key.
    pub fn key_set_unlimited(&mut self, id: KeyId, unlimited: bool) -> Result<Key, StoreError> {
        let before = self.key(id)?;
        before.state.alive()?;
        self.key_change("set_unlimited", before, |key| key.unlimited = unlimited)
    }

    /// Makes a key that takes the place of `id`: same app, environment, attributes and validity, so
    /// that a rotation never makes a key outlive what it was made for. The old one ends `grace_s` seconds from now, or earlier by itself; the node
    /// ends it, also with control down. Answers the new key.
    pub fn key_rotate(
        &mut self,
        id: KeyId,
        credential: Credential,
        grace_s: u32,
    ) -> Result<Key, StoreError> {
        let old = self.key(id)?;
        old.state.alive()?;
        if let Some(taken) = self.key_by_digest(&credential.digest)? {
            return Err(StoreError::Exists {
                subject: Subject::Key,
                id: taken.to_string(),
            });
        }
        let now_s = u32::try_from(self.now().seconds()).unwrap_or(u32::MAX);
        let ended = old.validity.ended_by(now_s.saturating_add(grace_s));
        let new = NewKey {
            app: old.app,
            credential,
            environment: old.environment,
            validity: old.validity,
            attributes: old.attributes.clone(),
            unlimited: old.unlimited,
        };
        let created = self.key_insert(&new, Some(id))?;
        self.audit(
            "rotate",
            Subject::Key,
            &created.id.to_string(),
            None::<&()>,
            Some(&created),
        )?;
        self.key_change("end_after_rotation", old, |key| key.validity = ended)?;
        Ok(created)
    }

    /// Revokes a key for good; revoking it again changes nothing.
    pub fn key_revoke(&mut self, id: KeyId) -> Result<Key, StoreError> {
        let before = self.key(id)?;
        if before.state == KeyState::Revoked {
            return Ok(before);
        }
        let now_ms = self.now().0;
        self.key_change("revoke", before, |key| {
            key.state = KeyState::Revoked;
            key.revoked_ms = Some(now_ms);
        })
    }

    /// Writes what `change` made of a key, unless that is what it was.
    fn key_change(
        &mut self,
        action: &str,
        before: Key,
        change: impl FnOnce(&mut Key),
    ) -> Result<Key, StoreError> {
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok(before);
        }
        let changed = self.stamp()?;
        let update = "UPDATE keys SET state = ?2, not_before_s = ?3, not_after_s = ?4,
            attributes = ?5, unlimited = ?6, revoked_ms = ?7, changed = ?8 WHERE number = ?1";
        sql::run(
            self.connection(),
            update,
            params![
                after.number.0,
                after.state.word(),
                after.validity.not_before_s(),
                after.validity.not_after_s(),
                sql::to_json(&after.attributes)?,
                after.unlimited,
                after.revoked_ms,
                changed
            ],
        )?;
        self.audit(
            action,
            Subject::Key,
            &after.id.to_string(),
            Some(&before),
            Some(&after),
        )?;
        Ok(after)
    }
}
