//! `alerts`, `alert-rules` and `webhooks`: what went off, why, and who was told.

use super::Session;
use super::arguments::{AlertsArguments, ListCommand, WebhooksCommand};
use super::error::CliError;
use super::output::{fields, or_dash, print};
use crate::admin::alert_rules::AlertRuleView;
use crate::admin::answer::{Changed, Gone};
use crate::admin::webhooks::{WebhookMade, WebhookView};
use crate::alerts::AlertView;
use crate::domain::{Condition, RawAlertRule};
use crate::store::AlertAction;
use keyway::clock::Clock;
use serde_json::json;
use std::time::Duration;

/// How long a test message may take to arrive: one attempt, and a little.
const TEST_PATIENCE: Duration = Duration::from_secs(12);
const TEST_PAUSE: Duration = Duration::from_millis(200);

pub(super) fn alerts(session: &Session, arguments: &AlertsArguments) -> Result<(), CliError> {
    let state = match (arguments.firing, arguments.resolved) {
        (true, _) => Some("firing".to_owned()),
        (_, true) => Some("resolved".to_owned()),
        _ => None,
    };
    let rule = arguments.rule.as_ref().map(ToString::to_string);
    let filters = [("state", state), ("rule", rule)];
    let header = ["NUMBER", "RULE", "OF", "VALUE", "BEGAN", "ENDED", "ACTION"];
    session.list(
        &arguments.part,
        "/v1/alerts",
        &filters,
        &header,
        |alert: &AlertView| {
            vec![
                alert.number.to_string(),
                alert.rule.clone(),
                alert.subject.clone().unwrap_or_else(|| "all".to_owned()),
                value(alert),
                alert.began_at.to_string(),
                or_dash(alert.ended_at),
                action(alert.action).to_owned(),
            ]
        },
    )
}

fn value(alert: &AlertView) -> String {
    let of = format!("{} of {}", alert.value, alert.total);
    match (&alert.quota, alert.percent) {
        (Some(quota), Some(percent)) => format!("{of} ({percent} % of {quota})"),
        _ => of,
    }
}

fn action(action: AlertAction) -> &'static str {
    match action {
        AlertAction::None => "-",
        AlertAction::KeyDisabled => "key disabled",
        AlertAction::KeyOffAlready => "key was off",
        AlertAction::TooManyDisabled => "not disabled: too many",
    }
}

pub(super) fn rules(session: &Session, command: ListCommand) -> Result<(), CliError> {
    let ListCommand::List(part) = command;
    let header = ["RULE", "GOES OFF", "TELLS", "DISABLES"];
    session.list(
        &part,
        "/v1/alert-rules",
        &[],
        &header,
        |rule: &AlertRuleView| {
            let spec = &rule.spec;
            let webhooks: Vec<&str> = spec
                .webhooks
                .iter()
                .map(crate::domain::Name::as_str)
                .collect();
            vec![
                spec.name.to_string(),
                goes_off(rule),
                or_dash(Some(webhooks.join(", ")).filter(|text| !text.is_empty())),
                or_dash(
                    spec.disable_keys_max
                        .map(|most| format!("{most} keys an hour")),
                ),
            ]
        },
    )
}

/// `errors by api above 5 % in 5 min`.
fn goes_off(rule: &AlertRuleView) -> String {
    let raw = RawAlertRule::from(rule.spec.clone());
    let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    match &rule.spec.condition {
        Condition::Quota(percents) => {
            let percents: Vec<String> = percents.iter().map(ToString::to_string).collect();
            format!("quota at {} %", percents.join(", "))
        }
        Condition::Count {
            bound,
            window_minutes,
            cause,
            ..
        } => {
            let mut text = word(json!(raw.when));
            if let Some(cause) = cause {
                text = format!("{text} ({cause})");
            }
            text = format!("{text} by {}", word(json!(raw.by)));
            if let Some(above) = bound.above {
                text = format!("{text} above {above}");
            }
            if let Some(share) = bound.above_share {
                text = format!("{text} above {} %", f64::from(share) * 100.0);
            }
            format!("{text} in {window_minutes} min")
        }
    }
}

pub(super) fn webhooks(session: &Session, command: WebhooksCommand) -> Result<(), CliError> {
    match command {
        WebhooksCommand::List(part) => {
            let header = [
                "WEBHOOK",
                "URL",
                "LAST TAKEN",
                "WAITING",
                "GIVEN UP",
                "LAST ERROR",
            ];
            session.list(
                &part,
                "/v1/webhooks",
                &[],
                &header,
                |webhook: &WebhookView| {
                    vec![
                        webhook.name.to_string(),
                        webhook.url.clone(),
                        or_dash(webhook.last_taken_at),
                        webhook.waiting.to_string(),
                        webhook.given_up.to_string(),
                        or_dash(webhook.last_error.as_deref()),
                    ]
                },
            )
        }
        WebhooksCommand::Create {
            name,
            address,
            quiet,
        } => {
            let body = json!({ "name": name, "url": address });
            let made: Changed<WebhookMade> =
                session.client.post("/v1/webhooks").send_json(&body)?;
            let secret = made.thing.secret.as_deref().unwrap_or("not shown");
            if quiet {
                return print(secret);
            }
            session.output.one(&made, |made| {
                fields(&[
                    ("webhook", made.thing.webhook.name.to_string()),
                    ("url", made.thing.webhook.url.clone()),
                    ("secret", secret.to_owned()),
                    (
                        "",
                        "shown this once: give it to the receiver now".to_owned(),
                    ),
                ])
            })
        }
        WebhooksCommand::Test { name } => try_out(session, name.as_ref()),
        WebhooksCommand::Delete { name } => {
            let path = format!("/v1/webhooks/{name}");
            let changed: Changed<Gone> = session.client.delete(path).send()?;
            let told = |_: &Changed<Gone>| format!("webhook {name} is deleted");
            session.output.one(&changed, told)
        }
    }
}

/// Sends a test message, and waits for what becomes of it.
fn try_out(session: &Session, name: &str) -> Result<(), CliError> {
    let path = format!("/v1/webhooks/{name}");
    let before: WebhookView = session.client.get(&path).send()?;
    let _: Changed<WebhookView> = session.client.post(format!("{path}/test")).send()?;
    let clock = Clock::system();
    let began = clock.tick();
    loop {
        let now: WebhookView = session.client.get(&path).send()?;
        let taken = now.last_taken_at != before.last_taken_at;
        let failed = now.last_error.is_some() && now.last_error != before.last_error;
        if taken || failed || Duration::from_nanos(clock.tick().since_ns(began)) > TEST_PATIENCE {
            return session
                .output
                .one(&now, |now| match (taken, &now.last_error) {
                    (true, _) => format!("webhook {name} took the message"),
                    (false, Some(error)) => {
                        format!(
                            "webhook {name} has not taken the message: {error}; it is tried again"
                        )
                    }
                    (false, None) => format!("webhook {name} has not taken the message yet"),
                });
        }
        std::thread::park_timeout(TEST_PAUSE);
    }
}
