//! A worker's heartbeat: what is done a few times a second and not per request.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Worker;
use crate::io::{self, Listener, Wakeup};
use crate::ledger::LimitNews;
use crate::link::Phase;
use crate::record::Counter;

/// Time between two beats; deadlines are late by at most this.
const BEAT: Duration = Duration::from_micros(BEAT_US);
pub(super) const BEAT_US: u64 = 50_000;

/// Once it drains, a connection without a request for so long is closed.
const REST_MAX_MS: u64 = 1_000;

/// Usage is handed over every so many beats: with the turn of the thread that writes it down
/// ([`spool`](crate::spool)) a process that is killed loses less than a second of it.
const HANDING_OVER: u32 = 10;
/// Idle connections to targets are pruned every so many beats.
const PRUNING: u32 = 20;

/// What is due at a beat beside what is done at each.
#[derive(Clone, Copy, Debug)]
struct Due {
    hand_over: bool,
    prune: bool,
}

/// Runs until the worker has drained: its last connection ended, or its time is over.
pub async fn run(worker: Rc<Worker>, listeners: Vec<Rc<Listener>>, wakeup: Wakeup) {
    io::spawn(listen_for_calls(Rc::clone(&worker), listeners, wakeup));
    let mut beats: u32 = 0;
    loop {
        io::sleep(BEAT).await;
        beats = beats.wrapping_add(1);
        worker.beat(Due {
            hand_over: beats.is_multiple_of(HANDING_OVER),
            prune: beats.is_multiple_of(PRUNING),
        });
        if worker.draining() && (worker.is_idle() || worker.is_told_to_end()) {
            worker.beat(Due {
                hand_over: true,
                prune: false,
            });
            return;
        }
    }
}

/// Answers the link thread's calls at once: a new view waits, or the node drains.
async fn listen_for_calls(
    worker: Rc<Worker>,
    mut listeners: Vec<Rc<Listener>>,
    mut wakeup: Wakeup,
) {
    while wakeup.called().await {
        worker.adopt();
        if worker.is_told_to_drain() && !worker.draining() {
            worker.drain();
            // Each accept that waits ends; its loop then lets the socket go.
            for listener in listeners.drain(..) {
                listener.stop();
            }
        }
    }
}

impl Worker {
    fn beat(&self, due: Due) {
        self.handle.beats.fetch_add(1, Ordering::Relaxed);
        self.adopt();
        self.look_out();
        let now = self.clock.tick();
        self.deadlines.sweep(now.millis());
        self.turned_away.sweep(now.millis());
        self.parking.beat();
        if self.overload.beat(now.0 / 1_000, &self.load, self.index) {
            self.count(Counter::Overloads);
        }
        self.limits.borrow_mut().reconcile(self.clock.now());
        if self.draining() {
            // Again: a connection may have become idle after the drain began.
            self.close_idle(now.millis());
        }
        if due.prune {
            self.pool.borrow_mut().prune(now.millis());
            self.tunnels.expire(self.clock.now().wall);
        }
        self.tell_ledger(due.hand_over);
        let limits = self.limits.borrow().counts();
        self.recorder
            .borrow_mut()
            .flush(&self.handle, limits, due.hand_over);
    }

    /// Hands over what became of limits, unless the ledger is behind: then it stays and adds up.
    fn tell_ledger(&self, with_tallies: bool) {
        let queue = &self.handle.limits;
        if !queue.has_room() {
            return;
        }
        let mut limits = self.limits.borrow_mut();
        let spent = limits.take_spent();
        let tallies = match with_tallies {
            true => limits.take_tallies().collect(),
            false => Vec::new(),
        };
        queue.push(LimitNews { spent, tallies });
    }

    fn drain(&self) {
        self.draining.set(true);
        self.close_idle(self.now_ms());
    }

    /// A connection that has just had its answer may have a next request on the way, and closing
    /// would cross it: the client then reads a reset. So it gets a while to say it, and an answer
    /// that says `Connection: close`.
    fn close_idle(&self, now_ms: u64) {
        let rest_ms = REST_MAX_MS.min(self.http.drain_timeout_ms / 2);
        self.deadlines.close_idle(now_ms, rest_ms);
    }

    /// Nobody is served, and nobody will be.
    fn is_idle(&self) -> bool {
        self.listening.get() == 0 && self.open_connections() == 0
    }

    fn is_told_to_drain(&self) -> bool {
        self.handle.phase.get() != Phase::Running
    }

    fn is_told_to_end(&self) -> bool {
        self.handle.phase.get() == Phase::Stopping
    }
}
