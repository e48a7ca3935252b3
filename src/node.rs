//! A node: one data-plane process, run, drained and ended.
//!
//! [`start`] puts it together from [`Settings`]; then it waits for signals. SIGTERM and SIGINT
//! drain, a second one ends at once; SIGHUP takes files anew; SIGUSR2 lets a new process take over
//! ([`upgrade`]), with new settings, a new program or both. Absent on purpose: what a worker does,
//! and a change of settings within a process.

mod activation;
mod error;
mod hand_over;
mod listen;
mod notify;
mod predecessor;
mod signals;
mod sockets;
mod start;
mod successor;
mod upgrade;
mod watchdog;

pub use error::NodeError;
pub use predecessor::Predecessor;
pub use start::{peppers, rollback_secret};

use crate::clock::{Clock, Tick};
use crate::ledger::Ledger;
use crate::limit::Bank;
use crate::link::admin::Admin;
use crate::link::feed::Link;
use crate::link::state::NodeState;
use crate::link::{Phase, WorkerState};
use crate::record::log_thread::LogThread;
use crate::settings::Settings;
use crate::spool::Spool;
use crate::trace::ExportThread;
use crossbeam::channel::{Receiver, select};
use serde::Serialize;
use signals::{Signal, Signals};
use sockets::{Group, Inherited};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use successor::{News, Start, Successor};
use upgrade::Upgrade;
use watchdog::Watchdog;

/// How long workers may take to close what a drain left open, in nanoseconds.
const CLOSE_NS: u64 = 1_000_000_000;

/// How long control may take to acknowledge the last usage, in nanoseconds.
const LAST_USAGE_NS: u64 = 2_000_000_000;

/// How long the disk may take for the last lines of the access log.
const LAST_LINES: Duration = Duration::from_secs(2);

/// How long the collector may take for the last spans.
const LAST_SPANS: Duration = Duration::from_secs(4);

/// Runs a node until it is told to end, or another process has taken over from it. Writes the
/// addresses it listens on to `port_file` once it accepts.
pub fn run(
    settings: Settings,
    port_file: Option<&Path>,
    predecessor: Option<Predecessor>,
) -> Result<(), NodeError> {
    let inherited = match predecessor {
        Some(_) => Inherited::default(),
        None => activation::sockets()?,
    };
    let start = Start::of_this_process().map_err(NodeError::System)?;
    // Before anything slow, so that a signal during a long start is neither lost nor deadly.
    let signals = Signals::catch().map_err(NodeError::System)?;
    if let Some(path) = port_file.filter(|_| predecessor.is_none()) {
        // One from an earlier run would tell whoever waits for it the wrong ports.
        let _ = std::fs::remove_file(path);
    }
    let node = Node::start(settings, inherited, predecessor)?;
    if let Some(path) = port_file {
        node.write_ports(path)?;
    }
    notify::ready();
    match node.wait(&signals, &start) {
        Ok(successor) => {
            node.end(&signals, successor);
            Ok(())
        }
        Err(error) => {
            node.end(&signals, None);
            Err(error)
        }
    }
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    settings: Arc<Settings>,
    state: Arc<NodeState>,
    listen: Vec<SocketAddr>,
    admin_address: SocketAddr,
    /// The sockets that its workers accept from, once more, for a process that takes over.
    sockets: Vec<Group>,
    /// Gone with everything else that another process has taken over.
    admin_socket: Option<TcpListener>,
    admin: Option<Admin>,
    bank: Arc<Bank>,
    log: Option<LogThread>,
    link: Link,
    ledger: Ledger,
    /// None where there is no control to tell.
    spool: Option<Spool>,
    /// None where nothing is traced.
    trace: Option<ExportThread>,
    threads: Vec<JoinHandle<()>>,
    /// Rung when a worker's state changed.
    changed: Receiver<()>,
}

/// What is written to the port file.
#[derive(Debug, Serialize)]
struct Ports<'a> {
    listen: &'a [SocketAddr],
    admin: SocketAddr,
}

impl Node {
    /// Writes its addresses, whole or not at all, for whoever waits for the file.
    fn write_ports(&self, path: &Path) -> Result<(), NodeError> {
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let ports = Ports {
            listen: &self.listen,
            admin: self.admin_address,
        };
        serde_json::to_string(&ports)
            .map_err(io::Error::from)
            .and_then(|text| std::fs::write(&temporary, text + "\n"))
            .and_then(|()| std::fs::rename(&temporary, path))
            .map_err(|cause| NodeError::PortFile {
                path: path.to_owned(),
                cause,
            })
    }

    /// Waits until somebody asks for the end, or no worker is left, or another process serves; that
    /// is returned then.
    fn wait(&self, signals: &Signals, start: &Start) -> Result<Option<Successor>, NodeError> {
        let mut dead = 0;
        let mut upgrade = Upgrade::new(start);
        let mut watchdog = Watchdog::new(&self.state);
        loop {
            select! {
                recv(signals.heard) -> signal => match signal {
                    Ok(Signal::Reload) => self.reload(),
                    Ok(Signal::Upgrade) => upgrade.begin(self),
                    Ok(Signal::End) | Err(_) => return Ok(None),
                },
                recv(upgrade.news()) -> news => match news {
                    Ok(News::Ready { version, workers }) => {
                        tracing::info!(version, workers, "the new process serves");
                        return Ok(upgrade.successor());
                    }
                    Ok(News::Failed(reason)) => upgrade.failed(self, reason),
                    Err(_) => upgrade.failed(self, "nothing is heard of it".to_owned()),
                },
                recv(self.changed) -> _ => {
                    let ended = self.ended();
                    if ended > dead {
                        dead = ended;
                        tracing::error!(ended, "a worker has ended; the others serve on");
                    }
                    if ended == self.state.workers.len() {
                        return Err(NodeError::WorkersEnded);
                    }
                }
                default(watchdog.pause(self.state.clock.tick())) => watchdog.look(&self.state),
            }
        }
    }

