//! Decides whether bytes are a snapshot: the one path that files, tests and the fuzzer take.
//!
//! Nothing in the bytes is believed: each offset, count and length is checked before it is used,
//! each section against its checksum, and then its meaning: the catalog as
//! [`Catalog::check`] says, apps in order with names and grants that exist, each key where a lookup
//! finds it. Allocates for the decoded catalog and a byte an app; never by a number that the file
//! merely claims.

use std::ops::Range;

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use super::catalog::{CATALOG_BYTES_MAX, Catalog, CatalogFile, name_is_well_formed};
use super::format::{
    APP_BYTES, AppFault, FILE_BYTES_MAX, FormatError, GRANT_BYTES, Header, KeyFault, Kind,
    PepperSet, SectionId, u32_at,
};
use super::numbers::NumberIndex;
use super::record::{KeyRecord, KeyState, SLOT_BYTES, Slot};
use super::table;

/// The sections of a file whose layout was checked, as slices of its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sections<'b> {
    pub apps: &'b [[u8; APP_BYTES]],
    pub grants: &'b [[u8; GRANT_BYTES]],
    pub strings: &'b [u8],
    pub catalog: &'b [u8],
    pub keys: &'b [Slot],
}

impl<'b> Sections<'b> {
    /// Cuts the bytes up; a length that is no multiple of its entries leaves a rest that
    /// [`lengths`] refuses.
    pub fn cut(bytes: &'b [u8], ranges: &[Range<usize>; 5]) -> Self {
        let [apps, grants, strings, catalog, keys] = ranges;
        Self {
            apps: bytes[apps.clone()].as_chunks().0,
            grants: bytes[grants.clone()].as_chunks().0,
            strings: &bytes[strings.clone()],
            catalog: &bytes[catalog.clone()],
            keys: bytes[keys.clone()].as_chunks().0,
        }
    }
}

/// The fixed part of an app, decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct AppRow {
    pub number: u32,
    pub tenant: u32,
    pub strings_start: u32,
    pub grants_start: u32,
    pub grants: u32,
    pub name_bytes: u8,
    pub enabled: u8,
    pub unlimited: u8,
    pub reserved: u8,
}

impl AppRow {
    pub fn decode(bytes: &[u8; APP_BYTES]) -> Self {
        Self {
            number: u32_at(bytes, 0),
            tenant: u32_at(bytes, 4),
            strings_start: u32_at(bytes, 8),
            grants_start: u32_at(bytes, 12),
            grants: u32_at(bytes, 16),
            name_bytes: bytes[20],
            enabled: bytes[21],
            unlimited: bytes[22],
            reserved: bytes[23],
        }
    }

    pub fn name<'b>(&self, strings: &'b [u8]) -> Option<&'b [u8]> {
        let start = usize::try_from(self.strings_start).ok()?;
        strings.get(start..start.checked_add(usize::from(self.name_bytes))?)
    }

    pub fn grants<'b>(&self, grants: &'b [[u8; GRANT_BYTES]]) -> Option<&'b [[u8; GRANT_BYTES]]> {
        let start = usize::try_from(self.grants_start).ok()?;
        let end = start.checked_add(usize::try_from(self.grants).ok()?)?;
        grants.get(start..end)
    }
}

/// What a file turned out to hold.
#[derive(Debug)]
pub(super) struct Verified {
    pub header: Header,
    pub ranges: [Range<usize>; 5],
    pub catalog: Catalog,
    pub apps: NumberIndex,
    /// Keys that are not revoked.
    pub keys_alive: u64,
}

/// What a file holds, in numbers, for people and scripts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Base or overlay.
    pub kind: Kind,
    /// Its generation.
    pub generation: u64,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// Generation of its base, if it is an overlay.
    pub base_generation: Option<u64>,
    /// Its bytes.
    pub bytes: u64,
    /// Keys in it, revoked ones included.
    pub keys: u64,
    /// Keys that are not revoked.
    pub keys_alive: u64,
    /// Home slots of its key table.
    pub key_capacity: u64,
    /// Apps in it.
    pub apps: u64,
    /// Grants of all apps.
    pub grants: u64,
    /// Tenants in its catalog.
    pub tenants: usize,
    /// Plans in its catalog.
    pub plans: usize,
    /// APIs in its catalog.
    pub apis: usize,
    /// Upstreams in its catalog.
    pub upstreams: usize,
    /// Ids of the peppers that its keys need.
    pub peppers: Vec<u8>,
}

