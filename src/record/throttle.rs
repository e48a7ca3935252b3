//! Bounds the lines that one cause may write to the log: whoever can cause an event at will must
//! not be able to fill a disk with it.

/// Lets one event through in a while, and counts the others.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    pause_ms: u64,
    next_ms: u64,
    silent: u64,
}

impl Throttle {
    /// Lets one event through every `pause_ms`.
    pub const fn every_ms(pause_ms: u64) -> Self {
        Self {
            pause_ms,
            next_ms: 0,
            silent: 0,
        }
    }

    /// An event at `now_ms`. If it may be told: how many there were since the last one told, this
    /// one included.
    pub fn tell(&mut self, now_ms: u64) -> Option<u64> {
        self.silent += 1;
        if now_ms < self.next_ms {
            return None;
        }
        self.next_ms = now_ms + self.pause_ms;
        Some(std::mem::take(&mut self.silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_events_one_is_told_in_a_while_with_the_number_of_all() {
        let mut throttle = Throttle::every_ms(1_000);
        assert_eq!(throttle.tell(5), Some(1));
        for _ in 0..9 {
            assert_eq!(throttle.tell(1_004), None);
        }
        assert_eq!(throttle.tell(1_005), Some(10));
        assert_eq!(throttle.tell(9_999), Some(1));
    }
}
