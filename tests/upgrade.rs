//! One process of a node takes over from another: nobody is refused, broken off or let through
//! twice, and a process that cannot take over changes nothing.

mod support;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use keyway::link::protocol::ControlMessage;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use support::control::Control;
use support::gateway::{KEYWAY, Setup};
use support::wait::Gate;
use support::{Gateway, Origin, Traffic, World, get, wait};

/// A gateway whose processes follow each other; all of them end with the test.
struct Line {
    gateway: Gateway,
    heirs: Heirs,
}

/// The processes after the first.
#[derive(Default)]
struct Heirs(Vec<Pid>);

impl Drop for Heirs {
    fn drop(&mut self) {
        for heir in &self.0 {
            // An error means that it has ended already.
            let _ = kill(*heir, Signal::SIGKILL);
        }
    }
}

impl Line {
    fn start(setup: Setup) -> Self {
        Self {
            gateway: setup.start(),
            heirs: Heirs::default(),
        }
    }

    fn before(origin: &Origin) -> Self {
        Self::start(Gateway::over(World::before(&[origin.address])))
    }

    /// `keyway upgrade`.
    fn try_upgrade(&self) -> Output {
        let mut command = Command::new(KEYWAY);
        command.args(["upgrade", "--admin", &self.gateway.admin.to_string()]);
        command.output().expect("runs")
    }

    fn upgrade(&mut self) {
        let before = self.serving();
        let output = self.try_upgrade();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}{}", self.gateway.stderr());
        let after = self.serving();
        assert_ne!(before, after);
        self.heirs.0.push(after);
    }

    /// The reason why it fails.
    fn upgrade_fails(&self) -> String {
        let before = self.serving();
        let output = self.try_upgrade();
        assert_eq!(output.status.code(), Some(1), "{}", self.gateway.stderr());
        assert_eq!(self.serving(), before);
        String::from_utf8(output.stderr).expect("is text")
    }

    fn serving(&self) -> Pid {
        pid(&self.gateway.status()["pid"]).expect("has a process")
    }

    /// Begins an upgrade whose process waits for its settings for ever; that process.
    fn begin_stuck_upgrade(&mut self) -> Pid {
        let path = self.gateway.path("keyway.toml");
        fs::remove_file(&path).expect("is there");
        mkfifo(&path, Mode::S_IRWXU).expect("makes a pipe");
        self.gateway.signal(Signal::SIGUSR2);
        let successor = wait::value("a new process", || {
            pid(&self.gateway.status()["upgrade"]["successor_pid"])
        });
        self.heirs.0.push(successor);
        successor
    }

    fn change_settings(&self, from: &str, to: &str) {
        let path = self.gateway.path("keyway.toml");
        let settings = fs::read_to_string(&path).expect("is there");
        assert!(settings.contains(from), "{settings}");
        fs::write(path, settings.replace(from, to)).expect("writes");
    }
}

fn pid(value: &serde_json::Value) -> Option<Pid> {
    let number = value.as_i64()?;
    Some(Pid::from_raw(
        i32::try_from(number).expect("process ids are small"),
    ))
}

/// The sockets that a process has open.
fn sockets(pid: Pid) -> HashSet<PathBuf> {
    let listing = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    let links = listing.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links
        .filter(|link| link.to_string_lossy().starts_with("socket:"))
        .collect()
}

fn lives(pid: Pid) -> bool {
    // A zombie has ended, though whoever adopted it has not looked yet.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn ten_upgrades_to_more_and_fewer_workers_harm_no_request() {
    let origin = Origin::saying(support::turn::answer(200, &[], "ok"));
    let mut line = Line::before(&origin);
    let good = line.gateway.good();
    let kept = Traffic::of(line.gateway.listen, 8, &good);
    let short = good.clone().header("Connection", "close");
    let fresh = Traffic::of(line.gateway.listen, 4, &short);
    let mut workers = 2;
    for _ in 0..10 {
        let next = 3 - workers;
        line.change_settings(
            &format!("workers = {workers}"),
            &format!("workers = {next}"),
        );
        workers = next;
        line.upgrade();
        let status = line.gateway.status();
        assert_eq!(status["workers"].as_array().map(Vec::len), Some(workers));
        assert_eq!(status["ready"], true, "{status}");
        kept.wait_for_more(20);
        fresh.wait_for_more(20);
    }
    kept.stop().assert_all(200);
    fresh.stop().assert_all(200);
    let last = line.heirs.0.last().copied();
    wait::until("all but the last to end", || {
        line.heirs
            .0
            .iter()
            .all(|heir| Some(*heir) == last || !lives(*heir))
    });
    assert!(line.gateway.wait_for_exit().success());
}

