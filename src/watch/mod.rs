//! Watch: what the node finds out by itself about the servers behind it, beside what their answers
//! tell: the addresses of their names, and whether they pass their active checks.
//!
//! In: the upstreams of each new view. Out: an [`Outlook`], published for the workers, `/status` and
//! `/metrics`. One thread for the whole node does it, with a runtime of its own, so that a target is
//! asked once and not once a worker, and so that no worker ever waits for a name. [`plan`] is what to
//! watch, [`names`] resolves, [`check`] asks a target once, [`verdict`] is what checks in a row come
//! to, [`thread`] drives them. Absent on purpose: circuit breakers and outliers; each worker judges
//! by its own answers, see [`fitness`](crate::upstream::fitness).

mod check;
mod names;
pub mod outlook;
mod plan;
mod thread;
mod verdict;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::published::Published;
use crate::settings::DnsSettings;
use crate::snapshot::catalog::Catalog;
use crate::upstream::tls::Trusts;
use outlook::Outlook;
use plan::Plan;

/// How long a node that starts waits for the first answers about names.
const FIRST_NAMES: Duration = Duration::from_secs(5);

/// The watch, as everyone else sees it. Dropped, its thread ends.
#[derive(Debug)]
pub struct Watch {
    plan: watch::Sender<Arc<Plan>>,
    findings: Arc<Findings>,
    /// Hears once no name is left without any answer.
    settled: Receiver<()>,
}

/// What the thread tells.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is known now.
    pub outlook: Published<Outlook>,
    /// Checks that were not good.
    pub checks_failed: AtomicU64,
    /// Lookups of names that failed.
    pub lookups_failed: AtomicU64,
}

impl Watch {
    /// Starts the thread, with nothing to watch.
    pub fn start(clock: Clock, trusts: Arc<Trusts>, dns: DnsSettings) -> io::Result<Self> {
        let (plan, plans) = watch::channel(Arc::default());
        let findings = Arc::<Findings>::default();
        let (tell, settled) = bounded(1);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let told = Arc::clone(&findings);
        std::thread::Builder::new()
            .name("keyway-watch".into())
            .spawn(move || {
                let watcher = thread::Watcher::new(clock, trusts, &dns, told, tell);
                runtime.block_on(watcher.run(plans));
            })?;
        Ok(Self {
            plan,
            findings,
            settled,
        })
    }

    /// A watch that watches nothing, without a thread.
    #[cfg(test)]
    pub fn idle() -> Self {
        Self {
            plan: watch::channel(Arc::default()).0,
            findings: Arc::default(),
            settled: crossbeam::channel::never(),
        }
    }

    /// Watches the upstreams of `catalog` from here on; what is known of those that stay is kept.
    pub fn follow(&self, catalog: &Catalog) {
        let next = Plan::of(catalog);
        self.plan.send_if_modified(|plan| {
            let changes = **plan != next;
            if changes {
                *plan = Arc::new(next);
            }
            changes
        });
    }

    /// Waits a little for the names of what is followed: a node that accepts before would refuse.
    pub fn await_names(&self) {
        let has_names = self.plan.borrow().has_names();
        if has_names && self.settled.recv_timeout(FIRST_NAMES).is_err() {
            tracing::warn!("not every name of a target is resolved yet");
        }
    }

    /// What the thread tells.
    pub fn findings(&self) -> &Arc<Findings> {
        &self.findings
    }
}

/// A little less than `pause`, at random: what began together must not stay together.
fn jitter(pause: Duration) -> Duration {
    // Without randomness it stays what it is.
    let chance = getrandom::u32().unwrap_or(0);
    pause - pause.mul_f64(f64::from(chance) / f64::from(u32::MAX) / 10.0)
}
