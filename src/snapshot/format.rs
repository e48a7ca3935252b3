//! The bytes of a snapshot file: header, section table, and where everything lies.
//!
//! All integers are little-endian. The layout is canonical: the order of sections, each offset and
//! each byte of padding follow from the lengths, so two files that say the same are the same bytes.
//!
//! | offset | bytes | header field |
//! |---|---|---|
//! | 0 | 8 | magic `\x89KWS\r\n\x1a\n` |
//! | 8 | 4 | format version, [`VERSION`] |
//! | 12 | 4 | kind: 1 base, 2 overlay |
//! | 16 | 8 | generation, at least 1 |
//! | 24 | 8 | when it was made, milliseconds since 1970 |
//! | 32 | 8 | overlay: its base's generation, else 0 |
//! | 40 | 8 | overlay: its base's checksum, else 0 |
//! | 48 | 8 | bytes of the whole file |
//! | 56 | 8 | capacity of the key table: the range of home slots |
//! | 64 | 32 | pepper ids in use, one bit each |
//! | 96 | 200 | five sections of 40 bytes: id u32, zero u32, offset, length, count, xxh3-64 |
//! | 296 | 208 | zero |
//! | 504 | 8 | xxh3-64 of the 504 bytes before: the checksum of the file |
//!
//! The header's checksum covers the sections' checksums, so it stands for the whole file. Sections
//! follow in the order of [`SectionId`], each at the next multiple of 64, with zeros between; the
//! file ends with the last one.
//!
//! - **apps**: 24 bytes each, numbers ascending: number, tenant, start in strings, start in grants,
//!   count of grants (u32 each), length of the name (u8), enabled, unlimited (u8 each: 0 or 1), zero (u8).
//! - **grants**: 8 bytes each: API, plan (u32 each); an app's are consecutive, APIs ascending.
//! - **strings**: the names of the apps, one after the other, in the order of the apps.
//! - **catalog**: one JSON object, see [`catalog`](super::catalog).
//! - **keys**: 64 bytes a slot, see [`table`](super::table) and [`record`](super::record).

use std::ops::Range;

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

pub use super::fault::{AppFault, FormatError, KeyFault};

/// The first bytes of a snapshot; chosen like PNG's, so that a transfer as text breaks them.
pub const MAGIC: [u8; 8] = *b"\x89KWS\r\n\x1a\n";
/// The only format version that this build reads and writes.
pub const VERSION: u32 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 512;
/// The largest file that this format allows: 64 GiB, some 700 million keys.
pub const FILE_BYTES_MAX: u64 = 64 << 30;
/// Every section starts at a multiple of this: a slot of the key table is one cache line.
pub const ALIGNMENT: u64 = 64;
/// Bytes of an app's fixed part.
pub const APP_BYTES: usize = 24;
/// Bytes of a grant.
pub const GRANT_BYTES: usize = 8;

pub(super) const SECTIONS_AT: usize = 96;
pub(super) const SECTION_BYTES: usize = 40;
const RESERVED_AT: usize = SECTIONS_AT + SECTION_BYTES * SectionId::ALL.len();
pub(super) const CHECKSUM_AT: usize = HEADER_BYTES - 8;

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Everything.
    Base,
    /// What changed since one base; read before it.
    Overlay,
}

/// The sections, in the order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SectionId {
    /// Fixed part of the apps.
    Apps,
    /// What the apps may call.
    Grants,
    /// Names of the apps.
    Strings,
    /// The catalog's JSON.
    Catalog,
    /// The key table.
    Keys,
}

impl SectionId {
    /// All sections, in the order of the file.
    pub const ALL: [Self; 5] = [
        Self::Apps,
        Self::Grants,
        Self::Strings,
        Self::Catalog,
        Self::Keys,
    ];

    /// As printed and as in errors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Apps => "apps",
            Self::Grants => "grants",
            Self::Strings => "strings",
            Self::Catalog => "catalog",
            Self::Keys => "keys",
        }
    }

    const fn code(self) -> u32 {
        match self {
            Self::Apps => 1,
            Self::Grants => 2,
            Self::Strings => 3,
            Self::Catalog => 4,
            Self::Keys => 5,
        }
    }

    pub(super) const fn place(self) -> usize {
        match self {
            Self::Apps => 0,
            Self::Grants => 1,
            Self::Strings => 2,
            Self::Catalog => 3,
            Self::Keys => 4,
        }
    }
}

/// One row of the section table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Where it starts in the file.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
    /// Its entries: apps, grants, names, 1 for the catalog, keys (not slots).
    pub count: u64,
    /// xxh3-64 of its bytes.
    pub checksum: u64,
}

/// Which base an overlay belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseRef {
    /// The base's generation.
    pub generation: u64,
    /// The base's checksum.
    pub checksum: u64,
}

/// A set of pepper ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PepperSet([u8; 32]);

impl PepperSet {
    /// Adds one id.
    pub fn insert(&mut self, pepper: u8) {
        self.0[usize::from(pepper >> 3)] |= 1 << (pepper & 7);
    }

    /// Adds all ids of another set.
    pub fn union(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine |= theirs;
        }
    }

    /// The ids, ascending.
    pub fn ids(&self) -> Vec<u8> {
        let has = |id: &u8| self.0[usize::from(id >> 3)] & (1 << (id & 7)) != 0;
        (0..=u8::MAX).filter(has).collect()
    }
}

/// The header in its decoded form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `None` for a base, the base it belongs to for an overlay.
    pub base: Option<BaseRef>,
    /// The generation, at least 1.
    pub generation: u64,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// Bytes of the whole file.
    pub file_bytes: u64,
    /// Range of home slots in the key table.
    pub capacity: u64,
    /// Peppers of all records.
    pub peppers: PepperSet,
    /// The sections, in the order of [`SectionId::ALL`].
    pub sections: [Section; SectionId::ALL.len()],
    /// xxh3-64 of the header before it; stands for the whole file.
    pub checksum: u64,
}

