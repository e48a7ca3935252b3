//! One request to a target and its answer back, both directions at once.
//!
//! A target may answer before it has read the whole request, so the upload and the answer run side
//! by side. Until the answer's head is on its way to the client, every failure is a
//! [`Refusal`]; after it, a failure can only be shown by breaking the connection.

use std::cell::{Cell, RefCell};
use std::pin::pin;

use super::answer::{Answer, AnswerError, Relayed};
use super::body::{self, BodyError, Direction};
use super::connect::Engaged;
use super::recode::{Encode, RecodeError, Recoder};
use super::tunnel::{First, Tunnel};
use crate::accept::judge::Job;
use crate::clock::Tick;
use crate::io::{Either, Endpoint, Stream, WriteHalf, race};
use crate::record::CloseCause;
use crate::refusal::Refusal;
use crate::worker::Worker;
use crate::worker::deadline::{Waiting, Watch};
use crate::worker::tunnels::Opened;

/// How an exchange ended for the client.
#[derive(Debug)]
pub enum Outcome {
    /// The whole answer was sent. Bytes of the next request that came with the body's last ones,
    /// or `None` if the connection cannot go on.
    Answered(Option<Vec<u8>>),
    /// Nothing was sent yet; a refusal is due.
    Refused(Refusal),
    /// The answer broke off, or nobody is left to answer.
    Broken(CloseCause),
    /// The connection switched protocols, and what followed is over.
    Switched(CloseCause),
    /// The target's answer is one that another target is asked for; the client has seen none of it.
    Again,
}

/// What an exchange leaves behind for the record, whatever its outcome.
#[derive(Debug, Default)]
pub struct Progress {
    /// Status sent to the client; 0 while none is.
    pub status: Cell<u16>,
    /// Bytes sent to the client.
    pub bytes_out: Cell<u64>,
    /// Body bytes taken from the client, as framed.
    pub body_bytes_in: Cell<u64>,
    /// How many of them had come with the head.
    pub body_bytes_buffered: Cell<usize>,
    /// When the decision was made and the first target asked, or the gateway answered itself; zero
    /// before.
    pub decided_at: Cell<Tick>,
    /// When a connection was asked for last; zero before.
    pub asked_at: Cell<Tick>,
    /// From asking for connections to having them or none, all attempts together, nanoseconds.
    pub connect_ns: Cell<u64>,
    /// How often a target was asked.
    pub attempts: Cell<u32>,
    /// From the dispatch to the answer's head, nanoseconds; 0 if there was none.
    pub upstream_ns: Cell<u64>,
    /// When the answer's head came; zero if there was none.
    pub answered_at: Cell<Tick>,
    /// The head that the client got leaves its connection open.
    pub keep_alive: Cell<bool>,
    /// The server that was asked last; none if no connection was had.
    pub target: RefCell<Option<Endpoint>>,
    /// The request's body went through whole.
    pub uploaded: Cell<bool>,
    /// A byte of an answer came: the target has seen the request.
    pub answer_begun: Cell<bool>,
    /// How often it may still be sent again.
    pub retries_left: Cell<u32>,
    /// When the last target was done with it; kept for a sampled trace alone.
    pub done_at: Cell<Option<Tick>>,
}

impl Progress {
    /// A connection is asked for.
    pub fn asks(&self, at: Tick) {
        self.asked_at.set(at);
        if self.attempts.get() == 0 {
            self.decided_at.set(at);
        }
        self.attempts.set(self.attempts.get() + 1);
    }

    /// There is one, or there will be none.
    pub fn asked(&self, at: Tick) {
        let waited_ns = at.since_ns(self.asked_at.get());
        self.connect_ns.set(self.connect_ns.get() + waited_ns);
    }
}

/// Both ends and what is known of them.
#[derive(Debug)]
pub struct Ends<'c> {
    /// The client's connection.
    pub client: &'c mut Stream,
    /// Deadlines of both.
    pub watch: &'c Watch,
    /// What came from the client behind the request's head.
    pub buffered: &'c [u8],
}

