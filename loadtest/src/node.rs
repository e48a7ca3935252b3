//! A data plane of ours: the real `keyway` with settings written for the occasion.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;

use crate::binaries;
use crate::files;
use crate::http::{Ask, once};
use crate::process::{Child, Program};
use crate::published::Published;
use crate::trouble::{Outcome, Trouble};

/// Longest time from start to ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Longest time of a look at `/status` that nobody awaits.
const LOOK: Duration = Duration::from_secs(2);

/// How to run it.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Its program.
    pub binary: PathBuf,
    /// For its settings, logs and port file.
    pub directory: PathBuf,
    /// Worker threads.
    pub workers: usize,
    /// Where snapshots are.
    pub snapshots: PathBuf,
    /// File of pepper 1.
    pub pepper: PathBuf,
    /// Control's socket; without it the snapshot directory alone is watched.
    pub socket: Option<PathBuf>,
    /// Cores as `taskset -c` writes them; all when absent.
    pub cores: Option<String>,
    /// What to show on a listener for TLS; there is none without it.
    pub tls: Option<NodeTls>,
}

impl NodeSettings {
    /// The program beside this one, which serves what was published with two workers, as many as the
    /// smallest real machine has cores; no control, no TLS, all cores.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn plain(directory: &Path, published: Published) -> Outcome<Self> {
        Ok(Self {
            binary: binaries::sibling("keyway")?,
            directory: directory.to_owned(),
            workers: 2,
            snapshots: published.snapshots,
            pepper: published.pepper,
            socket: None,
            cores: None,
            tls: None,
        })
    }
}

/// A certificate for a node.
#[derive(Clone, Debug)]
pub struct NodeTls {
    /// File of the chain, in PEM.
    pub certificate: PathBuf,
    /// File of its private key, in PEM, mode 0600.
    pub key: PathBuf,
}

/// A running data plane that serves a snapshot.
#[derive(Debug)]
pub struct Node {
    /// Its process.
    pub child: Child,
    /// Where it takes traffic.
    pub address: SocketAddr,
    /// Where it takes traffic over TLS, if it does.
    pub tls: Option<SocketAddr>,
    /// Where `/status` and `/metrics` are.
    pub admin: SocketAddr,
    /// Its access log.
    pub log: PathBuf,
    heir: Heir,
}

/// A process that has taken over from the one that was started; nobody else would end it.
#[derive(Debug)]
struct Heir {
    first: u32,
    binary: PathBuf,
    admin: SocketAddr,
}

