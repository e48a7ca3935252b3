//! Picks a target of an upstream: round robin, each worker for itself.

use std::net::SocketAddr;

use crate::route::UpstreamIndex;

/// One worker's turn in every upstream.
#[derive(Debug, Default)]
pub struct Balance {
    turns: Vec<usize>,
}

impl Balance {
    /// A balance whose first turns start at `worker`, so that workers do not all begin with the
    /// same target.
    pub fn starting_at(worker: usize) -> Self {
        Self {
            turns: vec![worker; 8],
        }
    }

    /// The next place in line among `targets`; `None` if there are none.
    pub fn pick(&mut self, upstream: UpstreamIndex, targets: &[SocketAddr]) -> Option<usize> {
        let place = upstream.0 as usize;
        if place >= self.turns.len() {
            self.turns.resize(place + 1, 0);
        }
        let turn = &mut self.turns[place];
        *turn = turn.wrapping_add(1);
        turn.checked_rem(targets.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_take_turns_evenly() {
        let targets = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let mut balance = Balance::default();
        let mut served = [0; 3];
        for _ in 0..30 {
            served[balance.pick(UpstreamIndex(9), &targets).unwrap()] += 1;
        }
        assert_eq!(served, [10, 10, 10]);
    }

    #[test]
    fn an_upstream_without_targets_has_nobody_to_pick() {
        assert_eq!(Balance::default().pick(UpstreamIndex(0), &[]), None);
    }
}
