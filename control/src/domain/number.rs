//! Stable numbers, one type per kind of thing, so that an app's number is never taken for a key's.
//!
//! The store gives each number once, from 1 up, and never again: records of an old base stay true
//! beside a newer catalog.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// Number of a tenant.
    TenantNumber
);
number!(
    /// Number of an app, over all tenants.
    AppNumber
);
number!(
    /// Number of a plan.
    PlanNumber
);
number!(
    /// Number of a limit, over all plans: it names the limit's words in the data plane's bank.
    LimitNumber
);
number!(
    /// Number of an API.
    ApiNumber
);
number!(
    /// Number of an upstream.
    UpstreamNumber
);
number!(
    /// Number of a key: the subject that its limits are counted for.
    KeyNumber
);
number!(
    /// Number of a subscription.
    SubscriptionNumber
);
number!(
    /// Number of an admin token.
    TokenNumber
);
