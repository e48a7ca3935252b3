//! Reading bodies: strict JSON within a cap, every fault with its path.

use super::problem::{Cause, Fault, Problem};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::http::{HeaderMap, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use utoipa::ToSchema;

/// Largest body of most routes, bytes.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;
/// Largest body of an import or an `apply`, bytes.
pub(super) const BULK_BYTES_MAX: usize = 32 << 20;

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// One JSON value.
    Json,
    /// One JSON value a line.
    JsonLines,
}

/// A body that says nothing: empty or `{}`.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

impl Media {
    /// The media type of a request; none: it has none.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let Some(value) = headers.get(header::CONTENT_TYPE) else {
            return Ok(None);
        };
        let essence = value
            .to_str()
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default();
        match essence.trim().to_ascii_lowercase().as_str() {
            // RFC 7396: what a PATCH of ours is, by its own name.
            "application/json" | "application/merge-patch+json" => Ok(Some(Self::Json)),
            "application/x-ndjson" | "application/jsonl" => Ok(Some(Self::JsonLines)),
            _ => Err(Self::unsupported("application/json")),
        }
    }

    /// The refusal of a media type where `expected` is read.
    pub(super) fn unsupported(expected: &str) -> Problem {
        let detail = format!("send the body as `Content-Type: {expected}`");
        Problem::new(Cause::MediaTypeUnsupported, detail)
    }
}

/// The problem of a body that did not come whole.
pub(super) fn not_whole(rejection: &BytesRejection) -> Problem {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            Problem::new(
                Cause::BodyTooLarge,
                format!(
                    "a body has at most {BODY_BYTES_MAX} bytes, {BULK_BYTES_MAX} for an import \
                     and for apply: send it in parts"
                ),
            )
        }
        _ => Problem::new(Cause::Malformed, "the body ended early"),
    }
}

/// Reads one JSON value; an empty body counts as `{}`.
pub(super) fn parse<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Problem> {
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        refused(&path, error.inner())
    })?;
    reader.end().map_err(|error| refused("", &error))?;
    Ok(value)
}

/// The problem of a body that is no JSON, or JSON that means nothing here.
pub(super) fn refused(path: &str, error: &serde_json::Error) -> Problem {
    match error.classify() {
        Category::Data => Problem::faults(vec![fault(path, error)]),
        Category::Io | Category::Syntax | Category::Eof => {
            Problem::new(Cause::Malformed, format!("the body is not JSON: {error}"))
        }
    }
}

/// A fault of a value, without serde_json's own words about where it stands.
pub(super) fn fault(path: &str, error: &serde_json::Error) -> Fault {
    let text = error.to_string();
    let problem = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(problem, _)| problem);
    let path = if path == "." { "" } else { path };
    Fault {
        path: path.to_owned(),
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TenantSpec;

    fn problem_of(body: &'static str) -> Problem {
        parse::<TenantSpec>(&Bytes::from_static(body.as_bytes())).expect_err(body)
    }

    #[test]
    fn a_body_that_is_no_json_is_malformed() {
        for body in [
            "{",
            "{\"name\":",
            "nonsense",
            "{\"name\":\"a\"} {}",
            "{\"name\":\"a\",}",
        ] {
            assert_eq!(problem_of(body).cause, Cause::Malformed, "{body}");
        }
    }

    #[test]
    fn a_fault_names_its_path_and_its_mend() {
        let cases = [
            (r#"{"name":"Acme"}"#, "name", "a name has 1 to 63 of a-z"),
            (
                r#"{"name":"a","enabeld":true}"#,
                "enabeld",
                "unknown field `enabeld`",
            ),
            (r#"{"name":"a","enabled":"yes"}"#, "enabled", "invalid type"),
            ("{}", "", "missing field `name`"),
            ("[]", "", "invalid length 0"),
        ];
        for (body, path, problem) in cases {
            let found = problem_of(body);
            assert_eq!(found.cause, Cause::Invalid, "{body}");
            assert_eq!(found.errors[0].path, path, "{body}");
            assert!(
                found.errors[0].problem.starts_with(problem),
                "{body}: {found:?}"
            );
            assert!(
                !found.errors[0].problem.contains(" at line "),
                "{body}: {found:?}"
            );
        }
    }
}
