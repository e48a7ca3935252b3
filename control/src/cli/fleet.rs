//! `publish`, `rollback`, `status` and `generations`: what is served, by whom.

use super::Session;
use super::arguments::{ListArguments, PublishArguments, RollbackArguments};
use super::error::CliError;
use super::output::{fields, or_dash, table};
use super::receipt::why;
use crate::admin::answer::Changed;
use crate::admin::generations::{GenerationView, PublishedView, StatusView};
use serde_json::json;

pub(super) fn publish(session: &Session, arguments: &PublishArguments) -> Result<(), CliError> {
    let body = json!({ "full": arguments.full, "allow_shrink": arguments.allow_shrink });
    let call = session
        .client
        .post("/v1/publish")
        .waiting(arguments.wait.timeout_ms());
    told_published(session, &call.send_json(&body)?)
}

pub(super) fn rollback(session: &Session, arguments: &RollbackArguments) -> Result<(), CliError> {
    let call = session
        .client
        .post("/v1/rollback")
        .waiting(arguments.wait.timeout_ms());
    told_published(session, &call.send_json(&json!({ "to": arguments.to }))?)
}

fn told_published(session: &Session, changed: &Changed<PublishedView>) -> Result<(), CliError> {
    let generation = changed.generation;
    session.changed(changed, "in force", |published| {
        let PublishedView {
            base,
            configuration,
            keys,
        } = published;
        let form = match *base == generation {
            true => "a base".to_owned(),
            false => format!("an overlay of base {base}"),
        };
        format!(
            "generation {generation}: {form}, configuration {configuration}, {keys} keys written"
        )
    })
}

pub(super) fn status(session: &Session) -> Result<(), CliError> {
    let status: StatusView = session.client.get("/v1/status").send()?;
    session.output.one(&status, told)
}

fn told(status: &StatusView) -> String {
    let totals = &status.totals;
    let mut lines = vec![
        ("control", status.version.clone()),
        ("last change", status.store_generation.to_string()),
        (
            "published",
            or_dash(status.published.map(|published| published.generation)),
        ),
    ];
    if let Some(held) = status.held_configuration {
        lines.push((
            "held",
            format!("configuration of generation {held}, since a rollback"),
        ));
    }
    if let Some(problem) = &status.problem {
        lines.push(("problem", problem.clone()));
    }
    lines.push((
        "holds",
        format!(
            "{} tenants, {} apps, {} keys, {} plans, {} APIs, {} upstreams, {} subscriptions",
            totals.tenants,
            totals.apps,
            totals.keys,
            totals.plans,
            totals.apis,
            totals.upstreams,
            totals.subscriptions
        ),
    ));
    if status.nodes.is_empty() {
        lines.push(("nodes", "none known".to_owned()));
        return fields(&lines);
    }
    let rows = status.nodes.iter().map(|node| {
        vec![
            node.node.clone(),
            node.workers.to_string(),
            node.generation.to_string(),
            why(node),
        ]
    });
    let header = ["NODE", "CORES", "GENERATION", ""];
    format!("{}\n\n{}", fields(&lines), table(Some(&header), rows))
}

pub(super) fn generations(session: &Session, part: &ListArguments) -> Result<(), CliError> {
    let header = [
        "GENERATION",
        "BASE",
        "CONFIGURATION",
        "DONE",
        "KEYS",
        "BYTES",
        "",
    ];
    session.list(
        part,
        "/v1/generations",
        &[],
        &header,
        |one: &GenerationView| {
            vec![
                one.generation.to_string(),
                one.base.to_string(),
                one.configuration.to_string(),
                one.done_at
                    .map_or_else(|| "never".to_owned(), |done| done.to_string()),
                one.keys.to_string(),
                one.bytes.to_string(),
                if one.rollback { "rollback" } else { "" }.to_owned(),
            ]
        },
    )
}
