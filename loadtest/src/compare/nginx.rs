//! nginx on the job: a `map` of all keys, `limit_req` per key, a buffered JSON log, kept-alive
//! upstream connections, one worker. And nginx as the origin of everyone.
//!
//! The settings are the ones its manual gives for speed: map buckets that fit the keys, a buffered
//! log, no cap on requests a connection, enough idle upstream connections for every client.

use std::net::SocketAddr;
use std::path::Path;

use super::stage::{Contestant, Setting, answers, free_port};
use super::{LIMIT_PER_S, Rival};
use crate::process::{Child, Program};
use crate::tools::Tool;
use crate::trouble::{Outcome, Trouble};
use crate::{files, keys};

/// The body that every origin answer has.
pub const BODY: [u8; 1024] = [b'k'; 1024];

/// Starts the origin: `/orders/1k` is [`BODY`], `/orders/echo` shows what the proxy passed on.
///
/// # Errors
/// When nginx is missing or does not start.
pub async fn origin(directory: &Path, cores: &str) -> Outcome<(Child, SocketAddr)> {
    let address = free_port()?;
    let directory = directory.join("origin");
    std::fs::create_dir(&directory).map_err(Trouble::file("create", &directory))?;
    let http = format!(
        r#"
    access_log off;
    keepalive_requests 1000000000;
    server {{
        listen {address} backlog=4096;
        default_type text/plain;
        location = /orders/1k {{ return 200 "{body}"; }}
        location = /orders/echo {{
            return 200 "$http_keyway_key_id|$http_x_api_key|$http_x_request_id|$http_x_forwarded_for";
        }}
    }}"#,
        body = String::from_utf8_lossy(&BODY),
    );
    let mut child = run("origin", &directory, &http, cores)?;
    answers(&mut child, address, "/orders/1k", 200).await?;
    Ok((child, address))
}

/// Starts nginx as a gateway.
///
/// # Errors
/// When nginx is missing or does not start.
pub async fn start(setting: Setting<'_>) -> Outcome<Contestant> {
    let (address, tls) = (free_port()?, free_port()?);
    let map = setting.directory.join("keys.map");
    keys::write(&map, setting.keys, |index, key| {
        format!("{key} key-{index};")
    })?;
    let log = setting.directory.join("access.log");
    let mut child = run(
        "nginx",
        setting.directory,
        &http(&setting, (address, tls), &map, &log),
        setting.cores,
    )?;
    answers(&mut child, address, "/orders/1k", 401).await?;
    Ok(Contestant {
        rival: Rival::Nginx,
        child,
        address,
        tls: Some(tls),
        log,
    })
}

fn http(
    setting: &Setting<'_>,
    (address, tls): (SocketAddr, SocketAddr),
    map: &Path,
    log: &Path,
) -> String {
    format!(
        r#"
    map_hash_bucket_size 128;
    map_hash_max_size 1048576;
    map $http_x_api_key $key_id {{
        default "";
        include {map};
    }}
    limit_req_zone $http_x_api_key zone=keys:64m rate={LIMIT_PER_S}r/s;
    limit_req_status 429;
    log_format record escape=json '{{"time":"$msec","request_id":"$request_id",'
        '"client":"$remote_addr","method":"$request_method","host":"$host","path":"$uri",'
        '"status":$status,"key":"$key_id","upstream":"$upstream_addr",'
        '"bytes_in":$request_length,"bytes_out":$bytes_sent,"duration_s":$request_time,'
        '"upstream_s":"$upstream_response_time"}}';
    access_log {log} record buffer=64k flush=1s;
    keepalive_requests 1000000000;
    upstream origin {{
        server {origin};
        keepalive {idle};
        keepalive_requests 1000000000;
    }}
    server {{
        listen {address} backlog=4096;
        listen {tls} ssl backlog=4096;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:tls:10m;
        ssl_session_tickets on;
        ssl_buffer_size 4k;
        default_type application/problem+json;
        location = /nginx/status {{ stub_status; access_log off; }}
        location / {{
            if ($key_id = "") {{
                add_header WWW-Authenticate 'Bearer realm="gateway"' always;
                return 401 '{{"type":"about:blank","title":"The key is not valid","status":401}}';
            }}
            limit_req zone=keys burst={LIMIT_PER_S} nodelay;
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-API-Key "";
            proxy_set_header Keyway-Tenant "acme";
            proxy_set_header Keyway-App "mobile";
            proxy_set_header Keyway-Key-Id $key_id;
            proxy_set_header Keyway-Plan "standard";
            proxy_set_header Keyway-Environment "live";
            proxy_set_header X-Request-Id $request_id;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $host;
        }}
    }}"#,
        chain = setting.certificate.chain.display(),
        key = setting.certificate.key.display(),
        map = map.display(),
        log = log.display(),
        origin = setting.origin,
        idle = setting.connections.max(64) * 2,
    )
}

fn run(name: &str, directory: &Path, http: &str, cores: &str) -> Outcome<Child> {
    let here = directory.display();
    let configuration = format!(
        "daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {here}/nginx.pid;
error_log {here}/error.log warn;
events {{
    worker_connections 8192;
}}
http {{
    client_body_temp_path {here}/body;
    proxy_temp_path {here}/proxy;
    fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi;
    scgi_temp_path {here}/scgi;
    {http}
}}
"
    );
    let file = directory.join("nginx.conf");
    files::write(&file, configuration)?;
    let path = Tool::Nginx
        .path()
        .ok_or_else(|| Trouble::wrong("nginx", "is not installed"))?;
    let program = Program::new(name, path)
        .with([
            "-p",
            &here.to_string(),
            "-c",
            &file.display().to_string(),
            "-e",
            "stderr",
        ])
        .on(cores);
    Child::start(&program, &directory.join("output.log"))
}
