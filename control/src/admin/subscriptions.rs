//! Subscriptions: an app's grant to use an API under a plan.

use super::Admin;
use super::answer::{Answered, Changed, Shown, WaitQuery, Waiting};
use super::asked::Asked;
use super::problem::Problem;
use super::query::{self, Listed, Path, Query};
use super::time::Moment;
use crate::domain::{
    Name, NewSubscription, Subject, Subscription, SubscriptionNumber, SubscriptionState,
};
use crate::store::{Rows, StoreError, SubscriptionFilter};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "number": 1, "tenant": "acme", "app": "mobile", "api": "orders", "plan": "free",
    "state": "approved", "created_at": "2026-11-21T08:00:00Z"
}))]
pub struct SubscriptionView {
    /// Stable number.
    pub number: u32,
    /// The app's tenant.
    pub tenant: Name,
    /// Who subscribes.
    pub app: Name,
    /// To what.
    pub api: Name,
    /// Under which plan.
    pub plan: Name,
    /// Where it stands.
    pub state: SubscriptionState,
    /// When it was made.
    pub created_at: Moment,
}

impl From<Subscription> for SubscriptionView {
    fn from(subscription: Subscription) -> Self {
        Self {
            number: subscription.number.0,
            tenant: subscription.tenant_name,
            app: subscription.app_name,
            api: subscription.api_name,
            plan: subscription.plan_name,
            state: subscription.state,
            created_at: Moment::at_ms(subscription.created_ms),
        }
    }
}

/// Which subscriptions to list; every filter narrows.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SubscriptionQuery {
    /// Of this tenant.
    tenant: Option<Name>,
    /// Of this app; goes with `tenant`.
    app: Option<Name>,
    /// To this API.
    api: Option<Name>,
    /// In this state.
    #[param(inline)]
    state: Option<SubscriptionState>,
    /// Rows of the page, 1 to 1000; default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl SubscriptionQuery {
    fn filter(self, rows: &Rows<'_>) -> Result<SubscriptionFilter, StoreError> {
        let mut filter = SubscriptionFilter {
            api: self.api,
            state: self.state,
            ..Default::default()
        };
        match (self.tenant, self.app) {
            (Some(tenant), Some(app)) => filter.app = Some(rows.app(&tenant, &app)?.number),
            (Some(tenant), None) => filter.tenant = Some(rows.tenant(&tenant)?.number),
            (None, _) => {}
        }
        Ok(filter)
    }
}

/// What makes a subscription.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "tenant": "acme", "app": "mobile", "api": "orders", "plan": "free", "state": "approved"
}))]
pub(super) struct SubscriptionBody {
    /// The app's tenant.
    tenant: Name,
    /// Who subscribes.
    app: Name,
    /// To what; the plan must include it.
    api: Name,
    /// Under which plan.
    plan: Name,
    /// `requested` or `approved`.
    state: SubscriptionState,
}

/// What changes of a subscription; what is left out stays.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "state": "suspended" }))]
pub(super) struct SubscriptionPatch {
    /// `approved`, `suspended` or `cancelled`; the last is final.
    #[serde(default)]
    state: Option<SubscriptionState>,
    /// Another plan; it must include the API.
    #[serde(default)]
    plan: Option<Name>,
}

/// Lists subscriptions.
#[utoipa::path(get, path = "/v1/subscriptions", tag = "subscriptions", params(SubscriptionQuery),
    responses((status = 200, description = "Subscriptions by number",
        body = Listed<SubscriptionView>)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(query): Query<SubscriptionQuery>,
) -> Result<Shown<Listed<SubscriptionView>>, Problem> {
    query::app_goes_with_tenant(query.tenant.as_ref(), query.app.as_ref())?;
    let page = query::page(query.limit, query.cursor.as_deref())?;
    let read = move |rows: &Rows<'_>| rows.subscriptions(&query.filter(rows)?, page);
    let subscriptions = admin.control.store.read(read).await.map_err(of_body)?;
    Ok(Shown(Listed::of(subscriptions, SubscriptionView::from)))
}

/// Subscribes an app to an API.
#[utoipa::path(post, path = "/v1/subscriptions", tag = "subscriptions", params(WaitQuery),
    request_body = SubscriptionBody,
    responses((status = 201, description = "The subscription", body = Changed<SubscriptionView>)))]
pub(super) async fn create(
    State(admin): State<Admin>,
    Waiting(timeout): Waiting,
    asked: Asked<SubscriptionBody>,
) -> Answered<SubscriptionView> {
    let SubscriptionBody {
        tenant,
        app,
        api,
        plan,
        state,
    } = asked.body;
    if !matches!(
        state,
        SubscriptionState::Requested | SubscriptionState::Approved
    ) {
        return Err(Problem::invalid(
            "state",
            "a subscription begins `requested` or `approved`",
        ));
    }
    let outcome = admin
        .control
        .store
        .write(asked.author, move |tx| {
            let app = tx.app(&tenant, &app)?.number;
            tx.subscription_create(NewSubscription {
                app,
                api,
                plan,
                state,
            })
        })
        .await
        .map_err(of_body)?;
    Ok(admin
        .changed(outcome, timeout, SubscriptionView::from)
        .await
        .created())
}

/// Shows a subscription.
#[utoipa::path(get, path = "/v1/subscriptions/{subscription}", tag = "subscriptions",
    params(("subscription" = u32, Path, description = "Its number")),
    responses((status = 200, description = "The subscription", body = SubscriptionView)))]
pub(super) async fn show(
    State(admin): State<Admin>,
    Path(number): Path<u32>,
) -> Result<Shown<SubscriptionView>, Problem> {
    let number = SubscriptionNumber(number);
    let subscription = admin
        .control
        .store
        .read(move |rows| rows.subscription(number))
        .await?;
    Ok(Shown(subscription.into()))
}

/// Approves, suspends or cancels a subscription, or moves it to another plan.
#[utoipa::path(patch, path = "/v1/subscriptions/{subscription}", tag = "subscriptions",
    params(("subscription" = u32, Path, description = "Its number"), WaitQuery),
    request_body = SubscriptionPatch,
    responses((status = 200, description = "The subscription", body = Changed<SubscriptionView>)))]
pub(super) async fn update(
    State(admin): State<Admin>,
    Path(number): Path<u32>,
    Waiting(timeout): Waiting,
    asked: Asked<SubscriptionPatch>,
) -> Answered<SubscriptionView> {
    let number = SubscriptionNumber(number);
    let patch = asked.body;
    let outcome = admin
        .control
        .store
        .write(asked.author, move |tx| {
            // The plan first: a cancelled subscription moves no more.
            if let Some(plan) = &patch.plan {
                tx.subscription_set_plan(number, plan)?;
            }
            if let Some(state) = patch.state {
                tx.subscription_set_state(number, state)?;
            }
            tx.subscription(number)
        })
        .await
        .map_err(of_body)?;
    Ok(admin
        .changed(outcome, timeout, SubscriptionView::from)
        .await)
}

fn of_body(error: StoreError) -> Problem {
    Problem::of_body(error, |subject| match subject {
        Subject::Tenant => Some("tenant"),
        Subject::App => Some("app"),
        Subject::Api => Some("api"),
        Subject::Plan => Some("plan"),
        _ => None,
    })
}
