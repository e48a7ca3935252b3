//! Lends a stream's descriptor to calls that want a borrowed one.

#![expect(
    unsafe_code,
    reason = "the runtime's stream gives its descriptor only as a number"
)]

use std::os::fd::BorrowedFd;

use super::Stream;

/// The descriptor of `stream`, for as long as the stream is borrowed.
pub fn of(stream: &Stream) -> BorrowedFd<'_> {
    // SAFETY: the stream owns the descriptor and closes it only when dropped; the result's
    // lifetime is that of the borrow, so it cannot outlive it.
    // `a_reset_stream_shows_its_peer_a_reset` uses it.
    unsafe { BorrowedFd::borrow_raw(stream.fd()) }
}
