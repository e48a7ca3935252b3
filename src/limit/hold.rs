//! A request's claims on its limits, from the decision to its end.

use crate::clock::Now;
use crate::limit::lease::Slice;
use crate::limit::quota;
use crate::limit::tag::Tag;
use crate::snapshot::catalog::LimitUnit;

/// Limits whose claims a hold carries in itself; those of further ones it allocates.
const CLAIMS_MAX: usize = 4;

/// What one limit gave.
#[derive(Clone, Copy, Debug)]
pub(super) enum Claimed {
    /// Slots of a schedule.
    Slots(Slice),
    /// Units of a window.
    Units(quota::Taken),
    /// A place among so many in flight.
    Place(u32),
}

/// A claim on one limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) tag: Tag,
    pub(super) unit: LimitUnit,
    pub(super) claimed: Claimed,
}

/// One request's claims on all its limits. Given back to [`Shard::settle`] of the same shard
/// exactly once.
///
/// [`Shard::settle`]: super::Shard::settle
#[must_use = "a hold that is not settled leaves its request counted as running forever"]
#[derive(Debug)]
pub struct Hold {
    first: [Option<Claim>; CLAIMS_MAX],
    more: Vec<Claim>,
    /// When it was given: what it cost more than it held is owed from then on.
    pub(super) now: Now,
}

impl Hold {
    #[inline]
    pub(super) fn new(now: Now) -> Self {
        Self {
            first: [None; CLAIMS_MAX],
            more: Vec::new(),
            now,
        }
    }

    #[inline]
    pub(super) fn push(&mut self, claim: Claim) {
        match self.first.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(claim),
            None => self.more.push(claim),
        }
    }

    /// What was taken, of each limit.
    #[inline]
    pub(super) fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.first.iter().flatten().chain(&self.more)
    }
}

/// What became of a request that was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It reached its upstream, or may have: it is counted.
    Used {
        /// Bytes received from the client, head included.
        bytes_in: u64,
        /// Bytes sent to the client, head included.
        bytes_out: u64,
    },
    /// It certainly reached no upstream: what was held is given back where possible.
    Unused,
}

impl Outcome {
    /// Used, where no limit counts bytes.
    pub const USED: Self = Self::Used {
        bytes_in: 0,
        bytes_out: 0,
    };

    /// What it cost in bytes of that kind; `None` where the unit is no bytes.
    pub(super) fn bytes(self, unit: LimitUnit) -> Option<u64> {
        match (self, unit) {
            (_, LimitUnit::Requests) => None,
            (Self::Unused, _) => Some(0),
            (Self::Used { bytes_in, .. }, LimitUnit::BytesIn) => Some(bytes_in),
            (Self::Used { bytes_out, .. }, LimitUnit::BytesOut) => Some(bytes_out),
        }
    }
}
