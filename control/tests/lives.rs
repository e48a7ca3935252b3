//! Random lives of a store: after every step, what a node loads is what a naive model and a full
//! rebuild say.

use keyway::snapshot::{KeyState, View};
use keyway_control::domain::{
    Actor, AppNumber, AppSpec, KeyId, NewSubscription, SubscriptionNumber, SubscriptionState,
    TenantSpec,
};
use keyway_control::fixture::{Running, api, name, new_key, plan, upstream};
use keyway_control::publish::PublishOptions;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

fn digest_of(n: u64) -> keyway::snapshot::Digest {
    keyway::snapshot::Digest(new_key(AppNumber(1), n).credential.digest)
}

/// One step of a random life of a store. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    MakeApp,
    MakeKey(u32),
    Disable(u64),
    Enable(u64),
    Revoke(u64),
    Rotate(u64),
    SwitchApp(u32, bool),
    DeleteApp(u32),
    Cancel(u32),
    SwitchPlan(bool),
    NewBase,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::MakeApp),
        6 => any::<u32>().prop_map(Step::MakeKey),
        2 => any::<u64>().prop_map(Step::Disable),
        2 => any::<u64>().prop_map(Step::Enable),
        2 => any::<u64>().prop_map(Step::Revoke),
        2 => any::<u64>().prop_map(Step::Rotate),
        1 => (any::<u32>(), any::<bool>()).prop_map(|(app, on)| Step::SwitchApp(app, on)),
        1 => any::<u32>().prop_map(Step::DeleteApp),
        1 => any::<u32>().prop_map(Step::Cancel),
        1 => any::<bool>().prop_map(Step::SwitchPlan),
        1 => Just(Step::NewBase),
    ]
}

/// What the model knows of an app.
#[derive(Clone, Debug)]
struct ModelApp {
    enabled: bool,
    deleted: bool,
    subscription: SubscriptionNumber,
    approved: bool,
}

/// The naive model: what should be served.
#[derive(Clone, Debug, Default)]
struct Model {
    apps: BTreeMap<u32, ModelApp>,
    /// By the `n` of [`new_key`]: app and state.
    keys: Vec<(u32, KeyState)>,
    plan_includes: bool,
}

impl Model {
    fn some_app(&self, pick: u32) -> Option<u32> {
        let alive: Vec<u32> = self
            .apps
            .iter()
            .filter(|(_, app)| !app.deleted)
            .map(|(number, _)| *number)
            .collect();
        let at = usize::try_from(pick).ok()?.checked_rem(alive.len())?;
        alive.get(at).copied()
    }

    fn some_key(&self, pick: u64) -> Option<u64> {
        pick.checked_rem(u64::try_from(self.keys.len()).ok()?)
    }

    fn state(&mut self, n: u64) -> &mut KeyState {
        &mut self.keys[usize::try_from(n).expect("small")].1
    }

    fn check(&self, view: &View) {
        for (n, (app, state)) in (0..).zip(&self.keys) {
            let found = view.key(&digest_of(n)).map(|key| (key.app, key.state));
            // A base may leave a revoked key out; nothing else is ever missing.
            let missing = found.is_none() && *state == KeyState::Revoked;
            assert!(
                missing || found == Some((*app, *state)),
                "key {n}: {found:?}"
            );
        }
        for (number, app) in &self.apps {
            let found = view.app(*number).filter(|found| found.enabled);
            assert_eq!(found.is_some(), app.enabled && !app.deleted, "app {number}");
            let granted = found.and_then(|found| found.plan_for(1)).is_some();
            let expected = app.approved && app.enabled && !app.deleted && self.plan_includes;
            assert_eq!(granted, expected, "grant of app {number}");
        }
    }
}

async fn take(running: &Running, model: &mut Model, step: Step) {
    match step {
        Step::MakeApp => make_app(running, model).await,
        Step::MakeKey(app) => {
            let Some(app) = model.some_app(app) else {
                return;
            };
            let n = u64::try_from(model.keys.len()).expect("small");
            running
                .change(move |tx| tx.key_create(new_key(AppNumber(app), n)))
                .await;
            model.keys.push((app, KeyState::Active));
        }
        Step::Disable(key) => switch(running, model, key, KeyState::Disabled).await,
        Step::Enable(key) => switch(running, model, key, KeyState::Active).await,
        Step::Revoke(key) => switch(running, model, key, KeyState::Revoked).await,
        Step::Rotate(key) => rotate(running, model, key).await,
        Step::SwitchApp(app, on) => {
            let Some(number) = model.some_app(app) else {
                return;
            };
            running
                .change(move |tx| tx.app_set_enabled(AppNumber(number), on))
                .await;
            model.apps.get_mut(&number).expect("picked").enabled = on;
        }
        Step::DeleteApp(app) => {
            let Some(number) = model.some_app(app) else {
                return;
            };
            running
                .change(move |tx| tx.app_delete(AppNumber(number)))
                .await;
            model.apps.get_mut(&number).expect("picked").deleted = true;
            for (_, state) in model.keys.iter_mut().filter(|(app, _)| *app == number) {
                *state = KeyState::Revoked;
            }
        }
        Step::Cancel(app) => {
            let Some(number) = model.some_app(app) else {
                return;
            };
            let app = model.apps.get_mut(&number).expect("picked");
            let (subscription, to) = (app.subscription, SubscriptionState::Cancelled);
            running
                .change(move |tx| tx.subscription_set_state(subscription, to))
                .await;
            app.approved = false;
        }
        Step::SwitchPlan(includes) => {
            let apis: &[&str] = if includes { &["orders"] } else { &[] };
            let spec = plan("free", apis);
            running.change(move |tx| tx.plan_replace(spec)).await;
            model.plan_includes = includes;
        }
        Step::NewBase => {
            let options = PublishOptions {
                allow_shrink: false,
                new_base: true,
            };
            running
                .publisher
                .publish(Actor::system(), options)
                .await
                .expect("publishes");
        }
    }
}