#[test]
fn no_key_gets_its_burst_twice() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]).limit(1, 60_000, 10);
    let mut line = Line::start(Gateway::over(world));
    let mut admitted = 0;
    for _ in 0..3 {
        for _ in 0..4 {
            admitted += u32::from(line.gateway.get().status == 200);
        }
        line.upgrade();
    }
    assert_eq!(admitted, 10);
    line.gateway.get().assert_refusal(429, "limit-reached");
}

#[test]
fn what_the_old_process_began_it_finishes_and_then_it_ends() {
    let gate = Arc::new(Gate::default());
    let waiting = Arc::clone(&gate);
    let origin = Origin::scripted(move |turn| {
        if turn.target().contains("slow") {
            waiting.pass();
        }
        turn.body()?;
        turn.echo()
    });
    let mut line = Line::before(&origin);
    let mut running = line.gateway.client();
    running.send(get("/orders/slow").key(&line.gateway.world.key).bytes());
    let mut idle = line.gateway.client();
    idle.exchange(&line.gateway.good()).assert_status(200);
    origin.wait_for_requests(2);
    line.upgrade();
    assert!(line.gateway.runs(), "it left before its last answer");
    // The old one lets its listeners go, and the new one never had its connections: a copy of one
    // would stay open when the old process closes it.
    wait::until("the two to have no socket in common", || {
        sockets(line.gateway.pid()).is_disjoint(&sockets(line.serving()))
    });
    line.gateway.get().assert_status(200);
    gate.open();
    let answer = running.read();
    answer.assert_status(200);
    assert_eq!(answer.header("connection"), Some("close"));
    // The new process does not keep the old one's connections open.
    idle.assert_closed();
    assert!(line.gateway.wait_for_exit().success());
    line.gateway.get().assert_status(200);
    assert_eq!(line.gateway.wait_for_log(4).len(), 4);
}

#[test]
fn a_process_that_cannot_serve_changes_nothing_and_says_why() {
    let origin = Origin::echo();
    let mut line = Line::before(&origin);
    let settings = fs::read_to_string(line.gateway.path("keyway.toml")).expect("is there");
    for (from, to, reason) in [
        ("workers = 2", "workers = 0", "workers"),
        ("workers = 2", "workers = = 2", "extra `=`"),
        ("pepper.hex", "nothing.hex", "pepper 1"),
        ("127.0.0.1:0\"]", "192.0.2.1:80\"]", "192.0.2.1:80"),
        (
            "\"snapshots\"",
            "\"nowhere\"",
            "not as ready as the process that runs",
        ),
    ] {
        line.change_settings(from, to);
        let said = line.upgrade_fails();
        assert!(
            said.contains("the upgrade failed") && said.contains(reason),
            "{said}"
        );
        assert!(said.contains("serves on"), "{said}");
        let status = line.gateway.status();
        let told = status["upgrade"]["last_error"].as_str().unwrap_or_default();
        assert!(told.contains(reason), "{status}");
        line.gateway.get().assert_status(200);
        fs::write(line.gateway.path("keyway.toml"), &settings).expect("writes");
    }
    line.upgrade();
    line.gateway.get().assert_status(200);
}

#[test]
fn a_process_that_dies_on_the_way_changes_nothing() {
    let origin = Origin::echo();
    let mut line = Line::before(&origin);
    let successor = line.begin_stuck_upgrade();
    assert!(
        String::from_utf8_lossy(&line.try_upgrade().stderr).contains("under way already"),
        "a second upgrade begins beside the first"
    );
    kill(successor, Signal::SIGKILL).expect("it runs");
    let told = wait::value("the node to notice", || {
        let status = line.gateway.status();
        status["upgrade"]["last_error"].as_str().map(str::to_owned)
    });
    assert!(told.contains("signal: 9"), "{told}");
    line.gateway.get().assert_status(200);
}

#[test]
fn an_end_that_is_asked_for_during_an_upgrade_ends_both() {
    let origin = Origin::echo();
    let mut line = Line::before(&origin);
    let successor = line.begin_stuck_upgrade();
    line.gateway.signal(Signal::SIGTERM);
    assert!(line.gateway.wait_for_exit().success());
    wait::until("the new process to end", || !lives(successor));
}

