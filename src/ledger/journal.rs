//! The bytes of a quota journal.
//!
//! ```text
//! header   "KWQJ" | version u16 | count of absorbed u16 | boot u64 | seeds 2 × u64
//!          | absorbed boots, u64 each | crc32 of all before: u32
//! batch    count u32 | rows, 24 bytes each | crc32 of count and rows: u32
//! row      tag u64 | units u64 | window u32 | granule u32
//! ```
//!
//! Little-endian. A row says what this process consumed of a quota in a window, and what the
//! processes did whose files it absorbed: a sum, not a step, so that of several rows the last one
//! counts and none counts twice. What follows the last whole batch was torn by a crash and is
//! dropped.

use std::collections::HashMap;

use crate::limit::quota_word;
use crate::limit::tag::Tag;

const MAGIC: [u8; 4] = *b"KWQJ";
/// The version of the format.
pub const VERSION: u16 = 1;
const HEADER_BYTES: usize = 32;
const ROW_BYTES: usize = 24;
/// Files that one file may have absorbed.
pub const ABSORBED_MAX: usize = 1_024;
/// Most rows of a batch.
pub const BATCH_ROWS_MAX: usize = 1 << 20;

/// What is consumed of a quota in one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which limit of which subject.
    pub tag: Tag,
    /// When the window began, hours since 1970.
    pub window: u32,
    /// Units of a granule of its word, at least 1.
    pub granule: u32,
    /// Units.
    pub units: u64,
}

impl Row {
    /// What the bank's word says of it.
    pub fn to_word(self) -> u64 {
        quota_word(self.window, self.units / u64::from(self.granule.max(1)))
    }
}

/// The consumption of one process, by quota and window.
pub type Sums = HashMap<(Tag, u32), (u32, u64), ahash::RandomState>;

/// What stands before the batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Random number of the process that writes.
    pub boot: u64,
    /// What addresses in tags are hashed with.
    pub seeds: [u64; 2],
    /// Processes whose files are contained in this one.
    pub absorbed: Vec<u64>,
}

/// A file, read.
#[derive(Debug)]
pub struct Journal {
    /// Its header.
    pub header: Header,
    /// What it says.
    pub sums: Sums,
    /// Bytes behind the last whole batch.
    pub torn_bytes: usize,
}

/// Why a file is no journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Another kind of file, or its header is damaged.
    #[error("is no quota journal, or its header is damaged")]
    Header,
    /// Another format.
    #[error("has format {0}; this program reads {VERSION}")]
    Version(u16),
}

impl Header {
    /// The header as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + 8 * self.absorbed.len() + 4);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        let absorbed = u16::try_from(self.absorbed.len().min(ABSORBED_MAX)).unwrap_or(0);
        bytes.extend_from_slice(&absorbed.to_le_bytes());
        bytes.extend_from_slice(&self.boot.to_le_bytes());
        for seed in self.seeds {
            bytes.extend_from_slice(&seed.to_le_bytes());
        }
        for boot in self.absorbed.iter().take(ABSORBED_MAX) {
            bytes.extend_from_slice(&boot.to_le_bytes());
        }
        seal(&mut bytes, 0);
        bytes
    }

    /// Reads a header; answers what follows it.
    fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), JournalError> {
        let head = bytes.get(..HEADER_BYTES).ok_or(JournalError::Header)?;
        if head[..4] != MAGIC {
            return Err(JournalError::Header);
        }
        let version = u16::from_le_bytes([head[4], head[5]]);
        if version != VERSION {
            return Err(JournalError::Version(version));
        }
        let absorbed = usize::from(u16::from_le_bytes([head[6], head[7]]));
        let end = HEADER_BYTES + 8 * absorbed;
        let (sealed, rest) = unseal(bytes, end).ok_or(JournalError::Header)?;
        let boots = sealed[HEADER_BYTES..].chunks_exact(8);
        let header = Self {
            boot: u64_at(head, 8),
            seeds: [u64_at(head, 16), u64_at(head, 24)],
            absorbed: boots.map(|boot| u64_at(boot, 0)).collect(),
        };
        Ok((header, rest))
    }
}

