//! The watch's thread: a task for each name and each checked target, and one owner of all that they
//! find.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ahash::RandomState;
use crossbeam::channel::Sender;
use hashbrown::{HashMap, HashSet};
use hickory_resolver::TokioResolver;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::check::Check;
use super::names::{self, Answer};
use super::outlook::{NameOutlook, Outlook, TargetOutlook, UpstreamOutlook, endpoints};
use super::plan::{Plan, Watched};
use super::verdict::Verdict;
use super::{Findings, jitter};
use crate::clock::Clock;
use crate::io::Endpoint;
use crate::settings::DnsSettings;
use crate::snapshot::catalog::HealthCheck;
use crate::upstream::tls::Trusts;

/// Checks that run at once; more wait for their turn.
const CHECKS_AT_ONCE: usize = 256;

/// What a task found.
enum Found {
    Name(Arc<str>, Answer),
    Target(u32, Endpoint, Result<(), String>),
}

/// Ends its task when dropped.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A name that is kept.
struct Name {
    outlook: NameOutlook,
    _task: Task,
}

/// A target that is checked.
struct Checked {
    verdict: Verdict,
    outlook: TargetOutlook,
    _task: Task,
}

/// All that is watched.
pub(super) struct Watcher {
    clock: Clock,
    trusts: Arc<Trusts>,
    resolver: Arc<Result<TokioResolver, String>>,
    findings: Arc<Findings>,
    settled: Sender<()>,
    plan: Arc<Plan>,
    names: HashMap<Arc<str>, Name, RandomState>,
    checked: HashMap<(u32, Endpoint), Checked, RandomState>,
    /// Counts what workers must take over.
    version: u64,
    permits: Arc<Semaphore>,
    found: mpsc::UnboundedSender<Found>,
    finds: Option<mpsc::UnboundedReceiver<Found>>,
}

impl Watcher {
    pub(super) fn new(
        clock: Clock,
        trusts: Arc<Trusts>,
        dns: &DnsSettings,
        findings: Arc<Findings>,
        settled: Sender<()>,
    ) -> Self {
        // Each task sends one thing and pauses, so what waits is bounded by their number.
        let (found, finds) = mpsc::unbounded_channel();
        Self {
            clock,
            trusts,
            resolver: Arc::new(names::resolver(dns)),
            findings,
            settled,
            plan: Arc::default(),
            names: HashMap::default(),
            checked: HashMap::default(),
            version: 0,
            permits: Arc::new(Semaphore::new(CHECKS_AT_ONCE)),
            found,
            finds: Some(finds),
        }
    }

    /// Watches until nobody is left to say what.
    pub(super) async fn run(mut self, mut plans: watch::Receiver<Arc<Plan>>) {
        let Some(mut finds) = self.finds.take() else {
            return;
        };
        loop {
            tokio::select! {
                changed = plans.changed() => match changed {
                    Ok(()) => {
                        let plan = Arc::clone(&plans.borrow_and_update());
                        self.follow(plan);
                    }
                    Err(_) => return,
                },
                Some(found) = finds.recv() => self.hear(found),
            }
        }
    }

    /// Watches what `plan` says; what it has in common with the one before goes on undisturbed.
    fn follow(&mut self, plan: Arc<Plan>) {
        let before = std::mem::replace(&mut self.plan, plan);
        let plan = Arc::clone(&self.plan);
        let hosts: HashSet<_, RandomState> = plan
            .upstreams
            .iter()
            .flat_map(Watched::hosts)
            .cloned()
            .collect();
        self.names.retain(|host, _| hosts.contains(host));
        for host in hosts {
            if !self.names.contains_key(&host) {
                let name = self.keep(&host);
                self.names.insert(host, name);
            }
        }
        for upstream in &plan.upstreams {
            let same = |one: &&Watched| one.number == upstream.number;
            // Another rule, name or way to ask: begun anew, and their verdicts with them.
            let asked_alike = |one: &Watched| {
                (&one.health, &one.host, &one.tls)
                    == (&upstream.health, &upstream.host, &upstream.tls)
            };
            if !before.upstreams.iter().find(same).is_some_and(asked_alike) {
                self.checked
                    .retain(|(number, _), _| *number != upstream.number);
            }
        }
        let known: HashSet<u32, RandomState> = plan
            .upstreams
            .iter()
            .map(|upstream| upstream.number)
            .collect();
        self.checked.retain(|(number, _), _| known.contains(number));
        for upstream in &plan.upstreams {
            self.check_all(upstream);
        }
        self.version += 1;
        self.publish();
    }

