//! HAProxy on the job: a map file of all keys, a stick table that counts requests per key, a JSON
//! line per request to its standard output (a file of ours), kept-alive servers, one thread.

use super::nginx::BODY;
use super::stage::{Contestant, Setting, answers, free_port};
use super::{LIMIT_PER_S, Rival};
use crate::process::{Child, Program};
use crate::tools::Tool;
use crate::trouble::{Outcome, Trouble};
use crate::{files, keys};

const _: () = assert!(BODY.len() < 16_384, "an answer fits one of its buffers");

/// Starts HAProxy as a gateway.
///
/// # Errors
/// When HAProxy is missing or does not start.
pub async fn start(setting: Setting<'_>) -> Outcome<Contestant> {
    let (address, tls) = (free_port()?, free_port()?);
    let map = setting.directory.join("keys.map");
    keys::write(&map, setting.keys, |index, key| {
        format!("{key} key-{index}")
    })?;
    let configuration = format!(
        r#"global
    nbthread 1
    maxconn 8192
    log stdout format raw local0 info

defaults
    mode http
    log global
    option http-keep-alive
    http-reuse always
    timeout connect 1s
    timeout client 60s
    timeout server 30s
    timeout http-request 10s
    timeout http-keep-alive 60s

backend limits
    stick-table type string len 24 size 200k expire 10s store http_req_rate(1s)

frontend gateway
    bind {address}
    bind {tls} ssl crt {certificate}
    unique-id-format %{{+X}}o\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid
    unique-id-header X-Request-Id
    log-format '{{"time":"%Ts.%ms","request_id":"%ID","client":"%ci","method":"%HM","path":%{{+Q}}HP,"status":%ST,"key":"%[var(txn.key_id)]","upstream":"%si:%sp","bytes_in":%U,"bytes_out":%B,"duration_ms":%Ta,"upstream_ms":%Tr}}'
    http-request set-var(txn.key_id) req.hdr(x-api-key),map_str({map})
    http-request return status 401 content-type application/problem+json hdr WWW-Authenticate 'Bearer realm="gateway"' string '{{"type":"about:blank","title":"The key is not valid","status":401}}' unless {{ var(txn.key_id) -m found }}
    http-request track-sc0 var(txn.key_id) table limits
    http-request deny deny_status 429 if {{ sc_http_req_rate(0,limits) gt {LIMIT_PER_S} }}
    http-request del-header X-API-Key
    http-request set-header Keyway-Tenant acme
    http-request set-header Keyway-App mobile
    http-request set-header Keyway-Key-Id %[var(txn.key_id)]
    http-request set-header Keyway-Plan standard
    http-request set-header Keyway-Environment live
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    default_backend origin

backend origin
    server origin {origin}
"#,
        certificate = setting.certificate.both.display(),
        map = map.display(),
        origin = setting.origin,
    );
    let file = setting.directory.join("haproxy.cfg");
    files::write(&file, configuration)?;
    let path = Tool::Haproxy
        .path()
        .ok_or_else(|| Trouble::wrong("haproxy", "is not installed"))?;
    let program = Program::new("haproxy", path)
        .with(["-db", "-f", &file.display().to_string()])
        .on(setting.cores);
    let log = setting.directory.join("access.log");
    let mut child = Child::start(&program, &log)?;
    answers(&mut child, address, "/orders/1k", 401).await?;
    Ok(Contestant {
        rival: Rival::Haproxy,
        child,
        address,
        tls: Some(tls),
        log,
    })
}
