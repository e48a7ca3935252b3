//! One value that a thread replaces now and then, and that workers follow.
//!
//! A worker keeps a copy of its own and looks whether it is the newest: one relaxed load, and a lock
//! only after a change. For what is small and lies outside of snapshots; a
//! [`View`](crate::snapshot::View) is handed over by its own [`ViewSlot`](crate::snapshot::ViewSlot),
//! because no worker may be the one that drops it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The newest value.
#[derive(Debug, Default)]
pub struct Published<T> {
    version: AtomicU64,
    value: Mutex<Arc<T>>,
}

/// A follower's copy.
#[derive(Debug)]
pub struct Latest<T> {
    version: u64,
    value: Arc<T>,
}

impl<T> Published<T> {
    /// Publishes the first value.
    pub fn new(value: T) -> Self {
        Self {
            version: AtomicU64::new(0),
            value: Mutex::new(Arc::new(value)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Arc<T>> {
        // It is replaced as a whole, so a panic while it was locked leaves it whole.
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes the next value.
    pub fn replace(&self, value: T) {
        let value = Arc::new(value);
        let before = std::mem::replace(&mut *self.lock(), value);
        self.version.fetch_add(1, Ordering::Release);
        drop(before);
    }

    /// The newest value.
    pub fn newest(&self) -> Arc<T> {
        Arc::clone(&self.lock())
    }

    /// A follower's first copy.
    pub fn latest(&self) -> Latest<T> {
        // The version first: a value that comes in between is then noticed at the next look.
        let version = self.version.load(Ordering::Acquire);
        Latest {
            version,
            value: self.newest(),
        }
    }
}

impl<T> Latest<T> {
    /// The value as of the last look.
    pub fn value(&self) -> &Arc<T> {
        &self.value
    }

    /// Looks for a newer value; whether there was one.
    pub fn renew(&mut self, published: &Published<T>) -> bool {
        let newer = published.version.load(Ordering::Relaxed) != self.version;
        if newer {
            *self = published.latest();
        }
        newer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_sees_each_replacement_once() {
        let published = Published::new(1);
        let mut latest = published.latest();
        assert!(!latest.renew(&published));
        published.replace(2);
        assert_eq!((**latest.value(), *published.newest()), (1, 2));
        assert!(latest.renew(&published) && !latest.renew(&published));
        assert_eq!(**latest.value(), 2);
    }
}
