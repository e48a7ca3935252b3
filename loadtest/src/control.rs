//! A control process of ours: the real `keyway-control`, spoken to by its own command line, or by
//! its REST API where a command a request would be too slow.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::http::{Answer, Ask, Connection};
use crate::process::{Child, Program};
use crate::trouble::{Outcome, Trouble};
use crate::{binaries, files};

/// Longest time from start to the first answer.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A key as it was shown once.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its public id.
    pub id: String,
    /// The key itself.
    pub secret: String,
}

/// A running control process.
#[derive(Debug)]
pub struct Control {
    /// Its process.
    pub child: Child,
    /// Where its API is.
    pub address: SocketAddr,
    /// Its data directory.
    pub data: PathBuf,
    binary: PathBuf,
    token: String,
}

impl Control {
    /// Makes a data directory in `directory` and starts control on it.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(directory: &Path) -> Outcome<Self> {
        let binary = binaries::sibling("keyway-control")?;
        let data = directory.join("control");
        let said = run(
            &binary,
            &["--data", &data.display().to_string(), "init"],
            &[],
        )
        .await?;
        let token = said
            .split_whitespace()
            .find(|word| word.starts_with("kwa_"))
            .ok_or_else(|| Trouble::wrong("keyway-control init", format!("no token in: {said}")))?
            .to_owned();
        let (child, address) = serve(&binary, &data, "127.0.0.1:0").await?;
        Ok(Self {
            child,
            address,
            data,
            binary,
            token,
        })
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.child.crash();
    }

    /// Starts it again where it was.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_again(&mut self) -> Outcome<()> {
        let (child, _) = serve(&self.binary, &self.data, &self.address.to_string()).await?;
        self.child = child;
        Ok(())
    }

    /// Where a node finds its snapshots.
    pub fn snapshots(&self) -> PathBuf {
        self.data.join("snapshots")
    }

    /// Where a node finds control.
    pub fn socket(&self) -> PathBuf {
        self.data.join("control.sock")
    }

    /// The pepper that node and control share.
    pub fn pepper(&self) -> PathBuf {
        self.data.join("pepper.hex")
    }

    /// How a person would call the command line.
    pub fn command_line(&self) -> String {
        format!(
            "KEYWAY_TOKEN={} {} --url {}",
            self.token,
            self.binary.display(),
            self.url()
        )
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Runs the command line; answers what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub async fn command(&self, arguments: &[&str]) -> Outcome<String> {
        let url = self.url();
        let all: Vec<&str> = ["--url", &url].iter().chain(arguments).copied().collect();
        run(&self.binary, &all, &[("KEYWAY_TOKEN", &self.token)]).await
    }

    /// Runs the command line with `--json`; answers what it printed.
    ///
    /// # Errors
    /// When it fails or prints no JSON.
    pub async fn json(&self, arguments: &[&str]) -> Outcome<Value> {
        let all: Vec<&str> = arguments.iter().chain(&["--json"]).copied().collect();
        let said = self.command(&all).await?;
        serde_json::from_str(&said)
            .map_err(|error| Trouble::wrong("keyway-control", format!("{error} in: {said}")))
    }

    /// Applies a `gateway.yaml`.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn apply(&self, file: &Path) -> Outcome<String> {
        self.command(&["apply", "-f", &file.display().to_string()])
            .await
    }

    /// Makes a key of an app.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn make_key(&self, tenant: &str, app: &str) -> Outcome<Key> {
        let owner = format!("{tenant}/{app}");
        key(&self.json(&["keys", "create", &owner]).await?)
    }

    /// Revokes a key and waits for the receipt, which it answers as a person would see it.
    ///
    /// # Errors
    /// When it is refused or not enforced.
    pub async fn revoke_and_wait(&self, key: &Key) -> Outcome<String> {
        let said = self.command(&["keys", "revoke", &key.id, "--wait"]).await?;
        Ok(said.trim().to_owned())
    }

    /// A connection to the REST API.
    ///
    /// # Errors
    /// When control does not listen.
    pub async fn api(&self) -> Outcome<Api> {
        Ok(Api {
            connection: Connection::open(self.address).await?,
            token: self.token.clone(),
        })
    }
}

/// Starts control on a data directory; where it listens.
async fn serve(binary: &Path, data: &Path, listen: &str) -> Outcome<(Child, SocketAddr)> {
    let here = data.parent().unwrap_or(data);
    let ports = here.join("control.port");
    // One of a process before would be taken for its own.
    let _ = std::fs::remove_file(&ports);
    let data = data.display().to_string();
    let program = Program::new("keyway-control", binary)
        .with(["--data", &data, "serve", "--listen", listen])
        .with(["--port-file", &ports.display().to_string()]);
    let mut child = Child::start(&program, &here.join("control.log"))?;
    let address = child
        .until("its port", READY_WITHIN, async || {
            files::read(&ports).ok()?.trim().parse::<SocketAddr>().ok()
        })
        .await?;
    Ok((child, address))
}

/// A keep-alive connection to control's REST API.
#[derive(Debug)]
pub struct Api {
    connection: Connection,
    token: String,
}

impl Api {
    /// Makes a key of an app.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn make_key(&mut self, tenant: &str, app: &str) -> Outcome<Key> {
        let body = json!({ "tenant": tenant, "app": app, "environment": "live" });
        let ask = Ask::new(Method::POST, "/v1/keys").json(&body);
        key(&self.send(ask).await?.json())
    }

    /// Revokes a key; the answer means that the revocation is on disk.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn revoke(&mut self, key: &Key) -> Outcome<()> {
        let target = format!("/v1/keys/{}", key.id);
        self.send(Ask::new(Method::DELETE, target)).await?;
        Ok(())
    }

    async fn send(&mut self, ask: Ask) -> Outcome<Answer> {
        let bearer = format!("Bearer {}", self.token);
        let what = ask.to_string();
        let answer = self
            .connection
            .send(ask.header("authorization", &bearer))
            .await?;
        if !(200..300).contains(&answer.status) {
            let what = format!("{what}: {} {}", answer.status, answer.text());
            return Err(Trouble::wrong("keyway-control", what));
        }
        Ok(answer)
    }
}

fn key(shown: &Value) -> Outcome<Key> {
    match (shown["id"].as_str(), shown["secret"].as_str()) {
        (Some(id), Some(secret)) => Ok(Key {
            id: id.to_owned(),
            secret: secret.to_owned(),
        }),
        _ => Err(Trouble::wrong(
            "keyway-control",
            format!("no id and secret in {}", shown["id"]),
        )),
    }
}

async fn run(binary: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Outcome<String> {
    let output = tokio::process::Command::new(binary)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(Trouble::io(format!("run {}", binary.display())))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(Trouble::Process {
        name: format!("keyway-control {}", arguments.join(" ")),
        what: format!("failed ({})", output.status),
        log: said + &String::from_utf8_lossy(&output.stderr),
    })
}
