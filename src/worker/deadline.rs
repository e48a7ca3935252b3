//! Deadlines of connections, kept by one sweep a worker instead of a timer per read.
//!
//! A connection writes into its [`Watch`] what it waits for and until when; the sweep, a few times
//! a second, shuts down the socket of whoever is late. The waiting operation then ends by itself,
//! with whatever had arrived, and its code asks [`Watch::expired`] why. So no operation is ever
//! canceled, setting a deadline costs two stores, and a deadline is late by one sweep at most.
//!
//! A client's two directions are watched apart, for an answer may begin before its request has come
//! whole. Both have a least pace beside their deadline, see [`pace`](super::pace).
//!
//! Invariant: a watch never names a descriptor that its owner has closed. [`Guard`] is declared
//! after the stream it watches, so it is dropped first; [`Watch::release`] ends an upstream's turn.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::Rc;

use super::pace::{Credit, Pace};
use crate::io::{Peek, Shutdown, peek, shut, unsent_bytes};

/// What a connection waits for on its client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing that can be late.
    Nothing,
    /// The first byte of a next request.
    Idle,
    /// The rest of a head.
    Head,
    /// More of a body.
    Body,
    /// Anything to move in a tunnel.
    Tunnel,
    /// The client to take what was sent.
    Taking,
}

/// One connection's deadlines.
#[derive(Debug)]
pub struct Watch {
    client: RawFd,
    client_due_ms: Cell<u64>,
    waiting: Cell<Waiting>,
    /// Since when it has been [`Waiting::Idle`], if it is.
    idle_since_ms: Cell<u64>,
    body: Paced,
    taking_due_ms: Cell<u64>,
    answer: Paced,
    queued: Cell<Option<u32>>,
    upstream: Cell<Option<RawFd>>,
    upstream_due_ms: Cell<u64>,
    upstream_limit_ms: Cell<u64>,
    limit_behind_head_ms: Cell<u64>,
    client_expired: Cell<Option<Waiting>>,
    upstream_expired: Cell<bool>,
    client_gone: Cell<bool>,
}

/// One direction of a client.
#[derive(Debug, Default)]
struct Paced {
    /// What it may still fall behind.
    credit: Cell<Credit>,
    /// Since when it has been waited for.
    since_ms: Cell<u64>,
    /// Bytes that were seen to move in the middle of an operation, whose end will count them again.
    early_bytes: Cell<u64>,
}

impl Paced {
    /// Waiting begins; how long it may take.
    fn begin(&self, pace: Pace, now_ms: u64) -> u64 {
        self.since_ms.set(now_ms);
        pace.lasts_ms(self.credit.get())
    }

    /// So many bytes moved; waiting goes on or ends.
    fn moved(&self, pace: Pace, now_ms: u64, bytes: u64) {
        let waited_ms = now_ms.saturating_sub(self.since_ms.replace(now_ms));
        self.credit
            .set(pace.after(self.credit.get(), waited_ms, bytes));
    }
}

const NEVER_MS: u64 = u64::MAX;

impl Watch {
    fn new(client: RawFd, answer_pace: Pace) -> Self {
        Self {
            client,
            client_due_ms: Cell::new(NEVER_MS),
            waiting: Cell::new(Waiting::Nothing),
            idle_since_ms: Cell::new(0),
            body: Paced::default(),
            taking_due_ms: Cell::new(NEVER_MS),
            answer: Paced {
                credit: Cell::new(answer_pace.full()),
                ..Paced::default()
            },
            queued: Cell::new(None),
            upstream: Cell::new(None),
            upstream_due_ms: Cell::new(NEVER_MS),
            upstream_limit_ms: Cell::new(NEVER_MS),
            limit_behind_head_ms: Cell::new(NEVER_MS),
            client_expired: Cell::new(None),
            upstream_expired: Cell::new(false),
            client_gone: Cell::new(false),
        }
    }

    /// The client has until `due_ms` (monotonic) for `what`.
    pub fn client_until(&self, what: Waiting, due_ms: u64) {
        if what == Waiting::Taking {
            return self.taking_due_ms.set(due_ms);
        }
        self.waiting.set(what);
        self.client_due_ms.set(due_ms);
    }

