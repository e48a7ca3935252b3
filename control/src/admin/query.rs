//! What stands in the address: path parameters, paging and filters. Strict: a parameter that a
//! route does not know is refused, since a misspelled filter would otherwise list everything.

use super::problem::{Cause, Fault, Problem};
use crate::domain::Name;
use crate::store::{PAGE_ROWS_MAX, Page, Paged};
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path as AxumPath, Query as AxumQuery};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Rows of a page unless asked for otherwise.
const PAGE_ROWS: u32 = 100;

/// Path parameters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path<T>(pub T);

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match AxumPath::from_request_parts(parts, state).await {
            Ok(AxumPath(value)) => Ok(Self(value)),
            Err(rejection) => Err(no_such_path(rejection)),
        }
    }
}

/// A name or id of the wrong form names nothing. What was written is not repeated: it may be a
/// key in the place of its id.
fn no_such_path(rejection: PathRejection) -> Problem {
    let reason = match rejection {
        PathRejection::FailedToDeserializePathParams(failed) => match failed.into_kind() {
            ErrorKind::DeserializeError { message, .. } | ErrorKind::Message(message) => message,
            ErrorKind::ParseErrorAtKey { expected_type, .. }
            | ErrorKind::ParseErrorAtIndex { expected_type, .. }
            | ErrorKind::ParseError { expected_type, .. } => {
                format!("expected a number ({expected_type})")
            }
            _ => "it cannot be read".to_owned(),
        },
        _ => "it cannot be read".to_owned(),
    };
    Problem::new(
        Cause::NotFound,
        format!("the address names nothing: {reason}"),
    )
}

/// Query parameters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<T>(pub T);

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match AxumQuery::try_from_uri(&parts.uri) {
            Ok(AxumQuery(value)) => Ok(Self(value)),
            Err(rejection) => {
                let text = rejection.body_text();
                let problem = text
                    .strip_prefix("Failed to deserialize query string: ")
                    .unwrap_or(&text)
                    .to_owned();
                Err(Problem::faults(vec![Fault {
                    path: "query".to_owned(),
                    problem,
                }]))
            }
        }
    }
}

/// Turns `limit` and `cursor` into a page.
pub(super) fn page(limit: Option<u32>, cursor: Option<&str>) -> Result<Page, Problem> {
    let rows = limit.unwrap_or(PAGE_ROWS);
    if !(1..=PAGE_ROWS_MAX).contains(&rows) {
        return Err(Problem::invalid(
            "limit",
            format!("from 1 to {PAGE_ROWS_MAX}"),
        ));
    }
    let after = cursor
        .map(|cursor| {
            cursor
                .parse()
                .map_err(|_| Problem::invalid("cursor", NO_CURSOR))
        })
        .transpose()?;
    Ok(Page { after, rows })
}

const NO_CURSOR: &str = "give back a `next_cursor` as it came";

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Listed<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Give it back as `cursor` for the next page; null: this was the last one.
    pub next_cursor: Option<String>,
}

impl<T> Listed<T> {
    /// The page as the API shows it.
    pub(super) fn of<U>(paged: Paged<U>, view: impl FnMut(U) -> T) -> Self {
        Self {
            items: paged.items.into_iter().map(view).collect(),
            next_cursor: paged.next.map(|next| next.to_string()),
        }
    }
}

/// Which page of a list.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Rows of the page, 1 to 1000; default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl PageQuery {
    pub(super) fn page(&self) -> Result<Page, Problem> {
        page(self.limit, self.cursor.as_deref())
    }
}

/// An app's name says nothing without its tenant's.
pub(super) fn app_goes_with_tenant(
    tenant: Option<&Name>,
    app: Option<&Name>,
) -> Result<(), Problem> {
    match (tenant, app) {
        (None, Some(_)) => Err(Problem::invalid("app", "goes with `tenant`")),
        _ => Ok(()),
    }
}
