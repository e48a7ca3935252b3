//! What a request is judged by: one base, perhaps one overlay, and the newest catalog.
//!
//! Immutable and shared by all workers. A lookup reads the overlay first, because it holds what
//! changed since its base: new keys, changed keys, and revoked ones as records of their own.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::catalog::Catalog;
use super::format::{BaseRef, FormatError, GRANT_BYTES, Header, PepperSet, SectionId, u32_at};
use super::load::LoadError;
use super::map::SealedMap;
use super::numbers::NumberIndex;
use super::record::{self, Digest, KeyRecord, KeyState, Slot};
use super::table;
use super::verify::{self, AppRow, Sections, Summary};

/// One verified file in memory.
pub(super) struct Image {
    map: SealedMap,
    keys: Range<usize>,
    capacity: u64,
    app_index: NumberIndex,
    ranges: [Range<usize>; 5],
    header: Header,
    keys_alive: u64,
}

impl Image {
    /// Verifies a file; its catalog comes apart, since only the newest of a view counts.
    pub fn verify(map: SealedMap) -> Result<(Self, Catalog, Summary), FormatError> {
        let verified = verify::verify(map.bytes())?;
        let summary = verified.summary();
        let image = Self {
            map,
            keys: verified.ranges[SectionId::Keys.place()].clone(),
            capacity: verified.header.capacity,
            app_index: verified.apps,
            ranges: verified.ranges,
            header: verified.header,
            keys_alive: verified.keys_alive,
        };
        Ok((image, verified.catalog, summary))
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What an overlay must say to belong to this base.
    pub fn base_ref(&self) -> BaseRef {
        BaseRef {
            generation: self.header.generation,
            checksum: self.header.checksum,
        }
    }

    /// Decodes the catalog again: a view that falls back from an overlay to its base needs it.
    pub fn catalog(&self) -> Result<Catalog, FormatError> {
        verify::catalog(self.sections().catalog)
    }

    fn sections(&self) -> Sections<'_> {
        Sections::cut(self.map.bytes(), &self.ranges)
    }

    fn slots(&self) -> &[Slot] {
        self.map.bytes()[self.keys.clone()].as_chunks().0
    }

    #[inline]
    fn key(&self, digest: &Digest) -> Option<KeyRecord> {
        let slot = table::find(self.slots(), self.capacity, digest)?;
        // Every record was decoded once when the file was verified, so this cannot fail; and if it
        // could, a key that is not found is refused.
        KeyRecord::decode(slot).ok()
    }

    fn records(&self) -> impl Iterator<Item = KeyRecord> {
        let taken = self.slots().iter().filter(|slot| !record::is_empty(slot));
        taken.filter_map(|slot| KeyRecord::decode(slot).ok())
    }

    fn app(&self, number: u32) -> Option<App<'_>> {
        let sections = self.sections();
        let number_at = |at: usize| u32_at(&sections.apps[at], 0);
        let place = self.app_index.place(number, number_at)?;
        let row = AppRow::decode(&sections.apps[place]);
        Some(App {
            number,
            tenant: row.tenant,
            enabled: row.enabled == 1,
            unlimited: row.unlimited == 1,
            name: std::str::from_utf8(row.name(sections.strings)?).ok()?,
            grants: row.grants(sections.grants)?,
        })
    }

    fn memory_bytes(&self) -> usize {
        self.map.bytes().len() + self.app_index.memory_bytes()
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("generation", &self.header.generation)
            .field("map", &self.map)
            .finish_non_exhaustive()
    }
}

/// An app, borrowed from the view.
#[derive(Clone, Copy)]
pub struct App<'v> {
    /// Stable number.
    pub number: u32,
    /// Number of its tenant; one that the catalog no longer holds was deleted.
    pub tenant: u32,
    /// A disabled app's keys are refused.
    pub enabled: bool,
    /// The limits of its plans do not hold for its keys.
    pub unlimited: bool,
    /// Name within its tenant.
    pub name: &'v str,
    grants: &'v [[u8; GRANT_BYTES]],
}

impl App<'_> {
    /// The number of the plan under which the app may call this API; `None` if it may not. A plan
    /// that the catalog no longer holds was deleted, and grants nothing.
    pub fn plan_for(&self, api_number: u32) -> Option<u32> {
        let found = self
            .grants
            .binary_search_by_key(&api_number, |grant| u32_at(grant, 0));
        found.ok().map(|at| u32_at(&self.grants[at], 4))
    }
}

impl fmt::Debug for App<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("number", &self.number)
            .field("name", &self.name)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

/// Everything that one generation knows.
#[derive(Debug)]
pub struct View {
    overlay: Option<Image>,
    base: Arc<Image>,
    catalog: Catalog,
    peppers: Vec<u8>,
    keys: u64,
}