    /// SIGHUP: what lies in files is taken anew.
    fn reload(&self) {
        notify::reloading();
        self.reopen_log();
        self.renew_certificates();
        notify::ready();
    }

    fn renew_certificates(&self) {
        let Some(tls) = &self.state.tls else { return };
        match tls.renew() {
            Ok(()) => tracing::info!(certificates = tls.shown().len(), "certificates are renewed"),
            Err(error) => tracing::error!(
                %error,
                "certificates are not renewed; what was shown before is still shown"
            ),
        }
    }

    fn reopen_log(&self) {
        match &self.log {
            Some(log) => log.reopen(),
            None => tracing::debug!("SIGHUP: there is no access log to open anew"),
        }
    }

    fn ended(&self) -> usize {
        self.state
            .workers
            .iter()
            .filter(|worker| worker.state() == WorkerState::Ended)
            .count()
    }

    /// Drains, and ends everything in the order in which it depends on each other.
    fn end(mut self, signals: &Signals, successor: Option<Successor>) {
        let clock = self.state.clock;
        let handed_over = successor.is_some();
        let drain_timeout_ms = self.settings.http.drain_timeout_ms;
        tracing::info!(drain_timeout_ms, "draining");
        self.enter(Phase::Draining);
        // The workers close theirs; with these open as well nobody would be refused.
        self.sockets.clear();
        match &successor {
            None => notify::stopping(),
            Some(successor) => {
                self.admin = None;
                self.admin_socket = None;
                notify::handed_over(successor.pid);
                successor.relieved();
            }
        }
        // Who asks for the end of what has been handed over means both processes, and this one is
        // ending already.
        let mut ignored = usize::from(handed_over);
        let deadline = after(clock, drain_timeout_ms.saturating_mul(1_000_000));
        if !self.wait_for_workers(deadline, Some((signals, &mut ignored))) {
            let open: u64 = self
                .state
                .workers
                .iter()
                .map(|w| w.counters.open_connections())
                .sum();
            tracing::warn!(connections = open, "closing what the drain left open");
            self.enter(Phase::Stopping);
            self.wait_for_workers(after(clock, CLOSE_NS), None);
        }
        let left = self.state.workers.len() - self.ended();
        if left == 0 {
            for thread in self.threads {
                if thread.join().is_err() {
                    tracing::error!("a worker panicked");
                }
            }
        } else {
            tracing::warn!(workers = left, "workers did not end; leaving them");
        }
        // The workers handed over their last counts and lines before they ended.
        if !self.ledger.stop(LAST_LINES) {
            tracing::warn!("the ledger did not write the last consumed quotas in time");
        }
        if let Some(spool) = &self.spool {
            spool.seal();
        }
        self.link.stop(after(clock, LAST_USAGE_NS));
        if let Some(spool) = self.spool
            && !spool.stop(LAST_LINES)
        {
            tracing::warn!("the spool did not write the last usage in time");
        }
        if let Some(log) = self.log
            && !log.stop(LAST_LINES)
        {
            tracing::warn!("the access log did not take its last lines in time");
        }
        if let Some(trace) = self.trace
            && !trace.stop(LAST_SPANS)
        {
            tracing::warn!("the collector did not take the last spans in time");
        }
        // Now it may forget what this process had in flight.
        drop(successor);
        tracing::info!("the node has ended");
    }

    fn enter(&self, phase: Phase) {
        self.state.phase.advance(phase);
        for worker in &self.state.workers {
            worker.wake();
        }
    }

    /// True once every worker has ended; false at the deadline, or when a signal says enough, of
    /// which so many are ignored.
    fn wait_for_workers(
        &self,
        deadline: Tick,
        mut signals: Option<(&Signals, &mut usize)>,
    ) -> bool {
        let never = crossbeam::channel::never();
        while self.ended() < self.state.workers.len() {
            let left = Duration::from_nanos(deadline.since_ns(self.state.clock.tick()));
            if left.is_zero() {
                return false;
            }
            let heard = signals
                .as_ref()
                .map_or(&never, |(signals, _)| &signals.heard);
            select! {
                recv(self.changed) -> _ => {}
                recv(heard) -> signal => match (signal, &mut signals) {
                    (Ok(Signal::Reload), _) => self.reopen_log(),
                    (Ok(Signal::Upgrade), _) => tracing::warn!("draining; no upgrade is begun"),
                    (Ok(Signal::End), Some((_, ignored))) if **ignored > 0 => **ignored -= 1,
                    (Ok(Signal::End) | Err(_), _) => return false,
                },
                default(left) => {}
            }
        }
        true
    }
}

fn after(clock: Clock, ns: u64) -> Tick {
    Tick(clock.tick().0.saturating_add(ns))
}
