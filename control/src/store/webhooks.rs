//! Webhooks, and how telling them goes.

use super::sql::{self, Conditions, Order};
use super::{Page, Paged, Rows, StoreError, Tx};
use crate::domain::{Invalid, Name, Subject, Webhook, WebhookSecret, WebhookUrl};
use rusqlite::{Row, params};

const SELECT: &str = "SELECT webhooks.number AS number, name, url, created_ms FROM webhooks";

/// How telling a webhook goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookState {
    /// Messages that wait for their next attempt.
    pub waiting: u64,
    /// Why the last attempt of one that waits, or that was given up last, failed.
    pub last_error: Option<String>,
    /// When the last message was taken, milliseconds since the epoch.
    pub last_taken_ms: Option<u64>,
    /// Messages of the last days that were given up.
    pub given_up: u64,
}

fn webhook(row: &Row<'_>) -> Result<Webhook, StoreError> {
    let url: String = row.get("url")?;
    let unreadable = |_: Invalid| StoreError::Corrupt("column `url`".to_owned());
    Ok(Webhook {
        name: sql::word(row, "name")?,
        url: WebhookUrl::try_from(url).map_err(unreadable)?,
        created_ms: row.get("created_ms")?,
    })
}

impl Rows<'_> {
    /// Webhooks by number, each with its state.
    pub fn webhooks(&self, page: Page) -> Result<Paged<(Webhook, WebhookState)>, StoreError> {
        let (conditions, order) = (Conditions::default(), Order::OldestFirst);
        sql::paged(
            self.connection(),
            SELECT,
            "number",
            order,
            conditions,
            page,
            |row| {
                let (number, webhook): (u32, Webhook) = (row.get("number")?, webhook(row)?);
                let state = self.webhook_state_of(number)?;
                Ok((number.into(), (webhook, state)))
            },
        )
    }

    /// The webhook of that name.
    pub fn webhook(&self, name: &Name) -> Result<Webhook, StoreError> {
        let select = format!("{SELECT} WHERE name = ?1");
        sql::one(self.connection(), &select, params![name.as_str()], webhook)?
            .ok_or_else(|| StoreError::not_found(Subject::Webhook, name))
    }

    /// How telling it goes.
    pub fn webhook_state(&self, name: &Name) -> Result<WebhookState, StoreError> {
        self.webhook_state_of(self.webhook_number(name)?)
    }

    pub(super) fn webhook_number(&self, name: &Name) -> Result<u32, StoreError> {
        let select = "SELECT number FROM webhooks WHERE name = ?1";
        sql::one(self.connection(), select, params![name.as_str()], |row| {
            Ok(row.get(0)?)
        })?
        .ok_or_else(|| StoreError::not_found(Subject::Webhook, name))
    }

    fn webhook_state_of(&self, number: u32) -> Result<WebhookState, StoreError> {
        let select = "SELECT
            count(*) FILTER (WHERE done_ms IS NULL) AS waiting,
            count(*) FILTER (WHERE done_ms IS NOT NULL AND error IS NOT NULL) AS given_up,
            max(done_ms) FILTER (WHERE error IS NULL) AS last_taken_ms,
            (SELECT error FROM deliveries WHERE webhook = ?1 AND error IS NOT NULL
                ORDER BY number DESC LIMIT 1) AS last_error
            FROM deliveries WHERE webhook = ?1";
        let state = sql::one(self.connection(), select, params![number], |row| {
            Ok(WebhookState {
                waiting: row.get("waiting")?,
                last_error: row.get("last_error")?,
                last_taken_ms: row.get("last_taken_ms")?,
                given_up: row.get("given_up")?,
            })
        })?;
        Ok(state.unwrap_or_default())
    }
}

impl Tx<'_> {
    /// Makes a webhook.
    pub fn webhook_create(
        &mut self,
        name: Name,
        url: &WebhookUrl,
        secret: &WebhookSecret,
    ) -> Result<Webhook, StoreError> {
        match self.webhook_number(&name) {
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error),
            Ok(_) => {
                let (subject, id) = (Subject::Webhook, name.to_string());
                return Err(StoreError::Exists { subject, id });
            }
        }
        let insert = "INSERT INTO webhooks (name, url, secret, created_ms) VALUES (?1, ?2, ?3, ?4)";
        let values = params![name.as_str(), url.as_str(), secret.to_keep(), self.now().0];
        sql::run(self.connection(), insert, values)?;
        let created = self.webhook(&name)?;
        self.audit_created(Subject::Webhook, name.as_str(), &created)?;
        Ok(created)
    }

    /// Deletes a webhook that no rule speaks of, with all that it was still to be told.
    pub fn webhook_delete(&mut self, name: &Name) -> Result<(), StoreError> {
        let before = self.webhook(name)?;
        let rules = self.alert_rules_all()?;
        if let Some(rule) = rules.iter().find(|rule| rule.webhooks.contains(name)) {
            return Err(StoreError::InUse {
                subject: Subject::Webhook,
                id: name.to_string(),
                by: format!("alert rule {}", rule.name),
            });
        }
        let delete = "DELETE FROM webhooks WHERE name = ?1";
        sql::run(self.connection(), delete, params![name.as_str()])?;
        self.audit_deleted(Subject::Webhook, name.as_str(), &before)
    }
}
