//! The configuration: plans, APIs and upstreams, as the nodes see them.
//!
//! Each change of it is kept as one document under its generation number, so that a rollback can
//! step back to any of them. Tenants, apps, subscriptions and keys are no part of it: stepping
//! those back would bring the revoked and the cancelled to life again.
//!
//! While a configuration is held, its document counts instead of the tables; the next change of a
//! plan, an API or an upstream ends the hold.

use super::limits::Owner;
use super::{Rows, StoreError, Tx, sql};
use crate::domain::{Api, Limit, Name, Plan, Subject, Upstream};
use keyway::snapshot::catalog::{
    ApiEntry, Catalog, CatalogFile, CredentialEntry, LimitEntry, PlanEntry, RouteEntry, SplitEntry,
    UpstreamEntry, usual_upgrades,
};
use rusqlite::params;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;

/// Documents that are kept beside the one in force.
const KEPT: u64 = 100;

/// Plans, APIs and upstreams of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Plans with their limits.
    pub plans: Vec<PlanEntry>,
    /// Which plan includes which API, by number.
    pub plan_apis: BTreeSet<(u32, u32)>,
    /// APIs with their routes.
    pub apis: Vec<ApiEntry>,
    /// Upstreams with their targets.
    pub upstreams: Vec<UpstreamEntry>,
}

impl Rows<'_> {
    /// The generation of the configuration in force, and whether it is held there; 0 if there is
    /// none yet.
    pub fn configuration_in_force(&self) -> Result<(u64, bool), StoreError> {
        let select = "SELECT held_configuration,
            coalesce((SELECT max(generation) FROM configurations), 0) FROM clock";
        let found: Option<(Option<u64>, u64)> = sql::one(self.connection(), select, &[], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        let (held, newest) = found.unwrap_or_default();
        Ok((held.unwrap_or(newest), held.is_some()))
    }

    /// The configuration of exactly that generation, if it is kept.
    pub fn configuration(&self, generation: u64) -> Result<Option<Configuration>, StoreError> {
        if generation == 0 {
            return Ok(Some(Configuration::default()));
        }
        let select = "SELECT document FROM configurations WHERE generation = ?1";
        sql::one(self.connection(), select, params![generation], |row| {
            sql::json(row, "document")
        })
    }

    fn configuration_that_counts(&self) -> Result<Configuration, StoreError> {
        let (generation, _) = self.configuration_in_force()?;
        self.configuration(generation)?.ok_or_else(|| {
            StoreError::Corrupt(format!(
                "configuration {generation} is in force but not kept"
            ))
        })
    }

    /// What the tables say.
    fn configuration_of_tables(&self) -> Result<Configuration, StoreError> {
        let upstreams = self.upstreams_all()?;
        let apis = self.apis_all()?;
        let of_api = |api: &Api| {
            let number = |name: &Name| {
                let upstream = upstreams.iter().find(|u| u.spec.name == *name);
                upstream.map(|u| u.number.0).ok_or_else(|| {
                    let api = &api.spec.name;
                    StoreError::Corrupt(format!("API {api} has no upstream {name}"))
                })
            };
            let limits = self.limits_of(Owner::Api(api.number.0))?;
            api_entry(api, &limits, number)
        };
        Ok(Configuration {
            plans: self.plans_all()?.iter().map(plan_entry).collect(),
            plan_apis: self.plan_apis_all()?.into_iter().collect(),
            apis: apis.iter().map(of_api).collect::<Result<_, StoreError>>()?,
            upstreams: upstreams.iter().map(upstream_entry).collect(),
        })
    }

    /// The catalog as a base would carry it now.
    pub(super) fn catalog_now(&self) -> Result<CatalogFile, StoreError> {
        let configuration = self.configuration_that_counts()?;
        Ok(CatalogFile {
            key_formats: self.key_formats()?,
            tenants: self.tenant_entries(u64::MAX)?,
            plans: configuration.plans,
            apis: configuration.apis,
            upstreams: configuration.upstreams,
        })
    }
}

