//! The link against a control process on a real socket and workers on real threads.

use super::protocol::{ControlMessage, LINE_BYTES_MAX, NodeMessage};
use super::testing::{Bench, FakeControl, FakeNode, FakeSession, until};
use crate::record::latency::Latency;
use crate::record::segment::{Counted, Segment, SegmentRow};
use crate::record::usage::UsageNews;
use crate::snapshot::fixture::Fixture;
use crate::snapshot::ids::KeyId;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;

struct Site {
    _directory: TempDir,
    snapshots: PathBuf,
    socket: PathBuf,
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("makes a directory");
        let (snapshots, socket) = (
            directory.path().join("snapshots"),
            directory.path().join("control.sock"),
        );
        std::fs::create_dir(&snapshots).expect("makes a directory");
        Self {
            _directory: directory,
            snapshots,
            socket,
        }
    }

    fn publish(&self, generation: u64) {
        Fixture::small()
            .publish(&self.snapshots, generation)
            .expect("publishes");
    }

    fn bench(&self, workers: usize) -> Bench {
        Bench::new(&self.snapshots, workers, Some(&self.socket))
    }

    /// A node that looks at the directory at its start and when control asks, not by itself.
    fn patient_bench(&self, workers: usize) -> Bench {
        let hour = Duration::from_secs(3_600);
        Bench::polling(&self.snapshots, workers, Some(&self.socket), hour)
    }
}

fn row(key: u64, requests: u64) -> SegmentRow {
    SegmentRow {
        counted: Counted {
            minute: 1,
            key: KeyId::new(key),
            api: 1,
            route: 0,
            class: 2,
            refusal: 0,
        },
        requests,
        bytes_in: 0,
        bytes_out: 0,
        latency: Latency::default(),
    }
}

/// The next receipt, whatever else the node says.
fn receipt(session: &mut FakeSession) -> (u64, Vec<u64>, u64) {
    loop {
        if let NodeMessage::Serving {
            generation,
            workers,
            elapsed_ms,
        } = session.message()
        {
            return (generation, workers, elapsed_ms);
        }
    }
}

fn usage(session: &mut FakeSession) -> (u64, u64, Vec<SegmentRow>) {
    loop {
        if let NodeMessage::Segment {
            boot,
            sequence,
            data,
        } = session.message()
        {
            let bytes = STANDARD.decode(data).expect("is base64");
            let segment = Segment::decode(&bytes).expect("is a segment");
            assert_eq!((segment.boot, segment.sequence), (boot, sequence));
            assert_eq!(segment.node, "edge-1");
            return (boot, sequence, segment.rows);
        }
    }
}

fn push(node: &FakeNode, worker: usize, rows: &[SegmentRow]) {
    node.workers[worker].handle.usage.push(UsageNews {
        rows: rows.to_vec(),
        refused_clients: Vec::new(),
    });
}

#[test]
fn a_node_says_hello_and_then_what_it_serves() {
    let site = Site::new();
    site.publish(3);
    let control = FakeControl::listen(&site.socket);
    let mut bench = site.bench(2);
    bench.feed.look(None);
    let node = bench.start();
    until("both workers serve", || node.state.unready().is_none());
    let mut session = control.accept();
    let NodeMessage::Hello {
        protocol: 1,
        node: name,
        workers: 2,
        driver,
        boot,
        ..
    } = session.read()
    else {
        panic!("the first message must be hello");
    };
    assert_eq!((name.as_str(), driver.as_str()), ("edge-1", "epoll"));
    assert!(boot < 1 << 53);
    let (generation, workers, _) = receipt(&mut session);
    assert_eq!((generation, workers), (3, vec![3, 3]));
    node.stop(0);
}

#[test]
fn an_announced_generation_is_served_and_receipted_by_every_worker() {
    let site = Site::new();
    site.publish(1);
    let control = FakeControl::listen(&site.socket);
    let node = site.patient_bench(3).start();
    let mut session = control.accept();
    assert_eq!(receipt(&mut session).0, 1);
    for generation in 2..30 {
        site.publish(generation);
        session.announce(generation);
        let (served, workers, _) = receipt(&mut session);
        assert_eq!((served, workers), (generation, vec![generation; 3]));
    }
    node.stop(0);
}

#[test]
fn a_receipt_waits_for_the_last_worker() {
    let site = Site::new();
    site.publish(1);
    let control = FakeControl::listen(&site.socket);
    let mut bench = site.bench(2);
    let late = bench.seats.pop().expect("has two");
    let mut node = bench.start();
    let mut session = control.accept();
    let early = std::sync::Arc::clone(&node.workers[0].handle);
    until("the first worker serves", || early.slot.served() == 1);
    // Were there a receipt, the usage row below would come after it.
    early.usage.push(UsageNews {
        rows: vec![row(1, 1)],
        refused_clients: Vec::new(),
    });
    assert!(matches!(session.message(), NodeMessage::Segment { .. }));
    node.workers.push(super::testing::FakeWorker::start(late));
    assert_eq!(receipt(&mut session).1, [1, 1]);
    node.stop(0);
}

