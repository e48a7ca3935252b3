//! What control owns, as types that cannot hold nonsense: each is made by parsing, never checked
//! afterwards.
//!
//! In: words from people and files. Out: values that [`store`](crate::store) keeps and
//! [`publish`](crate::publish) turns into a snapshot. Names are what people write, numbers are
//! what the data plane knows; a number is given once by the store and never reused.
//! Absent on purpose: SQL, clocks, HTTP.

mod alert;
mod api;
mod app;
mod attributes;
mod audit;
mod invalid;
mod issue;
mod key;
mod limit;
mod name;
mod number;
mod plan;
mod price;
mod subscription;
mod tenant;
mod token;
mod upstream;
mod webhook;

pub use alert::{AlertRuleSpec, Bound, Condition, CountedBy, RawAlertRule, Watched};
pub use api::{
    Api, ApiSpec, CredentialPlaces, RawApi, RawCredential, RawRoute, RawShare, Route, Share,
};
pub use app::{App, AppSpec};
pub use attributes::{Attributes, Scalar};
pub use audit::{Actor, AuditEntry, Subject};
pub use invalid::Invalid;
pub use issue::{Credential, Issued, Keysmith, KeysmithError, Secret, fresh_admin_token};
pub use key::{Environment, FinalState, Key, KeyOrigin, KeyState, NewKey, UnknownWord, Validity};
pub use keyway::snapshot::KeyId;
pub use limit::{Limit, LimitSpec, Period, RawLimit, Shape};
pub use name::Name;
pub use number::{
    ApiNumber, AppNumber, KeyNumber, LimitNumber, PlanNumber, SubscriptionNumber, TenantNumber,
    TokenNumber, UpstreamNumber,
};
pub use plan::{Plan, PlanSpec, RawPlan};
pub use price::Price;
pub use subscription::{NewSubscription, Subscription, SubscriptionState, TransitionRefused};
pub use tenant::{Tenant, TenantSpec};
pub use token::TokenRole;
pub use upstream::{RawUpstream, Upstream, UpstreamSpec};
pub use webhook::{Webhook, WebhookSecret, WebhookUrl};
