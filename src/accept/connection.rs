//! One client connection: its requests, one after another, until it ends.
//!
//! Pipelined requests wait in the buffer and are answered in order. The buffer starts small, and a
//! connection that rests for a second gives it back. What only a request needs is allocated for its
//! time, so that the task of an idle connection is small.

use std::rc::Rc;

use super::Peer;
use super::judge::{Call, Job, Own, Verdict, judge};
use crate::clock::Tick;
use crate::io::Stream;
use crate::limit::Outcome as Settlement;
use crate::parse::BodyFraming;
use crate::record::CloseCause;
use crate::refusal::Refusal;
use crate::respond::{Context, own, refuse};
use crate::upstream::exchange::{Ends, Outcome, Progress};
use crate::upstream::tries;
use crate::worker::Worker;
use crate::worker::deadline::{Guard, Waiting};
use crate::worker::recorder::Finished;

/// Most heads fit; a larger one makes the buffer grow, and it shrinks again behind it.
const HEAD_BYTES_USUAL: usize = 1024;

/// What a connection that rests waits with: enough to learn that a request comes.
const RESTING_BYTES: usize = 16;

/// Time for a client to take a last answer and close, before the gateway does.
const LINGER_MS: u64 = 2_000;

/// Serves `stream` to its end.
pub fn serve(worker: Rc<Worker>, stream: Stream, peer: Peer) -> impl Future<Output = CloseCause> {
    let watch = worker.deadlines.watch(stream.fd());
    let buffer = Vec::with_capacity(HEAD_BYTES_USUAL);
    let mut connection = Connection {
        watch,
        stream,
        buffer,
        peer,
        worker,
        requests: 0,
        head_begun: None,
    };
    // Captured, and not moved into another variable: the future would have room for both.
    async move {
        let cause = connection.run().await;
        if matches!(cause, CloseCause::UpstreamBroken | CloseCause::WriteTimeout) {
            connection.reset();
        }
        cause
    }
}

/// What became of the bytes that had arrived.
enum Judged {
    /// Not a whole head yet.
    Partial,
    /// A request was answered, and there may be a next one.
    Answered,
}

/// What the gateway itself answers.
enum Reply {
    Refused(Refusal),
    Own(Own),
}

impl Reply {
    fn status(&self) -> u16 {
        match self {
            Self::Refused(refusal) => refusal.face().status,
            Self::Own(own) => own.status,
        }
    }

    fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused(refusal) => Some(*refusal),
            Self::Own(_) => None,
        }
    }
}

struct Connection {
    // First, so that it is dropped before the stream whose descriptor it names.
    watch: Guard,
    stream: Stream,
    buffer: Vec<u8>,
    peer: Peer,
    worker: Rc<Worker>,
    requests: u64,
    /// When the first part of a head came that was not whole at once.
    head_begun: Option<Tick>,
}

impl Connection {
    /// Runs request after request; why there is no next one.
    async fn run(&mut self) -> CloseCause {
        let mut waiting = Waiting::Nothing;
        loop {
            if !self.buffer.is_empty() {
                // In a box for its time: it is most of the connection's state, and most connections
                // wait most of the time.
                match Box::pin(self.answer()).await {
                    Ok(Judged::Answered) => {
                        waiting = Waiting::Nothing;
                        continue;
                    }
                    Ok(Judged::Partial) => {}
                    Err(cause) => return cause,
                }
            }
            let next = if self.buffer.is_empty() {
                Waiting::Idle
            } else {
                Waiting::Head
            };
            if next != waiting {
                self.head_begun = (next == Waiting::Head).then(|| self.worker.clock.tick());
                self.wait_for(next);
                waiting = next;
            }
            let outcome = match next {
                Waiting::Idle => self.read_idle().await,
                _ => self.read().await,
            };
            match outcome {
                Ok(0) | Err(_) => return Box::pin(self.ended_between()).await,
                Ok(_) => {}
            }
        }
    }

