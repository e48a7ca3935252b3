//! What is published is what the store says: after any changes, through overlays and bases, over
//! restarts, and after a rollback.

use keyway::snapshot::KeyState;
use keyway_control::domain::{Actor, AppNumber, KeyId};
use keyway_control::fixture::{Running, api, change, lay_out, new_key, plan, view_of};
use keyway_control::publish::check::Reason;
use keyway_control::publish::{PublishError, PublishOptions};
use keyway_control::store::{Page, Tx};

fn digest_of(n: u64) -> keyway::snapshot::Digest {
    keyway::snapshot::Digest(new_key(AppNumber(1), n).credential.digest)
}

async fn with_keys(running: &Running, keys: u64) -> AppNumber {
    running
        .change(move |tx| {
            let app = lay_out(tx)?.app;
            (0..keys).try_for_each(|n| tx.key_create(new_key(app, n)).map(drop))?;
            Ok(app)
        })
        .await
}

#[tokio::test]
async fn a_change_is_published_by_itself_and_later_ones_as_overlays() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path()).await;
    let app = with_keys(&running, 2).await;
    let first = running.view();
    assert_eq!(first.base_generation(), first.generation());
    assert_eq!(first.keys(), 2);
    assert_eq!(first.app(app.0).and_then(|app| app.plan_for(1)), Some(1));
    running
        .change(|tx| tx.key_revoke(KeyId::new(1).expect("not zero")))
        .await;
    let second = running.view();
    assert_eq!(second.base_generation(), first.generation());
    assert!(second.generation() > first.generation());
    let revoked = second
        .key(&digest_of(0))
        .expect("named, so that the log can tell");
    assert_eq!(revoked.state, KeyState::Revoked);
    assert_eq!(
        second.key(&digest_of(1)).expect("there").state,
        KeyState::Active
    );
}

#[tokio::test]
async fn the_only_key_can_be_revoked_under_a_serving_node() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path()).await;
    with_keys(&running, 1).await;
    let serving = running.view();
    running
        .change(|tx| tx.key_revoke(KeyId::new(1).expect("not zero")))
        .await;
    let policy = keyway::snapshot::LoadPolicy::default();
    let next = keyway::snapshot::load(&running.snapshots, &policy, Some(&serving));
    assert_eq!(next.expect("the node takes it").keys(), 0);
}

#[tokio::test]
async fn an_empty_store_publishes_nothing_unless_told_to() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path()).await;
    let refused = running
        .publisher
        .publish(Actor::system(), PublishOptions::default())
        .await;
    assert!(
        matches!(refused, Err(PublishError::Refused(Reason::Empty))),
        "{refused:?}"
    );
    assert!(!running.snapshots.join("CURRENT").exists());
    let options = PublishOptions {
        allow_shrink: true,
        new_base: false,
    };
    running
        .publisher
        .publish(Actor::system(), options)
        .await
        .expect("as told");
    assert_eq!(running.view().keys(), 0);
}

#[tokio::test]
async fn a_store_that_lost_its_keys_does_not_publish_over_the_served_ones() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path()).await;
    with_keys(&running, 10).await;
    let before = running.view();
    running.stop().await;
    for file in ["control.db", "control.db-wal", "control.db-shm"] {
        drop(std::fs::remove_file(directory.path().join(file)));
    }
    let running = Running::start(directory.path()).await;
    let outcome = change(&running.store, lay_out).await.expect("changes");
    let receipt = running
        .publisher
        .enforced(outcome.generation, std::time::Duration::from_secs(60))
        .await;
    assert_eq!(receipt.generation, 0);
    let problem = receipt.problem.expect("says why");
    assert!(problem.contains("10 keys"), "{problem}");
    assert_eq!(
        running.view().generation(),
        before.generation(),
        "the old one stays"
    );
    let options = PublishOptions {
        allow_shrink: true,
        new_base: false,
    };
    running
        .publisher
        .publish(Actor::system(), options)
        .await
        .expect("as told");
    let after = running.view();
    assert_eq!(after.keys(), 0);
    assert!(
        after.generation() > before.generation(),
        "nodes would not go back"
    );
}

#[tokio::test]
async fn a_restart_publishes_what_was_committed_and_not_published() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path()).await;
    with_keys(&running, 2).await;
    let before = running.view();
    running.stop().await;
    // Control died right after the commit: only the store knows.
    let store = keyway_control::fixture::open(directory.path());
    let revoke = |tx: &mut Tx<'_>| tx.key_revoke(KeyId::new(1).expect("not zero"));
    let generation = change(&store, revoke).await.expect("revokes").generation;
    drop(store);
    assert_eq!(
        view_of(&directory.path().join("snapshots")).generation(),
        before.generation()
    );
    let running = Running::start(directory.path()).await;
    running.published(generation).await;
    let after = running.view();
    assert_eq!(
        after.key(&digest_of(0)).expect("there").state,
        KeyState::Revoked
    );
    assert_eq!(
        after.base_generation(),
        before.base_generation(),
        "an overlay was enough"
    );
}

