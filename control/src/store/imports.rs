//! Keys made elsewhere, many at a time.

use super::{StoreError, Tx};
use crate::domain::{Invalid, KeyId, NewKey, Subject};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;

/// Most keys of one import: the transaction holds up every other change.
pub const IMPORT_KEYS_MAX: usize = 10_000;

/// What became of one key of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportLine {
    /// Taken in under this id.
    Created(KeyId),
    /// The same key is there already, under this id; nothing was changed.
    Exists(KeyId),
}

impl Tx<'_> {
    /// Takes in keys made elsewhere, one line each, at most [`IMPORT_KEYS_MAX`]. A key that is
    /// there already is left alone, so that an import can be repeated.
    pub fn keys_import(&mut self, keys: Vec<NewKey>) -> Result<Vec<ImportLine>, StoreError> {
        if keys.len() > IMPORT_KEYS_MAX {
            let problem = format!("at most {IMPORT_KEYS_MAX} keys in one import");
            return Err(Invalid::value(problem).into());
        }
        let apps: BTreeSet<_> = keys.iter().map(|key| key.app).collect();
        for app in apps {
            self.app_numbered(app)?;
        }
        let mut lines = Vec::with_capacity(keys.len());
        for new in &keys {
            lines.push(match self.key_by_digest(&new.credential.digest)? {
                Some(id) => ImportLine::Exists(id),
                None => ImportLine::Created(self.key_insert(new, None)?.id),
            });
        }
        self.audit_import(&lines)?;
        // Foreign forms are announced in the catalog.
        self.catalog_changed = true;
        Ok(lines)
    }

    /// One audit row for all of them, which names each.
    fn audit_import(&mut self, lines: &[ImportLine]) -> Result<(), StoreError> {
        let created: Vec<KeyId> = lines
            .iter()
            .filter_map(|line| match line {
                ImportLine::Created(id) => Some(*id),
                ImportLine::Exists(_) => None,
            })
            .collect();
        let Some(first) = created.first() else {
            return Ok(());
        };
        let after = json!({ "keys": created });
        self.audit(
            "import",
            Subject::Key,
            &first.to_string(),
            None::<&()>,
            Some(&after),
        )
    }
}