    /// Judges what has arrived, and answers the first request in it.
    async fn answer(&mut self) -> Result<Judged, CloseCause> {
        match judge(&self.worker, &self.buffer, &self.peer) {
            Verdict::Partial => return Ok(Judged::Partial),
            Verdict::Admitted(job) => {
                self.watch.client_free();
                self.forward(job).await?;
            }
            Verdict::Refused(call, refusal) => {
                self.watch.client_free();
                self.refuse(call, refusal, &Progress::default()).await?;
            }
            Verdict::Own(call, own) => {
                self.watch.client_free();
                self.reply(call, Reply::Own(own), &Progress::default())
                    .await?;
            }
        }
        Ok(Judged::Answered)
    }

    /// Ends the connection so that an answer which broke off cannot be taken for a whole one,
    /// also where its end is the connection's.
    fn reset(self) {
        // First: it names the descriptor that is about to close.
        drop(self.watch);
        self.stream.reset();
    }

    /// A head's time runs from its first byte: more bytes do not buy more time. A connection that
    /// never sent a request gets a head's time for it, not an idle one's.
    fn wait_for(&self, what: Waiting) {
        if what == Waiting::Idle && self.requests == 0 {
            let timeout_ms = self.worker.http.head_timeout_ms;
            self.watch.idle(self.worker.now_ms(), timeout_ms);
        } else {
            self.worker.client_until(&self.watch, what);
        }
    }

    /// Waits for a next request's first bytes; after a while without the buffer.
    async fn read_idle(&mut self) -> std::io::Result<usize> {
        let buffer = std::mem::take(&mut self.buffer);
        let reading = self.stream.read.read_idle(buffer, &self.worker.parking);
        let outcome;
        (outcome, self.buffer) = reading.await;
        if let Some(outcome) = outcome {
            return outcome;
        }
        // The buffer is empty, or this would not be called: nothing is lost with it.
        self.buffer = Vec::with_capacity(RESTING_BYTES);
        self.read().await
    }

    async fn read(&mut self) -> std::io::Result<usize> {
        if self.buffer.len() == self.buffer.capacity() {
            let more = self.buffer.capacity().max(HEAD_BYTES_USUAL);
            self.buffer.reserve(more);
        }
        let outcome;
        (outcome, self.buffer) = self
            .stream
            .read
            .read(std::mem::take(&mut self.buffer))
            .await;
        outcome
    }

    /// The client's side ended before a head was whole.
    async fn ended_between(&mut self) -> CloseCause {
        match self.watch.expired() {
            Some(Waiting::Head) => {
                let call = Call::without_head(&self.worker, &self.buffer);
                let progress = Progress::default();
                let refused = self.refuse(call, Refusal::HeadTimeout, &progress);
                refused.await.err().unwrap_or(CloseCause::ReadTimeout)
            }
            Some(_) => CloseCause::IdleTimeout,
            None if self.worker.draining() => CloseCause::Drain,
            None if self.buffer.is_empty() => CloseCause::Client,
            None => CloseCause::ClientAborted,
        }
    }

    async fn forward(&mut self, mut job: Job) -> Result<(), CloseCause> {
        let head_bytes = job.call.head_bytes;
        let progress = Progress::default();
        let ends = Ends {
            client: &mut self.stream,
            watch: &self.watch,
            buffered: &self.buffer[head_bytes..],
        };
        let outcome = tries::run(&self.worker, ends, &mut job, &progress).await;
        if job.call.trace.is_some_and(|trace| trace.is_sampled) {
            progress.done_at.set(Some(self.worker.clock.tick()));
        }
        drop(job.in_flight.take());
        let request_head = std::mem::take(&mut job.request_head);
        self.worker.buffers.give(request_head);
        self.settle(&mut job, &outcome, &progress);
        match outcome {
            Outcome::Answered(beyond) => {
                self.record(&job.call, None, &progress);
                let beyond = beyond.ok_or(CloseCause::Requested);
                if beyond.is_err() {
                    self.linger(&progress).await;
                }
                self.advance(head_bytes + progress.body_bytes_buffered.get(), &beyond?);
                Ok(())
            }
            Outcome::Refused(refusal) => self.refuse(job.call, refusal, &progress).await,
            Outcome::Again => {
                let refusal = Refusal::UpstreamClosed;
                self.refuse(job.call, refusal, &progress).await
            }
            Outcome::Broken(cause) | Outcome::Switched(cause) => {
                self.record(&job.call, None, &progress);
                Err(cause)
            }
        }
    }

