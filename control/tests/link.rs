//! The link over its real socket: receipts that tell the truth, usage that counts once.

use keyway::link::protocol::{ControlMessage, NodeMessage, PROTOCOL};
use keyway_control::domain::KeyId;
use keyway_control::fixture::{FakeNode, Running, change, lay_out, new_key};
use keyway_control::fixture::{message, segment, this_minute};
use keyway_control::publish::Receipt;
use keyway_control::store::{Step, UsageFilter};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// Long enough for any machine; no test waits for it to pass.
const LONG: Duration = Duration::from_secs(60);
/// Short: tests that let it pass want the receipt of somebody late.
const SHORT: Duration = Duration::from_millis(200);

async fn with_key(running: &Running) -> KeyId {
    let key = running
        .change(|tx| {
            let app = lay_out(tx)?.app;
            tx.key_create(new_key(app, 0))
        })
        .await;
    key.id
}

/// Revokes the key; answers the change's number.
async fn revoke(running: &Running, id: KeyId) -> u64 {
    change(&running.store, move |tx| tx.key_revoke(id))
        .await
        .expect("revokes")
        .generation
}

fn late(receipt: &Receipt) -> Vec<&str> {
    receipt
        .nodes
        .iter()
        .filter(|node| !node.enforced)
        .map(|node| node.node.as_str())
        .collect()
}

#[tokio::test]
async fn a_receipt_is_complete_when_every_node_serves_the_change() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path()).await;
    let id = with_key(&running).await;
    let mut first = FakeNode::connect(&running.socket, "edge-1", 1, 0).await;
    let mut second = FakeNode::connect(&running.socket, "edge-2", 2, 0).await;
    // Each has greeted once it hears what is served.
    let served = first.announced(1).await;
    second.announced(1).await;
    first.serve(served).await;
    second.serve(served).await;
    let revoked = revoke(&running, id).await;
    let nodes = async {
        for node in [&mut first, &mut second] {
            let generation = node.announced(revoked).await;
            node.serve(generation).await;
        }
    };
    let (receipt, ()) = tokio::join!(running.publisher.enforced(revoked, LONG), nodes);
    assert!(receipt.complete, "{receipt:?}");
    assert!(receipt.generation >= revoked);
    assert_eq!(receipt.nodes.len(), 2);
    assert!(
        receipt
            .nodes
            .iter()
            .all(|node| node.workers == 2 && node.elapsed_ms.is_some())
    );
    assert_eq!(receipt.problem, None);
}

#[tokio::test]
async fn a_node_that_never_answers_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path()).await;
    let id = with_key(&running).await;
    let mut good = FakeNode::connect(&running.socket, "good", 1, 0).await;
    let mut mute = FakeNode::connect(&running.socket, "mute", 2, 0).await;
    good.announced(1).await;
    mute.announced(1).await;
    let revoked = revoke(&running, id).await;
    let generation = good.announced(revoked).await;
    good.serve(generation).await;
    let receipt = running.publisher.enforced(revoked, SHORT).await;
    assert!(!receipt.complete, "{receipt:?}");
    assert_eq!(late(&receipt), ["mute"]);
    mute.serve(generation).await;
    let receipt = running.publisher.enforced(revoked, LONG).await;
    assert!(receipt.complete, "late is not never: {receipt:?}");
}

#[tokio::test]
async fn a_node_that_refuses_is_named_with_its_reason() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path()).await;
    let id = with_key(&running).await;
    let mut node = FakeNode::connect(&running.socket, "edge-1", 1, 0).await;
    let revoked = revoke(&running, id).await;
    let generation = node.announced(revoked).await;
    let reason = "a checksum is wrong".to_owned();
    node.say(&NodeMessage::Refused { generation, reason }).await;
    let receipt = running.publisher.enforced(revoked, SHORT).await;
    assert!(!receipt.complete);
    let refused = receipt.nodes[0].refused.as_deref().expect("said");
    assert!(refused.contains("a checksum is wrong"), "{refused}");
}

#[tokio::test]
async fn without_a_node_a_receipt_proves_nothing_and_does_not_wait() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path()).await;
    let id = with_key(&running).await;
    let revoked = revoke(&running, id).await;
    let receipt = running.publisher.enforced(revoked, LONG).await;
    assert!(!receipt.complete);
    assert!(
        receipt.generation >= revoked,
        "it is published all the same"
    );
    assert!(receipt.nodes.is_empty());
}

