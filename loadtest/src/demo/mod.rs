//! The demo: a whole gateway on loopback, to be tried by hand or checked unattended.
//!
//! Origin, control and data plane are the real programs, configured through the real command line
//! of control. Everything lives in one temporary directory and ends with this program.

pub mod check;

use std::path::PathBuf;

use crate::control::Key;
use crate::gateway::Gateway;
use crate::progress::Progress;
use crate::signals;
use crate::trouble::Outcome;

/// The demo's keys, by what they are for.
#[derive(Debug)]
pub struct Keys {
    /// Of app `mobile`: plan `partner`, all APIs.
    pub partner: Key,
    /// Like [`Keys::partner`], to be revoked.
    pub doomed: Key,
    /// Of app `prototype`: plan `free`, only `orders`, five requests a minute.
    pub free: Key,
}

/// Starts everything from `configuration`, a `gateway.yaml`.
///
/// # Errors
/// When a program is missing or does not start.
pub async fn start(configuration: PathBuf, progress: Progress) -> Outcome<(Gateway, Keys)> {
    let mut gateway = Gateway::start(&configuration, 2, progress).await?;
    progress.say("making three keys");
    let keys = Keys {
        partner: gateway.control.make_key("acme", "mobile").await?,
        doomed: gateway.control.make_key("acme", "mobile").await?,
        free: gateway.control.make_key("acme", "prototype").await?,
    };
    // The last one made; asked for what it may not have, so that it spends nothing.
    gateway
        .until_known(&keys.free, "/reports/2026-01", 403)
        .await?;
    Ok((gateway, keys))
}

/// Prints what runs and what to try, then waits for Ctrl-C.
///
/// # Errors
/// When a signal handler is refused.
pub async fn show(gateway: &Gateway, keys: &Keys) -> Outcome<()> {
    let (node, control) = (&gateway.node, &gateway.control);
    let status = node.status().await?;
    println!(
        "
running (driver {driver}, generation {generation})
  gateway   http://{address}        pid {node_pid}
  its admin http://{admin}/status   also /metrics /healthz /readyz
  control   http://{control_address}        pid {control_pid}, REST API under /v1
  origin    http://{origin}        pid {origin_pid}
  files     {directory}

try
  curl -i -H 'X-API-Key: {partner}' http://{address}/orders/42
  curl -i http://{address}/orders/42                                     # no key: 401
  curl -i -H 'X-API-Key: {free}' http://{address}/reports/2026-01        # not in the plan: 403
  for i in 1 2 3 4 5 6; do curl -s -o /dev/null -w '%{{http_code}}\\n' -H 'X-API-Key: {free}' http://{address}/orders/$i; done   # 5 a minute
  {keyway_control} usage --by app --step minute
  {keyway_control} top --by app            # live, ends with Ctrl-C
  {keyway_control} usage --csv             # what each subscription used and costs
  {keyway_control} logs --status 4xx --follow   # the calls themselves, from the nodes' logs
  {keyway_control} keys list
  {keyway_control} keys revoke {doomed_id} --wait   # with a receipt; then try it:
  curl -i -H 'X-API-Key: {doomed}' http://{address}/orders/42
  curl -s http://{admin}/status
  {upgrade}   # another process takes over; no request is lost

Ctrl-C ends everything and leaves nothing behind",
        driver = status["driver"].as_str().unwrap_or("unknown"),
        generation = status["snapshot"]["generation"],
        address = node.address,
        node_pid = node.child.pid(),
        admin = node.admin,
        control_address = control.address,
        control_pid = control.child.pid(),
        origin = gateway.origin_address,
        origin_pid = gateway.origin.pid(),
        directory = gateway.directory.path().display(),
        partner = keys.partner.secret,
        doomed = keys.doomed.secret,
        doomed_id = keys.doomed.id,
        free = keys.free.secret,
        keyway_control = control.command_line(),
        upgrade = node.upgrade_command(),
    );
    signals::interrupt().await
}
