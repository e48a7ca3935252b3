//! How often each limit said no, and what it is called.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limit::LimitTally;
use crate::snapshot::catalog::Catalog;

/// What a limit is called in `/metrics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitName {
    /// Its name.
    pub limit: String,
    /// `plan NAME` or `api NAME`.
    pub of: String,
}

/// Sums since the start of the process, by the limit's number.
#[derive(Debug, Default)]
pub struct Tallies(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    sums: BTreeMap<u32, LimitTally>,
    names: BTreeMap<u32, LimitName>,
}

impl Tallies {
    /// Names limits as `catalog` does. Limits that are gone keep the names that they had.
    pub fn follow(&self, catalog: &Catalog) {
        let mut inner = self.inner();
        let of_plans = catalog.plans.iter().map(|plan| {
            let of = format!("plan {}", plan.name);
            (of, &plan.compiled)
        });
        let of_apis = catalog.apis.iter().map(|api| {
            let of = format!("api {}", api.name);
            (of, &api.limits)
        });
        for (of, limits) in of_plans.chain(of_apis) {
            for limit in limits {
                let name = LimitName {
                    limit: limit.name.as_ref().into(),
                    of: of.clone(),
                };
                inner.names.insert(limit.number.get(), name);
            }
        }
    }

    /// Adds what a worker counted.
    pub fn add(&self, counted: &[(u32, LimitTally)]) {
        if counted.is_empty() {
            return;
        }
        let mut inner = self.inner();
        for (number, tally) in counted {
            let sum = inner.sums.entry(*number).or_default();
            sum.refused = sum.refused.wrapping_add(tally.refused);
            sum.shadowed = sum.shadowed.wrapping_add(tally.shadowed);
        }
    }

    /// All limits that ever said no, with their names.
    pub fn all(&self) -> Vec<(LimitName, LimitTally)> {
        let inner = self.inner();
        let named =
            |(number, tally): (&u32, &LimitTally)| Some((inner.names.get(number)?.clone(), *tally));
        inner.sums.iter().filter_map(named).collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Plain values: a panic while they were held leaves them whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