#[test]
fn new_settings_may_listen_elsewhere_too_and_no_longer_somewhere() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]);
    let mut line = Line::start(Gateway::over(world).listen(&["127.0.0.1:0", "127.0.0.1:0"]));
    let [first, second] = line.gateway.listeners[..] else {
        panic!("two listeners")
    };
    let from = "[\"127.0.0.1:0\", \"127.0.0.1:0\"]";
    line.change_settings(from, &format!("[\"{second}\", \"127.0.0.3:0\"]"));
    line.upgrade();
    assert!(line.gateway.wait_for_exit().success());
    let ports = fs::read_to_string(line.gateway.path("ports.json")).expect("is there");
    let ports: serde_json::Value = serde_json::from_str(&ports).expect("is JSON");
    assert_eq!(ports["listen"][0], second.to_string());
    let third = ports["listen"][1].as_str().expect("is there");
    let good = line.gateway.good();
    for address in [second, third.parse().expect("is an address")] {
        support::Client::connect(address)
            .exchange(&good)
            .assert_status(200);
    }
    assert!(
        std::net::TcpStream::connect(first).is_err(),
        "nobody asked for it"
    );
}

#[test]
fn the_admin_listener_may_move_too() {
    let origin = Origin::echo();
    let mut line = Line::before(&origin);
    let free = TcpListener::bind("127.0.0.1:0").expect("binds");
    let moved = free.local_addr().expect("is bound");
    drop(free);
    let from = "[admin]\nlisten = \"127.0.0.1:0\"";
    line.change_settings(from, &format!("[admin]\nlisten = \"{moved}\""));
    let admin = line.gateway.admin.to_string();
    let output = Command::new(KEYWAY)
        .args(["upgrade", "--admin", &admin, "--settings"])
        .arg(line.gateway.path("keyway.toml"))
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    line.gateway.admin = moved;
    line.heirs.0.push(line.serving());
    line.gateway.get().assert_status(200);
    assert!(line.gateway.wait_for_exit().success());
}

#[test]
fn sockets_of_the_service_manager_outlive_every_process() {
    let origin = Origin::echo();
    let socket = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = socket.local_addr().expect("is bound").to_string();
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::empty())).expect("is open");
    let pass = format!(
        "exec 3<&{}; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"",
        socket.as_raw_fd()
    );
    let world = World::before(&[origin.address]);
    let setup = Gateway::over(world).listen(&[&address]);
    let mut line = Line::start(setup.under(&["sh", "-c", &pass, "sh"]));
    assert_eq!(line.gateway.listen.to_string(), address);
    for _ in 0..8 {
        line.gateway.get().assert_status(200);
    }
    line.upgrade();
    line.gateway.get().assert_status(200);
    let last = line.heirs.0[0];
    kill(last, Signal::SIGTERM).expect("it runs");
    wait::until("the last process to end", || !lives(last));
    // The manager still holds the socket: who comes now waits for the next start.
    let mut early = line.gateway.client();
    early.send(line.gateway.good().bytes());
    let _gateway = line.gateway.restart();
    early.read().assert_status(200);
}

#[test]
fn a_socket_that_no_setting_names_is_refused() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = socket.local_addr().expect("is bound");
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::empty())).expect("is open");
    let pass = format!(
        "exec 3<&{}; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"",
        socket.as_raw_fd()
    );
    let setup = Gateway::over(World::before(&[address])).under(&["sh", "-c", &pass, "sh"]);
    let (status, said) = setup.fail();
    assert_eq!(status.code(), Some(1));
    assert!(said.contains(&format!("listens on {address}")), "{said}");
}

#[test]
fn usage_of_all_processes_of_a_node_adds_up() {
    let origin = Origin::echo();
    let state = tempfile::tempdir().expect("a directory");
    let setup = Gateway::over(World::before(&[origin.address]))
        .setting("link.socket = \"control.sock\"")
        .setting(&format!("state.directory = {:?}", state.path()));
    let mut line = Line::start(setup);
    for _ in 0..2 {
        (0..20).for_each(|_| line.gateway.get().assert_status(200));
        line.upgrade();
    }
    (0..20).for_each(|_| line.gateway.get().assert_status(200));
    let control = Control::at(&line.gateway.path("control.sock"));
    let mut book = HashMap::new();
    // More than one process may be there, and each has its own connection: one after the other.
    let mut node = control.accept();
    while book.values().sum::<u64>() < 60 {
        let (boot, sequence, segment) = node.hear_segment();
        book.insert((boot, sequence), segment.requests());
        node.say(&ControlMessage::SegmentAck { boot, sequence });
    }
    assert_eq!(book.values().sum::<u64>(), 60);
    let boots: HashSet<u64> = book.keys().map(|(boot, _)| *boot).collect();
    assert_eq!(boots.len(), 3);
}