    /// The client has `timeout_ms` from now (monotonic) to begin.
    pub fn idle(&self, now_ms: u64, timeout_ms: u64) {
        self.idle_since_ms.set(now_ms);
        self.client_until(Waiting::Idle, now_ms.saturating_add(timeout_ms));
    }

    /// Sets what the client may fall behind in its body.
    pub fn body_credit(&self, credit: Credit) {
        self.body.credit.set(credit);
    }

    /// More of a body is awaited.
    pub fn body_awaited(&self, pace: Pace, now_ms: u64, timeout_ms: u64) {
        let left_ms = self.body.begin(pace, now_ms).min(timeout_ms);
        self.client_until(Waiting::Body, now_ms + left_ms);
    }

    /// Some of it came, or it ended.
    pub fn body_came(&self, pace: Pace, now_ms: u64, bytes: u64) {
        self.body.moved(pace, now_ms, bytes);
        self.client_until(Waiting::Nothing, NEVER_MS);
    }

    /// A part of an answer is offered to the client.
    pub fn answer_offered(&self, pace: Pace, now_ms: u64, timeout_ms: u64) {
        let left_ms = self.answer.begin(pace, now_ms).min(timeout_ms);
        self.queued.set(None);
        self.taking_due_ms.set(now_ms + left_ms);
    }

    /// It was taken, or the client is gone.
    pub fn answer_taken(&self, pace: Pace, now_ms: u64, bytes: u64) {
        let early_bytes = self.answer.early_bytes.take();
        let bytes = bytes.saturating_sub(early_bytes);
        self.answer.moved(pace, now_ms, bytes);
        self.taking_due_ms.set(NEVER_MS);
    }

    /// Nothing is asked of the client for now.
    pub fn client_free(&self) {
        self.client_until(Waiting::Nothing, NEVER_MS);
        self.taking_due_ms.set(NEVER_MS);
    }

    /// The upstream connection `fd` belongs to this exchange until [`Watch::release`].
    pub fn engage(&self, fd: RawFd) {
        self.upstream.set(Some(fd));
        self.upstream_due_ms.set(NEVER_MS);
        self.upstream_expired.set(false);
    }

    /// The upstream has until `due_ms` (monotonic) for its next step.
    pub fn upstream_until(&self, due_ms: u64) {
        self.upstream_due_ms.set(due_ms);
    }

    /// Whatever the upstream's next step is, it has no longer than until `due_ms` (monotonic).
    pub fn upstream_limit(&self, due_ms: u64) {
        self.upstream_limit_ms.set(due_ms);
    }

    /// The limit for what follows the head of its answer.
    pub fn upstream_limit_behind_head(&self, due_ms: u64) {
        self.limit_behind_head_ms.set(due_ms);
    }

    /// The head of the upstream's answer has come.
    pub fn head_came(&self) {
        self.upstream_limit_ms.set(self.limit_behind_head_ms.get());
    }

    /// Nothing is asked of the upstream for now.
    pub fn upstream_free(&self) {
        self.upstream_due_ms.set(NEVER_MS);
    }

    /// The upstream connection goes back to the pool or is closed.
    pub fn release(&self) {
        self.upstream.set(None);
        self.upstream_due_ms.set(NEVER_MS);
    }

    /// What the client was late for, if it was.
    pub fn expired(&self) -> Option<Waiting> {
        self.client_expired.get()
    }

    /// The upstream was late.
    pub fn upstream_expired(&self) -> bool {
        self.upstream_expired.get()
    }

    /// The client left while its answer was awaited.
    pub fn client_gone(&self) -> bool {
        self.client_gone.get()
    }

