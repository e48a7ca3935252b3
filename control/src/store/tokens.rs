//! Admin tokens: only their SHA-256 is kept. They have 160 random bits, so a slow hash would add
//! nothing.

use super::sql::{self, Conditions, Order};
use super::{Page, Paged, Rows, StoreError, Tx};
use crate::domain::{Name, Subject, TokenNumber, TokenRole};
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};

const SELECT: &str = "SELECT number, label, role, created_ms, withdrawn_ms FROM tokens";

/// An admin token; its secret is nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminToken {
    /// Stable number.
    pub number: TokenNumber,
    /// Who holds it; names the actor in the audit log.
    pub label: Name,
    /// What it may do.
    #[serde(default)]
    pub role: TokenRole,
    /// Milliseconds since the epoch.
    pub created_ms: u64,
    /// When it was withdrawn, milliseconds since the epoch.
    pub withdrawn_ms: Option<u64>,
}

fn token(row: &Row<'_>) -> Result<AdminToken, StoreError> {
    Ok(AdminToken {
        number: TokenNumber(row.get("number")?),
        label: sql::word(row, "label")?,
        role: sql::word(row, "role")?,
        created_ms: row.get("created_ms")?,
        withdrawn_ms: row.get("withdrawn_ms")?,
    })
}

impl Rows<'_> {
    /// Admin tokens by number, withdrawn ones too.
    pub fn tokens(&self, page: Page) -> Result<Paged<AdminToken>, StoreError> {
        let (conditions, order) = (Conditions::default(), Order::OldestFirst);
        sql::paged(
            self.connection(),
            SELECT,
            "number",
            order,
            conditions,
            page,
            |row| {
                let token = token(row)?;
                Ok((token.number.0.into(), token))
            },
        )
    }

    /// The token whose SHA-256 this is, unless it was withdrawn.
    pub fn token_by_digest(&self, sha256: &[u8; 32]) -> Result<Option<AdminToken>, StoreError> {
        // Found by an index on the digest of 160 random bits: timing tells nothing to use.
        let select = format!("{SELECT} WHERE digest = ?1 AND withdrawn_ms IS NULL");
        sql::one(self.connection(), &select, params![sha256], token)
    }

    fn token_numbered(&self, number: TokenNumber) -> Result<AdminToken, StoreError> {
        let select = format!("{SELECT} WHERE number = ?1");
        sql::one(self.connection(), &select, params![number.0], token)?
            .ok_or_else(|| StoreError::not_found(Subject::Token, number))
    }
}

impl Tx<'_> {
    /// Keeps the digest of an admin token.
    pub fn token_create(
        &mut self,
        label: Name,
        sha256: [u8; 32],
        role: TokenRole,
    ) -> Result<AdminToken, StoreError> {
        let insert = "INSERT INTO tokens (label, digest, created_ms, role) VALUES (?1, ?2, ?3, ?4)";
        sql::run(
            self.connection(),
            insert,
            params![label.as_str(), sha256, self.now().0, role.word()],
        )?;
        let number = TokenNumber(sql::new_number(self.connection(), Subject::Token)?);
        let created = self.token_numbered(number)?;
        self.audit_created(Subject::Token, &number.to_string(), &created)?;
        Ok(created)
    }

    /// Withdraws a token. The last one that may do everything stays, so that nobody locks everybody out.
    pub fn token_withdraw(&mut self, number: TokenNumber) -> Result<AdminToken, StoreError> {
        let before = self.token_numbered(number)?;
        if before.withdrawn_ms.is_some() {
            return Ok(before);
        }
        let left = "SELECT count(*) FROM tokens WHERE withdrawn_ms IS NULL
            AND role = 'admin' AND number <> ?1";
        let left: Option<u64> = sql::one(self.connection(), left, params![number.0], |row| {
            Ok(row.get(0)?)
        })?;
        if before.role == TokenRole::Admin && left == Some(0) {
            let (subject, by) = (Subject::Token, "everybody: it is the last one".to_owned());
            return Err(StoreError::InUse {
                subject,
                id: number.to_string(),
                by,
            });
        }
        let after = AdminToken {
            withdrawn_ms: Some(self.now().0),
            ..before.clone()
        };
        let update = "UPDATE tokens SET withdrawn_ms = ?2 WHERE number = ?1";
        sql::run(
            self.connection(),
            update,
            params![number.0, after.withdrawn_ms],
        )?;
        self.audit(
            "withdraw",
            Subject::Token,
            &number.to_string(),
            Some(&before),
            Some(&after),
        )?;
        Ok(after)
    }
}
