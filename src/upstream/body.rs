//! Moves one body from one connection to another, piece by piece: what the receiver has not taken
//! is not read from the sender, so memory stays at two buffers however large the body is.

use std::cell::Cell;
use std::io;

use super::recode::{RecodeError, Recoder};
use crate::io::{ReadHalf, WriteHalf};
use crate::worker::Worker;
use crate::worker::deadline::Watch;

/// Which way a body goes; decides whose deadline runs while a read or a write waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the upstream.
    Up,
    /// From the upstream to the client.
    Down {
        /// The upstream's time for each read.
        response_timeout_ms: u64,
    },
}

/// Why a body did not arrive whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The sender's framing broke, or more came than allowed.
    Recode(RecodeError),
    /// The sender's connection failed.
    Source,
    /// The receiver's connection failed.
    Sink,
}

/// What is left when a body went through.
#[derive(Debug)]
pub struct Moved {
    /// Bytes read beyond the body: the start of the next message.
    pub beyond: Vec<u8>,
}

/// Writes `pending`, a pooled buffer, then reads and writes until the body is whole. `bytes` grows
/// by what moved on the client's side, so that a caller that gives up knows how much did.
pub async fn pass(
    worker: &Worker,
    watch: &Watch,
    direction: Direction,
    recoder: &mut Recoder,
    mut pending: Vec<u8>,
    (source, sink): (&mut ReadHalf, &mut WriteHalf),
    bytes: &Cell<u64>,
) -> Result<Moved, BodyError> {
    let mut input = worker.buffers.take();
    if direction == Direction::Up {
        worker.body_begins(watch);
    }
    let moved = loop {
        if !pending.is_empty() {
            let outcome;
            direction.before_write(worker, watch);
            (outcome, pending) = sink.write_all(pending, 0).await;
            direction.after_write(worker, watch, &outcome);
            let Ok(written) = outcome else {
                break Err(BodyError::Sink);
            };
            direction.note_written(bytes, written);
            pending.clear();
        }
        if recoder.done() {
            break Ok(Moved { beyond: Vec::new() });
        }
        let outcome;
        direction.before_read(worker, watch);
        (outcome, input) = source.read_up_to(input, recoder.read_max()).await;
        direction.after_read(worker, watch, &outcome);
        direction.note_read(bytes, &outcome);
        match step(recoder, outcome, &mut input, &mut pending) {
            Ok(None) => input.clear(),
            Ok(Some(beyond)) => {
                // The rest of the output still has to go; the loop ends after it.
                direction.before_write(worker, watch);
                let outcome;
                (outcome, pending) = sink.write_all(pending, 0).await;
                direction.after_write(worker, watch, &outcome);
                let Ok(written) = outcome else {
                    break Err(BodyError::Sink);
                };
                direction.note_written(bytes, written);
                break Ok(Moved { beyond });
            }
            Err(error) => break Err(error),
        }
    };
    worker.buffers.give(input);
    worker.buffers.give(pending);
    moved
}

/// Reads the rest of a client's body into `into`, where it stays at hand.
pub async fn hold(
    worker: &Worker,
    watch: &Watch,
    recoder: &mut Recoder,
    source: &mut ReadHalf,
    into: &mut Vec<u8>,
    bytes: &Cell<u64>,
) -> Result<(), BodyError> {
    let direction = Direction::Up;
    let mut input = worker.buffers.take();
    worker.body_begins(watch);
    let mut held = Ok(());
    while held.is_ok() && !recoder.done() {
        let outcome;
        direction.before_read(worker, watch);
        (outcome, input) = source.read_up_to(input, recoder.read_max()).await;
        direction.after_read(worker, watch, &outcome);
        direction.note_read(bytes, &outcome);
        held = match outcome {
            Err(_) => Err(BodyError::Source),
            Ok(0) => recoder.end(into).map_err(BodyError::Recode),
            Ok(_) => recoder
                .push(&input, into)
                .map(|_| ())
                .map_err(BodyError::Recode),
        };
        input.clear();
    }
    worker.buffers.give(input);
    held
}

/// Takes one read's outcome into `pending`; `Some` with what lies beyond, once the body is whole
/// and something does.
fn step(
    recoder: &mut Recoder,
    outcome: std::io::Result<usize>,
    input: &mut Vec<u8>,
    pending: &mut Vec<u8>,
) -> Result<Option<Vec<u8>>, BodyError> {
    match outcome {
        Err(_) => return Err(BodyError::Source),
        Ok(0) => recoder.end(pending).map_err(BodyError::Recode)?,
        Ok(_) if recoder.is_verbatim() => {
            recoder.note_verbatim(input).map_err(BodyError::Recode)?;
            std::mem::swap(input, pending);
        }
        Ok(_) => {
            let used = recoder.push(input, pending).map_err(BodyError::Recode)?;
            if used < input.len() {
                return Ok(Some(input[used..].to_vec()));
            }
        }
    }
    Ok(None)
}

fn moved(outcome: &io::Result<usize>) -> u64 {
    outcome.as_ref().map_or(0, |bytes| *bytes as u64)
}

impl Direction {
    fn before_read(self, worker: &Worker, watch: &Watch) {
        match self {
            Self::Up => worker.body_awaited(watch),
            Self::Down {
                response_timeout_ms,
            } => {
                watch.upstream_until(worker.now_ms() + response_timeout_ms);
            }
        }
    }

    fn after_read(self, worker: &Worker, watch: &Watch, outcome: &io::Result<usize>) {
        match self {
            Self::Up => worker.body_came(watch, moved(outcome)),
            Self::Down { .. } => watch.upstream_free(),
        }
    }

    fn before_write(self, worker: &Worker, watch: &Watch) {
        match self {
            Self::Up => watch.upstream_until(worker.now_ms() + worker.http.write_timeout_ms),
            Self::Down { .. } => worker.answer_offered(watch),
        }
    }

    fn after_write(self, worker: &Worker, watch: &Watch, outcome: &io::Result<usize>) {
        match self {
            Self::Up => watch.upstream_free(),
            Self::Down { .. } => worker.answer_taken(watch, moved(outcome)),
        }
    }

    fn note_read(self, bytes: &Cell<u64>, outcome: &std::io::Result<usize>) {
        if let (Self::Up, Ok(read)) = (self, outcome) {
            bytes.set(bytes.get() + *read as u64);
        }
    }

    fn note_written(self, bytes: &Cell<u64>, written: usize) {
        if let Self::Down { .. } = self {
            bytes.set(bytes.get() + written as u64);
        }
    }
}
