//! Writes one snapshot file front to back, in memory that does not grow with the keys.
//!
//! In: the catalog, then apps by ascending number, then keys by ascending digest. Out: a file that
//! [`verify`](super::verify) accepts; whatever a node would refuse is refused here first, with an
//! error that names the app or key. The header goes in last, so a file cut off by a crash does not
//! even begin like a snapshot. Absent on purpose: fsync and rename, which belong to
//! [`publish`](super::publish).
//!
//! Memory: the catalog, 5 bytes an app, and fixed buffers.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::catalog::{CATALOG_BYTES_MAX, Catalog, CatalogError, CatalogFile, name_is_well_formed};
use super::format::{
    self, AppFault, BaseRef, FILE_BYTES_MAX, HEADER_BYTES, Header, KeyFault, PepperSet, Section,
    SectionId,
};
use super::ids::KeyId;
use super::numbers::NumberIndex;
use super::record::{self, AppEntry, Grant, KeyRecord, KeyState, SLOT_BYTES};
use super::spill::Spill;
use super::table::{self, Placement};

/// Bytes collected before they are hashed and written at once.
const BUFFER_BYTES: usize = 256 << 10;

/// What a new file is.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// `None` for a base, the base it belongs to for an overlay.
    pub base: Option<BaseRef>,
    /// Its generation, at least 1, and above its base's.
    pub generation: u64,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
}

/// A finished file, not yet synced.
#[derive(Debug)]
pub struct Written {
    /// The file.
    pub file: File,
    /// Its bytes.
    pub bytes: u64,
    /// The checksum that stands for all of it.
    pub checksum: u64,
    /// Keys in it.
    pub keys: u64,
    /// Apps in it.
    pub apps: u64,
}

