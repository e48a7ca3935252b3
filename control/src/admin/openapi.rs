//! The OpenAPI 3.1 document of the admin API, made from the handlers themselves.
//!
//! What every operation has in common is added here once: the token, the idempotency key of a
//! POST, and the form of a refusal. `control/openapi.json` is this document as it was reviewed; a
//! test holds the two together.

use super::asked::IDEMPOTENCY_KEY;
use super::problem::{PROBLEM_JSON, ProblemBody};
use super::{
    alert_rules, alerts, answer, apis, apply, apps, audit, billing, generations, key_changes,
    key_imports, keys, logs, metrics, plans, subscriptions, tenants, tokens, upstreams, usage,
    webhooks,
};
use crate::store::{Dimension, Step};
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Object, Schema, SchemaType, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, Required, ResponseBuilder};
use utoipa::{Modify, OpenApi};

const DESCRIPTION: &str = "The control process of Keyway: tenants, apps, keys, plans, APIs, \
upstreams, subscriptions and alerts, and what of them is in force.

Every request bears an admin token (`Authorization: Bearer`). Every change is durable when it is \
answered and publishes by itself; with `?wait=enforced` its answer carries the receipt: who serves \
it. Every refusal is `application/problem+json` (RFC 9457) with a stable `code`.";

#[derive(OpenApi)]
#[openapi(
    info(title = "Keyway admin API", description = DESCRIPTION),
    paths(
        tenants::list, tenants::create, tenants::show, tenants::update, tenants::delete,
        apps::list, apps::list_of_tenant, apps::create, apps::show, apps::update, apps::delete,
        keys::list, keys::show,
        key_changes::create, key_changes::update, key_changes::disable, key_changes::enable,
        key_changes::rotate, key_changes::revoke, key_imports::import,
        plans::list, plans::create, plans::show, plans::replace, plans::delete,
        apis::list, apis::create, apis::show, apis::replace, apis::delete,
        upstreams::list, upstreams::create, upstreams::show, upstreams::replace,
        upstreams::delete,
        subscriptions::list, subscriptions::create, subscriptions::show, subscriptions::update,
        apply::apply,
        generations::list, generations::receipt, generations::publish, generations::rollback,
        generations::status,
        audit::list, logs::list, usage::report, usage::top, billing::export, billing::rebuild,
        alerts::list, alert_rules::list, alert_rules::create, alert_rules::show,
        alert_rules::replace, alert_rules::delete, webhooks::list, webhooks::create,
        webhooks::show, webhooks::test, webhooks::delete,
        tokens::list, tokens::create, tokens::withdraw,
        metrics::show, show,
    ),
    components(schemas(ProblemBody, Dimension, Step, usage::TopOrder, billing::BillForm)),
    security(("token" = [])),
    modifiers(&InCommon),
)]
struct Document;

/// The document.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Shows this document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "document",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
pub(super) async fn show() -> Response {
    answer::Shown(document()).into_response()
}

struct InCommon;

impl Modify for InCommon {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let token = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "An admin token; the first is printed by `keyway-control init`",
            ))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(token));
        for name in WRITTEN_AND_SHOWN {
            if let Some(RefOr::T(schema)) = components.schemas.get_mut(name) {
                open(schema);
            }
        }
        for item in document.paths.paths.values_mut() {
            let operations = [
                &mut item.get,
                &mut item.put,
                &mut item.post,
                &mut item.patch,
                &mut item.delete,
            ];
            for operation in operations.into_iter().flatten() {
                refusal(operation);
                name(operation);
            }
            if let Some(post) = &mut item.post {
                idempotency(post);
            }
        }
    }
}

/// What is sent as it is, and shown with a number and a receipt beside it.
const WRITTEN_AND_SHOWN: [&str; 4] = ["RawAlertRule", "RawApi", "RawPlan", "RawUpstream"];

/// A schema that allows nothing beside itself could not be part of a larger one. The server
/// refuses unknown fields all the same.
fn open(schema: &mut Schema) {
    if let Schema::Object(object) = schema {
        object.additional_properties = None;
    }
}

/// `keys_list`: a name must be unique over all operations, and handlers are named per file.
fn name(operation: &mut Operation) {
    let tag = operation
        .tags
        .iter()
        .flatten()
        .next()
        .cloned()
        .unwrap_or_default();
    operation.operation_id = match operation.operation_id.take() {
        Some(handler) if handler != tag => Some(format!("{tag}_{handler}")),
        other => other,
    };
}

/// Every operation may be refused, and every refusal has the same form.
fn refusal(operation: &mut Operation) {
    let problem = Content::new(Some(Ref::from_schema_name("Problem")));
    let response = ResponseBuilder::new()
        .description("Refused; `code` says why, `errors` where")
        .content(PROBLEM_JSON, problem)
        .build();
    operation
        .responses
        .responses
        .insert("default".to_owned(), response.into());
}

fn idempotency(operation: &mut Operation) {
    let parameter = ParameterBuilder::new()
        .name(IDEMPOTENCY_KEY)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "1 to 255 visible ASCII characters. The same request with the same key within 24 h \
             is carried out once and answered again, with `Idempotent-Replayed: true` and \
             without secrets; another request with it is refused (422), and so is one while \
             the first is under way (409).",
        ))
        .schema(Some(Object::with_type(SchemaType::Type(Type::String))))
        .build();
    operation
        .parameters
        .get_or_insert_default()
        .push(parameter.into());
}
