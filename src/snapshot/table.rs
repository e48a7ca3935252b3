//! The key table: open addressing by a digest that is already uniform.
//!
//! A key's *home* is the first 64 bits of its digest scaled to the table's capacity (Lemire's
//! "fastrange": one multiplication, any capacity). Records stand in ascending order of their
//! digests, each at its home or, if that is taken, at the next free slot:
//! `slot = max(home, previous slot + 1)`. What follows from the order:
//!
//! - a writer that receives keys in order writes the table front to back in constant memory, and
//!   the same keys always give the same bytes;
//! - a lookup starts at home and ends at the key, at an empty slot or at a greater digest, so a
//!   miss is no longer than a hit;
//! - the rule itself is what a reader verifies, one slot at a time.
//!
//! Slots past the capacity take what the last homes could not hold; there is no wrapping.

use subtle::ConstantTimeEq;

use super::format::KeyFault;
use super::record::{self, Digest, KeyRecord, Slot};

/// No record stands further than this from home. With uniform digests at the greatest load the
/// expected maximum over a billion keys is below 1000, so a longer run means that digests are not
/// uniform, and would make every lookup in it slow.
pub const DISTANCE_MAX: u64 = 4_096;

/// The home slots a writer gives to `keys` keys: 3 for 2, so a hit looks at 2 slots on average,
/// which a processor fetches together.
pub fn capacity_for(keys: u64) -> Option<u64> {
    keys.checked_mul(3)?
        .checked_add(1)
        .map(|tripled| tripled / 2)
}

/// Whether a reader accepts a capacity for that many keys: at most 4 keys on 5 home slots.
pub fn capacity_is_allowed(keys: u64, capacity: u64) -> bool {
    keys.checked_mul(5)
        .is_some_and(|keys| capacity.checked_mul(4).is_some_and(|slots| slots >= keys))
}

/// The slot where the search for a digest starts.
pub fn home(digest: &Digest, capacity: u64) -> u64 {
    let scaled = u128::from(digest.place()) * u128::from(capacity);
    u64::try_from(scaled >> 64).expect("the upper half of 128 bits has 64")
}

/// Finds a digest in a verified table.
///
/// Skipping and stopping look at the place of each digest only, which says nothing about a key
/// (it is keyed); the candidate itself is compared in constant time.
pub fn find<'t>(slots: &'t [Slot], capacity: u64, digest: &Digest) -> Option<&'t Slot> {
    let place = digest.place();
    let home = usize::try_from(home(digest, capacity)).ok()?;
    for slot in slots.get(home..)? {
        let here = record::digest_of(slot);
        if here.place() < place && !record::is_empty(slot) {
            continue;
        }
        if here.place() != place || record::is_empty(slot) {
            return None;
        }
        if here.0.ct_eq(&digest.0).into() {
            return Some(slot);
        }
    }
    None
}

/// Where the next record goes. Shared by writer and verifier, so that they cannot disagree.
#[derive(Clone, Copy, Debug)]
pub struct Placement {
    capacity: u64,
    next_free: u64,
    previous: Option<Digest>,
}

impl Placement {
    /// An empty table with this many home slots.
    pub fn new(capacity: u64) -> Self {
        Self {
            capacity,
            next_free: 0,
            previous: None,
        }
    }

    /// The slot of the next record, or why it may not come next.
    pub fn place(&mut self, digest: &Digest) -> Result<u64, KeyFault> {
        if self.previous.is_some_and(|previous| previous.0 >= digest.0) {
            return Err(KeyFault::Unordered);
        }
        let home = home(digest, self.capacity);
        let slot = home.max(self.next_free);
        if slot - home > DISTANCE_MAX {
            return Err(KeyFault::TooFar);
        }
        self.next_free = slot + 1;
        self.previous = Some(*digest);
        Ok(slot)
    }

    /// The first slot after all records so far.
    pub fn next_free(&self) -> u64 {
        self.next_free
    }

    /// How many slots the table has once all records are placed.
    pub fn slots(&self) -> u64 {
        self.next_free.max(self.capacity)
    }
}

/// Walks a table front to back, proves that each record stands where [`find`] looks for it, and
/// shows each one to `visit`. Answers how many there are.
///
/// The slot is given with each fault.
pub fn verify(
    slots: &[Slot],
    capacity: u64,
    mut visit: impl FnMut(&KeyRecord) -> Result<(), KeyFault>,
) -> Result<Verified, (u64, KeyFault)> {
    let mut placement = Placement::new(capacity);
    let mut keys = 0;
    for (at, slot) in (0_u64..).zip(slots) {
        if *slot == record::EMPTY {
            continue;
        }
        let record = KeyRecord::from_slot(slot).map_err(|fault| (at, fault.into()))?;
        let place = placement
            .place(&record.digest)
            .map_err(|fault| (at, fault))?;
        if place != at {
            return Err((at, KeyFault::Misplaced));
        }
        visit(&record).map_err(|fault| (at, fault))?;
        keys += 1;
    }
    Ok(Verified {
        keys,
        slots: placement.slots(),
    })
}

/// What a walk over a table found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Records in the table.
    pub keys: u64,
    /// Slots that a table with these records must have.
    pub slots: u64,
}