    fn keep(&self, host: &Arc<str>) -> Name {
        let (found, name) = (self.found.clone(), Arc::clone(host));
        let tell = move |answer| {
            // Nobody hears it when the thread ends.
            let _ = found.send(Found::Name(Arc::clone(&name), answer));
        };
        let task = tokio::spawn(names::keep(
            Arc::clone(&self.resolver),
            Arc::clone(host),
            tell,
        ));
        Name {
            outlook: NameOutlook {
                host: Arc::clone(host),
                addresses: Vec::new(),
                resolved: None,
                last_error: None,
            },
            _task: Task(task.abort_handle()),
        }
    }

    /// Checks every endpoint of `upstream`, and none that it no longer has.
    fn check_all(&mut self, upstream: &Watched) {
        let Some(rule) = &upstream.health else { return };
        let now = self.clock.wall();
        let outlook = self.outlook_of(upstream);
        let mut wanted: HashMap<Endpoint, Option<Arc<str>>, RandomState> = HashMap::default();
        for target in upstream.targets.iter().filter(|target| target.weight > 0) {
            for endpoint in endpoints(target, Some(&outlook)) {
                wanted.insert(endpoint, target.place.host().cloned());
            }
        }
        self.checked.retain(|(number, endpoint), _| {
            *number != upstream.number || wanted.contains_key(endpoint)
        });
        for (endpoint, host) in wanted {
            let key = (upstream.number, endpoint.clone());
            if self.checked.contains_key(&key) {
                continue;
            }
            let asked = (&endpoint, host.as_deref());
            let check = Check::new(upstream, rule, asked, &self.trusts);
            let checking = repeat(
                check,
                rule.clone(),
                Arc::clone(&self.permits),
                (self.found.clone(), key.clone()),
            );
            let checked = Checked {
                verdict: Verdict::default(),
                outlook: TargetOutlook {
                    endpoint,
                    healthy: true,
                    since: now,
                    last_error: None,
                },
                _task: Task(tokio::spawn(checking).abort_handle()),
            };
            self.checked.insert(key, checked);
        }
    }

    fn hear(&mut self, found: Found) {
        match found {
            Found::Name(host, answer) => self.hear_name(&host, answer),
            Found::Target(number, endpoint, outcome) => {
                self.hear_target(number, endpoint, outcome);
            }
        }
    }

    fn hear_name(&mut self, host: &Arc<str>, answer: Answer) {
        let now = self.clock.wall();
        let Some(name) = self.names.get_mut(host) else {
            return;
        };
        let moved = match answer {
            Ok(addresses) => {
                name.outlook.resolved = Some(now);
                name.outlook.last_error = None;
                let moved = name.outlook.addresses != addresses;
                if moved {
                    let shown = shown(&addresses);
                    tracing::info!(
                        name = &**host,
                        addresses = shown,
                        "a name of targets is resolved"
                    );
                    name.outlook.addresses = addresses;
                }
                moved
            }
            Err(reason) => {
                self.findings.lookups_failed.fetch_add(1, Ordering::Relaxed);
                if name.outlook.last_error.as_ref() != Some(&reason) {
                    let addresses = shown(&name.outlook.addresses);
                    tracing::warn!(
                        name = &**host,
                        reason,
                        addresses,
                        "a name of targets is not resolved; its last addresses serve on"
                    );
                }
                name.outlook.last_error = Some(reason);
                false
            }
        };
        if moved {
            self.version += 1;
            let plan = Arc::clone(&self.plan);
            let named = |one: &&Watched| one.hosts().any(|other| other == host);
            for upstream in plan.upstreams.iter().filter(named) {
                self.check_all(upstream);
            }
        }
        self.publish();
        let answered = |name: &Name| {
            let outlook = &name.outlook;
            outlook.resolved.is_some() || outlook.last_error.is_some()
        };
        if self.names.values().all(answered) {
            // Full: it was said before.
            let _ = self.settled.try_send(());
        }
    }

