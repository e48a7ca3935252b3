//! What is published, and what the gateway makes of it while traffic runs.

mod support;

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use keyway::snapshot::fixture::Fixture;
use keyway::snapshot::record::KeyState;
use support::{Gateway, Origin, Response, Traffic, World, get, wait};

fn seconds_since_1970() -> u32 {
    #[expect(
        clippy::disallowed_methods,
        reason = "a key's validity is in real time"
    )]
    let now = SystemTime::now();
    let seconds = now
        .duration_since(UNIX_EPOCH)
        .expect("the clock is set")
        .as_secs();
    u32::try_from(seconds).expect("before 2106")
}

/// Waits until the gateway says why it refused what was published last.
fn wait_for_refusal(gateway: &Gateway) -> String {
    wait::value("the snapshot to be refused", || {
        gateway.status()["snapshot_error"]
            .as_str()
            .map(str::to_owned)
    })
}

#[test]
fn nothing_published_is_503_and_not_ready_until_something_is() {
    let origin = Origin::echo();
    let mut gateway = Gateway::over(World::before(&[origin.address]))
        .unpublished()
        .start();
    let mut client = gateway.client();
    let refused = client.exchange(&gateway.good());
    refused.assert_refusal(503, "not-ready");
    assert!(
        refused.header("retry-after").is_some(),
        "{:?}",
        refused.head
    );
    let unready = gateway.ask_admin("/readyz");
    assert_eq!(unready.status, 503, "{}", unready.text());
    assert_eq!(gateway.ask_admin("/healthz").status, 200);
    gateway.publish(|_| {});
    assert_eq!(gateway.ask_admin("/readyz").status, 200);
    client.exchange(&gateway.good()).assert_status(200);
    assert_eq!(origin.requests(), 1);
}

#[test]
fn a_revoked_key_is_401_on_every_worker_once_its_generation_serves() {
    let origin = Origin::echo();
    // Its only key: a guard against lost keys must not stand in the way.
    let mut gateway = Gateway::before(&origin);
    let mut clients: Vec<_> = (0..16).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.exchange(&gateway.good()).assert_status(200);
    }
    gateway.publish(|world| {
        let key = world.key.clone();
        world.record(&key).state = KeyState::Revoked;
    });
    for client in &mut clients {
        client
            .exchange(&gateway.good())
            .assert_refusal(401, "key-refused");
    }
}

#[test]
fn an_overlay_changes_one_key_and_leaves_the_others() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]);
    let mut gateway = Gateway::over(world).start();
    let other = {
        let mut other = String::new();
        gateway.publish(|world| other = world.mint());
        other
    };
    let key = gateway.world.key.clone();
    gateway.world.record(&key).state = KeyState::Revoked;
    let revoked = *gateway.world.record(&key);
    let overlay = Fixture {
        catalog: gateway.world.fixture.catalog.clone(),
        keys: vec![revoked],
        ..Fixture::default()
    };
    gateway.generation += 1;
    overlay
        .publish_overlay(&gateway.path("snapshots"), gateway.generation)
        .expect("it is whole");
    gateway.wait_for_generation(gateway.generation);
    gateway.get().assert_refusal(401, "key-refused");
    gateway
        .exchange(&get("/orders/1").key(&other))
        .assert_status(200);
    let snapshot = &gateway.status()["snapshot"];
    assert_eq!(
        (&snapshot["generation"], &snapshot["base"]),
        (&3.into(), &2.into())
    );
}

/// The generation in the names of app and plan, if both say the same.
fn judged_by_one_generation(answer: &Response) -> Option<String> {
    let echo = answer.json();
    let named = |name: &str| {
        let headers = echo["headers"].as_array()?;
        let header = headers.iter().find(|header| header[0] == name)?;
        header[1]
            .as_str()?
            .rsplit_once('-')
            .map(|(_, generation)| generation.to_owned())
    };
    let (app, plan) = (named("Keyway-App"), named("Keyway-Plan"));
    (app.is_none() || app != plan).then(|| format!("app of {app:?}, plan of {plan:?}"))
}

#[test]
fn each_request_is_judged_by_one_generation_while_they_change() {
    let origin = Origin::echo();
    let rename = |world: &mut World, generation: u64| {
        world.fixture.apps[0].name = format!("mobile-{generation}");
        world.fixture.catalog.plans[0].name = format!("free-{generation}");
    };
    let world = World::before(&[origin.address]).with(|world| rename(world, 0));
    let mut gateway = Gateway::over(world).start();
    let request = gateway.good();
    let traffic = Traffic::checked(gateway.listen, 4, &request, judged_by_one_generation);
    for generation in 1..=5 {
        traffic.wait_for_more(40);
        gateway.publish(|world| rename(world, generation));
    }
    traffic.wait_for_more(40);
    traffic.stop().assert_all(200);
    // Counters are published on the worker's next beat.
    wait::until("6 generations to be adopted by 2 workers", || {
        gateway.metrics().sum("keyway_snapshot_swaps_total", &[]) == 12.0
    });
}