#[tokio::test]
async fn a_node_that_lost_its_link_is_waited_for_also_after_a_restart_of_control() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path()).await;
    let id = with_key(&running).await;
    let mut node = FakeNode::connect(&running.socket, "edge-1", 1, 0).await;
    node.announced(1).await;
    // Noted in the store once it is on the board and the link task had its turn.
    loop {
        if !running
            .store
            .read(|rows| rows.nodes())
            .await
            .expect("reads")
            .is_empty()
        {
            break;
        }
        tokio::task::yield_now().await;
    }
    running.stop().await;
    drop(node);
    let running = Running::start(directory.path()).await;
    let revoked = revoke(&running, id).await;
    let receipt = running.publisher.enforced(revoked, SHORT).await;
    assert!(
        !receipt.complete,
        "its process, which is this one, still lives: {receipt:?}"
    );
    assert_eq!(late(&receipt), ["edge-1"]);
    assert!(!receipt.nodes[0].connected);
    let mut node = FakeNode::connect(&running.socket, "edge-1", 1, 0).await;
    let generation = node.announced(revoked).await;
    node.serve(generation).await;
    assert!(running.publisher.enforced(revoked, LONG).await.complete);
}

#[tokio::test]
async fn usage_that_comes_again_counts_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path()).await;
    let id = with_key(&running).await;
    let now = this_minute();
    let usage =
        |sequence, requests| message(&segment(1, sequence, &[(now, Some(id), 2, requests)]));
    // The link breaks before the acknowledgment arrives: the node sends again.
    for sent in [
        vec![(1, 5)],
        vec![(1, 5), (1, 5), (2, 7)],
        vec![(2, 7), (3, 11)],
    ] {
        let mut node = FakeNode::connect(&running.socket, "edge-1", 1, 0).await;
        for &(sequence, requests) in &sent {
            node.say(&usage(sequence, requests)).await;
        }
        let mut acks = Vec::new();
        while acks.len() < sent.len() {
            if let ControlMessage::SegmentAck { boot, sequence } = node.hear().await.expect("acks")
            {
                assert_eq!(boot, 1);
                acks.push(sequence);
            }
        }
        assert_eq!(
            acks,
            sent.iter()
                .map(|(sequence, _)| *sequence)
                .collect::<Vec<_>>()
        );
    }
    let filter = UsageFilter {
        key: Some(id),
        to_ms: u64::MAX >> 12,
        ..UsageFilter::default()
    };
    let usage = running
        .store
        .read(move |rows| rows.usage(&filter, None, Step::Day, true))
        .await;
    let total: u64 = usage.expect("reads").iter().map(|sum| sum.requests).sum();
    assert_eq!(total, 5 + 7 + 11);
}

#[tokio::test]
async fn a_peer_that_makes_no_sense_is_hung_up_on_and_others_are_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path()).await;
    with_key(&running).await;
    let mut good = FakeNode::connect(&running.socket, "good", 1, 0).await;
    good.announced(1).await;
    let mut other_protocol = String::new();
    other_protocol.push_str(r#"{"type":"hello","protocol":99,"node":"x","version":"0","boot":1,"#);
    other_protocol.push_str("\"workers\":1,\"driver\":\"\",\"generation\":0}\n");
    assert_ne!(PROTOCOL, 99);
    let endless = vec![b'x'; 2 << 20];
    for bytes in [
        b"nonsense\n".as_slice(),
        b"{}\n",
        other_protocol.as_bytes(),
        &endless,
    ] {
        let stream = tokio::net::UnixStream::connect(&running.socket)
            .await
            .expect("connects");
        let mut peer = FakeNode::of(stream);
        peer.say_raw(bytes).await;
        assert_eq!(peer.hear().await, None, "hung up");
    }
    // What is no segment is lost; the node is told to forget it, and goes on.
    let mut bent = FakeNode::connect(&running.socket, "bent", 1, 0).await;
    bent.announced(1).await;
    for (sequence, data) in [(1, "!"), (2, "AAAA")] {
        bent.say(&NodeMessage::Segment {
            boot: 1,
            sequence,
            data: data.to_owned(),
        })
        .await;
        let ack = ControlMessage::SegmentAck { boot: 1, sequence };
        assert_eq!(bent.hear().await, Some(ack));
    }
    let id = KeyId::new(1).expect("not zero");
    let revoked = revoke(&running, id).await;
    good.announced(revoked).await;
}

#[tokio::test]
async fn the_socket_is_its_owners_alone_and_a_stale_one_is_replaced() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path()).await;
    let mode = std::fs::metadata(&running.socket)
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let socket = running.socket.clone();
    running.stop().await;
    assert!(socket.exists(), "left behind, as by a kill");
    let running = Running::start(directory.path()).await;
    with_key(&running).await;
    let mut node = FakeNode::connect(&running.socket, "edge-1", 1, 0).await;
    node.announced(1).await;
}

#[tokio::test]
async fn a_receipt_is_kept_for_whoever_asks_later() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path()).await;
    with_key(&running).await;
    let mut node = FakeNode::connect(&running.socket, "edge-1", 1, 0).await;
    let generation = node.announced(1).await;
    node.serve(generation).await;
    let kept = loop {
        let kept = running
            .store
            .read(move |rows| rows.receipts(generation))
            .await;
        match kept.expect("reads").pop() {
            Some(kept) => break kept,
            None => tokio::task::yield_now().await,
        }
    };
    assert_eq!((kept.node.as_str(), kept.workers), ("edge-1", 2));
}
