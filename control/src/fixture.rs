//! A small world for tests: names, specs and a laid-out store on a real file.
//!
//! Part of the library, not of one test file, so that unit tests, integration tests and benches
//! lay out the same world.

use crate::domain::{
    ApiSpec, AppNumber, AppSpec, Attributes, Credential, Environment, Key, KeyId, KeyOrigin, Name,
    NewKey, NewSubscription, Period, PlanSpec, RawApi, RawLimit, RawPlan, RawRoute, RawUpstream,
    Subscription, SubscriptionState, TenantSpec, UpstreamSpec, Validity,
};
use crate::store::{Author, Outcome, Store, StoreError, Tx};
use keyway::clock::Clock;
use std::path::Path;

/// A name.
pub fn name(text: &str) -> Name {
    text.parse().expect("a good name")
}

/// Opens a store in `directory`.
pub fn open(directory: &Path) -> Store {
    Store::open(&directory.join("control.db"), Clock::start()).expect("opens")
}

/// An upstream with one target on loopback.
pub fn upstream(text: &str) -> UpstreamSpec {
    let raw = RawUpstream {
        name: text.to_owned(),
        targets: vec!["127.0.0.1:9000".to_owned()],
        connect_timeout_ms: 1_000,
        response_timeout_ms: 30_000,
    };
    raw.try_into().expect("a good upstream")
}

/// An API that serves `/NAME/*` from the upstream `origin`.
pub fn api(text: &str) -> ApiSpec {
    let raw = RawApi {
        name: text.to_owned(),
        version: "v1".to_owned(),
        hosts: vec![],
        upstream: "origin".to_owned(),
        routes: vec![RawRoute {
            path: format!("/{text}/*"),
            methods: vec![],
        }],
        credential: Default::default(),
        key_required: true,
    };
    raw.try_into().expect("a good API")
}

/// A plan that includes `apis`, with one limit.
pub fn plan(text: &str, apis: &[&str]) -> PlanSpec {
    let limit = RawLimit {
        name: "burst".to_owned(),
        requests: 10,
        per: Period::Second,
        burst: Some(20),
    };
    let raw = RawPlan {
        name: text.to_owned(),
        apis: apis.iter().map(|&api| api.to_owned()).collect(),
        limits: vec![limit],
    };
    raw.try_into().expect("a good plan")
}

/// A key with a digest of its own, which `n` makes.
pub fn new_key(app: AppNumber, n: u64) -> NewKey {
    // Spread like the real digests: the snapshot's table wants them uniform.
    let spread = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut digest = [0; 16];
    digest[..8].copy_from_slice(&spread.to_be_bytes());
    digest[8..].copy_from_slice(&n.to_be_bytes());
    NewKey {
        app,
        credential: Credential {
            id: KeyId::new(n + 1).expect("not zero"),
            digest,
            pepper: 1,
            origin: KeyOrigin::Issued,
        },
        environment: Environment::Live,
        validity: Validity::ALWAYS,
        attributes: Attributes::default(),
    }
}

/// Runs a change as the system.
pub async fn change<T, F>(store: &Store, change: F) -> Result<Outcome<T>, StoreError>
where
    T: serde::Serialize + serde::de::DeserializeOwned + Send + 'static,
    F: FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
{
    store.write(Author::system(), change).await
}

/// Upstream `origin`, API `orders`, plan `free`, tenant `acme`, app `mobile` with an approved
/// subscription.
pub fn lay_out(tx: &mut Tx<'_>) -> Result<Subscription, StoreError> {
    tx.upstream_create(upstream("origin"))?;
    tx.api_create(api("orders"))?;
    tx.plan_create(plan("free", &["orders"]))?;
    tx.tenant_create(TenantSpec {
        name: name("acme"),
        enabled: true,
    })?;
    let app = tx.app_create(
        &name("acme"),
        AppSpec {
            name: name("mobile"),
            enabled: true,
        },
    )?;
    tx.subscription_create(NewSubscription {
        app: app.number,
        api: name("orders"),
        plan: name("free"),
        state: SubscriptionState::Approved,
    })
}

/// A laid-out store with one key.
pub async fn store_with_key(directory: &Path) -> (Store, Key) {
    let store = open(directory);
    let made = change(&store, |tx| {
        let app = lay_out(tx)?.app;
        tx.key_create(new_key(app, 0))
    });
    let key = made.await.expect("lays out").value;
    (store, key)
}
