//! `keyway upgrade`: asks a running node to let a new process take over, and tells how it went.
//!
//! The node is found by its admin listener, which only tells; what makes it act is a signal, so
//! whoever may not end the process may not upgrade it either.

use crate::settings::Settings;
use clap::Args;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

/// Let a new process take over from a running node, without a refused or broken connection.
///
/// The node starts its program again, as it was started, with the settings as they are now. The new
/// process reads everything and then accepts beside the old one, which finishes what it has and
/// ends. If the new one cannot serve, the old one goes on as if nothing had happened; exits with 1
/// then.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  keyway check --settings /etc/keyway/keyway.toml && keyway upgrade --settings /etc/keyway/keyway.toml
  keyway upgrade --admin 127.0.0.1:9901")]
pub(super) struct Upgrade {
    /// The settings of the node, which name its admin listener.
    #[arg(long, value_name = "FILE", required_unless_present = "admin")]
    settings: Option<PathBuf>,
    /// The admin listener of the running node itself; for port 0, and beside the settings where these
    /// have changed it.
    #[arg(long, value_name = "IP:PORT")]
    admin: Option<SocketAddr>,
    /// Seconds to wait until the new process serves.
    #[arg(long, value_name = "SECONDS", default_value_t = 310)]
    wait_s: u64,
}

/// Pause between two looks.
const PAUSE_MS: u64 = 100;

/// Looks that may find nobody while the one process hands over to the other.
const SILENT_LOOKS_MAX: u32 = 50;

/// Longest answer that is read.
const PAGE_BYTES_MAX: u64 = 1 << 20;

/// Longest time of one look.
const LOOK: Duration = Duration::from_secs(5);

/// Why the node was not upgraded.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpgradeError {
    #[error(transparent)]
    Settings(#[from] crate::settings::SettingsError),
    #[error("no node answers at its admin listener {address}: {cause}")]
    Unreachable {
        address: SocketAddr,
        cause: io::Error,
    },
    #[error("what answers at {0} is no node that can be upgraded; restart it instead")]
    Foreign(SocketAddr),
    #[error("the node is {0}, and only a running one can be upgraded")]
    NotRunning(String),
    #[error("an upgrade is under way already, to process {0}")]
    UnderWay(u32),
    #[error(
        "process {pid} cannot be signaled: {cause}; run this as the node's user or as root, in its own process namespace"
    )]
    Signal { pid: u32, cause: Errno },
    #[error("the upgrade failed, and process {pid} serves on: {reason}")]
    Failed { pid: u32, reason: String },
    #[error("process {0} is gone, and no other has taken over")]
    Gone(u32),
    #[error("after {0} s the new process does not serve yet; the node's log tells more")]
    Late(u64),
}

/// What `/status` tells, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Status {
    version: String,
    node: String,
    pid: u32,
    phase: String,
    upgrade: Upgrades,
    workers: Vec<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Upgrades {
    attempts: u64,
    successor_pid: Option<u32>,
    last_error: Option<String>,
}

/// Upgrades the node; says to `out` how it goes.
pub(super) fn run(args: &Upgrade, out: &mut impl io::Write) -> Result<(), UpgradeError> {
    let settings = args.settings.as_deref().map(Settings::read).transpose()?;
    let named = settings.map(|settings| settings.admin.listen);
    // The old one is where it was, the new one where the settings say.
    let addresses: Vec<SocketAddr> = args.admin.into_iter().chain(named).collect();
    let old = look_at_first(&addresses)?;
    if old.phase != "running" {
        return Err(UpgradeError::NotRunning(old.phase));
    }
    if let Some(pid) = old.upgrade.successor_pid {
        return Err(UpgradeError::UnderWay(pid));
    }
    signal(old.pid)?;
    let Status {
        pid, node, version, ..
    } = &old;
    let _ = writeln!(
        out,
        "node {node}: process {pid} (version {version}) lets a new one take over"
    );
    let mut silent = 0;
    for _ in 0..looks(args.wait_s) {
        pause();
        match look_for_other(&addresses, old.pid) {
            Ok(new) if new.pid != old.pid => {
                serves(&new, old.pid, out);
                return Ok(());
            }
            Ok(same) if same.upgrade.attempts > old.upgrade.attempts => {
                if let Some(reason) = same.upgrade.last_error {
                    let pid = old.pid;
                    return Err(UpgradeError::Failed { pid, reason });
                }
            }
            Ok(_) => {}
            Err(_) if silent < SILENT_LOOKS_MAX => silent += 1,
            Err(_) if !lives(old.pid) => return Err(UpgradeError::Gone(old.pid)),
            Err(error) => return Err(error),
        }
    }
    Err(UpgradeError::Late(args.wait_s))
}

fn serves(new: &Status, old_pid: u32, out: &mut impl io::Write) {
    let (pid, version, workers) = (new.pid, &new.version, new.workers.len());
    let _ = writeln!(
        out,
        "process {pid} (version {version}, {workers} workers) serves; process {old_pid} drains"
    );
}

fn looks(wait_s: u64) -> u64 {
    wait_s.saturating_mul(1_000 / PAUSE_MS)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a command that waits for another process"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(PAUSE_MS));
}

fn signal(pid: u32) -> Result<(), UpgradeError> {
    let number = i32::try_from(pid).map_err(|_| UpgradeError::Gone(pid))?;
    kill(Pid::from_raw(number), Signal::SIGUSR2)
        .map_err(|cause| UpgradeError::Signal { pid, cause })
}

fn lives(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(|number| kill(Pid::from_raw(number), None) != Err(Errno::ESRCH))
}

fn look_at_first(addresses: &[SocketAddr]) -> Result<Status, UpgradeError> {
    let first = addresses.first().copied();
    // Clap asks for one of the two.
    look(first.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0))))
}

/// What answers under another process id, or else what answers first.
fn look_for_other(addresses: &[SocketAddr], pid: u32) -> Result<Status, UpgradeError> {
    let mut others = addresses
        .iter()
        .skip(1)
        .filter_map(|address| look(*address).ok());
    let other = others.find(|status| status.pid != pid);
    other.map_or_else(|| look_at_first(addresses), Ok)
}

/// One look at `/status`.
fn look(address: SocketAddr) -> Result<Status, UpgradeError> {
    let page = get(address).map_err(|cause| UpgradeError::Unreachable { address, cause })?;
    let body = page.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).map_err(|_| UpgradeError::Foreign(address))
}

fn get(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, LOOK)?;
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(LOOK))?;
    // In one write: in pieces, one that answers the first and closes would reset the connection,
    // and its answer would be lost.
    let request = format!("GET /status HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut page = String::new();
    stream.take(PAGE_BYTES_MAX).read_to_string(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn what_is_no_node_is_not_signaled() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("is bound");
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accepts");
            let _ = stream.read(&mut [0; 1_024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"pid\": 1}");
        });
        let args = Upgrade {
            settings: None,
            admin: Some(address),
            wait_s: 1,
        };
        let error = run(&args, &mut Vec::new()).expect_err("is refused");
        assert!(
            matches!(error, UpgradeError::Foreign(at) if at == address),
            "{error}"
        );
        thread.join().expect("ends");
        let error = run(&args, &mut Vec::new()).expect_err("nobody listens");
        assert!(matches!(error, UpgradeError::Unreachable { .. }), "{error}");
    }
}