impl Tx<'_> {
    /// To be called before the first change of a plan, an API or an upstream.
    pub(super) fn configuration_changes(&mut self) -> Result<(), StoreError> {
        if self.configuration_before.is_none() {
            self.configuration_before = Some(self.configuration_that_counts()?);
        }
        self.stamp()?;
        Ok(())
    }

    /// Keeps the changed configuration, ends a hold, tells the apps whose grants it changes, and
    /// checks that the data plane would take the whole.
    pub(super) fn settle_configuration(&mut self) -> Result<(), StoreError> {
        if let Some(before) = self.configuration_before.take() {
            let after = self.configuration_of_tables()?;
            let generation = self.stamp()?;
            let connection = self.connection();
            let insert = "INSERT INTO configurations (generation, document) VALUES (?1, ?2)";
            sql::run(
                connection,
                insert,
                params![generation, sql::to_json(&after)?],
            )?;
            let forget = "DELETE FROM configurations WHERE generation NOT IN
                (SELECT generation FROM configurations ORDER BY generation DESC LIMIT ?1)";
            sql::run(connection, forget, params![KEPT])?;
            self.set_hold(None)?;
            self.touch_apps_between(&before, &after)?;
            self.catalog_changed = true;
        }
        if self.catalog_changed {
            check(self.catalog_now()?)?;
        }
        Ok(())
    }

    /// Holds the configuration where it was in the published generation `to`. Answers the
    /// generation of that configuration.
    pub fn configuration_hold(&mut self, to: u64) -> Result<u64, StoreError> {
        let unknown = || StoreError::not_found(Subject::Publication, to);
        let wanted = self.publication(to)?.ok_or_else(unknown)?.configuration;
        let after = self.configuration(wanted)?.ok_or_else(unknown)?;
        let before = self.configuration_that_counts()?;
        let (from, _) = self.configuration_in_force()?;
        self.set_hold(Some(wanted))?;
        self.touch_apps_between(&before, &after)?;
        self.catalog_changed = true;
        let (was, is) = (
            json!({ "configuration": from }),
            json!({ "configuration": wanted }),
        );
        self.audit(
            "rollback",
            Subject::Publication,
            &to.to_string(),
            Some(&was),
            Some(&is),
        )?;
        Ok(wanted)
    }

    /// Ends a hold: the tables count again.
    pub fn configuration_release(&mut self) -> Result<(), StoreError> {
        let (from, held) = self.configuration_in_force()?;
        if !held {
            return Ok(());
        }
        let before = self.configuration_that_counts()?;
        self.set_hold(None)?;
        let after = self.configuration_that_counts()?;
        let (to, _) = self.configuration_in_force()?;
        self.touch_apps_between(&before, &after)?;
        self.catalog_changed = true;
        let (was, is) = (
            json!({ "configuration": from }),
            json!({ "configuration": to }),
        );
        self.audit(
            "release",
            Subject::Publication,
            &to.to_string(),
            Some(&was),
            Some(&is),
        )
    }

    fn set_hold(&mut self, generation: Option<u64>) -> Result<(), StoreError> {
        let update = "UPDATE clock SET held_configuration = ?1";
        sql::run(self.connection(), update, params![generation])?;
        Ok(())
    }

    /// An app's grants follow from its subscriptions and from what its plans include.
    fn touch_apps_between(
        &mut self,
        before: &Configuration,
        after: &Configuration,
    ) -> Result<(), StoreError> {
        let changed = self.stamp()?;
        let mut pairs: BTreeSet<(u32, u32)> = before
            .plan_apis
            .symmetric_difference(&after.plan_apis)
            .copied()
            .collect();
        // A deleted API or plan that comes back with a rollback, or goes with a release.
        let named = |c: &Configuration| -> BTreeSet<(u32, u32)> { c.granting().collect() };
        pairs.extend(named(before).symmetric_difference(&named(after)));
        let touch = "UPDATE apps SET changed = ?3 WHERE number IN
            (SELECT app FROM subscriptions WHERE plan = ?1 AND api = ?2 AND state = 'approved')";
        for (plan, api) in pairs {
            sql::run(self.connection(), touch, params![plan, api, changed])?;
        }
        Ok(())
    }
}

impl Configuration {
    /// Pairs of plan and API under which an app may be granted the API.
    pub(super) fn granting(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let plans: BTreeSet<u32> = self.plans.iter().map(|plan| plan.number).collect();
        let apis: BTreeSet<u32> = self.apis.iter().map(|api| api.number).collect();
        let both = move |(plan, api): &(u32, u32)| plans.contains(plan) && apis.contains(api);
        self.plan_apis.iter().copied().filter(both)
    }
}

