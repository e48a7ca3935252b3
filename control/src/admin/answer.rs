//! What a change answers: the thing as it is now, the generation that holds it, and, if asked
//! for, the receipt that it is in force.

use super::Admin;
use super::problem::{Cause, Problem};
use super::query::Query;
use crate::publish::Receipt;
use crate::store::Outcome;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// Says that a POST was carried out before and this is its answer again.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// How long a receipt is waited for unless asked for otherwise.
const TIMEOUT_MS: u32 = 10_000;
/// Longest wait for a receipt.
const TIMEOUT_MS_MAX: u32 = 60_000;

/// What a change may wait for before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Wait {
    /// Until every worker of every known node serves it.
    Enforced,
}

/// Whether a change answers with a receipt.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WaitQuery {
    /// `enforced`: answer with the receipt, once every worker of every known node serves the
    /// change. The change is durable in any case.
    #[param(inline)]
    wait: Option<Wait>,
    /// Longest wait in milliseconds, 1 to 60000; default 10000. A receipt that is not complete by
    /// then says who is late.
    #[param(minimum = 1, maximum = 60000)]
    timeout_ms: Option<u32>,
}

impl WaitQuery {
    pub(super) fn new(wait: Option<Wait>, timeout_ms: Option<u32>) -> Self {
        Self { wait, timeout_ms }
    }

    /// How long to wait; none: not at all.
    pub(super) fn timeout(self) -> Result<Option<Duration>, Problem> {
        match (self.wait, self.timeout_ms) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Problem::invalid("timeout_ms", "goes with wait=enforced")),
            (Some(Wait::Enforced), ms) => timeout(ms).map(Some),
        }
    }
}

/// How long a change waits for its receipt; none: not at all. Judged before the change is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting(pub Option<Duration>);

impl<S: Send + Sync> FromRequestParts<S> for Waiting {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(query) = Query::<WaitQuery>::from_request_parts(parts, state).await?;
        query.timeout().map(Self)
    }
}

/// Checks a timeout that a client may set.
pub(super) fn timeout(ms: Option<u32>) -> Result<Duration, Problem> {
    match ms.unwrap_or(TIMEOUT_MS) {
        ms @ 1..=TIMEOUT_MS_MAX => Ok(Duration::from_millis(ms.into())),
        _ => Err(Problem::invalid(
            "timeout_ms",
            format!("from 1 to {TIMEOUT_MS_MAX}"),
        )),
    }
}

/// A thing after its change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changed<T> {
    /// The thing as it is now.
    #[serde(flatten)]
    pub thing: T,
    /// Every published generation from this one on holds the change.
    pub generation: u64,
    /// Who serves it; only with `wait=enforced`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
}

/// What is left of a thing that was deleted: nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Gone {}

/// An answer to a change.
#[derive(Debug)]
pub(super) struct Answer<T> {
    status: StatusCode,
    body: T,
    replayed: bool,
}

impl<T> Answer<T> {
    /// The answer says that something new is there.
    pub(super) fn created(self) -> Self {
        Self {
            status: StatusCode::CREATED,
            ..self
        }
    }
}

/// What a change answers, or why it was not made.
pub(super) type Answered<T> = Result<Answer<Changed<T>>, Problem>;

impl Admin {
    /// Answers a change, with its receipt if `timeout` says so.
    pub(super) async fn changed<T, V>(
        &self,
        outcome: Outcome<T>,
        timeout: Option<Duration>,
        view: impl FnOnce(T) -> V,
    ) -> Answer<Changed<V>> {
        let receipt = match timeout {
            Some(timeout) => Some(
                self.control
                    .publisher
                    .enforced(outcome.generation, timeout)
                    .await,
            ),
            None => None,
        };
        Answer {
            status: StatusCode::OK,
            body: Changed {
                thing: view(outcome.value),
                generation: outcome.generation,
                receipt,
            },
            replayed: outcome.replayed,
        }
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let mut response = (self.status, Shown(self.body)).into_response();
        if self.replayed {
            response
                .headers_mut()
                .insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

/// JSON with a newline at its end, for the terminals it is read on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<T>(pub T);

impl<T: Serialize> IntoResponse for Shown<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(mut body) => {
                body.push(b'\n');
                let json = HeaderValue::from_static("application/json");
                ([(header::CONTENT_TYPE, json)], body).into_response()
            }
            Err(error) => Problem::new(
                Cause::Internal,
                format!("the answer cannot be written: {error}"),
            )
            .into_response(),
        }
    }
}
