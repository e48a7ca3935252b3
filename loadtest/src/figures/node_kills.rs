//! What a data plane that is killed with -9 takes with it: its usage of less than the last second.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use super::Figure;
use super::ledger::settled;
use crate::control::Key;
use crate::gateway::Gateway;
use crate::http::Connection;
use crate::progress::Progress;
use crate::trouble::{Outcome, Trouble};

/// Connections, each with one request under way.
const SENDERS: u64 = 8;
const SECOND: Duration = Duration::from_secs(1);

/// Kills the node under load, some times, and compares what was answered with what was counted.
///
/// # Errors
/// When a program fails, or usage is not shipped.
pub(super) async fn measure(
    quick: bool,
    gateway: &mut Gateway,
    key: &Key,
    progress: Progress,
) -> Outcome<Vec<Figure>> {
    let kills: u32 = if quick { 3 } else { 10 };
    // One that an upgrade left ends with this; all that it counted is shipped.
    gateway.start_node_again().await?;
    let begun = total(gateway).await?;
    let (mut answered, mut last_seconds, mut worst) = (0, 0, 0);
    let mut before = begun;
    for kill in 1..=kills {
        progress.say(format!("the data plane is killed: {kill} of {kills}"));
        let (sent, last_second) = load_and_kill(gateway, key, kill).await?;
        gateway.start_node_again().await?;
        let after = total(gateway).await?;
        worst = worst.max(sent.saturating_sub(after - before));
        (answered, last_seconds) = (answered + sent, last_seconds + last_second);
        before = after;
    }
    let counted = before - begun;
    let lost = answered.saturating_sub(counted);
    // What was under way may have been counted and not answered.
    let twice = counted.saturating_sub(answered + u64::from(kills) * SENDERS);
    Ok(vec![
        Figure::told("node_killed", f64::from(kills), "times"),
        Figure::told("node_killed_requests", answered as f64, ""),
        Figure::told("node_killed_last_seconds", last_seconds as f64, ""),
        Figure::at_most("node_killed_lost", lost as f64, "", last_seconds as f64),
        Figure::told("node_killed_lost_most", worst as f64, "at once"),
        Figure::at_most("node_killed_counted_twice", twice as f64, "", 0.0),
    ])
}

async fn total(gateway: &mut Gateway) -> Outcome<u64> {
    Ok(settled(gateway).await?.values().sum())
}

/// Answers that came before the kill, and how many of them in its last second.
async fn load_and_kill(gateway: &mut Gateway, key: &Key, kill: u32) -> Outcome<(u64, u64)> {
    let answered = Arc::new(AtomicU64::new(0));
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (to, secret) = (gateway.node.address, key.secret.clone());
            tokio::spawn(send(to, secret, Arc::clone(&answered)))
        })
        .collect();
    // Not always at the same distance from a hand-over.
    sleep(Duration::from_millis(2_000 + 137 * u64::from(kill))).await;
    let earlier = answered.load(Ordering::Relaxed);
    sleep(SECOND).await;
    let last_second = answered.load(Ordering::Relaxed) - earlier;
    gateway.node.child.crash();
    for sender in senders {
        let ended = sender.await;
        ended.map_err(|error| Trouble::wrong("a sender", error.to_string()))?;
    }
    Ok((answered.load(Ordering::Relaxed), last_second))
}

/// Sends until the connection breaks.
async fn send(to: SocketAddr, secret: String, answered: Arc<AtomicU64>) {
    let Ok(mut connection) = Connection::open(to).await else {
        return;
    };
    while connection.get("/orders/1", Some(&secret)).await.is_ok() {
        answered.fetch_add(1, Ordering::Relaxed);
    }
}