/// Whether the data plane would take this catalog.
fn check(catalog: CatalogFile) -> Result<(), StoreError> {
    let names = |list: &str| -> Vec<String> {
        match list {
            "apis" => catalog.apis.iter().map(|api| api.name.clone()).collect(),
            "upstreams" => catalog
                .upstreams
                .iter()
                .map(|one| one.name.clone())
                .collect(),
            "plans" => catalog.plans.iter().map(|plan| plan.name.clone()).collect(),
            _ => Vec::new(),
        }
    };
    let lists = ["apis", "upstreams", "plans"].map(|list| (list, names(list)));
    match Catalog::check(catalog) {
        Ok(_) => Ok(()),
        Err(error) => Err(StoreError::Catalog(named(&error.to_string(), &lists))),
    }
}

/// Says `apis[orders]` where the data plane says `apis[2]`: people write names, not places.
fn named(text: &str, lists: &[(&str, Vec<String>)]) -> String {
    let mut text = text.to_owned();
    for (list, names) in lists {
        for (place, name) in names.iter().enumerate() {
            text = text.replace(&format!("{list}[{place}]"), &format!("{list}[{name}]"));
        }
    }
    text
}

fn plan_entry(plan: &Plan) -> PlanEntry {
    PlanEntry {
        number: plan.number.0,
        name: plan.name.to_string(),
        limits: plan.limits.iter().map(limit_entry).collect(),
    }
}

fn limit_entry(limit: &Limit) -> LimitEntry {
    limit.spec.entry(limit.number)
}

/// An API as the nodes see it: upstreams by number.
fn api_entry(
    api: &Api,
    limits: &[Limit],
    number: impl Fn(&Name) -> Result<u32, StoreError>,
) -> Result<ApiEntry, StoreError> {
    let spec = &api.spec;
    let route = |route: &crate::domain::Route| {
        Ok(RouteEntry {
            path: route.path.clone(),
            methods: route.methods.clone(),
            headers: route.headers.clone(),
            query: route.query.clone(),
            upstream: route.upstream.as_ref().map(&number).transpose()?,
            rewrite: route.rewrite.clone(),
            answer: route.answer.clone(),
            request_headers: route.request_headers.clone(),
            response_headers: route.response_headers.clone(),
        })
    };
    let share = |share: &crate::domain::Share| {
        Ok(SplitEntry {
            upstream: number(&share.upstream)?,
            weight: share.weight,
        })
    };
    Ok(ApiEntry {
        number: api.number.0,
        name: spec.name.to_string(),
        version: spec.version.clone(),
        version_in: spec.version_in.clone(),
        hosts: spec.hosts.clone(),
        routes: spec
            .routes
            .iter()
            .map(route)
            .collect::<Result<_, StoreError>>()?,
        upstream: number(&spec.upstream)?,
        split: spec
            .split
            .iter()
            .map(share)
            .collect::<Result<_, StoreError>>()?,
        split_by: spec.split_by.clone(),
        credential: CredentialEntry {
            header: spec.credential.header.clone(),
            query: spec.credential.query.clone(),
        },
        key_required: spec.key_required,
        limits: limits.iter().map(limit_entry).collect(),
        body_bytes_max: spec.body_bytes_max,
        upgrades: spec.upgrades.clone().unwrap_or_else(usual_upgrades),
        request_headers: spec.request_headers.clone(),
        response_headers: spec.response_headers.clone(),
        cors: spec.cors.clone(),
        log: spec.log.clone(),
    })
}

fn upstream_entry(upstream: &Upstream) -> UpstreamEntry {
    let spec = upstream.spec.clone();
    UpstreamEntry {
        number: upstream.number.0,
        name: spec.name.to_string(),
        targets: spec.targets,
        connect_timeout_ms: spec.connect_timeout_ms,
        response_timeout_ms: spec.response_timeout_ms,
        total_timeout_ms: spec.total_timeout_ms,
        host: spec.host,
        balance: spec.balance,
        connections_max: spec.connections_max,
        waiting_max: spec.waiting_max,
        tls: spec.tls,
        health: spec.health,
        outlier: spec.outlier,
        breaker: spec.breaker,
        slow_start_ms: spec.slow_start_ms,
        retry: spec.retry,
    }
}