/// Takes in what came with the request's head; the passage of the rest of its body.
pub fn begin(ends: &Ends<'_>, job: &mut Job, progress: &Progress) -> Result<Recoder, Refusal> {
    let upload = Recoder::new(job.call.framing, upload_encoding(job), job.body_bytes_max);
    let mut upload = upload.with_trailers(true);
    let taken = upload.push(ends.buffered, &mut job.request_head);
    let bytes = taken.map_err(refusal_of)?;
    progress.body_bytes_buffered.set(bytes);
    progress.body_bytes_in.set(bytes as u64);
    // A body that goes by in pieces is gone once it went; one that came with the head is kept.
    progress.uploaded.set(upload.done());
    Ok(upload)
}

fn upload_encoding(job: &Job) -> Encode {
    match job.call.framing {
        crate::parse::BodyFraming::Chunked => Encode::Chunked,
        _ => Encode::Raw,
    }
}

/// The refusal that a broken request body earns.
fn refusal_of(error: RecodeError) -> Refusal {
    match error {
        RecodeError::TooLarge => Refusal::BodyTooLarge,
        RecodeError::Framing | RecodeError::EndedEarly => Refusal::BodyMalformed,
    }
}

/// One request to a target that is connected, and its answer back.
pub async fn attempt(
    worker: &Worker,
    client: &mut Stream,
    engaged: &mut Engaged<'_>,
    job: &mut Job,
    upload: &mut Recoder,
    (progress, buffered): (&Progress, &[u8]),
) -> Outcome {
    let watch = engaged.watch;
    if !upload.done() && job.call.expect_continue && progress.body_bytes_in.get() == 0 {
        // The decision is made and a target is there: the client may send.
        if say_continue(worker, watch, &mut client.write)
            .await
            .is_err()
        {
            return Outcome::Broken(CloseCause::ClientAborted);
        }
    }
    match converse(worker, client, engaged, job, upload, progress).await {
        Ok((Ok(Relayed::Switched(first)), _)) => {
            let first = First {
                up: buffered.to_vec(),
                ..first
            };
            drop(job.in_flight.take());
            Outcome::Switched(switched(worker, client, engaged, job, (progress, first)).await)
        }
        Ok((Ok(Relayed::Whole(reusable)), beyond)) => {
            finish(engaged, Ok(reusable), beyond, progress)
        }
        Ok((Err(error), beyond)) => finish(engaged, Err(error), beyond, progress),
        Err(error) => client_failed(watch, error, progress),
    }
}

/// Runs what follows a 101.
async fn switched(
    worker: &Worker,
    client: &mut Stream,
    engaged: &mut Engaged<'_>,
    job: &Job,
    (progress, first): (&Progress, First),
) -> CloseCause {
    let seen = &job.call.seen;
    let catalog = job
        .call
        .served
        .as_ref()
        .map(|served| served.view().catalog());
    let api = seen.api.and_then(|api| Some(catalog?.api(api).number));
    let protocol = job.call.upgrade.as_deref().unwrap_or_default();
    let tunnel = Tunnel {
        worker,
        watch: engaged.watch,
        opened: Opened {
            key: seen.key,
            api: api.unwrap_or(0),
        },
        is_websocket: protocol.eq_ignore_ascii_case("websocket"),
        progress,
        idle_timeout_ms: Cell::new(worker.http.tunnel_idle_timeout_ms),
    };
    // In a box for its time: few exchanges have one.
    Box::pin(tunnel.run(client, engaged.stream(), first)).await
}

/// The answer's end, and what came from the client beyond the request's body.
type Conversed = (Result<Relayed, AnswerError>, Option<Vec<u8>>);

