//! `plans`, `apis` and `upstreams`: listed here, made by `apply`.

use super::Session;
use super::arguments::ListCommand;
use super::error::CliError;
use super::output::or_dash;
use crate::admin::apis::ApiView;
use crate::admin::plans::PlanView;
use crate::admin::upstreams::UpstreamView;
use crate::domain::{LimitSpec, Shape};
use keyway::snapshot::catalog::{CalendarUnit, LimitSubject, LimitUnit};

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

/// `burst 10/second (20 at once)`, `monthly 5000 each month (UTC)`, `parallel 3 at the same time`.
fn limit(limit: &LimitSpec) -> String {
    let unit = match limit.unit {
        LimitUnit::Requests => "",
        LimitUnit::BytesIn => " bytes in",
        LimitUnit::BytesOut => " bytes out",
    };
    let name = &limit.name;
    let mut text = match &limit.shape {
        Shape::Rate { units, per, burst } => {
            format!("{name} {units}{unit}/{} ({burst} at once)", per.word())
        }
        Shape::Quota {
            units,
            window,
            zone,
        } => {
            let window = match window {
                CalendarUnit::Hour => "hour",
                CalendarUnit::Day => "day",
                CalendarUnit::Month => "month",
            };
            format!("{name} {units}{unit} each {window} ({zone})")
        }
        Shape::Concurrent(requests) => format!("{name} {requests} at the same time"),
    };
    text.push_str(match limit.subject {
        LimitSubject::Key => "",
        LimitSubject::App => " per app",
        LimitSubject::Tenant => " per tenant",
        LimitSubject::Api => " of all callers",
        LimitSubject::Address => " per address",
    });
    if limit.shadow {
        text.push_str(", only watching");
    }
    text
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
