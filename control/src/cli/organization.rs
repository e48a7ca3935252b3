//! `tenants`, `apps`, `subscriptions` and `tokens`: who may, and who is switched off.

use super::Session;
use super::arguments::{
    AppArguments, AppsCommand, SubscriptionArguments, SubscriptionsCommand, TenantArguments,
    TenantsCommand, TokensCommand,
};
use super::error::CliError;
use super::output::{fields, or_dash, print};
use crate::admin::answer::Changed;
use crate::admin::apps::AppView;
use crate::admin::subscriptions::SubscriptionView;
use crate::admin::tenants::TenantView;
use crate::admin::tokens::{TokenMade, TokenView};
use serde_json::json;

pub(super) fn tenants(session: &Session, command: TenantsCommand) -> Result<(), CliError> {
    match command {
        TenantsCommand::List(part) => {
            let header = ["TENANT", "ENABLED", "CREATED"];
            session.list(&part, "/v1/tenants", &[], &header, |tenant: &TenantView| {
                vec![
                    tenant.name.to_string(),
                    yes_no(tenant.enabled),
                    tenant.created_at.to_string(),
                ]
            })
        }
        TenantsCommand::Create(arguments) => {
            let changed: Changed<TenantView> = session
                .client
                .post("/v1/tenants")
                .waiting(arguments.wait.timeout_ms())
                .send_json(&json!({ "name": arguments.name }))?;
            session.changed(&changed, "in force", told_tenant)
        }
        TenantsCommand::Enable(arguments) => switch_tenant(session, &arguments, true),
        TenantsCommand::Disable(arguments) => switch_tenant(session, &arguments, false),
    }
}

fn switch_tenant(
    session: &Session,
    arguments: &TenantArguments,
    enabled: bool,
) -> Result<(), CliError> {
    let changed: Changed<TenantView> = session
        .client
        .patch(format!("/v1/tenants/{}", arguments.name))
        .waiting(arguments.wait.timeout_ms())
        .send_json(&json!({ "enabled": enabled }))?;
    session.changed(&changed, on_off(enabled), told_tenant)
}

fn told_tenant(tenant: &TenantView) -> String {
    format!("tenant {} is {}", tenant.name, on_off(tenant.enabled))
}

pub(super) fn apps(session: &Session, command: AppsCommand) -> Result<(), CliError> {
    match command {
        AppsCommand::List { tenant, part } => {
            let path = match tenant {
                Some(tenant) => format!("/v1/tenants/{tenant}/apps"),
                None => "/v1/apps".to_owned(),
            };
            let header = ["APP", "ENABLED", "CREATED"];
            session.list(&part, &path, &[], &header, |app: &AppView| {
                let name = format!("{}/{}", app.tenant, app.name);
                vec![name, yes_no(app.enabled), app.created_at.to_string()]
            })
        }
        AppsCommand::Create(arguments) => {
            let changed: Changed<AppView> = session
                .client
                .post(format!("/v1/tenants/{}/apps", arguments.app.tenant))
                .waiting(arguments.wait.timeout_ms())
                .send_json(&json!({ "name": arguments.app.app }))?;
            session.changed(&changed, "in force", told_app)
        }
        AppsCommand::Enable(arguments) => switch_app(session, &arguments, true),
        AppsCommand::Disable(arguments) => switch_app(session, &arguments, false),
    }
}

fn switch_app(session: &Session, arguments: &AppArguments, enabled: bool) -> Result<(), CliError> {
    let name = &arguments.app;
    let changed: Changed<AppView> = session
        .client
        .patch(format!("/v1/tenants/{}/apps/{}", name.tenant, name.app))
        .waiting(arguments.wait.timeout_ms())
        .send_json(&json!({ "enabled": enabled }))?;
    session.changed(&changed, on_off(enabled), told_app)
}

fn told_app(app: &AppView) -> String {
    format!("app {}/{} is {}", app.tenant, app.name, on_off(app.enabled))
}

pub(super) fn subscriptions(
    session: &Session,
    command: SubscriptionsCommand,
) -> Result<(), CliError> {
    match command {
        SubscriptionsCommand::List {
            app,
            tenant,
            api,
            state,
            part,
        } => {
            let (tenant, app) = match app {
                Some(name) => (Some(name.tenant), Some(name.app)),
                None => (tenant, None),
            };
            let filters = [
                ("tenant", tenant.map(String::from)),
                ("app", app.map(String::from)),
                ("api", api.map(String::from)),
                ("state", state.map(|state| state.word().to_owned())),
            ];
            let header = ["NUMBER", "APP", "API", "PLAN", "STATE"];
            session.list(
                &part,
                "/v1/subscriptions",
                &filters,
                &header,
                subscription_row,
            )
        }
        SubscriptionsCommand::Approve(arguments) => move_to(session, arguments, "approved"),
        SubscriptionsCommand::Suspend(arguments) => move_to(session, arguments, "suspended"),
        SubscriptionsCommand::Cancel(arguments) => move_to(session, arguments, "cancelled"),
    }
}

fn subscription_row(subscription: &SubscriptionView) -> Vec<String> {
    vec![
        subscription.number.to_string(),
        format!("{}/{}", subscription.tenant, subscription.app),
        subscription.api.to_string(),
        subscription.plan.to_string(),
        subscription.state.word().to_owned(),
    ]
}

fn move_to(
    session: &Session,
    arguments: SubscriptionArguments,
    state: &str,
) -> Result<(), CliError> {
    let changed: Changed<SubscriptionView> = session
        .client
        .patch(format!("/v1/subscriptions/{}", arguments.number))
        .waiting(arguments.wait.timeout_ms())
        .send_json(&json!({ "state": state }))?;
    session.changed(&changed, "in force", |subscription| {
        let SubscriptionView {
            number,
            tenant,
            app,
            api,
            state,
            ..
        } = subscription;
        format!(
            "subscription {number} ({tenant}/{app} to {api}) is {}",
            state.word()
        )
    })
}

pub(super) fn tokens(session: &Session, command: TokensCommand) -> Result<(), CliError> {
    match command {
        TokensCommand::List(part) => {
            let header = ["NUMBER", "LABEL", "ROLE", "CREATED", "WITHDRAWN"];
            session.list(&part, "/v1/tokens", &[], &header, |token: &TokenView| {
                vec![
                    token.number.to_string(),
                    token.label.to_string(),
                    token.role.word().to_owned(),
                    token.created_at.to_string(),
                    or_dash(token.withdrawn_at),
                ]
            })
        }
        TokensCommand::Create { label, role, quiet } => {
            let body = json!({ "label": label, "role": role });
            let made: Changed<TokenMade> = session.client.post("/v1/tokens").send_json(&body)?;
            let secret = made.thing.secret.as_deref().unwrap_or("not shown");
            if quiet {
                return print(secret);
            }
            session.output.one(&made, |made| {
                fields(&[
                    ("token", made.thing.token.number.to_string()),
                    ("label", made.thing.token.label.to_string()),
                    ("role", made.thing.token.role.word().to_owned()),
                    ("secret", secret.to_owned()),
                    ("", "shown this once: keep it now".to_owned()),
                ])
            })
        }
        TokensCommand::Withdraw { number } => {
            let changed: Changed<TokenView> = session
                .client
                .delete(format!("/v1/tokens/{number}"))
                .send()?;
            session.output.one(&changed, |changed| {
                format!("token {number} ({}) is withdrawn", changed.thing.label)
            })
        }
    }
}

fn yes_no(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

fn on_off(enabled: bool) -> &'static str {
    if enabled { "on" } else { "off" }
}