    /// A request that reached no target gives its allowance back.
    fn settle(&self, job: &mut Job, outcome: &Outcome, progress: &Progress) {
        let unused = matches!(
            outcome,
            Outcome::Refused(
                Refusal::ConnectFailed
                    | Refusal::ConnectTimeout
                    | Refusal::NoTarget
                    | Refusal::UpstreamBusy
                    | Refusal::NoSocket
            )
        );
        if let Some(hold) = job.hold.take() {
            let settlement = if unused {
                Settlement::Unused
            } else {
                Settlement::Used {
                    bytes_in: job.call.head_bytes as u64 + progress.body_bytes_in.get(),
                    bytes_out: progress.bytes_out.get(),
                }
            };
            self.worker.limits.borrow_mut().settle(hold, settlement);
        }
    }

    async fn refuse(
        &mut self,
        call: Call,
        refusal: Refusal,
        progress: &Progress,
    ) -> Result<(), CloseCause> {
        self.reply(call, Reply::Refused(refusal), progress).await
    }

    /// Answers without a target, and makes the connection fit for a next request or closes it.
    async fn reply(
        &mut self,
        call: Call,
        reply: Reply,
        progress: &Progress,
    ) -> Result<(), CloseCause> {
        let refusal = reply.refusal();
        let status = reply.status();
        let unread = self.unread(&call, refusal, progress);
        let keep_alive = call.keep_alive && unread.is_some() && !self.worker.draining();
        let mut output = self.render(&call, reply, keep_alive);
        if progress.decided_at.get() == Tick::default() {
            progress.decided_at.set(self.worker.clock.tick());
        }
        self.worker.client_until(&self.watch, Waiting::Taking);
        let outcome;
        (outcome, output) = self.stream.write.write_all(output, 0).await;
        self.watch.client_free();
        progress.status.set(status);
        progress
            .bytes_out
            .set(progress.bytes_out.get() + output.len() as u64);
        self.worker.buffers.give(output);
        self.record(&call, refusal, progress);
        if outcome.is_err() {
            return Err(CloseCause::ClientAborted);
        }
        match unread {
            Some(body_bytes) if keep_alive => self.skip(call.head_bytes, body_bytes).await,
            Some(0) => {
                self.stream.write.finish().await;
                Err(self.close_cause(refusal))
            }
            _ => {
                self.linger(progress).await;
                Err(self.close_cause(refusal))
            }
        }
    }

    fn render(&self, call: &Call, reply: Reply, keep_alive: bool) -> Vec<u8> {
        let mut output = self.worker.buffers.take();
        let mut date = self.worker.date.borrow_mut();
        let date = date.at(call.begun.wall);
        let add_fields = |output: &mut Vec<u8>| {
            output.extend_from_slice(&call.cors);
            self.worker.write_limit_fields(call, output);
        };
        let context = Context {
            request_id: call.request_id,
            http_1_0: call.http_1_0,
            keep_alive,
            head_only: call.is_head,
            date,
        };
        match reply {
            Reply::Refused(refusal) => {
                let allow = self.worker.allowed_methods(call, refusal, &self.buffer);
                refuse::write(&mut output, (refusal, &allow), &context, add_fields);
            }
            Reply::Own(own) => {
                let body = call.own_body(&own);
                let parts = (own.status, own.fields.as_slice(), body);
                own::write(&mut output, parts, &context, add_fields);
                self.worker.buffers.give(own.fields);
            }
        }
        output
    }

    fn close_cause(&self, refusal: Option<Refusal>) -> CloseCause {
        match refusal {
            Some(Refusal::HeadTimeout | Refusal::BodyTimeout) => CloseCause::ReadTimeout,
            _ if self.worker.draining() => CloseCause::Drain,
            None => CloseCause::Requested,
            Some(_) => CloseCause::Refused,
        }
    }

