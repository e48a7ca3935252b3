//! How slow a client may be: a least pace, in bytes a second, measured over a window.
//!
//! A deadline for each read alone lets a client send one byte just before it, for ever. So a client
//! also has a [`Credit`]: time that it is waited for spends it, bytes that move earn it back, and
//! it never holds more than the window. Time in which the gateway waits for someone else costs
//! nothing. Pure: time is passed in.

/// A least pace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// 0 for none.
    bytes_per_s: u64,
    window_ms: u64,
}

/// How far a client may still fall behind, in thousandths of a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credit(u64);

impl Pace {
    /// At least `bytes_per_s`, less what `window_ms` forgives; 0 for any pace.
    pub const fn new(bytes_per_s: u64, window_ms: u64) -> Self {
        Self {
            bytes_per_s,
            window_ms,
        }
    }

    /// The credit that a client begins with.
    pub const fn full(self) -> Credit {
        Credit(self.bytes_per_s.saturating_mul(self.window_ms))
    }

    /// How long a client with this credit may be waited for while nothing moves.
    pub const fn lasts_ms(self, credit: Credit) -> u64 {
        match credit.0.checked_div(self.bytes_per_s) {
            Some(ms) => ms,
            None => u64::MAX,
        }
    }

    /// What is left after `waited_ms`, in which `bytes` moved.
    pub fn after(self, credit: Credit, waited_ms: u64, bytes: u64) -> Credit {
        let spent = waited_ms.saturating_mul(self.bytes_per_s);
        let earned = bytes.saturating_mul(1_000);
        let left = credit.0.saturating_sub(spent).saturating_add(earned);
        Credit(left.min(self.full().0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace::new(100, 30_000);

    #[test]
    fn one_byte_just_before_every_deadline_is_not_enough() {
        let mut credit = PACE.full();
        credit = PACE.after(credit, 29_000, 1);
        assert_eq!(PACE.lasts_ms(credit), 1_010);
        credit = PACE.after(credit, 1_000, 1);
        assert_eq!(PACE.lasts_ms(credit), 20);
    }

    #[test]
    fn a_client_at_the_least_pace_is_waited_for_as_long_as_it_takes() {
        let mut credit = PACE.full();
        for _ in 0..100_000 {
            credit = PACE.after(credit, 1_000, 100);
        }
        assert_eq!(credit, PACE.full());
        // Behind it by a tenth, it lasts ten windows.
        let mut seconds = 0;
        while PACE.lasts_ms(credit) >= 1_000 {
            credit = PACE.after(credit, 1_000, 90);
            seconds += 1;
        }
        assert!((285..=300).contains(&seconds), "{seconds}");
    }

    #[test]
    fn nobody_saves_more_than_the_window() {
        let credit = PACE.after(PACE.full(), 0, 1 << 40);
        assert_eq!(PACE.lasts_ms(credit), 30_000);
    }

    #[test]
    fn without_a_least_pace_everyone_is_waited_for() {
        let any = Pace::new(0, 30_000);
        assert_eq!(any.lasts_ms(any.after(any.full(), 1 << 40, 0)), u64::MAX);
    }
}
