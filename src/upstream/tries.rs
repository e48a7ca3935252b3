//! Runs a request until a target has answered it, or none is left that may be asked.
//!
//! What is repeated must be safe to repeat: nothing has gone to the client, the whole request is at
//! hand (its body came with its head, or is short and was read before), and either no target can have seen it or its method is
//! idempotent (RFC 9110, section 9.2.2: "A proxy MUST NOT automatically retry non-idempotent
//! requests"). So a `POST` is repeated only when no connection was had. Beyond that:
//!
//! - a target that cannot be reached is passed over for the next one, each once; so is one that has as
//!   many connections as it may, and when all have, the request waits for one of the last's;
//! - a kept connection that ended while the request was on its way is replaced by a new one, once;
//! - everything else is repeated as the upstream's `retry` says, within its budget.

use std::cell::Cell;
use std::rc::Rc;

use super::connect::{self, Engaged, Wanted};
use super::exchange::{self, Ends, Outcome, Progress};
use super::fitness::{Change, Went};
use super::recode::Recoder;
use crate::accept::judge::Job;
use crate::parse::BodyFraming;
use crate::record::Counter;
use crate::refusal::Refusal;
use crate::route::balance::Member;
use crate::snapshot::catalog::Upstream;
use crate::worker::Worker;
use crate::worker::deadline::Watch;

const NEVER_MS: u64 = u64::MAX;

/// Longest body that is held so that its request can be sent again, in bytes.
const HELD_BYTES_MAX: u64 = 64 * 1024;

/// How a request goes on after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It does not.
    Done,
    /// With the same target on a new connection.
    Fresh,
    /// With another target, if there is one.
    Other,
    /// With another target, or when this one has a connection to spare.
    Waiting,
    /// With another target, or with the same one again.
    Again,
}

/// Runs `job` to its end.
pub async fn run(
    worker: &Worker,
    mut ends: Ends<'_>,
    job: &mut Job,
    progress: &Progress,
) -> Outcome {
    let Some(served) = job.call.served.as_ref().map(Rc::clone) else {
        return Outcome::Refused(Refusal::NoTarget);
    };
    let upstream = served.view().catalog().upstream(job.upstream_index());
    let mut upload = match exchange::begin(&ends, job, progress) {
        Ok(upload) => upload,
        Err(refusal) => return Outcome::Refused(refusal),
    };
    if is_held(upstream, job, progress) {
        // In a box for its time: most requests have no body, or one that came with the head.
        let holding = Box::pin(exchange::hold(
            worker,
            &mut ends,
            job,
            &mut upload,
            progress,
        ));
        if let Some(outcome) = holding.await {
            return outcome;
        }
    }
    let mut tries = Tries::new(worker, upstream, job, progress);
    loop {
        let trial = Trial::begin(worker, upstream, Rc::clone(&job.member));
        tries.limit(worker, ends.watch);
        let outcome = one(
            (worker, upstream),
            (ends.client, ends.watch, ends.buffered),
            job,
            &mut upload,
            (progress, &mut tries),
        )
        .await;
        trial.end(went(&outcome, progress));
        ends.watch.upstream_limit(NEVER_MS);
        let next = tries.next(&outcome, job, progress);
        if next == Next::Done || !tries.go_on(next, job) {
            return tries.give_up(outcome);
        }
        worker.count(Counter::UpstreamRetries);
        progress.answer_begun.set(false);
    }
}

/// Whether the rest of the body is read before any target is asked: only where that lets the request
/// be sent again, for others would wait for nothing. One who waits for a 100 first hears it when a
/// target is there.
fn is_held(upstream: &Upstream, job: &Job, progress: &Progress) -> bool {
    let is_short =
        matches!(job.call.framing, BodyFraming::Length(bytes) if bytes <= HELD_BYTES_MAX);
    let has_retries = upstream.retry.as_ref().is_some_and(|rule| rule.retries > 0);
    !progress.uploaded.get()
        && is_short
        && has_retries
        && job.call.is_idempotent
        && !job.call.expect_continue
}

