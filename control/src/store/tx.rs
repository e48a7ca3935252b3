//! Changing: one transaction, with its audit rows and its generation number.
//!
//! Every function writes its own audit row; one that finds everything as wished writes nothing.

use super::{AdminToken, Rows, StoreError};
use crate::domain::{
    Api, ApiSpec, App, AppNumber, AppSpec, Attributes, Credential, Key, KeyId, Name, NewKey,
    NewSubscription, Plan, PlanSpec, Subscription, SubscriptionNumber, SubscriptionState, Tenant,
    TenantSpec, TokenNumber, Upstream, UpstreamSpec, Validity,
};
use serde::{Deserialize, Serialize};
use std::ops::Deref;

/// A transaction under way. Reads (through [`Rows`]) see its own changes.
#[derive(Debug)]
pub struct Tx<'c> {
    rows: Rows<'c>,
}

impl<'c> Deref for Tx<'c> {
    type Target = Rows<'c>;

    fn deref(&self) -> &Rows<'c> {
        &self.rows
    }
}

/// What became of one key of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportLine {
    /// Taken in under this id.
    Created(KeyId),
    /// The same key is there already, under this id; nothing was changed.
    Exists(KeyId),
}

macro_rules! changes {
    ($($(#[$doc:meta])* fn $name:ident(&mut self $(, $arg:ident : $ty:ty)*) -> $out:ty;)*) => {
        impl Tx<'_> {
            $($(#[$doc])* pub fn $name(&mut self $(, $arg: $ty)*) -> Result<$out, StoreError> {
                $(let _ = $arg;)*
                unimplemented!()
            })*
        }
    };
}

changes! {
    /// Makes a tenant.
    fn tenant_create(&mut self, spec: TenantSpec) -> Tenant;
    /// Switches a tenant, and with it all its keys, on or off.
    fn tenant_set_enabled(&mut self, name: &Name, enabled: bool) -> Tenant;
    /// Deletes a tenant without apps.
    fn tenant_delete(&mut self, name: &Name) -> ();

    /// Makes an app.
    fn app_create(&mut self, tenant: &Name, spec: AppSpec) -> App;
    /// Switches an app, and with it all its keys, on or off.
    fn app_set_enabled(&mut self, number: AppNumber, enabled: bool) -> App;
    /// Deletes an app: revokes its keys, cancels its subscriptions, frees its name.
    fn app_delete(&mut self, number: AppNumber) -> ();

    /// Makes an upstream.
    fn upstream_create(&mut self, spec: UpstreamSpec) -> Upstream;
    /// Changes an upstream to `spec`; the name stays.
    fn upstream_replace(&mut self, spec: UpstreamSpec) -> Upstream;
    /// Deletes an upstream that no API uses.
    fn upstream_delete(&mut self, name: &Name) -> ();

    /// Makes an API.
    fn api_create(&mut self, spec: ApiSpec) -> Api;
    /// Changes an API to `spec`; the name stays.
    fn api_replace(&mut self, spec: ApiSpec) -> Api;
    /// Deletes an API that no plan includes and no one subscribes to.
    fn api_delete(&mut self, name: &Name) -> ();

    /// Makes a plan.
    fn plan_create(&mut self, spec: PlanSpec) -> Plan;
    /// Changes a plan to `spec`; the name stays, and limits keep their numbers by name.
    /// Subscriptions to an API that is no longer included grant nothing until it is again.
    fn plan_replace(&mut self, spec: PlanSpec) -> Plan;
    /// Deletes a plan that no one subscribes to.
    fn plan_delete(&mut self, name: &Name) -> ();

    /// Subscribes an app to an API.
    fn subscription_create(&mut self, new: NewSubscription) -> Subscription;
    /// Approves, suspends or cancels a subscription.
    fn subscription_set_state(&mut self, number: SubscriptionNumber, state: SubscriptionState) -> Subscription;
    /// Moves a subscription that is not cancelled to another plan.
    fn subscription_set_plan(&mut self, number: SubscriptionNumber, plan: &Name) -> Subscription;

    /// Makes a key.
    fn key_create(&mut self, new: NewKey) -> Key;
    /// Switches a key on or off.
    fn key_set_enabled(&mut self, id: KeyId, enabled: bool) -> Key;
    /// Sets when a key is valid.
    fn key_set_validity(&mut self, id: KeyId, validity: Validity) -> Key;
    /// Sets a key's attributes, all of them.
    fn key_set_attributes(&mut self, id: KeyId, attributes: Attributes) -> Key;
    /// Makes a key that takes the place of `id`: same app, environment and attributes, no end of
    /// its own. The old one ends `grace_s` seconds from now, or earlier by itself; the node
    /// ends it, also with control down. Answers the new key.
    fn key_rotate(&mut self, id: KeyId, credential: Credential, grace_s: u32) -> Key;
    /// Revokes a key for good; revoking it again changes nothing.
    fn key_revoke(&mut self, id: KeyId) -> Key;
    /// Takes in keys made elsewhere, one line each, at most 10 000 in one transaction. A key that
    /// is there already is left alone, so that an import can be repeated.
    fn keys_import(&mut self, keys: Vec<NewKey>) -> Vec<ImportLine>;

    /// Keeps the digest of an admin token.
    fn token_create(&mut self, label: Name, sha256: [u8; 32]) -> AdminToken;
    /// Withdraws an admin token; the last one that is not withdrawn stays.
    fn token_withdraw(&mut self, number: TokenNumber) -> AdminToken;
}
