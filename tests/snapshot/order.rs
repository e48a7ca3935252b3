//! What a whole and honest generation is still refused for: its age, its author, its losses.

use std::path::Path;
use std::sync::Arc;

use keyway::snapshot::fixture::{Fixture, digest};
use keyway::snapshot::publish::{PublishError, Publisher};
use keyway::snapshot::{KeyState, LoadError, LoadPolicy, View, load};

use super::{admits, fixture, load_first, load_next, overlay, revoked};

const SECRET: [u8; 32] = [7; 32];

fn trusting() -> LoadPolicy {
    LoadPolicy {
        rollback_secret: Some(SECRET),
        ..LoadPolicy::default()
    }
}

/// A directory with base 1 (20 keys), overlay 2 over it (key 1 revoked), and base 3 (21 keys).
fn three_generations(directory: &Path) -> Arc<View> {
    let fixture = fixture(20);
    fixture.publish(directory, 1).unwrap();
    overlay([revoked(&fixture, 1)])
        .publish_overlay(directory, 2)
        .unwrap();
    super::fixture(21).publish(directory, 3).unwrap();
    load_first(directory).expect("whole")
}

#[test]
fn an_empty_directory_has_no_view_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    for absent in [directory.path(), &directory.path().join("missing")] {
        let refused = load_first(absent).expect_err("nothing there");
        assert!(matches!(refused, LoadError::Absent { .. }), "{refused}");
    }
}

#[test]
fn an_overlay_adds_changes_and_revokes() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = fixture(20);
    fixture.publish(directory.path(), 1).unwrap();
    let before = load_first(directory.path()).expect("whole");

    let mut disabled = fixture.keys[1];
    disabled.state = KeyState::Disabled;
    let mut added = fixture.keys[2];
    added.digest = digest(21);
    let mut change = overlay([revoked(&fixture, 1), disabled, added]);
    change.apps = vec![fixture.apps[1].clone()];
    change.apps[0].enabled = false;
    change.catalog.plans[0].limits[0].shadow = true;
    change.publish_overlay(directory.path(), 2).unwrap();
    let after = load_next(directory.path(), &before).expect("whole");

    assert_eq!(
        (before.generation(), before.base_generation(), before.keys()),
        (1, 1, 20)
    );
    assert_eq!(
        (after.generation(), after.base_generation(), after.keys()),
        (2, 1, 20)
    );
    assert!(admits(&before, 1) && admits(&before, 2) && !admits(&before, 21));
    assert!(!admits(&after, 1) && !admits(&after, 2) && admits(&after, 21) && admits(&after, 3));
    assert_eq!(
        after.key(&digest(1)).expect("known").state,
        KeyState::Revoked
    );
    assert!(after.app(1).expect("of the base").enabled);
    assert!(!after.app(2).expect("of the overlay").enabled);
    assert!(after.catalog().plans[0].limits[0].shadow);
}

#[test]
fn the_generation_that_serves_and_any_older_one_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let old = tempfile::tempdir().unwrap();
    fixture(20).publish(old.path(), 2).unwrap();
    let serving = three_generations(directory.path());
    let refused = load_next(directory.path(), &serving).expect_err("the same");
    assert!(
        matches!(
            refused,
            LoadError::NotNewer {
                found: 3,
                serving: 3
            }
        ),
        "{refused}"
    );
    let refused = load_next(old.path(), &serving).expect_err("older");
    assert!(
        matches!(
            refused,
            LoadError::NotNewer {
                found: 2,
                serving: 3
            }
        ),
        "{refused}"
    );
}