async fn make_app(running: &Running, model: &mut Model) {
    let app = name(&format!("app-{}", model.apps.len()));
    // A plan without the API takes no subscriptions: lend it the API for a moment.
    let lend = !model.plan_includes;
    let subscription = running
        .change(move |tx| {
            let app = tx.app_create(
                &name("acme"),
                AppSpec {
                    name: app,
                    enabled: true,
                    unlimited: false,
                },
            )?;
            if lend {
                tx.plan_replace(plan("free", &["orders"]))?;
            }
            let subscription = tx.subscription_create(NewSubscription {
                app: app.number,
                api: name("orders"),
                plan: name("free"),
                state: SubscriptionState::Approved,
            })?;
            if lend {
                tx.plan_replace(plan("free", &[]))?;
            }
            Ok(subscription)
        })
        .await;
    let app = ModelApp {
        enabled: true,
        deleted: false,
        subscription: subscription.number,
        approved: true,
    };
    model.apps.insert(subscription.app.0, app);
}

async fn switch(running: &Running, model: &mut Model, pick: u64, to: KeyState) {
    let Some(n) = model.some_key(pick) else {
        return;
    };
    let id = KeyId::new(n + 1).expect("not zero");
    if *model.state(n) == KeyState::Revoked {
        return;
    }
    running
        .change(move |tx| match to {
            KeyState::Revoked => tx.key_revoke(id),
            other => tx.key_set_enabled(id, other == KeyState::Active),
        })
        .await;
    *model.state(n) = to;
}

async fn rotate(running: &Running, model: &mut Model, pick: u64) {
    let Some(old) = model.some_key(pick) else {
        return;
    };
    if *model.state(old) == KeyState::Revoked {
        return;
    }
    let n = u64::try_from(model.keys.len()).expect("small");
    let app = model.keys[usize::try_from(old).expect("small")].0;
    let (id, credential) = (
        KeyId::new(old + 1).expect("not zero"),
        new_key(AppNumber(app), n).credential,
    );
    running
        .change(move |tx| tx.key_rotate(id, credential, 60))
        .await;
    model.keys.push((app, KeyState::Active));
}

async fn live(steps: Vec<Step>) {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path()).await;
    let mut model = Model {
        plan_includes: true,
        ..Model::default()
    };
    running
        .change(|tx| {
            tx.upstream_create(upstream("origin"))?;
            tx.api_create(api("orders"))?;
            tx.plan_create(plan("free", &["orders"]))?;
            tx.tenant_create(TenantSpec {
                name: name("acme"),
                enabled: true,
            })
            .map(drop)
        })
        .await;
    let mut served: Option<Arc<View>> = None;
    let policy = keyway::snapshot::LoadPolicy::default();
    for step in steps {
        take(&running, &mut model, step).await;
        let newer = served.as_ref().is_none_or(|view| {
            Some(view.generation()) != running.publisher.status().published.map(|p| p.generation)
        });
        if newer {
            // As a node does: from what it serves to the next one.
            let next = keyway::snapshot::load(&running.snapshots, &policy, served.as_ref());
            served = Some(next.expect("a node takes every generation"));
        }
        model.check(served.as_ref().expect("loaded"));
    }
    let options = PublishOptions {
        allow_shrink: false,
        new_base: true,
    };
    running
        .publisher
        .publish(Actor::system(), options)
        .await
        .expect("publishes");
    let rebuilt = running.view();
    assert_eq!(rebuilt.base_generation(), rebuilt.generation());
    model.check(&rebuilt);
    if let Some(served) = served {
        assert_eq!(
            rebuilt.keys(),
            served.keys(),
            "a full rebuild has the same keys"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn base_and_overlay_are_what_a_full_rebuild_would_be(
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(live(steps));
    }
}
