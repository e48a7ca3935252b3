//! The store on real files: what it promises about changes, numbers, audit and repetition.

use super::{AuditFilter, Author, Idempotency, KeyFilter, Page, Store, StoreError, Tx};
use crate::domain::{
    Actor, AppSpec, KeyState, NewSubscription, Shape, Subject, SubscriptionState, TenantSpec,
    TokenRole,
};
use crate::fixture::{api, change, lay_out, name, new_key, open, plan, store_with_key, upstream};
use rusqlite::Connection;

#[tokio::test]
async fn what_was_written_is_there_after_a_reopening() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, key) = store_with_key(directory.path()).await;
    drop(store);
    let store = open(directory.path());
    let id = key.id;
    let again = store.read(move |rows| rows.key(id)).await.expect("the key");
    assert_eq!(again, key);
}

#[tokio::test]
async fn a_change_that_fails_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    let failed = change(&store, |tx| {
        tx.tenant_create(TenantSpec {
            name: name("acme"),
            enabled: true,
        })?;
        tx.upstream_delete(&name("nowhere"))
    });
    let error = failed.await.expect_err("there is no such upstream");
    assert!(
        matches!(
            error,
            StoreError::NotFound {
                subject: Subject::Upstream,
                ..
            }
        ),
        "{error}"
    );
    let (tenants, generation, audit) = store
        .read(|rows| {
            let audit = rows.audit(&AuditFilter::default(), Page::first(10))?;
            Ok((rows.tenants(Page::first(10))?, rows.generation()?, audit))
        })
        .await
        .expect("reads");
    assert!(tenants.items.is_empty());
    assert_eq!(generation, 0);
    assert!(audit.items.is_empty());
}

#[tokio::test]
async fn a_rehearsal_answers_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    let rehearsed = store
        .rehearse(Author::system(), lay_out)
        .await
        .expect("would work");
    assert_eq!(rehearsed.app_name, name("mobile"));
    assert_eq!(
        store.read(|rows| rows.generation()).await.expect("reads"),
        0
    );
    let refused = store.rehearse(Author::system(), |tx| {
        lay_out(tx)?;
        let mut twin = api("orders");
        twin.name = name("twin");
        tx.api_create(twin)
    });
    let error = refused.await.expect_err("two APIs on one route");
    assert!(matches!(error, StoreError::Catalog(_)), "{error}");
}

#[tokio::test]
async fn every_change_has_its_audit_row_with_before_and_after() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, key) = store_with_key(directory.path()).await;
    let author = Author::new(Actor::token("ops"));
    let id = key.id;
    let outcome = store
        .write(author, move |tx| tx.key_revoke(id))
        .await
        .expect("revokes");
    let filter = AuditFilter {
        subject: Some(Subject::Key),
        subject_id: Some(key.id.to_string()),
    };
    let log = store
        .read(move |rows| rows.audit(&filter, Page::first(10)))
        .await
        .expect("reads");
    let [revoked, created] = &log.items[..] else {
        panic!("two rows: {log:?}")
    };
    assert_eq!(
        (created.action.as_str(), created.actor.as_str()),
        ("create", "system")
    );
    assert!(created.before.is_null());
    assert_eq!(
        (revoked.action.as_str(), revoked.actor.as_str()),
        ("revoke", "token:ops")
    );
    assert_eq!(revoked.generation, outcome.generation);
    assert_eq!(revoked.before["state"], "active");
    assert_eq!(revoked.after["state"], "revoked");
    let text = serde_json::to_string(&log.items).expect("JSON");
    assert!(
        !text.contains("digest"),
        "nothing of the secret is in the log: {text}"
    );
}

#[tokio::test]
async fn the_audit_log_cannot_be_changed_even_by_sql() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = store_with_key(directory.path()).await;
    let sql = Connection::open(directory.path().join("control.db")).expect("opens");
    for statement in ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"] {
        let error = sql.execute(statement, []).expect_err("append-only");
        assert!(error.to_string().contains("append-only"), "{error}");
    }
    drop(store);
}