    fn hear_target(&mut self, number: u32, endpoint: Endpoint, outcome: Result<(), String>) {
        let upstream = self.plan.upstreams.iter().find(|one| one.number == number);
        let Some((upstream, rule)) = upstream.and_then(|one| Some((one, one.health.as_ref()?)))
        else {
            return;
        };
        let key = (number, endpoint);
        let Some(checked) = self.checked.get_mut(&key) else {
            return;
        };
        let good = outcome.is_ok();
        if !good {
            self.findings.checks_failed.fetch_add(1, Ordering::Relaxed);
        }
        let turned = checked.verdict.hear(good, rule);
        let reason = outcome.err();
        let is_new = reason.is_some() && checked.outlook.last_error != reason;
        if let Some(reason) = reason {
            checked.outlook.last_error = Some(reason);
        }
        if turned {
            checked.outlook.healthy = checked.verdict.is_healthy();
            checked.outlook.since = self.clock.wall();
            tell_turn(&upstream.name, &checked.outlook);
            self.version += 1;
        }
        if turned || is_new {
            self.publish();
        }
    }

    /// What is known of `upstream`, its version left out.
    fn outlook_of(&self, upstream: &Watched) -> UpstreamOutlook {
        let mut hosts: Vec<_> = upstream.hosts().collect();
        hosts.sort_unstable();
        hosts.dedup();
        let names = hosts.into_iter().filter_map(|host| self.names.get(host));
        let names = names.map(|name| name.outlook.clone());
        UpstreamOutlook::of_names(&upstream.name, names.collect())
    }

    fn publish(&self) {
        let mut outlook = Outlook::default();
        for upstream in &self.plan.upstreams {
            let one = self.outlook_of(upstream);
            let targets = upstream.targets.iter();
            let places = targets.flat_map(|target| endpoints(target, Some(&one)));
            let checked = places.filter_map(|endpoint| {
                let checked = self.checked.get(&(upstream.number, endpoint));
                checked.map(|checked| checked.outlook.clone())
            });
            let checked = checked.collect();
            let one = one.with(self.version, checked);
            outlook.upstreams.insert(upstream.number, Arc::new(one));
        }
        self.findings.outlook.replace(outlook);
    }
}

fn tell_turn(upstream: &str, target: &TargetOutlook) {
    let address = &target.endpoint;
    if target.healthy {
        tracing::info!(upstream, target = %address, "a target is healthy again");
    } else {
        let reason = target.last_error.as_deref();
        tracing::warn!(upstream, target = %address, reason, "a target is unhealthy and gets no requests");
    }
}

fn shown(addresses: &[IpAddr]) -> String {
    let text: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    text.join(" ")
}

/// Checks a target again and again.
async fn repeat(
    check: Result<Check, String>,
    rule: HealthCheck,
    permits: Arc<Semaphore>,
    (found, (number, endpoint)): (mpsc::UnboundedSender<Found>, (u32, Endpoint)),
) {
    let interval = Duration::from_millis(rule.interval_ms.into());
    // All targets of a catalog come at once; their first checks need not.
    sleep((interval - jitter(interval)).min(Duration::from_millis(100))).await;
    loop {
        let begun = Instant::now();
        let outcome = match &check {
            Ok(check) => match permits.acquire().await {
                Ok(_permit) => check.run().await,
                // Never closed.
                Err(_) => return,
            },
            Err(reason) => Err(reason.clone()),
        };
        if found
            .send(Found::Target(number, endpoint.clone(), outcome))
            .is_err()
        {
            return;
        }
        sleep_until(begun + jitter(interval)).await;
    }
}
