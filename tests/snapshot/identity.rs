//! What goes in comes out: a published snapshot against a naive model, with and without overlays.

use std::collections::BTreeMap;

use keyway::snapshot::fixture::{Fixture, digest};
use keyway::snapshot::ids::KeyId;
use keyway::snapshot::load::load_bytes;
use keyway::snapshot::{AppEntry, Digest, Environment, Grant, KeyRecord, KeyState};
use proptest::prelude::*;

/// Digests that meet: some uniform, some in long runs at both ends of the table, some that differ
/// only where the home slot does not look.
fn any_digest() -> impl Strategy<Value = Digest> {
    prop_oneof![
        4 => (0..200_u64).prop_map(digest),
        1 => any::<u8>().prop_map(|last| digest_of(0, last)),
        1 => any::<u8>().prop_map(|last| digest_of(u64::MAX, last)),
        1 => (0..4_u64, 0..4_u8).prop_map(|(first, last)| digest_of(first << 62, last)),
    ]
}

fn digest_of(place: u64, last: u8) -> Digest {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&place.to_be_bytes());
    bytes[15] = last;
    Digest(bytes)
}

fn any_state() -> impl Strategy<Value = KeyState> {
    prop_oneof![
        4 => Just(KeyState::Active),
        1 => Just(KeyState::Disabled),
        1 => Just(KeyState::Revoked),
    ]
}

prop_compose! {
    fn any_record()(
        digest in any_digest(),
        id in 1..=u64::MAX,
        number in 1..=u32::MAX,
        app in 1..=5_u32,
        (not_before_s, not_after_s) in any::<(u32, u32)>(),
        state in any_state(),
        live in any::<bool>(),
        pepper in any::<u8>(),
        unlimited in any::<bool>(),
    ) -> KeyRecord {
        KeyRecord {
            digest,
            id: KeyId::new(id).expect("not zero"),
            number,
            app,
            not_before_s,
            not_after_s,
            state,
            environment: if live { Environment::Live } else { Environment::Test },
            pepper,
            unlimited,
        }
    }
}

fn any_keys() -> impl Strategy<Value = BTreeMap<[u8; 16], KeyRecord>> {
    proptest::collection::vec(any_record(), 0..150)
        .prop_map(|keys| keys.into_iter().map(|key| (key.digest.0, key)).collect())
}

prop_compose! {
    fn any_app()(
        (enabled, unlimited) in any::<(bool, bool)>(),
        name in "[a-z0-9][a-z0-9._-]{0,62}",
        plans in proptest::collection::btree_map(1..=3_u32, 1..=2_u32, 0..=3),
    ) -> AppEntry {
        let grants = plans.into_iter().rev().map(|(api, plan)| Grant { api, plan }).collect();
        AppEntry { number: 0, tenant: 1, enabled, unlimited, name, grants }
    }
}

/// Apps with these numbers at most; what is left out tests the holes.
fn any_apps(numbers: Vec<u32>) -> impl Strategy<Value = BTreeMap<u32, AppEntry>> {
    let few = 0..=numbers.len();
    (
        proptest::sample::subsequence(numbers, few),
        proptest::collection::vec(any_app(), 9),
    )
        .prop_map(|(numbers, apps)| {
            let numbered = |(number, app)| (number, AppEntry { number, ..app });
            numbers.into_iter().zip(apps).map(numbered).collect()
        })
}

fn fixture(apps: &BTreeMap<u32, AppEntry>, keys: &BTreeMap<[u8; 16], KeyRecord>) -> Fixture {
    let mut fixture = Fixture::new()
        .upstream("origin", &["127.0.0.1:9000"])
        .api("one", "origin", &["/one"])
        .api("two", "origin", &["/two"])
        .api("three", "origin", &["/three"])
        .plan("free", 10, 1_000)
        .plan("gold", 100, 1_000)
        .tenant("acme");
    fixture.apps = apps.values().cloned().collect();
    fixture.keys = keys.values().copied().collect();
    fixture
}

