//! What an idle kept-alive connection costs in memory of the process; the kernel's is not counted.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::Figure;
use crate::gateway::start_origin;
use crate::memory::Memory;
use crate::node::{Node, NodeSettings};
use crate::progress::Progress;
use crate::trouble::{Outcome, Trouble};
use crate::{files, keys, published};

/// Connections that rest, after one request each.
const CONNECTIONS: usize = 15_000;

/// Connections before those that are counted: what a worker has once, it has by then.
const WARM_UP: usize = 500;

/// A connection gives its buffer back after a second.
const IDLE_FOR: Duration = Duration::from_secs(4);

/// Most memory of one of them, over plain TCP.
const PLAIN_KIB_MAX: f64 = 2.0;

/// Measures it over plain TCP.
///
/// # Errors
/// When the node does not start or does not answer, or there are too few descriptors.
pub async fn measure(progress: Progress) -> Outcome<Vec<Figure>> {
    let directory = files::scratch("idle")?;
    let here = directory.path();
    let (_origin, address) = start_origin(here).await?;
    let keys = keys::mint(1)?;
    let published = published::publish(here, &keys, address, 1_000_000)?;
    let node = Node::start(&NodeSettings::plain(here, published)?).await?;
    let request = format!(
        "GET /orders/1 HTTP/1.1\r\nHost: idle\r\nX-API-Key: {}\r\n\r\n",
        keys[0]
    );
    let resident = || Ok(Memory::of(node.child.pid())?.total_kib());
    let warm = open(node.address, &request, WARM_UP).await?;
    sleep(IDLE_FOR).await;
    let before = resident()?;
    progress.say(format!("{CONNECTIONS} idle connections"));
    let idle = open(node.address, &request, CONNECTIONS).await?;
    sleep(IDLE_FOR).await;
    let after = resident()?;
    drop((warm, idle));
    let each = (after as f64 - before as f64) / CONNECTIONS as f64;
    let name = "idle_connection_plain";
    Ok(vec![Figure::at_most(name, each, "KiB", PLAIN_KIB_MAX)])
}

/// Opens connections that each had one answer.
async fn open(to: SocketAddr, request: &str, count: usize) -> Outcome<Vec<TcpStream>> {
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = TcpStream::connect(to)
            .await
            .map_err(Trouble::io("open an idle connection"))?;
        let written = stream.write_all(request.as_bytes()).await;
        written.map_err(Trouble::io("ask on an idle connection"))?;
        // The origin's answer comes in one piece and is short.
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer).await;
        let bytes = read.map_err(Trouble::io("read on an idle connection"))?;
        if !answer[..bytes].starts_with(b"HTTP/1.1 200") {
            return Err(Trouble::wrong("idle connection", "was not answered 200"));
        }
        streams.push(stream);
    }
    Ok(streams)
}
