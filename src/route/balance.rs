//! Picks a target of an upstream, each worker for itself.
//!
//! A worker keeps a [`Member`] for each target, or for each address of a named one: its requests in
//! flight and its [`Fitness`]. Members outlive a generation as long as their address does, so what was
//! learned of a target is not forgotten because a key changed. Among the fit ones the upstream's rule
//! chooses: in turns by weight (smooth weighted round robin, as nginx does it), the less busy one of
//! two drawn by weight, or by weighted rendezvous hashing of what binds the request.
//!
//! When all that the circuits admit are ejected, or unhealthy by the node's checks, that counts for
//! nothing: a bad answer is better than none, and checks that fail everywhere more likely fail by
//! themselves. A circuit that is open stays open: it is there to spare the target.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::{HashMap, HashSet};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::io::Endpoint;
use crate::snapshot::catalog::{BalanceEntry, Retry, Upstream};
use crate::upstream::fitness::{Change, Fitness, Rules, Went};
use crate::upstream::places::Places;
use crate::upstream::retry::Budget;
use crate::watch::outlook::{Outlook, UpstreamOutlook, endpoints};

/// A target, as one worker knows it.
#[derive(Debug)]
pub struct Member {
    /// Where it is.
    pub endpoint: Endpoint,
    /// The name that stands for it, if one does.
    pub host: Option<Arc<str>>,
    /// Exchanges that run now.
    pub in_flight: Cell<u32>,
    /// Connections to it, idle ones included, and who waits for one.
    pub places: Rc<Places>,
    /// What its answers tell.
    pub fitness: Fitness,
    weight: Cell<u32>,
    /// By the checks of the node; so too where there are none.
    healthy: Cell<bool>,
    /// What makes it the same one to every worker.
    seed: u64,
    /// Its balance in the round.
    turn: Cell<i64>,
}

/// All targets of all upstreams, as one worker knows them.
#[derive(Debug, Default)]
pub struct Balance {
    first: usize,
    outlook: Arc<Outlook>,
    /// Counts outlooks, from 1.
    outlooks: u64,
    upstreams: HashMap<u32, Members, RandomState>,
}

#[derive(Debug, Default)]
struct Members {
    shape: u64,
    /// The outlook that was last looked at, and what it said of this upstream then.
    outlooks: u64,
    version: u64,
    list: Vec<Rc<Member>>,
    budget: Budget,
}

/// What a choice may depend on.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// Monotonic.
    pub now_ms: u64,
    /// What binds the request to others, for an upstream that asks for it.
    pub bound: Option<u64>,
    /// A number that nothing binds.
    pub chance: u64,
}

impl Balance {
    /// A balance whose first turns start at `worker`, so that workers do not all begin with the
    /// same target.
    pub fn starting_at(worker: usize) -> Self {
        Self {
            first: worker,
            ..Self::default()
        }
    }

    /// Goes by `outlook` from here on.
    pub fn adopt(&mut self, outlook: Arc<Outlook>) {
        self.outlook = outlook;
        self.outlooks += 1;
    }

    /// A fit target of `upstream` for one more request, none of `tried`; `None` if there is none.
    pub fn pick(
        &mut self,
        upstream: &Upstream,
        draw: Draw,
        tried: &[Rc<Member>],
    ) -> Option<Rc<Member>> {
        let members = self.upstreams.entry(upstream.number).or_default();
        if members.shape != upstream.shape || members.outlooks != self.outlooks {
            members.outlooks = self.outlooks;
            let outlook = self.outlook.of(upstream.number);
            members.follow(upstream, outlook, self.first, draw.now_ms);
        }
        if tried.is_empty() {
            members.budget.request(draw.now_ms);
        }
        let rules = rules(upstream);
        let admitted = |member: &&Rc<Member>| {
            member.weight.get() > 0
                && member.fitness.admits(rules, draw.now_ms)
                && !tried.iter().any(|one| Rc::ptr_eq(one, member))
        };
        let fit = |member: &&Rc<Member>| {
            admitted(member) && member.healthy.get() && !member.fitness.is_ejected(draw.now_ms)
        };
        let ramp = Ramp {
            slow_start_ms: upstream.slow_start_ms,
            now_ms: draw.now_ms,
        };
        let chosen = choose(&upstream.balance, draw, ramp, || {
            members.list.iter().filter(fit)
        })
        .or_else(|| {
            choose(&upstream.balance, draw, ramp, || {
                members.list.iter().filter(admitted)
            })
        })?;
        Some(Rc::clone(chosen))
    }

