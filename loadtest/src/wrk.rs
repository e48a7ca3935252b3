//! Load from `wrk` with the script `many_keys.lua`: closed loop, keep-alive, a random key a request.
//!
//! Latencies are those of a closed loop at full speed: they compare proxies in one run and are no
//! promise for an open world.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;

use crate::files;
use crate::process::Program;
use crate::tools::Tool;
use crate::trouble::{Outcome, Trouble};

const SCRIPT: &str = include_str!("../many_keys.lua");

/// How to load.
#[derive(Clone, Debug)]
pub struct Load {
    /// Whom.
    pub to: SocketAddr,
    /// Over TLS; the certificate is not checked.
    pub tls: bool,
    /// Path of every request.
    pub path: String,
    /// File with one key a line.
    pub keys: PathBuf,
    /// Keep-alive connections.
    pub connections: usize,
    /// Seconds.
    pub seconds: u64,
    /// Chooses the order of keys.
    pub seed: u64,
    /// Cores for it, as `taskset -c` writes them; all when absent.
    pub cores: Option<String>,
}

/// What `wrk` measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Measured {
    /// Answers received.
    pub requests: u64,
    /// Time it took, in microseconds.
    pub elapsed_us: u64,
    /// Bytes received, heads included.
    pub bytes: u64,
    /// Median latency, in microseconds.
    pub p50_us: u64,
    /// 99th percentile of the latency, in microseconds.
    pub p99_us: u64,
    /// Largest latency, in microseconds.
    pub max_us: u64,
    /// What went wrong.
    pub errors: Errors,
}

/// Failures by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Errors {
    /// Connections refused.
    pub connect: u64,
    /// Connections broken while reading.
    pub read: u64,
    /// Connections broken while writing.
    pub write: u64,
    /// Answers that took more than two seconds.
    pub timeout: u64,
    /// Answers with a status of 400 or more.
    pub status: u64,
}

impl Measured {
    /// Answers a second.
    pub fn requests_per_s(&self) -> f64 {
        self.requests as f64 * 1e6 / (self.elapsed_us.max(1)) as f64
    }

    /// Failures other than refusals.
    pub const fn broken(&self) -> u64 {
        self.errors.connect + self.errors.read + self.errors.write + self.errors.timeout
    }
}

/// The command line for `load`; the script goes into `directory`.
///
/// # Errors
/// When `wrk` is missing or the script cannot be written.
pub fn program(load: &Load, directory: &Path) -> Outcome<Program> {
    let script = directory.join("many_keys.lua");
    files::write(&script, SCRIPT)?;
    let path = Tool::Wrk
        .path()
        .ok_or_else(|| Trouble::wrong("wrk", "is not installed"))?;
    let threads = load
        .cores
        .as_ref()
        .map_or(1, |cores| cores.split(',').count());
    let scheme = if load.tls { "https" } else { "http" };
    let mut program = Program::new("wrk", path).with([
        "--connections".to_owned(),
        load.connections.max(threads).to_string(),
        "--threads".to_owned(),
        threads.to_string(),
        "--duration".to_owned(),
        format!("{}s", load.seconds),
        "--script".to_owned(),
        script.display().to_string(),
        format!("{scheme}://{}{}", load.to, load.path),
        "--".to_owned(),
        load.keys.display().to_string(),
        load.seed.to_string(),
    ]);
    program.cores.clone_from(&load.cores);
    Ok(program)
}

/// Runs `load` to its end.
///
/// # Errors
/// When `wrk` fails or tells nothing that can be read.
pub async fn run(load: &Load, directory: &Path) -> Outcome<Measured> {
    let output = tokio::process::Command::from(program(load, directory)?.command())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(Trouble::io("run wrk"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    parse(&said).ok_or_else(|| Trouble::Process {
        name: "wrk".into(),
        what: format!("told no result ({})", output.status),
        log: said + &String::from_utf8_lossy(&output.stderr),
    })
}

/// Reads what the script printed last.
pub fn parse(said: &str) -> Option<Measured> {
    let line = said.lines().rfind(|line| line.starts_with('{'))?;
    serde_json::from_str(line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_json_line_is_the_result() {
        let said = "Running 1s test\nRequests/sec: 5\n\
            {\"requests\":50,\"elapsed_us\":1000000,\"bytes\":9,\"p50_us\":1,\"p99_us\":2,\
            \"max_us\":3,\"errors\":{\"connect\":0,\"read\":1,\"write\":0,\"timeout\":2,\
            \"status\":50}}\n";
        let measured = parse(said).unwrap();
        assert!((measured.requests_per_s() - 50.0).abs() < 1e-9);
        assert_eq!((measured.broken(), measured.errors.status), (3, 50));
        assert_eq!(parse("unable to connect"), None);
    }
}
