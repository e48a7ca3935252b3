//! The call log: calls as the nodes logged them, looked up where they lie, and followed.
//!
//! Nothing of it is kept by control. Every connected node is asked at once; what they found is put in
//! order of time. A node that does not answer is named, and the others' lines are shown.

use super::Admin;
use super::keys::KeyIdText;
use super::problem::{Cause, Problem};
use super::query::Query;
use super::time::Moment;
use crate::domain::{KeyId, Name};
use crate::logs::{Event, NoSearch, Running, What};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use keyway::record::log_search::LogFilter;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use utoipa::{IntoParams, ToSchema};

/// Lines where nothing is said, and most of them.
const LIMIT_USUAL: u32 = 100;
const LIMIT_MAX: u32 = 10_000;
/// How long nodes may take where nothing is said, and longest.
const TIMEOUT_MS: u32 = 10_000;
const TIMEOUT_MS_MAX: u32 = 60_000;
/// Between two signs of life to a follower, so that one who left is noticed.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// One JSON object a line.
const NDJSON: &str = "application/x-ndjson";

/// Which calls to look for; every filter narrows.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LogQuery {
    /// By this key.
    #[param(value_type = Option<KeyIdText>)]
    key: Option<KeyId>,
    /// By keys of this tenant.
    tenant: Option<Name>,
    /// By keys of an app with this name.
    app: Option<Name>,
    /// To this API.
    api: Option<Name>,
    /// To the route with this path pattern.
    route: Option<String>,
    /// Answered with this status, or with one of a class: `404`, `5xx`.
    status: Option<String>,
    /// Refused by the gateway for this cause.
    refusal: Option<String>,
    /// With this method.
    method: Option<String>,
    /// With a path that begins like this.
    path: Option<String>,
    /// From this client address.
    client: Option<String>,
    /// With this request id.
    request_id: Option<String>,
    /// Of this trace.
    trace_id: Option<String>,
    /// Begun at this time or later.
    since: Option<Moment>,
    /// Begun before this time.
    until: Option<Moment>,
    /// How many, the newest, 1 to 10000; default 100. With `follow` also 0.
    #[param(maximum = 10000)]
    limit: Option<u32>,
    /// Go on with what is logged from now on, as `application/x-ndjson`, until the client leaves.
    #[serde(default)]
    follow: bool,
    /// Longest wait for the nodes in milliseconds, 1 to 60000; default 10000.
    #[param(minimum = 1, maximum = 60000)]
    timeout_ms: Option<u32>,
}

/// Calls that were found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "items": [{ "node": "edge-1", "time": "2026-11-21T08:00:00.120Z", "status": 502,
        "method": "GET", "path": "/orders/1", "duration_us": 1200 }],
    "nodes": [{ "node": "edge-1", "scanned_bytes": 1048576, "complete": true, "error": null }]
}))]
pub struct LogPage {
    /// Lines of the call log with the node that wrote each, the newest last.
    pub items: Vec<serde_json::Value>,
    /// What each node did.
    pub nodes: Vec<LogNode>,
}

/// What one node did for a search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogNode {
    /// The node.
    pub node: String,
    /// Bytes that it read.
    pub scanned_bytes: u64,
    /// It looked at all that could be meant, or found as many as were asked for.
    pub complete: bool,
    /// Why it found nothing.
    pub error: Option<String>,
}

