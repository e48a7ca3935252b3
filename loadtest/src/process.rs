//! Processes we start, and end: each is a [`Child`] that ends its own pid when dropped.
//!
//! A child is asked with SIGTERM first and killed, with what it started itself, when it does not
//! listen. It lives in its own process group, so that Ctrl-C reaches only us and the children end
//! in our order; should we be killed, the kernel asks them to end (`setpriv --pdeathsig`).

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

use crate::cpu;
use crate::files;
use crate::trouble::{Outcome, Trouble};

/// How long a child may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a condition is looked at while waiting for it.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A program with its arguments, and the cores it may use.
#[derive(Clone, Debug)]
pub struct Program {
    /// How it is called in messages.
    pub name: String,
    /// File name or path.
    pub path: PathBuf,
    /// Arguments.
    pub arguments: Vec<String>,
    /// Environment beside ours.
    pub environment: Vec<(String, String)>,
    /// Cores as `taskset -c` takes them; all when absent.
    pub cores: Option<String>,
}

impl Program {
    /// A program that may use every core.
    pub fn new(name: &str, path: impl Into<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            path: path.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            cores: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn with<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds a variable to its environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Pins it to `cores` as `taskset -c` writes them.
    #[must_use]
    pub fn on(mut self, cores: &str) -> Self {
        self.cores = Some(cores.to_owned());
        self
    }

    /// The command that starts it: pinned, and bound to our life.
    pub fn command(&self) -> Command {
        let mut words = vec![
            "setpriv".into(),
            "--pdeathsig".into(),
            "TERM".into(),
            "--".into(),
        ];
        if let Some(cores) = &self.cores {
            words.extend(["taskset".into(), "-c".into(), cores.into()]);
        }
        words.push(self.path.clone().into_os_string());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .process_group(0);
        command
    }
}

/// A running process of ours; dropping it ends it.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts a program whose output is appended to `log`.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(program: &Program, log: &Path) -> Outcome<Self> {
        let open = || OpenOptions::new().create(true).append(true).open(log);
        let output = open().map_err(Trouble::file("open", log))?;
        let errors = open().map_err(Trouble::file("open", log))?;
        let process = program
            .command()
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(Trouble::io(format!("start {}", program.name)))?;
        Ok(Self {
            name: program.name.clone(),
            process,
            log: log.to_owned(),
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it was called when started.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its end, if it came.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        // An error means that the process is no longer ours to wait for: it has ended.
        self.process
            .try_wait()
            .unwrap_or(Some(ExitStatus::default()))
    }

    /// Waits until `ready` answers something; gives up when the process ends or time runs out.
    ///
    /// # Errors
    /// [`Trouble::Process`] with the end of the log.
    pub async fn until<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut ready: impl AsyncFnMut() -> Option<T>,
    ) -> Outcome<T> {
        let start = Instant::now();
        loop {
            // Asked before `ready`, so that what it left behind at its end is still seen.
            let ended = self.ended();
            if let Some(answer) = ready().await {
                return Ok(answer);
            }
            if let Some(status) = ended {
                return Err(self.trouble(format!("ended early ({status})")));
            }
            if start.elapsed() > within {
                return Err(self.trouble(format!("did not come to {what} within {within:?}")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Sends a signal to this process alone.
    pub fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.pid()) {
            // Gone already is what we want of it.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Asks it to end and waits for it; kills it when it does not.
    pub fn stop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        self.signal(Signal::SIGTERM);
        if !self.ends_within(PATIENCE) {
            for pid in cpu::family(self.pid()) {
                if let Ok(pid) = i32::try_from(pid) {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
            }
            let _ = self.process.wait();
        }
    }

    /// Kills it at once, as a crash would.
    pub fn crash(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// An error about this process, with the end of its log.
    pub fn trouble(&self, what: impl Into<String>) -> Trouble {
        let log = files::tail(&self.log, 15);
        Trouble::Process {
            name: self.name.clone(),
            what: what.into(),
            log,
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "drop cannot await; nothing else runs by then"
    )]
    fn ends_within(&mut self, patience: Duration) -> bool {
        let start = Instant::now();
        while self.ended().is_none() {
            if start.elapsed() > patience {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        true
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Cores apart for what is measured and for what drives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores {
    /// The one core of the proxy under test.
    pub proxy: String,
    /// The cores of load and origin.
    pub load: String,
}

impl Cores {
    /// Gives the first usable core to the proxy, the others to load and origin.
    ///
    /// # Errors
    /// [`Trouble::Cores`] when there is only one.
    pub fn split() -> Outcome<Self> {
        let usable = usable_cores()?;
        match usable.as_slice() {
            [proxy, load @ ..] if !load.is_empty() => {
                let load: Vec<String> = load.iter().map(ToString::to_string).collect();
                Ok(Self {
                    proxy: proxy.to_string(),
                    load: load.join(","),
                })
            }
            _ => Err(Trouble::Cores {
                needed: 2,
                usable: usable.len(),
            }),
        }
    }

    /// Keeps this process, which makes load too, off the core of the proxy under test.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn keep_to_load(&self) -> Outcome<()> {
        let mut cores = CpuSet::new();
        let mut named = self.load.split(',').filter_map(|core| core.parse().ok());
        named
            .try_for_each(|core| cores.set(core))
            .and_then(|()| sched_setaffinity(Pid::from_raw(0), &cores))
            .map_err(|error| Trouble::io("choose cores")(error.into()))
    }
}

/// The numbers of the cores this process may use.
///
/// # Errors
/// When the system does not tell.
pub fn usable_cores() -> Outcome<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))
        .map_err(|error| Trouble::io("ask for the usable cores")(error.into()))?;
    Ok((0..CpuSet::count())
        .filter(|core| set.is_set(*core).unwrap_or(false))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn a_dropped_child_is_gone_with_its_own_children() {
        let directory = files::scratch("process-test").unwrap();
        let log = directory.path().join("log");
        // A shell that ignores SIGTERM and has a child: only killing the family ends it.
        let program =
            Program::new("deaf", "/bin/sh").with(["-c", "trap '' TERM; sleep 1000 & wait; wait"]);
        let child = Child::start(&program, &log).unwrap();
        let mut family = cpu::family(child.pid());
        while family.len() < 2 {
            std::thread::yield_now();
            family = cpu::family(child.pid());
        }
        drop(child);
        for pid in family {
            while alive(pid) {
                std::thread::yield_now();
            }
        }
    }

    #[tokio::test]
    async fn a_child_that_ends_early_is_quoted() {
        let directory = files::scratch("process-test").unwrap();
        let program = Program::new("speaker", "/bin/sh").with(["-c", "echo my last words; exit 3"]);
        let mut child = Child::start(&program, &directory.path().join("log")).unwrap();
        let waited = child
            .until("talk", Duration::from_secs(60), async || None::<()>)
            .await;
        let told = waited.unwrap_err().to_string();
        assert!(told.contains("speaker ended early"), "{told}");
        assert!(told.contains("my last words"), "{told}");
    }
}
