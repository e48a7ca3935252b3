//! Deadlines of connections, kept by one sweep a worker instead of a timer per read.
//!
//! A connection writes into its [`Watch`] what it waits for and until when; the sweep, a few times
//! a second, shuts down the socket of whoever is late. The waiting operation then ends by itself,
//! with whatever had arrived, and its code asks [`Watch::expired`] why. So no operation is ever
//! canceled, setting a deadline costs two stores, and a deadline is late by one sweep at most.
//!
//! Invariant: a watch never names a descriptor that its owner has closed. [`Guard`] is declared
//! after the stream it watches, so it is dropped first; [`Watch::release`] ends an upstream's turn.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::Rc;

use crate::io::{Peek, Shutdown, peek, shut};

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
    /// The client to take what was sent.
    Taking,
}

/// One connection's deadlines.
#[derive(Debug)]
pub struct Watch {
    client: RawFd,
    client_due_ms: Cell<u64>,
    waiting: Cell<Waiting>,
    upstream: Cell<Option<RawFd>>,
    upstream_due_ms: Cell<u64>,
    client_expired: Cell<Option<Waiting>>,
    upstream_expired: Cell<bool>,
    client_gone: Cell<bool>,
}

const NEVER_MS: u64 = u64::MAX;

impl Watch {
    fn new(client: RawFd) -> Self {
        Self {
            client,
            client_due_ms: Cell::new(NEVER_MS),
            waiting: Cell::new(Waiting::Nothing),
            upstream: Cell::new(None),
            upstream_due_ms: Cell::new(NEVER_MS),
            client_expired: Cell::new(None),
            upstream_expired: Cell::new(false),
            client_gone: Cell::new(false),
        }
    }

    /// The client has until `due_ms` (monotonic) for `what`.
    pub fn client_until(&self, what: Waiting, due_ms: u64) {
        self.waiting.set(what);
        self.client_due_ms.set(due_ms);
    }

    /// Nothing is asked of the client for now.
    pub fn client_free(&self) {
        self.client_until(Waiting::Nothing, NEVER_MS);
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

    fn sweep(&self, now_ms: u64, look_for_gone: bool) {
        if self.client_due_ms.get() <= now_ms {
            self.expire_client();
        }
        let Some(upstream) = self.upstream.get() else {
            return;
        };
        if self.upstream_due_ms.get() <= now_ms {
            self.upstream_expired.set(true);
            self.upstream_due_ms.set(NEVER_MS);
            shut(upstream, Shutdown::Both);
        } else if look_for_gone
            && self.waiting.get() == Waiting::Nothing
            && peek(self.client) == Peek::Gone
        {
            // Nobody waits for this answer any more: set the upstream free.
            self.client_gone.set(true);
            shut(upstream, Shutdown::Both);
        }
    }

    fn expire_client(&self) {
        let what = self.waiting.get();
        self.client_expired.set(Some(what));
        self.client_due_ms.set(NEVER_MS);
        match what {
            // The answer that says so must still go out.
            Waiting::Head | Waiting::Body => shut(self.client, Shutdown::Read),
            _ => shut(self.client, Shutdown::Both),
        }
    }
}

/// All watches of one worker.
#[derive(Debug, Default)]
pub struct Deadlines {
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

/// A client that left is looked for every this many sweeps: one system call for each connection
/// that waits for its upstream.
const SWEEPS_PER_LOOK: u32 = 10;

impl Deadlines {
    /// Watches the connection `client`.
    pub fn watch(self: &Rc<Self>, client: RawFd) -> Guard {
        let watch = Rc::new(Watch::new(client));
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
        let look_for_gone = sweeps.is_multiple_of(SWEEPS_PER_LOOK);
        for watch in self.watches.borrow().iter().flatten() {
            watch.sweep(now_ms, look_for_gone);
        }
    }

    /// Ends the waiting of connections that are between requests: a request that has arrived is
    /// still read and served, then the connection closes.
    pub fn close_idle(&self) {
        for watch in self.watches.borrow().iter().flatten() {
            if watch.waiting.get() == Waiting::Idle {
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
        guard.client_until(Waiting::Idle, u64::MAX);
        far.write_all(b"last words").unwrap();
        deadlines.close_idle();
        let mut buffer = [0; 32];
        let length = near.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"last words");
        assert_eq!(near.read(&mut buffer).unwrap(), 0);
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
