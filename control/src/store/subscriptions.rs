//! Subscriptions.

use super::sql::{self, Conditions, Order};
use super::{Page, Paged, Rows, StoreError, Tx};
use crate::domain::{
    ApiNumber, AppNumber, Name, NewSubscription, PlanNumber, Subject, Subscription,
    SubscriptionNumber, SubscriptionState, TenantNumber, TransitionRefused,
};
use rusqlite::{Row, params};

const SELECT: &str = "SELECT subscriptions.number, app, tenants.name AS tenant_name,
    apps.name AS app_name, api, apis.name AS api_name, plan, plans.name AS plan_name, state,
    subscriptions.created_ms
    FROM subscriptions JOIN apps ON apps.number = app JOIN tenants ON tenants.number = tenant
    JOIN apis ON apis.number = api JOIN plans ON plans.number = plan";

/// Which subscriptions to list; every field narrows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionFilter {
    /// Of this tenant.
    pub tenant: Option<TenantNumber>,
    /// Of this app.
    pub app: Option<AppNumber>,
    /// To this API.
    pub api: Option<Name>,
    /// In this state.
    pub state: Option<SubscriptionState>,
}

fn subscription(row: &Row<'_>) -> Result<Subscription, StoreError> {
    Ok(Subscription {
        number: SubscriptionNumber(row.get("number")?),
        app: AppNumber(row.get("app")?),
        tenant_name: sql::word(row, "tenant_name")?,
        app_name: sql::word(row, "app_name")?,
        api: ApiNumber(row.get("api")?),
        api_name: sql::word(row, "api_name")?,
        plan: PlanNumber(row.get("plan")?),
        plan_name: sql::word(row, "plan_name")?,
        state: sql::word(row, "state")?,
        created_ms: row.get("created_ms")?,
    })
}

impl Rows<'_> {
    /// Subscriptions by number.
    pub fn subscriptions(
        &self,
        filter: &SubscriptionFilter,
        page: Page,
    ) -> Result<Paged<Subscription>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.add_if("tenants.number = ?", filter.tenant.map(|t| i64::from(t.0)));
        conditions.add_if("app = ?", filter.app.map(|app| i64::from(app.0)));
        conditions.add_if(
            "apis.name = ?",
            filter.api.as_ref().map(|api| api.to_string()),
        );
        conditions.add_if(
            "state = ?",
            filter.state.map(|state| state.word().to_owned()),
        );
        let (number, order) = ("subscriptions.number", Order::OldestFirst);
        sql::paged(
            self.connection(),
            SELECT,
            number,
            order,
            conditions,
            page,
            |row| {
                let subscription = subscription(row)?;
                Ok((subscription.number.0.into(), subscription))
            },
        )
    }

    /// The subscription of that number.
    pub fn subscription(&self, number: SubscriptionNumber) -> Result<Subscription, StoreError> {
        let select = format!("{SELECT} WHERE subscriptions.number = ?1");
        sql::one(self.connection(), &select, params![number.0], subscription)?
            .ok_or_else(|| StoreError::not_found(Subject::Subscription, number))
    }
}

impl Tx<'_> {
    /// Subscribes an app to an API. One that is not cancelled may be there already: conflict.
    pub fn subscription_create(
        &mut self,
        new: NewSubscription,
    ) -> Result<Subscription, StoreError> {
        let app = self.app_numbered(new.app)?;
        let (api, plan) = (self.api(&new.api)?, self.plan(&new.plan)?);
        if !matches!(
            new.state,
            SubscriptionState::Requested | SubscriptionState::Approved
        ) {
            let (from, to) = (SubscriptionState::Requested, new.state);
            return Err(TransitionRefused { from, to }.into());
        }
        self.plan_must_include(plan.number, &new.plan, api.number, &new.api)?;
        let taken = "SELECT number FROM subscriptions
            WHERE app = ?1 AND api = ?2 AND state <> 'cancelled'";
        let values = params![app.number.0, api.number.0];
        let taken: Option<u32> = sql::one(self.connection(), taken, values, |row| Ok(row.get(0)?))?;
        if let Some(number) = taken {
            let (subject, id) = (Subject::Subscription, number.to_string());
            return Err(StoreError::Exists { subject, id });
        }
        let insert = "INSERT INTO subscriptions (app, api, plan, state, created_ms)
            VALUES (?1, ?2, ?3, ?4, ?5)";
        let values = params![
            app.number.0,
            api.number.0,
            plan.number.0,
            new.state.word(),
            self.now().0
        ];
        sql::run(self.connection(), insert, values)?;
        let number = sql::new_number(self.connection(), Subject::Subscription)?;
        let created = self.subscription(SubscriptionNumber(number))?;
        self.app_touch(app.number)?;
        self.audit_created(Subject::Subscription, &number.to_string(), &created)?;
        Ok(created)
    }

    /// Approves, suspends or cancels a subscription.
    pub fn subscription_set_state(
        &mut self,
        number: SubscriptionNumber,
        state: SubscriptionState,
    ) -> Result<Subscription, StoreError> {
        let before = self.subscription(number)?;
        let state = before.state.become_(state)?;
        if before.state == state {
            return Ok(before);
        }
        let update = "UPDATE subscriptions SET state = ?2 WHERE number = ?1";
        sql::run(self.connection(), update, params![number.0, state.word()])?;
        let after = Subscription {
            state,
            ..before.clone()
        };
        self.app_touch(before.app)?;
        let (action, id) = (state.word(), number.to_string());
        self.audit(
            action,
            Subject::Subscription,
            &id,
            Some(&before),
            Some(&after),
        )?;
        Ok(after)
    }

    /// Moves a subscription that is not cancelled to another plan.
    pub fn subscription_set_plan(
        &mut self,
        number: SubscriptionNumber,
        plan: &Name,
    ) -> Result<Subscription, StoreError> {
        let before = self.subscription(number)?;
        if before.state == SubscriptionState::Cancelled {
            let (from, to) = (before.state, SubscriptionState::Approved);
            return Err(TransitionRefused { from, to }.into());
        }
        if before.plan_name == *plan {
            return Ok(before);
        }
        let to = self.plan(plan)?;
        self.plan_must_include(to.number, plan, before.api, &before.api_name)?;
        let update = "UPDATE subscriptions SET plan = ?2 WHERE number = ?1";
        sql::run(self.connection(), update, params![number.0, to.number.0])?;
        let after = self.subscription(number)?;
        self.app_touch(before.app)?;
        let id = number.to_string();
        self.audit(
            "set_plan",
            Subject::Subscription,
            &id,
            Some(&before),
            Some(&after),
        )?;
        Ok(after)
    }

    fn plan_must_include(
        &self,
        plan: PlanNumber,
        plan_name: &Name,
        api: ApiNumber,
        api_name: &Name,
    ) -> Result<(), StoreError> {
        if self.plan_includes(plan.0, api.0)? {
            return Ok(());
        }
        Err(StoreError::PlanLacksApi {
            plan: plan_name.to_string(),
            api: api_name.to_string(),
        })
    }
}