#[test]
fn the_publisher_does_not_go_back_either() {
    let directory = tempfile::tempdir().unwrap();
    fixture(20).publish(directory.path(), 3).unwrap();
    for generation in [0, 1, 3] {
        for publish in [Fixture::publish, Fixture::publish_overlay] {
            let refused = publish(&fixture(20), directory.path(), generation).expect_err("old");
            assert!(
                matches!(refused, PublishError::NotNewer { highest: 3, .. }),
                "{refused}"
            );
        }
    }
    let refused = fixture(20)
        .publish(&directory.path().join("new"), 0)
        .expect_err("zero");
    assert!(
        matches!(refused, PublishError::NotNewer { highest: 0, .. }),
        "{refused}"
    );
}

#[test]
fn a_signed_rollback_is_accepted_and_what_follows_lies_above_everything() {
    let directory = tempfile::tempdir().unwrap();
    let serving = three_generations(directory.path());
    let mut publisher = Publisher::open(directory.path()).unwrap();
    publisher.rollback(2, &SECRET, false).unwrap();

    let view = load(directory.path(), &trusting(), Some(&serving)).expect("signed");
    assert_eq!((view.generation(), view.base_generation()), (2, 1));
    assert!(!admits(&view, 1) && admits(&view, 2) && !admits(&view, 21));

    let refused = overlay([])
        .publish_overlay_to(&mut publisher, 3)
        .expect_err("existed");
    assert!(
        matches!(refused, PublishError::NotNewer { highest: 3, .. }),
        "{refused}"
    );
    drop(publisher);
    let mut publisher = Publisher::open(directory.path()).unwrap();
    let change = overlay([revoked(&fixture(20), 2)]);
    change.publish_overlay_to(&mut publisher, 4).unwrap();
    for previous in [&view, &serving] {
        let next = load(directory.path(), &trusting(), Some(previous)).expect("newer");
        assert_eq!((next.generation(), next.base_generation()), (4, 1));
        assert!(admits(&next, 1) && !admits(&next, 2));
    }
}

#[test]
fn a_rollback_to_a_base_serves_that_bases_own_catalog() {
    let directory = tempfile::tempdir().unwrap();
    fixture(20).publish(directory.path(), 1).unwrap();
    let mut change = overlay([]);
    change.catalog.tenants[0].enabled = false;
    change.publish_overlay(directory.path(), 2).unwrap();
    let serving = load_first(directory.path()).expect("whole");
    assert!(!serving.catalog().tenants[0].enabled);
    Publisher::open(directory.path())
        .unwrap()
        .rollback(1, &SECRET, false)
        .unwrap();
    let view = load(directory.path(), &trusting(), Some(&serving)).expect("signed");
    assert!(view.catalog().tenants[0].enabled);
}

#[test]
fn a_rollback_without_the_right_signature_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let serving = three_generations(directory.path());
    let mut publisher = Publisher::open(directory.path()).unwrap();
    publisher.rollback(1, &[8; 32], false).unwrap();
    let refused = load(directory.path(), &trusting(), Some(&serving)).expect_err("forged");
    assert!(
        matches!(refused, LoadError::RollbackForged { found: 1 }),
        "{refused}"
    );
    let refused = load_next(directory.path(), &serving).expect_err("no secret");
    assert!(
        matches!(refused, LoadError::RollbackUnchecked { found: 1 }),
        "{refused}"
    );
}

#[test]
fn an_old_rollback_cannot_be_played_back() {
    let directory = tempfile::tempdir().unwrap();
    let current = directory.path().join("CURRENT");
    three_generations(directory.path());
    Publisher::open(directory.path())
        .unwrap()
        .rollback(1, &SECRET, false)
        .unwrap();
    let order = std::fs::read(&current).unwrap();
    overlay([]).publish_overlay(directory.path(), 4).unwrap();
    let serving = load_first(directory.path()).expect("whole");
    std::fs::write(&current, order).unwrap();
    let refused = load(directory.path(), &trusting(), Some(&serving)).expect_err("stale");
    let stale = matches!(
        refused,
        LoadError::RollbackStale {
            found: 1,
            from: 3,
            serving: 4
        }
    );
    assert!(stale, "{refused}");
}

