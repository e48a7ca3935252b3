//! What slow clients do to the others: normal traffic's latency, with and without an attack.
//!
//! `slowhttptest` opens connections and drips heads, drips bodies, or takes answers a few bytes at a
//! time. Beside it twenty clients ask at a steady pace, not as fast as they can: the time of their
//! answers is what a user would see. Each attack stands between two spells without one, and its
//! ratio is taken against these two, so that a machine that changes speed favors nobody.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::Figure;
use crate::gateway::start_origin;
use crate::http::Connection;
use crate::node::{Node, NodeSettings};
use crate::process::{Child, Program};
use crate::progress::Progress;
use crate::statistics::{median, percentile};
use crate::tools::{self, Tool};
use crate::trouble::{Outcome, Trouble};
use crate::{files, keys, published};

/// Most that an attack may do to the 99th percentile of normal traffic.
const RATIO_MAX: f64 = 1.5;

/// Connections of an attack, made at this rate.
const ATTACKERS: u32 = 2_000;
const ATTACKERS_PER_S: u32 = 1_000;

/// From the start of an attack until all its connections stand.
const ATTACK_STANDS: Duration = Duration::from_secs(5);

/// Clients of normal traffic, and how often each asks.
const CLIENTS: usize = 20;
const ASKS_EVERY: Duration = Duration::from_millis(20);

/// The slow modes of `slowhttptest`.
#[derive(Clone, Copy, Debug)]
enum Attack {
    Heads,
    Bodies,
    Reads,
}

impl Attack {
    const ALL: [Self; 3] = [Self::Heads, Self::Bodies, Self::Reads];

    const fn figures(self) -> [&'static str; 3] {
        match self {
            Self::Heads => [
                "p99_beside_slow_heads",
                "p99_without_slow_heads",
                "p99_slow_heads_ratio",
            ],
            Self::Bodies => [
                "p99_beside_slow_bodies",
                "p99_without_slow_bodies",
                "p99_slow_bodies_ratio",
            ],
            Self::Reads => [
                "p99_beside_slow_reads",
                "p99_without_slow_reads",
                "p99_slow_reads_ratio",
            ],
        }
    }

    /// Its command line: attackers have a good key, so that they get as far as they can.
    fn program(self, to: SocketAddr, key: &str, seconds: u64) -> Outcome<Program> {
        let path = Tool::Slowhttptest
            .path()
            .ok_or_else(|| Trouble::wrong("slowhttptest", "is not installed"))?;
        let (mode, target, details): (_, _, &[&str]) = match self {
            Self::Heads => ("-H", "orders/1", &["-i", "1", "-x", "24"]),
            Self::Bodies => ("-B", "orders/sink", &["-i", "1", "-s", "8192", "-x", "10"]),
            Self::Reads => (
                "-X",
                "orders/large?mib=1",
                &["-n", "1", "-z", "32", "-w", "512", "-y", "1024"],
            ),
        };
        // It takes cookies, and another field behind them.
        let cookie = format!("slow=1\r\nX-API-Key: {key}");
        // Attackers are machines of their own: their work must not be taken for the node's.
        Ok(Program::new("slowhttptest", "nice")
            .with(["-n", "19", &path.display().to_string()])
            .with([mode, "-c", &ATTACKERS.to_string()])
            .with(["-r", &ATTACKERS_PER_S.to_string()])
            .with(["-l", &seconds.to_string()])
            .with(["-u", &format!("http://{to}/{target}"), "-j", &cookie])
            .with(details.iter().copied()))
    }
}

/// The 99th percentiles beside and without one attack, in milliseconds, a pair for each round.
type Rounds = Vec<(f64, f64)>;

/// Measures all three modes.
///
/// # Errors
/// When something that is needed is missing, fails, or normal traffic gets a wrong answer.
pub async fn measure(quick: bool, progress: Progress) -> Outcome<Vec<Figure>> {
    tools::need(&[Tool::Slowhttptest, Tool::Setpriv])?;
    let (rounds, seconds) = if quick { (3, 4) } else { (5, 8) };
    let stage = Stage::start().await?;
    // Connections to the origin are made, pages touched.
    stage.traffic(2).await?;
    let mut figures = Vec::new();
    for attack in Attack::ALL {
        let mut measured = Rounds::new();
        let mut before = stage.traffic(seconds).await?;
        for round in 1..=rounds {
            let during = stage.attacked(attack, seconds).await?;
            let after = stage.traffic(seconds).await?;
            let without = f64::midpoint(before, after);
            progress.say(format!(
                "{attack:?} {round}/{rounds}: p99 {during:.2} ms beside, {without:.2} ms without"
            ));
            measured.push((during, without));
            before = after;
        }
        figures.extend(told(attack, &measured));
    }
    Ok(figures)
}

