//! Alert rules.

use super::alerts::Alert;
use super::sql::{self, Conditions, Order};
use super::{Page, Paged, Rows, StoreError, Tx};
use crate::domain::{AlertRuleSpec, Name, Subject};
use rusqlite::params;

const SELECT: &str = "SELECT number, spec FROM alert_rules";

impl Rows<'_> {
    /// Alert rules in the order in which they were made.
    pub fn alert_rules(&self, page: Page) -> Result<Paged<AlertRuleSpec>, StoreError> {
        let (conditions, order) = (Conditions::default(), Order::OldestFirst);
        sql::paged(
            self.connection(),
            SELECT,
            "number",
            order,
            conditions,
            page,
            |row| Ok((row.get("number")?, sql::json(row, "spec")?)),
        )
    }

    /// All alert rules in the order in which they were made.
    pub fn alert_rules_all(&self) -> Result<Vec<AlertRuleSpec>, StoreError> {
        let select = format!("{SELECT} ORDER BY number");
        sql::all(self.connection(), &select, &[], |row| {
            sql::json(row, "spec")
        })
    }

    /// The alert rule of that name.
    pub fn alert_rule(&self, name: &Name) -> Result<AlertRuleSpec, StoreError> {
        self.alert_rule_if_any(name)?
            .ok_or_else(|| StoreError::not_found(Subject::AlertRule, name))
    }

    pub(super) fn alert_rule_if_any(
        &self,
        name: &Name,
    ) -> Result<Option<AlertRuleSpec>, StoreError> {
        let select = format!("{SELECT} WHERE name = ?1");
        sql::one(self.connection(), &select, params![name.as_str()], |row| {
            sql::json(row, "spec")
        })
    }
}

impl Tx<'_> {
    /// Makes an alert rule.
    pub fn alert_rule_create(&mut self, spec: AlertRuleSpec) -> Result<AlertRuleSpec, StoreError> {
        if self.alert_rule_if_any(&spec.name)?.is_some() {
            let (subject, id) = (Subject::AlertRule, spec.name.to_string());
            return Err(StoreError::Exists { subject, id });
        }
        self.webhooks_are_there(&spec)?;
        let insert = "INSERT INTO alert_rules (name, spec) VALUES (?1, ?2)";
        let values = params![spec.name.as_str(), sql::to_json(&spec)?];
        sql::run(self.connection(), insert, values)?;
        self.audit_created(Subject::AlertRule, spec.name.as_str(), &spec)?;
        Ok(spec)
    }

    /// Changes an alert rule to `spec`; the name stays. What it went off for goes on under what it
    /// says now.
    pub fn alert_rule_replace(&mut self, spec: AlertRuleSpec) -> Result<AlertRuleSpec, StoreError> {
        let before = self.alert_rule(&spec.name)?;
        if before == spec {
            return Ok(before);
        }
        self.webhooks_are_there(&spec)?;
        let update = "UPDATE alert_rules SET spec = ?2 WHERE name = ?1";
        let values = params![spec.name.as_str(), sql::to_json(&spec)?];
        sql::run(self.connection(), update, values)?;
        let (subject, id) = (Subject::AlertRule, spec.name.as_str());
        self.audit("replace", subject, id, Some(&before), Some(&spec))?;
        Ok(spec)
    }

    /// Deletes an alert rule. Answers it, and the alerts that this ended.
    pub fn alert_rule_delete(
        &mut self,
        name: &Name,
    ) -> Result<(AlertRuleSpec, Vec<Alert>), StoreError> {
        let before = self.alert_rule(name)?;
        let delete = "DELETE FROM alert_rules WHERE name = ?1";
        sql::run(self.connection(), delete, params![name.as_str()])?;
        let (mut ended, now_ms) = (Vec::new(), self.at_ms());
        for open in self.alerts_open(name)? {
            ended.push(self.alert_end(&open, now_ms)?);
        }
        self.audit_deleted(Subject::AlertRule, name.as_str(), &before)?;
        Ok((before, ended))
    }

    fn webhooks_are_there(&self, spec: &AlertRuleSpec) -> Result<(), StoreError> {
        spec.webhooks
            .iter()
            .try_for_each(|name| self.webhook_number(name).map(drop))
    }
}