#[test]
fn a_worker_that_died_does_not_hold_receipts_back() {
    let site = Site::new();
    site.publish(1);
    let control = FakeControl::listen(&site.socket);
    let mut bench = site.bench(2);
    let dead = bench.seats.pop().expect("has two");
    drop(super::worker_handle::EndReport(dead.handle));
    let node = bench.start();
    assert_eq!(receipt(&mut control.accept()).1, [1]);
    assert_eq!(node.state.unready().as_deref(), Some("worker 1 has ended"));
    node.stop(0);
}

#[test]
fn without_control_the_directory_is_followed() {
    let site = Site::new();
    let node = Bench::new(&site.snapshots, 2, None).start();
    assert!(
        node.state
            .unready()
            .expect("is not ready")
            .contains("worker 0 has no snapshot")
    );
    site.publish(1);
    until("the first generation is served", || {
        node.state.unready().is_none()
    });
    site.publish(2);
    let served = |generation| {
        node.workers
            .iter()
            .all(|w| w.handle.slot.served() == generation)
    };
    until("the second generation is served", || served(2));
    assert_eq!(node.state.link.snapshot().expect("is known").generation, 2);
    node.stop(0);
}

#[test]
fn a_bad_snapshot_is_refused_with_its_reason_and_the_last_good_one_serves_on() {
    let site = Site::new();
    site.publish(1);
    let control = FakeControl::listen(&site.socket);
    let node = site.patient_bench(2).start();
    let mut session = control.accept();
    assert_eq!(receipt(&mut session).0, 1);

    site.publish(2);
    let file = site.snapshots.join(format!("base-{:020}.kws", 2));
    let mut bytes = std::fs::read(&file).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).expect("writes");
    session.announce(2);
    let NodeMessage::Refused {
        generation: 2,
        reason,
    } = session.message()
    else {
        panic!("must be refused");
    };
    assert!(reason.contains("base-00000000000000000002.kws"), "{reason}");
    assert!(
        node.workers
            .iter()
            .all(|worker| worker.handle.slot.served() == 1)
    );
    assert_eq!(node.state.link.load_error(), Some(reason));
    assert!(node.state.link.load_failures.load(Ordering::Relaxed) >= 1);
    assert_eq!(node.state.unready(), None, "the last good one serves");

    site.publish(3);
    session.announce(3);
    assert_eq!(receipt(&mut session).0, 3);
    assert_eq!(node.state.link.load_error(), None);
    node.stop(0);
}

#[test]
fn a_control_process_that_comes_back_hears_of_the_refusal_again() {
    let site = Site::new();
    std::fs::write(site.snapshots.join("CURRENT"), "garbage").expect("writes");
    let control = FakeControl::listen(&site.socket);
    let node = site.bench(1).start();
    drop(control.accept());
    let refused = control.accept().message();
    assert!(
        matches!(refused, NodeMessage::Refused { generation: 0, .. }),
        "{refused:?}"
    );
    node.stop(0);
}

#[test]
fn a_snapshot_made_with_a_pepper_this_node_lacks_is_refused() {
    let site = Site::new();
    let mut fixture = Fixture::small();
    for key in &mut fixture.keys {
        key.pepper = 9;
    }
    fixture.publish(&site.snapshots, 1).expect("publishes");
    let node = Bench::new(&site.snapshots, 1, None).start();
    until("it is refused", || node.state.link.load_error().is_some());
    let reason = node.state.link.load_error().expect("is there");
    assert!(reason.contains("pepper 9"), "{reason}");
    node.stop(0);
}

#[test]
fn usage_is_sent_again_until_it_is_acknowledged() {
    let site = Site::new();
    site.publish(1);
    let control = FakeControl::listen(&site.socket);
    let node = site.bench(2).start();
    let mut session = control.accept();
    push(&node, 0, &[row(1, 5)]);
    push(&node, 1, &[row(1, 2), row(2, 1)]);
    let first = usage(&mut session);
    // The connection breaks before the acknowledgment.
    drop(session);
    let mut session = control.accept();
    let again = usage(&mut session);
    assert_eq!(again, first);
    assert_eq!(again.1, 1);
    session.say(&ControlMessage::SegmentAck {
        boot: again.0,
        sequence: again.1,
    });
    push(&node, 0, &[row(1, 9)]);
    let (_, sequence, rows) = usage(&mut session);
    assert_eq!(sequence, 2);
    let mut counted: u64 = first.2.iter().chain(&rows).map(|row| row.requests).sum();
    session.say(&ControlMessage::SegmentAck {
        boot: again.0,
        sequence,
    });
    while counted < 17 {
        let (boot, sequence, rows) = usage(&mut session);
        counted += rows.iter().map(|row| row.requests).sum::<u64>();
        session.say(&ControlMessage::SegmentAck { boot, sequence });
    }
    until("all is acknowledged", || {
        node.state.spool.shipped.load(Ordering::Relaxed) == 17
    });
    until("nothing waits", || {
        node.state.spool.segments.load(Ordering::Relaxed) == 0
    });
    node.stop(0);
}