/// Looks for calls in the nodes' logs. With `Accept: application/x-ndjson`, or with `follow`, one
/// object a line: a call, or a `notice` of what happened to the search.
#[utoipa::path(get, path = "/v1/logs", tag = "logs", params(LogQuery),
    responses((status = 200, description = "Newest last", body = LogPage)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    headers: HeaderMap,
    Query(query): Query<LogQuery>,
) -> Result<Response, Problem> {
    let least = u32::from(!query.follow);
    let limit = query.limit.unwrap_or(LIMIT_USUAL);
    if !(least..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::invalid(
            "limit",
            format!("from {least} to {LIMIT_MAX}"),
        ));
    }
    let timeout_ms = query.timeout_ms.unwrap_or(TIMEOUT_MS);
    if !(1..=TIMEOUT_MS_MAX).contains(&timeout_ms) {
        return Err(Problem::invalid(
            "timeout_ms",
            format!("from 1 to {TIMEOUT_MS_MAX}"),
        ));
    }
    let follow = query.follow;
    let filter = filter(query);
    // The node checks it too; here it is told by its place in the address.
    filter
        .clone()
        .sieve()
        .map_err(|error| Problem::invalid(error.field, error.problem))?;
    let desk = admin.control.publisher.board().logs();
    let mut running = desk.search(filter, limit, follow).map_err(not_begun)?;
    let due = Instant::now() + Duration::from_millis(timeout_ms.into());
    let first = gather(
        &mut running,
        due,
        usize::try_from(limit).unwrap_or(usize::MAX),
    )
    .await?;
    if follow {
        return Ok(lines_response(following(running, first)));
    }
    drop(running);
    let wanted = headers
        .get(header::ACCEPT)
        .and_then(|wanted| wanted.to_str().ok());
    if wanted.is_some_and(|wanted| wanted.contains(NDJSON)) {
        let mut text: String = first.lines.concat();
        first.nodes.iter().for_each(|node| text += &searched(node));
        return Ok(lines_response(Body::from(text)));
    }
    let items: Vec<&str> = first.lines.iter().map(|line| line.trim_end()).collect();
    let nodes = serde_json::to_string(&first.nodes)
        .map_err(|error| Problem::new(Cause::Internal, error.to_string()))?;
    // Whole already, in the order in which nodes write their fields.
    let text = format!("{{\"items\":[{}],\"nodes\":{nodes}}}\n", items.join(","));
    Ok((
        [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        )],
        text,
    )
        .into_response())
}

fn filter(query: LogQuery) -> LogFilter {
    LogFilter {
        key: query.key.map(|key| key.to_string()),
        tenant: query.tenant.map(|name| name.to_string()),
        app: query.app.map(|name| name.to_string()),
        api: query.api.map(|name| name.to_string()),
        route: query.route,
        status: query.status,
        refusal: query.refusal,
        method: query.method,
        path: query.path,
        client: query.client,
        request_id: query.request_id,
        trace_id: query.trace_id,
        since_ms: query.since.map(Moment::ms),
        until_ms: query.until.map(Moment::ms),
    }
}

fn not_begun(error: NoSearch) -> Problem {
    let cause = match error {
        NoSearch::NoNodes => Cause::NodesAbsent,
        NoSearch::TooMany => Cause::SearchesTooMany,
    };
    Problem::new(cause, error.to_string())
}

/// What was there when a search began.
struct First {
    /// Lines of the answer, in order of time.
    lines: Vec<String>,
    nodes: Vec<LogNode>,
}

/// Waits for every node that was asked, at most until `due`. A problem if none of them did it.
async fn gather(running: &mut Running, due: Instant, limit: usize) -> Result<First, Problem> {
    let mut waiting: BTreeMap<u64, String> = running.asked.clone();
    let (mut lines, mut nodes) = (Vec::new(), Vec::new());
    while !waiting.is_empty() {
        let Ok(Some(event)) = timeout_at(due, running.next()).await else {
            break;
        };
        let Event { link, node, what } = event;
        match what {
            What::Joined => {}
            What::Lines {
                lines: found,
                caught_up,
                ..
            } => {
                lines.extend(found.iter().filter_map(|line| shown(&node, line)));
                if caught_up && waiting.remove(&link).is_some() {
                    nodes.push(did(node, None, (0, true)));
                }
            }
            What::Done {
                error,
                scanned_bytes,
                complete,
            } => {
                waiting.remove(&link);
                nodes.push(did(node, error, (scanned_bytes, complete)));
            }
            What::Gone => {
                waiting.remove(&link);
                nodes.push(did(node, Some("it left meanwhile".to_owned()), (0, false)));
            }
        }
    }
    let late = "it did not answer in time".to_owned();
    nodes.extend(
        waiting
            .into_values()
            .map(|node| did(node, Some(late.clone()), (0, false))),
    );
    nodes.sort_by(|one, other| one.node.cmp(&other.node));
    if nodes.iter().all(|node| node.error.is_some()) {
        let reason =
            |node: &LogNode| format!("{}: {}", node.node, node.error.as_deref().unwrap_or(""));
        let reasons: Vec<String> = nodes.iter().map(reason).collect();
        return Err(Problem::new(Cause::NodesFailed, reasons.join("; ")));
    }
    lines.sort_by(|(one, _), (other, _): &(String, String)| one.cmp(other));
    let surplus = lines.len().saturating_sub(limit);
    let lines = lines.drain(surplus..).map(|(_, line)| line).collect();
    Ok(First { lines, nodes })
}

