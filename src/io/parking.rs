//! Takes the buffers of idle connections back.
//!
//! A pending read owns its buffer, and most connections wait most of the time. So a read that waits
//! for a next request is one that this can end: after about a second it is canceled, and *awaited*.
//! It then answers either what had arrived, or that it was canceled before anything did; the bytes
//! that come later stay in the socket for the next read, so nothing is lost either way. Only
//! dropping a canceled operation would lose what it had read. The connection frees its buffer and
//! goes on waiting with one of a few bytes.
//!
//! A request that comes within the second costs nothing more: the same one operation, noted in the
//! set of those that began in this beat.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io;

use monoio::io::{CancelHandle, Canceller};
use nix::libc;

/// Beats that a read may wait before its buffer is taken back; there are twenty in a second.
const BEATS: usize = 20;

/// The waiting reads of one worker, by the beat in which they began.
pub struct Parking {
    // Oldest first; the last one takes those that begin now. Reads that ended take themselves out.
    beats: RefCell<VecDeque<Canceller>>,
}

impl Default for Parking {
    fn default() -> Self {
        Self {
            beats: RefCell::new((0..BEATS).map(|_| Canceller::new()).collect()),
        }
    }
}

impl fmt::Debug for Parking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parking").finish_non_exhaustive()
    }
}

impl Parking {
    /// A worker's beat: cancels the reads that have waited for all [`BEATS`].
    ///
    /// Their number is bounded by how many requests the worker answered in one beat, so this holds
    /// up nobody, however many connections there are.
    pub fn beat(&self) {
        let mut beats = self.beats.borrow_mut();
        beats.push_back(Canceller::new());
        if let Some(oldest) = beats.pop_front() {
            // Not used again: it would keep room for as many reads as it ever held.
            drop(oldest.cancel());
        }
    }

    /// What makes a read one of those that begin now.
    pub(super) fn ticket(&self) -> CancelHandle {
        match self.beats.borrow().back() {
            Some(now) => now.handle(),
            // Never: a beat adds one before it takes one away.
            None => Canceller::new().handle(),
        }
    }
}

/// Whether a read ended because its buffer was wanted back.
pub(super) fn is_canceled(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ECANCELED)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::rc::Rc;
    use std::time::Duration;

    use super::super::stream::tests::{on_every_driver, pair};
    use super::*;

    /// Beats until a read that begins now has given its buffer back, and one more.
    async fn all_beats(parking: &Parking) {
        for _ in 0..=BEATS {
            parking.beat();
            // A turn of the loop, in which the canceled reads end.
            crate::io::sleep(Duration::from_millis(1)).await;
        }
    }

    #[test]
    fn a_read_that_waits_long_enough_gives_its_buffer_back() {
        on_every_driver(async || {
            let (mut near, mut far) = pair().await;
            let parking = Rc::new(Parking::default());
            let beating = Rc::clone(&parking);
            crate::io::spawn(async move { all_beats(&beating).await });
            let (outcome, buffer) = near.read.read_idle(Vec::with_capacity(64), &parking).await;
            assert!(outcome.is_none(), "{outcome:?}");
            assert!(buffer.is_empty() && buffer.capacity() >= 64);
            // And nothing of what comes later is lost.
            far.write_all(b"hello").unwrap();
            let (outcome, buffer) = near.read.read_idle(buffer, &parking).await;
            assert_eq!((outcome.unwrap().unwrap(), &buffer[..]), (5, &b"hello"[..]));
        });
    }

    #[test]
    fn a_read_that_is_served_in_time_hears_nothing_of_it() {
        on_every_driver(async || {
            let (mut near, mut far) = pair().await;
            let parking = Parking::default();
            for n in 0..3 * BEATS {
                far.write_all(&[b'a'; 3]).unwrap();
                let reading = near.read.read_idle(Vec::with_capacity(64), &parking);
                let (outcome, _) = reading.await;
                assert_eq!(outcome.unwrap().unwrap(), 3, "{n}");
                parking.beat();
            }
        });
    }

    /// Bytes arrive while the read is canceled, in either order.
    #[test]
    fn bytes_that_arrive_at_the_moment_of_parking_are_read_then_or_later() {
        on_every_driver(async || {
            let (mut near, far) = pair().await;
            let parking = Rc::new(Parking::default());
            let mut parked = 0;
            for n in 0..600_u32 {
                let beating = Rc::clone(&parking);
                let mut writer = far.try_clone().unwrap();
                crate::io::spawn(async move {
                    let turn = Duration::from_micros(100);
                    // The read is in the kernel, or still on its way there.
                    if n % 2 == 0 {
                        crate::io::sleep(turn).await;
                    }
                    if n % 3 == 0 {
                        writer.write_all(&n.to_be_bytes()).unwrap();
                    }
                    (0..=BEATS).for_each(|_| beating.beat());
                    if n % 3 == 2 {
                        crate::io::sleep(turn).await;
                    }
                    if n % 3 > 0 {
                        writer.write_all(&n.to_be_bytes()).unwrap();
                    }
                });
                let mut buffer = Vec::with_capacity(64);
                while buffer.len() < 4 {
                    let (outcome, read) = near.read.read_idle(buffer, &parking).await;
                    buffer = read;
                    match outcome {
                        Some(outcome) => assert!(outcome.unwrap() > 0),
                        None => parked += 1,
                    }
                }
                assert_eq!(buffer, n.to_be_bytes());
            }
            assert!(parked > 0, "no read was ever canceled");
        });
    }
}
