//! The life of a request. Read this first.
//!
//! 1. **accept** — [`crate::accept`] takes a connection and runs its requests one after another.
//! 2. **parse** — [`crate::parse`] turns bytes into one head, or refuses.
//! 3. **decide** — [`admit`], below: which API, whose key, may it, is there a target, how much is
//!    left. One synchronous function without I/O: time is passed in, so that a test or a bench
//!    replays it from bytes. It answers an [`Admission`] or a [`Refusal`].
//! 4. **upstream** — [`crate::upstream::exchange`] sends the request to the target and streams the
//!    answer back; everything that waits happens here.
//! 5. **respond** — [`crate::respond`] writes the head that the client reads, or the refusal.
//! 6. **record** — [`crate::record`] counts, logs and accounts for it, however it ended.
//!
//! A request is judged by exactly one generation: the view is taken once, before step 3, and kept
//! until step 6.

use std::net::IpAddr;

use std::rc::Rc;

use crate::authenticate::digest::Pepper;
use crate::authenticate::{self, Shown};
use crate::authorize::{self, Permit};
use crate::clock::Now;
use crate::limit::{CompiledLimit, Demand, Hold, Refused, Shard, Subjects, headers};
use crate::parse::{BodyFraming, RequestHead};
use crate::record::request_id::RequestId;
use crate::refusal::Refusal;
use crate::respond::cors::{Cors, Preflight};
use crate::respond::own::OwnAnswer;
use crate::route::affinity::{self, Told};
use crate::route::balance::{Balance, Draw, Member};
use crate::route::{ApiIndex, Asked, NoRoute, RouteMatch, UpstreamIndex, path};
use crate::snapshot::catalog::{Api, BalanceEntry, Catalog, Plan, Route};
use crate::snapshot::{KeyRecord, View};

/// What the decision needs beside the request: the worker's own state, borrowed for its time.
#[derive(Debug)]
pub struct Bench<'a, 'v> {
    /// The generation that judges.
    pub view: &'v View,
    /// Secrets that keys are digested with.
    pub peppers: &'a [Pepper],
    /// This worker's share of the limits.
    pub limits: &'a mut Shard,
    /// This worker's turns.
    pub balance: &'a mut Balance,
    /// Largest announced body; `u64::MAX` for no cap.
    pub body_bytes_max: u64,
    /// Bytes of the request's head.
    pub head_bytes: usize,
    /// The client's address.
    pub client: IpAddr,
    /// No two requests have the same: chance, where nothing else decides.
    pub request_id: RequestId,
}

/// A request that may go on.
#[derive(Debug)]
pub struct Admission<'v, 'h> {
    /// Absent for an API that asks for no key.
    pub permit: Option<Permit<'v>>,
    /// The API.
    pub api: &'v Api,
    /// Its route.
    pub route: &'v Route,
    /// Who answers.
    pub by: AnsweredBy<'v, 'h>,
    /// Its claim on the limits; settled once, however the request ends.
    pub hold: Option<Hold>,
    /// The key as shown, to be left out of what the target reads.
    pub shown: Option<Shown<'h>>,
}

/// Who answers an admitted request.
#[derive(Clone, Debug)]
pub enum AnsweredBy<'v, 'h> {
    /// A target.
    Target(Chosen),
    /// The gateway, as the route says.
    Route(&'v OwnAnswer),
    /// The gateway: it is a preflight of a page of another origin.
    Preflight(&'v Cors, Preflight<'h>),
}

/// A target that was chosen, and by what.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The upstream.
    pub upstream: UpstreamIndex,
    /// Its target.
    pub member: Rc<Member>,
    /// By what a next one would be chosen.
    pub draw: Draw,
}

/// What is known of a request so far, for its record: filled stage by stage, also when refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// The API that matched.
    pub api: Option<ApiIndex>,
    /// Which of its routes did.
    pub route: u16,
    /// The upstream that it goes to.
    pub upstream: Option<UpstreamIndex>,
    /// The key's record, if the key is known.
    pub key: Option<KeyRecord>,
    /// Number of the plan that applies.
    pub plan: Option<u32>,
    /// Whose limits were asked; absent before that.
    pub subjects: Option<Subjects>,
    /// The key or its app is above the limits of plans.
    pub unlimited: bool,
}

/// Decides one request.
pub fn admit<'v: 'h, 'h>(
    bench: &mut Bench<'_, 'v>,
    head: &RequestHead<'_, 'h>,
    now: Now,
    seen: &mut Seen,
) -> Result<Admission<'v, 'h>, Refusal> {
    let view = bench.view;
    path::check_path(head.path).map_err(|_| Refusal::PathUnsafe)?;
    if let Some(admission) = preflight(view.catalog(), head, seen) {
        return Ok(admission);
    }
    let found = view
        .catalog()
        .router
        .find(&Asked::of(head))
        .map_err(no_route)?;
    let (api, route) = matched(view.catalog(), found, seen);
    let mut shown = None;
    let mut permit = None;
    if let Some(credential) = authenticate::required(api) {
        let key = authenticate::shown(credential, head)?.ok_or(Refusal::KeyMissing)?;
        let record = authenticate::look_up(view, bench.peppers, key)?;
        seen.key = Some(record);
        let caller = authenticate::admit(record, now.wall)?;
        permit = Some(authorize::permit(view, caller, api)?);
        shown = Some(key);
    }
    check_body(head.framing, bench.body_bytes_max.min(api.body_bytes_max))?;
    let by = match &route.answer {
        Some(answer) => AnsweredBy::Route(answer),
        None => target(bench, (api, route), head, permit.as_ref(), (seen, now))?,
    };
    // Hold last: a request with nowhere to go must not spend its caller's allowance.
    let hold = hold(bench, api, permit.as_ref(), head, (seen, now))?;
    Ok(Admission {
        permit,
        api,
        route,
        by,
        hold,
        shown,
    })
}

