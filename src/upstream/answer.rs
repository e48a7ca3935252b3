//! Brings a target's answer back: interim heads, the final head, the body.

use std::mem::MaybeUninit;

use httparse::{Header, Status};

use super::body::{self, BodyError, Direction};
use super::exchange::Progress;
use super::recode::Recoder;
use super::tunnel::First;
use super::{tries, upgrade};
use crate::accept::judge::Call;
use crate::clock::Tick;
use crate::io::{ReadHalf, WriteHalf};
use crate::parse::{BodyFraming, HeadLimits, ResponseHead, parse_response};
use crate::respond::head::{self, ClientSide};
use crate::worker::Worker;
use crate::worker::deadline::{Waiting, Watch};

/// A target's head may be larger than a client's: cookies and policies add up.
const RESPONSE_HEAD: HeadLimits = HeadLimits {
    head_bytes_max: 64 * 1024,
    target_bytes_max: 0,
    headers_max: 128,
};

/// Interim answers to one request; a target that sends more is broken or hostile.
const INTERIM_MAX: u32 = 16;

/// Why an answer did not come back whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// The client's connection failed.
    Client,
    /// The target's connection ended or failed.
    Closed,
    /// The target's bytes are not an answer.
    Malformed,
    /// It is one that another target is asked for.
    Again,
}

/// The way back of one exchange.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The worker that runs it.
    pub worker: &'a Worker,
    /// Deadlines of both ends.
    pub watch: &'a Watch,
    /// The request.
    pub call: &'a Call,
    /// What the record will say.
    pub progress: &'a Progress,
    /// The target's time for each read.
    pub timeout_ms: u64,
    /// When the request went out.
    pub sent_at: Tick,
}

/// What came back.
#[derive(Debug)]
pub enum Relayed {
    /// A whole answer; true if the target's connection may be used again.
    Whole(bool),
    /// A 101, not yet sent: the connection goes on in another protocol.
    Switched(First),
}

/// A head, taken apart.
struct Parsed {
    head_bytes: usize,
    framing: BodyFraming,
    keep_alive: bool,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Interim,
    Switch,
    Final,
}

