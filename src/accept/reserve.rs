//! A descriptor kept in reserve, for when the process has no other.
//!
//! Out of descriptors, an accept fails and the connection stays in the kernel's queue: its client
//! waits for nothing, and the accept would fail again at once. Giving the reserve up lets the next
//! accept succeed, so that the connection can be told so and closed.

use std::fs::File;
use std::io;

use nix::errno::Errno;

/// One descriptor, or the place for it.
#[derive(Debug)]
pub struct Reserve(Option<File>);

impl Reserve {
    /// A reserve, filled if a descriptor is left.
    pub fn new() -> Self {
        let mut reserve = Self(None);
        reserve.fill();
        reserve
    }

    /// Whether it is filled now. Tries to fill it: the process is out of descriptors for as long as
    /// that fails.
    pub fn fill(&mut self) -> bool {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
        self.0.is_some()
    }

    /// Gives the descriptor up; false if there was none.
    pub fn give_up(&mut self) -> bool {
        self.0.take().is_some()
    }
}

/// The process, or the system, has no descriptor left.
pub fn is_exhausted(error: &io::Error) -> bool {
    [Errno::EMFILE, Errno::ENFILE]
        .map(|errno| Some(errno as i32))
        .contains(&error.raw_os_error())
}
