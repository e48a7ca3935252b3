//! The new process's side of an upgrade: what it is given, and when it takes over.

use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{close, dup2_stdin};

use super::hand_over::{self, Answer, Offer, PROTOCOL, Sockets, VARIABLE, Yours};
use super::sockets::{Group, Inherited};
use crate::limit::{Bank, bank};
use crate::link::pages::VERSION;

/// How long the old process may take for each of its words; it has little to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why nothing can be taken over.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// The process was told that its standard input is a hand-over, and it is none.
    #[error(
        "standard input is no hand-over ({VARIABLE} is set, which only `keyway` itself does): {0}"
    )]
    NoChannel(io::Error),
    /// The other process is of a version that hands over in another way.
    #[error(
        "version {version} hands over in another way (protocol {protocol} and not {PROTOCOL}); restart the node"
    )]
    Protocol {
        /// Its version.
        version: String,
        /// How it hands over.
        protocol: u32,
    },
}

/// The process that serves until this one can.
#[derive(Debug)]
pub struct Predecessor {
    channel: UnixStream,
    /// It has a snapshot and serves.
    pub(super) ready: bool,
    /// Its sockets.
    pub(super) inherited: Inherited,
    /// Its bank of limits, if this process can read it.
    pub(super) bank: Option<OwnedFd>,
    pid: u32,
}

impl Predecessor {
    /// The process that started this one to take over from it, if one did. Before anything else
    /// opens a descriptor.
    pub fn meet() -> Result<Option<Self>, HandOverError> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        close_strays();
        Self::hear_out().map(Some)
    }

    fn hear_out() -> Result<Self, HandOverError> {
        let failed = HandOverError::NoChannel;
        let channel = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
        let nothing = std::fs::File::open("/dev/null").map_err(failed)?;
        dup2_stdin(nothing).map_err(|errno| failed(errno.into()))?;
        let channel = UnixStream::from(channel);
        channel.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let offer: Offer = hand_over::hear(&channel).map_err(failed)?;
        if offer.protocol != PROTOCOL {
            let error = HandOverError::Protocol {
                version: offer.version,
                protocol: offer.protocol,
            };
            fail(&channel, &error);
            return Err(error);
        }
        let given = hand_over::take(&channel, offer.descriptors()).map_err(failed)?;
        let mut given = given.into_iter();
        let bank = given.next().filter(|_| offer.bank_layout == bank::LAYOUT);
        let inherited = Inherited {
            traffic: groups(&offer.traffic, &mut given),
            admin: groups(&offer.admin, &mut given),
        };
        Ok(Self {
            channel,
            ready: offer.ready,
            inherited,
            bank,
            pid: offer.pid,
        })
    }

    /// Lets the old process serve on: this one ends.
    pub fn refuse(&self, reason: &dyn Display) {
        fail(&self.channel, reason);
    }

    /// This process accepts: returns when the old one does no longer. One that is gone by then is
    /// no reason to stop: nobody else would serve.
    pub(super) fn relieve(self, workers: usize, bank: &Arc<Bank>) {
        let ready = Answer::Ready {
            version: VERSION.to_owned(),
            workers,
        };
        let relieved = hand_over::tell(&self.channel, &ready)
            .and_then(|()| hand_over::hear::<Yours>(&self.channel));
        match relieved {
            Ok(Yours) => tracing::info!(predecessor = self.pid, "took over"),
            Err(error) => tracing::warn!(
                predecessor = self.pid,
                %error,
                "took over from a process that did not say good-bye"
            ),
        }
        self.await_its_end(Arc::clone(bank));
    }

    /// Forgets what the old process has in flight once it is gone: all of it was given back, unless
    /// it was killed over it.
    fn await_its_end(self, bank: Arc<Bank>) {
        let wait = move || {
            // It says nothing any more; its end closes the channel.
            let _ = self.channel.set_read_timeout(None);
            let _ = hand_over::hear::<Yours>(&self.channel);
            bank.forget_predecessor();
        };
        let thread = std::thread::Builder::new().name("keyway-before".into());
        if let Err(error) = thread.spawn(wait) {
            tracing::warn!(%error, "the end of the process before this one is not waited for");
        }
    }
}

fn fail(channel: &UnixStream, reason: &dyn Display) {
    let reason = reason.to_string();
    // Nobody hears it if the old process is gone; then there is nobody to tell.
    let _ = hand_over::tell(channel, &Answer::Failed { reason });
}

fn groups(listed: &[Sockets], given: &mut impl Iterator<Item = OwnedFd>) -> Vec<Group> {
    let group = |one: &Sockets| Group {
        written: one.written,
        bound: one.bound,
        sockets: given.take(one.count).map(Into::into).collect(),
    };
    listed.iter().map(group).collect()
}

/// Closes what came along by accident: the runtime accepts connections without close-on-exec, and
/// a connection that this process kept open would never end for its client.
fn close_strays() {
    let Ok(listing) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let numbers: Vec<i32> = listing
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // The listing itself is closed already.
        let _ = close(number);
    }
}