fn told(attack: Attack, rounds: &Rounds) -> [Figure; 3] {
    let of = |pick: fn(&(f64, f64)) -> f64| median(&rounds.iter().map(pick).collect::<Vec<_>>());
    let [beside, without, ratio] = attack.figures();
    [
        Figure::told(beside, of(|round| round.0), "ms"),
        Figure::told(without, of(|round| round.1), "ms"),
        Figure::at_most(ratio, of(|round| round.0 / round.1), "ratio", RATIO_MAX),
    ]
}

/// A node before an origin.
struct Stage {
    node: Node,
    key: String,
    directory: tempfile::TempDir,
    _origin: Child,
}

impl Stage {
    async fn start() -> Outcome<Self> {
        let directory = files::scratch("slow")?;
        let here = directory.path();
        let (origin, address) = start_origin(here).await?;
        let keys = keys::mint(1)?;
        let published = published::publish(here, &keys, address, 1_000_000)?;
        let node = Node::start(&NodeSettings::plain(here, published)?).await?;
        Ok(Self {
            node,
            key: keys.into_iter().next().unwrap_or_default(),
            directory,
            _origin: origin,
        })
    }

    /// The 99th percentile of `seconds` of normal traffic beside an attack.
    async fn attacked(&self, attack: Attack, seconds: u64) -> Outcome<f64> {
        let attack_seconds = ATTACK_STANDS.as_secs() + seconds + 2;
        let program = attack.program(self.node.address, &self.key, attack_seconds)?;
        let mut attackers = Child::start(&program, &self.directory.path().join("slow.log"))?;
        sleep(ATTACK_STANDS).await;
        let open = self.open_connections().await?;
        if open < ATTACKERS / 2 {
            return Err(attackers.trouble(format!("holds only {open} connections")));
        }
        let p99 = self.traffic(seconds).await?;
        attackers.stop();
        let end = Instant::now() + Duration::from_secs(20);
        while self.open_connections().await? > ATTACKERS / 10 {
            if Instant::now() > end {
                return Err(Trouble::wrong(
                    "node",
                    "keeps connections of attackers that left",
                ));
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(p99)
    }

    async fn open_connections(&self) -> Outcome<u32> {
        let status = self.node.status().await?;
        let workers = status["workers"].as_array().cloned().unwrap_or_default();
        let open = |worker: &serde_json::Value| worker["open_connections"].as_u64().unwrap_or(0);
        Ok(u32::try_from(workers.iter().map(open).sum::<u64>()).unwrap_or(u32::MAX))
    }

    /// The 99th percentile of `seconds` of normal traffic, in milliseconds.
    async fn traffic(&self, seconds: u64) -> Outcome<f64> {
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let client = client(self.node.address, self.key.clone(), number, end);
            clients.spawn(client);
        }
        let mut times_ms = Vec::new();
        while let Some(ended) = clients.join_next().await {
            times_ms.extend(ended.map_err(|error| Trouble::io("ask")(error.into()))??);
        }
        Ok(percentile(&times_ms, 99))
    }
}

/// One client of normal traffic; the times of its answers in milliseconds.
async fn client(to: SocketAddr, key: String, number: usize, end: Instant) -> Outcome<Vec<f64>> {
    let mut connection = Connection::open(to).await?;
    let mut ticks = interval(ASKS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Spread over the interval, as independent users are.
    sleep(ASKS_EVERY.mul_f64(number as f64 / CLIENTS as f64)).await;
    let mut times_ms = Vec::new();
    loop {
        ticks.tick().await;
        let begun = Instant::now();
        if begun >= end {
            return Ok(times_ms);
        }
        let answer = connection.get("/orders/1", Some(&key)).await?;
        if answer.status != 200 {
            return Err(Trouble::wrong(
                "normal traffic",
                "got something else than 200",
            ));
        }
        times_ms.push(begun.elapsed().as_secs_f64() * 1e3);
    }
}
