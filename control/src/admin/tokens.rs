//! Admin tokens: made, listed and withdrawn. Only their SHA-256 is kept.

use super::Admin;
use super::answer::{Answered, Changed, Shown, WaitQuery, Waiting};
use super::asked::Asked;
use super::body::Nothing;
use super::problem::Problem;
use super::query::{Listed, PageQuery, Path, Query};
use super::time::Moment;
use crate::domain::{Name, TokenNumber, TokenRole, fresh_admin_token};
use crate::store::AdminToken;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An admin token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "number": 2, "label": "ci", "role": "admin", "created_at": "2026-11-21T08:00:00Z", "withdrawn_at": null
}))]
pub struct TokenView {
    /// Stable number.
    pub number: u32,
    /// Who holds it; names the actor in the audit log.
    pub label: Name,
    /// What it may do.
    pub role: TokenRole,
    /// When it was made.
    pub created_at: Moment,
    /// When it was withdrawn; null: it is good.
    pub withdrawn_at: Option<Moment>,
}

impl From<AdminToken> for TokenView {
    fn from(token: AdminToken) -> Self {
        Self {
            number: token.number.0,
            label: token.label,
            role: token.role,
            created_at: Moment::at_ms(token.created_ms),
            withdrawn_at: token.withdrawn_ms.map(Moment::at_ms),
        }
    }
}

/// What makes an admin token.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "label": "ci" }))]
pub(super) struct TokenBody {
    /// Who will hold it; names the actor in the audit log.
    label: Name,
    /// `admin`: everything; `metrics`: read `/metrics`. Default: `admin`.
    #[serde(default)]
    role: TokenRole,
}

/// An admin token with its secret, this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenMade {
    /// The token.
    #[serde(flatten)]
    pub token: TokenView,
    /// The token itself. It is stored nowhere: keep it now or never. Null in a replay.
    pub secret: Option<String>,
    /// True: this is a replay under an idempotency key, and the secret was in the first answer.
    pub secret_withheld: bool,
}

impl std::fmt::Debug for TokenMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenMade")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// Lists admin tokens, withdrawn ones too.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", params(PageQuery),
    responses((status = 200, description = "Tokens by number", body = Listed<TokenView>)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(query): Query<PageQuery>,
) -> Result<Shown<Listed<TokenView>>, Problem> {
    let page = query.page()?;
    let tokens = admin
        .control
        .store
        .read(move |rows| rows.tokens(page))
        .await?;
    Ok(Shown(Listed::of(tokens, TokenView::from)))
}

/// Makes an admin token. Its secret is in this answer and never again.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", params(WaitQuery),
    request_body = TokenBody,
    responses((status = 201, description = "The token with its secret",
        body = Changed<TokenMade>)))]
pub(super) async fn create(
    State(admin): State<Admin>,
    Waiting(timeout): Waiting,
    asked: Asked<TokenBody>,
) -> Answered<TokenMade> {
    let TokenBody { label, role } = asked.body;
    let (secret, digest) = fresh_admin_token()?;
    let outcome = admin
        .control
        .store
        .write(asked.author, move |tx| tx.token_create(label, digest, role))
        .await?;
    let replayed = outcome.replayed;
    let answer = admin.changed(outcome, timeout, |token| TokenMade {
        token: token.into(),
        secret: (!replayed).then(|| secret.expose().to_owned()),
        secret_withheld: replayed,
    });
    Ok(answer.await.created())
}

/// Withdraws an admin token for good; the last good one that may do everything stays.
#[utoipa::path(delete, path = "/v1/tokens/{token}", tag = "tokens",
    params(("token" = u32, Path, description = "Its number"), WaitQuery),
    responses((status = 200, description = "The withdrawn token", body = Changed<TokenView>)))]
pub(super) async fn withdraw(
    State(admin): State<Admin>,
    Path(number): Path<u32>,
    Waiting(timeout): Waiting,
    asked: Asked<Nothing>,
) -> Answered<TokenView> {
    let number = TokenNumber(number);
    let store = &admin.control.store;
    let outcome = store
        .write(asked.author, move |tx| tx.token_withdraw(number))
        .await?;
    Ok(admin.changed(outcome, timeout, TokenView::from).await)
}
