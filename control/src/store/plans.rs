//! Plans: included APIs and limits.

use super::limits::Owner;
use super::sql::{self, Conditions, Order};
use super::{Page, Paged, Rows, StoreError, Tx};
use crate::domain::{Name, Plan, PlanNumber, PlanSpec, Price, Subject};
use rusqlite::{Row, params};

const SELECT: &str = "SELECT number, name, price FROM plans";

/// The plan's own row.
struct Head {
    number: PlanNumber,
    name: Name,
    price: Option<Price>,
}

fn plan_head(row: &Row<'_>) -> Result<Head, StoreError> {
    let price: Option<String> = row.get("price")?;
    Ok(Head {
        number: PlanNumber(row.get("number")?),
        name: sql::word(row, "name")?,
        price: price.map(|_| sql::json(row, "price")).transpose()?,
    })
}

impl Rows<'_> {
    /// Plans by number.
    pub fn plans(&self, page: Page) -> Result<Paged<Plan>, StoreError> {
        let (conditions, order) = (Conditions::default(), Order::OldestFirst);
        sql::paged(
            self.connection(),
            SELECT,
            "number",
            order,
            conditions,
            page,
            |row| {
                let head = plan_head(row)?;
                Ok((head.number.0.into(), self.plan_whole(head)?))
            },
        )
    }

    /// The plan of that name.
    pub fn plan(&self, name: &Name) -> Result<Plan, StoreError> {
        self.plan_if_any(name)?
            .ok_or_else(|| StoreError::not_found(Subject::Plan, name))
    }

    /// All plans by number.
    pub(super) fn plans_all(&self) -> Result<Vec<Plan>, StoreError> {
        let select = format!("{SELECT} ORDER BY number");
        let heads = sql::all(self.connection(), &select, &[], plan_head)?;
        heads
            .into_iter()
            .map(|head| self.plan_whole(head))
            .collect()
    }

    /// Which plan includes which API, by number.
    pub(super) fn plan_apis_all(&self) -> Result<Vec<(u32, u32)>, StoreError> {
        let select = "SELECT plan, api FROM plan_apis ORDER BY plan, api";
        sql::all(self.connection(), select, &[], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    }

    /// Whether the plan includes the API.
    pub(super) fn plan_includes(&self, plan: u32, api: u32) -> Result<bool, StoreError> {
        let select = "SELECT 1 FROM plan_apis WHERE plan = ?1 AND api = ?2";
        Ok(sql::one(self.connection(), select, params![plan, api], |_| Ok(()))?.is_some())
    }

    fn plan_if_any(&self, name: &Name) -> Result<Option<Plan>, StoreError> {
        let select = format!("{SELECT} WHERE name = ?1");
        sql::one(
            self.connection(),
            &select,
            params![name.as_str()],
            plan_head,
        )?
        .map(|head| self.plan_whole(head))
        .transpose()
    }

    fn plan_whole(&self, head: Head) -> Result<Plan, StoreError> {
        let Head {
            number,
            name,
            price,
        } = head;
        let apis = "SELECT name FROM plan_apis JOIN apis ON apis.number = plan_apis.api
            WHERE plan = ?1 ORDER BY name";
        Ok(Plan {
            number,
            name,
            apis: sql::all(self.connection(), apis, params![number.0], |row| {
                sql::word(row, "name")
            })?,
            limits: self.limits_of(Owner::Plan(number.0))?,
            price,
        })
    }
}

impl Tx<'_> {
    /// Makes a plan.
    pub fn plan_create(&mut self, spec: PlanSpec) -> Result<Plan, StoreError> {
        if self.plan_if_any(&spec.name)?.is_some() {
            let id = spec.name.to_string();
            return Err(StoreError::Exists {
                subject: Subject::Plan,
                id,
            });
        }
        self.configuration_changes()?;
        let insert = "INSERT INTO plans (name) VALUES (?1)";
        sql::run(self.connection(), insert, params![spec.name.as_str()])?;
        let number = PlanNumber(sql::new_number(self.connection(), Subject::Plan)?);
        self.plan_write_parts(number, &spec)?;
        let created = self.plan(&spec.name)?;
        self.audit_created(Subject::Plan, spec.name.as_str(), &created)?;
        Ok(created)
    }

    /// Changes a plan to `spec`; the name stays, and limits keep their numbers by name.
    /// Subscriptions to an API that is no longer included grant nothing until it is again.
    pub fn plan_replace(&mut self, spec: PlanSpec) -> Result<Plan, StoreError> {
        let before = self.plan(&spec.name)?;
        if before.spec() == spec {
            return Ok(before);
        }
        self.configuration_changes()?;
        self.plan_write_parts(before.number, &spec)?;
        let after = self.plan(&spec.name)?;
        self.audit(
            "replace",
            Subject::Plan,
            spec.name.as_str(),
            Some(&before),
            Some(&after),
        )?;
        Ok(after)
    }

    /// Deletes a plan that no one subscribes to. Cancelled subscriptions to it go with it.
    pub fn plan_delete(&mut self, name: &Name) -> Result<(), StoreError> {
        let before = self.plan(name)?;
        let number = params![before.number.0];
        let user = "SELECT number FROM subscriptions
            WHERE plan = ?1 AND state <> 'cancelled' LIMIT 1";
        let subscription: Option<u32> =
            sql::one(self.connection(), user, number, |row| Ok(row.get(0)?))?;
        if let Some(subscription) = subscription {
            let by = format!("subscription {subscription}");
            return Err(StoreError::InUse {
                subject: Subject::Plan,
                id: name.to_string(),
                by,
            });
        }
        self.configuration_changes()?;
        for delete in [
            "DELETE FROM subscriptions WHERE plan = ?1",
            "DELETE FROM plan_apis WHERE plan = ?1",
            "DELETE FROM limits WHERE plan = ?1",
            "DELETE FROM plans WHERE number = ?1",
        ] {
            sql::run(self.connection(), delete, number)?;
        }
        self.audit_deleted(Subject::Plan, name.as_str(), &before)
    }

    fn plan_write_parts(&mut self, plan: PlanNumber, spec: &PlanSpec) -> Result<(), StoreError> {
        let connection = self.connection();
        sql::run(
            connection,
            "DELETE FROM plan_apis WHERE plan = ?1",
            params![plan.0],
        )?;
        for name in &spec.apis {
            let api = self.api(name)?;
            let include = "INSERT INTO plan_apis (plan, api) VALUES (?1, ?2)";
            sql::run(connection, include, params![plan.0, api.number.0])?;
        }
        let price = spec.price.as_ref().map(sql::to_json).transpose()?;
        let update = "UPDATE plans SET price = ?2 WHERE number = ?1";
        sql::run(self.connection(), update, params![plan.0, price])?;
        self.limits_write(Owner::Plan(plan.0), &spec.limits)
    }
}
