//! Pauses between attempts to reach control: growing, bounded, and never in step with the other
//! nodes of a fleet.

/// The first pause, in milliseconds.
const FIRST_MS: u64 = 50;
/// The longest pause. Short: connecting to a local socket costs next to nothing, and until then
/// a change is only seen by polling.
const LAST_MS: u64 = 1_000;

/// The state between two attempts.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    next_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next_ms: FIRST_MS }
    }
}

impl Backoff {
    /// The next pause in milliseconds: between half and all of a step that doubles each time.
    /// `random` is any number.
    pub fn pause_ms(&mut self, random: u64) -> u64 {
        let step = self.next_ms;
        self.next_ms = (step * 2).min(LAST_MS);
        let half = step / 2;
        half + random % (step - half + 1)
    }

    /// Starts again from the shortest pause: control was there.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pauses_grow_to_their_bound_and_stay_there(randoms in prop::collection::vec(any::<u64>(), 1..40)) {
            let mut backoff = Backoff::default();
            for (i, random) in randoms.into_iter().enumerate() {
                let step = FIRST_MS.saturating_mul(1 << i.min(20)).min(LAST_MS);
                let pause = backoff.pause_ms(random);
                prop_assert!((step / 2..=step).contains(&pause), "{} of {}", pause, step);
            }
            backoff.reset();
            prop_assert!(backoff.pause_ms(u64::MAX) <= FIRST_MS);
        }
    }
}
