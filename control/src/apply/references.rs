//! Whether every name that a document refers to will be there, so that a slip is told with its
//! place in the document and not by the store's first refusal.

use super::{ApplyOptions, Current, Gateway, SubscriptionPart};
use crate::domain::{Invalid, Name, PlanSpec};
use std::collections::{BTreeMap, BTreeSet};

/// What will be there once the document is applied.
struct Future<'a> {
    upstreams: BTreeSet<&'a Name>,
    apis: BTreeSet<&'a Name>,
    plans: BTreeMap<&'a Name, &'a PlanSpec>,
}

pub(super) fn faults(current: &Current, desired: &Gateway, options: ApplyOptions) -> Vec<Invalid> {
    let future = Future::of(current, desired, options);
    let mut faults = Vec::new();
    for (index, api) in desired.apis.iter().flatten().enumerate() {
        for (field, name) in api.upstreams() {
            if !future.upstreams.contains(name) {
                faults.push(missing(format!("apis[{index}].{field}"), "upstream", name));
            }
        }
    }
    for (index, plan) in desired.plans.iter().flatten().enumerate() {
        for api in plan.apis.iter().filter(|api| !future.apis.contains(api)) {
            faults.push(missing(format!("plans[{index}].apis"), "API", api));
        }
    }
    for (index, rule) in desired.alert_rules.iter().flatten().enumerate() {
        let gone = |name: &&Name| !current.webhooks.contains(*name);
        for name in rule.webhooks.iter().filter(gone) {
            let path = format!("alert_rules[{index}].webhooks");
            let problem = format!(
                "there is no webhook `{name}`; make it with `keyway-control webhooks create`"
            );
            faults.push(Invalid::at(path, problem));
        }
    }
    for (t, tenant) in desired.tenants.iter().flatten().enumerate() {
        for (a, app) in tenant.apps.iter().flatten().enumerate() {
            for (s, subscription) in app.subscriptions.iter().flatten().enumerate() {
                let path = format!("tenants[{t}].apps[{a}].subscriptions[{s}]");
                faults.extend(future.fault_of(&path, subscription));
            }
        }
    }
    faults
}

impl<'a> Future<'a> {
    fn of(current: &'a Current, desired: &'a Gateway, options: ApplyOptions) -> Self {
        // A section that prunes says all there will be; any other only adds.
        let stays = |said: bool| !(options.prune && said);
        let mut future = Self {
            upstreams: BTreeSet::new(),
            apis: BTreeSet::new(),
            plans: BTreeMap::new(),
        };
        if stays(desired.upstreams.is_some()) {
            future.upstreams.extend(current.upstreams.keys());
        }
        if stays(desired.apis.is_some()) {
            future.apis.extend(current.apis.keys());
        }
        if stays(desired.plans.is_some()) {
            future.plans.extend(&current.plans);
        }
        future
            .upstreams
            .extend(desired.upstreams.iter().flatten().map(|spec| &spec.name));
        future
            .apis
            .extend(desired.apis.iter().flatten().map(|spec| &spec.name));
        future.plans.extend(
            desired
                .plans
                .iter()
                .flatten()
                .map(|spec| (&spec.name, spec)),
        );
        future
    }

    fn fault_of(&self, path: &str, subscription: &SubscriptionPart) -> Option<Invalid> {
        let (api, plan) = (&subscription.api, &subscription.plan);
        if !self.apis.contains(api) {
            return Some(missing(format!("{path}.api"), "API", api));
        }
        match self.plans.get(plan) {
            None => Some(missing(format!("{path}.plan"), "plan", plan)),
            Some(spec) if !spec.apis.contains(api) => Some(Invalid::at(
                format!("{path}.plan"),
                format!("the plan `{plan}` does not include the API `{api}`"),
            )),
            Some(_) => None,
        }
    }
}

fn missing(path: String, what: &str, name: &Name) -> Invalid {
    Invalid::at(
        path,
        format!("there is no {what} `{name}`, here or in the store"),
    )
}