/// One try.
async fn one(
    (worker, upstream): (&Worker, &Upstream),
    (client, watch, buffered): (&mut crate::io::Stream, &Watch, &[u8]),
    job: &mut Job,
    upload: &mut Recoder,
    (progress, tries): (&Progress, &mut Tries<'_>),
) -> Outcome {
    let member = Rc::clone(&job.member);
    *progress.target.borrow_mut() = Some(member.endpoint.clone());
    let asked_at = worker.clock.tick();
    progress.asks(asked_at);
    let wanted = Wanted {
        asked_ms: asked_at.millis(),
        fresh_only: tries.fresh_only,
        waits: tries.waits,
        due_ms: tries.try_due_ms,
    };
    let connecting = connect::to_member(worker, upstream, &member, wanted);
    let (connection, kept) = match connecting.await {
        Ok(connected) => connected,
        Err(refusal) => {
            progress.asked(worker.clock.tick());
            return Outcome::Refused(refusal);
        }
    };
    tries.kept = kept;
    let mut engaged = Engaged::new(worker, watch, (upstream, &member), connection);
    exchange::attempt(
        worker,
        client,
        &mut engaged,
        job,
        upload,
        (progress, buffered),
    )
    .await
}

/// What a try tells of its target.
fn went(outcome: &Outcome, progress: &Progress) -> Went {
    match outcome {
        Outcome::Answered(_) => match progress.status.get() {
            500 | 502 | 503 | 504 => Went::Badly,
            _ => Went::Well,
        },
        Outcome::Switched(_) => Went::Well,
        Outcome::Again => Went::Badly,
        Outcome::Refused(refusal) => match refusal {
            Refusal::ConnectFailed
            | Refusal::ConnectTimeout
            | Refusal::UpstreamClosed
            | Refusal::UpstreamMalformed
            | Refusal::UpstreamTimeout => Went::Badly,
            _ => Went::Nowhere,
        },
        Outcome::Broken(crate::record::CloseCause::UpstreamBroken) => Went::Badly,
        Outcome::Broken(_) => Went::Nowhere,
    }
}

/// The tries of one request.
struct Tries<'w> {
    worker: &'w Worker,
    upstream: &'w Upstream,
    /// The whole request is at hand.
    is_held: bool,
    fresh_only: bool,
    /// Nobody else is left, and the last one asked is only busy.
    waits: bool,
    kept: bool,
    total_due_ms: u64,
    try_due_ms: u64,
}

impl<'w> Tries<'w> {
    fn new(worker: &'w Worker, upstream: &'w Upstream, job: &Job, progress: &Progress) -> Self {
        let is_held = progress.uploaded.get();
        let now_ms = worker.now_ms();
        let after = |timeout_ms: u32| now_ms + u64::from(timeout_ms);
        if let Some(rule) = &upstream.retry
            && is_held
            && job.call.is_idempotent
        {
            progress.retries_left.set(rule.retries);
        }
        Self {
            worker,
            upstream,
            is_held,
            fresh_only: false,
            waits: false,
            kept: false,
            total_due_ms: upstream.total_timeout_ms.map_or(NEVER_MS, after),
            try_due_ms: NEVER_MS,
        }
    }

    /// Sets how long the next try may take.
    fn limit(&mut self, worker: &Worker, watch: &Watch) {
        let own = self
            .upstream
            .retry
            .as_ref()
            .and_then(|rule| rule.try_timeout_ms);
        let own_due_ms = own.map_or(NEVER_MS, |ms| worker.now_ms() + u64::from(ms));
        self.try_due_ms = own_due_ms.min(self.total_due_ms);
        watch.upstream_limit(self.try_due_ms);
        watch.upstream_limit_behind_head(self.total_due_ms);
    }

