//! Limits: the last stage that may refuse a request before it costs anything.
//!
//! Takes a [`Demand`] (whose request it is, and the [`CompiledLimit`]s of its API and plan) and a
//! time; answers a [`Hold`] of all limits together or a [`Refused`]. Each worker has a [`Shard`];
//! all shards of a node draw on one [`Bank`] of shared words. Absent on purpose: counting first
//! and reconciling later, which admits too much by as many bursts as there are workers.
//!
//! A limit has one of three shapes: a rate ([`rate`]), a quota of the calendar ([`quota`]), or so many
//! requests in flight ([`concurrency`]). What follows is about rates; the other two count, and a
//! count is exact by itself as long as what is leased is taken first.
//!
//! # How it works
//!
//! A limit of `rate` with `burst` is a schedule of slots of length T = 1/rate, one for each
//! request, that may run ahead of the clock by at most `burst` slots (the generic cell rate
//! algorithm, GCRA). A word of the bank says how far the schedule of one subject is debited. A
//! worker takes a *lease* at time `now`: by compare-and-swap it moves the word from `w` to `end`,
//! where `start = max(w, now)`, `end = start + n·T` and `end - now <= burst·T`. The slice
//! `[start, end)` of the schedule is then its own, and it spends it without asking anyone: a
//! request at time `t` gets the slot `[v, v + T)` with `v = max(start, t)` if `v + T <= end`, and
//! `start` becomes `v + T`. What is left is returned at reconciliation by moving the word from
//! `end` back to `start`, if it still stands at `end`; otherwise it is kept while it can hold a
//! unit.
//!
//! # Why it is exact
//!
//! *Over every interval `[a, b]`, at most `burst + rate·(b - a)` requests are admitted.*
//!
//! 1. Slices are disjoint. The word is never before the end of a slice that someone holds: a
//!    lease begins at or after it, and it goes back only from the end of the very slice returned,
//!    so what lies after that slice belongs to nobody. Hence all slots are disjoint.
//! 2. A request admitted at `t` has a slot `[v, v + T)` with `t <= v`, by the rule of spending,
//!    and `v + T <= t + burst·T`, because its slice was taken at some `now <= t` and ended by
//!    `now + burst·T`.
//! 3. So the slots of all requests admitted in `[a, b]` are disjoint, of length T, and lie in
//!    `[a, b + burst·T)`. There are at most `(b - a)/T + burst` of them.
//!
//! Nothing in it asks how many workers there are, how old a lease is, in which order they
//! reconcile, in which process they run, or whether one dies: what a dead worker held is lost,
//! never given twice. A unit given back ([`Outcome::Unused`]) gives back its slot, which is spent by
//! the same rule. Across a change of a limit's terms the word stays, so what was spent stays spent;
//! an interval that spans the change admits at most what the terms before and after admit together.
//!
//! *Bytes* are units like requests, but nobody knows in advance how many an answer has. What is known
//! is held (head and announced body; one byte of an answer), and the rest is debited at the end, also
//! beyond the burst: later requests wait until it is paid off. So an interval admits at most what the
//! rule says and what the requests in flight at its end bring.
//!
//! # What it costs
//!
//! A lease is worth at most a quarter of a reconciliation period divided by the workers, and at
//! most one part in `2·workers` of what is left; near the limit it is one unit, taken and spent at
//! once. So a key whose demand is above its limit loses nothing to leases lying elsewhere, and
//! one far below it moves the shared word a few times a reconciliation instead of once a request.

mod addresses;
pub mod bank;
mod book;
mod calendar;
pub mod compiled;
mod concurrency;
mod entry;
pub mod headers;
pub mod hold;
pub mod journal;
pub mod lease;
mod memory;
mod quota;
mod rate;
pub mod schedule;
pub mod shard;
pub mod standing;
pub mod subjects;
pub mod tag;

#[cfg(test)]
mod interleave_tests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod shape_tests;
#[cfg(test)]
mod shard_tests;
#[cfg(test)]
mod simulate;
#[cfg(test)]
mod simulate_shapes;

pub use bank::{Bank, BankFull};
pub use calendar::{Calendar, ZoneUnknown};
pub use compiled::{CompiledLimit, LimitError};
pub use hold::{Hold, Outcome};
pub use quota::word_of as quota_word;
pub use shard::{LimitTally, Refused, Shard, ShardCounts, ShardSettings};
pub use standing::Standing;
pub use subjects::{Demand, Subjects};