#[tokio::test]
async fn a_revoked_key_stays_revoked_whatever_is_asked() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, key) = store_with_key(directory.path()).await;
    let id = key.id;
    let first = change(&store, move |tx| tx.key_revoke(id))
        .await
        .expect("revokes");
    let second = change(&store, move |tx| tx.key_revoke(id))
        .await
        .expect("once more");
    assert_eq!(second.value, first.value);
    assert_eq!(second.generation, first.generation, "nothing changed");
    let enable = change(&store, move |tx| tx.key_set_enabled(id, true)).await;
    assert!(matches!(enable, Err(StoreError::KeyFinal(_))), "{enable:?}");
    let credential = new_key(key.app, 7).credential;
    let rotate = change(&store, move |tx| tx.key_rotate(id, credential, 60)).await;
    assert!(matches!(rotate, Err(StoreError::KeyFinal(_))), "{rotate:?}");
    let sql = Connection::open(directory.path().join("control.db")).expect("opens");
    let by_hand = sql.execute("UPDATE keys SET state = 'active', revoked_ms = NULL", []);
    assert!(by_hand.is_err(), "a trigger keeps it");
}

#[tokio::test]
async fn a_rotation_ends_the_old_key_after_its_grace_and_keeps_its_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, old) = store_with_key(directory.path()).await;
    let (id, credential) = (old.id, new_key(old.app, 1).credential);
    let new = change(&store, move |tx| tx.key_rotate(id, credential, 3_600)).await;
    let new = new.expect("rotates").value;
    assert_eq!(
        (new.app, new.environment, new.rotated_from),
        (old.app, old.environment, Some(id))
    );
    assert_eq!(new.validity.not_after_s(), None);
    let ended = store
        .read(move |rows| rows.key(id))
        .await
        .expect("the old one");
    assert_eq!(ended.state, KeyState::Active);
    let created_s = u32::try_from(new.created_ms / 1_000).expect("before 2106");
    assert_eq!(ended.validity.not_after_s(), Some(created_s + 3_600));
}

#[tokio::test]
async fn numbers_are_never_given_twice() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    let make = |tx: &mut Tx<'_>| tx.upstream_create(upstream("origin"));
    let first = change(&store, make).await.expect("makes").value.number;
    change(&store, |tx| tx.upstream_delete(&name("origin")))
        .await
        .expect("deletes");
    let second = change(&store, make)
        .await
        .expect("makes again")
        .value
        .number;
    assert!(second.0 > first.0);
}

#[tokio::test]
async fn a_limit_keeps_its_number_when_its_rate_changes() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = store_with_key(directory.path()).await;
    let before = store
        .read(|rows| rows.plan(&name("free")))
        .await
        .expect("the plan");
    let mut spec = before.spec();
    let Shape::Rate { units, .. } = &mut spec.limits[0].shape else {
        panic!("{spec:?}");
    };
    *units = 99;
    let changed = spec.limits[0].clone();
    let after = change(&store, move |tx| tx.plan_replace(spec))
        .await
        .expect("replaces")
        .value;
    assert_eq!(after.limits[0].number, before.limits[0].number);
    assert_eq!(after.limits[0].spec, changed);
}

#[tokio::test]
async fn a_request_repeated_with_its_idempotency_key_is_carried_out_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, key) = store_with_key(directory.path()).await;
    let author = |request: u8| Author {
        actor: Actor::token("ops"),
        idempotency: Some(Idempotency {
            key: "k-1".to_owned(),
            request: [request; 32],
        }),
    };
    let app = key.app;
    let make = |n| move |tx: &mut Tx<'_>| tx.key_create(new_key(app, n));
    let first = store.write(author(1), make(10)).await.expect("makes");
    assert!(!first.replayed);
    drop(store);
    let store = open(directory.path());
    let second = store
        .write(author(1), make(11))
        .await
        .expect("answers again");
    assert!(second.replayed);
    assert_eq!(second.value, first.value);
    let other = store.write(author(2), make(12)).await;
    assert!(
        matches!(other, Err(StoreError::IdempotencyMismatch)),
        "{other:?}"
    );
    let totals = store.read(|rows| rows.totals()).await.expect("reads");
    assert_eq!(totals.keys, 2);
}

