//! Reading: everything that can be asked, against one consistent state.

use super::{Page, Paged, StoreError};
use crate::domain::{
    Api, App, AppNumber, AuditEntry, Environment, Key, KeyId, KeyNumber, KeyState, Name, Plan,
    Subject, Subscription, SubscriptionNumber, SubscriptionState, Tenant, TenantNumber,
    TokenNumber, Upstream,
};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

/// One consistent state of the store, for as long as it is borrowed.
#[derive(Debug)]
pub struct Rows<'c> {
    connection: PhantomData<&'c ()>,
}

/// Which keys to list; every field narrows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// Of this tenant.
    pub tenant: Option<TenantNumber>,
    /// Of this app.
    pub app: Option<AppNumber>,
    /// In this state.
    pub state: Option<KeyState>,
    /// In this environment.
    pub environment: Option<Environment>,
}

/// Which subscriptions to list; every field narrows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionFilter {
    /// Of this tenant.
    pub tenant: Option<TenantNumber>,
    /// Of this app.
    pub app: Option<AppNumber>,
    /// To this API.
    pub api: Option<Name>,
    /// In this state.
    pub state: Option<SubscriptionState>,
}

/// Which audit rows to list; every field narrows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// About this kind of thing.
    pub subject: Option<Subject>,
    /// About this one (public id or name).
    pub subject_id: Option<String>,
}

/// Which usage to list; every field narrows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// By this key.
    pub key: Option<KeyId>,
    /// Of this API.
    pub api: Option<Name>,
    /// From this minute on, milliseconds since the epoch.
    pub from_ms: Option<u64>,
    /// Before this minute.
    pub until_ms: Option<u64>,
}

/// Requests of one key to one API with one class of answer, in one minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageBucket {
    /// Start of the minute, milliseconds since the epoch.
    pub minute_ms: u64,
    /// The key; none: no key was asked, or none was good.
    pub key: Option<KeyId>,
    /// Number of the API; 0: none was matched.
    pub api: u32,
    /// First digit of the status: 2 for 200 to 299.
    pub class: u8,
    /// How many.
    pub requests: u64,
    /// Bytes from the clients.
    pub bytes_in: u64,
    /// Bytes to the clients.
    pub bytes_out: u64,
}

/// An admin token; its secret is nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminToken {
    /// Stable number.
    pub number: TokenNumber,
    /// Who holds it; names the actor in the audit log.
    pub label: Name,
    /// Milliseconds since the epoch.
    pub created_ms: u64,
    /// When it was withdrawn, milliseconds since the epoch.
    pub withdrawn_ms: Option<u64>,
}

/// One published generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// The generation.
    pub generation: u64,
    /// The generation of its base; the same for a base.
    pub base: u64,
    /// The generation whose configuration (plans, APIs, upstreams) it carries.
    pub configuration: u64,
    /// When it was begun, milliseconds since the epoch.
    pub begun_ms: u64,
    /// When its manifest was in place; none: it never was.
    pub done_ms: Option<u64>,
    /// Key records in the file.
    pub keys: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// True: it stepped the configuration back.
    pub rollback: bool,
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Tenants that are not deleted.
    pub tenants: u64,
    /// Apps that are not deleted.
    pub apps: u64,
    /// Keys in any state.
    pub keys: u64,
    /// Plans.
    pub plans: u64,
    /// APIs.
    pub apis: u64,
    /// Upstreams.
    pub upstreams: u64,
    /// Subscriptions that are not cancelled.
    pub subscriptions: u64,
}

macro_rules! reads {
    ($($(#[$doc:meta])* fn $name:ident(&self $(, $arg:ident : $ty:ty)*) -> $out:ty;)*) => {
        impl Rows<'_> {
            $($(#[$doc])* pub fn $name(&self $(, $arg: $ty)*) -> Result<$out, StoreError> {
                $(let _ = $arg;)*
                let _ = self.connection;
                unimplemented!()
            })*
        }
    };
}

reads! {
    /// The last change's generation number; 0 for a new store.
    fn generation(&self) -> u64;
    /// How much there is of everything.
    fn totals(&self) -> Totals;

    /// Tenants by number.
    fn tenants(&self, page: Page) -> Paged<Tenant>;
    /// The tenant of that name.
    fn tenant(&self, name: &Name) -> Tenant;

    /// Apps by number, of one tenant or of all.
    fn apps(&self, tenant: Option<TenantNumber>, page: Page) -> Paged<App>;
    /// The app of that name in that tenant.
    fn app(&self, tenant: &Name, name: &Name) -> App;
    /// The app of that number.
    fn app_numbered(&self, number: AppNumber) -> App;

    /// Keys by number.
    fn keys(&self, filter: &KeyFilter, page: Page) -> Paged<Key>;
    /// The key of that id.
    fn key(&self, id: KeyId) -> Key;
    /// The key of that number.
    fn key_numbered(&self, number: KeyNumber) -> Key;

    /// Upstreams by number.
    fn upstreams(&self, page: Page) -> Paged<Upstream>;
    /// The upstream of that name.
    fn upstream(&self, name: &Name) -> Upstream;

    /// APIs by number.
    fn apis(&self, page: Page) -> Paged<Api>;
    /// The API of that name.
    fn api(&self, name: &Name) -> Api;

    /// Plans by number.
    fn plans(&self, page: Page) -> Paged<Plan>;
    /// The plan of that name.
    fn plan(&self, name: &Name) -> Plan;

    /// Subscriptions by number.
    fn subscriptions(&self, filter: &SubscriptionFilter, page: Page) -> Paged<Subscription>;
    /// The subscription of that number.
    fn subscription(&self, number: SubscriptionNumber) -> Subscription;

    /// Audit rows, newest first.
    fn audit(&self, filter: &AuditFilter, page: Page) -> Paged<AuditEntry>;
    /// Minutes of usage, newest first.
    fn usage(&self, filter: &UsageFilter, page: Page) -> Paged<UsageBucket>;
    /// Published generations, newest first.
    fn publications(&self, page: Page) -> Paged<Publication>;

    /// Admin tokens by number, withdrawn ones too.
    fn tokens(&self, page: Page) -> Paged<AdminToken>;
    /// The token whose SHA-256 this is, unless it was withdrawn.
    fn token_by_digest(&self, sha256: &[u8; 32]) -> Option<AdminToken>;
}
