//! Every way the admin API says no: RFC 9457 problem details.
//!
//! In: the typed errors of the domain, the store and the publisher. Out: one [`Problem`], sent as
//! a [`ProblemBody`], which is also what the command line reads. Decided here once: handlers only
//! use `?`.
//! A problem never repeats what was sent, since that may be a secret in the wrong place.

use crate::domain::{FinalState, Invalid, KeysmithError, Subject, TransitionRefused};
use crate::publish::PublishError;
use crate::store::StoreError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// Media type of every refusal.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Begins every `type`; the code follows.
const TYPE_PREFIX: &str = "urn:keyway:problem:";

/// Most faults named in one answer; who has more will see the rest next time.
pub const FAULTS_MAX: usize = 100;

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is to a program; status, code and title follow from it alone.
    pub cause: Cause,
    /// What is wrong with this request, and what would be right.
    pub detail: String,
    /// Each fault with its place in the request, at most 100.
    pub errors: Vec<Fault>,
}

/// A refusal as it is sent (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem, example = json!({
    "type": "urn:keyway:problem:invalid",
    "title": "The request holds values that cannot be",
    "status": 422,
    "code": "invalid",
    "detail": "routes[0].path: a path begins with '/'",
    "errors": [{ "path": "routes[0].path", "problem": "a path begins with '/'" }]
}))]
pub struct ProblemBody {
    /// `urn:keyway:problem:` and the code.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// Short text, the same for every problem of this code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable word for programs.
    pub code: String,
    /// What is wrong with this request, and what would be right.
    pub detail: String,
    /// Each fault with its place in the request, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
}

/// One fault in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fault {
    /// Where in the body, query or path: `routes[0].path`; empty for the whole.
    pub path: String,
    /// What is wrong there, and what would be right.
    pub problem: String,
}

/// What a problem is to a program: one variant per code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No admin token, or none that is good.
    Unauthenticated,
    /// The token is good, but not for this.
    Forbidden,
    /// Nothing is there.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The body is larger than this route takes.
    BodyTooLarge,
    /// The body is not of a media type that this route takes.
    MediaTypeUnsupported,
    /// The request cannot be read.
    Malformed,
    /// The request can be read but means nothing possible.
    Invalid,
    /// The data plane would refuse the configuration.
    ConfigurationRefused,
    /// The name or key is taken.
    Exists,
    /// Something else needs it.
    InUse,
    /// The key is revoked, and a revocation is final.
    KeyRevoked,
    /// There is no way from this state to that one.
    TransitionRefused,
    /// The idempotency key was used for another request.
    IdempotencyKeyReused,
    /// A request with this idempotency key is under way.
    IdempotencyKeyBusy,
    /// There is a reason not to publish.
    PublishRefused,
    /// The store or the disk failed.
    StoreFailed,
    /// No node is connected.
    NodesAbsent,
    /// No node did what it was asked for.
    NodesFailed,
    /// There are enough searches.
    SearchesTooMany,
    /// Control is about to end.
    ShuttingDown,
    /// A bug of ours.
    Internal,
}

impl Cause {
    /// Status, code and title.
    const fn face(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Unauthenticated => (
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "An admin token is needed",
            ),
            Self::Forbidden => (
                StatusCode::FORBIDDEN,
                "forbidden",
                "This token may not do that",
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is no such thing"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "This method is not served here",
            ),
            Self::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "The body is too large",
            ),
            Self::MediaTypeUnsupported => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media-type-unsupported",
                "This media type is not read here",
            ),
            Self::Malformed => (
                StatusCode::BAD_REQUEST,
                "malformed",
                "The request cannot be read",
            ),
            Self::Invalid => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid",
                "The request holds values that cannot be",
            ),
            Self::ConfigurationRefused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "configuration-refused",
                "The data plane would refuse this configuration",
            ),
            Self::Exists => (StatusCode::CONFLICT, "exists", "It exists already"),
            Self::InUse => (StatusCode::CONFLICT, "in-use", "Something else needs it"),
            Self::KeyRevoked => (StatusCode::CONFLICT, "key-revoked", "A revocation is final"),
            Self::TransitionRefused => (
                StatusCode::CONFLICT,
                "transition-refused",
                "There is no way from this state to that one",
            ),
            _ => self.face_of_conditions(),
        }
    }

    const fn face_of_conditions(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::IdempotencyKeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The idempotency key was used for another request",
            ),
            Self::IdempotencyKeyBusy => (
                StatusCode::CONFLICT,
                "idempotency-key-busy",
                "A request with this idempotency key is under way",
            ),
            Self::PublishRefused => (
                StatusCode::CONFLICT,
                "publish-refused",
                "There is a reason not to publish",
            ),
            Self::StoreFailed => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "store-failed",
                "The store or the disk failed",
            ),
            Self::NodesAbsent => (
                StatusCode::SERVICE_UNAVAILABLE,
                "nodes-absent",
                "No node is connected",
            ),
            Self::NodesFailed => (
                StatusCode::BAD_GATEWAY,
                "nodes-failed",
                "No node did what it was asked for",
            ),
            Self::SearchesTooMany => (
                StatusCode::TOO_MANY_REQUESTS,
                "searches-too-many",
                "There are enough searches",
            ),
            Self::ShuttingDown => (
                StatusCode::SERVICE_UNAVAILABLE,
                "shutting-down",
                "Control is about to end",
            ),
            _ => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "Control failed on this request",
            ),
        }
    }
}