/// The offset of the next section after one that ends at `end`.
pub(super) fn aligned(end: u64) -> Option<u64> {
    end.checked_next_multiple_of(ALIGNMENT)
}

impl Header {
    /// Base or overlay.
    pub fn kind(&self) -> Kind {
        if self.base.is_some() {
            Kind::Overlay
        } else {
            Kind::Base
        }
    }

    /// One row of the section table.
    pub fn section(&self, id: SectionId) -> &Section {
        &self.sections[id.place()]
    }

    /// The header's bytes; its checksum is computed here, [`Header::checksum`] is not looked at.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(&MAGIC);
        put(&VERSION.to_le_bytes());
        put(&if self.base.is_some() { 2_u32 } else { 1 }.to_le_bytes());
        put(&self.generation.to_le_bytes());
        put(&self.created_ms.to_le_bytes());
        let base = self.base.unwrap_or(BaseRef {
            generation: 0,
            checksum: 0,
        });
        put(&base.generation.to_le_bytes());
        put(&base.checksum.to_le_bytes());
        put(&self.file_bytes.to_le_bytes());
        put(&self.capacity.to_le_bytes());
        put(&self.peppers.0);
        for id in SectionId::ALL {
            let section = self.section(id);
            put(&id.code().to_le_bytes());
            put(&0_u32.to_le_bytes());
            put(&section.offset.to_le_bytes());
            put(&section.length.to_le_bytes());
            put(&section.count.to_le_bytes());
            put(&section.checksum.to_le_bytes());
        }
        let checksum = xxh3_64(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a header and checks all that it says about itself; offsets are checked by
    /// [`Header::ranges`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(FormatError::NoHeader {
                bytes: bytes.len().try_into().unwrap_or(u64::MAX),
            });
        };
        if bytes[..8] != MAGIC {
            return Err(FormatError::Magic);
        }
        // The version comes before the checksum: a later one may compute it otherwise.
        let found = u32_at(bytes, 8);
        if found != VERSION {
            return Err(FormatError::Version { found });
        }
        let checksum = u64_at(bytes, CHECKSUM_AT);
        if xxh3_64(&bytes[..CHECKSUM_AT]) != checksum {
            return Err(FormatError::HeaderChecksum);
        }
        let mut peppers = PepperSet::default();
        peppers.0.copy_from_slice(&bytes[64..96]);
        Ok(Self {
            base: base_of(bytes)?,
            generation: u64_at(bytes, 16),
            created_ms: u64_at(bytes, 24),
            file_bytes: u64_at(bytes, 48),
            capacity: u64_at(bytes, 56),
            peppers,
            sections: sections_of(bytes)?,
            checksum,
        })
    }

    /// Where each section lies in a file of `bytes` bytes, if the layout is the canonical one.
    pub fn ranges(&self, bytes: u64) -> Result<[Range<usize>; 5], FormatError> {
        if bytes != self.file_bytes {
            return Err(FormatError::Length {
                bytes,
                expected: self.file_bytes,
            });
        }
        let mut ranges = [const { 0..0 }; 5];
        let mut end = u64::try_from(HEADER_BYTES).expect("a small constant");
        for (id, range) in SectionId::ALL.into_iter().zip(&mut ranges) {
            let section = self.section(id);
            let misplaced = || FormatError::Layout { section: id };
            if aligned(end) != Some(section.offset) {
                return Err(misplaced());
            }
            end = section
                .offset
                .checked_add(section.length)
                .ok_or_else(misplaced)?;
            if end > bytes {
                return Err(misplaced());
            }
            let start = usize::try_from(section.offset).map_err(|_| misplaced())?;
            *range = start..usize::try_from(end).map_err(|_| misplaced())?;
        }
        if end != bytes {
            return Err(FormatError::Layout {
                section: SectionId::Keys,
            });
        }
        Ok(ranges)
    }
}

fn base_of(bytes: &[u8; HEADER_BYTES]) -> Result<Option<BaseRef>, FormatError> {
    let generation = u64_at(bytes, 16);
    let base = BaseRef {
        generation: u64_at(bytes, 32),
        checksum: u64_at(bytes, 40),
    };
    let wrong = FormatError::Generation {
        generation,
        base: base.generation,
    };
    match u32_at(bytes, 12) {
        1 if generation == 0 || base.generation != 0 || base.checksum != 0 => Err(wrong),
        1 => Ok(None),
        2 if base.generation == 0 || base.generation >= generation => Err(wrong),
        2 => Ok(Some(base)),
        found => Err(FormatError::Kind { found }),
    }
}

fn sections_of(bytes: &[u8; HEADER_BYTES]) -> Result<[Section; 5], FormatError> {
    let mut sections = [Section::default(); 5];
    for (id, section) in SectionId::ALL.into_iter().zip(&mut sections) {
        let at = SECTIONS_AT + SECTION_BYTES * id.place();
        if u32_at(bytes, at) != id.code() || u32_at(bytes, at + 4) != 0 {
            return Err(FormatError::Layout { section: id });
        }
        *section = Section {
            offset: u64_at(bytes, at + 8),
            length: u64_at(bytes, at + 16),
            count: u64_at(bytes, at + 24),
            checksum: u64_at(bytes, at + 32),
        };
    }
    if bytes[RESERVED_AT..CHECKSUM_AT]
        .iter()
        .any(|byte| *byte != 0)
    {
        return Err(FormatError::HeaderReserved);
    }
    Ok(sections)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
