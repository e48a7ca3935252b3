//! A small real origin for demos and tests: it shows what reached it.
//!
//! | path | answer |
//! |---|---|
//! | `/1k` | 1 KiB of text |
//! | `/slow?ms=250` | after that many milliseconds (at most a minute) |
//! | `/stream?chunks=10&ms=50` | chunks of 1 KiB, that many milliseconds apart |
//! | `/orders/large?mib=4` | so many MiB (at most 8) |
//! | `POST /sink`, `POST /orders/sink` | how many bytes it was sent, after the last one |
//! | anything else | method, path, query and headers as they arrived, as JSON |

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::LazyLock;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use serde::Deserialize;
use serde_json::json;

const KIB: [u8; 1024] = [b'k'; 1024];
const WAIT_MS_MAX: u64 = 60_000;
const CHUNKS_MAX: u64 = 1_000_000;
const LARGE_MIB_MAX: usize = 8;

/// All that the origin answers.
pub fn routes() -> axum::Router {
    axum::Router::new()
        .route("/1k", get(one_kib))
        .route("/slow", get(slow))
        .route("/orders/large", get(large))
        .route("/stream", get(stream))
        .route("/sink", post(sink))
        .route("/orders/sink", post(sink))
        .fallback(echo)
}

async fn one_kib() -> Response {
    ([(CONTENT_TYPE, "text/plain")], Bytes::from_static(&KIB)).into_response()
}

#[derive(Deserialize)]
struct Large {
    #[serde(default)]
    mib: usize,
}

async fn large(Query(Large { mib }): Query<Large>) -> Response {
    // Made once: what it costs to make must not be taken for what it costs to send.
    static MIBS: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![b'm'; LARGE_MIB_MAX << 20]));
    let bytes = mib.min(LARGE_MIB_MAX) << 20;
    ([(CONTENT_TYPE, "text/plain")], MIBS.slice(..bytes)).into_response()
}

#[derive(Deserialize)]
struct Slow {
    #[serde(default)]
    ms: u64,
}

async fn slow(Query(Slow { ms }): Query<Slow>) -> Response {
    let ms = ms.min(WAIT_MS_MAX);
    tokio::time::sleep(Duration::from_millis(ms)).await;
    Json(json!({ "waited_ms": ms })).into_response()
}

#[derive(Deserialize)]
#[serde(default)]
struct Stream {
    chunks: u64,
    ms: u64,
}

impl Default for Stream {
    fn default() -> Self {
        Self { chunks: 10, ms: 50 }
    }
}

async fn stream(Query(Stream { chunks, ms }): Query<Stream>) -> Response {
    // Room for one chunk: a slow reader slows this writer.
    let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
    tokio::spawn(async move {
        for _ in 0..chunks.min(CHUNKS_MAX) {
            if sender.send_data(Bytes::from_static(&KIB)).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(ms.min(WAIT_MS_MAX))).await;
        }
    });
    ([(CONTENT_TYPE, "text/plain")], Body::new(body)).into_response()
}

async fn sink(request: Request) -> Response {
    let mut body = request.into_body();
    let mut bytes = 0_u64;
    while let Some(frame) = body.frame().await {
        // The caller broke off; there is nobody to answer.
        let Ok(frame) = frame else { break };
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    Json(json!({ "bytes": bytes })).into_response()
}

async fn echo(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let mut shown = BTreeMap::<&str, Vec<String>>::new();
    for (name, value) in &headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        shown.entry(name.as_str()).or_default().push(value);
    }
    let shown: BTreeMap<&str, String> = shown
        .into_iter()
        .map(|(name, values)| (name, values.join(", ")))
        .collect();
    Json(json!({
        "method": method.as_str(),
        "path": uri.path(),
        "query": uri.query(),
        "headers": shown,
    }))
    .into_response()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use serde_json::json;

    use crate::http::{Ask, Connection};

    async fn origin() -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async { axum::serve(listener, super::routes()).await });
        address
    }

    #[tokio::test]
    async fn it_shows_what_reached_it() {
        let mut origin = Connection::open(origin().await).await.unwrap();
        let ask = Ask::get("/orders/42?full=1").header("keyway-app", "mobile");
        let echo = origin.send(ask).await.unwrap().json();
        assert_eq!(echo["method"], "GET");
        assert_eq!(echo["path"], "/orders/42");
        assert_eq!(echo["query"], "full=1");
        assert_eq!(echo["headers"]["keyway-app"], "mobile");
    }

    #[tokio::test]
    async fn it_counts_streams_and_weighs() {
        let mut origin = Connection::open(origin().await).await.unwrap();
        assert_eq!(origin.get("/1k", None).await.unwrap().body.len(), 1024);
        let streamed = origin.get("/stream?chunks=3&ms=1", None).await.unwrap();
        assert_eq!(streamed.body.len(), 3 * 1024);
        assert_eq!(streamed.header("transfer-encoding"), "chunked");
        let upload = Ask::new(hyper::Method::POST, "/sink").json(&json!({"a": 1}));
        assert_eq!(origin.send(upload).await.unwrap().json()["bytes"], 7);
        assert_eq!(
            origin.get("/slow?ms=1", None).await.unwrap().json()["waited_ms"],
            1
        );
    }
}
