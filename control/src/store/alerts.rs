//! What alert rules went off for.

use super::sql::{self, Conditions, Order};
use super::{Page, Paged, Rows, StoreError, Tx};
use crate::domain::Name;
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};

const SELECT: &str = "SELECT number, rule, subject, quota, level, value, total, began_ms, seen_ms,
    ended_ms, action FROM alerts";
/// How long alerts are kept that have ended.
const KEPT_MS: u64 = 90 * 24 * 3_600 * 1_000;

/// What a rule found of one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whose requests; empty: all.
    pub subject: String,
    /// The limit whose quota it is, such as `plan free: monthly`; empty: of no quota.
    pub quota: String,
    /// Per cent of the quota that were reached; 0: of no quota.
    pub level: u32,
    /// Requests that the rule watches, or what was used of the quota.
    pub value: u64,
    /// All requests of the subject, or the whole quota.
    pub total: u64,
}

/// What a rule did beside telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertAction {
    /// Nothing: it was not asked to.
    None,
    /// It disabled the key.
    KeyDisabled,
    /// The key had been disabled or revoked before.
    KeyOffAlready,
    /// It would have disabled the key, but has disabled as many within an hour as it may.
    TooManyDisabled,
}

impl AlertAction {
    const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::KeyDisabled => "key_disabled",
            Self::KeyOffAlready => "key_off_already",
            Self::TooManyDisabled => "too_many_disabled",
        }
    }

    fn read(word: &str) -> Option<Self> {
        let all = [
            Self::None,
            Self::KeyDisabled,
            Self::KeyOffAlready,
            Self::TooManyDisabled,
        ];
        all.into_iter().find(|action| action.word() == word)
    }
}

/// An alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Ever-growing.
    pub number: u64,
    /// Name of the rule, which may be gone.
    pub rule: Name,
    /// What was found: at first, and while it lasts last.
    pub finding: Finding,
    /// When it went off, milliseconds since the epoch.
    pub began_ms: u64,
    /// When it was last found to be so, to within some seconds.
    pub seen_ms: u64,
    /// When it was over; none: it lasts.
    pub ended_ms: Option<u64>,
    /// What the rule did.
    pub action: AlertAction,
}

/// Which alerts; every field narrows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertFilter {
    /// True: those that last; false: those that are over.
    pub lasting: Option<bool>,
    /// Of this rule.
    pub rule: Option<Name>,
}

fn alert(row: &Row<'_>) -> Result<Alert, StoreError> {
    let action: String = row.get("action")?;
    let unreadable = || StoreError::Corrupt("column `action`".to_owned());
    Ok(Alert {
        number: row.get("number")?,
        rule: sql::word(row, "rule")?,
        finding: Finding {
            subject: row.get("subject")?,
            quota: row.get("quota")?,
            level: row.get("level")?,
            value: row.get("value")?,
            total: row.get("total")?,
        },
        began_ms: row.get("began_ms")?,
        seen_ms: row.get("seen_ms")?,
        ended_ms: row.get("ended_ms")?,
        action: AlertAction::read(&action).ok_or_else(unreadable)?,
    })
}

impl Rows<'_> {
    /// Alerts, the newest first.
    pub fn alerts(&self, filter: &AlertFilter, page: Page) -> Result<Paged<Alert>, StoreError> {
        let mut conditions = Conditions::default();
        match filter.lasting {
            Some(true) => conditions.add("ended_ms IS NULL"),
            Some(false) => conditions.add("ended_ms IS NOT NULL"),
            None => {}
        }
        conditions.add_if("rule = ?", filter.rule.as_ref().map(ToString::to_string));
        sql::paged(
            self.connection(),
            SELECT,
            "number",
            Order::NewestFirst,
            conditions,
            page,
            |row| {
                let alert = alert(row)?;
                Ok((alert.number, alert))
            },
        )
    }

    /// The alerts of a rule that last.
    pub fn alerts_open(&self, rule: &Name) -> Result<Vec<Alert>, StoreError> {
        let select = format!("{SELECT} WHERE rule = ?1 AND ended_ms IS NULL ORDER BY number");
        sql::all(self.connection(), &select, params![rule.as_str()], alert)
    }

    /// How many alerts last, by rule.
    pub fn alerts_counted(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let select = "SELECT r.name, (SELECT count(*) FROM alerts AS a
            WHERE a.rule = r.name AND a.ended_ms IS NULL) FROM alert_rules AS r ORDER BY r.name";
        sql::all(self.connection(), select, &[], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    }

    /// Keys that a rule disabled since then.
    pub fn keys_disabled_by(&self, rule: &Name, since_ms: u64) -> Result<u64, StoreError> {
        let select = "SELECT count(*) FROM alerts
            WHERE rule = ?1 AND began_ms >= ?2 AND action = 'key_disabled'";
        let values = params![rule.as_str(), since_ms];
        sql::number(self.connection(), select, values)
    }

    fn alert_numbered(&self, number: u64) -> Result<Alert, StoreError> {
        let select = format!("{SELECT} WHERE number = ?1");
        sql::one(self.connection(), &select, params![number], alert)?
            .ok_or_else(|| StoreError::Corrupt("an alert that was just there".to_owned()))
    }
}

impl Tx<'_> {
    /// Notes that a rule went off, and what it did.
    pub fn alert_begin(
        &mut self,
        rule: &Name,
        finding: &Finding,
        action: AlertAction,
        at_ms: u64,
    ) -> Result<Alert, StoreError> {
        let insert = "INSERT INTO alerts
            (rule, subject, quota, level, value, total, began_ms, seen_ms, action)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8) RETURNING number";
        let values = params![
            rule.as_str(),
            finding.subject,
            finding.quota,
            finding.level,
            finding.value,
            finding.total,
            at_ms,
            action.word()
        ];
        let number = sql::number(self.connection(), insert, values)?;
        self.alert_numbered(number)
    }

    /// Notes that it is still so.
    pub fn alert_seen(
        &mut self,
        alert: &Alert,
        finding: &Finding,
        at_ms: u64,
    ) -> Result<(), StoreError> {
        let update = "UPDATE alerts SET seen_ms = ?2, value = ?3, total = ?4 WHERE number = ?1";
        let values = params![alert.number, at_ms, finding.value, finding.total];
        sql::run(self.connection(), update, values).map(drop)
    }

    /// Notes that it is over; answers it as it is now.
    pub fn alert_end(&mut self, alert: &Alert, at_ms: u64) -> Result<Alert, StoreError> {
        let update = "UPDATE alerts SET ended_ms = ?2 WHERE number = ?1";
        sql::run(self.connection(), update, params![alert.number, at_ms])?;
        self.alert_numbered(alert.number)
    }

    /// Forgets what has been over for long, and what was told.
    pub fn alerts_forget(&mut self) -> Result<(), StoreError> {
        let now_ms = self.now().0;
        let alerts = "DELETE FROM alerts WHERE ended_ms < ?1";
        let oldest_ms = now_ms.saturating_sub(KEPT_MS);
        sql::run(self.connection(), alerts, params![oldest_ms])?;
        self.deliveries_forget()
    }
}
