//! Whether usage adds up: mixed load, counted by whoever sends it, against the sums that control
//! tells in the end, while control is killed and started again at random, other processes take the
//! node over, and once the disks of both are full.
//!
//! Every request that is sent whole counts once, whatever becomes of it: good ones, refused keys,
//! refused limits, uploads that break off and answers that nobody waits for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::{Figure, node_kills};
use crate::files;
use crate::gateway::Gateway;
use crate::http::{Ask, Connection};
use crate::keys;
use crate::progress::Progress;
use crate::small_disk::SmallDisk;
use crate::trouble::{Outcome, Trouble};

/// Tasks that send, each on a connection of its own.
const SENDERS: u64 = 6;
/// How long the disks are full.
const FULL: Duration = Duration::from_secs(5);
/// Longest time until control has all of it.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

const CONFIGURATION: &str = r#"
upstreams:
  - name: origin
    targets: ["127.0.0.1:9"]
apis:
  - name: orders
    upstream: origin
    routes: [{ path: "/orders/*" }]
plans:
  - name: wide
    apis: [orders]
    limits: [{ name: rate, requests: 1000000, per: second }]
  - name: narrow
    apis: [orders]
    limits: [{ name: rate, requests: 50, per: second }]
tenants:
  - name: acme
    apps:
      - { name: wide, subscriptions: [{ api: orders, plan: wide }] }
      - { name: narrow, subscriptions: [{ api: orders, plan: narrow }] }
"#;

/// Requests by what they were to get: `2xx`, `4xx`, or `cut` where the sender broke off.
type Tally = BTreeMap<&'static str, u64>;

/// Measures it.
///
/// # Errors
/// When a program is missing or fails, or an answer is none that was expected.
pub async fn measure(quick: bool, progress: Progress) -> Outcome<Vec<Figure>> {
    let seconds = if quick { 40 } else { 600 };
    let directory = files::scratch("ledger")?;
    let file = directory.path().join("gateway.yaml");
    files::write(&file, CONFIGURATION)?;
    let here = files::scratch("gateway")?;
    let disks = disks(here.path(), progress)?;
    let mut gateway = Gateway::start_in(here, &file, 2, progress).await?;
    let wide = gateway.control.make_key("acme", "wide").await?;
    let narrow = gateway.control.make_key("acme", "narrow").await?;
    gateway.until_known(&narrow, "/orders/1", 200).await?;
    // What the waiting above sent is counted too, and by nobody here.
    let before = settled(&mut gateway).await?;
    progress.say(format!(
        "{seconds} s of mixed load; control is killed meanwhile"
    ));
    let stop = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..SENDERS)
        .map(|seed| {
            let secrets = [wide.secret.clone(), narrow.secret.clone()];
            tokio::spawn(send(gateway.node.address, secrets, seed, Arc::clone(&stop)))
        })
        .collect();
    let troubles = trouble(&mut gateway, seconds, &disks, progress).await;
    stop.store(true, Ordering::Relaxed);
    let mut sent = Tally::new();
    for sender in senders {
        let tally = sender
            .await
            .map_err(|error| Trouble::wrong("a sender", error.to_string()))??;
        for (what, count) in tally {
            *sent.entry(what).or_default() += count;
        }
    }
    let (kills, upgrades) = troubles?;
    progress.say("waiting until control has all of it");
    let after = settled(&mut gateway).await?;
    let counted = |what: &str| after.get(what).unwrap_or(&0) - before.get(what).unwrap_or(&0);
    let of = |what: &str| *sent.get(what).unwrap_or(&0);
    let all_sent: u64 = sent.values().sum();
    let all_counted = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"]
        .iter()
        .map(|what| counted(what));
    let off = |one: u64, other: u64| one.abs_diff(other) as f64;
    let mut figures = vec![
        Figure::told("ledger_requests", all_sent as f64, ""),
        Figure::told("ledger_control_killed", kills as f64, "times"),
        Figure::told("ledger_upgrades", upgrades as f64, ""),
        Figure::told("ledger_disks_full", disks.len() as f64, ""),
        Figure::told("ledger_cut_by_clients", of("cut") as f64, ""),
        Figure::at_most("ledger_off_all", off(all_sent, all_counted.sum()), "", 0.0),
        Figure::at_most(
            "ledger_off_2xx",
            off(of("2xx"), counted("2xx")),
            "",
            of("cut") as f64,
        ),
        Figure::at_most(
            "ledger_off_4xx",
            off(of("4xx"), counted("4xx")),
            "",
            of("cut") as f64,
        ),
    ];
    figures.extend(node_kills::measure(quick, &mut gateway, &wide, progress).await?);
    drop(gateway);
    drop(disks);
    Ok(figures)
}

/// Disks of their own for what the node and control keep, where that is allowed.
fn disks(here: &Path, progress: Progress) -> Outcome<Vec<SmallDisk>> {
    let mut disks = Vec::new();
    for (name, mib) in [("state", 16), ("control", 64)] {
        match SmallDisk::mount(&here.join(name), mib)? {
            Some(disk) => disks.push(disk),
            None => progress.say("no right to mount: no disk is filled"),
        }
    }
    Ok(disks)
}