    /// Body bytes that must be skipped before a next request can be read; `None` if the connection
    /// must close, because they are too many, or nobody knows how many they are.
    ///
    /// > If an HTTP/1.1 server responds with a final status code before reading the entire body, it
    /// > should read the rest or close the connection (RFC 9112, section 9.3).
    ///
    /// What is left unread here would be parsed as the next request: this is how an early 401
    /// becomes request smuggling.
    fn unread(&self, call: &Call, refusal: Option<Refusal>, progress: &Progress) -> Option<u64> {
        let forwarded = progress.body_bytes_in.get() > 0;
        let body_failed = matches!(
            refusal,
            Some(Refusal::BodyTimeout | Refusal::BodyMalformed | Refusal::BodyTooLarge)
        );
        if call.head_bytes == 0 || body_failed {
            return None;
        }
        let buffered = progress.body_bytes_buffered.get() as u64;
        if progress.uploaded.get() && progress.body_bytes_in.get() == buffered {
            // The whole body came with the head, and its end is known.
            return Some(buffered);
        }
        if forwarded {
            return None;
        }
        match call.framing {
            BodyFraming::Empty => Some(0),
            // A client that waits for a 100 may send the body or not: nobody knows which.
            BodyFraming::Length(_) if call.expect_continue => None,
            BodyFraming::Length(bytes) if bytes <= self.worker.http.drain_bytes_max => Some(bytes),
            _ => None,
        }
    }

    /// Reads past the body of a refused request.
    async fn skip(&mut self, head_bytes: usize, body_bytes: u64) -> Result<(), CloseCause> {
        let body_bytes = usize::try_from(body_bytes).map_err(|_| CloseCause::Refused)?;
        let mut left = (head_bytes + body_bytes).saturating_sub(self.buffer.len());
        if left == 0 {
            self.advance(head_bytes + body_bytes, &[]);
            return Ok(());
        }
        self.buffer.clear();
        self.worker.body_begins(&self.watch);
        while left > 0 {
            self.worker.body_awaited(&self.watch);
            let buffer = std::mem::take(&mut self.buffer);
            let outcome;
            (outcome, self.buffer) = self.stream.read.read_up_to(buffer, Some(left as u64)).await;
            let bytes = outcome.as_ref().map_or(0, |bytes| *bytes as u64);
            self.worker.body_came(&self.watch, bytes);
            self.buffer.clear();
            match outcome {
                Ok(0) | Err(_) if self.watch.expired().is_some() => {
                    return Err(CloseCause::ReadTimeout);
                }
                Ok(0) | Err(_) => return Err(CloseCause::ClientAborted),
                Ok(read) => left -= read,
            }
        }
        self.watch.client_free();
        self.requests += 1;
        self.head_begun = None;
        Ok(())
    }

    /// Lets a client read a last answer. Closing while it still sends would reset the connection
    /// and could take the answer away before it is read (RFC 9112, section 9.6).
    async fn linger(&mut self, progress: &Progress) {
        self.stream.write.finish().await;
        let all_read = progress.uploaded.get() || self.watch.expired().is_some();
        if all_read {
            return;
        }
        self.watch.idle(self.worker.now_ms(), LINGER_MS);
        let mut budget = self.worker.http.drain_bytes_max;
        while budget > 0 {
            self.buffer.clear();
            match self.read().await {
                Ok(read) if read > 0 => budget = budget.saturating_sub(read as u64),
                _ => break,
            }
        }
    }

    /// Drops a finished request from the buffer and adds what came behind its body.
    fn advance(&mut self, used: usize, beyond: &[u8]) {
        self.requests += 1;
        self.head_begun = None;
        self.buffer.drain(..used.min(self.buffer.len()));
        self.buffer.extend_from_slice(beyond);
        if self.buffer.capacity() > 4 * HEAD_BYTES_USUAL && self.buffer.is_empty() {
            self.buffer = Vec::with_capacity(HEAD_BYTES_USUAL);
        }
    }

    fn record(&self, call: &Call, refusal: Option<Refusal>, progress: &Progress) {
        let head = match call.head_bytes {
            // Never a whole one: what there is of it.
            0 => &self.buffer[..],
            bytes => &self.buffer[..bytes.min(self.buffer.len())],
        };
        let finished = Finished {
            call,
            head,
            refusal,
            progress,
            peer: &self.peer,
            head_begun: self.head_begun,
        };
        self.worker.record(&finished);
    }
}
