//! One node's connection, from its greeting to its end.
//!
//! Two halves run side by side: one reads and answers, the other announces. An announcement never
//! waits for a batch of usage that is being written.

use super::lines::{LineError, read_line};
use super::listen::Context;
use crate::ingest::{self, IngestError};
use crate::publish::board::{Greeting, LinkId, NodeStart};
use crate::publish::process::Process;
use crate::store::{Author, KnownNode, NodeDone};
use keyway::link::protocol::{self, ControlMessage, LINE_BYTES_MAX, NodeMessage, PROTOCOL};
use keyway::record::segment::SegmentError;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// How long a peer may take to say who it is.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers that may wait to be written; a node that does not read them stops being read.
const ANSWERS_WAITING_MAX: usize = 64;
/// Longest name a node may have, bytes.
const NODE_NAME_BYTES_MAX: usize = 255;
/// Longest reason that is kept, bytes.
const REASON_BYTES_MAX: usize = 1_000;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum LinkEnd {
    #[error("it did not say who it is in time")]
    Silent,
    #[error("its first line is no greeting")]
    Unannounced,
    #[error("it speaks protocol {0}, this side speaks {PROTOCOL}")]
    Protocol(u32),
    #[error("a line is no message: {0}")]
    Nonsense(serde_json::Error),
    #[error("it greeted twice, or spoke of another start than its own")]
    OtherStart,
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("usage could not be kept: {0}")]
    Store(#[from] crate::store::StoreError),
    #[error("it does not read")]
    Deaf,
}

/// Serves one node until it leaves.
pub(super) async fn serve(stream: UnixStream, context: Context) {
    let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
    let process = pid
        .and_then(|pid| u32::try_from(pid).ok())
        .and_then(Process::of_pid);
    let (read, write) = stream.into_split();
    let mut peer = Peer {
        reader: BufReader::new(read),
        line: Vec::new(),
    };
    let greeting = tokio::time::timeout(GREETING_TIMEOUT, peer.greeting(process)).await;
    let greeting = match greeting.unwrap_or(Err(LinkEnd::Silent)) {
        Ok(Some(greeting)) => greeting,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(%error, "a peer of the link was turned away");
            return;
        }
    };
    let start = greeting.start.clone();
    let link = context.board.greet(greeting.clone());
    tracing::info!(
        node = start.node,
        workers = greeting.workers,
        "a node is connected"
    );
    remember(&context, &greeting).await;
    let outcome = converse(&mut peer, write, &context, &start).await;
    leave(&context, &start, link, outcome);
}

async fn converse(
    peer: &mut Peer,
    write: OwnedWriteHalf,
    context: &Context,
    start: &NodeStart,
) -> Result<(), LinkEnd> {
    let (answers, waiting) = mpsc::channel(ANSWERS_WAITING_MAX);
    let seat = context.board.logs().join(&start.node, answers.clone());
    let announce = announce(write, waiting, context);
    let listen = async {
        while let Some(message) = peer.message().await? {
            match message {
                NodeMessage::LogLines { .. } | NodeMessage::LogDone { .. } => seat.heard(message),
                message => hear(message, context, start, &answers).await?,
            }
        }
        Ok(())
    };
    tokio::select! {
        outcome = listen => outcome,
        // It ends when the node's side is closed for writing: so is the conversation.
        () = announce => Ok(()),
    }
}

/// The reading half.
struct Peer {
    reader: BufReader<OwnedReadHalf>,
    line: Vec<u8>,
}

impl Peer {
    async fn message(&mut self) -> Result<Option<NodeMessage>, LinkEnd> {
        if !read_line(&mut self.reader, LINE_BYTES_MAX, &mut self.line).await? {
            return Ok(None);
        }
        protocol::read_line(&self.line)
            .map(Some)
            .map_err(LinkEnd::Nonsense)
    }

    async fn greeting(&mut self, process: Option<Process>) -> Result<Option<Greeting>, LinkEnd> {
        match self.message().await? {
            None => Ok(None),
            Some(NodeMessage::Hello { protocol, .. }) if protocol != PROTOCOL => {
                Err(LinkEnd::Protocol(protocol))
            }
            Some(NodeMessage::Hello {
                node,
                boot,
                workers,
                generation,
                ..
            }) if node_name_is_well_formed(&node) => {
                let start = NodeStart { node, boot };
                Ok(Some(Greeting {
                    start,
                    workers,
                    generation,
                    process,
                }))
            }
            Some(_) => Err(LinkEnd::Unannounced),
        }
    }
}

/// A node's name stands in logs, receipts and pages.
fn node_name_is_well_formed(node: &str) -> bool {
    let bounded = !node.is_empty() && node.len() <= NODE_NAME_BYTES_MAX;
    bounded && !node.chars().any(|c| c.is_control() || c.is_whitespace())
}

