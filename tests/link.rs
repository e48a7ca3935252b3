//! The link as control sees it: greetings, receipts and usage over a real socket.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use keyway::link::protocol::{ControlMessage, NodeMessage};
use keyway::record::segment::SegmentRow;
use keyway::snapshot::record::KeyState;
use support::control::{Control, NodeLine};
use support::gateway::Setup;
use support::{Gateway, Origin, Traffic, World, get, wait};

fn linked(world: World) -> Setup {
    Gateway::over(world).setting("link.socket = \"control.sock\"")
}

/// The generation of the next receipt, and that of each worker.
fn receipt(line: &mut NodeLine) -> (u64, Vec<u64>) {
    line.hear_until(|message| match message {
        NodeMessage::Serving {
            generation,
            workers,
            ..
        } => Some((generation, workers)),
        _ => None,
    })
}

#[test]
fn a_node_greets_and_sends_the_receipt_of_what_it_serves() {
    let origin = Origin::echo();
    let gateway = linked(World::before(&[origin.address])).start();
    let control = Control::at(&gateway.path("control.sock"));
    let mut line = control.accept();
    let NodeMessage::Hello {
        protocol,
        node,
        workers,
        generation,
        driver,
        ..
    } = line.hear()
    else {
        panic!("the first word is a greeting");
    };
    assert_eq!(
        (protocol, node.as_str(), workers, generation),
        (1, "edge-test", 2, 1)
    );
    assert_eq!(gateway.status()["driver"], driver.as_str());
    assert_eq!(receipt(&mut line), (1, vec![1, 1]));
    wait::until("the link to be shown", || {
        gateway.status()["link"]["connected"] == true
    });
}

#[test]
fn an_announced_revocation_is_enforced_when_its_receipt_comes() {
    let origin = Origin::echo();
    let mut gateway = linked(World::before(&[origin.address])).start();
    let control = Control::at(&gateway.path("control.sock"));
    let mut line = control.accept();
    assert_eq!(receipt(&mut line).0, 1);
    let traffic = Traffic::of(gateway.listen, 4, &gateway.good());
    traffic.wait_for_more(20);
    let mut enforced = Duration::ZERO;
    for generation in 2..12 {
        // On and off, so that every receipt can be told from the one before.
        let state = if generation % 2 == 0 {
            KeyState::Revoked
        } else {
            KeyState::Active
        };
        gateway.publish_unseen(|world| {
            let key = world.key.clone();
            world.record(&key).state = state;
        });
        let announced = wait::now();
        line.say(&ControlMessage::Announce { generation });
        assert_eq!(receipt(&mut line), (generation, vec![generation; 2]));
        enforced = enforced.max(announced.elapsed());
        // From here on no worker may judge by the generation before.
        let expected = if state == KeyState::Active { 200 } else { 401 };
        for _ in 0..8 {
            assert_eq!(
                gateway.get().status,
                expected,
                "after the receipt of {generation}"
            );
        }
    }
    let tally = traffic.stop();
    assert_eq!(tally.faults, [""; 0]);
    assert!(tally.count(401) > 0 && tally.count(200) > 0, "{tally:?}");
    // The poll alone would take a second; the machine may be busy.
    assert!(enforced < Duration::from_secs(5), "{enforced:?}");
}

#[test]
fn a_snapshot_that_is_refused_is_told_with_its_reason() {
    let origin = Origin::echo();
    let mut gateway = linked(World::before(&[origin.address])).start();
    let control = Control::at(&gateway.path("control.sock"));
    let mut line = control.accept();
    gateway.publish_damaged(|_| {}, |bytes| bytes.truncate(100));
    line.say(&ControlMessage::Announce { generation: 2 });
    let (generation, reason) = line.hear_until(|message| match message {
        NodeMessage::Refused { generation, reason } => Some((generation, reason)),
        _ => None,
    });
    assert_eq!(generation, 2);
    assert!(!reason.is_empty());
    gateway.get().assert_status(200);
}

/// Requests by status class, of batches that are each counted once however often they come.
#[derive(Debug, Default)]
struct Ledger {
    batches: BTreeMap<(u64, u64), Vec<SegmentRow>>,
}