#[test]
fn a_rollback_to_what_is_gone_or_damaged_is_refused_by_the_publisher() {
    let directory = tempfile::tempdir().unwrap();
    let serving = three_generations(directory.path());
    let base = directory.path().join("base-00000000000000000001.kws");
    let mut publisher = Publisher::open(directory.path()).unwrap();
    let refused = publisher
        .rollback(7, &SECRET, false)
        .expect_err("never was");
    assert!(
        matches!(refused, PublishError::NotKept { generation: 7 }),
        "{refused}"
    );

    let mut bytes = std::fs::read(&base).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&base, bytes).unwrap();
    let refused = publisher.rollback(2, &SECRET, false).expect_err("damaged");
    assert!(
        matches!(refused, PublishError::Kept(LoadError::Format { .. })),
        "{refused}"
    );

    std::fs::remove_file(base).unwrap();
    let refused = publisher
        .rollback(2, &SECRET, false)
        .expect_err("its base is gone");
    assert!(
        matches!(refused, PublishError::NotKept { generation: 2 }),
        "{refused}"
    );
    assert_eq!(
        publisher.current().expect("serving").generation,
        serving.generation()
    );
}

/// Publishes `next` over a base of 20 keys, and tells what a node says that may lose `percent`.
fn shrink(next: &Fixture, over: bool, percent: u8) -> Result<Arc<View>, LoadError> {
    let directory = tempfile::tempdir().unwrap();
    fixture(20).publish(directory.path(), 1).unwrap();
    let serving = load_first(directory.path()).expect("whole");
    let publish = if over {
        Fixture::publish_overlay
    } else {
        Fixture::publish
    };
    publish(next, directory.path(), 2).unwrap();
    let policy = LoadPolicy {
        keys_lost_max_percent: percent,
        ..LoadPolicy::default()
    };
    load(directory.path(), &policy, Some(&serving))
}

#[test]
fn a_generation_that_loses_too_many_keys_needs_the_override() {
    let full = fixture(20);
    let revoke = |count: usize| overlay((1..=count).map(|n| revoked(&full, n)));
    let mut other = fixture(20);
    for (n, key) in (100..).zip(&mut other.keys) {
        key.digest = digest(n);
    }
    for (next, over, percent, lost) in [
        (fixture(10), false, 50, 0),
        (fixture(8), false, 50, 12),
        (fixture(0), false, 99, 20),
        (fixture(0), false, 100, 0),
        // Named as revoked is not lost, however many.
        (revoke(20), true, 0, 0),
        // As many keys as before, and none of them the same.
        (other.clone(), false, 99, 20),
    ] {
        match shrink(&next, over, percent) {
            Ok(_) => assert_eq!(lost, 0),
            Err(LoadError::KeysLost {
                lost: found, of, ..
            }) => {
                assert_eq!((found, of), (lost, 20));
            }
            Err(other) => panic!("{other}"),
        }
        shrink(&next.allow_shrink(), over, percent).expect("meant");
    }
}

#[test]
fn keys_that_an_overlay_added_count_as_lost_when_the_next_one_forgets_them() {
    let directory = tempfile::tempdir().unwrap();
    let mut keys = fixture(20).keys.split_off(1);
    let mut base = fixture(20);
    base.keys.truncate(1);
    base.publish(directory.path(), 1).unwrap();
    overlay(keys.clone())
        .publish_overlay(directory.path(), 2)
        .unwrap();
    let serving = load_first(directory.path()).expect("whole");
    assert_eq!(serving.keys(), 20);
    keys.truncate(5);
    overlay(keys).publish_overlay(directory.path(), 3).unwrap();
    let refused = load_next(directory.path(), &serving).expect_err("14 lost");
    assert!(
        matches!(
            refused,
            LoadError::KeysLost {
                lost: 14,
                of: 20,
                ..
            }
        ),
        "{refused}"
    );
}