    /// An exchange with `member` begins.
    pub fn begin(&self, member: &Member, now_ms: u64) {
        member.in_flight.set(member.in_flight.get() + 1);
        member.fitness.begin(now_ms);
    }

    /// It is over; what that changed.
    pub fn end(
        &self,
        upstream: &Upstream,
        member: &Member,
        went: Went,
        now_ms: u64,
    ) -> Option<Change> {
        member
            .in_flight
            .set(member.in_flight.get().saturating_sub(1));
        let rules = rules(upstream);
        let may_eject = rules.outlier.is_some_and(|outlier| {
            let list = self.upstreams.get(&upstream.number).map(|all| &all.list);
            let all = list.map_or(0, Vec::len);
            let out = list.map_or(0, |list| {
                let ejected = |one: &&Rc<Member>| one.fitness.is_ejected(now_ms);
                list.iter().filter(ejected).count()
            });
            (out + 1) * 100 <= all * outlier.ejected_max_percent as usize
        });
        member.fitness.end(went, rules, may_eject, now_ms)
    }

    /// Takes a retry from the budget of `upstream`, if there is one.
    pub fn retry(&mut self, upstream: &Upstream, rule: &Retry, now_ms: u64) -> bool {
        let members = self.upstreams.entry(upstream.number).or_default();
        members.budget.take(rule, now_ms)
    }
}

fn rules(upstream: &Upstream) -> Rules<'_> {
    Rules {
        breaker: upstream.breaker.as_ref(),
        outlier: upstream.outlier.as_ref(),
    }
}

impl Members {
    /// Takes over the targets of `upstream`; those that were there before go on as they were.
    fn follow(
        &mut self,
        upstream: &Upstream,
        outlook: Option<&UpstreamOutlook>,
        first: usize,
        now_ms: u64,
    ) {
        let version = outlook.map_or(0, |outlook| outlook.version);
        if (self.shape, self.version) == (upstream.shape, version) {
            return;
        }
        (self.shape, self.version) = (upstream.shape, version);
        // All that are there at the beginning begin alike.
        let since_ms = if self.list.is_empty() { 0 } else { now_ms };
        let known = std::mem::take(&mut self.list);
        let mut known: HashMap<_, _, RandomState> = known
            .into_iter()
            .map(|member| ((member.endpoint.clone(), member.host.clone()), member))
            .collect();
        let mut seen: HashSet<_, RandomState> = HashSet::default();
        for target in &upstream.targets {
            let host = target.place.host();
            for endpoint in endpoints(target, outlook) {
                let key = (endpoint, host.cloned());
                if !seen.insert(key.clone()) {
                    continue;
                }
                let (endpoint, host) = key.clone();
                let member = known
                    .remove(&key)
                    .unwrap_or_else(|| Rc::new(Member::new(endpoint, host, since_ms)));
                member.weight.set(target.weight);
                member.hear(outlook, now_ms);
                self.list.push(member);
            }
        }
        if let Some(begins) = first
            .checked_rem(self.list.len())
            .and_then(|place| self.list.get(place))
        {
            begins.turn.set(begins.turn.get() + 1);
        }
    }
}