#[tokio::test]
async fn a_restart_with_nothing_new_publishes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path()).await;
    with_keys(&running, 2).await;
    let before = running.view().generation();
    running.stop().await;
    let running = Running::start(directory.path()).await;
    assert_eq!(
        running.publisher.status().published.map(|p| p.generation),
        Some(before)
    );
    running
        .change(|tx| tx.key_set_enabled(KeyId::new(1).expect("not zero"), false))
        .await;
    let publications = running
        .store
        .read(|rows| rows.publications(Page::first(10)))
        .await;
    assert_eq!(publications.expect("reads").items.len(), 2);
}

#[tokio::test]
async fn a_rollback_steps_the_configuration_back_and_no_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path()).await;
    let app = with_keys(&running, 2).await;
    let good = running.view().generation();
    // A bad day: the plan loses its API, a new API comes, a key is revoked, another is made.
    running
        .change(move |tx| {
            tx.plan_replace(plan("free", &[]))?;
            tx.api_create(api("extra"))?;
            tx.key_revoke(KeyId::new(1).expect("not zero"))?;
            tx.key_create(new_key(app, 2)).map(drop)
        })
        .await;
    let bad = running.view();
    assert_eq!(bad.app(app.0).and_then(|app| app.plan_for(1)), None);
    assert_eq!(bad.catalog().apis.len(), 2);

    let back = running
        .publisher
        .rollback(Actor::token("ops"), good)
        .await
        .expect("steps back");
    let view = running.view();
    assert_eq!(view.generation(), back.generation);
    assert!(
        back.generation > bad.generation(),
        "a node takes it like any other"
    );
    assert_eq!(view.catalog().apis.len(), 1);
    assert_eq!(
        view.app(app.0).and_then(|app| app.plan_for(1)),
        Some(1),
        "the grant is back"
    );
    assert_eq!(
        view.key(&digest_of(0)).expect("there").state,
        KeyState::Revoked
    );
    assert_eq!(
        view.key(&digest_of(2)).expect("there").state,
        KeyState::Active
    );
    let status = running.publisher.status();
    assert_eq!(status.held_configuration, Some(back.configuration));

    // Keys go on while the configuration is held, also over a restart.
    running.stop().await;
    let running = Running::start(directory.path()).await;
    assert_eq!(
        running.publisher.status().held_configuration,
        Some(back.configuration)
    );
    running
        .change(|tx| tx.key_revoke(KeyId::new(2).expect("not zero")))
        .await;
    let view = running.view();
    assert_eq!(
        view.key(&digest_of(1)).expect("there").state,
        KeyState::Revoked
    );
    assert_eq!(view.catalog().apis.len(), 1);

    // The next change of the configuration goes forward again.
    running
        .change(|tx| tx.plan_replace(plan("free", &["extra"])))
        .await;
    let view = running.view();
    assert_eq!(view.catalog().apis.len(), 2);
    assert_eq!(view.app(app.0).and_then(|app| app.plan_for(1)), None);
    assert_eq!(running.publisher.status().held_configuration, None);
}

#[tokio::test]
async fn publishing_by_hand_ends_a_hold() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path()).await;
    let app = with_keys(&running, 1).await;
    let good = running.view().generation();
    running
        .change(|tx| tx.plan_replace(plan("free", &[])))
        .await;
    running
        .publisher
        .rollback(Actor::system(), good)
        .await
        .expect("steps back");
    assert_eq!(
        running.view().app(app.0).and_then(|app| app.plan_for(1)),
        Some(1)
    );
    running
        .publisher
        .publish(Actor::system(), PublishOptions::default())
        .await
        .expect("publishes");
    assert_eq!(
        running.view().app(app.0).and_then(|app| app.plan_for(1)),
        None
    );
    let unknown = running.publisher.rollback(Actor::system(), 1_000_000).await;
    assert!(
        matches!(unknown, Err(PublishError::GenerationUnknown(1_000_000))),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn an_overlay_that_outgrew_its_bound_is_folded_while_revocations_go_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path()).await;
    let app = with_keys(&running, 1).await;
    let first_base = running.view().base_generation();
    let make = |from: u64, until: u64| {
        move |tx: &mut Tx<'_>| {
            (from..until).try_for_each(|n| tx.key_create(new_key(app, n)).map(drop))
        }
    };
    running.change(make(1, 20_100)).await;
    // The fold goes on beside these; each is published as soon as it is asked for.
    let mut revoked = 0;
    let mut served = running.view();
    let policy = keyway::snapshot::LoadPolicy::default();
    while served.base_generation() == first_base {
        let id = KeyId::new(revoked + 1).expect("not zero");
        running.change(move |tx| tx.key_revoke(id)).await;
        let next = keyway::snapshot::load(&running.snapshots, &policy, Some(&served));
        served = next.expect("a node takes every generation");
        let key = served.key(&digest_of(revoked)).expect("named");
        assert_eq!(key.state, KeyState::Revoked);
        revoked += 1;
    }
    assert_eq!(served.keys(), 20_100 - revoked);
    for n in 0..20_100 {
        let expected = if n < revoked {
            KeyState::Revoked
        } else {
            KeyState::Active
        };
        assert_eq!(
            served.key(&digest_of(n)).map(|key| key.state),
            Some(expected),
            "key {n}"
        );
    }
    // A restart goes on from the folded base.
    running.stop().await;
    let running = Running::start(directory.path()).await;
    running
        .change(|tx| tx.key_revoke(KeyId::new(20_000).expect("not zero")))
        .await;
    assert_eq!(running.view().base_generation(), served.base_generation());
}
