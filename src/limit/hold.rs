//! A request's claims on its limits, from the decision to its end.

use crate::clock::Now;
use crate::limit::lease::Slice;
use crate::limit::quota;
use crate::limit::tag::Tag;
use crate::snapshot::catalog::LimitUnit;

/// Limits whose claims have room in the record of a hold; those of further ones it allocates.
const CLAIMS_MAX: usize = 4;

/// What one limit gave.
#[derive(Clone, Copy, Debug)]
pub(super) enum Claimed {
    /// Slots of a schedule.
    Slots(Slice, LimitUnit),
    /// Units of a window.
    Units(quota::Taken, LimitUnit),
    /// A place among so many in flight.
    Place(u32),
}

/// A claim on one limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) tag: Tag,
    pub(super) claimed: Claimed,
}

/// One request's claims on all its limits: where the shard that gave it keeps them. Given back to
/// [`Shard::settle`] of the same shard exactly once.
///
/// [`Shard::settle`]: super::Shard::settle
#[must_use = "a hold that is not settled leaves its request counted as running forever"]
#[derive(Debug)]
pub struct Hold {
    place: u32,
}

/// The record of a hold.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// When it was given: what it cost more than it held is owed from then on.
    pub(super) now: Now,
    /// Claims in `first`.
    len: u8,
    /// One of them is settled at another cost than what was held, or has to be given back.
    pub(super) is_open: bool,
    first: [Option<Claim>; CLAIMS_MAX],
    more: Vec<Claim>,
}

impl Claims {
    #[inline]
    fn push(&mut self, claim: Claim) {
        self.is_open |= match claim.claimed {
            Claimed::Slots(_, unit) | Claimed::Units(_, unit) => unit != LimitUnit::Requests,
            Claimed::Place(_) => true,
        };
        match self.first.get_mut(usize::from(self.len)) {
            Some(place) => {
                *place = Some(claim);
                self.len += 1;
            }
            None => self.more.push(claim),
        }
    }

    /// What was taken, of each limit.
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Claim> {
        let first = self.first[..usize::from(self.len)].iter().flatten();
        first.chain(&self.more)
    }
}

/// The holds of one worker's running requests.
///
/// They stay where they are, and a request carries a number: moving its claims through every stage
/// of the decision costs more than taking them.
#[derive(Debug, Default)]
pub(super) struct Holds {
    records: Vec<Claims>,
    free: Vec<u32>,
}

impl Holds {
    /// Begins a hold without a claim.
    #[inline]
    pub(super) fn begin(&mut self, now: Now) -> Hold {
        let place = self.free.pop().unwrap_or_else(|| {
            self.records.push(Claims::default());
            u32::try_from(self.records.len() - 1).expect("a worker has less than 2^32 requests")
        });
        let record = &mut self.records[place as usize];
        (record.now, record.len, record.is_open) = (now, 0, false);
        record.more.clear();
        Hold { place }
    }

    /// Adds a claim.
    #[inline]
    pub(super) fn push(&mut self, hold: &Hold, claim: Claim) {
        self.records[hold.place as usize].push(claim);
    }

    /// What a hold claims.
    #[inline]
    pub(super) fn claims(&self, hold: &Hold) -> &Claims {
        &self.records[hold.place as usize]
    }

    /// Ends a hold.
    #[inline]
    pub(super) fn end(&mut self, hold: &Hold) {
        self.free.push(hold.place);
    }

    /// Holds that have not ended.
    pub(super) fn len(&self) -> usize {
        self.records.len() - self.free.len()
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

    /// Units that it cost; `None` where it cost just what was held.
    #[inline]
    pub(super) fn cost(self, unit: LimitUnit) -> Option<u64> {
        match (self, unit) {
            (Self::Unused, _) => Some(0),
            (Self::Used { .. }, LimitUnit::Requests) => None,
            (Self::Used { bytes_in, .. }, LimitUnit::BytesIn) => Some(bytes_in),
            (Self::Used { bytes_out, .. }, LimitUnit::BytesOut) => Some(bytes_out),
        }
    }
}
