//! `keys …`: their life from the outside.

use super::Session;
use super::arguments::{
    Attribute, KeyArguments, KeyCreateArguments, KeyExpireArguments, KeyListArguments,
    KeyRotateArguments, KeyUpdateArguments, KeysCommand,
};
use super::error::CliError;
use super::output::{fields, or_dash, print};
use super::{import, receipt};
use crate::admin::answer::Changed;
use crate::admin::key_changes::KeyMade;
use crate::admin::keys::KeyView;
use crate::admin::time::Moment;
use crate::domain::{KeyState, Scalar};
use keyway::clock::Clock;
use serde_json::{Map, Value, json};

/// The attribute that holds a key's name.
const NAME: &str = "name";

pub(super) fn run(session: &Session, command: KeysCommand) -> Result<(), CliError> {
    match command {
        KeysCommand::Create(arguments) => create(session, arguments),
        KeysCommand::List(arguments) => list(session, &arguments),
        KeysCommand::Show { id } => {
            let key: KeyView = session.client.get(format!("/v1/keys/{id}")).send()?;
            session.output.one(&key, told)
        }
        KeysCommand::Update(arguments) => update(session, arguments),
        KeysCommand::Disable(arguments) => switch(session, arguments, "disable", "off"),
        KeysCommand::Enable(arguments) => switch(session, arguments, "enable", "on"),
        KeysCommand::Expire(arguments) => expire(session, &arguments),
        KeysCommand::Rotate(arguments) => rotate(session, arguments),
        KeysCommand::Revoke(arguments) => revoke(session, arguments),
        KeysCommand::Import(arguments) => import::run(session, &arguments),
    }
}

fn create(session: &Session, arguments: KeyCreateArguments) -> Result<(), CliError> {
    let not_after = match arguments.expires_in {
        Some(span_s) => Some(in_seconds(span_s)),
        None => arguments.not_after,
    };
    let body = json!({
        "tenant": arguments.app.tenant,
        "app": arguments.app.app,
        "environment": arguments.environment,
        "not_before": arguments.not_before,
        "not_after": not_after,
        "attributes": attributes(arguments.name, arguments.attribute),
        "unlimited": arguments.unlimited,
    });
    let made: Changed<KeyMade> = session
        .client
        .post("/v1/keys")
        .once(arguments.idempotency_key)
        .waiting(arguments.wait.timeout_ms())
        .send_json(&body)?;
    show_made(session, &made, arguments.quiet)
}

fn rotate(session: &Session, arguments: KeyRotateArguments) -> Result<(), CliError> {
    let made: Changed<KeyMade> = session
        .client
        .post(format!("/v1/keys/{}/rotate", arguments.id))
        .once(arguments.idempotency_key)
        .waiting(arguments.wait.timeout_ms())
        .send_json(&json!({ "grace_s": arguments.grace }))?;
    show_made(session, &made, arguments.quiet)
}

/// Shows a new key. The secret is printed whatever comes of the receipt: it is shown once.
fn show_made(session: &Session, made: &Changed<KeyMade>, quiet: bool) -> Result<(), CliError> {
    if !quiet {
        return session.changed(made, "live", told_made);
    }
    match &made.thing.secret {
        Some(secret) => print(secret)?,
        None => return Err(CliError::Usage(WITHHELD.to_owned())),
    }
    receipt::proven(made.receipt.as_ref(), "live")
}

const WITHHELD: &str = "the secret was in the first answer under this idempotency key; if that \
                        was lost, revoke this key and make another";

fn told_made(made: &KeyMade) -> String {
    let mut lines = lines_of(&made.key);
    match &made.secret {
        Some(secret) => {
            lines.push(("secret", secret.clone()));
            lines.push(("", "shown this once: keep it now".to_owned()));
        }
        None => lines.push(("secret", format!("not shown: {WITHHELD}"))),
    }
    if let Some(old) = &made.replaces {
        let end = or_dash(old.not_after);
        lines.push(("replaces", format!("{}, which ends {end}", old.id)));
    }
    fields(&lines)
}

fn list(session: &Session, arguments: &KeyListArguments) -> Result<(), CliError> {
    let (tenant, app) = match (&arguments.app, &arguments.tenant) {
        (Some(name), _) => (Some(&name.tenant), Some(&name.app)),
        (None, tenant) => (tenant.as_ref(), None),
    };
    let filters = [
        ("tenant", tenant.map(ToString::to_string)),
        ("app", app.map(ToString::to_string)),
        (
            "state",
            arguments.state.map(|state| state.word().to_owned()),
        ),
        (
            "environment",
            arguments.environment.map(|it| it.word().to_owned()),
        ),
    ];
    let header = [
        "ID",
        "APP",
        "ENV",
        "STATE",
        "NAME",
        "NOT AFTER",
        "LAST USED",
    ];
    let now = Clock::system().wall().0;
    session.list(
        &arguments.part,
        "/v1/keys",
        &filters,
        &header,
        |key: &KeyView| {
            vec![
                key.id.to_string(),
                format!("{}/{}", key.tenant, key.app),
                key.environment.word().to_owned(),
                state(key, now).to_owned(),
                or_dash(name(key)),
                or_dash(key.not_after),
                or_dash(key.last_used_at),
            ]
        },
    )
}

