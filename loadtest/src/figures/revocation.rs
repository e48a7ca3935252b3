//! How long a revoked key still opens a door: from control's answer to 401 on every worker.
//!
//! The clock starts when control has answered, so when the revocation is on disk, and stops when
//! the last of many connections, spread over all workers, got its 401. That is what an operator
//! who presses the button sees; the time until the answer is told apart.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::Instant;

use crate::control::Key;
use crate::gateway::Gateway;
use crate::http::{self, Ask, Connection};
use crate::process::{Child, Cores};
use crate::progress::Progress;
use crate::statistics::percentile;
use crate::tools::{self, Tool};
use crate::trouble::{Outcome, Trouble};
use crate::wrk::{self, Load};
use crate::{files, keys};

/// Connections that ask. The kernel spreads them over the workers by hash; `/status` is asked
/// whether every worker has some.
const PROBES: usize = 24;

const WORKERS: usize = 2;
const LOAD_KEYS: usize = 200;
const LOAD_CONNECTIONS: usize = 32;

/// Longer than any run: the load is ended, it does not end.
const LOAD_SECONDS: u64 = 3_600;

/// A key that still opens after this time is not late but alive.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

/// Longest time until the data plane tells of the probes' connections.
const COUNTED_WITHIN: Duration = Duration::from_secs(5);

/// Longest time that wrk may take to sum up.
const SUM_WITHIN: Duration = Duration::from_secs(10);

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Median, from the answer to 401 everywhere.
    pub p50_ms: f64,
    /// 99th percentile, from the answer to 401 everywhere.
    pub p99_ms: f64,
    /// 99th percentile, from the request to control's answer.
    pub answer_p99_ms: f64,
    /// Requests a second that the data plane served meanwhile.
    pub load_per_s: f64,
}

const CONFIGURATION: &str = r#"
upstreams:
  - name: origin
    targets: []
apis:
  - name: orders
    version: v1
    upstream: origin
    routes:
      - { path: "/*", methods: [GET] }
plans:
  - name: standard
    apis: [orders]
    limits:
      - { name: steady, requests: 100000, per: second, burst: 100000 }
tenants:
  - name: acme
    apps:
      - name: mobile
        subscriptions:
          - { api: orders, plan: standard }
"#;

/// Revokes `count` keys, one after another, while the data plane works at full load.
///
/// # Errors
/// When something is missing or fails, or a revoked key goes on opening.
pub async fn under_load(count: usize, progress: Progress) -> Outcome<Times> {
    tools::need(&[Tool::Wrk, Tool::Taskset, Tool::Setpriv])?;
    let directory = files::scratch("revocation")?;
    let configuration = directory.path().join("gateway.yaml");
    files::write(&configuration, CONFIGURATION)?;
    let mut gateway = Gateway::start(&configuration, WORKERS, progress).await?;

    progress.say(format!("making {} keys", LOAD_KEYS + count));
    let mut api = gateway.control.api().await?;
    let (mut load_keys, mut doomed) = (Vec::new(), Vec::new());
    for _ in 0..LOAD_KEYS {
        load_keys.push(api.make_key("acme", "mobile").await?.secret);
    }
    for _ in 0..count {
        doomed.push(api.make_key("acme", "mobile").await?);
    }
    let last = doomed
        .last()
        .ok_or_else(|| Trouble::wrong("revocations", "none asked for"))?;
    gateway.until_known(last, "/1k", 200).await?;

    let key_file = directory.path().join("keys");
    keys::write(&key_file, &load_keys, |_, key| key.to_owned())?;
    let mut probes = connect(&mut gateway).await?;
    let mut load = start_load(&gateway, &key_file)?;
    let (mut everywhere, mut answers) = (Vec::new(), Vec::new());
    for (done, key) in doomed.iter().enumerate() {
        if done % 50 == 0 {
            progress.say(format!("revoked {done} of {count}"));
        }
        // Every probe has just been let in, so it is connected and its worker knows the key.
        probes = ask_all(probes, key, Until::Opens).await?.0;
        let asked = Instant::now();
        api.revoke(key).await?;
        answers.push(millis(asked.elapsed()));
        let (asked_again, took) = ask_all(probes, key, Until::Refused).await?;
        probes = asked_again;
        everywhere.push(millis(took));
    }
    Ok(Times {
        p50_ms: percentile(&everywhere, 50),
        p99_ms: percentile(&everywhere, 99),
        answer_p99_ms: percentile(&answers, 99),
        load_per_s: end_load(&mut load).await?,
    })
}

