//! What upgrades do to traffic: `wrk` loads a node while one process after the other takes it over,
//! to fewer and to more workers. Nobody may be refused, reset, or answered anything but 200.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Figure;
use crate::gateway::start_origin;
use crate::node::{Node, NodeSettings};
use crate::progress::Progress;
use crate::statistics::median;
use crate::trouble::Outcome;
use crate::wrk::{self, Load};
use crate::{files, keys, published};

/// Processes that take over while one load runs.
const UPGRADES: u64 = 10;

/// Time between two of them, so that each has traffic of its own.
const PAUSE: Duration = Duration::from_millis(700);

/// Seconds of load; the upgrades end before it does.
const LOAD_S: u64 = 20;

const CONNECTIONS: usize = 64;

/// Measures it.
///
/// # Errors
/// When the node does not start, an upgrade fails, or `wrk` is missing.
pub async fn measure(progress: Progress) -> Outcome<Vec<Figure>> {
    let directory = files::scratch("upgrade")?;
    let here = directory.path();
    let (_origin, address) = start_origin(here).await?;
    let minted = keys::mint(1_000)?;
    let key_file = here.join("keys.txt");
    keys::write(&key_file, &minted, |_, key| key.to_owned())?;
    let published = published::publish(here, &minted, address, 1_000_000)?;
    let settings = NodeSettings::plain(here, published)?;
    let node = Node::start(&settings).await?;
    let load = Load {
        to: node.address,
        tls: false,
        path: "/orders/1".into(),
        keys: key_file,
        connections: CONNECTIONS,
        seconds: LOAD_S,
        seed: 1,
        cores: None,
    };
    progress.say(format!(
        "{UPGRADES} upgrades under {CONNECTIONS} connections of wrk"
    ));
    let (measured, upgraded) = tokio::join!(wrk::run(&load, here), upgrade_all(&settings, &node));
    let (measured, times_ms) = (measured?, upgraded?);
    let count = |name, value: u64| Figure::at_most(name, value as f64, "", 0.0);
    let errors = measured.errors;
    Ok(vec![
        Figure::told("upgrades", times_ms.len() as f64, ""),
        Figure::told("upgrade_requests", measured.requests as f64, ""),
        Figure::told("upgrade_time_median", median(&times_ms), "ms"),
        count("upgrade_refused", errors.connect),
        count("upgrade_reset", errors.read + errors.write),
        count("upgrade_timed_out", errors.timeout),
        count("upgrade_not_2xx", errors.status),
    ])
}

/// Milliseconds that each of them took, from the command's start to its end.
async fn upgrade_all(settings: &NodeSettings, node: &Node) -> Outcome<Vec<f64>> {
    let file = settings.directory.join("keyway.toml");
    let mut times_ms = Vec::new();
    let mut workers = settings.workers;
    for _ in 0..UPGRADES {
        sleep(PAUSE).await;
        // From two to one, and back.
        let next = 3 - workers;
        let text = files::read(&file)?;
        files::write(
            &file,
            text.replace(
                &format!("workers = {workers}"),
                &format!("workers = {next}"),
            ),
        )?;
        workers = next;
        let begun = Instant::now();
        node.upgrade().await?;
        times_ms.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times_ms)
}