impl Verified {
    pub fn summary(&self) -> Summary {
        Summary {
            kind: self.header.kind(),
            generation: self.header.generation,
            created_ms: self.header.created_ms,
            base_generation: self.header.base.map(|base| base.generation),
            bytes: self.header.file_bytes,
            keys: self.header.section(SectionId::Keys).count,
            keys_alive: self.keys_alive,
            key_capacity: self.header.capacity,
            apps: self.header.section(SectionId::Apps).count,
            grants: self.header.section(SectionId::Grants).count,
            tenants: self.catalog.tenants.len(),
            plans: self.catalog.plans.len(),
            apis: self.catalog.apis.len(),
            upstreams: self.catalog.upstreams.len(),
            peppers: self.header.peppers.ids(),
        }
    }
}

/// Verifies the bytes of one file, and says what it holds.
pub fn verify_bytes(bytes: &[u8]) -> Result<Summary, FormatError> {
    verify(bytes).map(|verified| verified.summary())
}

/// Verifies the bytes of one file.
pub(super) fn verify(bytes: &[u8]) -> Result<Verified, FormatError> {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if length > FILE_BYTES_MAX {
        return Err(FormatError::TooLarge {
            bytes: length,
            max: FILE_BYTES_MAX,
        });
    }
    let header = Header::decode(bytes)?;
    let ranges = header.ranges(length)?;
    checksums(bytes, &header, &ranges)?;
    lengths(&header)?;
    let sections = Sections::cut(bytes, &ranges);
    let catalog = catalog(sections.catalog)?;
    apps(&sections, &catalog)?;
    let numbers = sections.apps.iter().map(|app| AppRow::decode(app).number);
    let index = NumberIndex::build(numbers);
    let keys_alive = keys(&header, &sections, &index)?;
    Ok(Verified {
        header,
        ranges,
        catalog,
        apps: index,
        keys_alive,
    })
}

/// Whether one section matches its checksum; for `inspect`, which looks at damaged files too.
pub(super) fn section_is_whole(bytes: &[u8], header: &Header, id: SectionId) -> bool {
    let section = header.section(id);
    let range = section.offset..section.offset.saturating_add(section.length);
    let (Ok(start), Ok(end)) = (usize::try_from(range.start), usize::try_from(range.end)) else {
        return false;
    };
    bytes
        .get(start..end)
        .is_some_and(|bytes| xxh3_64(bytes) == section.checksum)
}

fn checksums(bytes: &[u8], header: &Header, ranges: &[Range<usize>; 5]) -> Result<(), FormatError> {
    let mut end = super::format::HEADER_BYTES;
    for (id, range) in SectionId::ALL.into_iter().zip(ranges) {
        if bytes[end..range.start].iter().any(|byte| *byte != 0) {
            return Err(FormatError::Padding { section: id });
        }
        if xxh3_64(&bytes[range.clone()]) != header.section(id).checksum {
            return Err(FormatError::SectionChecksum { section: id });
        }
        end = range.end;
    }
    Ok(())
}

/// Checks each section's length against its count of entries.
fn lengths(header: &Header) -> Result<(), FormatError> {
    let apps = header.section(SectionId::Apps).count;
    for id in SectionId::ALL {
        let section = header.section(id);
        let entries = |bytes: usize| {
            let bytes = u64::try_from(bytes).expect("a small constant");
            section.count.checked_mul(bytes) == Some(section.length)
        };
        let fits = match id {
            SectionId::Apps => entries(APP_BYTES) && u32::try_from(apps).is_ok(),
            SectionId::Grants => entries(GRANT_BYTES),
            SectionId::Strings => section.count == apps,
            SectionId::Catalog => section.count == 1,
            SectionId::Keys => {
                let bytes = u64::try_from(SLOT_BYTES).expect("a small constant");
                section.length.is_multiple_of(bytes)
            }
        };
        if !fits {
            return Err(FormatError::Layout { section: id });
        }
    }
    Ok(())
}

/// Decodes and checks a catalog section.
pub(super) fn catalog(bytes: &[u8]) -> Result<Catalog, FormatError> {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if length > CATALOG_BYTES_MAX {
        return Err(FormatError::CatalogTooLarge {
            bytes: length,
            max: CATALOG_BYTES_MAX,
        });
    }
    let file: CatalogFile = serde_json::from_slice(bytes).map_err(FormatError::CatalogSyntax)?;
    Ok(Catalog::check(file)?)
}