/// Opens the probes' connections and makes sure that every worker has some of them.
async fn connect(gateway: &mut Gateway) -> Outcome<Vec<Connection>> {
    let mut probes = Vec::new();
    for _ in 0..PROBES {
        probes.push(Connection::open(gateway.node.address).await?);
    }
    let admin = gateway.node.admin;
    // Nothing else is connected yet, and counters reach `/status` a moment later.
    let open = gateway
        .node
        .child
        .until("count its connections", COUNTED_WITHIN, async || {
            let open = open_connections(admin).await?;
            (open.iter().sum::<u64>() >= PROBES as u64).then_some(open)
        })
        .await?;
    if open.len() != WORKERS || open.contains(&0) {
        let what = format!("a worker has no probe: connections by worker {open:?}");
        return Err(Trouble::wrong("probes", what));
    }
    Ok(probes)
}

async fn open_connections(admin: SocketAddr) -> Option<Vec<u64>> {
    let status = http::once(admin, Ask::get("/status")).await.ok()?.json();
    let workers = status["workers"].as_array()?;
    workers
        .iter()
        .map(|worker| worker["open_connections"].as_u64())
        .collect()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    Opens,
    Refused,
}

/// Lets every connection ask until it gets what it waits for; answers the connections and the
/// time until the last one had it.
async fn ask_all(
    probes: Vec<Connection>,
    key: &Key,
    until: Until,
) -> Outcome<(Vec<Connection>, Duration)> {
    let start = Instant::now();
    let mut asking = tokio::task::JoinSet::new();
    for mut probe in probes {
        let secret = key.secret.clone();
        asking.spawn(async move {
            ask(&mut probe, &secret, until, start).await?;
            Ok::<_, Trouble>(probe)
        });
    }
    let mut probes = Vec::new();
    while let Some(asked) = asking.join_next().await {
        probes.push(asked.map_err(|error| Trouble::wrong("probe", error.to_string()))??);
    }
    Ok((probes, start.elapsed()))
}

async fn ask(probe: &mut Connection, key: &str, until: Until, start: Instant) -> Outcome<()> {
    loop {
        match (probe.get("/1k", Some(key)).await?.status, until) {
            (200, Until::Opens) | (401, Until::Refused) => return Ok(()),
            (200, Until::Refused) | (401, Until::Opens) if start.elapsed() < GIVE_UP_AFTER => {}
            (status, _) => {
                let what = format!("{status} while waiting for {until:?}");
                return Err(Trouble::wrong("probe", what));
            }
        }
    }
}

fn start_load(gateway: &Gateway, keys: &Path) -> Outcome<Child> {
    let here = gateway.directory.path();
    let load = Load {
        to: gateway.node.address,
        tls: false,
        path: "/1k".into(),
        keys: keys.to_owned(),
        connections: LOAD_CONNECTIONS,
        seconds: LOAD_SECONDS,
        seed: 1,
        // One thread of load; where it runs is the scheduler's choice.
        cores: Some(
            Cores::split()?
                .load
                .split(',')
                .next()
                .unwrap_or("0")
                .to_owned(),
        ),
    };
    Child::start(&wrk::program(&load, here)?, &here.join("wrk.log"))
}

/// Ends the load and answers its rate. It must not have met a single failure.
async fn end_load(load: &mut Child) -> Outcome<f64> {
    // On SIGINT wrk stops and sums up.
    load.signal(Signal::SIGINT);
    let log = load.log().to_owned();
    let measured = load
        .until("its sum", SUM_WITHIN, async || {
            wrk::parse(&files::read(&log).ok()?)
        })
        .await?;
    if measured.broken() > 0 || measured.errors.status > 0 {
        return Err(load.trouble(format!("met failures: {:?}", measured.errors)));
    }
    Ok(measured.requests_per_s())
}