impl Problem {
    /// A problem with `cause`, and what is special about it here.
    pub fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self {
            cause,
            detail: detail.into(),
            errors: Vec::new(),
        }
    }

    /// A value that cannot be, at its place in the request.
    pub fn invalid(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::faults(vec![Fault {
            path: path.into(),
            problem: problem.into(),
        }])
    }

    /// All faults of one request; there is at least one.
    pub fn faults(mut faults: Vec<Fault>) -> Self {
        let more = match faults.len() {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        let first = faults.first().map(Fault::to_string).unwrap_or_default();
        faults.truncate(FAULTS_MAX);
        Self {
            errors: faults,
            ..Self::new(Cause::Invalid, format!("{first}{more}"))
        }
    }

    /// The problem of a change that refers to others by name in its body: what is missing is then
    /// a fault of the body and not of the address. `path` tells which field names the subject.
    pub fn of_body(error: StoreError, path: impl FnOnce(Subject) -> Option<&'static str>) -> Self {
        match error {
            StoreError::NotFound { subject, id } => match path(subject) {
                Some(field) => {
                    Self::invalid(field, format!("there is no {} `{id}`", subject.word()))
                }
                None => StoreError::NotFound { subject, id }.into(),
            },
            other => other.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.problem)
        } else {
            write!(f, "{}: {}", self.path, self.problem)
        }
    }
}

impl From<Invalid> for Fault {
    fn from(invalid: Invalid) -> Self {
        Self {
            path: invalid.path,
            problem: invalid.problem,
        }
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        Self::faults(vec![invalid.into()])
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let cause = match &error {
            StoreError::NotFound { .. } => Cause::NotFound,
            StoreError::Exists { .. } => Cause::Exists,
            StoreError::InUse { .. } => Cause::InUse,
            StoreError::KeyFinal(FinalState) => Cause::KeyRevoked,
            StoreError::Transition(TransitionRefused { .. }) => Cause::TransitionRefused,
            StoreError::PlanLacksApi { .. } => {
                return Self::invalid("plan", error.to_string());
            }
            StoreError::Invalid(invalid) => return invalid.clone().into(),
            StoreError::TooMuch => return Self::invalid("query", error.to_string()),
            StoreError::Catalog(_) => Cause::ConfigurationRefused,
            StoreError::IdempotencyMismatch => Cause::IdempotencyKeyReused,
            StoreError::Closed => Cause::ShuttingDown,
            StoreError::Panicked => Cause::Internal,
            StoreError::NumbersSpent(_)
            | StoreError::Corrupt(_)
            | StoreError::TooNew
            | StoreError::Database(_) => Cause::StoreFailed,
        };
        Self::new(cause, error.to_string())
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        let cause = match error {
            PublishError::Refused(_) => Cause::PublishRefused,
            PublishError::GenerationUnknown(_) => Cause::NotFound,
            PublishError::Files(_) => Cause::StoreFailed,
            PublishError::Closed => Cause::ShuttingDown,
            PublishError::Store(error) => return error.into(),
        };
        Self::new(cause, error.to_string())
    }
}

impl From<KeysmithError> for Problem {
    fn from(error: KeysmithError) -> Self {
        match error {
            KeysmithError::Random(_) => Self::new(Cause::Internal, error.to_string()),
            KeysmithError::ImportForm | KeysmithError::ImportDamaged => {
                Self::invalid("key", error.to_string())
            }
        }
    }
}

impl From<Problem> for ProblemBody {
    fn from(problem: Problem) -> Self {
        let (status, code, title) = problem.cause.face();
        Self {
            type_uri: format!("{TYPE_PREFIX}{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: problem.detail,
            errors: problem.errors,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let cause = self.cause;
        let (status, code, _) = cause.face();
        if status.is_server_error() {
            tracing::error!(code, detail = %self.detail, "a request failed");
        }
        let mut body = serde_json::to_vec(&ProblemBody::from(self)).unwrap_or_default();
        body.push(b'\n');
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if cause == Cause::IdempotencyKeyBusy {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_body_names_in_vain_is_a_fault_of_the_body() {
        let missing = StoreError::not_found(Subject::Upstream, "orders-origin");
        let problem = Problem::of_body(missing, |subject| match subject {
            Subject::Upstream => Some("upstream"),
            _ => None,
        });
        assert_eq!(problem.cause, Cause::Invalid);
        assert_eq!(problem.errors[0].path, "upstream");
    }

    #[test]
    fn a_hundred_faults_are_named_and_all_are_counted() {
        let fault = |n: usize| Fault {
            path: format!("[{n}]"),
            problem: "is wrong".to_owned(),
        };
        let problem = Problem::faults((0..150).map(fault).collect());
        assert_eq!(problem.errors.len(), FAULTS_MAX);
        assert_eq!(problem.detail, "[0]: is wrong (and 149 more)");
    }
}
