//! The words between two processes of one node while the new one takes over from the old one.
//!
//! They speak over a socket pair that keeps the bounds of messages; the new process finds its end
//! as its standard input. JSON, so that two versions understand each other as far as they can:
//!
//! 1. old to new: [`Offer`], then the descriptors it lists, [`DESCRIPTORS_PER_MESSAGE`] at a time:
//!    the bank of limits, the sockets for traffic in order, the admin listener;
//! 2. new to old: [`Answer::Ready`] once it accepts on them, or [`Answer::Failed`];
//! 3. old to new: [`Yours`] once it drains and its admin listener is closed.
//!
//! Holding a listening socket takes nothing from whoever accepts on it, so the descriptors can go
//! first and the new process can fail until its last step without anybody noticing.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of these words; processes of different ones do not take over from each other.
pub(super) const PROTOCOL: u32 = 1;

/// Tells a process that its standard input is its end of the hand-over.
pub(super) const VARIABLE: &str = "KEYWAY_HAND_OVER";

/// The kernel takes 253 of them at once (`SCM_MAX_FD`).
const DESCRIPTORS_PER_MESSAGE: usize = 64;

/// Longest message.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// What the old process has to give.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) protocol: u32,
    pub(super) version: String,
    pub(super) pid: u32,
    /// It has a snapshot and serves: whoever takes over must do no less.
    pub(super) ready: bool,
    /// The layout of the bank of limits.
    pub(super) bank_layout: u32,
    pub(super) traffic: Vec<Sockets>,
    pub(super) admin: Vec<Sockets>,
}

/// How many sockets there are of an address.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Sockets {
    pub(super) written: SocketAddr,
    pub(super) bound: SocketAddr,
    pub(super) count: usize,
}

impl Offer {
    /// Descriptors that follow the offer.
    pub(super) fn descriptors(&self) -> usize {
        let sockets = self.traffic.iter().chain(&self.admin);
        let counts = sockets.map(|sockets| sockets.count);
        counts.fold(1, usize::saturating_add)
    }
}

/// What the new process says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It accepts connections.
    Ready { version: String, workers: usize },
    /// It ends.
    Failed { reason: String },
}

/// The old process accepts no more.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Yours;

/// Both ends.
pub(super) fn pair() -> io::Result<(UnixStream, UnixStream)> {
    let family = AddressFamily::UNIX;
    let (ours, theirs) = socketpair(family, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((ours.into(), theirs.into()))
}

/// Sends one message.
pub(super) fn tell(channel: &UnixStream, message: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let mut channel = channel;
    channel.write_all(&bytes)
}

/// Receives one message; `UnexpectedEof` once the other end is closed.
pub(super) fn hear<M: DeserializeOwned>(channel: &UnixStream) -> io::Result<M> {
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let mut channel = channel;
    match channel.read(&mut bytes)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        length => Ok(serde_json::from_slice(&bytes[..length])?),
    }
}

/// Sends descriptors.
pub(super) fn give(channel: &UnixStream, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    for some in descriptors.chunks(DESCRIPTORS_PER_MESSAGE) {
        let mut space = [MaybeUninit::uninit(); SPACE];
        let mut control = SendAncillaryBuffer::new(&mut space);
        // There is room for as many as a message has.
        control.push(SendAncillaryMessage::ScmRights(some));
        let bytes = [IoSlice::new(b"+")];
        sendmsg(channel.as_fd(), &bytes, &mut control, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// Receives `count` descriptors.
pub(super) fn take(channel: &UnixStream, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let mut space = [MaybeUninit::uninit(); SPACE];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut bytes = [IoSliceMut::new(&mut byte)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(channel.as_fd(), &mut bytes, &mut control, flags)?;
        let before = taken.len();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                taken.extend(descriptors);
            }
        }
        if received.bytes == 0 || taken.len() == before {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(taken)
}

const SPACE: usize = rustix::cmsg_space!(ScmRights(DESCRIPTORS_PER_MESSAGE));

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn more_descriptors_than_a_message_holds_arrive_in_order() {
        let (ours, theirs) = pair().unwrap();
        let files: Vec<File> = (0..150).map(|_| tempfile::tempfile().unwrap()).collect();
        let lent: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        give(&ours, &lent).unwrap();
        let taken = take(&theirs, 150).unwrap();
        let inode = |file: &File| file.metadata().unwrap().ino();
        let taken: Vec<_> = taken.into_iter().map(|one| inode(&one.into())).collect();
        assert_eq!(taken, files.iter().map(inode).collect::<Vec<_>>());
    }

    #[test]
    fn an_end_before_the_last_descriptor_is_an_error() {
        let (ours, theirs) = pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        give(&ours, &[file.as_fd()]).unwrap();
        drop(ours);
        assert!(take(&theirs, 2).is_err());
        assert!(hear::<Answer>(&theirs).is_err());
    }

    #[test]
    fn words_that_are_none_are_refused() {
        let (ours, theirs) = pair().unwrap();
        (&ours).write_all(b"{\"Ready\":{}}").unwrap();
        assert!(hear::<Answer>(&theirs).is_err());
        tell(&ours, &Answer::Failed { reason: "r".into() }).unwrap();
        assert!(matches!(hear(&theirs).unwrap(), Answer::Failed { reason } if reason == "r"));
    }
}
