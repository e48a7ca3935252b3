//! Rows as the snapshot wants them: entries in its order, streamed, so that ten million keys need
//! no more memory than ten.
//!
//! An overlay is every row whose `changed` lies above its base's generation: found by index, so it
//! costs what changed and not what exists.

use super::configuration::Configuration;
use super::keys::id_from_sql;
use super::tenants::DELETED_PREFIX;
use super::{Rows, StoreError, sql};
use keyway::snapshot::catalog::{CatalogFile, KeyFormats, TenantEntry};
use keyway::snapshot::record::{AppEntry, Digest, Environment, Grant, KeyRecord, KeyState};
use rusqlite::{Row, params};
use std::collections::BTreeSet;

/// How long a base still names a key that was revoked or has ended, seconds: until then a request
/// with it is told apart from one with a key that never was.
pub const RETIRED_KEPT_S: u64 = 30 * 24 * 3_600;

/// The small part of a snapshot, and what the rest is filtered by.
#[derive(Clone, Debug)]
pub struct SnapshotHead {
    /// The generation of the configuration in it.
    pub configuration: u64,
    /// The catalog.
    pub catalog: CatalogFile,
    granting: BTreeSet<(u32, u32)>,
}

const APPS: &str = "SELECT apps.number, apps.tenant, apps.name,
    apps.enabled AND apps.deleted_ms IS NULL AS enabled, apps.unlimited, s.api, s.plan
    FROM apps LEFT JOIN subscriptions AS s
    ON s.app = apps.number AND s.state = 'approved' AND apps.deleted_ms IS NULL";

const KEYS: &str = "SELECT digest, id, number, app, not_before_s, not_after_s, state, environment,
    pepper, unlimited FROM keys";

/// Keys that a base leaves out; `?1` and `?2` are the oldest end and revocation it still names.
const KEPT: &str = "coalesce(not_after_s, ?1) >= ?1 AND coalesce(revoked_ms, ?2) >= ?2";

