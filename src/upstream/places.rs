//! The connections to one target, as many as its upstream allows, and the requests that wait for one.
//!
//! Who waits is served in the order of coming, and nobody who comes later is served before. A place
//! is free when a connection closes, and as good as free when one is kept for the next request; both
//! call the first who waits. One that is called and gone passes the call on.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Places at one target, for one worker.
#[derive(Debug, Default)]
pub struct Places {
    open: Cell<u32>,
    tickets: Cell<u64>,
    waiting: RefCell<VecDeque<(u64, Waker)>>,
    /// Tickets that were called and have not come yet.
    called: Cell<usize>,
}

/// A place that is taken; free again when dropped.
#[derive(Debug)]
pub struct Open(Rc<Places>);

/// One who waits.
struct Ticket<'p> {
    places: &'p Places,
    number: u64,
    is_called: bool,
}

impl Places {
    /// Somebody waits, so whoever comes has to as well.
    pub fn has_waiting(&self) -> bool {
        self.called.get() > 0 || !self.waiting.borrow().is_empty()
    }

    /// Takes a place, if fewer than `max` are taken.
    pub fn enter(self: &Rc<Self>, max: Option<u32>) -> Option<Open> {
        if max.is_some_and(|max| self.open.get() >= max) {
            return None;
        }
        self.open.set(self.open.get() + 1);
        Some(Open(Rc::clone(self)))
    }

    /// Waits until `attempt` succeeds, which is made when this one's turn comes; `None` at once if
    /// `waiting_max` wait already.
    pub async fn wait<T>(
        &self,
        waiting_max: u32,
        mut attempt: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        if self.waiting.borrow().len() >= waiting_max as usize {
            return None;
        }
        let number = self.tickets.get();
        self.tickets.set(number + 1);
        let mut ticket = Ticket {
            places: self,
            number,
            is_called: false,
        };
        let mut is_first_look = true;
        loop {
            poll_fn(|context| {
                let mut waiting = self.waiting.borrow_mut();
                if std::mem::take(&mut is_first_look) {
                    waiting.push_back((number, context.waker().clone()));
                    return Poll::Pending;
                }
                match waiting.iter_mut().find(|(one, _)| *one == number) {
                    Some((_, waker)) => {
                        waker.clone_from(context.waker());
                        Poll::Pending
                    }
                    None => Poll::Ready(()),
                }
            })
            .await;
            ticket.is_called = true;
            if let Some(found) = attempt() {
                return Some(found);
            }
            // What was free is gone again: a kept connection that ended, say. First in line still.
            ticket.is_called = false;
            self.called.set(self.called.get() - 1);
            let noop = Waker::noop().clone();
            self.waiting.borrow_mut().push_front((number, noop));
        }
    }

    /// Calls the first who waits.
    pub fn call(&self) {
        let first = self.waiting.borrow_mut().pop_front();
        if let Some((_, waker)) = first {
            self.called.set(self.called.get() + 1);
            waker.wake();
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut waiting = self.places.waiting.borrow_mut();
        let place = waiting.iter().position(|(one, _)| *one == self.number);
        match place {
            Some(place) => {
                waiting.remove(place);
            }
            None => {
                drop(waiting);
                self.places.called.set(self.places.called.get() - 1);
                if !self.is_called {
                    self.places.call();
                }
            }
        }
    }
}

impl Open {
    /// The connection rests: whoever waits may have it.
    pub fn rests(&self) {
        self.0.call();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
        self.0.call();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::{Pin, pin};
    use std::task::Context;

    fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn who_waits_is_served_in_the_order_of_coming() {
        let places = Rc::new(Places::default());
        let held = places.enter(Some(1)).expect("is free");
        assert!(places.enter(Some(1)).is_none());
        let mut first = pin!(places.wait(2, || places.enter(Some(1))));
        let mut second = pin!(places.wait(2, || places.enter(Some(1))));
        let mut third = pin!(places.wait(2, || places.enter(Some(1))));
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        assert!(
            matches!(poll(third.as_mut()), Poll::Ready(None)),
            "the line is full"
        );
        drop(held);
        assert!(poll(second.as_mut()).is_pending());
        assert!(places.has_waiting());
        let Poll::Ready(Some(place)) = poll(first.as_mut()) else {
            panic!("was called");
        };
        assert!(poll(second.as_mut()).is_pending());
        drop(place);
        assert!(matches!(poll(second.as_mut()), Poll::Ready(Some(_))));
        assert!(!places.has_waiting());
    }

    #[test]
    fn a_call_to_one_who_has_gone_is_passed_on() {
        let places = Rc::new(Places::default());
        let held = places.enter(Some(1)).expect("is free");
        let mut second = Box::pin(places.wait(9, || places.enter(Some(1))));
        {
            let mut gone = pin!(places.wait(9, || places.enter(Some(1))));
            let mut called_and_gone = pin!(places.wait(9, || places.enter(Some(1))));
            assert!(poll(gone.as_mut()).is_pending());
            assert!(poll(called_and_gone.as_mut()).is_pending());
            assert!(poll(second.as_mut()).is_pending());
            drop(held);
            // Called, and dropped before it looked: first the one, then the other.
        }
        assert!(matches!(poll(second.as_mut()), Poll::Ready(Some(_))));
        assert_eq!(places.called.get(), 0);
    }

    #[test]
    fn who_finds_nothing_when_called_is_the_first_again() {
        let places = Rc::new(Places::default());
        let held = places.enter(Some(1)).expect("is free");
        let mut waits = pin!(places.wait(9, || places.enter(Some(1))));
        assert!(poll(waits.as_mut()).is_pending());
        held.rests();
        // Nothing was kept after all.
        assert!(poll(waits.as_mut()).is_pending());
        assert!(places.has_waiting());
        drop(held);
        assert!(matches!(poll(waits.as_mut()), Poll::Ready(Some(_))));
        assert_eq!(places.called.get(), 0);
    }
}
