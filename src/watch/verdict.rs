//! What checks in a row make of a target. Pure: who checks, and when, is another's.

use crate::snapshot::catalog::HealthCheck;

/// One target, as its checks see it.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    healthy: bool,
    /// Checks in a row that say the opposite.
    against: u32,
}

impl Default for Verdict {
    /// Healthy until checks say otherwise: a node that has just started must not refuse everything
    /// until every target was asked.
    fn default() -> Self {
        Self {
            healthy: true,
            against: 0,
        }
    }
}

impl Verdict {
    /// Whether it gets requests.
    pub fn is_healthy(self) -> bool {
        self.healthy
    }

    /// One more check; whether it turned the verdict.
    pub fn hear(&mut self, good: bool, rule: &HealthCheck) -> bool {
        if good == self.healthy {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let enough = if good {
            rule.healthy_after
        } else {
            rule.unhealthy_after
        };
        let turns = self.against >= enough;
        if turns {
            *self = Self {
                healthy: good,
                against: 0,
            };
        }
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(healthy_after: u32, unhealthy_after: u32) -> HealthCheck {
        HealthCheck {
            healthy_after,
            unhealthy_after,
            ..HealthCheck::default()
        }
    }

    /// The verdict after each of `checks`, `+` being a good one.
    fn verdicts(rule: &HealthCheck, checks: &str) -> String {
        let mut verdict = Verdict::default();
        let mut hear = |check| {
            verdict.hear(check == '+', rule);
            if verdict.is_healthy() { 'h' } else { 'u' }
        };
        checks.chars().map(&mut hear).collect()
    }

    #[test]
    fn only_so_many_in_a_row_turn_a_verdict() {
        let rule = rule(2, 3);
        assert_eq!(verdicts(&rule, "--+--+"), "hhhhhh");
        assert_eq!(verdicts(&rule, "---"), "hhu");
        assert_eq!(verdicts(&rule, "---+-+-++"), "hhuuuuuuh");
    }

    #[test]
    fn one_may_be_enough() {
        assert_eq!(verdicts(&rule(1, 1), "-+-+"), "uhuh");
    }
}