/// Sends and receives side by side until the answer is over. Fails when the client's body does.
async fn converse(
    worker: &Worker,
    client: &mut Stream,
    engaged: &mut Engaged<'_>,
    job: &mut Job,
    upload: &mut Recoder,
    progress: &Progress,
) -> Result<Conversed, BodyError> {
    let watch = engaged.watch;
    let timeout_ms = job.response_timeout_ms();
    let Stream {
        read: target_read,
        write: target_write,
        ..
    } = engaged.stream();
    let sent_at = worker.clock.tick();
    progress.asked(sent_at);
    watch.upstream_until(sent_at.millis() + worker.http.write_timeout_ms);
    let outcome;
    let head = std::mem::take(&mut job.request_head);
    (outcome, job.request_head) = target_write.write_all(head, 0).await;
    // A target that closed may have answered first: a failed write is judged by the answer.
    let sends_more = outcome.is_ok() && !upload.done();
    let Stream {
        read: client_read,
        write: client_write,
        ..
    } = client;
    let answer = Answer {
        worker,
        watch,
        call: &job.call,
        progress,
        timeout_ms,
        sent_at,
    };
    let answer = answer.relay(target_read, client_write);
    if !sends_more {
        watch.upstream_until(worker.now_ms() + timeout_ms);
        return Ok((answer.await, None));
    }
    watch.upstream_free();
    let ends = (client_read, target_write);
    let moved = &progress.body_bytes_in;
    let sending = body::pass(
        worker,
        watch,
        Direction::Up,
        upload,
        worker.buffers.take(),
        ends,
        moved,
    );
    let (mut sending, mut answer) = (pin!(sending), pin!(answer));
    match race(sending.as_mut(), answer.as_mut()).await {
        Either::Right(answered) => Ok((answered, None)),
        Either::Left(Err(error @ (BodyError::Source | BodyError::Recode(_)))) => Err(error),
        Either::Left(sent) => {
            progress.uploaded.set(sent.is_ok());
            watch.upstream_until(worker.now_ms() + timeout_ms);
            Ok((answer.await, sent.ok().map(|moved| moved.beyond)))
        }
    }
}

/// Reads the rest of a short body before any target is asked, so that the request can be sent again.
/// `None` once it is there.
pub async fn hold(
    worker: &Worker,
    ends: &mut Ends<'_>,
    job: &mut Job,
    upload: &mut Recoder,
    progress: &Progress,
) -> Option<Outcome> {
    let held = body::hold(
        worker,
        ends.watch,
        upload,
        &mut ends.client.read,
        &mut job.request_head,
        &progress.body_bytes_in,
    );
    match held.await {
        Ok(()) => {
            ends.watch.client_free();
            progress.uploaded.set(true);
            None
        }
        Err(error) => Some(client_failed(ends.watch, error, progress)),
    }
}

/// The client's body did not arrive whole: the exchange cannot go on.
fn client_failed(watch: &Watch, error: BodyError, progress: &Progress) -> Outcome {
    if progress.status.get() != 0 {
        return Outcome::Broken(CloseCause::ClientAborted);
    }
    match error {
        _ if watch.expired() == Some(Waiting::Body) => Outcome::Refused(Refusal::BodyTimeout),
        BodyError::Recode(RecodeError::EndedEarly) | BodyError::Source => {
            Outcome::Broken(CloseCause::ClientAborted)
        }
        BodyError::Recode(error) => Outcome::Refused(refusal_of(error)),
        BodyError::Sink => Outcome::Refused(Refusal::UpstreamClosed),
    }
}

/// Turns the answer's end into the client's, and keeps the target's connection if it may be used
/// again.
fn finish(
    engaged: &mut Engaged<'_>,
    answered: Result<bool, AnswerError>,
    beyond: Option<Vec<u8>>,
    progress: &Progress,
) -> Outcome {
    let watch = engaged.watch;
    match answered {
        Ok(reusable) => {
            if reusable && progress.uploaded.get() {
                engaged.keep();
            }
            let goes_on = progress.uploaded.get() && progress.keep_alive.get();
            Outcome::Answered(goes_on.then_some(beyond.unwrap_or_default()))
        }
        Err(AnswerError::Again) => Outcome::Again,
        Err(AnswerError::Client) if watch.expired() == Some(Waiting::Taking) => {
            Outcome::Broken(CloseCause::WriteTimeout)
        }
        Err(AnswerError::Client) => Outcome::Broken(CloseCause::ClientAborted),
        Err(_) if watch.client_gone() => Outcome::Broken(CloseCause::ClientAborted),
        Err(_) if progress.status.get() != 0 => Outcome::Broken(CloseCause::UpstreamBroken),
        Err(_) if watch.upstream_expired() => Outcome::Refused(Refusal::UpstreamTimeout),
        Err(AnswerError::Malformed) => Outcome::Refused(Refusal::UpstreamMalformed),
        Err(AnswerError::Closed) => Outcome::Refused(Refusal::UpstreamClosed),
    }
}

async fn say_continue(
    worker: &Worker,
    watch: &Watch,
    client: &mut WriteHalf,
) -> std::io::Result<usize> {
    worker.client_until(watch, Waiting::Taking);
    let (outcome, _) = client
        .write_all(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), 0)
        .await;
    watch.client_free();
    outcome
}
