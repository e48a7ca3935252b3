//! Keyway on the job: a snapshot of all keys, a plan with a limit, the access log, metrics, one
//! worker. Nothing is tuned that an operator would not find in the settings.

use std::path::Path;

use super::stage::{Contestant, Setting, answers};
use super::{LIMIT_PER_S, Rival};
use crate::node::{Node, NodeSettings, NodeTls};
use crate::trouble::Outcome;
use crate::{binaries, published};

/// Starts Keyway as a gateway: `binary`, or the one beside this program.
///
/// # Errors
/// When the snapshot cannot be published or the program does not start.
pub async fn start(setting: Setting<'_>, binary: Option<&Path>) -> Outcome<Contestant> {
    let published =
        published::publish(setting.directory, setting.keys, setting.origin, LIMIT_PER_S)?;
    let node = NodeSettings {
        binary: binary.map_or_else(|| binaries::sibling("keyway"), |path| Ok(path.to_owned()))?,
        directory: setting.directory.to_owned(),
        workers: 1,
        snapshots: published.snapshots,
        pepper: published.pepper,
        socket: None,
        cores: Some(setting.cores.to_owned()),
        tls: setting.over_tls.then(|| NodeTls {
            certificate: setting.certificate.chain.clone(),
            key: setting.certificate.key.clone(),
        }),
    };
    let Node {
        mut child,
        address,
        tls,
        log,
        ..
    } = Node::start(&node).await?;
    answers(&mut child, address, "/orders/1k", 401).await?;
    Ok(Contestant {
        rival: Rival::Keyway,
        child,
        address,
        tls,
        log,
    })
}