/// Kills control at random, lets other processes take the node over; how often each. Once the disks
/// are full for a while.
async fn trouble(
    gateway: &mut Gateway,
    seconds: u64,
    disks: &[SmallDisk],
    progress: Progress,
) -> Outcome<(u64, u64)> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut kills, mut upgrades) = (0_u64, 0_u64);
    while Instant::now() < end {
        sleep(Duration::from_millis(1_000 + random(4_000)?)).await;
        gateway.control.kill();
        kills += 1;
        sleep(Duration::from_millis(random(3_000)?)).await;
        gateway.control.start_again().await?;
        if kills % 4 == 2 {
            gateway.node.upgrade().await?;
            upgrades += 1;
        }
        if kills == 3 {
            progress.say("the disks are full for a while");
            disks.iter().try_for_each(SmallDisk::fill)?;
            sleep(FULL).await;
            disks.iter().try_for_each(SmallDisk::free)?;
        }
        if kills.is_multiple_of(10) {
            progress.say(format!("control was killed {kills} times"));
        }
    }
    Ok((kills, upgrades))
}

fn random(below: u64) -> Outcome<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| Trouble::io("draw random bytes")(std::io::Error::other(error)))?;
    Ok(u64::from_le_bytes(bytes) % below)
}

/// Sends until it is told to stop; says what it sent.
async fn send(
    to: SocketAddr,
    [wide, narrow]: [String; 2],
    seed: u64,
    stop: Arc<AtomicBool>,
) -> Outcome<Tally> {
    let unknown = keys::mint(1)?.concat();
    let mut tally = Tally::new();
    let mut connection = Connection::open(to).await?;
    let mut turn = seed;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        if turn.is_multiple_of(37) {
            cut(to, &wide, turn).await?;
            *tally.entry("cut").or_default() += 1;
            continue;
        }
        let (target, key) = match turn % 5 {
            0 => ("/orders/1", Some(&unknown)),
            1 => ("/nowhere", Some(&wide)),
            2 => ("/orders/2", Some(&narrow)),
            _ => ("/orders/3", Some(&wide)),
        };
        let mut ask = Ask::get(target);
        if let Some(key) = key {
            ask = ask.header("x-api-key", key);
        }
        match connection.send(ask.clone()).await {
            Ok(answer) => {
                let class = match answer.status / 100 {
                    2 => "2xx",
                    4 => "4xx",
                    _ => return Err(Trouble::wrong(target, format!("status {}", answer.status))),
                };
                *tally.entry(class).or_default() += 1;
                if answer.header("connection") == "close" {
                    connection = Connection::open(to).await?;
                }
            }
            // A process that drains closes between two requests; nothing of this one was sent then.
            Err(_) => connection = Connection::open(to).await?,
        }
    }
    Ok(tally)
}

/// A request that breaks off: an upload of which half comes, or an answer that is not waited for.
async fn cut(to: SocketAddr, key: &str, turn: u64) -> Outcome<()> {
    let failed = |error| Trouble::io("cut a request")(error);
    let mut stream = TcpStream::connect(to).await.map_err(failed)?;
    let head = if turn.is_multiple_of(2) {
        format!(
            "POST /orders/sink HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: 1000\r\n\r\nhalf"
        )
    } else {
        format!("GET /orders/large?mib=4 HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n\r\n")
    };
    stream.write_all(head.as_bytes()).await.map_err(failed)?;
    // Long enough that the whole head is there before the end is.
    sleep(Duration::from_millis(20)).await;
    Ok(())
}

/// What control tells by status class once the node has nothing more to tell.
pub(super) async fn settled(gateway: &mut Gateway) -> Outcome<BTreeMap<String, u64>> {
    let deadline = Instant::now() + SETTLED_WITHIN;
    let mut calm = 0;
    // Also a predecessor may have something to ship, which its successor finds within seconds.
    while calm < 60 {
        let link = gateway.node.status().await?["link"].clone();
        let waits = link["usage_rows_open"].as_u64() != Some(0)
            || link["usage_segments_waiting"].as_u64() != Some(0)
            || link["connected"] != true;
        calm = if waits { 0 } else { calm + 1 };
        if Instant::now() > deadline {
            return Err(Trouble::wrong("usage", format!("is not shipped: {link}")));
        }
        sleep(Duration::from_millis(200)).await;
    }
    let usage = ["usage", "--since", "1d", "--step", "day"];
    let report = gateway.control.json(&usage).await?;
    let mut sums = BTreeMap::new();
    for item in report["items"].as_array().into_iter().flatten() {
        for (class, count) in item["by_class"].as_object().into_iter().flatten() {
            *sums.entry(class.clone()).or_default() += count.as_u64().unwrap_or(0);
        }
    }
    Ok(sums)
}
