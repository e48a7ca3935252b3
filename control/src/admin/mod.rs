//! The REST admin API: every route on this page, one file a resource.
//!
//! In: HTTP with an admin token. Out: JSON, and RFC 9457 problems for everything that is refused.
//! Handlers turn bodies into domain values, hand one closure to the [`store`](crate::store), and
//! show what came of it. Denied by default: `access` stands around every route, and around the
//! paths that are none.
//!
//! | file | what it owns |
//! |---|---|
//! | `access` | who may speak |
//! | `asked`, `body`, `query` | what was asked: author, idempotency key, body, filters |
//! | [`answer`], [`problem`], [`time`] | what is answered |
//! | [`openapi`] | the document, made from the handlers |

mod access;
pub mod alert_rules;
pub mod alerts;
pub mod answer;
pub mod apis;
pub mod apply;
pub mod apps;
mod asked;
pub mod audit;
pub mod billing;
mod body;
pub mod generations;
pub mod key_changes;
pub mod key_imports;
pub mod keys;
pub mod logs;
mod metrics;
pub mod openapi;
pub mod plans;
pub mod problem;
pub mod query;
mod routes;
pub mod subscriptions;
pub mod tenants;
pub mod time;
pub mod tokens;
pub mod upstreams;
pub mod usage;
pub mod webhooks;

use crate::state::Control;
use asked::UnderWayKeys;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware;
use body::{BODY_BYTES_MAX, BULK_BYTES_MAX};
use metrics::Requests;
use problem::{Cause, Problem};
use routes::Routes;
use std::sync::Arc;

/// What handlers have in hand.
#[derive(Clone, Debug)]
struct Admin {
    control: Control,
    under_way: UnderWayKeys,
    requests: Arc<Requests>,
}

/// The admin API, ready to serve.
pub fn router(control: Control) -> Router {
    let admin = Admin {
        control,
        under_way: UnderWayKeys::default(),
        requests: Arc::default(),
    };
    let guard = middleware::from_fn_with_state(admin.clone(), access::guard);
    routes()
        .into_router()
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        // Outermost, so that nothing is read of a request and nothing told of a path before.
        .layer(guard)
        .with_state(admin)
}

/// Every route.
fn routes() -> Routes {
    Routes::new()
        .get("/v1/tenants", tenants::list)
        .post("/v1/tenants", tenants::create)
        .get("/v1/tenants/{tenant}", tenants::show)
        .patch("/v1/tenants/{tenant}", tenants::update)
        .delete("/v1/tenants/{tenant}", tenants::delete)
        .get("/v1/apps", apps::list)
        .get("/v1/tenants/{tenant}/apps", apps::list_of_tenant)
        .post("/v1/tenants/{tenant}/apps", apps::create)
        .get("/v1/tenants/{tenant}/apps/{app}", apps::show)
        .patch("/v1/tenants/{tenant}/apps/{app}", apps::update)
        .delete("/v1/tenants/{tenant}/apps/{app}", apps::delete)
        .get("/v1/keys", keys::list)
        .post("/v1/keys", key_changes::create)
        .post_bulk("/v1/keys/import", BULK_BYTES_MAX, key_imports::import)
        .get("/v1/keys/{key}", keys::show)
        .patch("/v1/keys/{key}", key_changes::update)
        .delete("/v1/keys/{key}", key_changes::revoke)
        .post("/v1/keys/{key}/disable", key_changes::disable)
        .post("/v1/keys/{key}/enable", key_changes::enable)
        .post("/v1/keys/{key}/rotate", key_changes::rotate)
        .get("/v1/plans", plans::list)
        .post("/v1/plans", plans::create)
        .get("/v1/plans/{plan}", plans::show)
        .put("/v1/plans/{plan}", plans::replace)
        .delete("/v1/plans/{plan}", plans::delete)
        .get("/v1/apis", apis::list)
        .post("/v1/apis", apis::create)
        .get("/v1/apis/{api}", apis::show)
        .put("/v1/apis/{api}", apis::replace)
        .delete("/v1/apis/{api}", apis::delete)
        .get("/v1/upstreams", upstreams::list)
        .post("/v1/upstreams", upstreams::create)
        .get("/v1/upstreams/{upstream}", upstreams::show)
        .put("/v1/upstreams/{upstream}", upstreams::replace)
        .delete("/v1/upstreams/{upstream}", upstreams::delete)
        .get("/v1/subscriptions", subscriptions::list)
        .post("/v1/subscriptions", subscriptions::create)
        .get("/v1/subscriptions/{subscription}", subscriptions::show)
        .patch("/v1/subscriptions/{subscription}", subscriptions::update)
        .post_bulk("/v1/apply", BULK_BYTES_MAX, apply::apply)
        .get("/v1/generations", generations::list)
        .get("/v1/generations/{generation}/receipt", generations::receipt)
        .post("/v1/publish", generations::publish)
        .post("/v1/rollback", generations::rollback)
        .get("/v1/status", generations::status)
        .get("/v1/audit", audit::list)
        .get("/v1/logs", logs::list)
        .get("/v1/usage", usage::report)
        .get("/v1/usage/top", usage::top)
        .get("/v1/usage/export", billing::export)
        .post("/v1/usage/rebuild", billing::rebuild)
        .get("/v1/alerts", alerts::list)
        .get("/v1/alert-rules", alert_rules::list)
        .post("/v1/alert-rules", alert_rules::create)
        .get("/v1/alert-rules/{rule}", alert_rules::show)
        .put("/v1/alert-rules/{rule}", alert_rules::replace)
        .delete("/v1/alert-rules/{rule}", alert_rules::delete)
        .get("/v1/webhooks", webhooks::list)
        .post("/v1/webhooks", webhooks::create)
        .get("/v1/webhooks/{webhook}", webhooks::show)
        .post("/v1/webhooks/{webhook}/test", webhooks::test)
        .delete("/v1/webhooks/{webhook}", webhooks::delete)
        .get("/v1/tokens", tokens::list)
        .post("/v1/tokens", tokens::create)
        .delete("/v1/tokens/{token}", tokens::withdraw)
        .get("/metrics", metrics::show)
        .get("/v1/openapi.json", openapi::show)
}

/// Every route as (method, path), for tests that walk them all.
pub fn listed() -> Vec<(&'static str, &'static str)> {
    routes().listed()
}

async fn no_such_route() -> Problem {
    Problem::new(
        Cause::NotFound,
        "there is no such path; see /v1/openapi.json",
    )
}

async fn no_such_method(request: Request) -> Problem {
    let detail = format!(
        "{} is not served here; see the `Allow` header",
        request.method()
    );
    Problem::new(Cause::MethodNotAllowed, detail)
}