impl Rows<'_> {
    /// The head of an overlay over the base `base`, or of a base (`u64::MAX`).
    pub fn snapshot_head(&self, base: u64) -> Result<SnapshotHead, StoreError> {
        let (generation, _) = self.configuration_in_force()?;
        let configuration: Configuration = self.configuration(generation)?.ok_or_else(|| {
            StoreError::Corrupt(format!(
                "configuration {generation} is in force but not kept"
            ))
        })?;
        let granting = configuration.granting().collect();
        let catalog = CatalogFile {
            key_formats: self.key_formats()?,
            tenants: self.tenant_entries(base)?,
            plans: configuration.plans,
            apis: configuration.apis,
            upstreams: configuration.upstreams,
        };
        Ok(SnapshotHead {
            configuration: generation,
            catalog,
            granting,
        })
    }

    /// Apps of a base, by ascending number.
    pub fn apps_for_base<R>(
        &self,
        head: &SnapshotHead,
        read: impl FnOnce(&mut dyn Iterator<Item = Result<AppEntry, StoreError>>) -> R,
    ) -> Result<R, StoreError> {
        let select = format!("{APPS} WHERE apps.deleted_ms IS NULL ORDER BY apps.number, s.api");
        self.app_entries(head, &select, &[], read)
    }

    /// How many apps changed after the base `base`; counts no further than `enough`.
    pub fn apps_for_overlay_count(&self, base: u64, enough: u64) -> Result<u64, StoreError> {
        let select = "SELECT count(*) FROM (SELECT 1 FROM apps WHERE changed > ?1 LIMIT ?2)";
        sql::number(self.connection(), select, params![base, enough])
    }

    /// Apps that changed after the base `base`, by ascending number. A deleted one is disabled.
    pub fn apps_for_overlay<R>(
        &self,
        head: &SnapshotHead,
        base: u64,
        read: impl FnOnce(&mut dyn Iterator<Item = Result<AppEntry, StoreError>>) -> R,
    ) -> Result<R, StoreError> {
        let select = format!("{APPS} WHERE apps.changed > ?1 ORDER BY apps.number, s.api");
        self.app_entries(head, &select, params![base], read)
    }

    fn app_entries<R>(
        &self,
        head: &SnapshotHead,
        select: &str,
        values: &[&dyn rusqlite::ToSql],
        read: impl FnOnce(&mut dyn Iterator<Item = Result<AppEntry, StoreError>>) -> R,
    ) -> Result<R, StoreError> {
        let mut statement = self.connection().prepare_cached(select)?;
        let rows = statement.query(values)?;
        Ok(read(&mut AppEntries {
            rows,
            granting: &head.granting,
            begun: None,
        }))
    }

    /// How many keys [`Rows::keys_for_base`] hands out.
    pub fn keys_for_base_count(&self, now_s: u64) -> Result<u64, StoreError> {
        let (oldest_s, oldest_ms) = oldest(now_s);
        let select = format!("SELECT count(*) FROM keys WHERE {KEPT}");
        sql::number(self.connection(), &select, params![oldest_s, oldest_ms])
    }

    /// Keys of a base by ascending digest: all but those that were revoked or ended longer ago
    /// than [`RETIRED_KEPT_S`].
    pub fn keys_for_base<R>(
        &self,
        now_s: u64,
        read: impl FnOnce(&mut dyn Iterator<Item = Result<KeyRecord, StoreError>>) -> R,
    ) -> Result<R, StoreError> {
        let (oldest_s, oldest_ms) = oldest(now_s);
        let select = format!("{KEYS} WHERE {KEPT} ORDER BY digest");
        self.key_records(&select, params![oldest_s, oldest_ms], read)
    }

    /// How many keys changed after the base `base`; counts no further than `enough`.
    pub fn keys_for_overlay_count(&self, base: u64, enough: u64) -> Result<u64, StoreError> {
        let select = "SELECT count(*) FROM (SELECT 1 FROM keys WHERE changed > ?1 LIMIT ?2)";
        sql::number(self.connection(), select, params![base, enough])
    }

    /// Keys that changed after the base `base`, by ascending digest, in whatever state.
    pub fn keys_for_overlay<R>(
        &self,
        base: u64,
        read: impl FnOnce(&mut dyn Iterator<Item = Result<KeyRecord, StoreError>>) -> R,
    ) -> Result<R, StoreError> {
        // The plus sign keeps SQLite from walking all keys by digest: few changed, sort those.
        let select = format!("{KEYS} WHERE changed > ?1 ORDER BY +digest");
        self.key_records(&select, params![base], read)
    }

    fn key_records<R>(
        &self,
        select: &str,
        values: &[&dyn rusqlite::ToSql],
        read: impl FnOnce(&mut dyn Iterator<Item = Result<KeyRecord, StoreError>>) -> R,
    ) -> Result<R, StoreError> {
        let mut statement = self.connection().prepare_cached(select)?;
        let mut records = statement.query_and_then(values, key_record)?;
        Ok(read(&mut records))
    }

    /// Which forms of keys exist beside ours.
    pub(super) fn key_formats(&self) -> Result<KeyFormats, StoreError> {
        let exists = |origin: &str| {
            let select = "SELECT 1 FROM keys WHERE origin = ?1 AND origin <> 'issued' LIMIT 1";
            sql::one(self.connection(), select, params![origin], |_| Ok(())).map(|r| r.is_some())
        };
        Ok(KeyFormats {
            foreign: exists("imported")?,
            foreign_sha256: exists("imported_sha256")?,
        })
    }

    /// Tenants, and the deleted ones whose apps an overlay over `base` still tells of.
    pub(super) fn tenant_entries(&self, base: u64) -> Result<Vec<TenantEntry>, StoreError> {
        let base = i64::try_from(base).unwrap_or(i64::MAX);
        let select = "SELECT number, name, enabled, deleted_ms IS NOT NULL AS deleted FROM tenants
            WHERE deleted_ms IS NULL OR number IN (SELECT tenant FROM apps WHERE changed > ?1)
            ORDER BY number";
        sql::all(self.connection(), select, params![base], |row| {
            let (number, deleted): (u32, bool) = (row.get("number")?, row.get("deleted")?);
            let name = match deleted {
                true => format!("{DELETED_PREFIX}{number}"),
                false => row.get("name")?,
            };
            Ok(TenantEntry {
                number,
                name,
                enabled: row.get("enabled")?,
            })
        })
    }
}

