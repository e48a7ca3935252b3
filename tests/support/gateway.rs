//! The real `keyway` binary, started over a directory of its own and ended with the test.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use super::admin::{self, Metrics};
use super::client::{Client, Response};
use super::origin::Origin;
use super::request::{Request, get};
use super::wait;
use super::world::World;

/// The binary under test.
pub const KEYWAY: &str = env!("CARGO_BIN_EXE_keyway");

/// A gateway to be started.
#[derive(Clone, Debug)]
pub struct Setup {
    world: World,
    published: bool,
    workers: usize,
    listen: Vec<String>,
    driver: Option<String>,
    top: Vec<String>,
    http: Vec<String>,
    access_log: Vec<String>,
    under: Vec<String>,
    variables: Vec<(String, String)>,
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// Where it takes traffic; the first of its listeners.
    pub listen: SocketAddr,
    /// All its listeners.
    pub listeners: Vec<SocketAddr>,
    /// Its admin listener.
    pub admin: SocketAddr,
    /// What is published.
    pub world: World,
    /// The generation published last; 0 before the first.
    pub generation: u64,
    // Before the directory, so that it ends before its files go.
    process: Process,
    directory: TempDir,
    setup: Setup,
}

impl Gateway {
    /// A gateway over `world`, to be started.
    pub fn over(world: World) -> Setup {
        Setup {
            world,
            published: true,
            workers: 2,
            listen: vec!["\"127.0.0.1:0\"".into()],
            driver: None,
            top: Vec::new(),
            http: Vec::new(),
            access_log: Vec::new(),
            under: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// The usual gateway in front of `origin`, running.
    pub fn before(origin: &Origin) -> Self {
        Self::over(World::before(&[origin.address])).start()
    }
}

impl Setup {
    /// Starts with an empty snapshot directory.
    pub fn unpublished(mut self) -> Self {
        self.published = false;
        self
    }

    /// How many workers; 2 if this is not said.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Where it listens; `127.0.0.1` alone if this is not said.
    pub fn listen(mut self, addresses: &[&str]) -> Self {
        self.listen = addresses
            .iter()
            .map(|address| format!("{address:?}"))
            .collect();
        self
    }

    /// Where it listens, each as TOML writes it: an address in quotes, or a table.
    pub fn listen_as(mut self, listeners: &[&str]) -> Self {
        self.listen = listeners.iter().map(|one| (*one).into()).collect();
        self
    }

    /// The driver, instead of the one that the whole test run uses.
    pub fn driver(mut self, driver: &str) -> Self {
        self.driver = Some(driver.into());
        self
    }

    /// Adds a line at the top of the settings.
    pub fn setting(mut self, line: &str) -> Self {
        self.top.push(line.into());
        self
    }

    /// Puts a line at the top in place of the one that begins with `start`.
    pub fn replace_setting(mut self, start: &str, line: &str) -> Self {
        self.top.retain(|one| !one.starts_with(start));
        self.setting(line)
    }

    /// Adds a line under `[http]`.
    pub fn http(mut self, line: &str) -> Self {
        self.http.push(line.into());
        self
    }

    /// Adds a line under `[access_log]`.
    pub fn access_log(mut self, line: &str) -> Self {
        self.access_log.push(line.into());
        self
    }

    /// Runs it under another command, which must keep the process its own child.
    pub fn under(mut self, command: &[&str]) -> Self {
        self.under = command.iter().map(|word| (*word).into()).collect();
        self
    }

    /// Sets an environment variable for it.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Starts it and waits until it takes connections.
    pub fn start(self) -> Gateway {
        let directory = TempDir::new().expect("room for a directory");
        self.write(directory.path());
        let generation = u64::from(self.published);
        if self.published {
            publish(&self.world, directory.path(), generation);
        }
        let mut process = self.spawn(directory.path());
        let ports = process.wait_for_ports();
        let world = self.world.clone();
        let gateway = Gateway {
            listen: ports.listen[0],
            listeners: ports.listen,
            admin: ports.admin,
            world,
            generation,
            process,
            directory,
            setup: self,
        };
        if generation > 0 {
            gateway.wait_for_generation(generation);
        }
        gateway
    }

    /// Starts it and expects it to end by itself; how it did, and what it said.
    pub fn fail(self) -> (ExitStatus, String) {
        let directory = TempDir::new().expect("room for a directory");
        self.write(directory.path());
        publish(&self.world, directory.path(), 1);
        let mut process = self.spawn(directory.path());
        let status = wait::value("the gateway to give up", || process.exit_status());
        let said = fs::read_to_string(directory.path().join("stderr.log")).unwrap_or_default();
        (status, said)
    }

    fn write(&self, directory: &Path) {
        let pepper = directory.join("pepper.hex");
        let mut options = File::options();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(pepper);
        let mut file = file.expect("the directory is new");
        std::io::Write::write_all(&mut file, self.world.secret.as_bytes()).expect("room for it");
        fs::write(directory.join("keyway.toml"), self.settings()).expect("room for it");
    }

    fn settings(&self) -> String {
        let from_environment = std::env::var("KEYWAY_TEST_DRIVER").ok();
        let driver = self
            .driver
            .clone()
            .or(from_environment)
            .unwrap_or_else(|| "auto".into());
        let mut settings = format!(
            "node = \"edge-test\"\nworkers = {}\ndriver = \"{driver}\"\n\
             listen = [{}]\npepper = [{{ id = 1, file = \"pepper.hex\" }}]\n",
            self.workers,
            self.listen.join(", "),
        );
        for line in &self.top {
            writeln!(settings, "{line}").expect("a String takes all");
        }
        settings.push_str("[admin]\nlisten = \"127.0.0.1:0\"\n");
        settings.push_str("[snapshot]\ndirectory = \"snapshots\"\n");
        settings.push_str("[access_log]\nfile = \"access.log\"\n");
        for line in &self.access_log {
            writeln!(settings, "{line}").expect("a String takes all");
        }
        settings.push_str("[http]\n");
        for line in &self.http {
            writeln!(settings, "{line}").expect("a String takes all");
        }
        settings
    }

    fn spawn(&self, directory: &Path) -> Process {
        let mut words = self.under.iter().map(String::as_str).chain([KEYWAY]);
        let mut command = Command::new(words.next().expect("at least the binary itself"));
        let stderr = File::create(directory.join("stderr.log")).expect("room for it");
        command
            .args(words)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .arg("run")
            .arg("--settings")
            .arg(directory.join("keyway.toml"))
            .arg("--port-file")
            .arg(directory.join("ports.json"))
            .stdin(Stdio::null())
            .stdout(stderr.try_clone().expect("descriptors are left"))
            .stderr(stderr);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Process {
            child,
            directory: directory.to_owned(),
        }
    }
}

/// The gateway's process; ends with the test, and tells what it said if the test failed.
#[derive(Debug)]
struct Process {
    child: Child,
    directory: PathBuf,
}

/// The port file.
#[derive(Debug, Deserialize)]
struct Ports {
    listen: Vec<SocketAddr>,
    admin: SocketAddr,
}

impl Process {
    /// Where it listens, once it does.
    fn wait_for_ports(&mut self) -> Ports {
        wait::value("the port file", || {
            if let Some(status) = self.exit_status() {
                panic!("the gateway ended with {status}");
            }
            let text = fs::read_to_string(self.directory.join("ports.json")).ok()?;
            // A file that is still being written is no JSON yet.
            serde_json::from_str(&text).ok()
        })
    }

    fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    fn end(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            let said = fs::read_to_string(self.directory.join("stderr.log")).unwrap_or_default();
            eprintln!("--- the gateway said:\n{said}---");
        }
    }
}

fn publish(world: &World, directory: &Path, generation: u64) {
    let published = world
        .fixture
        .publish(&directory.join("snapshots"), generation);
    published.expect("the world is whole");
}

impl Gateway {
    /// A new connection.
    pub fn client(&self) -> Client {
        Client::connect(self.listen)
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn exchange(&self, request: &Request) -> Response {
        self.client().exchange(request)
    }

    /// `GET /orders/1` with the first key, on a connection of its own.
    #[track_caller]
    pub fn get(&self) -> Response {
        self.exchange(&self.good())
    }

    /// `GET /orders/1` with the first key.
    pub fn good(&self) -> Request {
        get("/orders/1").key(&self.world.key)
    }

    /// Changes the world, publishes it as a whole and waits until every worker serves it.
    pub fn publish(&mut self, change: impl FnOnce(&mut World)) {
        self.publish_unseen(change);
        self.wait_for_generation(self.generation);
    }

    /// Changes the world and publishes it as a whole.
    pub fn publish_unseen(&mut self, change: impl FnOnce(&mut World)) {
        change(&mut self.world);
        self.generation += 1;
        publish(&self.world, self.directory.path(), self.generation);
    }

    /// Changes the world and publishes it, its file damaged before anyone hears of it.
    pub fn publish_damaged(
        &mut self,
        change: impl FnOnce(&mut World),
        damage: impl FnOnce(&mut Vec<u8>),
    ) {
        change(&mut self.world);
        self.generation += 1;
        let aside = TempDir::new().expect("room for a directory");
        publish(&self.world, aside.path(), self.generation);
        let (base, current) = self.live_files();
        let made = |path: &Path| {
            let name = path.file_name().expect("it is a file");
            fs::read(aside.path().join("snapshots").join(name)).expect("just published")
        };
        let mut bytes = made(&base);
        damage(&mut bytes);
        fs::write(&base, bytes).expect("room for it");
        let manifest = made(&current);
        let temporary = current.with_extension("tmp");
        fs::write(&temporary, manifest).expect("room for it");
        fs::rename(temporary, current).expect("it was written");
    }

    /// Kills it and starts it again over the same directory.
    pub fn restart(mut self) -> Self {
        self.process.end();
        fs::remove_file(self.path("ports.json")).expect("it was written");
        self.process = self.setup.spawn(self.directory.path());
        let ports = self.process.wait_for_ports();
        (self.listen, self.admin) = (ports.listen[0], ports.admin);
        self.listeners = ports.listen;
        self
    }

    /// Waits until every worker serves `generation`.
    pub fn wait_for_generation(&self, generation: u64) {
        let what = format!("generation {generation}");
        wait::until(&what, || {
            self.status_of_workers()
                .iter()
                .all(|served| *served == generation)
        });
    }

    /// The generation that each worker serves.
    pub fn status_of_workers(&self) -> Vec<u64> {
        admin::generations(&self.status())
    }

    /// `/status`.
    pub fn status(&self) -> Value {
        self.ask_admin("/status").json()
    }

    /// `/metrics`.
    pub fn metrics(&self) -> Metrics {
        Metrics::parse(self.ask_admin("/metrics").text())
    }

    /// `GET path` at the admin listener.
    #[track_caller]
    pub fn ask_admin(&self, path: &str) -> Response {
        Client::connect(self.admin).exchange(&get(path).host("localhost"))
    }

    /// The access log so far, a JSON object a line.
    pub fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("access.log")).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?}"));
        whole.lines().map(parse).collect()
    }

    /// Waits for `count` lines in the access log.
    pub fn wait_for_log(&self, count: usize) -> Vec<Value> {
        wait::value("lines in the access log", || {
            let lines = self.log();
            (lines.len() >= count).then_some(lines)
        })
    }

    /// What it wrote to standard error and standard output.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.path("stderr.log")).unwrap_or_default()
    }

    /// A file in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The file of the base that serves, and its manifest.
    pub fn live_files(&self) -> (PathBuf, PathBuf) {
        let base = format!("snapshots/base-{:020}.kws", self.generation);
        (self.path(&base), self.path("snapshots/CURRENT"))
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.process.child.id()).expect("process ids are small"))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it runs");
    }

    /// Waits until it has ended.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        wait::value("the gateway to end", || self.process.exit_status())
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.process.exit_status().is_none()
    }
}
