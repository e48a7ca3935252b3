//! Alerts: rules over usage, told to webhooks.
//!
//! ```text
//! usage ─ evaluate ─▶ findings ─ settle ─▶ alerts, keys disabled, messages ─ deliver ─▶ webhooks
//! ```
//!
//! In: rules and usage from the [`store`](crate::store). Out: alerts that begin and end there, in
//! one transaction with what a rule does and with the messages it leaves, so that nothing is told
//! that is not so, and a restart forgets nothing. Without rules nothing is read and nothing written.

mod deliver;
mod evaluate;
mod settle;
mod view;

pub use deliver::{Deliverer, TrustError, WebhookTrust, deliver};
pub use evaluate::{evaluate, evaluate_once};
pub use settle::{delete_rule, tell_test};
pub use view::AlertView;