    fn sweep(&self, now_ms: u64, rules: Rules) {
        let taking = self.taking_due_ms.get() != NEVER_MS;
        if taking && (rules.look || self.taking_due_ms.get() <= now_ms) {
            self.look_what_is_taken(now_ms, rules);
        }
        if self.taking_due_ms.get() <= now_ms {
            self.taking_due_ms.set(NEVER_MS);
            self.expire_client(Waiting::Taking);
        }
        if self.client_due_ms.get() <= now_ms {
            self.client_due_ms.set(NEVER_MS);
            self.expire_client(self.waiting.get());
        }
        let Some(upstream) = self.upstream.get() else {
            return;
        };
        let due_ms = self.upstream_due_ms.get().min(self.upstream_limit_ms.get());
        if due_ms <= now_ms {
            self.upstream_expired.set(true);
            self.upstream_due_ms.set(NEVER_MS);
            self.upstream_limit_ms.set(NEVER_MS);
            shut(upstream, Shutdown::Both);
        } else if rules.look
            && !taking
            && self.waiting.get() == Waiting::Nothing
            && peek(self.client) == Peek::Gone
        {
            // Nobody waits for this answer any more: set the upstream free.
            self.client_gone.set(true);
            shut(upstream, Shutdown::Both);
        }
    }

    /// A write ends only when the kernel has room for the rest of it, which it sees late: after a
    /// third of what may wait was taken. What the client takes in the meantime shows in how much
    /// still waits.
    fn look_what_is_taken(&self, now_ms: u64, rules: Rules) {
        let Some(queued) = unsent_bytes(self.client) else {
            return;
        };
        let before = self.queued.replace(Some(queued));
        let taken = u64::from(before.map_or(0, |before| before.saturating_sub(queued)));
        if taken > 0 {
            self.answer.moved(rules.answer_pace, now_ms, taken);
            let early_bytes = self.answer.early_bytes.get() + taken;
            self.answer.early_bytes.set(early_bytes);
            let left_ms = rules.answer_pace.lasts_ms(self.answer.credit.get());
            self.taking_due_ms
                .set(now_ms + left_ms.min(rules.write_timeout_ms));
        }
    }

    fn expire_client(&self, what: Waiting) {
        self.client_expired.set(Some(what));
        match what {
            // The answer that says so must still go out.
            Waiting::Head | Waiting::Body => shut(self.client, Shutdown::Read),
            _ => shut(self.client, Shutdown::Both),
        }
    }
}

/// What one sweep goes by.
#[derive(Clone, Copy, Debug)]
struct Rules {
    /// This sweep asks the kernel about connections, one system call each.
    look: bool,
    answer_pace: Pace,
    write_timeout_ms: u64,
}

/// All watches of one worker.
#[derive(Debug, Default)]
pub struct Deadlines {
    answer_pace: Pace,
    write_timeout_ms: u64,
    watches: RefCell<Vec<Option<Rc<Watch>>>>,
    free: RefCell<Vec<usize>>,
    sweeps: Cell<u32>,
}

/// Keeps a [`Watch`] in its worker's sweep; dropping it takes it out.
#[derive(Debug)]
pub struct Guard {
    deadlines: Rc<Deadlines>,
    place: usize,
    watch: Rc<Watch>,
}

impl std::ops::Deref for Guard {
    type Target = Watch;

    fn deref(&self) -> &Watch {
        &self.watch
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.deadlines.watches.borrow_mut()[self.place] = None;
        self.deadlines.free.borrow_mut().push(self.place);
    }
}

/// A client that left is looked for every this many sweeps, and so is what a slow one has taken: one
/// system call for each connection that waits for its upstream or its client.
const SWEEPS_PER_LOOK: u32 = 10;

impl Deadlines {
    /// No watch yet; clients take their answers at `answer_pace` and never pause longer than
    /// `write_timeout_ms`.
    pub fn new(answer_pace: Pace, write_timeout_ms: u64) -> Self {
        Self {
            answer_pace,
            write_timeout_ms,
            ..Self::default()
        }
    }

    /// The least pace of those who take answers.
    pub fn answer_pace(&self) -> Pace {
        self.answer_pace
    }

