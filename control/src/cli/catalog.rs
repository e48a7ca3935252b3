//! `plans`, `apis` and `upstreams`: listed here, made by `apply`.

use super::Session;
use super::arguments::ListCommand;
use super::error::CliError;
use super::output::or_dash;
use crate::admin::apis::ApiView;
use crate::admin::plans::PlanView;
use crate::admin::upstreams::UpstreamView;
use crate::domain::LimitSpec;

pub(super) fn plans(session: &Session, command: ListCommand) -> Result<(), CliError> {
    let ListCommand::List(part) = command;
    let header = ["PLAN", "APIS", "LIMITS"];
    session.list(&part, "/v1/plans", &[], &header, |plan: &PlanView| {
        let limits: Vec<String> = plan.spec.limits.iter().map(limit).collect();
        vec![
            plan.spec.name.to_string(),
            joined(&plan.spec.apis),
            joined(&limits),
        ]
    })
}

/// `burst 10/second (20 at once)`.
fn limit(limit: &LimitSpec) -> String {
    let LimitSpec {
        name,
        requests,
        per,
        burst,
    } = limit;
    format!("{name} {requests}/{} ({burst} at once)", per.word())
}

pub(super) fn apis(session: &Session, command: ListCommand) -> Result<(), CliError> {
    let ListCommand::List(part) = command;
    let header = ["API", "VERSION", "UPSTREAM", "HOSTS", "ROUTES", "KEY"];
    session.list(&part, "/v1/apis", &[], &header, |api: &ApiView| {
        let spec = &api.spec;
        let paths: Vec<&str> = spec
            .routes
            .iter()
            .map(|route| route.path.as_str())
            .collect();
        vec![
            spec.name.to_string(),
            spec.version.clone(),
            spec.upstream.to_string(),
            if spec.hosts.is_empty() {
                "every".to_owned()
            } else {
                joined(&spec.hosts)
            },
            joined(&paths),
            if spec.key_required { "needed" } else { "-" }.to_owned(),
        ]
    })
}

pub(super) fn upstreams(session: &Session, command: ListCommand) -> Result<(), CliError> {
    let ListCommand::List(part) = command;
    let header = ["UPSTREAM", "TARGETS", "CONNECT MS", "RESPONSE MS"];
    session.list(
        &part,
        "/v1/upstreams",
        &[],
        &header,
        |upstream: &UpstreamView| {
            let spec = &upstream.spec;
            vec![
                spec.name.to_string(),
                joined(spec.targets.iter().map(|target| &target.address)),
                spec.connect_timeout_ms.to_string(),
                spec.response_timeout_ms.to_string(),
            ]
        },
    )
}

fn joined<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    or_dash((!texts.is_empty()).then(|| texts.join(", ")))
}