fn did(node: String, error: Option<String>, (scanned_bytes, complete): (u64, bool)) -> LogNode {
    LogNode {
        node,
        scanned_bytes,
        complete,
        error,
    }
}

/// A line with its node in front, newline included, and its time; `None` for what is no such line.
fn shown(node: &str, line: &str) -> Option<(String, String)> {
    #[derive(Deserialize)]
    struct Timed {
        time: String,
    }
    let timed: Timed = serde_json::from_str(line).ok()?;
    let fields = line.trim().strip_prefix('{')?;
    if line.contains('\n') {
        return None;
    }
    let node = serde_json::to_string(node).ok()?;
    Some((timed.time, format!("{{\"node\":{node},{fields}\n")))
}

fn notice(word: &str, node: &str, more: &serde_json::Value) -> String {
    let mut notice = serde_json::json!({ "notice": word, "node": node });
    if let (Some(notice), Some(more)) = (notice.as_object_mut(), more.as_object()) {
        notice.extend(more.clone());
    }
    format!("{notice}\n")
}

fn searched(node: &LogNode) -> String {
    let more = serde_json::json!({
        "scanned_bytes": node.scanned_bytes, "complete": node.complete, "error": node.error,
    });
    notice("searched", &node.node, &more)
}

fn lines_response(body: Body) -> Response {
    let media = HeaderValue::from_static(NDJSON);
    ([(header::CONTENT_TYPE, media)], body).into_response()
}

/// Lines from now on, for as long as somebody reads them.
fn following(running: Running, first: First) -> Body {
    let mut ready: VecDeque<String> = first.lines.into();
    ready.extend(
        first
            .nodes
            .iter()
            .filter(|node| node.error.is_some())
            .map(searched),
    );
    let lines = futures_util::stream::unfold((running, ready), |(mut running, mut ready)| async {
        loop {
            if !ready.is_empty() {
                let text: String = ready.drain(..).collect();
                return Some((Ok::<_, Infallible>(Bytes::from(text)), (running, ready)));
            }
            match tokio::time::timeout(SIGN_OF_LIFE, running.next()).await {
                Ok(Some(event)) => ready.extend(told(event)),
                Ok(None) => return None,
                Err(_) => ready.push_back("\n".to_owned()),
            }
        }
    });
    Body::from_stream(lines)
}

/// What a follower is told of an event.
fn told(event: Event) -> Vec<String> {
    let Event { node, what, .. } = event;
    let none = serde_json::json!({});
    match what {
        What::Joined => vec![notice("joined", &node, &none)],
        What::Gone => vec![notice("gone", &node, &none)],
        What::Done { error, .. } => {
            vec![notice(
                "failed",
                &node,
                &serde_json::json!({ "error": error }),
            )]
        }
        What::Lines { lines, missed, .. } => {
            let missed = (missed > 0)
                .then(|| notice("missed", &node, &serde_json::json!({ "lines": missed })));
            let lines = lines.iter().filter_map(|line| shown(&node, line));
            missed
                .into_iter()
                .chain(lines.map(|(_, line)| line))
                .collect()
        }
    }
}