    fn next(&self, outcome: &Outcome, job: &Job, progress: &Progress) -> Next {
        let refusal = match outcome {
            Outcome::Again => return Next::Again,
            Outcome::Refused(refusal) => *refusal,
            _ => return Next::Done,
        };
        if self.worker.now_ms() >= self.total_due_ms {
            return Next::Done;
        }
        match refusal {
            // Nothing was sent.
            Refusal::ConnectFailed | Refusal::ConnectTimeout => Next::Other,
            Refusal::UpstreamBusy if self.waits => Next::Done,
            Refusal::UpstreamBusy => Next::Waiting,
            Refusal::UpstreamClosed | Refusal::UpstreamTimeout | Refusal::UpstreamMalformed => {
                let may_repeat =
                    self.is_held && job.call.is_idempotent && progress.bytes_out.get() == 0;
                let race = refusal == Refusal::UpstreamClosed
                    && self.kept
                    && !self.fresh_only
                    && !progress.answer_begun.get();
                match may_repeat {
                    true if race => Next::Fresh,
                    true if take_retry(self.worker, self.upstream, progress) => Next::Again,
                    _ => Next::Done,
                }
            }
            _ => Next::Done,
        }
    }

    /// Makes the next try ready; false if nobody is left to ask.
    fn go_on(&mut self, next: Next, job: &mut Job) -> bool {
        self.fresh_only = next == Next::Fresh;
        if next == Next::Fresh {
            return true;
        }
        let mut balance = self.worker.balance.borrow_mut();
        let has_other = job.next_member(&mut balance, self.worker.now_ms());
        if !has_other && next == Next::Again {
            // A kept connection to a target that just failed is no better than it.
            self.fresh_only = true;
        }
        self.waits = !has_other && next == Next::Waiting;
        has_other || matches!(next, Next::Again | Next::Waiting)
    }

    fn give_up(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Refused(_) | Outcome::Broken(_) | Outcome::Again => {
                self.worker.count(Counter::UpstreamErrors);
            }
            Outcome::Answered(_) | Outcome::Switched(_) => {}
        }
        outcome
    }
}

/// Takes a retry, if the request has one left and the upstream's budget too.
pub fn take_retry(worker: &Worker, upstream: &Upstream, progress: &Progress) -> bool {
    let left = progress.retries_left.get();
    let Some(rule) = upstream.retry.as_ref().filter(|_| left > 0) else {
        return false;
    };
    let now_ms = worker.now_ms();
    let taken = worker.balance.borrow_mut().retry(upstream, rule, now_ms);
    if taken {
        progress.retries_left.set(left - 1);
    } else {
        worker.count(Counter::UpstreamRetriesDenied);
    }
    taken
}

/// A try that a target knows of until it is over, however it ends.
struct Trial<'w> {
    worker: &'w Worker,
    upstream: &'w Upstream,
    member: Rc<Member>,
    went: Cell<Went>,
}

impl<'w> Trial<'w> {
    fn begin(worker: &'w Worker, upstream: &'w Upstream, member: Rc<Member>) -> Self {
        let now_ms = worker.now_ms();
        worker.balance.borrow().begin(&member, now_ms);
        Self {
            worker,
            upstream,
            member,
            went: Cell::new(Went::Nowhere),
        }
    }

    fn end(self, went: Went) {
        self.went.set(went);
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        let now_ms = self.worker.now_ms();
        let balance = self.worker.balance.borrow();
        let change = balance.end(self.upstream, &self.member, self.went.get(), now_ms);
        let (upstream, target) = (&self.upstream.name, &self.member.endpoint);
        let worker = self.worker.index;
        match change {
            None => {}
            Some(Change::Opened) => {
                self.worker.count(Counter::CircuitsOpened);
                tracing::warn!(worker, upstream, %target, "failures in a row: the circuit opened");
            }
            Some(Change::Closed) => {
                tracing::info!(worker, upstream, %target, "good trials: the circuit closed");
            }
            Some(Change::Ejected) => {
                self.worker.count(Counter::TargetsEjected);
                tracing::warn!(worker, upstream, %target, "too many failures: the target is ejected");
            }
        }
    }
}
