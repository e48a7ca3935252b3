//! Hands a new view from the link thread to one worker, without a lock and without a worker ever
//! freeing one.
//!
//! The link thread [offers](ViewSlot::offer) a view. The worker asks with one relaxed load per
//! request whether one [waits](ViewSlot::newer_than), [adopts](ViewSlot::adopt) it between two
//! requests, and sends the old one back to be dropped by the link thread: unmapping a gigabyte must
//! never run on a worker. The generation it then serves is what receipts are made of.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::atomic::AtomicCell;
use crossbeam::queue::SegQueue;
use crossbeam::utils::CachePadded;

use super::view::View;

const _: () = assert!(AtomicCell::<Option<Arc<View>>>::is_lock_free());

/// The meeting point of the link thread and one worker.
#[derive(Default)]
pub struct ViewSlot {
    /// Generation last offered, 0 before the first. Read by the worker on every request, written
    /// once per generation.
    pending: CachePadded<AtomicU64>,
    /// Generation that the worker judges by, 0 before the first. Written by the worker.
    served: CachePadded<AtomicU64>,
    waiting: AtomicCell<Option<Arc<View>>>,
    retired: SegQueue<Arc<View>>,
}

impl fmt::Debug for ViewSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewSlot")
            .field("pending", &self.pending.load(Ordering::Relaxed))
            .field("served", &self.served())
            .finish_non_exhaustive()
    }
}

impl ViewSlot {
    /// A slot with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Link thread: leaves a view for the worker. A view that the worker did not come to adopt is
    /// answered, for the caller to drop.
    #[must_use = "the replaced view is to be dropped here, on the link thread"]
    pub fn offer(&self, view: Arc<View>) -> Option<Arc<View>> {
        let generation = view.generation();
        let replaced = self.waiting.swap(Some(view));
        self.pending.store(generation, Ordering::Release);
        replaced
    }

    /// Worker: whether a view other than `generation` was offered last; one relaxed load. After a
    /// rollback the other one is older. May say yes a moment before or after there is one to take.
    #[inline]
    pub fn newer_than(&self, generation: u64) -> bool {
        let pending = self.pending.load(Ordering::Relaxed);
        pending != generation && pending != 0
    }

    /// Worker: takes the view that waits, if any. See [`ViewSlot::adopt`] for all of the exchange.
    pub fn take(&self) -> Option<Arc<View>> {
        self.waiting.take()
    }

    /// Worker, between two requests: replaces `current` by the view that waits, sends the old one
    /// back and says from now on that the new one is served. Answers whether there was one.
    pub fn adopt(&self, current: &mut Option<Arc<View>>) -> bool {
        let Some(view) = self.take() else {
            return false;
        };
        let generation = view.generation();
        if let Some(old) = current.replace(view) {
            self.retire(old);
        }
        self.serve(generation);
        true
    }

    /// Worker: every request from here on is judged by this generation.
    pub fn serve(&self, generation: u64) {
        self.served.store(generation, Ordering::Release);
    }

    /// The generation that the worker judges by; 0 before the first.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Acquire)
    }

    /// Worker: sends a view back that it no longer reads.
    pub fn retire(&self, view: Arc<View>) {
        self.retired.push(view);
    }

    /// Link thread: drops what the worker sent back; answers how many views that were.
    pub fn drop_retired(&self) -> usize {
        std::iter::from_fn(|| self.retired.pop()).count()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::snapshot::fixture::Fixture;

    fn view(generation: u64) -> Arc<View> {
        Fixture::small().view(generation)
    }

    #[test]
    fn an_offered_view_is_adopted_once_and_the_old_one_comes_back() {
        let slot = ViewSlot::new();
        let mut current = None;
        assert!(!slot.newer_than(0));
        assert!(!slot.adopt(&mut current));
        assert!(slot.offer(view(3)).is_none());
        assert!(slot.newer_than(0));
        assert!(slot.adopt(&mut current));
        assert_eq!(slot.served(), 3);
        assert!(!slot.newer_than(3));
        assert!(!slot.adopt(&mut current));
        assert_eq!(slot.drop_retired(), 0);
        assert!(slot.offer(view(4)).is_none());
        assert!(slot.adopt(&mut current));
        assert_eq!(current.expect("adopted").generation(), 4);
        assert_eq!(slot.drop_retired(), 1);
    }

    #[test]
    fn a_view_that_nobody_came_for_goes_back_to_who_offered_it() {
        let slot = ViewSlot::new();
        assert!(slot.offer(view(3)).is_none());
        assert_eq!(slot.offer(view(4)).expect("replaced").generation(), 3);
        assert_eq!(slot.take().expect("waiting").generation(), 4);
        assert_eq!(slot.served(), 0);
    }

    #[test]
    fn a_rollback_is_adopted_like_any_other_view() {
        let slot = ViewSlot::new();
        let mut current = Some(view(9));
        assert!(slot.offer(view(5)).is_none());
        assert!(slot.newer_than(9));
        assert!(slot.adopt(&mut current));
        assert!(!slot.newer_than(5));
        assert_eq!(slot.served(), 5);
    }

    #[test]
    fn across_threads_no_view_is_lost_or_dropped_by_the_worker() {
        let slot = ViewSlot::new();
        let views: Vec<_> = (1..=200).map(view).collect();
        let adopted = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut current: Option<Arc<View>> = None;
                let mut generation = 0;
                while generation < 200 {
                    if slot.newer_than(generation) && slot.adopt(&mut current) {
                        let view = current.as_ref().expect("adopted");
                        assert!(view.generation() > generation, "went back");
                        generation = view.generation();
                    }
                    std::thread::yield_now();
                }
                adopted.store(true, Ordering::Release);
                slot.retire(current.expect("adopted"));
            });
            for view in &views {
                drop(slot.offer(Arc::clone(view)));
                std::thread::yield_now();
            }
        });
        assert!(adopted.into_inner());
        assert_eq!(slot.served(), 200);
        slot.drop_retired();
        for view in views {
            assert_eq!(Arc::strong_count(&view), 1);
        }
    }
}