#[test]
fn the_last_usage_is_shipped_before_the_end() {
    let site = Site::new();
    site.publish(1);
    let control = FakeControl::listen(&site.socket);
    let node = site.patient_bench(1).start();
    let mut session = control.accept();
    assert_eq!(receipt(&mut session).0, 1);
    push(&node, 0, &[row(1, 3)]);
    let ending = std::thread::spawn(move || {
        let state = std::sync::Arc::clone(&node.state);
        node.stop(20_000);
        state.spool.shipped.load(Ordering::Relaxed)
    });
    let (boot, sequence, rows) = usage(&mut session);
    assert_eq!(rows, [row(1, 3)]);
    session.say(&ControlMessage::SegmentAck { boot, sequence });
    assert_eq!(ending.join().expect("ends well"), 3);
}

#[test]
fn a_control_process_that_never_acknowledges_cannot_hold_the_end_up() {
    let site = Site::new();
    site.publish(1);
    let control = FakeControl::listen(&site.socket);
    let node = site.patient_bench(1).start();
    let mut session = control.accept();
    assert_eq!(receipt(&mut session).0, 1);
    push(&node, 0, &[row(1, 3)]);
    node.stop(50);
}

#[test]
fn garbage_from_control_ends_the_connection_and_the_node_comes_again() {
    let site = Site::new();
    site.publish(1);
    let control = FakeControl::listen(&site.socket);
    let node = site.bench(1).start();
    for garbage in [
        &b"what?\n"[..],
        b"\n",
        b"{}\n",
        b"\xff\xfe\n",
        b"[1,2]\n",
        b"{\"type\":\"announce\"}\n",
        b"{\"type\":\"announce\",\"generation\":-1}\n",
    ] {
        let mut session = control.accept();
        session.say_raw(garbage);
        session.read_to_end();
    }
    let mut session = control.accept();
    session.say_raw(b"{\"type\":\"a_message_of_a_later_version\"}\n");
    site.publish(2);
    session.announce(2);
    until("the node serves on", || {
        node.workers[0].handle.slot.served() == 2
    });
    node.stop(0);
}

#[test]
fn a_line_without_end_is_cut_off() {
    let site = Site::new();
    let control = FakeControl::listen(&site.socket);
    let node = site.bench(1).start();
    let mut session = control.accept();
    session.say_raw(&vec![b' '; LINE_BYTES_MAX + 1]);
    session.read_to_end();
    until("it is told", || {
        node.state
            .link
            .link_error()
            .is_some_and(|error| error.contains("more than 1048576"))
            || node.state.link.connects.load(Ordering::Relaxed) > 1
    });
    drop(control.accept());
    node.stop(0);
}

#[test]
fn a_control_process_that_reads_nothing_is_given_up() {
    let site = Site::new();
    let control = FakeControl::listen(&site.socket);
    let node = site.bench(1).start();
    let mut deaf = control.accept();
    // Each asks for a load of nothing, which is answered with a refusal that nobody reads.
    std::fs::write(site.snapshots.join("CURRENT"), "garbage").expect("writes");
    let mut announced = 1;
    until("the node gave up", || {
        deaf.announce(announced);
        announced += 1;
        node.state.link.connects.load(Ordering::Relaxed) > 1
            || !node.state.link.connected.load(Ordering::Relaxed)
    });
    drop(deaf);
    drop(control.accept());
    node.stop(0);
}

#[test]
fn a_node_whose_control_is_gone_serves_on_and_says_so() {
    let site = Site::new();
    site.publish(1);
    let control = FakeControl::listen(&site.socket);
    let node = site.bench(1).start();
    drop(control.accept());
    drop(control);
    std::fs::remove_file(&site.socket).expect("removes");
    until("the loss is seen", || {
        node.state
            .link
            .link_error()
            .is_some_and(|error| error.contains("cannot connect"))
    });
    assert!(!node.state.link.connected.load(Ordering::Relaxed));
    site.publish(2);
    until("the directory is still followed", || {
        node.workers[0].handle.slot.served() == 2
    });
    let control = FakeControl::listen(&site.socket);
    assert_eq!(receipt(&mut control.accept()).0, 2);
    assert_eq!(node.state.link.link_error(), None);
    node.stop(0);
}
