//! Signals, turned into messages that the main thread can wait for.

use crossbeam::channel::{Receiver, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::{Handle, Signals as Iterator};
use std::io;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: drain and end.
    End,
    /// SIGHUP: take anew what lies in files.
    Reload,
    /// SIGUSR2: let a new process take over.
    Upgrade,
}

/// The process's signals while this exists.
#[derive(Debug)]
pub struct Signals {
    /// What was asked for, in order.
    pub heard: Receiver<Signal>,
    handle: Handle,
}

impl Signals {
    /// Catches signals from here on.
    pub fn catch() -> io::Result<Self> {
        let mut signals = Iterator::new([SIGTERM, SIGINT, SIGHUP, SIGUSR2])?;
        let handle = signals.handle();
        let (send, heard) = unbounded();
        std::thread::Builder::new()
            .name("keyway-signals".into())
            .spawn(move || {
                for signal in signals.forever() {
                    let meaning = match signal {
                        SIGHUP => Signal::Reload,
                        SIGUSR2 => Signal::Upgrade,
                        _ => Signal::End,
                    };
                    if send.send(meaning).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { heard, handle })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Ends the thread; the handlers stay, as they must, and do nothing.
        self.handle.close();
    }
}
