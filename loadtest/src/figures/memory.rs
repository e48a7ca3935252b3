//! How much memory an idle data plane takes with many keys.

use std::time::Duration;

use crate::memory::Memory;
use crate::node::{Node, NodeSettings};
use crate::trouble::Outcome;
use crate::{files, keys, published};

/// How long it is left alone before it is measured: loading is over, caches have settled.
const IDLE_FOR: Duration = Duration::from_secs(3);

/// MiB of a data plane that serves `count` keys and no request. Mapped snapshots count in full.
///
/// # Errors
/// When it does not start.
pub async fn idle(count: usize) -> Outcome<f64> {
    let directory = files::scratch("memory")?;
    let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
    let published = published::publish(directory.path(), &keys::mint(count)?, nobody, 1_000)?;
    let node = Node::start(&NodeSettings::plain(directory.path(), published)?).await?;
    tokio::time::sleep(IDLE_FOR).await;
    let memory = Memory::of(node.child.pid())?;
    Ok(memory.total_kib() as f64 / 1024.0)
}
