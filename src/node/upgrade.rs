//! Zero-downtime upgrade: a new process takes the node over while this one serves.
//!
//! 1. SIGUSR2 (`keyway upgrade` sends it): this process starts its program again, as it was started
//!    itself, and gives it what it has ([`hand_over`](super::hand_over)): the listening sockets, the
//!    admin listener's, and the bank of limits, so that no key gets its burst twice.
//! 2. The new process reads settings, secrets, certificates and the snapshot, and builds its
//!    workers. If any of that fails it says why and ends, and nothing has happened.
//! 3. It accepts, beside this process. Connections wait in the kernel's queues, which both have, so
//!    there is no moment in which nobody accepts, and no socket is closed.
//! 4. This process stops accepting, tells the service manager whom to watch, and drains.
//!
//! Absent on purpose: connections that move. Each is served to its end, or to the drain's, by the
//! process that accepted it.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use crossbeam::channel::{Receiver, never};

use super::hand_over::{Offer, PROTOCOL, Sockets};
use super::successor::{News, Start, Successor};
use super::{Node, notify};
use crate::limit::bank;
use crate::link::pages::VERSION;

/// The upgrades of one process.
#[derive(Debug)]
pub(super) struct Upgrade<'s> {
    start: &'s Start,
    successor: Option<Successor>,
    news: Receiver<News>,
}

impl<'s> Upgrade<'s> {
    pub(super) fn new(start: &'s Start) -> Self {
        Self {
            start,
            successor: None,
            news: never(),
        }
    }

    /// Where news of the new process come.
    pub(super) fn news(&self) -> &Receiver<News> {
        &self.news
    }

    /// The process that accepts now.
    pub(super) fn successor(self) -> Option<Successor> {
        self.successor
    }

    /// Starts a process that is to take over from `node`.
    pub(super) fn begin(&mut self, node: &Node) {
        if self.successor.is_some() {
            tracing::warn!("an upgrade is under way; this one is not begun");
            return;
        }
        notify::reloading();
        match start(node, self.start) {
            Ok(successor) => {
                tracing::info!(successor = successor.pid, "a new process is to take over");
                node.state.upgrade.begun(Some(successor.pid));
                self.news = successor.news.clone();
                self.successor = Some(successor);
            }
            Err(error) => {
                node.state.upgrade.begun(None);
                self.failed(node, format!("no new process can be started: {error}"));
            }
        }
    }

    /// The new process will not take over: all stays as it is.
    pub(super) fn failed(&mut self, node: &Node, reason: String) {
        tracing::error!(reason, "the upgrade failed; this process serves on");
        node.state.upgrade.failed(reason);
        self.successor = None;
        self.news = never();
        notify::ready();
    }
}

fn start(node: &Node, start: &Start) -> io::Result<Successor> {
    if std::process::id() == 1 {
        return Err(io::Error::other(
            "this is process 1, with which its container ends; replace the container instead",
        ));
    }
    let offer = Offer {
        protocol: PROTOCOL,
        version: VERSION.to_owned(),
        pid: std::process::id(),
        ready: node.state.unready().is_none(),
        bank_layout: bank::LAYOUT,
        traffic: node
            .sockets
            .iter()
            .map(|group| Sockets {
                written: group.written,
                bound: group.bound,
                count: group.sockets.len(),
            })
            .collect(),
        admin: vec![Sockets {
            written: node.settings.admin.listen,
            bound: node.admin_address,
            count: usize::from(node.admin_socket.is_some()),
        }],
    };
    let sockets = node.sockets.iter().flat_map(|group| &group.sockets);
    let descriptors = std::iter::once(node.bank.file())
        .chain(sockets.map(|socket| socket.as_fd()))
        .chain(node.admin_socket.as_ref().map(|socket| socket.as_fd()))
        .map(|descriptor| descriptor.try_clone_to_owned())
        .collect::<io::Result<Vec<OwnedFd>>>()?;
    Successor::start(start, offer, descriptors)
}