impl Ledger {
    /// Hears until `requests` are in the book; acknowledges where told to.
    fn hear(&mut self, line: &mut NodeLine, requests: u64, acknowledge: bool) {
        while self.requests(None) < requests {
            let (boot, sequence, segment) = line.hear_segment();
            let rows = segment.rows;
            if let Some(seen) = self.batches.get(&(boot, sequence)) {
                assert_eq!(*seen, rows, "a batch that comes again is the same");
            }
            self.batches.insert((boot, sequence), rows);
            if acknowledge {
                line.say(&ControlMessage::SegmentAck { boot, sequence });
            } else {
                return;
            }
        }
    }

    fn requests(&self, class: Option<u8>) -> u64 {
        let rows = self.batches.values().flatten();
        let wanted = rows.filter(|row| class.is_none_or(|class| row.counted.class == class));
        wanted.map(|row| row.requests).sum()
    }
}

#[test]
fn usage_is_counted_exactly_once_though_control_comes_and_goes() {
    let origin = Origin::echo();
    let mut gateway = linked(World::before(&[origin.address])).start();
    let key = gateway.world.key.clone();
    let id = gateway.world.record(&key).id;
    let mut ledger = Ledger::default();
    let control = Control::at(&gateway.path("control.sock"));
    let mut line = control.accept();
    for _ in 0..30 {
        gateway.get().assert_status(200);
    }
    // Heard, not acknowledged: control died before it had written it down.
    ledger.hear(&mut line, 1, false);
    drop(line);
    drop(control);
    for _ in 0..10 {
        gateway
            .exchange(&get("/orders/1").key("kw_live_x"))
            .assert_status(401);
    }
    let control = Control::at(&gateway.path("control.sock"));
    let mut line = control.accept();
    ledger.hear(&mut line, 40, true);
    assert_eq!(
        (ledger.requests(Some(2)), ledger.requests(Some(4))),
        (30, 10)
    );
    let named = ledger
        .batches
        .values()
        .flatten()
        .filter(|row| row.counted.class == 2);
    assert!(
        named
            .into_iter()
            .all(|row| row.counted.key == Some(id) && row.counted.api == 1)
    );
    wait::until("the node to forget what is written down", || {
        gateway.status()["link"]["usage_segments_waiting"] == 0
    });
    assert_eq!(gateway.metrics().sum("keyway_usage_lost_total", &[]), 0.0);
}

#[test]
fn usage_of_a_killed_node_comes_with_the_next_start_and_counts_once() {
    let origin = Origin::echo();
    let state = tempfile::tempdir().expect("a directory");
    let setup = linked(World::before(&[origin.address]));
    let setup = setup.setting(&format!("state.directory = {:?}", state.path()));
    let gateway = setup.start();
    gateway.get().assert_status(200);
    wait::until("the first to be sealed, and nobody to take it", || {
        gateway.status()["link"]["usage_segments_waiting"] == 1
    });
    // The count that is open now stays so for long.
    (0..24).for_each(|_| gateway.get().assert_status(200));
    // What is older than a second is on the disk; a busy machine is late.
    let asked = wait::now();
    wait::until("two seconds to pass", || {
        asked.elapsed() >= Duration::from_secs(2)
    });
    gateway.signal(nix::sys::signal::Signal::SIGKILL);
    let gateway = gateway.restart();
    let recovered = gateway.metrics().sum("keyway_usage_recovered_total", &[]);
    assert_eq!(recovered, 24.0, "{}", gateway.stderr());
    (0..5).for_each(|_| gateway.get().assert_status(200));
    let control = Control::at(&gateway.path("control.sock"));
    let mut ledger = Ledger::default();
    // Heard, and not acknowledged: it comes again.
    ledger.hear(&mut control.accept(), 1, false);
    ledger.hear(&mut control.accept(), 30, true);
    assert_eq!(ledger.requests(None), 30);
    wait::until("the node to forget what is written down", || {
        gateway.status()["link"]["usage_segments_waiting"] == 0
    });
}

#[test]
fn without_control_the_node_serves_and_follows_its_directory() {
    let origin = Origin::echo();
    let mut gateway = linked(World::before(&[origin.address])).start();
    gateway.get().assert_status(200);
    gateway.publish(|world| world.fixture.apps[0].enabled = false);
    gateway.get().assert_refusal(401, "key-refused");
    gateway.ask_admin("/readyz").assert_status(200);
    assert_eq!(gateway.status()["link"]["connected"], false);
}
