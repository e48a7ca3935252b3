//! What a snapshot says about one key and one app, and the 64 bytes of a key on disk.
//!
//! A record is one cache line, so a lookup that finds its key touches memory once. Bytes that no
//! field uses are reserved and must be zero: a later version may give them a meaning, and a node
//! that does not know it must refuse rather than overlook it.

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::ids::KeyId;

/// Bytes of a slot in the key table: one cache line.
pub const SLOT_BYTES: usize = 64;

/// One slot of the key table: a record, or all zero when empty.
pub type Slot = [u8; SLOT_BYTES];

/// A slot that holds no record.
pub(super) const EMPTY: Slot = [0; SLOT_BYTES];

// Where each field lies in a slot, little-endian.
const DIGEST: std::ops::Range<usize> = 0..16;
const ID: usize = 16;
const NUMBER: usize = 24;
const APP: usize = 28;
const NOT_BEFORE: usize = 32;
const NOT_AFTER: usize = 36;
const STATE: usize = 40;
const ENVIRONMENT: usize = 41;
const PEPPER: usize = 42;
const UNLIMITED: usize = 43;
const RESERVED: std::ops::Range<usize> = 44..SLOT_BYTES;

/// The first 16 bytes of `HMAC-SHA-256(pepper, key)`: all that a snapshot knows of a key.
///
/// Its first 8 bytes, big-endian, place it in the key table; equality is constant-time.
#[expect(
    clippy::derived_hash_with_manual_eq,
    reason = "equality is of the same bytes"
)]
#[derive(Clone, Copy, Hash, PartialOrd, Ord, Default)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// The part that orders the table and picks the home slot; already uniform.
    pub(super) fn place(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl fmt::Debug for Digest {
    /// The first four bytes only: enough to tell two records apart in a failed test.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "Digest({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// What a key is for; part of the key's written form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Real traffic.
    Live,
    /// A sandbox.
    Test,
}

impl Environment {
    /// As written in a key, in headers and in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Live => 1,
            Self::Test => 2,
        }
    }

    const fn of_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Live),
            2 => Some(Self::Test),
            _ => None,
        }
    }
}

/// Whether a key may be used, apart from its validity in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// In use.
    Active,
    /// Refused until enabled again.
    Disabled,
    /// Refused for good. In an overlay it also stands for a key that was deleted.
    Revoked,
}

impl KeyState {
    const fn code(self) -> u8 {
        match self {
            Self::Active => 1,
            Self::Disabled => 2,
            Self::Revoked => 3,
        }
    }

    const fn of_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Active),
            2 => Some(Self::Disabled),
            3 => Some(Self::Revoked),
            _ => None,
        }
    }
}

/// One key as the data plane judges it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Keyed digest of the key.
    pub digest: Digest,
    /// Public id, for logs and usage.
    pub id: KeyId,
    /// Stable number, at least 1: names the key's words in the limit bank.
    pub number: u32,
    /// Number of the app that owns it, at least 1.
    pub app: u32,
    /// First second since the epoch at which it is valid; 0 means always.
    pub not_before_s: u32,
    /// First second since the epoch at which it is no longer valid; 0 means it never ends.
    pub not_after_s: u32,
    /// In use, disabled or revoked.
    pub state: KeyState,
    /// Live or test.
    pub environment: Environment,
    /// Id of the pepper its digest was made with.
    pub pepper: u8,
    /// The limits of its plans do not hold for it.
    pub unlimited: bool,
}

/// Why 64 bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The public id is zero.
    #[error("its id is zero")]
    IdZero,
    /// The number is zero.
    #[error("its number is zero")]
    NumberZero,
    /// The app's number is zero.
    #[error("the number of its app is zero")]
    AppZero,
    /// No such state.
    #[error("its state {0} is unknown")]
    State(u8),
    /// No such environment.
    #[error("its environment {0} is unknown")]
    Environment(u8),
    /// A flag that is neither 0 nor 1.
    #[error("a flag is neither 0 nor 1")]
    Flag,
    /// A reserved byte is set.
    #[error("a reserved byte is not zero")]
    Reserved,
}

impl KeyRecord {
    /// The record as it stands in the key table.
    pub fn to_slot(&self) -> Slot {
        let mut slot = [0; SLOT_BYTES];
        slot[DIGEST].copy_from_slice(&self.digest.0);
        slot[ID..NUMBER].copy_from_slice(&self.id.get().to_le_bytes());
        slot[NUMBER..APP].copy_from_slice(&self.number.to_le_bytes());
        slot[APP..NOT_BEFORE].copy_from_slice(&self.app.to_le_bytes());
        slot[NOT_BEFORE..NOT_AFTER].copy_from_slice(&self.not_before_s.to_le_bytes());
        slot[NOT_AFTER..STATE].copy_from_slice(&self.not_after_s.to_le_bytes());
        slot[STATE] = self.state.code();
        slot[ENVIRONMENT] = self.environment.code();
        slot[PEPPER] = self.pepper;
        slot[UNLIMITED] = u8::from(self.unlimited);
        slot
    }

