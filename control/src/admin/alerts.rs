//! Alerts: what rules went off for.

use super::Admin;
use super::answer::Shown;
use super::problem::Problem;
use super::query::{self, Listed, Query};
use crate::alerts::AlertView;
use crate::domain::Name;
use crate::store::AlertFilter;
use axum::extract::State;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

/// Whether an alert lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum AlertState {
    /// It lasts.
    Firing,
    /// It is over.
    Resolved,
}

/// Which alerts.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AlertQuery {
    /// `firing` or `resolved`; default: both.
    #[param(inline)]
    state: Option<AlertState>,
    /// Of this rule; it may be gone.
    rule: Option<Name>,
    /// Rows of the page, 1 to 1000; default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists alerts, the newest first; those that are over for 90 days.
#[utoipa::path(get, path = "/v1/alerts", tag = "alerts", params(AlertQuery),
    responses((status = 200, description = "Newest first", body = Listed<AlertView>)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(query): Query<AlertQuery>,
) -> Result<Shown<Listed<AlertView>>, Problem> {
    let page = query::page(query.limit, query.cursor.as_deref())?;
    let filter = AlertFilter {
        lasting: query.state.map(|state| state == AlertState::Firing),
        rule: query.rule,
    };
    let store = &admin.control.store;
    let alerts = store.read(move |rows| rows.alerts(&filter, page)).await?;
    Ok(Shown(Listed::of(alerts, AlertView::from)))
}