impl Heir {
    /// The process that serves now, if it is another one than the first.
    fn pid(&self) -> Option<Pid> {
        let mut stream = TcpStream::connect_timeout(&self.admin, LOOK).ok()?;
        stream.set_read_timeout(Some(LOOK)).ok()?;
        stream
            .write_all(b"GET /status HTTP/1.1\r\nHost: heir\r\n\r\n")
            .ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        let (_, body) = page.split_once("\r\n\r\n")?;
        let status: serde_json::Value = serde_json::from_str(body).ok()?;
        let pid = status["pid"]
            .as_u64()
            .filter(|pid| *pid != u64::from(self.first))?;
        i32::try_from(pid).ok().map(Pid::from_raw)
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        // By its program too: nothing else may be ended by the word of an address alone.
        let is_ours = |pid: &Pid| {
            let program = std::fs::read_link(format!("/proc/{pid}/exe"));
            program.is_ok_and(|program| program.file_name() == self.binary.file_name())
        };
        if let Some(pid) = self.pid().filter(is_ours) {
            // An error means that it has ended already.
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

/// What `keyway run --port-file` writes once it listens.
#[derive(Deserialize)]
struct Ports {
    listen: Vec<SocketAddr>,
    admin: SocketAddr,
}

impl Node {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start or gets no valid snapshot.
    pub async fn start(settings: &NodeSettings) -> Outcome<Self> {
        let here = &settings.directory;
        let (file, ports) = (here.join("keyway.toml"), here.join("keyway.ports"));
        let log = here.join("access.log");
        // Those of an earlier start would be taken for ours.
        let _ = std::fs::remove_file(&ports);
        files::write(&file, toml(settings, &log))?;
        let mut program = Program::new("keyway", &settings.binary)
            .with(["run", "--settings", &file.display().to_string()])
            .with(["--port-file", &ports.display().to_string()]);
        program.cores.clone_from(&settings.cores);
        let mut child = Child::start(&program, &here.join("keyway.log"))?;
        let Ports { listen, admin } = child
            .until("its ports", READY_WITHIN, async || {
                serde_json::from_str(&files::read(&ports).ok()?).ok()
            })
            .await?;
        child
            .until("readiness", READY_WITHIN, async || {
                let answer = once(admin, Ask::get("/readyz")).await.ok()?;
                (answer.status == 200).then_some(())
            })
            .await?;
        let address = *listen
            .first()
            .ok_or_else(|| child.trouble("listens nowhere"))?;
        let heir = Heir {
            first: child.pid(),
            binary: settings.binary.clone(),
            admin,
        };
        Ok(Self {
            heir,
            child,
            address,
            tls: listen.get(1).copied(),
            admin,
            log,
        })
    }

    /// Lets a new process take over, by the command that an operator uses.
    ///
    /// # Errors
    /// When the command fails; the process before serves on then.
    pub async fn upgrade(&self) -> Outcome<()> {
        let output = tokio::process::Command::new(&self.heir.binary)
            .args(["upgrade", "--admin", &self.admin.to_string()])
            .output()
            .await
            .map_err(Trouble::io("run keyway upgrade"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Trouble::wrong("keyway upgrade", said.trim().to_owned()))
    }

    /// The command that does the same.
    pub fn upgrade_command(&self) -> String {
        format!(
            "{} upgrade --admin {}",
            self.heir.binary.display(),
            self.admin
        )
    }

    /// What `/status` says.
    ///
    /// # Errors
    /// When the admin listener does not answer.
    pub async fn status(&self) -> Outcome<serde_json::Value> {
        Ok(once(self.admin, Ask::get("/status")).await?.json())
    }
}

fn toml(settings: &NodeSettings, log: &Path) -> String {
    let link = settings.socket.as_ref().map_or(String::new(), |socket| {
        let state = quoted(&settings.directory.join("state"));
        let socket = quoted(socket);
        format!("\n[link]\nsocket = {socket}\n\n[state]\ndirectory = {state}\n")
    });
    let (listener, tls) = settings.tls.as_ref().map_or_else(Default::default, |tls| {
        (
            ", { address = \"127.0.0.1:0\", tls = true }",
            format!(
                "\n[tls]\ncertificates = [{{ certificate = {}, key = {} }}]\n",
                quoted(&tls.certificate),
                quoted(&tls.key)
            ),
        )
    });
    format!(
        "workers = {workers}\n\
         listen = [\"127.0.0.1:0\"{listener}]\n\
         pepper = [{{ id = 1, file = {pepper} }}]\n\
         \n\
         [admin]\n\
         listen = \"127.0.0.1:0\"\n\
         \n\
         [snapshot]\n\
         directory = {snapshots}\n\
         {link}{tls}\n\
         [access_log]\n\
         file = {log}\n",
        workers = settings.workers,
        pepper = quoted(&settings.pepper),
        snapshots = quoted(&settings.snapshots),
        log = quoted(log),
    )
}

/// A path as a TOML string. TOML's basic strings escape as JSON's do.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.display().to_string()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_it_writes_are_ones_it_accepts() {
        let settings = NodeSettings {
            binary: "keyway".into(),
            directory: "here".into(),
            workers: 2,
            snapshots: "with \"quotes\"/snapshots".into(),
            pepper: "pepper.hex".into(),
            socket: Some("control.sock".into()),
            cores: None,
            tls: None,
        };
        let text = toml(&settings, Path::new("access.log"));
        let checked = keyway::settings::Settings::parse(&text, Path::new("/base"))
            .unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(checked.workers, 2);
        assert_eq!(
            checked.snapshot.directory,
            Path::new("/base/with \"quotes\"/snapshots")
        );
    }
}
