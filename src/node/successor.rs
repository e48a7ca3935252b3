//! The old process's side of an upgrade: it starts the new one, gives it what it has, and serves on
//! until the new one does.

use std::ffi::OsString;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded};

use super::hand_over::{self, Answer, Offer, VARIABLE, Yours};

/// How long the new process may take until it accepts. Loading a large snapshot from a slow disk is
/// most of it, and the old one serves meanwhile: this only ends what will never be.
const READY_WITHIN: Duration = Duration::from_secs(300);

/// How long a process that failed may take to end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Variables that are meant for one process only.
const NOT_INHERITED: [&str; 4] = ["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "WATCHDOG_PID"];

/// How this process was started, and so how the next one is.
#[derive(Clone, Debug)]
pub(super) struct Start {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Start {
    /// As the process was started; before anything changes its directory.
    ///
    /// The name it was called by and not the file it runs: the file behind the name may be a newer
    /// one by then, and a link may point elsewhere.
    pub(super) fn of_this_process() -> io::Result<Self> {
        let mut arguments = std::env::args_os();
        let name = PathBuf::from(arguments.next().unwrap_or_default());
        let program = if name.components().count() > 1 {
            std::path::absolute(name)?
        } else {
            std::env::current_exe()?
        };
        Ok(Self {
            program,
            arguments: arguments.collect(),
        })
    }
}

/// What is heard of the new process.
#[derive(Debug)]
pub(super) enum News {
    /// It accepts.
    Ready { version: String, workers: usize },
    /// It is gone, and why.
    Failed(String),
}

/// A new process that is to take over. Dropped before it did, it is ended.
#[derive(Debug)]
pub(super) struct Successor {
    channel: UnixStream,
    /// Its process.
    pub(super) pid: u32,
    /// Has one message.
    pub(super) news: Receiver<News>,
}

impl Successor {
    /// Starts the process and offers it `descriptors`, as `offer` lists them.
    pub(super) fn start(
        start: &Start,
        offer: Offer,
        descriptors: Vec<OwnedFd>,
    ) -> io::Result<Self> {
        let (ours, theirs) = hand_over::pair()?;
        ours.set_read_timeout(Some(READY_WITHIN))?;
        let channel = ours.try_clone()?;
        let mut command = Command::new(&start.program);
        command
            .args(&start.arguments)
            .env(VARIABLE, "1")
            .stdin(Stdio::from(OwnedFd::from(theirs)));
        for variable in NOT_INHERITED {
            command.env_remove(variable);
        }
        let child = command.spawn()?;
        // With it goes our copy of its end, without which its death would not be noticed.
        drop(command);
        let pid = child.id();
        let (tell, news) = bounded(1);
        std::thread::Builder::new()
            .name("keyway-upgrade".into())
            .spawn(move || {
                let heard = converse(&ours, &offer, &descriptors);
                drop(descriptors);
                let _ = tell.send(settle(&ours, heard, child));
            })?;
        Ok(Self { channel, pid, news })
    }

    /// Tells it that nobody else accepts now. Kept until this process has ended what it has in
    /// flight: its drop tells that.
    pub(super) fn relieved(&self) {
        if let Err(error) = hand_over::tell(&self.channel, &Yours) {
            tracing::warn!(%error, "the new process cannot be told that it is on its own");
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        // Wakes the thread that listens, which then ends a process that has not answered; one that
        // has been relieved has read its last word before it sees this.
        let _ = self.channel.shutdown(Shutdown::Both);
    }
}

fn converse(channel: &UnixStream, offer: &Offer, descriptors: &[OwnedFd]) -> io::Result<Answer> {
    hand_over::tell(channel, offer)?;
    let lent: Vec<_> = descriptors.iter().map(|one| one.as_fd()).collect();
    hand_over::give(channel, &lent)?;
    hand_over::hear(channel)
}

/// What its answer, or the lack of one, comes to. A process that did not get ready is gone after
/// this.
fn settle(channel: &UnixStream, heard: io::Result<Answer>, mut child: Child) -> News {
    let reason = match heard {
        Ok(Answer::Ready { version, workers }) => match child.try_wait() {
            Ok(None) => return News::Ready { version, workers },
            ended => format!("it ended as soon as it was ready ({})", status(ended)),
        },
        Ok(Answer::Failed { reason }) => {
            // It has yet to say so in the log; its end closes the channel.
            let _ = channel.set_read_timeout(Some(LAST_WORDS));
            let _ = hand_over::hear::<Answer>(channel);
            reason
        }
        Err(error) if is_timeout(&error) => {
            format!("it was not ready within {} s", READY_WITHIN.as_secs())
        }
        Err(error) if is_end(&error) => {
            // The code of a process that is ending already stays what it is. One that lives on was
            // given up by this side.
            let _ = child.kill();
            let ended = status(child.wait().map(Some));
            return News::Failed(format!("it ended before it was ready ({ended})"));
        }
        Err(error) => format!("it does not answer as a new process does: {error}"),
    };
    let _ = child.kill();
    let _ = child.wait();
    News::Failed(reason)
}

/// Its end is closed, be it with something unread.
fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn status(ended: io::Result<Option<std::process::ExitStatus>>) -> String {
    match ended {
        Ok(Some(status)) => status.to_string(),
        Ok(None) => "still running".to_owned(),
        Err(error) => error.to_string(),
    }
}
