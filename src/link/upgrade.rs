//! How the node's upgrades went, for whoever asked for one.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// Written by the main thread, read by the admin listener.
#[derive(Debug, Default)]
pub struct UpgradeState(Mutex<Upgrades>);

/// The upgrades of this process to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Upgrades {
    /// Processes that were to take over; a failed one changes nothing.
    pub attempts: u64,
    /// The one that is to take over now.
    pub successor_pid: Option<u32>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

impl UpgradeState {
    fn lock(&self) -> MutexGuard<'_, Upgrades> {
        // Plain values: a panic while they were held leaves them whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known now.
    pub fn now(&self) -> Upgrades {
        self.lock().clone()
    }

    /// A process was started that is to take over; `None` if it is to be.
    pub fn begun(&self, successor_pid: Option<u32>) {
        let mut upgrades = self.lock();
        upgrades.attempts += 1;
        upgrades.successor_pid = successor_pid;
        upgrades.last_error = None;
    }

    /// It will not.
    pub fn failed(&self, reason: String) {
        let mut upgrades = self.lock();
        upgrades.successor_pid = None;
        upgrades.last_error = Some(reason);
    }
}