/// Every app that a key may name.
fn with_all_apps(mut apps: BTreeMap<u32, AppEntry>) -> BTreeMap<u32, AppEntry> {
    for number in 1..=5 {
        let plain = AppEntry {
            number,
            tenant: 1,
            enabled: true,
            unlimited: false,
            name: "plain".into(),
            grants: vec![],
        };
        apps.entry(number).or_insert(plain);
    }
    apps
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_view_answers_as_a_map_would(
        base_apps in any_apps(vec![1, 3, 7, 8, 60, 4_000, u32::MAX]),
        base_keys in any_keys(),
        changed_apps in any_apps(vec![1, 2, 8, 9, 4_000]),
        changed_keys in any_keys(),
        asked in proptest::collection::vec(any_digest(), 50),
        lie_over in any::<bool>(),
    ) {
        let base_apps = with_all_apps(base_apps);
        let base = fixture(&base_apps, &base_keys).bytes(4);
        let overlay = fixture(&changed_apps, &changed_keys).overlay_bytes(&base, 9);
        let (mut apps, mut keys) = (base_apps, base_keys);
        let view = if lie_over {
            apps.extend(changed_apps);
            keys.extend(changed_keys);
            load_bytes(&base, Some(&overlay)).expect("whole")
        } else {
            load_bytes(&base, None).expect("whole")
        };

        prop_assert_eq!(view.generation(), if lie_over { 9 } else { 4 });
        prop_assert_eq!(view.base_generation(), 4);
        for digest in asked.iter().chain(keys.values().map(|key| &key.digest)) {
            prop_assert_eq!(view.key(digest), keys.get(&digest.0).copied());
        }
        let alive = keys.values().filter(|key| key.state != KeyState::Revoked).count();
        prop_assert_eq!(view.keys(), u64::try_from(alive).unwrap());
        for key in keys.values() {
            prop_assert!(view.peppers().contains(&key.pepper));
        }
        for number in (0..70).chain([3_999, 4_000, 4_001, u32::MAX]) {
            let expected = apps.get(&number);
            let found = view.app(number);
            prop_assert_eq!(found.map(|app| app.name), expected.map(|app| app.name.as_str()));
            prop_assert_eq!(found.map(|app| app.enabled), expected.map(|app| app.enabled));
            prop_assert_eq!(found.map(|app| app.tenant), expected.map(|app| app.tenant));
            for api in 0..=4 {
                let grant = expected.and_then(|app| app.grants.iter().find(|it| it.api == api));
                let plan = found.and_then(|app| app.plan_for(api));
                prop_assert_eq!(plan, grant.map(|grant| grant.plan));
            }
        }
    }
}

#[test]
fn the_same_content_gives_the_same_bytes() {
    let mut shuffled = super::fixture(100);
    shuffled.keys.reverse();
    assert!(super::fixture(100).bytes(7) == shuffled.bytes(7));
}

#[test]
fn a_snapshot_without_keys_and_apps_is_whole() {
    let view = load_bytes(&Fixture::new().bytes(1), None).expect("whole");
    assert_eq!(view.keys(), 0);
    assert_eq!(view.key(&digest(1)), None);
    assert!(view.app(1).is_none());
    assert!(view.peppers().is_empty());
}

#[test]
fn a_hundred_thousand_keys_are_written_and_found() {
    let view = super::fixture(100_000).view(1);
    assert_eq!(view.keys(), 100_000);
    for n in 1..=100_000 {
        let key = view.key(&digest(n)).expect("written");
        assert_eq!(u64::from(key.number), n);
    }
    for n in 100_001..=200_000 {
        assert_eq!(view.key(&digest(n)), None);
    }
    // 96 bytes a key, and the rest is small.
    assert!(view.memory_bytes() < 10_000_000, "{}", view.memory_bytes());
}