impl View {
    /// Puts a view together. `catalog` is the overlay's, or the base's if there is none.
    pub(super) fn assemble(
        base: Arc<Image>,
        overlay: Option<Image>,
        catalog: Catalog,
    ) -> Result<Self, LoadError> {
        let mut peppers: PepperSet = base.header.peppers;
        let mut keys = base.keys_alive;
        if let Some(overlay) = &overlay {
            let expected = base.base_ref();
            if overlay.header.base != Some(expected) {
                return Err(LoadError::OverlayBase {
                    base: expected.generation,
                });
            }
            peppers.union(&overlay.header.peppers);
            keys = count_alive(&base, overlay)?;
        }
        let peppers = peppers.ids();
        Ok(Self {
            overlay,
            base,
            catalog,
            peppers,
            keys,
        })
    }

    /// The generation of the newest file in it.
    pub fn generation(&self) -> u64 {
        self.newest().header.generation
    }

    /// The generation of its base.
    pub fn base_generation(&self) -> u64 {
        self.base.header.generation
    }

    /// When its newest file was made, milliseconds since 1970.
    pub fn created_ms(&self) -> u64 {
        self.newest().header.created_ms
    }

    /// Tenants, plans, APIs, upstreams and routes.
    #[inline]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The record of a key, whatever its state: refusing a revoked one is up to the caller.
    #[inline]
    pub fn key(&self, digest: &Digest) -> Option<KeyRecord> {
        if let Some(overlay) = &self.overlay
            && let Some(changed) = overlay.key(digest)
        {
            return Some(changed);
        }
        self.base.key(digest)
    }

    /// The app with this number.
    pub fn app(&self, number: u32) -> Option<App<'_>> {
        let changed = self
            .overlay
            .as_ref()
            .and_then(|overlay| overlay.app(number));
        changed.or_else(|| self.base.app(number))
    }

    /// How many keys it holds that are not revoked.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Ids of the peppers that its keys were digested with, ascending.
    #[inline]
    pub fn peppers(&self) -> &[u8] {
        &self.peppers
    }

    /// Bytes of its files in memory, with their indices; the decoded catalog is not counted.
    pub fn memory_bytes(&self) -> usize {
        let overlay = self.overlay.as_ref().map_or(0, Image::memory_bytes);
        self.base.memory_bytes() + overlay
    }

    pub(super) fn base(&self) -> &Arc<Image> {
        &self.base
    }

    /// How many keys that `self` admits `next` does not know. One that it names as revoked is not
    /// lost: someone meant it, and no guard may stand in a revocation's way.
    pub(super) fn keys_lost_in(&self, next: &Self) -> u64 {
        let lost = |digest: &Digest| self.admits(digest) && next.key(digest).is_none();
        let mine = self
            .overlay
            .iter()
            .flat_map(Image::records)
            .map(|key| key.digest);
        // Those were just named; each key counts once.
        let named = |digest: &Digest| {
            self.overlay
                .as_ref()
                .is_some_and(|overlay| overlay.key(digest).is_some())
        };
        let others: Box<dyn Iterator<Item = KeyRecord>> = if Arc::ptr_eq(&self.base, &next.base) {
            // Only what an overlay names can differ. This runs at every change, so the base, which
            // may hold millions, stays out of it.
            Box::new(next.overlay.iter().flat_map(Image::records))
        } else {
            Box::new(self.base.records())
        };
        let others = others.map(|key| key.digest).filter(|digest| !named(digest));
        mine.chain(others)
            .filter(lost)
            .fold(0, |count, _| count + 1)
    }

    fn admits(&self, digest: &Digest) -> bool {
        self.key(digest)
            .is_some_and(|key| key.state != KeyState::Revoked)
    }

    fn newest(&self) -> &Image {
        self.overlay.as_ref().unwrap_or(&self.base)
    }
}

/// Counts the keys of a base under its overlay that are not revoked, and checks what neither file
/// could be checked for alone: that each key of the overlay has its app in one of the two.
fn count_alive(base: &Image, overlay: &Image) -> Result<u64, LoadError> {
    let mut alive = base.keys_alive;
    for key in overlay.records() {
        let before = base
            .key(&key.digest)
            .is_some_and(|key| key.state != KeyState::Revoked);
        let now = key.state != KeyState::Revoked;
        if now && overlay.app(key.app).is_none() && base.app(key.app).is_none() {
            return Err(LoadError::AppUnknown {
                key: key.id,
                app: key.app,
            });
        }
        alive = alive + u64::from(now) - u64::from(before);
    }
    Ok(alive)
}