    /// Reads a slot that is not empty, and checks all of it.
    pub fn from_slot(slot: &Slot) -> Result<Self, RecordError> {
        if slot[RESERVED].iter().any(|byte| *byte != 0) {
            return Err(RecordError::Reserved);
        }
        Self::decode(slot)
    }

    /// Reads a slot of a table that was verified: what no lookup depends on is not looked at
    /// again.
    pub(super) fn decode(slot: &Slot) -> Result<Self, RecordError> {
        let record = Self {
            digest: digest_of(slot),
            id: KeyId::new(u64_at(slot, ID)).ok_or(RecordError::IdZero)?,
            number: u32_at(slot, NUMBER),
            app: u32_at(slot, APP),
            not_before_s: u32_at(slot, NOT_BEFORE),
            not_after_s: u32_at(slot, NOT_AFTER),
            state: KeyState::of_code(slot[STATE]).ok_or(RecordError::State(slot[STATE]))?,
            environment: Environment::of_code(slot[ENVIRONMENT])
                .ok_or(RecordError::Environment(slot[ENVIRONMENT]))?,
            pepper: slot[PEPPER],
            unlimited: match slot[UNLIMITED] {
                0 => false,
                1 => true,
                _ => return Err(RecordError::Flag),
            },
        };
        record.check()?;
        Ok(record)
    }

    /// What the types of the fields do not say.
    pub(super) fn check(&self) -> Result<(), RecordError> {
        if self.number == 0 {
            return Err(RecordError::NumberZero);
        }
        if self.app == 0 {
            return Err(RecordError::AppZero);
        }
        Ok(())
    }
}

/// The digest in a slot.
pub(super) fn digest_of(slot: &Slot) -> Digest {
    let mut digest = [0; 16];
    digest.copy_from_slice(&slot[DIGEST]);
    Digest(digest)
}

/// Whether a slot of a verified table is empty: every record has a state, and no state is zero.
pub(super) fn is_empty(slot: &Slot) -> bool {
    slot[STATE] == 0
}

fn u32_at(slot: &Slot, at: usize) -> u32 {
    u32::from_le_bytes([slot[at], slot[at + 1], slot[at + 2], slot[at + 3]])
}

fn u64_at(slot: &Slot, at: usize) -> u64 {
    u64::from(u32_at(slot, at)) | u64::from(u32_at(slot, at + 4)) << 32
}

/// One app as it goes into a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppEntry {
    /// Stable number, at least 1.
    pub number: u32,
    /// Number of its tenant.
    pub tenant: u32,
    /// A disabled app's keys are refused. A deleted app travels in an overlay as disabled.
    pub enabled: bool,
    /// The limits of its plans do not hold for its keys.
    pub unlimited: bool,
    /// Name within its tenant, `[a-z0-9][a-z0-9._-]{0,62}`.
    pub name: String,
    /// What it may call, at most one plan an API, in any order.
    pub grants: Vec<Grant>,
}

/// An app's right to call one API under one plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// Number of the API.
    pub api: u32,
    /// Number of the plan.
    pub plan: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> KeyRecord {
        KeyRecord {
            digest: Digest(std::array::from_fn(|at| {
                u8::try_from(at + 1).expect("small")
            })),
            id: KeyId::new(0x1122_3344_5566_7788).expect("not zero"),
            number: 7,
            app: 9,
            not_before_s: 1_700_000_000,
            not_after_s: u32::MAX,
            state: KeyState::Disabled,
            environment: Environment::Test,
            pepper: 255,
            unlimited: true,
        }
    }

    #[test]
    fn a_slot_reads_back_as_the_record_it_was_written_from() {
        assert_eq!(KeyRecord::from_slot(&record().to_slot()), Ok(record()));
    }

    #[test]
    fn each_fault_of_a_slot_has_its_own_error() {
        let refused = |at: std::ops::Range<usize>, byte: u8| {
            let mut slot = record().to_slot();
            slot[at].fill(byte);
            KeyRecord::from_slot(&slot).expect_err("faulty")
        };
        assert_eq!(refused(ID..NUMBER, 0), RecordError::IdZero);
        assert_eq!(refused(NUMBER..APP, 0), RecordError::NumberZero);
        assert_eq!(refused(APP..NOT_BEFORE, 0), RecordError::AppZero);
        assert_eq!(refused(STATE..STATE + 1, 4), RecordError::State(4));
        assert_eq!(
            refused(ENVIRONMENT..ENVIRONMENT + 1, 0),
            RecordError::Environment(0)
        );
        assert_eq!(refused(UNLIMITED..UNLIMITED + 1, 2), RecordError::Flag);
        for at in RESERVED {
            assert_eq!(refused(at..at + 1, 1), RecordError::Reserved);
        }
    }

    #[test]
    fn debug_of_a_digest_does_not_show_it_whole() {
        assert_eq!(format!("{:?}", record().digest), "Digest(01020304…)");
    }
}
