//! Feeds the service manager's watchdog (`WatchdogSec=`) as long as every worker's loop turns.
//!
//! A worker that is stuck serves nobody, however alive its process looks; unfed, the manager starts
//! the node anew.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::notify;
use crate::clock::Tick;
use crate::link::WorkerState;
use crate::link::state::NodeState;

/// Without a watchdog nothing is due.
const NEVER: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
pub(super) struct Watchdog {
    every: Option<Duration>,
    due: Tick,
    /// The beats of each worker at the last look.
    beats: Vec<u64>,
}

impl Watchdog {
    pub(super) fn new(state: &NodeState) -> Self {
        // Half of what the manager waits for, as its documents advise.
        Self::every(notify::watchdog().map(|limit| limit / 2), state)
    }

    fn every(every: Option<Duration>, state: &NodeState) -> Self {
        Self {
            every,
            due: every.map_or(Tick::default(), |every| next(state.clock.tick(), every)),
            beats: vec![0; state.workers.len()],
        }
    }

    /// How long until the next look.
    pub(super) fn pause(&self, now: Tick) -> Duration {
        match self.every {
            Some(_) => Duration::from_nanos(self.due.since_ns(now)),
            None => NEVER,
        }
    }

    /// Looks, if it is time to, and says so to the manager if all is well.
    pub(super) fn look(&mut self, state: &NodeState) {
        let now = state.clock.tick();
        let Some(every) = self.every.filter(|_| now >= self.due) else {
            return;
        };
        self.due = next(now, every);
        match self.stuck(state) {
            None => notify::alive(),
            Some(worker) => tracing::error!(worker, "a worker is stuck; the watchdog is not fed"),
        }
    }

    /// A worker whose loop has not turned since the last look.
    fn stuck(&mut self, state: &NodeState) -> Option<usize> {
        let mut stuck = None;
        for (worker, seen) in state.workers.iter().zip(&mut self.beats) {
            let beats = worker.beats.load(Ordering::Relaxed);
            // One that has ended is told of by itself.
            if beats == *seen && worker.state() == WorkerState::Serving {
                stuck = Some(worker.index);
            }
            *seen = beats;
        }
        stuck
    }
}

fn next(now: Tick, every: Duration) -> Tick {
    let every_ns = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX);
    Tick(now.0.saturating_add(every_ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::testing::Bench;

    #[test]
    fn a_worker_is_stuck_when_its_loop_has_not_turned_since_the_last_look() {
        let directory = tempfile::tempdir().expect("makes a directory");
        let node = Bench::new(directory.path(), 2, None);
        let state = &node.state;
        let mut watchdog = Watchdog::every(Some(Duration::from_secs(1)), state);
        let beat = |index: usize| state.workers[index].beats.fetch_add(1, Ordering::Relaxed);
        for worker in &state.workers {
            worker.report(WorkerState::Serving);
        }
        beat(0);
        beat(1);
        assert_eq!(watchdog.stuck(state), None);
        beat(0);
        assert_eq!(watchdog.stuck(state), Some(1));
        beat(0);
        beat(1);
        assert_eq!(watchdog.stuck(state), None);
        state.workers[1].report(WorkerState::Ended);
        beat(0);
        assert_eq!(watchdog.stuck(state), None);
    }
}
