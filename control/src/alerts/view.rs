//! Alerts as the API shows them and as webhooks are told.

use crate::admin::time::Moment;
use crate::store::{Alert, AlertAction};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "number": 17, "rule": "stolen-key", "subject": "key_06t0q3zkd8v1w", "quota": null,
    "percent": null, "value": 120, "total": 130, "began_at": "2026-11-21T08:00:00Z",
    "ended_at": null, "action": "key_disabled"
}))]
pub struct AlertView {
    /// Ever-growing.
    pub number: u64,
    /// Name of the rule, which may be gone.
    pub rule: String,
    /// Whose requests: a key's id, an app as `tenant/app`, a tenant, an API, a route as
    /// `api METHODS path`, a client address; null: all.
    pub subject: Option<String>,
    /// The limit whose quota it is; null: of no quota.
    pub quota: Option<String>,
    /// Per cent of the quota that were reached; null: of no quota.
    pub percent: Option<u32>,
    /// Requests that the rule watches, or what was used of the quota: when it was last looked at.
    pub value: u64,
    /// All requests of the subject in the window, or the whole quota.
    pub total: u64,
    /// When it went off.
    pub began_at: Moment,
    /// When it was over; null: it lasts.
    pub ended_at: Option<Moment>,
    /// What the rule did beside telling.
    pub action: AlertAction,
}

impl From<Alert> for AlertView {
    fn from(alert: Alert) -> Self {
        let finding = alert.finding;
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            number: alert.number,
            rule: alert.rule.to_string(),
            subject: some(finding.subject),
            quota: some(finding.quota),
            percent: Some(finding.level).filter(|level| *level > 0),
            value: finding.value,
            total: finding.total,
            began_at: Moment::at_ms(alert.began_ms),
            ended_at: alert.ended_ms.map(Moment::at_ms),
            action: alert.action,
        }
    }
}

/// What a message is about, by the names that receivers see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Event {
    #[serde(rename = "alert.raised")]
    Raised,
    #[serde(rename = "alert.resolved")]
    Resolved,
    #[serde(rename = "webhook.test")]
    Test,
}

/// A message, in the form that Standard Webhooks proposes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Message {
    #[serde(rename = "type")]
    pub(super) event: Event,
    pub(super) timestamp: Moment,
    /// Null in a test.
    pub(super) data: Option<AlertView>,
}