/// Appends a batch.
pub fn write_batch(out: &mut Vec<u8>, rows: &[Row]) {
    let start = out.len();
    let count = u32::try_from(rows.len()).expect("a batch is bounded");
    out.extend_from_slice(&count.to_le_bytes());
    for row in rows {
        out.extend_from_slice(&row.tag.get().to_le_bytes());
        out.extend_from_slice(&row.units.to_le_bytes());
        out.extend_from_slice(&row.window.to_le_bytes());
        out.extend_from_slice(&row.granule.to_le_bytes());
    }
    seal(out, start);
}

impl Journal {
    /// Reads a file.
    pub fn decode(bytes: &[u8]) -> Result<Self, JournalError> {
        let (header, mut rest) = Header::decode(bytes)?;
        let mut sums = Sums::default();
        while let Some((rows, after)) = next_batch(rest) {
            for row in rows.chunks_exact(ROW_BYTES) {
                // A kind that is not known here is not counted here either.
                if let Some(tag) = Tag::of_word(u64_at(row, 0)) {
                    let (window, granule) = (u32_at(row, 16), u32_at(row, 20));
                    sums.insert((tag, window), (granule.max(1), u64_at(row, 8)));
                }
            }
            rest = after;
        }
        Ok(Self {
            header,
            sums,
            torn_bytes: rest.len(),
        })
    }
}

/// The rows of the next whole batch, and what follows it.
fn next_batch(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let count = usize::try_from(u32_at(bytes.get(..4)?, 0)).ok()?;
    if count > BATCH_ROWS_MAX {
        return None;
    }
    let (sealed, rest) = unseal(bytes, 4 + count * ROW_BYTES)?;
    Some((&sealed[4..], rest))
}

/// Appends the checksum of what stands from `start` on.
fn seal(bytes: &mut Vec<u8>, start: usize) {
    let checksum = crc32fast::hash(&bytes[start..]);
    bytes.extend_from_slice(&checksum.to_le_bytes());
}

/// Splits off `length` bytes and their checksum; `None` if that is wrong.
fn unseal(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    let (sealed, rest) = bytes.split_at_checked(length)?;
    let (checksum, rest) = rest.split_at_checked(4)?;
    (checksum == crc32fast::hash(sealed).to_le_bytes()).then_some((sealed, rest))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::limit::tag::Kind;

    fn row(subject: u32, units: u64) -> Row {
        Row {
            tag: Tag::numbered(Kind::Quota, NonZeroU32::MIN, subject),
            window: 490_000,
            granule: 1,
            units,
        }
    }

    fn header() -> Header {
        Header {
            boot: 7,
            seeds: [1, 2],
            absorbed: vec![3, 4],
        }
    }

    fn file(batches: &[&[Row]]) -> Vec<u8> {
        let mut bytes = header().encode();
        batches
            .iter()
            .for_each(|rows| write_batch(&mut bytes, rows));
        bytes
    }

    fn units(journal: &Journal, subject: u32) -> Option<u64> {
        let row = row(subject, 0);
        journal
            .sums
            .get(&(row.tag, row.window))
            .map(|(_, units)| *units)
    }

    #[test]
    fn of_several_rows_of_a_quota_the_last_one_counts() {
        let bytes = file(&[&[row(1, 5), row(2, 1)], &[], &[row(1, 9)]]);
        let journal = Journal::decode(&bytes).unwrap();
        assert_eq!((journal.header.clone(), journal.torn_bytes), (header(), 0));
        assert_eq!((units(&journal, 1), units(&journal, 2)), (Some(9), Some(1)));
    }

    #[test]
    fn a_torn_batch_is_dropped_and_nothing_before_it() {
        let whole = file(&[&[row(1, 5)]]);
        let bytes = file(&[&[row(1, 5)], &[row(1, 9)]]);
        for length in whole.len()..bytes.len() {
            let journal = Journal::decode(&bytes[..length]).unwrap();
            assert_eq!(units(&journal, 1), Some(5), "cut at {length}");
            assert_eq!(journal.torn_bytes, length - whole.len());
        }
        for length in 0..header().encode().len() {
            assert!(Journal::decode(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn each_flipped_byte_is_noticed() {
        let bytes = file(&[&[row(1, 5)]]);
        for at in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[at] ^= 0x10;
            let told = Journal::decode(&bent).map(|journal| units(&journal, 1));
            assert!(matches!(told, Err(_) | Ok(None)), "byte {at}: {told:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(body: Vec<u8>) {
            let mut bytes = header().encode();
            bytes.extend_from_slice(&body);
            let _ = Journal::decode(&bytes);
            let _ = Journal::decode(&body);
        }
    }
}