fn update(session: &Session, arguments: KeyUpdateArguments) -> Result<(), CliError> {
    let mut attributes = attributes(arguments.name, arguments.attribute);
    attributes.extend(
        arguments
            .remove_attribute
            .into_iter()
            .map(|name| (name, Value::Null)),
    );
    if attributes.is_empty() && arguments.unlimited.is_none() {
        return Err(CliError::Usage(
            "nothing to change; see `keys update --help`".to_owned(),
        ));
    }
    let changed: Changed<KeyView> = session
        .client
        .patch(format!("/v1/keys/{}", arguments.id))
        .waiting(arguments.wait.timeout_ms())
        .send_json(&json!({ "attributes": attributes, "unlimited": arguments.unlimited }))?;
    session.changed(&changed, "in force", told)
}

fn expire(session: &Session, arguments: &KeyExpireArguments) -> Result<(), CliError> {
    let end = match (arguments.at, arguments.after) {
        (Some(at), _) => Some(at),
        (None, Some(span_s)) => Some(in_seconds(span_s)),
        (None, None) if arguments.never => None,
        (None, None) => Some(in_seconds(0)),
    };
    let changed: Changed<KeyView> = session
        .client
        .patch(format!("/v1/keys/{}", arguments.id))
        .waiting(arguments.wait.timeout_ms())
        .send_json(&json!({ "not_after": end }))?;
    session.changed(&changed, "in force", told)
}

fn switch(
    session: &Session,
    arguments: KeyArguments,
    action: &str,
    done: &str,
) -> Result<(), CliError> {
    let changed: Changed<KeyView> = session
        .client
        .post(format!("/v1/keys/{}/{action}", arguments.id))
        .waiting(arguments.wait.timeout_ms())
        .send()?;
    session.changed(&changed, done, one_line)
}

fn revoke(session: &Session, arguments: KeyArguments) -> Result<(), CliError> {
    let changed: Changed<KeyView> = session
        .client
        .delete(format!("/v1/keys/{}", arguments.id))
        .waiting(arguments.wait.timeout_ms())
        .send()?;
    session.changed(&changed, "dead", one_line)
}

/// `key_… (live, acme/mobile) is revoked`.
fn one_line(key: &KeyView) -> String {
    let KeyView {
        id,
        environment,
        tenant,
        app,
        state,
        ..
    } = key;
    format!(
        "{id} ({}, {tenant}/{app}) is {}",
        environment.word(),
        state.word()
    )
}

fn told(key: &KeyView) -> String {
    fields(&lines_of(key))
}

fn lines_of(key: &KeyView) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("key", key.id.to_string()),
        ("app", format!("{}/{}", key.tenant, key.app)),
        ("environment", key.environment.word().to_owned()),
        ("state", state(key, Clock::system().wall().0).to_owned()),
        ("not before", or_dash(key.not_before)),
        ("not after", or_dash(key.not_after)),
        ("created", key.created_at.to_string()),
        ("last used", or_dash(key.last_used_at)),
    ];
    if let Some(revoked_at) = key.revoked_at {
        lines.push(("revoked", revoked_at.to_string()));
    }
    if let Some(before) = key.rotated_from {
        lines.push(("rotated from", before.to_string()));
    }
    let attributes: Vec<String> = key
        .attributes
        .entries()
        .iter()
        .map(|(name, value)| format!("{name}={}", plain(value)))
        .collect();
    if !attributes.is_empty() {
        lines.push(("attributes", attributes.join(" ")));
    }
    if key.unlimited {
        lines.push(("limits", "those of its plans do not hold".to_owned()));
    }
    lines
}

/// A key's state with its validity taken into account: what a node would say at `now_ms`.
fn state(key: &KeyView, now_ms: u64) -> &'static str {
    match key.state {
        KeyState::Active if key.not_after.is_some_and(|end| end.ms() <= now_ms) => "expired",
        KeyState::Active if key.not_before.is_some_and(|from| from.ms() > now_ms) => "not yet",
        state => state.word(),
    }
}

fn name(key: &KeyView) -> Option<String> {
    key.attributes.entries().get(NAME).map(plain)
}

fn plain(value: &Scalar) -> String {
    match value {
        Scalar::Flag(flag) => flag.to_string(),
        Scalar::Integer(number) => number.to_string(),
        Scalar::Text(text) => text.clone(),
    }
}

fn attributes(name: Option<String>, attributes: Vec<Attribute>) -> Map<String, Value> {
    let named = name.map(|name| (NAME.to_owned(), Value::from(name)));
    let others = attributes
        .into_iter()
        .map(|attribute| (attribute.name, json!(attribute.value)));
    named.into_iter().chain(others).collect()
}

fn in_seconds(span_s: u32) -> Moment {
    Moment::at_ms(
        Clock::system()
            .wall()
            .0
            .saturating_add(u64::from(span_s) * 1_000),
    )
}
