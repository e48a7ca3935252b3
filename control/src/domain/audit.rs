//! The audit log: who changed what, from what to what, and when. Written by the store in the same
//! transaction as the change, never changed afterwards.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(String);

impl Actor {
    /// The bearer of the admin token with this label.
    pub fn token(label: &str) -> Self {
        Self(format!("token:{label}"))
    }

    /// The alert rule of this name.
    pub fn rule(name: &super::Name) -> Self {
        Self(format!("alert:{name}"))
    }

    /// Keyway itself, such as at the first start.
    pub fn system() -> Self {
        Self("system".to_owned())
    }

    /// An actor as the log has it.
    pub(crate) fn recorded(text: String) -> Self {
        Self(text)
    }

    /// The actor's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of thing a change was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A tenant.
    Tenant,
    /// An app.
    App,
    /// A key.
    Key,
    /// A plan.
    Plan,
    /// An API.
    Api,
    /// An upstream.
    Upstream,
    /// A subscription.
    Subscription,
    /// An admin token.
    Token,
    /// A publication or a rollback.
    Publication,
    /// An alert rule.
    AlertRule,
    /// A webhook.
    Webhook,
}

impl Subject {
    /// The word as written everywhere.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::App => "app",
            Self::Key => "key",
            Self::Plan => "plan",
            Self::Api => "api",
            Self::Upstream => "upstream",
            Self::Subscription => "subscription",
            Self::Token => "token",
            Self::Publication => "publication",
            Self::AlertRule => "alert_rule",
            Self::Webhook => "webhook",
        }
    }
}

impl std::str::FromStr for Subject {
    type Err = super::UnknownWord;

    fn from_str(word: &str) -> Result<Self, super::UnknownWord> {
        Ok(match word {
            "tenant" => Self::Tenant,
            "app" => Self::App,
            "key" => Self::Key,
            "plan" => Self::Plan,
            "api" => Self::Api,
            "upstream" => Self::Upstream,
            "subscription" => Self::Subscription,
            "token" => Self::Token,
            "publication" => Self::Publication,
            "alert_rule" => Self::AlertRule,
            "webhook" => Self::Webhook,
            _ => {
                return Err(super::UnknownWord(
                    "tenant, app, key, plan, api, upstream, subscription, token, publication, \
                    alert_rule, webhook",
                ));
            }
        })
    }
}

/// One row of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Ever-growing position in the log.
    pub number: u64,
    /// The generation number that the change's transaction took.
    pub generation: u64,
    /// Milliseconds since the epoch.
    pub at_ms: u64,
    /// Who.
    pub actor: Actor,
    /// What was done, such as `create`, `disable`, `revoke`, `rotate`.
    pub action: String,
    /// To what kind of thing.
    pub subject: Subject,
    /// To which one: its public id or name.
    pub subject_id: String,
    /// The thing before; null if it was created.
    pub before: serde_json::Value,
    /// The thing after; null if it was deleted.
    pub after: serde_json::Value,
}