    /// Watches the connection `client`.
    pub fn watch(self: &Rc<Self>, client: RawFd) -> Guard {
        let watch = Rc::new(Watch::new(client, self.answer_pace));
        let mut watches = self.watches.borrow_mut();
        let place = self.free.borrow_mut().pop().unwrap_or_else(|| {
            watches.push(None);
            watches.len() - 1
        });
        watches[place] = Some(Rc::clone(&watch));
        Guard {
            deadlines: Rc::clone(self),
            place,
            watch,
        }
    }

    /// Shuts down whoever is late at `now_ms` (monotonic).
    pub fn sweep(&self, now_ms: u64) {
        let sweeps = self.sweeps.get().wrapping_add(1);
        self.sweeps.set(sweeps);
        let rules = Rules {
            look: sweeps.is_multiple_of(SWEEPS_PER_LOOK),
            answer_pace: self.answer_pace,
            write_timeout_ms: self.write_timeout_ms,
        };
        for watch in self.watches.borrow().iter().flatten() {
            watch.sweep(now_ms, rules);
        }
    }

    /// Ends the waiting of connections that have been between requests for `rest_ms`: a request that
    /// has arrived is still read and served, then the connection closes.
    pub fn close_idle(&self, now_ms: u64, rest_ms: u64) {
        for watch in self.watches.borrow().iter().flatten() {
            let rested_ms = now_ms.saturating_sub(watch.idle_since_ms.get());
            if watch.waiting.get() == Waiting::Idle && rested_ms >= rest_ms {
                shut(watch.client, Shutdown::Read);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_late_client_reads_its_end_and_a_prompt_one_does_not() {
        let deadlines = Rc::new(Deadlines::default());
        let (mut late, _far) = UnixStream::pair().unwrap();
        let guard = deadlines.watch(late.as_raw_fd());
        guard.client_until(Waiting::Head, 100);
        deadlines.sweep(99);
        assert_eq!(guard.expired(), None);
        deadlines.sweep(100);
        assert_eq!(guard.expired(), Some(Waiting::Head));
        assert_eq!(late.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn bytes_that_arrived_before_the_end_are_still_read() {
        use std::io::Write;
        let deadlines = Rc::new(Deadlines::default());
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let guard = deadlines.watch(near.as_raw_fd());
        guard.idle(0, u64::MAX);
        far.write_all(b"last words").unwrap();
        deadlines.close_idle(0, 0);
        let mut buffer = [0; 32];
        let length = near.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"last words");
        assert_eq!(near.read(&mut buffer).unwrap(), 0);
    }

    #[test]
    fn who_has_just_become_idle_is_not_closed_yet() {
        let deadlines = Rc::new(Deadlines::default());
        let (mut near, _far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let guard = deadlines.watch(near.as_raw_fd());
        guard.idle(500, 60_000);
        deadlines.close_idle(1_499, 1_000);
        let kind = near.read(&mut [0; 8]).unwrap_err().kind();
        assert_eq!(kind, std::io::ErrorKind::WouldBlock);
        deadlines.close_idle(1_500, 1_000);
        assert_eq!(near.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn a_dropped_guard_is_swept_no_more_and_its_place_is_used_again() {
        let deadlines = Rc::new(Deadlines::default());
        let (near, _far) = UnixStream::pair().unwrap();
        let first = deadlines.watch(near.as_raw_fd());
        let place = first.place;
        drop(first);
        assert!(deadlines.watches.borrow()[place].is_none());
        assert_eq!(deadlines.watch(near.as_raw_fd()).place, place);
    }

    #[test]
    fn an_upstream_whose_client_left_is_set_free() {
        let deadlines = Rc::new(Deadlines::default());
        let (client, far_client) = UnixStream::pair().unwrap();
        let (mut upstream, _far_upstream) = UnixStream::pair().unwrap();
        let guard = deadlines.watch(client.as_raw_fd());
        guard.engage(upstream.as_raw_fd());
        drop(far_client);
        for _ in 0..SWEEPS_PER_LOOK {
            deadlines.sweep(0);
        }
        assert!(guard.client_gone());
        assert_eq!(upstream.read(&mut [0; 8]).unwrap(), 0);
    }
}
