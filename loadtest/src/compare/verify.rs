//! Before anything is measured: does this proxy really do the job?
//!
//! A proxy that answers from an error path, forgets its limit or passes the key on would be fast
//! for the wrong reason.

use std::net::SocketAddr;

use tokio::task::JoinSet;

use super::LIMIT_PER_S;
use super::nginx::BODY;
use super::stage::{Contestant, Keys};
use crate::http::Connection;
use crate::trouble::{Outcome, Trouble};

/// Connections that spend one key's limit together: fast enough even on a busy machine.
const LIMIT_CONNECTIONS: usize = 32;

/// Asks one proxy everything that the job is made of.
///
/// # Errors
/// [`Trouble::Wrong`] with what was expected and seen.
pub async fn verify(contestant: &Contestant, keys: &Keys) -> Outcome<()> {
    let name = contestant.rival.name();
    let mut proxy = Connection::open(contestant.address).await?;
    let key = keys.good.last().map(String::as_str);

    let good = proxy.get("/orders/1k", key).await?;
    expect(name, "a good key", 200, good.status)?;
    if good.body[..] != BODY {
        return Err(Trouble::wrong(
            name,
            format!("not the origin's body: {}", good.text()),
        ));
    }
    for (what, key) in [
        ("an unknown key", keys.unknown.first().map(String::as_str)),
        ("no key", None),
    ] {
        let refused = proxy.get("/orders/1k", key).await?;
        expect(name, what, 401, refused.status)?;
        if !refused.header("www-authenticate").starts_with("Bearer")
            || refused.header("content-type") != "application/problem+json"
        {
            return Err(Trouble::wrong(
                name,
                format!("{what}: 401 without a challenge or problem"),
            ));
        }
    }
    let seen = proxy.get("/orders/echo", key).await?.text();
    passes_on(name, &seen)?;
    limits(name, contestant.address, key.unwrap_or_default()).await
}

/// The origin must see who calls and a request id, and never the key.
fn passes_on(name: &str, seen: &str) -> Outcome<()> {
    match seen.split('|').collect::<Vec<_>>()[..] {
        [key_id, "", request_id, "127.0.0.1"] if !key_id.is_empty() && !request_id.is_empty() => {
            Ok(())
        }
        _ => Err(Trouble::wrong(
            name,
            format!("origin saw `{seen}`, expected `key id|(no key)|request id|127.0.0.1`"),
        )),
    }
}

/// One key alone, as fast as a few connections go, must meet its limit.
async fn limits(name: &'static str, address: SocketAddr, key: &str) -> Outcome<()> {
    let mut asking = JoinSet::new();
    for _ in 0..LIMIT_CONNECTIONS {
        let key = key.to_owned();
        asking.spawn(async move {
            let mut proxy = Connection::open(address).await?;
            for _ in 0..LIMIT_PER_S * 10 {
                match proxy.get("/orders/1k", Some(&key)).await?.status {
                    200 => {}
                    429 => return Ok(true),
                    other => expect(name, "a key at its limit", 429, other)?,
                }
            }
            Ok::<_, Trouble>(false)
        });
    }
    // The others are dropped with the set once one has met the limit.
    while let Some(met) = asking.join_next().await {
        if met.map_err(|error| Trouble::wrong(name, error.to_string()))?? {
            return Ok(());
        }
    }
    Err(Trouble::wrong(name, "one key was never limited"))
}

fn expect(name: &str, what: &str, expected: u16, seen: u16) -> Outcome<()> {
    if expected == seen {
        return Ok(());
    }
    Err(Trouble::wrong(
        name,
        format!("{what}: expected {expected}, saw {seen}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_reaches_the_origin_is_caught() {
        assert!(passes_on("proxy", "key-7||a1b2|127.0.0.1").is_ok());
        for seen in [
            "key-7|kw_live_x|a1b2|127.0.0.1",
            "||a1b2|127.0.0.1",
            "key-7|||127.0.0.1",
            "key-7||a1|",
        ] {
            assert!(passes_on("proxy", seen).is_err(), "{seen}");
        }
    }
}
