//! Webhooks: made, tried and deleted. What signs for one is shown once.

use super::Admin;
use super::answer::{Answered, Changed, Gone, Shown, WaitQuery, Waiting};
use super::asked::Asked;
use super::body::Nothing;
use super::problem::Problem;
use super::query::{Listed, PageQuery, Path, Query};
use super::time::Moment;
use crate::alerts;
use crate::domain::{Invalid, Name, Webhook, WebhookSecret, WebhookUrl};
use crate::store::WebhookState;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A webhook, and how telling it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "name": "ops", "url": "https://ops.example.com/keyway",
    "created_at": "2026-11-21T08:00:00Z", "waiting": 0, "given_up": 0,
    "last_taken_at": "2026-11-21T09:00:00Z", "last_error": null
}))]
pub struct WebhookView {
    /// Unique name.
    pub name: Name,
    /// Where it is told.
    pub url: String,
    /// When it was made.
    pub created_at: Moment,
    /// Messages that wait for their next attempt.
    pub waiting: u64,
    /// Messages of the last seven days that were given up, after a day.
    pub given_up: u64,
    /// When the last message was taken; null: none in the last seven days.
    pub last_taken_at: Option<Moment>,
    /// Why the newest message that was not taken was not; null: all of the last seven days were.
    pub last_error: Option<String>,
}

impl From<(Webhook, WebhookState)> for WebhookView {
    fn from((webhook, state): (Webhook, WebhookState)) -> Self {
        Self {
            name: webhook.name,
            url: webhook.url.into(),
            created_at: Moment::at_ms(webhook.created_ms),
            waiting: state.waiting,
            given_up: state.given_up,
            last_taken_at: state.last_taken_ms.map(Moment::at_ms),
            last_error: state.last_error,
        }
    }
}

/// What makes a webhook.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "ops", "url": "https://ops.example.com/keyway" }))]
pub(super) struct WebhookBody {
    /// Unique name, by which rules speak of it.
    name: Name,
    /// `https`, or `http` to a loopback address.
    url: String,
}

/// A webhook with its secret, this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookMade {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: WebhookView,
    /// What the receiver checks `webhook-signature` with, as libraries for Standard Webhooks take
    /// it. It is shown nowhere else: keep it now or never. Null in a replay.
    pub secret: Option<String>,
    /// True: this is a replay under an idempotency key, and the secret was in the first answer.
    pub secret_withheld: bool,
}

impl std::fmt::Debug for WebhookMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookMade")
            .field("webhook", &self.webhook)
            .finish_non_exhaustive()
    }
}

/// Lists webhooks.
#[utoipa::path(get, path = "/v1/webhooks", tag = "webhooks", params(PageQuery),
    responses((status = 200, description = "In the order in which they were made",
        body = Listed<WebhookView>)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(query): Query<PageQuery>,
) -> Result<Shown<Listed<WebhookView>>, Problem> {
    let page = query.page()?;
    let store = &admin.control.store;
    let webhooks = store.read(move |rows| rows.webhooks(page)).await?;
    Ok(Shown(Listed::of(webhooks, WebhookView::from)))
}

/// Makes a webhook. Its secret is in this answer and never again.
#[utoipa::path(post, path = "/v1/webhooks", tag = "webhooks", params(WaitQuery),
    request_body = WebhookBody,
    responses((status = 201, description = "The webhook with its secret",
        body = Changed<WebhookMade>)))]
pub(super) async fn create(
    State(admin): State<Admin>,
    Waiting(timeout): Waiting,
    asked: Asked<WebhookBody>,
) -> Answered<WebhookMade> {
    let WebhookBody { name, url } = asked.body;
    let url = WebhookUrl::try_from(url).map_err(|e: Invalid| e.within("url"))?;
    let secret = WebhookSecret::fresh()?;
    let shown = secret.to_show();
    let store = &admin.control.store;
    let outcome = store
        .write(asked.author, move |tx| {
            tx.webhook_create(name, &url, &secret)
        })
        .await?;
    let replayed = outcome.replayed;
    let answer = admin.changed(outcome, timeout, |webhook| WebhookMade {
        webhook: (webhook, WebhookState::default()).into(),
        secret: (!replayed).then(|| shown.expose().to_owned()),
        secret_withheld: replayed,
    });
    Ok(answer.await.created())
}

/// Shows a webhook, and how telling it goes.
#[utoipa::path(get, path = "/v1/webhooks/{webhook}", tag = "webhooks",
    params(("webhook" = Name, Path, description = "Its name")),
    responses((status = 200, description = "The webhook", body = WebhookView)))]
pub(super) async fn show(
    State(admin): State<Admin>,
    Path(name): Path<Name>,
) -> Result<Shown<WebhookView>, Problem> {
    let store = &admin.control.store;
    let webhook = store
        .read(move |rows| Ok((rows.webhook(&name)?, rows.webhook_state(&name)?)))
        .await?;
    Ok(Shown(webhook.into()))
}

/// Sends a webhook a message of type `webhook.test`, so that its receiver can be tried. The answer
/// comes before the message is sent: look at the webhook for what became of it.
#[utoipa::path(post, path = "/v1/webhooks/{webhook}/test", tag = "webhooks",
    params(("webhook" = Name, Path, description = "Its name"), WaitQuery),
    responses((status = 200, description = "The message waits", body = Changed<WebhookView>)))]
pub(super) async fn test(
    State(admin): State<Admin>,
    Path(name): Path<Name>,
    Waiting(timeout): Waiting,
    asked: Asked<Nothing>,
) -> Answered<WebhookView> {
    let (store, about) = (&admin.control.store, name.clone());
    let outcome = store
        .write(asked.author, move |tx| alerts::tell_test(tx, &name))
        .await?;
    let webhook = store
        .read(move |rows| Ok((rows.webhook(&about)?, rows.webhook_state(&about)?)))
        .await?;
    Ok(admin.changed(outcome, timeout, |()| webhook.into()).await)
}

/// Deletes a webhook that no rule speaks of, with what it was still to be told.
#[utoipa::path(delete, path = "/v1/webhooks/{webhook}", tag = "webhooks",
    params(("webhook" = Name, Path, description = "Its name"), WaitQuery),
    responses((status = 200, description = "It is gone", body = Changed<Gone>)))]
pub(super) async fn delete(
    State(admin): State<Admin>,
    Path(name): Path<Name>,
    Waiting(timeout): Waiting,
    asked: Asked<Nothing>,
) -> Answered<Gone> {
    let store = &admin.control.store;
    let outcome = store
        .write(asked.author, move |tx| tx.webhook_delete(&name))
        .await?;
    Ok(admin.changed(outcome, timeout, |()| Gone {}).await)
}