fn apps(sections: &Sections<'_>, catalog: &Catalog) -> Result<(), FormatError> {
    let mut walk = AppWalk {
        number: 0,
        strings: 0,
        grants: 0,
    };
    for (place, app) in (0_u64..).zip(sections.apps) {
        walk.step(&AppRow::decode(app), sections, catalog)
            .map_err(|fault| FormatError::App { place, fault })?;
    }
    let grants = u64::try_from(sections.grants.len()).unwrap_or(u64::MAX);
    if walk.grants != grants {
        return Err(FormatError::Layout {
            section: SectionId::Grants,
        });
    }
    if walk.strings != u64::try_from(sections.strings.len()).unwrap_or(u64::MAX) {
        return Err(FormatError::Layout {
            section: SectionId::Strings,
        });
    }
    Ok(())
}

/// Where the next app's parts must be.
struct AppWalk {
    number: u32,
    strings: u64,
    grants: u64,
}

impl AppWalk {
    fn step(
        &mut self,
        app: &AppRow,
        sections: &Sections<'_>,
        catalog: &Catalog,
    ) -> Result<(), AppFault> {
        if app.number <= self.number {
            return Err(AppFault::Unordered);
        }
        if app.enabled > 1 || app.unlimited > 1 || app.reserved != 0 {
            return Err(AppFault::Flags);
        }
        let starts = (u64::from(app.strings_start), u64::from(app.grants_start));
        if starts != (self.strings, self.grants) {
            return Err(AppFault::Place);
        }
        let name = app.name(sections.strings).ok_or(AppFault::Place)?;
        if !std::str::from_utf8(name).is_ok_and(name_is_well_formed) {
            return Err(AppFault::Name);
        }
        if catalog.tenant_by_number(app.tenant).is_none() {
            return Err(AppFault::TenantUnknown(app.tenant));
        }
        grants(app.grants(sections.grants).ok_or(AppFault::Place)?, catalog)?;
        self.number = app.number;
        self.strings += u64::from(app.name_bytes);
        self.grants += u64::from(app.grants);
        Ok(())
    }
}

fn grants(grants: &[[u8; GRANT_BYTES]], catalog: &Catalog) -> Result<(), AppFault> {
    let mut previous = 0;
    for grant in grants {
        let (api, plan) = (u32_at(grant, 0), u32_at(grant, 4));
        if api <= previous {
            return Err(AppFault::GrantsUnordered);
        }
        if catalog.api_by_number(api).is_none() {
            return Err(AppFault::ApiUnknown(api));
        }
        if catalog.plan_by_number(plan).is_none() {
            return Err(AppFault::PlanUnknown(plan));
        }
        previous = api;
    }
    Ok(())
}

/// Verifies the key table; answers how many keys are not revoked.
fn keys(header: &Header, sections: &Sections<'_>, apps: &NumberIndex) -> Result<u64, FormatError> {
    let expected = header.section(SectionId::Keys).count;
    let capacity = header.capacity;
    let slots = u64::try_from(sections.keys.len()).unwrap_or(u64::MAX);
    if !table::capacity_is_allowed(expected, capacity) || capacity > slots {
        return Err(FormatError::Capacity {
            keys: expected,
            capacity,
        });
    }
    let number_at = |at: usize| AppRow::decode(&sections.apps[at]).number;
    let mut alive = 0;
    let mut peppers = PepperSet::default();
    let found = table::verify(sections.keys, capacity, |key: &KeyRecord| {
        peppers.insert(key.pepper);
        if key.state == KeyState::Revoked {
            return Ok(());
        }
        alive += 1;
        // An overlay's key may belong to an app of the base: who puts the two together looks.
        if header.base.is_none() && apps.place(key.app, number_at).is_none() {
            return Err(KeyFault::AppUnknown(key.app));
        }
        Ok(())
    })
    .map_err(|(slot, fault)| FormatError::Key { slot, fault })?;
    if found.keys != expected || found.slots != slots {
        return Err(FormatError::KeyCount { expected });
    }
    if peppers != header.peppers {
        return Err(FormatError::Peppers);
    }
    Ok(alive)
}