impl Member {
    fn new(endpoint: Endpoint, host: Option<Arc<str>>, since_ms: u64) -> Self {
        Self {
            seed: xxh3_64(endpoint.to_string().as_bytes()),
            endpoint,
            host,
            in_flight: Cell::new(0),
            places: Rc::default(),
            fitness: Fitness::new(since_ms),
            weight: Cell::new(0),
            healthy: Cell::new(true),
            turn: Cell::new(0),
        }
    }

    /// Takes over what checks say of it. One that has become healthy starts slowly.
    fn hear(&self, outlook: Option<&UpstreamOutlook>, now_ms: u64) {
        let healthy = outlook.is_none_or(|outlook| outlook.is_healthy(&self.endpoint));
        if healthy && !self.healthy.replace(healthy) {
            self.fitness.starts(now_ms);
        }
        self.healthy.set(healthy);
    }
}

/// What a slow start leaves of a weight.
#[derive(Clone, Copy)]
struct Ramp {
    slow_start_ms: u32,
    now_ms: u64,
}

impl Ramp {
    fn weight(self, member: &Member) -> u64 {
        let percent = member.fitness.percent(self.slow_start_ms, self.now_ms);
        u64::from(member.weight.get()) * percent
    }
}

fn choose<'m, I>(
    rule: &BalanceEntry,
    draw: Draw,
    ramp: Ramp,
    members: impl Fn() -> I,
) -> Option<&'m Rc<Member>>
where
    I: Iterator<Item = &'m Rc<Member>>,
{
    match rule {
        BalanceEntry::RoundRobin => in_turn(ramp, members()),
        BalanceEntry::LeastInflight => {
            let one = drawn(ramp, &members, draw.chance)?;
            let other = drawn(ramp, &members, xxh3_64(&draw.chance.to_le_bytes()))?;
            // By what it would be with one more, for its weight: 0 in flight on a small one is not
            // less than 1 on a large one.
            let load = |member: &Member| u64::from(member.in_flight.get()) + 1;
            let heavier = load(one) * ramp.weight(other) > load(other) * ramp.weight(one);
            Some(if heavier { other } else { one })
        }
        BalanceEntry::Hash(_) => {
            let value = draw.bound.unwrap_or(draw.chance);
            let scored = members().map(|member| (score(ramp, member, value), member));
            let best = scored.max_by(|left, right| left.0.total_cmp(&right.0));
            best.map(|(_, member)| member)
        }
    }
}

/// Smooth weighted round robin: each gains its weight, the richest pays for all.
fn in_turn<'m>(
    ramp: Ramp,
    members: impl Iterator<Item = &'m Rc<Member>>,
) -> Option<&'m Rc<Member>> {
    let mut sum = 0;
    let mut best: Option<&Rc<Member>> = None;
    for member in members {
        let weight = i64::try_from(ramp.weight(member)).unwrap_or(i64::MAX >> 16);
        sum += weight;
        member.turn.set(member.turn.get() + weight);
        if best.is_none_or(|best| member.turn.get() > best.turn.get()) {
            best = Some(member);
        }
    }
    let best = best?;
    best.turn.set(best.turn.get() - sum);
    Some(best)
}

/// One drawn by weight.
fn drawn<'m, I>(ramp: Ramp, members: &impl Fn() -> I, chance: u64) -> Option<&'m Rc<Member>>
where
    I: Iterator<Item = &'m Rc<Member>>,
{
    let sum: u64 = members().map(|member| ramp.weight(member)).sum();
    let mut left = chance.checked_rem(sum)?;
    members().find(|member| {
        let weight = ramp.weight(member);
        let here = left < weight;
        left = left.saturating_sub(weight);
        here
    })
}

/// A member's score for a value in weighted rendezvous hashing; see [`split`](super::split).
fn score(ramp: Ramp, member: &Member, value: u64) -> f64 {
    let drawn = xxh3_64_with_seed(&value.to_le_bytes(), member.seed);
    let drawn = ((drawn >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    ramp.weight(member) as f64 / -drawn.ln()
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
