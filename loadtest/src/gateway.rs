//! A whole gateway: origin, control and data plane, wired as an operator would wire them.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::control::{Control, Key};
use crate::http::Connection;
use crate::node::{Node, NodeSettings};
use crate::process::{Child, Program};
use crate::progress::Progress;
use crate::trouble::Outcome;
use crate::{binaries, files};

/// Longest time until the data plane serves what control published.
const SERVED_WITHIN: Duration = Duration::from_secs(30);

/// Everything that runs. Fields are dropped in order: traffic first, files last.
#[derive(Debug)]
pub struct Gateway {
    /// The data plane.
    pub node: Node,
    /// The control process.
    pub control: Control,
    /// The origin.
    pub origin: Child,
    /// Where the origin listens.
    pub origin_address: SocketAddr,
    /// Where all files are.
    pub directory: TempDir,
    settings: NodeSettings,
}

impl Gateway {
    /// Starts origin, control and data plane, and applies `configuration` (a `gateway.yaml` whose
    /// targets become our origin).
    ///
    /// # Errors
    /// When a program is missing, does not start, or refuses the configuration.
    pub async fn start(configuration: &Path, workers: usize, progress: Progress) -> Outcome<Self> {
        Self::start_in(files::scratch("gateway")?, configuration, workers, progress).await
    }

    /// The same in a directory that is there: the node keeps its state in `state`, control its data
    /// in `control`.
    ///
    /// # Errors
    /// When a program is missing, does not start, or refuses the configuration.
    pub async fn start_in(
        directory: TempDir,
        configuration: &Path,
        workers: usize,
        progress: Progress,
    ) -> Outcome<Self> {
        let here = directory.path();
        progress.say("starting the origin");
        let (origin, origin_address) = start_origin(here).await?;
        progress.say("starting control");
        let control = Control::start(here).await?;
        progress.say(format!("applying {}", configuration.display()));
        let text = with_targets(&files::read(configuration)?, origin_address);
        let applied = here.join("gateway.yaml");
        files::write(&applied, text)?;
        for line in control.apply(&applied).await?.lines() {
            progress.say(format!("  {line}"));
        }
        progress.say("starting the data plane");
        let settings = NodeSettings {
            binary: binaries::sibling("keyway")?,
            directory: here.to_owned(),
            workers,
            snapshots: control.snapshots(),
            pepper: control.pepper(),
            socket: Some(control.socket()),
            cores: None,
            tls: None,
        };
        let node = Node::start(&settings).await?;
        Ok(Self {
            settings,
            node,
            control,
            origin,
            origin_address,
            directory,
        })
    }

    /// Starts the data plane again, which has ended; it listens elsewhere now.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_node_again(&mut self) -> Outcome<()> {
        self.node = Node::start(&self.settings).await?;
        Ok(())
    }

    /// Waits until the data plane answers `target` with `status` to a key just made.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn until_known(&mut self, key: &Key, target: &str, status: u16) -> Outcome<()> {
        let address = self.node.address;
        let secret = key.secret.clone();
        self.node
            .child
            .until("know a new key", SERVED_WITHIN, async || {
                let mut client = Connection::open(address).await.ok()?;
                let answer = client.get(target, Some(&secret)).await.ok()?;
                (answer.status == status).then_some(())
            })
            .await
    }
}

/// Starts the origin; where it listens.
///
/// # Errors
/// When its program is missing or does not start.
pub async fn start_origin(directory: &Path) -> Outcome<(Child, SocketAddr)> {
    let ports = directory.join("origin.port");
    let program = Program::new("origin", binaries::sibling("origin")?).with([
        "--listen",
        "127.0.0.1:0",
        "--port-file",
        &ports.display().to_string(),
    ]);
    let mut child = Child::start(&program, &directory.join("origin.log"))?;
    let address = child
        .until("its port", SERVED_WITHIN, async || {
            files::read(&ports).ok()?.parse().ok()
        })
        .await?;
    Ok((child, address))
}

/// The configuration with every `targets:` line pointing at `origin`.
fn with_targets(configuration: &str, origin: SocketAddr) -> String {
    let line = |line: &str| match line.split_once("targets:") {
        Some((before, _)) => format!("{before}targets: [\"{origin}\"]\n"),
        None => format!("{line}\n"),
    };
    configuration.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_replaced_and_nothing_else() {
        let written = "upstreams:\n  - name: a\n    targets: [\"127.0.0.1:9000\"]\n    x: 1\n";
        let expected = "upstreams:\n  - name: a\n    targets: [\"127.0.0.1:4321\"]\n    x: 1\n";
        assert_eq!(
            with_targets(written, "127.0.0.1:4321".parse().unwrap()),
            expected
        );
    }
}
