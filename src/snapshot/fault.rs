//! Every way in which bytes fail to be a snapshot that this build serves.
//!
//! One variant per cause, with the place in the file, so that an operator who reads the node's log
//! knows whether a disk, a transfer, another release or the builder is to blame.

use super::catalog::CatalogError;
use super::format::{HEADER_BYTES, SectionId, VERSION};
use super::record::RecordError;

/// Why a file is not a snapshot that this build serves. One variant per cause.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Shorter than a header.
    #[error("{bytes} bytes are no snapshot; its header alone has {HEADER_BYTES}")]
    NoHeader {
        /// Bytes there are.
        bytes: u64,
    },
    /// Larger than any snapshot may be.
    #[error("{bytes} bytes are more than the {max} that are allowed")]
    TooLarge {
        /// Bytes there are.
        bytes: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// Not a snapshot at all, or one that was changed in transfer.
    #[error("does not begin like a snapshot")]
    Magic,
    /// Written by another release.
    #[error("has format version {found}; this build reads version {VERSION}")]
    Version {
        /// The version it has.
        found: u32,
    },
    /// The header does not match its checksum.
    #[error("the header is damaged: its checksum does not match")]
    HeaderChecksum,
    /// Neither base nor overlay.
    #[error("is of unknown kind {found}")]
    Kind {
        /// The kind it has.
        found: u32,
    },
    /// Generation 0, a base that names a base, an overlay that does not or names a later one.
    #[error("the generation {generation} and its base's {base} do not fit its kind")]
    Generation {
        /// Its generation.
        generation: u64,
        /// The generation of the base that it names.
        base: u64,
    },
    /// A byte of the header that no field uses is set.
    #[error("a reserved byte of the header is not zero")]
    HeaderReserved,
    /// The file is shorter or longer than its header says.
    #[error("is {bytes} bytes long, its header says {expected}")]
    Length {
        /// Bytes there are.
        bytes: u64,
        /// Bytes the header says.
        expected: u64,
    },
    /// A section is not where the layout puts it, or its length does not fit its entries.
    #[error("section {} is not where it must be, or not as long as its entries", section.name())]
    Layout {
        /// The section.
        section: SectionId,
    },
    /// A section does not match its checksum.
    #[error("section {} is damaged: its checksum does not match", section.name())]
    SectionChecksum {
        /// The section.
        section: SectionId,
    },
    /// A byte between two sections is set.
    #[error("the padding before section {} is not zero", section.name())]
    Padding {
        /// The section after it.
        section: SectionId,
    },
    /// The catalog is larger than a node decodes.
    #[error("the catalog has {bytes} bytes; at most {max} are allowed")]
    CatalogTooLarge {
        /// Its bytes.
        bytes: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// The catalog is not the JSON that this build knows.
    #[error("the catalog cannot be read: {0}")]
    CatalogSyntax(serde_json::Error),
    /// The catalog is readable but may not be served.
    #[error("the catalog is wrong at {0}")]
    Catalog(#[from] CatalogError),
    /// An app that may not be served.
    #[error("app number {place} of the file, counted from 0: {fault}")]
    App {
        /// Its place in the section.
        place: u64,
        /// What is wrong with it.
        fault: AppFault,
    },
    /// A slot of the key table that may not be served.
    #[error("slot {slot} of the key table: {fault}")]
    Key {
        /// Its place in the table.
        slot: u64,
        /// What is wrong with it.
        fault: KeyFault,
    },
    /// The table holds more or fewer keys than the header says, or ends too early or too late.
    #[error("the key table does not hold the {expected} keys that the header says")]
    KeyCount {
        /// Keys the header says.
        expected: u64,
    },
    /// The capacity does not fit the number of keys.
    #[error("a key table for {keys} keys cannot have {capacity} home slots")]
    Capacity {
        /// Keys the header says.
        keys: u64,
        /// Home slots the header says.
        capacity: u64,
    },
    /// The header's pepper ids are not those of the records.
    #[error("the header does not name the peppers that the keys use")]
    Peppers,
}

/// What can be wrong with an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppFault {
    /// Its number is zero, or not above the one before.
    #[error("numbers must ascend from 1")]
    Unordered,
    /// Its tenant is not in the catalog.
    #[error("no tenant has number {0}")]
    TenantUnknown(u32),
    /// `enabled` is neither 0 nor 1, or a reserved byte is set.
    #[error("a flag is neither 0 nor 1, or a reserved byte is not zero")]
    Flags,
    /// Its name is not `[a-z0-9][a-z0-9._-]{0,62}`.
    #[error("its name is not well-formed")]
    Name,
    /// Its name or grants do not follow those of the app before, or outrun their section.
    #[error("its name or grants are not where they must be")]
    Place,
    /// Its grants name an API twice, or are out of order.
    #[error("its grants must name each API once, in ascending order")]
    GrantsUnordered,
    /// A grant names an API that is not in the catalog.
    #[error("no API has number {0}")]
    ApiUnknown(u32),
    /// A grant names a plan that is not in the catalog.
    #[error("no plan has number {0}")]
    PlanUnknown(u32),
}

/// What can be wrong with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Its bytes are not a record.
    #[error("{0}")]
    Record(#[from] RecordError),
    /// Its digest is not above the one before.
    #[error("digests must ascend, none twice")]
    Unordered,
    /// It does not stand where a lookup would find it.
    #[error("it is not where its digest puts it")]
    Misplaced,
    /// Too far from home: digests that are not uniform would make lookups long.
    #[error("it is further from its home slot than uniform digests ever are")]
    TooFar,
    /// Its app is not in the file.
    #[error("no app has number {0}")]
    AppUnknown(u32),
}