fn matched<'v>(catalog: &'v Catalog, found: RouteMatch, seen: &mut Seen) -> (&'v Api, &'v Route) {
    seen.api = Some(found.api);
    seen.route = found.route;
    let api = catalog.api(found.api);
    (api, api.route(found.route))
}

/// A preflight for a route of an API that says who may call it from other origins. Browsers send
/// no key with it, so it comes before authentication; it spends nothing.
fn preflight<'v: 'h, 'h>(
    catalog: &'v Catalog,
    head: &RequestHead<'_, 'h>,
    seen: &mut Seen,
) -> Option<Admission<'v, 'h>> {
    let asked = Preflight::of(head)?;
    let meant = Asked {
        method: asked.method,
        ..Asked::of(head)
    };
    let has_cors = |found: RouteMatch| catalog.api(found.api).cors.is_some();
    let found = catalog.router.preflight(&meant, has_cors)?;
    let (api, route) = matched(catalog, found, seen);
    Some(Admission {
        permit: None,
        api,
        route,
        by: AnsweredBy::Preflight(api.cors.as_ref()?, asked),
        hold: None,
        shown: None,
    })
}

/// Picks the upstream and its target in line.
fn target<'v, 'h>(
    bench: &mut Bench<'_, '_>,
    (api, route): (&Api, &Route),
    head: &RequestHead<'_, '_>,
    permit: Option<&Permit<'_>>,
    (seen, now): (&mut Seen, Now),
) -> Result<AnsweredBy<'v, 'h>, Refusal> {
    let told = Told {
        permit,
        client: bench.client,
        head,
    };
    let upstream = match (route.upstream, &api.split) {
        (Some(upstream), _) => upstream,
        (None, None) => api.upstream,
        (None, Some(split)) => {
            let by = split.by.as_ref();
            let value = by.and_then(|by| affinity::value_of(by, &told));
            split.choose(value.unwrap_or_else(|| affinity::chance(bench.request_id)))
        }
    };
    seen.upstream = Some(upstream);
    let checked = bench.view.catalog().upstream(upstream);
    let bound = match &checked.balance {
        BalanceEntry::Hash(by) => affinity::value_of(by, &told),
        _ => None,
    };
    let draw = Draw {
        now_ms: now.tick.millis(),
        bound,
        chance: affinity::chance(bench.request_id),
    };
    let member = bench.balance.pick(checked, draw, &[]);
    let member = member.ok_or(Refusal::NoTarget)?;
    Ok(AnsweredBy::Target(Chosen {
        upstream,
        member,
        draw,
    }))
}

fn no_route(cause: NoRoute<'_>) -> Refusal {
    match cause {
        NoRoute::Unknown => Refusal::RouteUnknown,
        NoRoute::Method(_) => Refusal::MethodNotAllowed,
        NoRoute::Version => Refusal::ApiVersionUnknown,
    }
}

fn check_body(framing: BodyFraming, bytes_max: u64) -> Result<(), Refusal> {
    match framing {
        BodyFraming::Length(bytes) if bytes > bytes_max => Err(Refusal::BodyTooLarge),
        _ => Ok(()),
    }
}

/// Takes what the request needs of the limits of its API and of its caller's plan.
fn hold(
    bench: &mut Bench<'_, '_>,
    api: &Api,
    permit: Option<&Permit<'_>>,
    head: &RequestHead<'_, '_>,
    (seen, now): (&mut Seen, Now),
) -> Result<Option<Hold>, Refusal> {
    let subjects = subjects(api, permit, bench.client);
    seen.plan = permit.map(|permit| permit.plan().number);
    seen.subjects = Some(subjects);
    seen.unlimited = permit.is_some_and(Permit::is_unlimited);
    let body_bytes = match head.framing {
        BodyFraming::Length(bytes) => bytes,
        // Nobody knows yet; it is counted at the end.
        _ => 0,
    };
    let demand = Demand {
        subjects,
        limits: limits_of(api, permit.filter(|p| !p.is_unlimited()).map(Permit::plan)),
        bytes_in: (bench.head_bytes as u64).saturating_add(body_bytes),
    };
    if demand.limits.iter().all(|limits| limits.is_empty()) {
        return Ok(None);
    }
    match bench.limits.hold(&demand, now) {
        Ok(hold) => Ok(Some(hold)),
        Err(Refused::Spent { retry_after_ns, .. }) => Err(Refusal::LimitReached {
            retry_after_s: headers::retry_after_s(retry_after_ns),
        }),
        // What cannot be counted must not pass.
        Err(Refused::Bank(_)) => Err(Refusal::LimitUnavailable),
    }
}

fn subjects(api: &Api, permit: Option<&Permit<'_>>, client: IpAddr) -> Subjects {
    let of_api = Subjects {
        api: api.number,
        client,
        ..Subjects::default()
    };
    permit.map_or(of_api, |permit| Subjects {
        key: permit.key().number,
        app: permit.app().number,
        tenant: permit.tenant().number,
        ..of_api
    })
}

/// The limits that a request is held to: those of its API, and those of its plan where it has one
/// and is not above it.
pub fn limits_of<'c>(api: &'c Api, plan: Option<&'c Plan>) -> [&'c [CompiledLimit]; 2] {
    [&api.limits, plan.map_or(&[], |plan| &plan.compiled)]
}