#[test]
fn harm_to_the_live_files_changes_nothing_for_traffic() {
    let origin = Origin::echo();
    let mut gateway = Gateway::before(&origin);
    let request = gateway.good();
    let traffic = Traffic::of(gateway.listen, 4, &request);
    let (base, current) = gateway.live_files();
    let whole = fs::read(&base).expect("it is published");
    let noise: Vec<u8> = whole
        .iter()
        .map(|byte| byte.wrapping_mul(31) ^ 0xa5)
        .collect();
    let overwrite = |bytes: &[u8]| {
        // In place, as `dd` would: the same file that was loaded.
        let file = fs::File::options()
            .write(true)
            .open(&base)
            .expect("it is there");
        std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0).expect("room for it");
    };
    overwrite(&noise);
    traffic.wait_for_more(100);
    fs::File::options()
        .write(true)
        .open(&base)
        .and_then(|file| file.set_len(0))
        .expect("truncates");
    traffic.wait_for_more(100);
    fs::remove_file(&base).expect("it is there");
    traffic.wait_for_more(100);
    fs::write(&current, "{ this is no manifest").expect("room for it");
    wait_for_refusal(&gateway);
    traffic.wait_for_more(100);
    fs::remove_file(&current).expect("it is there");
    wait_for_refusal(&gateway);
    traffic.wait_for_more(100);
    traffic.stop().assert_all(200);
    assert!(gateway.runs());
    assert_eq!(gateway.ask_admin("/readyz").status, 200);
    // And the way back is open.
    gateway.generation = 10;
    gateway.publish(|world| world.fixture.apps[0].enabled = false);
    gateway.get().assert_refusal(401, "key-refused");
}

#[test]
fn a_snapshot_that_is_damaged_is_refused_and_the_last_good_one_stays() {
    let origin = Origin::echo();
    let mut gateway = Gateway::before(&origin);
    let request = gateway.good();
    let traffic = Traffic::of(gateway.listen, 2, &request);
    gateway.publish_damaged(
        |world| world.fixture.apps[0].enabled = false,
        |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        },
    );
    let reason = wait_for_refusal(&gateway);
    assert!(reason.contains("base-"), "{reason}");
    traffic.wait_for_more(50);
    traffic.stop().assert_all(200);
    assert_eq!(gateway.status_of_workers(), [1, 1]);
    assert!(
        gateway
            .metrics()
            .sum("keyway_snapshot_load_failures_total", &[])
            >= 1.0
    );
    assert_eq!(gateway.ask_admin("/readyz").status, 200);
    assert!(gateway.stderr().contains("refused"), "{}", gateway.stderr());
    gateway.publish(|_| {});
    gateway.get().assert_refusal(401, "key-refused");
    assert!(gateway.status()["snapshot_error"].is_null());
}

#[test]
fn a_snapshot_that_is_cut_short_is_refused_and_the_last_good_one_stays() {
    let origin = Origin::echo();
    let mut gateway = Gateway::before(&origin);
    gateway.publish_damaged(|_| {}, |bytes| bytes.truncate(bytes.len() / 2));
    wait_for_refusal(&gateway);
    gateway.get().assert_status(200);
    assert_eq!(gateway.status_of_workers(), [1, 1]);
}

#[test]
fn a_step_back_that_nobody_signed_is_refused() {
    let origin = Origin::echo();
    let mut gateway = Gateway::before(&origin);
    let (_, current) = gateway.live_files();
    let old = fs::read(&current).expect("it is published");
    gateway.publish(|world| world.fixture.apps[0].enabled = false);
    gateway.get().assert_refusal(401, "key-refused");
    fs::write(&current, old).expect("room for it");
    let reason = wait_for_refusal(&gateway);
    assert!(reason.contains("generation"), "{reason}");
    gateway.get().assert_refusal(401, "key-refused");
    assert_eq!(gateway.status_of_workers(), [2, 2]);
}

#[test]
fn a_snapshot_without_most_of_the_keys_is_refused_unless_it_is_meant() {
    let origin = Origin::echo();
    let mut world = World::before(&[origin.address]);
    for _ in 0..9 {
        world.mint();
    }
    let mut gateway = Gateway::over(world).start();
    gateway.publish_unseen(|world| drop(world.fixture.keys.drain(1..)));
    wait_for_refusal(&gateway);
    gateway.get().assert_status(200);
    assert_eq!(gateway.status()["snapshot"]["keys"], 10);
    gateway.publish(|world| world.fixture.allow_shrink = true);
    gateway.get().assert_status(200);
    assert_eq!(gateway.status()["snapshot"]["keys"], 1);
}

#[test]
fn a_key_expires_by_itself_with_nobody_to_say_so() {
    let origin = Origin::echo();
    let mut world = World::before(&[origin.address]);
    let end = seconds_since_1970() + 3;
    let ending = world.mint_as(|record| record.not_after_s = end);
    let coming = world.mint_as(|record| record.not_before_s = end);
    let gateway = Gateway::over(world).start();
    let mut client = gateway.client();
    let mut ask = |key: &str| client.exchange(&get("/orders/1").key(key)).status;
    if seconds_since_1970() < end {
        let (ending, coming) = (ask(&ending), ask(&coming));
        assert!(seconds_since_1970() >= end || (ending, coming) == (200, 401));
    }
    wait::until("the key to end", || ask(&ending) == 401);
    assert!(seconds_since_1970() >= end, "it ended too early");
    assert_eq!(ask(&coming), 200);
}

#[test]
fn a_node_that_starts_again_serves_what_lies_in_its_directory() {
    let origin = Origin::echo();
    let mut gateway = Gateway::before(&origin);
    gateway.publish(|_| {});
    gateway.get().assert_status(200);
    let gateway = gateway.restart();
    gateway.wait_for_generation(2);
    gateway.get().assert_status(200);
}
