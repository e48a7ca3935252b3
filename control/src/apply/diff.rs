//! The difference between what there is and what a document says: pure, so that it can be shown
//! without a store.

use super::fields::{FieldChange, changed_fields};
use super::steps::{Step, Subscribe};
use super::{
    Action, AppPart, ApplyOptions, Change, Current, CurrentApp, CurrentSubscription, CurrentTenant,
    Gateway, LeftAlone, SubscriptionPart, TenantPart,
};
use crate::domain::{AppSpec, Invalid, Name, Subject, SubscriptionState, TenantSpec};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What differs, and how to make it true, in an order that the store accepts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diff {
    /// What differs, each with its step.
    pub changes: Vec<(Change, Step)>,
    /// What is not in the document and stays.
    pub left_alone: Vec<LeftAlone>,
}

/// Compares; answers every reference of the document that would point nowhere.
///
/// What is referred to comes before what refers to it; what goes, goes in the reverse order.
pub fn plan(
    current: &Current,
    desired: &Gateway,
    options: ApplyOptions,
) -> Result<Diff, Vec<Invalid>> {
    let faults = super::references::faults(current, desired, options);
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut planner = Planner {
        options,
        made: Vec::new(),
        removed: Vec::new(),
        left: Vec::new(),
    };
    planner.specs(
        Subject::Upstream,
        (&current.upstreams, desired.upstreams.as_deref(), |spec| {
            &spec.name
        }),
        (
            Step::UpstreamCreate,
            Step::UpstreamReplace,
            Step::UpstreamDelete,
        ),
    );
    planner.specs(
        Subject::Api,
        (&current.apis, desired.apis.as_deref(), |spec| &spec.name),
        (Step::ApiCreate, Step::ApiReplace, Step::ApiDelete),
    );
    planner.specs(
        Subject::Plan,
        (&current.plans, desired.plans.as_deref(), |spec| &spec.name),
        (Step::PlanCreate, Step::PlanReplace, Step::PlanDelete),
    );
    if let Some(tenants) = &desired.tenants {
        planner.tenants(&current.tenants, tenants);
    }
    planner.specs(
        Subject::AlertRule,
        (
            &current.alert_rules,
            desired.alert_rules.as_deref(),
            |spec| &spec.name,
        ),
        (
            Step::AlertRuleCreate,
            Step::AlertRuleReplace,
            Step::AlertRuleDelete,
        ),
    );
    Ok(planner.finish())
}

struct Planner {
    options: ApplyOptions,
    made: Vec<(Change, Step)>,
    removed: Vec<(Change, Step)>,
    left: Vec<LeftAlone>,
}

/// The two sides of a section whose items are replaced whole, and an item's name.
type Sides<'a, T> = (&'a BTreeMap<Name, T>, Option<&'a [T]>, fn(&T) -> &Name);
/// How an item is made, changed and removed.
type Ways<T> = (fn(T) -> Step, fn(T) -> Step, fn(Name) -> Step);

