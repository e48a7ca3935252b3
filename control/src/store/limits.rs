//! Limits of plans and APIs: what keeps their numbers.

use super::{Rows, StoreError, Tx, sql};
use crate::domain::{Limit, LimitNumber, LimitSpec, Subject};
use rusqlite::params;

/// Whose limits they are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    /// The plan with this number.
    Plan(u32),
    /// The API with this number.
    Api(u32),
}

impl Owner {
    /// Numbers of a plan and of an API, of which one is none.
    fn columns(self) -> (Option<u32>, Option<u32>) {
        match self {
            Self::Plan(number) => (Some(number), None),
            Self::Api(number) => (None, Some(number)),
        }
    }
}

impl Rows<'_> {
    /// Limits in the order written.
    pub(super) fn limits_of(&self, owner: Owner) -> Result<Vec<Limit>, StoreError> {
        let (plan, api) = owner.columns();
        let select = "SELECT number, spec FROM limits WHERE plan IS ?1 AND api IS ?2
            ORDER BY position";
        sql::all(self.connection(), select, params![plan, api], |row| {
            Ok(Limit {
                number: LimitNumber(row.get("number")?),
                spec: sql::json(row, "spec")?,
            })
        })
    }
}

impl Tx<'_> {
    /// Makes `limits` the limits of `owner`. A limit keeps its number by its name, and with it
    /// what its callers have spent already.
    pub(super) fn limits_write(
        &mut self,
        owner: Owner,
        limits: &[LimitSpec],
    ) -> Result<(), StoreError> {
        let connection = self.connection();
        let (plan, api) = owner.columns();
        let names: Vec<&str> = limits.iter().map(|limit| limit.name.as_str()).collect();
        let names = sql::to_json(&names)?;
        let drop_others = "DELETE FROM limits WHERE plan IS ?1 AND api IS ?2
            AND name NOT IN (SELECT value FROM json_each(?3))";
        sql::run(connection, drop_others, params![plan, api, names])?;
        for (position, limit) in limits.iter().enumerate() {
            let keep = "UPDATE limits SET position = ?4, spec = ?5
                WHERE plan IS ?1 AND api IS ?2 AND name = ?3";
            let add = "INSERT INTO limits (plan, api, name, position, spec)
                VALUES (?1, ?2, ?3, ?4, ?5)";
            let document = sql::to_json(limit)?;
            let values = params![plan, api, limit.name.as_str(), position, document];
            if sql::run(connection, keep, values)? == 0 {
                sql::run(connection, add, values)?;
                sql::new_number(connection, Subject::Plan)?;
            }
        }
        Ok(())
    }
}