impl Answer<'_> {
    /// Relays the answer.
    pub async fn relay(
        self,
        target: &mut ReadHalf,
        client: &mut WriteHalf,
    ) -> Result<Relayed, AnswerError> {
        let mut input = self.worker.buffers.take();
        let mut output = self.worker.buffers.take();
        let received = self.receive(target, client, &mut input, &mut output).await;
        let head = match received {
            Ok(head) => head,
            Err(error) => {
                self.worker.buffers.give(input);
                self.worker.buffers.give(output);
                return Err(error);
            }
        };
        if head.kind == Kind::Switch {
            let head_bytes = output.len();
            output.extend_from_slice(&input[head.head_bytes..]);
            self.worker.buffers.give(input);
            return Ok(Relayed::Switched(First {
                up: Vec::new(),
                down: output,
                head_bytes,
            }));
        }
        let (encode, ends_with_connection) = head::encode_for(head.framing, self.call.http_1_0);
        let recoder = Recoder::new(head.framing, encode, u64::MAX);
        let mut recoder = recoder.with_trailers(self.call.accepts_trailers);
        let rest = &input[head.head_bytes..];
        let used = recoder
            .push(rest, &mut output)
            .map_err(|_| AnswerError::Malformed);
        let clean = used.map(|used| used == rest.len());
        self.worker.buffers.give(input);
        let clean = clean?;
        let direction = Direction::Down {
            response_timeout_ms: self.timeout_ms,
        };
        let bytes_out = &self.progress.bytes_out;
        let ends = (target, client);
        let moved = body::pass(
            self.worker,
            self.watch,
            direction,
            &mut recoder,
            output,
            ends,
            bytes_out,
        )
        .await;
        match moved {
            Ok(moved) => {
                let reusable = clean
                    && moved.beyond.is_empty()
                    && head.keep_alive
                    && head.framing != BodyFraming::UntilClose
                    && !ends_with_connection;
                Ok(Relayed::Whole(reusable))
            }
            Err(BodyError::Sink) => Err(AnswerError::Client),
            Err(BodyError::Source) => Err(AnswerError::Closed),
            Err(BodyError::Recode(_)) => Err(AnswerError::Malformed),
        }
    }

    /// Reads until a final head is whole; passes interim ones on. Leaves the client's head in
    /// `output`, and what came behind the target's in `input`.
    async fn receive(
        self,
        target: &mut ReadHalf,
        client: &mut WriteHalf,
        input: &mut Vec<u8>,
        output: &mut Vec<u8>,
    ) -> Result<Parsed, AnswerError> {
        let mut interim = 0;
        loop {
            match self.read_head(input, output)? {
                Some(head) if head.kind == Kind::Interim => {
                    interim += 1;
                    if interim > INTERIM_MAX {
                        return Err(AnswerError::Malformed);
                    }
                    input.drain(..head.head_bytes);
                    self.pass_interim(client, output).await?;
                }
                Some(head) => return Ok(head),
                None => self.fill(target, input).await?,
            }
        }
    }

    async fn fill(self, target: &mut ReadHalf, input: &mut Vec<u8>) -> Result<(), AnswerError> {
        if input.len() == input.capacity() {
            input.reserve(input.capacity());
        }
        let outcome;
        (outcome, *input) = target.read(std::mem::take(input)).await;
        match outcome {
            Ok(0) | Err(_) => Err(AnswerError::Closed),
            Ok(_) => {
                self.progress.answer_begun.set(true);
                Ok(())
            }
        }
    }

    async fn pass_interim(
        self,
        client: &mut WriteHalf,
        output: &mut Vec<u8>,
    ) -> Result<(), AnswerError> {
        if output.is_empty() {
            return Ok(());
        }
        self.worker.client_until(self.watch, Waiting::Taking);
        let outcome;
        (outcome, *output) = client.write_all(std::mem::take(output), 0).await;
        self.watch.client_free();
        output.clear();
        let written = outcome.map_err(|_| AnswerError::Client)?;
        self.progress
            .bytes_out
            .set(self.progress.bytes_out.get() + written as u64);
        Ok(())
    }

    /// Parses one head and writes the client's, if it is whole.
    fn read_head(self, input: &[u8], output: &mut Vec<u8>) -> Result<Option<Parsed>, AnswerError> {
        let mut slots = [const { MaybeUninit::<Header<'_>>::uninit() }; RESPONSE_HEAD.headers_max];
        let parsed = parse_response(input, &mut slots, &RESPONSE_HEAD, self.call.is_head)
            .map_err(|_| AnswerError::Malformed)?;
        let Status::Complete((head, head_bytes)) = parsed else {
            return Ok(None);
        };
        let kind = match head.status {
            // Said by the gateway already, if the client wanted it.
            100 => Kind::Interim,
            101 => {
                // Nobody asked for that switch: what follows would be no HTTP.
                let asked = self.call.upgrade.as_deref();
                let asked = asked.filter(|protocol| upgrade::is_granted(&head, protocol));
                let protocol = asked.ok_or(AnswerError::Malformed)?;
                self.note_answer(head.status);
                head::write_switch(output, &head, protocol, self.call.request_id);
                Kind::Switch
            }
            102..200 => {
                if !self.call.http_1_0 {
                    head::write_interim(output, &head);
                }
                Kind::Interim
            }
            status if self.is_tried_again(status) => return Err(AnswerError::Again),
            _ => {
                self.note_answer(head.status);
                self.write_final(output, &head);
                Kind::Final
            }
        };
        Ok(Some(Parsed {
            head_bytes,
            framing: head.framing,
            keep_alive: head.keep_alive,
            kind,
        }))
    }

    /// Another target is asked instead, and the retry is taken from the budget.
    fn is_tried_again(self, status: u16) -> bool {
        if self.progress.retries_left.get() == 0 {
            return false;
        }
        let served = self.call.served.as_ref();
        let catalog = served.map(|served| served.view().catalog());
        let upstream = self.call.seen.upstream;
        let Some(upstream) = catalog.zip(upstream).map(|(all, one)| all.upstream(one)) else {
            return false;
        };
        let listed = upstream
            .retry
            .as_ref()
            .is_some_and(|rule| rule.statuses.contains(&status));
        listed
            && self.progress.bytes_out.get() == 0
            && tries::take_retry(self.worker, upstream, self.progress)
    }

    fn note_answer(self, status: u16) {
        self.watch.head_came();
        self.progress.status.set(status);
        let now = self.worker.clock.tick();
        self.progress.answered_at.set(now);
        self.progress.upstream_ns.set(now.since_ns(self.sent_at));
    }

    fn write_final(self, output: &mut Vec<u8>, head: &ResponseHead<'_, '_>) {
        let http_1_0 = self.call.http_1_0;
        let (_, ends_with_connection) = head::encode_for(head.framing, http_1_0);
        let keep_alive = self.call.keep_alive
            && !ends_with_connection
            && self.progress.uploaded.get()
            && !self.worker.draining();
        self.progress.keep_alive.set(keep_alive);
        let client = ClientSide {
            http_1_0,
            keep_alive,
            accepts_trailers: self.call.accepts_trailers,
            request_id: self.call.request_id,
            edits: self.call.response_edits(),
            has_cors: !self.call.cors.is_empty(),
        };
        head::write(output, head, &client, |output| {
            output.extend_from_slice(&self.call.cors);
            self.worker.write_limit_fields(self.call, output);
        });
    }
}