impl Planner {
    fn specs<T>(&mut self, subject: Subject, sides: Sides<'_, T>, ways: Ways<T>)
    where
        T: Clone + PartialEq + Serialize,
    {
        let (current, desired, name) = sides;
        let Some(desired) = desired else { return };
        for spec in desired {
            match current.get(name(spec)) {
                None => {
                    let fields = changed_fields(None, spec);
                    self.make(
                        Action::Create,
                        subject,
                        name(spec),
                        fields,
                        ways.0(spec.clone()),
                    );
                }
                Some(now) if now != spec => {
                    let fields = changed_fields(Some(now), spec);
                    self.make(
                        Action::Change,
                        subject,
                        name(spec),
                        fields,
                        ways.1(spec.clone()),
                    );
                }
                Some(_) => {}
            }
        }
        let kept: BTreeSet<&Name> = desired.iter().map(name).collect();
        for gone in current.keys().filter(|name| !kept.contains(name)) {
            self.remove(subject, gone, ways.2(gone.clone()));
        }
    }

    fn tenants(&mut self, current: &BTreeMap<Name, CurrentTenant>, desired: &[TenantPart]) {
        for part in desired {
            let now = current.get(&part.name);
            match now {
                None => {
                    let enabled = part.enabled.unwrap_or(true);
                    let spec = TenantSpec {
                        name: part.name.clone(),
                        enabled,
                    };
                    let step = Step::TenantCreate(spec);
                    let fields = created(json!({ "enabled": enabled }));
                    self.make(Action::Create, Subject::Tenant, &part.name, fields, step);
                }
                Some(now) => {
                    if let Some(enabled) = part.enabled.filter(|&enabled| enabled != now.enabled) {
                        let step = Step::TenantSwitch(part.name.clone(), enabled);
                        let fields = vec![field("enabled", now.enabled, enabled)];
                        self.make(Action::Change, Subject::Tenant, &part.name, fields, step);
                    }
                }
            }
            if let Some(apps) = &part.apps {
                self.apps(&part.name, now.map(|now| &now.apps), apps);
            }
        }
        let kept: BTreeSet<&Name> = desired.iter().map(|part| &part.name).collect();
        for (name, gone) in current.iter().filter(|(name, _)| !kept.contains(name)) {
            self.remove_tenant(name, gone);
        }
    }

    fn remove_tenant(&mut self, name: &Name, gone: &CurrentTenant) {
        // Steps of `removed` are taken last to first: the tenant goes after its apps.
        if let Some((app, _)) = gone.apps.iter().find(|(_, app)| app.has_keys) {
            let reason = format!("its app `{app}` has keys; revoke them first");
            self.leave(Subject::Tenant, name, reason);
            return;
        }
        self.remove(Subject::Tenant, name, Step::TenantDelete(name.clone()));
        if self.options.prune {
            for (app, gone) in &gone.apps {
                self.remove_app(name, app, gone);
            }
        }
    }

    fn apps(
        &mut self,
        tenant: &Name,
        current: Option<&BTreeMap<Name, CurrentApp>>,
        desired: &[AppPart],
    ) {
        for part in desired {
            let id = format!("{tenant}/{}", part.name);
            let now = current.and_then(|apps| apps.get(&part.name));
            match now {
                None => {
                    let enabled = part.enabled.unwrap_or(true);
                    let unlimited = part.unlimited.unwrap_or(false);
                    let spec = AppSpec {
                        name: part.name.clone(),
                        enabled,
                        unlimited,
                    };
                    let step = Step::AppCreate(tenant.clone(), spec);
                    let fields = match unlimited {
                        true => json!({ "enabled": enabled, "unlimited": true }),
                        false => json!({ "enabled": enabled }),
                    };
                    let fields = created(fields);
                    self.make(Action::Create, Subject::App, id, fields, step);
                }
                Some(now) => {
                    if let Some(enabled) = part.enabled.filter(|&enabled| enabled != now.enabled) {
                        let step = Step::AppSwitch(tenant.clone(), part.name.clone(), enabled);
                        let fields = vec![field("enabled", now.enabled, enabled)];
                        self.make(Action::Change, Subject::App, id.clone(), fields, step);
                    }
                    let wanted = part.unlimited.filter(|wanted| *wanted != now.unlimited);
                    if let Some(unlimited) = wanted {
                        let step = Step::AppLimits(tenant.clone(), part.name.clone(), unlimited);
                        let fields = vec![field("unlimited", now.unlimited, unlimited)];
                        self.make(Action::Change, Subject::App, id, fields, step);
                    }
                }
            }
            if let Some(subscriptions) = &part.subscriptions {
                let now = now.map(|now| &now.subscriptions);
                self.subscriptions((tenant, &part.name), now, subscriptions);
            }
        }
        let kept: BTreeSet<&Name> = desired.iter().map(|part| &part.name).collect();
        let gone = current
            .into_iter()
            .flatten()
            .filter(|(name, _)| !kept.contains(name));
        for (name, gone) in gone {
            self.remove_app(tenant, name, gone);
        }
    }

    fn remove_app(&mut self, tenant: &Name, name: &Name, gone: &CurrentApp) {
        let id = format!("{tenant}/{name}");
        if gone.has_keys {
            self.leave(
                Subject::App,
                id,
                "it has keys; revoke them first".to_owned(),
            );
        } else {
            self.remove(
                Subject::App,
                id,
                Step::AppDelete(tenant.clone(), name.clone()),
            );
        }
    }

    fn subscriptions(
        &mut self,
        (tenant, app): (&Name, &Name),
        current: Option<&BTreeMap<Name, CurrentSubscription>>,
        desired: &[SubscriptionPart],
    ) {
        let id = |api: &Name| format!("{tenant}/{app} -> {api}");
        for part in desired {
            match current.and_then(|current| current.get(&part.api)) {
                None => {
                    let state = part.state.unwrap_or(SubscriptionState::Approved);
                    let subscribe = Subscribe {
                        tenant: tenant.clone(),
                        app: app.clone(),
                        api: part.api.clone(),
                        plan: part.plan.clone(),
                        state,
                    };
                    let fields = created(json!({ "plan": part.plan, "state": state }));
                    let step = Step::Subscribe(subscribe);
                    self.make(
                        Action::Create,
                        Subject::Subscription,
                        id(&part.api),
                        fields,
                        step,
                    );
                }
                Some(now) => self.subscription(id(&part.api), now, part),
            }
        }
        let kept: BTreeSet<&Name> = desired.iter().map(|part| &part.api).collect();
        let gone = current
            .into_iter()
            .flatten()
            .filter(|(api, _)| !kept.contains(api));
        for (api, gone) in gone {
            let (number, state) = (gone.number, Some(SubscriptionState::Cancelled));
            let step = Step::SubscriptionChange {
                number,
                plan: None,
                state,
            };
            self.remove(Subject::Subscription, id(api), step);
        }
    }

    fn subscription(&mut self, id: String, now: &CurrentSubscription, part: &SubscriptionPart) {
        let plan = Some(&part.plan).filter(|&plan| *plan != now.plan).cloned();
        let state = part.state.filter(|&state| state != now.state);
        let mut fields = Vec::new();
        if let Some(plan) = &plan {
            fields.push(field("plan", now.plan.as_str(), plan.as_str()));
        }
        if let Some(state) = state {
            fields.push(field("state", now.state.word(), state.word()));
        }
        if !fields.is_empty() {
            let step = Step::SubscriptionChange {
                number: now.number,
                plan,
                state,
            };
            self.make(Action::Change, Subject::Subscription, id, fields, step);
        }
    }

    fn make(
        &mut self,
        action: Action,
        subject: Subject,
        id: impl ToString,
        fields: Vec<FieldChange>,
        step: Step,
    ) {
        self.made.push((
            Change {
                action,
                subject,
                id: id.to_string(),
                fields,
            },
            step,
        ));
    }

    fn remove(&mut self, subject: Subject, id: impl ToString, step: Step) {
        if self.options.prune {
            let (action, fields) = (Action::Remove, Vec::new());
            self.removed.push((
                Change {
                    action,
                    subject,
                    id: id.to_string(),
                    fields,
                },
                step,
            ));
        } else {
            self.leave(
                subject,
                id,
                "not in the document; prune removes it".to_owned(),
            );
        }
    }

    fn leave(&mut self, subject: Subject, id: impl ToString, reason: String) {
        self.left.push(LeftAlone {
            subject,
            id: id.to_string(),
            reason,
        });
    }

    fn finish(self) -> Diff {
        let mut changes = self.made;
        changes.extend(self.removed.into_iter().rev());
        Diff {
            changes,
            left_alone: self.left,
        }
    }
}

fn field(path: &str, old: impl Into<Value>, new: impl Into<Value>) -> FieldChange {
    FieldChange {
        path: path.to_owned(),
        old: old.into(),
        new: new.into(),
    }
}

/// The fields of a new thing.
fn created(fields: Value) -> Vec<FieldChange> {
    changed_fields(None, &fields)
}
