//! Programs that are not ours: where they are, and how to install those that are missing.

use std::path::PathBuf;
use std::process::Command;

use crate::trouble::{Outcome, Trouble};

/// A program of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// The web server: rival, and origin of the comparison.
    Nginx,
    /// The load balancer: rival.
    Haproxy,
    /// The proxy: rival where it is installed; no package of it is.
    Envoy,
    /// The load generator.
    Wrk,
    /// Clients that are slow on purpose.
    Slowhttptest,
    /// Pins processes to cores.
    Taskset,
    /// Binds children to our life.
    Setpriv,
}

impl Tool {
    /// File name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Wrk => "wrk",
            Self::Slowhttptest => "slowhttptest",
            Self::Taskset => "taskset",
            Self::Setpriv => "setpriv",
        }
    }

    const fn package(self) -> &'static str {
        match self {
            Self::Taskset | Self::Setpriv => "util-linux",
            _ => self.name(),
        }
    }

    /// Where it is; administrators' directories count even when they are not on the path.
    pub fn path(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from))
            .map(|directory| directory.join(self.name()))
            .find(|file| file.is_file())
    }

    /// The first line it prints about its version.
    pub fn version(self) -> String {
        let flag = if self == Self::Wrk { "--version" } else { "-v" };
        let said = self
            .path()
            .and_then(|path| Command::new(path).arg(flag).output().ok());
        let said = said
            .map(|output| [output.stdout, output.stderr].concat())
            .unwrap_or_default();
        String::from_utf8_lossy(&said)
            .lines()
            .next()
            .unwrap_or("unknown")
            .trim()
            .to_owned()
    }
}

/// Makes sure that all of `tools` are installed.
///
/// # Errors
/// [`Trouble::Missing`] with the command that installs them.
pub fn need(tools: &[Tool]) -> Outcome<()> {
    let missing: Vec<Tool> = tools
        .iter()
        .copied()
        .filter(|tool| tool.path().is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|tool| tool.package()).collect();
    packages.sort_unstable();
    packages.dedup();
    Err(Trouble::Missing {
        missing: missing.iter().map(|tool| tool.name()).collect(),
        install: format!(
            "apt-get update && apt-get install --yes {}",
            packages.join(" ")
        ),
    })
}
