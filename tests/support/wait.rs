//! Waiting: on a condition, with a deadline, and nowhere else in the tests.

use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test fails. Long, for machines under load: a test that
/// passes never waits it out.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(2);

/// The time, to measure with.
#[expect(clippy::disallowed_methods, reason = "tests run in real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits until `condition` holds; fails the test, naming `what`, if it does not in time.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    value(what, || condition().then_some(()));
}

/// Waits until `probe` finds something; fails the test, naming `what`, if it does not in time.
pub fn value<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let began = now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        pause();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pause between two looks at a condition"
)]
fn pause() {
    thread::sleep(PAUSE);
}

/// A door between a test and the threads of its origin: shut until opened.
#[derive(Debug, Default)]
pub struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    /// Lets everyone through, now and later.
    pub fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    /// Waits until it is open; fails if nobody opens it in time.
    pub fn pass(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let shut = |open: &mut bool| !*open;
        let (open, _) = self
            .opened
            .wait_timeout_while(open, PATIENCE, shut)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(*open, "nobody opened the gate");
    }
}
