//! A difference made true: one step a change, each one call of the store.

use crate::alerts;
use crate::domain::{
    AlertRuleSpec, ApiSpec, AppSpec, Name, NewSubscription, PlanSpec, SubscriptionNumber,
    SubscriptionState, TenantSpec, UpstreamSpec,
};
use crate::store::{StoreError, Tx};

/// One change as the store is asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Makes an upstream.
    UpstreamCreate(UpstreamSpec),
    /// Changes an upstream.
    UpstreamReplace(UpstreamSpec),
    /// Removes an upstream.
    UpstreamDelete(Name),
    /// Makes an API.
    ApiCreate(ApiSpec),
    /// Changes an API.
    ApiReplace(ApiSpec),
    /// Removes an API.
    ApiDelete(Name),
    /// Makes a plan.
    PlanCreate(PlanSpec),
    /// Changes a plan.
    PlanReplace(PlanSpec),
    /// Removes a plan.
    PlanDelete(Name),
    /// Makes an alert rule.
    AlertRuleCreate(AlertRuleSpec),
    /// Changes an alert rule.
    AlertRuleReplace(AlertRuleSpec),
    /// Removes an alert rule.
    AlertRuleDelete(Name),
    /// Makes a tenant.
    TenantCreate(TenantSpec),
    /// Switches a tenant.
    TenantSwitch(Name, bool),
    /// Removes a tenant.
    TenantDelete(Name),
    /// Makes an app in a tenant.
    AppCreate(Name, AppSpec),
    /// Switches an app of a tenant.
    AppSwitch(Name, Name, bool),
    /// Lifts an app of a tenant above the limits of plans, or brings it back.
    AppLimits(Name, Name, bool),
    /// Removes an app of a tenant.
    AppDelete(Name, Name),
    /// Subscribes an app.
    Subscribe(Subscribe),
    /// Moves a subscription to another plan or state.
    SubscriptionChange {
        /// Which one.
        number: SubscriptionNumber,
        /// None: it stays.
        plan: Option<Name>,
        /// None: it stays.
        state: Option<SubscriptionState>,
    },
}

/// A subscription to come; its app may come in the same transaction, so it has no number yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// The app's tenant.
    pub tenant: Name,
    /// Who subscribes.
    pub app: Name,
    /// To what.
    pub api: Name,
    /// Under which plan.
    pub plan: Name,
    /// Where it will stand.
    pub state: SubscriptionState,
}

impl Step {
    /// Takes the step.
    pub(super) fn run(self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        match self {
            Self::UpstreamCreate(spec) => tx.upstream_create(spec).map(drop),
            Self::UpstreamReplace(spec) => tx.upstream_replace(spec).map(drop),
            Self::UpstreamDelete(name) => tx.upstream_delete(&name),
            Self::ApiCreate(spec) => tx.api_create(spec).map(drop),
            Self::ApiReplace(spec) => tx.api_replace(spec).map(drop),
            Self::ApiDelete(name) => tx.api_delete(&name),
            Self::PlanCreate(spec) => tx.plan_create(spec).map(drop),
            Self::PlanReplace(spec) => tx.plan_replace(spec).map(drop),
            Self::PlanDelete(name) => tx.plan_delete(&name),
            Self::AlertRuleCreate(spec) => tx.alert_rule_create(spec).map(drop),
            Self::AlertRuleReplace(spec) => tx.alert_rule_replace(spec).map(drop),
            Self::AlertRuleDelete(name) => alerts::delete_rule(tx, &name),
            Self::TenantCreate(spec) => tx.tenant_create(spec).map(drop),
            Self::TenantSwitch(name, enabled) => tx.tenant_set_enabled(&name, enabled).map(drop),
            Self::TenantDelete(name) => tx.tenant_delete(&name),
            Self::AppCreate(tenant, spec) => tx.app_create(&tenant, spec).map(drop),
            Self::AppSwitch(tenant, name, enabled) => {
                let app = tx.app(&tenant, &name)?;
                tx.app_set_enabled(app.number, enabled).map(drop)
            }
            Self::AppLimits(tenant, name, unlimited) => {
                let app = tx.app(&tenant, &name)?;
                tx.app_set_unlimited(app.number, unlimited).map(drop)
            }
            Self::AppDelete(tenant, name) => {
                let app = tx.app(&tenant, &name)?;
                tx.app_delete(app.number)
            }
            Self::Subscribe(subscribe) => subscribe.run(tx),
            Self::SubscriptionChange {
                number,
                plan,
                state,
            } => {
                if let Some(plan) = plan {
                    tx.subscription_set_plan(number, &plan)?;
                }
                if let Some(state) = state {
                    tx.subscription_set_state(number, state)?;
                }
                Ok(())
            }
        }
    }
}

impl Subscribe {
    fn run(self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let app = tx.app(&self.tenant, &self.app)?.number;
        // What shall stand suspended has to be approved first; nobody sees it in between.
        let state = match self.state {
            SubscriptionState::Requested => SubscriptionState::Requested,
            _ => SubscriptionState::Approved,
        };
        let new = NewSubscription {
            app,
            api: self.api,
            plan: self.plan,
            state,
        };
        let created = tx.subscription_create(new)?;
        if self.state != state {
            tx.subscription_set_state(created.number, self.state)?;
        }
        Ok(())
    }
}
