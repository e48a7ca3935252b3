//! Subscriptions: an app's grant to use an API under a plan.

use super::{ApiNumber, AppNumber, Name, PlanNumber, SubscriptionNumber, UnknownWord};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SubscriptionState {
    /// Asked for, grants nothing yet.
    Requested,
    /// Grants the API.
    Approved,
    /// Grants nothing for now.
    Suspended,
    /// Over for good; the app may subscribe anew.
    Cancelled,
}

/// There is no way from one state to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a subscription that is {} cannot become {}", from.word(), to.word())]
pub struct TransitionRefused {
    /// Where it stands.
    pub from: SubscriptionState,
    /// Where it was to go.
    pub to: SubscriptionState,
}

impl SubscriptionState {
    /// The word as written everywhere.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Approved => "approved",
            Self::Suspended => "suspended",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state after it was asked to become `to`; staying is always allowed.
    pub fn become_(self, to: Self) -> Result<Self, TransitionRefused> {
        let allowed = self == to
            || matches!(
                (self, to),
                (Self::Requested, Self::Approved | Self::Cancelled)
                    | (Self::Approved, Self::Suspended | Self::Cancelled)
                    | (Self::Suspended, Self::Approved | Self::Cancelled)
            );
        if allowed {
            Ok(to)
        } else {
            Err(TransitionRefused { from: self, to })
        }
    }
}

impl FromStr for SubscriptionState {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "requested" => Ok(Self::Requested),
            "approved" => Ok(Self::Approved),
            "suspended" => Ok(Self::Suspended),
            "cancelled" => Ok(Self::Cancelled),
            _ => Err(UnknownWord("requested, approved, suspended, cancelled")),
        }
    }
}

/// A subscription as the store keeps it. An app has at most one per API that is not cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Stable number.
    pub number: SubscriptionNumber,
    /// Who subscribes.
    pub app: AppNumber,
    /// The tenant of that app.
    pub tenant_name: Name,
    /// The name of that app.
    pub app_name: Name,
    /// To what.
    pub api: ApiNumber,
    /// The name of that API.
    pub api_name: Name,
    /// Under which plan.
    pub plan: PlanNumber,
    /// The name of that plan.
    pub plan_name: Name,
    /// Where it stands.
    pub state: SubscriptionState,
    /// Milliseconds since the epoch.
    pub created_ms: u64,
}

/// Everything to make a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewSubscription {
    /// Who subscribes.
    pub app: AppNumber,
    /// Name of the API.
    pub api: Name,
    /// Name of the plan; it must include the API.
    pub plan: Name,
    /// `requested` or `approved`.
    pub state: SubscriptionState,
}
