//! What the service manager hears from the `keyway` binary, over a real notification socket.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keyway::authenticate::digest::Pepper;

const KEYWAY: &str = env!("CARGO_BIN_EXE_keyway");

/// Killed when dropped.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Node {
    fn start(site: &Path, lines: &str, manager: &Path) -> Self {
        Self::start_with(site, lines, manager, &[])
    }

    fn start_with(site: &Path, lines: &str, manager: &Path, variables: &[(&str, &str)]) -> Self {
        Pepper::create(1, &site.join("pepper.hex")).expect("makes a pepper");
        fs::create_dir(site.join("snapshots")).expect("makes a directory");
        let driver = std::env::var("KEYWAY_TEST_DRIVER").unwrap_or_else(|_| "auto".into());
        let settings = format!(
            "workers = 2\ndriver = \"{driver}\"\nadmin.listen = \"127.0.0.1:0\"\n\
             pepper = [{{ id = 1, file = \"pepper.hex\" }}]\n\
             snapshot.directory = \"snapshots\"\n{lines}\n"
        );
        fs::write(site.join("keyway.toml"), settings).expect("writes");
        let child = Command::new(KEYWAY)
            .args(["run", "--settings"])
            .arg(site.join("keyway.toml"))
            .arg("--port-file")
            .arg(site.join("ports.json"))
            .env("NOTIFY_SOCKET", manager)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("runs");
        Self(child)
    }

    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let sent = Command::new("kill").args([name, &id]).status();
        assert!(sent.expect("runs").success());
    }
}

fn manager(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).expect("binds");
    let patience = Some(Duration::from_secs(30));
    socket.set_read_timeout(patience).expect("sets");
    socket
}

fn hear(manager: &UnixDatagram) -> Vec<String> {
    let mut bytes = [0; 1024];
    let length = manager.recv(&mut bytes).expect("is told in time");
    let text = std::str::from_utf8(&bytes[..length]).expect("is text");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_manager_hears_of_start_reload_and_end() {
    let site = tempfile::tempdir().expect("makes a directory");
    let socket = site.path().join("notify");
    let manager = manager(&socket);
    let mut node = Node::start(site.path(), "listen = [\"127.0.0.1:0\"]", &socket);

    assert_eq!(hear(&manager), ["READY=1"]);
    // Whoever waits for readiness may use what the node wrote.
    assert!(site.path().join("ports.json").exists());

    for _ in 0..2 {
        node.signal("-HUP");
        let told = hear(&manager);
        assert_eq!(told[0], "RELOADING=1");
        let time = told[1].strip_prefix("MONOTONIC_USEC=");
        assert!(
            time.is_some_and(|time| time.parse::<u64>().is_ok()),
            "{told:?}"
        );
        assert_eq!(hear(&manager), ["READY=1"]);
    }

    node.signal("-TERM");
    assert_eq!(hear(&manager), ["STOPPING=1", "STATUS=draining"]);
    assert_eq!(node.0.wait().expect("ends").code(), Some(0));
}

#[test]
fn a_node_that_does_not_start_never_says_that_it_is_ready() {
    let site = tempfile::tempdir().expect("makes a directory");
    let socket = site.path().join("notify");
    let manager = manager(&socket);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("is bound");
    let lines = format!("listen = [\"{address}\"]");
    let mut node = Node::start(site.path(), &lines, &socket);
    assert_ne!(node.0.wait().expect("ends").code(), Some(0));
    manager.set_nonblocking(true).expect("sets");
    assert!(manager.recv(&mut [0; 1024]).is_err());
}

#[test]
fn the_manager_hears_who_serves_after_an_upgrade_and_of_one_that_failed() {
    let site = tempfile::tempdir().expect("makes a directory");
    let socket = site.path().join("notify");
    let manager = manager(&socket);
    let mut node = Node::start(site.path(), "listen = [\"127.0.0.1:0\"]", &socket);
    assert_eq!(hear(&manager), ["READY=1"]);

    let settings = site.path().join("keyway.toml");
    let kept = fs::read_to_string(&settings).expect("is there");
    fs::write(&settings, "workers = 0").expect("writes");
    node.signal("-USR2");
    assert_eq!(hear(&manager)[0], "RELOADING=1");
    // The old process, which goes on.
    assert_eq!(hear(&manager), ["READY=1"]);

    fs::write(&settings, kept).expect("writes");
    node.signal("-USR2");
    assert_eq!(hear(&manager)[0], "RELOADING=1");
    let told = hear(&manager);
    let heir = told[0].strip_prefix("MAINPID=").expect("is told of it");
    assert_eq!(told[1], "READY=1");
    assert_ne!(heir, node.0.id().to_string());
    // The new process itself, which the manager believes from here on. The old one is silent: its
    // end is not the service's.
    assert_eq!(hear(&manager), ["READY=1"]);
    assert_eq!(node.0.wait().expect("ends").code(), Some(0));
    let ended = Command::new("kill").args(["-TERM", heir]).status();
    assert!(ended.expect("runs").success());
    assert_eq!(hear(&manager), ["STOPPING=1", "STATUS=draining"]);
}

#[test]
fn the_watchdog_is_fed_while_all_workers_turn() {
    let site = tempfile::tempdir().expect("makes a directory");
    let socket = site.path().join("notify");
    let manager = manager(&socket);
    let variables = [("WATCHDOG_USEC", "400000")];
    let _node = Node::start_with(
        site.path(),
        "listen = [\"127.0.0.1:0\"]",
        &socket,
        &variables,
    );
    assert_eq!(hear(&manager), ["READY=1"]);
    for _ in 0..3 {
        assert_eq!(hear(&manager), ["WATCHDOG=1"]);
    }
}