async fn hear(
    message: NodeMessage,
    context: &Context,
    start: &NodeStart,
    answers: &mpsc::Sender<ControlMessage>,
) -> Result<(), LinkEnd> {
    match message {
        NodeMessage::Hello { .. } => Err(LinkEnd::OtherStart),
        // Of a later version; what matters to this side it also says in the old words.
        NodeMessage::Unknown => Ok(()),
        // Heard where the searches are.
        NodeMessage::LogLines { .. } | NodeMessage::LogDone { .. } => Ok(()),
        NodeMessage::Serving {
            generation,
            workers,
            ..
        } => {
            context.board.serving(start, generation);
            keep_receipt(context, start, generation, workers.len());
            Ok(())
        }
        NodeMessage::Refused { generation, reason } => {
            let reason: String = reason.chars().take(REASON_BYTES_MAX / 4).collect();
            tracing::warn!(
                node = start.node,
                generation,
                reason,
                "a node refused a generation"
            );
            context.board.refused(start, generation, reason);
            Ok(())
        }
        NodeMessage::Segment {
            boot,
            sequence,
            data,
        } => {
            let id = (start.node.as_str(), boot, sequence);
            if !count(context, id, &data).await? {
                return Ok(());
            }
            let ack = ControlMessage::SegmentAck { boot, sequence };
            answers.send(ack).await.map_err(|_| LinkEnd::Deaf)
        }
    }
}

/// Counts a segment; true if the node may forget it.
async fn count(context: &Context, id: (&str, u64, u64), data: &str) -> Result<bool, LinkEnd> {
    let (node, _, sequence) = id;
    match ingest::ingest(&context.store, id, data).await {
        Ok(_) => Ok(true),
        Err(IngestError::Store(error)) => Err(LinkEnd::Store(error)),
        Err(IngestError::Segment(SegmentError::Version(version))) => {
            tracing::error!(
                node,
                version,
                "usage has a format of a later version; the node keeps it until this program is upgraded"
            );
            Ok(false)
        }
        // The node read it before it sent it, so it will be no better the next time, and what is
        // behind it must not wait for ever.
        Err(error) => {
            tracing::error!(node, sequence, %error, "a segment of usage is lost");
            Ok(true)
        }
    }
}

fn keep_receipt(context: &Context, start: &NodeStart, generation: u64, workers: usize) {
    let Some(committed) = context.store.committed_at(generation) else {
        return;
    };
    let done = NodeDone {
        node: start.node.clone(),
        workers: u32::try_from(workers).unwrap_or(u32::MAX),
        elapsed_ms: context.board.now().since_ns(committed) / 1_000_000,
    };
    context.receipts.keep(generation, done);
}

/// The writing half: every new generation at once, and the answers of the other half.
async fn announce(
    mut write: OwnedWriteHalf,
    mut answers: mpsc::Receiver<ControlMessage>,
    context: &Context,
) {
    let mut published = context.publisher.published();
    let mut announced = 0;
    loop {
        let newest = published
            .borrow_and_update()
            .published
            .map_or(0, |p| p.generation);
        let message = if newest > announced {
            announced = newest;
            ControlMessage::Announce { generation: newest }
        } else {
            tokio::select! {
                answer = answers.recv() => match answer {
                    Some(answer) => answer,
                    None => return,
                },
                changed = published.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            }
        };
        let mut line = Vec::new();
        let written = protocol::write_line(&message, &mut line);
        if written.is_err() || write.write_all(&line).await.is_err() {
            return;
        }
    }
}

/// So that control waits for the node also after a restart of its own.
async fn remember(context: &Context, greeting: &Greeting) {
    let known = KnownNode {
        name: greeting.start.node.clone(),
        boot: greeting.start.boot,
        workers: greeting.workers,
        pid: greeting.process.map(|process| process.pid),
        started: greeting.process.map(|process| process.started),
    };
    let dead = context.board.forget_dead();
    let keep = move |tx: &mut crate::store::Tx<'_>| {
        dead.iter()
            .try_for_each(|start| tx.node_forget(&start.node, start.boot))?;
        tx.node_keep(&known)
    };
    if let Err(error) = context.store.write(Author::system(), keep).await {
        tracing::warn!(%error, "a node could not be noted");
    }
}

fn leave(context: &Context, start: &NodeStart, link: LinkId, outcome: Result<(), LinkEnd>) {
    context.board.gone(start, link);
    match outcome {
        Ok(()) => tracing::info!(node = start.node, "a node has left"),
        Err(error) => tracing::warn!(node = start.node, %error, "a node's link has ended"),
    }
}