/// Rows of [`APPS`], one a grant, put together to one entry an app.
struct AppEntries<'r> {
    rows: rusqlite::Rows<'r>,
    granting: &'r BTreeSet<(u32, u32)>,
    /// The first row of the next app has been read already.
    begun: Option<AppEntry>,
}

impl AppEntries<'_> {
    fn next_app(&mut self) -> Result<Option<AppEntry>, StoreError> {
        let mut current = self.begun.take();
        while let Some(row) = self.rows.next()? {
            let (entry, grant) = app_row(row)?;
            let grant = grant.filter(|g| self.granting.contains(&(g.plan, g.api)));
            match &mut current {
                Some(app) if app.number == entry.number => app.grants.extend(grant),
                _ => {
                    let mut entry = entry;
                    entry.grants.extend(grant);
                    if let Some(done) = current.replace(entry) {
                        self.begun = current;
                        return Ok(Some(done));
                    }
                }
            }
        }
        Ok(current)
    }
}

impl Iterator for AppEntries<'_> {
    type Item = Result<AppEntry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_app().transpose()
    }
}

/// The oldest end (seconds) and the oldest revocation (milliseconds) that a base still names.
fn oldest(now_s: u64) -> (u64, u64) {
    let oldest_s = now_s.saturating_sub(RETIRED_KEPT_S);
    (oldest_s, oldest_s.saturating_mul(1_000))
}

fn app_row(row: &Row<'_>) -> Result<(AppEntry, Option<Grant>), StoreError> {
    let entry = AppEntry {
        number: row.get("number")?,
        tenant: row.get("tenant")?,
        enabled: row.get("enabled")?,
        unlimited: row.get("unlimited")?,
        name: row.get("name")?,
        grants: Vec::new(),
    };
    let grant: (Option<u32>, Option<u32>) = (row.get("api")?, row.get("plan")?);
    Ok((
        entry,
        grant.0.zip(grant.1).map(|(api, plan)| Grant { api, plan }),
    ))
}

// By position: this runs once a key, ten million times a base.
fn key_record(row: &Row<'_>) -> Result<KeyRecord, StoreError> {
    let corrupt = |column: &str| StoreError::Corrupt(format!("column `{column}`"));
    Ok(KeyRecord {
        digest: Digest(row.get(0)?),
        id: id_from_sql(row.get(1)?)?,
        number: row.get(2)?,
        app: row.get(3)?,
        not_before_s: row.get::<_, Option<u32>>(4)?.unwrap_or(0),
        not_after_s: row.get::<_, Option<u32>>(5)?.unwrap_or(0),
        state: match row.get_ref(6)?.as_str().map_err(|_| corrupt("state"))? {
            "active" => KeyState::Active,
            "disabled" => KeyState::Disabled,
            "revoked" => KeyState::Revoked,
            _ => return Err(corrupt("state")),
        },
        environment: match row
            .get_ref(7)?
            .as_str()
            .map_err(|_| corrupt("environment"))?
        {
            "live" => Environment::Live,
            "test" => Environment::Test,
            _ => return Err(corrupt("environment")),
        },
        pepper: row.get(8)?,
        unlimited: row.get(9)?,
    })
}