#[tokio::test]
async fn pages_neither_repeat_nor_skip() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, key) = store_with_key(directory.path()).await;
    let app = key.app;
    let many = change(&store, move |tx| {
        (1..25).try_for_each(|n| tx.key_create(new_key(app, n)).map(drop))
    });
    many.await.expect("makes");
    let (mut seen, mut page) = (Vec::new(), Page::first(10));
    loop {
        let filter = KeyFilter {
            app: Some(app),
            ..KeyFilter::default()
        };
        let part = store
            .read(move |rows| rows.keys(&filter, page))
            .await
            .expect("reads");
        seen.extend(part.items.iter().map(|key| key.number.0));
        let Some(next) = part.next else { break };
        page.after = Some(next);
    }
    assert_eq!(seen, (1..=25).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_in_use_cannot_be_deleted() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, key) = store_with_key(directory.path()).await;
    let refused = [
        change(&store, |tx| tx.upstream_delete(&name("origin"))).await,
        change(&store, |tx| tx.api_delete(&name("orders"))).await,
        change(&store, |tx| tx.plan_delete(&name("free"))).await,
        change(&store, |tx| tx.tenant_delete(&name("acme"))).await,
    ];
    for outcome in refused {
        assert!(
            matches!(outcome, Err(StoreError::InUse { .. })),
            "{outcome:?}"
        );
    }
    let app = key.app;
    let all = change(&store, move |tx| {
        tx.app_delete(app)?;
        tx.tenant_delete(&name("acme"))?;
        tx.plan_delete(&name("free"))?;
        tx.api_delete(&name("orders"))?;
        tx.upstream_delete(&name("origin"))
    });
    all.await.expect("in this order all of them go");
    let id = key.id;
    let key = store
        .read(move |rows| rows.key(id))
        .await
        .expect("the row outlives the key");
    assert_eq!(key.state, KeyState::Revoked);
}

#[tokio::test]
async fn a_subscription_goes_its_way_and_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    let subscription = change(&store, lay_out).await.expect("lays out").value;
    let (app, number) = (subscription.app, subscription.number);
    let new = |state| NewSubscription {
        app,
        api: name("orders"),
        plan: name("free"),
        state,
    };
    let twice = new(SubscriptionState::Requested);
    let twice = change(&store, move |tx| tx.subscription_create(twice)).await;
    assert!(matches!(twice, Err(StoreError::Exists { .. })), "{twice:?}");
    let cancel =
        move |tx: &mut Tx<'_>| tx.subscription_set_state(number, SubscriptionState::Cancelled);
    change(&store, cancel).await.expect("cancels");
    let revive = change(&store, move |tx| {
        tx.subscription_set_state(number, SubscriptionState::Approved)
    });
    assert!(matches!(revive.await, Err(StoreError::Transition(_))));
    let anew = new(SubscriptionState::Requested);
    change(&store, move |tx| tx.subscription_create(anew))
        .await
        .expect("subscribes anew");
    let other = change(&store, move |tx| {
        tx.api_create(api("extra"))?;
        tx.app_create(
            &name("acme"),
            AppSpec {
                name: name("web"),
                enabled: true,
                unlimited: false,
            },
        )?;
        tx.subscription_create(NewSubscription {
            app,
            api: name("extra"),
            plan: name("free"),
            state: SubscriptionState::Requested,
        })
    });
    assert!(matches!(other.await, Err(StoreError::PlanLacksApi { .. })));
}

#[tokio::test]
async fn the_last_admin_token_cannot_be_withdrawn() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    let make = |digest: u8| {
        move |tx: &mut Tx<'_>| tx.token_create(name("ops"), [digest; 32], TokenRole::Admin)
    };
    let first = change(&store, make(1)).await.expect("makes").value.number;
    let last = change(&store, move |tx| tx.token_withdraw(first)).await;
    assert!(matches!(last, Err(StoreError::InUse { .. })), "{last:?}");
    change(&store, make(2)).await.expect("makes another");
    change(&store, move |tx| tx.token_withdraw(first))
        .await
        .expect("withdraws");
    let found = |digest: u8| store.read(move |rows| rows.token_by_digest(&[digest; 32]));
    assert_eq!(found(1).await.expect("reads"), None);
    assert!(found(2).await.expect("reads").is_some());
}

#[tokio::test]
async fn a_plan_can_be_changed_under_its_subscribers() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = store_with_key(directory.path()).await;
    let without = change(&store, |tx| tx.plan_replace(plan("free", &[]))).await;
    assert!(without.expect("replaces").value.apis.is_empty());
}

#[tokio::test]
async fn a_newer_database_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    drop(open(directory.path()));
    let path = directory.path().join("control.db");
    let sql = Connection::open(&path).expect("opens");
    sql.pragma_update(None, "user_version", 1_000)
        .expect("sets");
    drop(sql);
    let error = Store::open(&path, keyway::clock::Clock::system());
    assert!(matches!(error, Err(StoreError::TooNew)), "{error:?}");
}
