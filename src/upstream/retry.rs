//! How much may be repeated: a budget for each upstream, so that one that fails as a whole is not
//! made worse.
//!
//! Over the last ten seconds, retries are at most a share of the requests, beside a few that are
//! always allowed. Each worker keeps its own share, so the sum over all workers keeps it too. Pure:
//! time is passed in.

use crate::snapshot::catalog::Retry;

const SLOTS: usize = 10;
const SLOT_MS: u64 = 1_000;

/// Requests and retries of the last seconds.
#[derive(Debug, Default)]
pub struct Budget {
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    second: u64,
    requests: u32,
    retries: u32,
}

impl Budget {
    /// A request came.
    pub fn request(&mut self, now_ms: u64) {
        self.slot(now_ms).requests += 1;
    }

    /// Takes a retry, if the budget has one.
    pub fn take(&mut self, rule: &Retry, now_ms: u64) -> bool {
        let second = now_ms / SLOT_MS;
        let recent = |slot: &&Slot| second.saturating_sub(slot.second) < SLOTS as u64;
        let (mut requests, mut retries) = (0_u64, 0_u64);
        for slot in self.slots.iter().filter(recent) {
            requests += u64::from(slot.requests);
            retries += u64::from(slot.retries);
        }
        let share = requests * u64::from(rule.budget_percent) / 100;
        let always = u64::from(rule.budget_min_per_s) * SLOTS as u64;
        let now = self.slot(now_ms);
        let fits =
            retries < share || (retries < share + always && now.retries < rule.budget_min_per_s);
        if fits {
            now.retries += 1;
        }
        fits
    }

    fn slot(&mut self, now_ms: u64) -> &mut Slot {
        let second = now_ms / SLOT_MS;
        let slot = &mut self.slots[usize::try_from(second % SLOTS as u64).unwrap_or(0)];
        if slot.second != second {
            *slot = Slot {
                second,
                ..Slot::default()
            };
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(budget_percent: u32, budget_min_per_s: u32) -> Retry {
        Retry {
            budget_percent,
            budget_min_per_s,
            ..Retry::default()
        }
    }

    #[test]
    fn an_upstream_that_fails_as_a_whole_gets_little_more_than_its_requests() {
        let rule = rule(20, 3);
        let mut budget = Budget::default();
        let mut retries = 0;
        for n in 0..10_000 {
            budget.request(n);
            retries += u32::from(budget.take(&rule, n));
        }
        // Ten seconds of a thousand requests: a fifth of them, and three a second.
        assert!((2_000..=2_030).contains(&retries), "{retries}");
    }

    #[test]
    fn a_few_a_second_are_always_there() {
        let rule = rule(0, 2);
        let mut budget = Budget::default();
        let taken =
            |budget: &mut Budget, now_ms| (0..9).filter(|_| budget.take(&rule, now_ms)).count();
        assert_eq!(taken(&mut budget, 5_000), 2);
        assert_eq!(taken(&mut budget, 5_999), 0);
        assert_eq!(taken(&mut budget, 6_000), 2);
    }

    proptest! {
        #[test]
        fn retries_never_outgrow_the_budget(
            steps in prop::collection::vec((0..400_u64, any::<bool>()), 1..400),
            percent in 0..=100_u32,
            min in 0..4_u32,
        ) {
            let rule = rule(percent, min);
            let mut budget = Budget::default();
            let (mut now_ms, mut requests, mut retries) = (0, 0_u64, 0_u64);
            for (pause_ms, is_request) in steps {
                now_ms += pause_ms;
                if is_request {
                    budget.request(now_ms);
                    requests += 1;
                } else {
                    retries += u64::from(budget.take(&rule, now_ms));
                }
            }
            let seconds = now_ms / SLOT_MS + 1;
            prop_assert!(retries <= requests * u64::from(percent) / 100 + u64::from(min) * seconds);
        }
    }
}