/// Why a file was not written. One variant per cause.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Generation 0, or an overlay not above its base.
    #[error("generation {generation} must be at least 1 and above its base's")]
    Generation {
        /// The generation asked for.
        generation: u64,
    },
    /// The catalog may not be served.
    #[error("the catalog is wrong at {0}")]
    Catalog(#[from] CatalogError),
    /// The catalog cannot be written as JSON.
    #[error("the catalog cannot be written: {0}")]
    CatalogSyntax(serde_json::Error),
    /// The catalog is larger than a node decodes.
    #[error("the catalog has {bytes} bytes; at most {CATALOG_BYTES_MAX} are allowed")]
    CatalogTooLarge {
        /// Its bytes as JSON.
        bytes: u64,
    },
    /// An app that a node would refuse.
    #[error("app {number}: {fault}")]
    App {
        /// Its number.
        number: u32,
        /// What is wrong with it.
        fault: AppFault,
    },
    /// A key that a node would refuse.
    #[error("key {id}: {fault}")]
    Key {
        /// Its public id.
        id: KeyId,
        /// What is wrong with it.
        fault: KeyFault,
    },
    /// More or fewer keys came than were announced.
    #[error("{announced} keys were announced, {came} came")]
    KeyCount {
        /// Keys announced.
        announced: u64,
        /// Keys that came; one too many stands for any number.
        came: u64,
    },
    /// More than the format can hold.
    #[error("more than the format can hold")]
    TooLarge,
    /// The file cannot be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// A snapshot under construction: takes the apps.
#[derive(Debug)]
pub struct SnapshotWriter {
    out: Output,
    start: Start,
    catalog: Catalog,
    catalog_json: Vec<u8>,
    /// Numbers of the apps so far, ascending: keys must name one of them.
    apps: Vec<u32>,
    grants: Spill,
    strings: Spill,
    scratch: Vec<Grant>,
}

/// A snapshot under construction: takes the keys.
#[derive(Debug)]
pub struct KeyWriter {
    out: Output,
    start: Start,
    sections: [Section; 5],
    apps: Vec<u32>,
    app_index: NumberIndex,
    announced: u64,
    keys: u64,
    capacity: u64,
    placement: Placement,
    peppers: PepperSet,
    slots_written: u64,
}

impl SnapshotWriter {
    /// Starts a new file at `path`, which must not exist; a large side stream may for a moment use
    /// a second name in the same directory, ending in `.tmp` like temporary files of
    /// [`publish`](super::publish).
    pub fn create(path: &Path, start: Start, catalog: &CatalogFile) -> Result<Self, WriteError> {
        let base = start.base.map_or(0, |base| base.generation);
        if start.generation <= base || start.base.is_some_and(|base| base.generation == 0) {
            return Err(WriteError::Generation {
                generation: start.generation,
            });
        }
        let catalog_json = serde_json::to_vec(catalog).map_err(WriteError::CatalogSyntax)?;
        let bytes = len(&catalog_json);
        if bytes > CATALOG_BYTES_MAX {
            return Err(WriteError::CatalogTooLarge { bytes });
        }
        let catalog = Catalog::check(catalog.clone())?;
        let mut out = Output::create(path)?;
        out.put(&[0; HEADER_BYTES])?;
        out.begin()?;
        let side = |name: &str| Spill::new(path.with_extension(format!("{name}.tmp")));
        Ok(Self {
            grants: side("grants"),
            strings: side("strings"),
            out,
            start,
            catalog,
            catalog_json,
            apps: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// Adds an app. Numbers must ascend.
    pub fn app(&mut self, app: &AppEntry) -> Result<(), WriteError> {
        self.check(app).map_err(|fault| WriteError::App {
            number: app.number,
            fault,
        })?;
        let small = |value: u64| u32::try_from(value).map_err(|_| WriteError::TooLarge);
        let name_bytes = u8::try_from(app.name.len()).map_err(|_| WriteError::TooLarge)?;
        let grants = small(len(&self.scratch))?;
        let grants_start = self.grants.bytes() / len(&[0; format::GRANT_BYTES]);
        self.out.put(&app.number.to_le_bytes())?;
        self.out.put(&app.tenant.to_le_bytes())?;
        self.out.put(&small(self.strings.bytes())?.to_le_bytes())?;
        self.out.put(&small(grants_start)?.to_le_bytes())?;
        self.out.put(&grants.to_le_bytes())?;
        let flags = [app.enabled, app.unlimited].map(u8::from);
        self.out.put(&[name_bytes, flags[0], flags[1], 0])?;
        for grant in &self.scratch {
            let [a, b, c, d] = grant.api.to_le_bytes();
            let [e, f, g, h] = grant.plan.to_le_bytes();
            self.grants
                .put(&[a, b, c, d, e, f, g, h])
                .map_err(|cause| self.out.fail(cause))?;
        }
        self.strings
            .put(app.name.as_bytes())
            .map_err(|cause| self.out.fail(cause))?;
        self.apps.push(app.number);
        Ok(())
    }

    /// Checks an app and leaves its grants in order in `scratch`.
    fn check(&mut self, app: &AppEntry) -> Result<(), AppFault> {
        if app.number <= self.apps.last().copied().unwrap_or(0) {
            return Err(AppFault::Unordered);
        }
        if self.catalog.tenant_by_number(app.tenant).is_none() {
            return Err(AppFault::TenantUnknown(app.tenant));
        }
        if !name_is_well_formed(&app.name) {
            return Err(AppFault::Name);
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(&app.grants);
        self.scratch.sort_unstable();
        if self
            .scratch
            .windows(2)
            .any(|pair| pair[0].api == pair[1].api)
        {
            return Err(AppFault::GrantsUnordered);
        }
        for grant in &self.scratch {
            if self.catalog.api_by_number(grant.api).is_none() {
                return Err(AppFault::ApiUnknown(grant.api));
            }
            if self.catalog.plan_by_number(grant.plan).is_none() {
                return Err(AppFault::PlanUnknown(grant.plan));
            }
        }
        Ok(())
    }

    /// Ends the apps; exactly `count` keys must follow.
    pub fn keys(self, count: u64) -> Result<KeyWriter, WriteError> {
        let mut out = self.out;
        let mut sections = [Section::default(); 5];
        let apps = len(&self.apps);
        let grants = self.grants.bytes() / len(&[0; format::GRANT_BYTES]);
        sections[SectionId::Apps.place()] = out.end(apps)?;
        out.begin()?;
        self.grants
            .copy_to(&mut out)
            .map_err(|cause| out.fail(cause))?;
        sections[SectionId::Grants.place()] = out.end(grants)?;
        out.begin()?;
        self.strings
            .copy_to(&mut out)
            .map_err(|cause| out.fail(cause))?;
        sections[SectionId::Strings.place()] = out.end(apps)?;
        out.begin()?;
        out.put(&self.catalog_json)?;
        sections[SectionId::Catalog.place()] = out.end(1)?;
        out.begin()?;
        let capacity = table::capacity_for(count)
            .filter(|capacity| *capacity <= FILE_BYTES_MAX / len(&record::EMPTY))
            .ok_or(WriteError::TooLarge)?;
        Ok(KeyWriter {
            out,
            start: self.start,
            sections,
            app_index: NumberIndex::build(self.apps.iter().copied()),
            apps: self.apps,
            announced: count,
            keys: 0,
            capacity,
            placement: Placement::new(capacity),
            peppers: PepperSet::default(),
            slots_written: 0,
        })
    }
}

impl KeyWriter {
    /// Adds a key. Digests must ascend.
    pub fn key(&mut self, key: &KeyRecord) -> Result<(), WriteError> {
        if self.keys == self.announced {
            return Err(WriteError::KeyCount {
                announced: self.announced,
                came: self.keys + 1,
            });
        }
        let slot = self
            .check(key)
            .map_err(|fault| WriteError::Key { id: key.id, fault })?;
        self.fill_to(slot)?;
        self.out.put(&key.to_slot())?;
        self.slots_written = slot + 1;
        self.peppers.insert(key.pepper);
        self.keys += 1;
        Ok(())
    }

    fn check(&mut self, key: &KeyRecord) -> Result<u64, KeyFault> {
        key.check()?;
        // An overlay's key may belong to an app of the base, which is not at hand here.
        let known = |number| self.app_index.place(number, |at| self.apps[at]).is_some();
        if self.start.base.is_none() && key.state != KeyState::Revoked && !known(key.app) {
            return Err(KeyFault::AppUnknown(key.app));
        }
        self.placement.place(&key.digest)
    }

    /// Writes empty slots until `slot` is next.
    fn fill_to(&mut self, slot: u64) -> Result<(), WriteError> {
        while self.slots_written < slot {
            self.out.put(&record::EMPTY)?;
            self.slots_written += 1;
        }
        Ok(())
    }

    /// Ends the keys and writes the header.
    pub fn finish(mut self) -> Result<Written, WriteError> {
        if self.keys != self.announced {
            return Err(WriteError::KeyCount {
                announced: self.announced,
                came: self.keys,
            });
        }
        self.fill_to(self.placement.slots())?;
        self.sections[SectionId::Keys.place()] = self.out.end(self.keys)?;
        let header = Header {
            base: self.start.base,
            generation: self.start.generation,
            created_ms: self.start.created_ms,
            file_bytes: self.out.position,
            capacity: self.capacity,
            peppers: self.peppers,
            sections: self.sections,
            checksum: 0,
        };
        if header.file_bytes > FILE_BYTES_MAX {
            return Err(WriteError::TooLarge);
        }
        let bytes = header.encode();
        let checksum = format::u64_at(&bytes, format::CHECKSUM_AT);
        let file = self.out.finish(&bytes)?;
        Ok(Written {
            file,
            bytes: header.file_bytes,
            checksum,
            keys: self.keys,
            apps: header.section(SectionId::Apps).count,
        })
    }
}

/// The file with a buffer, and the checksum of the section that is being written.
#[derive(Debug)]
struct Output {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    hasher: Box<Hasher>,
    section_start: u64,
    /// Bytes put so far, those in the buffer included.
    position: u64,
}

struct Hasher(Xxh3);

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Xxh3")
    }
}

impl Output {
    fn create(path: &Path) -> Result<Self, WriteError> {
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        Ok(Self {
            file: file.map_err(|source| WriteError::Io {
                path: path.into(),
                source,
            })?,
            path: path.into(),
            buffer: Vec::with_capacity(BUFFER_BYTES + SLOT_BYTES),
            hasher: Box::new(Hasher(Xxh3::new())),
            section_start: 0,
            position: 0,
        })
    }

    fn fail(&self, source: io::Error) -> WriteError {
        WriteError::Io {
            path: self.path.clone(),
            source,
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.buffer.extend_from_slice(bytes);
        self.position += len(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.drain()
        } else {
            Ok(())
        }
    }

    fn drain(&mut self) -> Result<(), WriteError> {
        self.hasher.0.update(&self.buffer);
        let written = self.file.write_all(&self.buffer);
        self.buffer.clear();
        written.map_err(|cause| self.fail(cause))
    }

    /// Pads to where the next section starts.
    fn begin(&mut self) -> Result<(), WriteError> {
        let start = format::aligned(self.position).ok_or(WriteError::TooLarge)?;
        while self.position < start {
            self.put(&[0])?;
        }
        self.drain()?;
        self.hasher.0.reset();
        self.section_start = start;
        Ok(())
    }

    fn end(&mut self, count: u64) -> Result<Section, WriteError> {
        self.drain()?;
        Ok(Section {
            offset: self.section_start,
            length: self.position - self.section_start,
            count,
            checksum: self.hasher.0.digest(),
        })
    }

    fn finish(mut self, header: &[u8; HEADER_BYTES]) -> Result<File, WriteError> {
        let put = self
            .file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(header));
        put.map_err(|cause| self.fail(cause))?;
        Ok(self.file)
    }
}

/// For side streams; an error of the file comes out as what it was.
impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.put(bytes) {
            Err(WriteError::Io { source, .. }) => Err(source),
            Err(other) => Err(io::Error::other(other)),
            Ok(()) => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn len<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).expect("no address is wider than 64 bits")
}
