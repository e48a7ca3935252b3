//! Lends a stream's descriptor to calls that want a borrowed one, asks the kernel what waits on one,
//! and duplicates one that is known by its number alone.

#![expect(
    unsafe_code,
    reason = "the runtime's stream and the service manager give descriptors only as numbers, and no \
              safe call asks for the length of a send queue"
)]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use nix::libc;

use super::Stream;

/// The descriptor of `stream`, for as long as the stream is borrowed.
pub fn of(stream: &Stream) -> BorrowedFd<'_> {
    // SAFETY: the stream owns the descriptor and closes it only when dropped; the result's
    // lifetime is that of the borrow, so it cannot outlive it.
    // `a_reset_stream_shows_its_peer_a_reset` uses it.
    unsafe { BorrowedFd::borrow_raw(stream.fd()) }
}

/// Bytes that were written to `fd` and that its peer has not acknowledged; `None` if the kernel does
/// not say.
pub fn unsent_bytes(fd: RawFd) -> Option<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: `SIOCOUTQ`, which is `TIOCOUTQ` (tcp(7)), writes one int to where it points, and that
    // is a local of this type. A descriptor that is closed or no socket makes it fail.
    // `a_queue_shrinks_when_its_peer_reads` uses it.
    let outcome = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) };
    (outcome == 0).then(|| u32::try_from(bytes).unwrap_or(0))
}

/// A descriptor of its own for what `fd` names.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is borrowed for this one call, which makes another descriptor of it and neither
    // closes it nor keeps it. A number that names nothing makes the call fail.
    // `a_duplicate_outlives_what_it_was_made_of` uses it.
    unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_duplicate_outlives_what_it_was_made_of() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut duplicate = UnixStream::from(duplicate(near.as_raw_fd()).unwrap());
        drop(near);
        duplicate.write_all(b"x").unwrap();
        far.read_exact(&mut [0]).unwrap();
        assert!(super::duplicate(-1).is_err());
    }

    #[test]
    fn a_queue_shrinks_when_its_peer_reads() {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        assert_eq!(unsent_bytes(near.as_raw_fd()), Some(0));
        near.write_all(&[0; 1000]).unwrap();
        assert!(unsent_bytes(near.as_raw_fd()) > Some(0));
        far.read_exact(&mut [0; 1000]).unwrap();
        assert_eq!(unsent_bytes(near.as_raw_fd()), Some(0));
        assert_eq!(unsent_bytes(-1), None);
    }
}
