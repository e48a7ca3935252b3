//! `keyway-control serve` as a process of its own, and its client commands.

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_keyway-control");
/// How long the process may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A serving process; killed when dropped.
pub struct Program {
    child: Child,
    // Held open, so that the process never writes to a closed pipe.
    _stdout: BufReader<ChildStdout>,
    pub url: String,
    pub token: String,
    pub directory: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Program {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let port_file = directory.path().join("port");
        let mut child = Command::new(PROGRAM)
            .arg("--data")
            .arg(directory.path().join("data"))
            .args(["serve", "--listen", "127.0.0.1:0", "--port-file"])
            .arg(&port_file)
            .env("KEYWAY_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the token is printed");
        let token = line.trim().rsplit(' ').next().expect("a word").to_owned();
        let address = wait_for(&port_file);
        Self {
            child,
            _stdout: stdout,
            url: format!("http://{address}"),
            token,
            directory,
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("data/control.sock")
    }

    /// Runs a client command.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "")
    }

    /// Runs a client command with something on its standard input.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        let environment = [
            ("KEYWAY_URL", self.url.as_str()),
            ("KEYWAY_TOKEN", &self.token),
        ];
        run(arguments, &environment, input)
    }

    /// A file in the test's own directory.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs the program with nothing of Keyway's in its environment but `environment`.
pub fn run(arguments: &[&str], environment: &[(&str, &str)], input: &str) -> Ran {
    let mut child = Command::new(PROGRAM)
        .args(arguments)
        .env_remove("KEYWAY_URL")
        .env_remove("KEYWAY_TOKEN")
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    // A command that does not read its input closes it: that is no failure of the test.
    drop(stdin.write_all(input.as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().expect("the program ends");
    Ran {
        code: output.status.code().expect("no signal"),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

impl Ran {
    /// Standard output, if the exit code is the one expected.
    pub fn expect(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        if code == 0 { self.stdout } else { self.stderr }
    }

    /// Standard output as one JSON value.
    pub fn json(self) -> Value {
        let text = self.expect(0);
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text} is no JSON"))
    }

    /// Standard output as one JSON value a line.
    pub fn json_lines(self) -> Vec<Value> {
        let text = self.expect(0);
        text.lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }
}

/// The content of a file, once it is there. It comes whole, by a rename.
#[expect(
    clippy::disallowed_methods,
    reason = "waits in real time for another process"
)]
fn wait_for(path: &Path) -> String {
    let began = Instant::now();
    loop {
        if let Ok(text) = fs::read_to_string(path) {
            return text.trim().to_owned();
        }
        assert!(
            began.elapsed() < PATIENCE,
            "waited {PATIENCE:?} for {}",
            path.display()
        );
        thread::sleep(Duration::from_millis(2));
    }
}
