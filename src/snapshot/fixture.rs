//! Snapshots for tests, benches and load tests: a catalog, apps and keys from a few words, written
//! and published by the same code as control's.
//!
//! ```
//! use keyway::snapshot::fixture::{Fixture, digest};
//! use keyway::snapshot::load::{LoadPolicy, load};
//!
//! let directory = tempfile::tempdir()?;
//! Fixture::new()
//!     .upstream("origin", &["127.0.0.1:9000"])
//!     .api("orders", "origin", &["/orders/*"])
//!     .plan("free", 10, 1_000)
//!     .app("mobile", &[("orders", "free")])
//!     .key(digest(1))
//!     .publish(directory.path(), 1)?;
//! let view = load(directory.path(), &LoadPolicy::default(), None)?;
//! let key = view.key(&digest(1)).expect("just published");
//! assert_eq!(view.app(key.app).expect("its app").name, "mobile");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Numbers are given in order, from 1. Mistakes in the words (an API of an unknown upstream, a key
//! before any app) panic: this is no place for user input.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::xxh3_64;

use super::catalog::{
    ApiEntry, CatalogFile, LimitEntry, LimitShape, LimitSubject, LimitUnit, PlanEntry, RouteEntry,
    TenantEntry, UpstreamEntry,
};
use super::format::{
    BaseRef, CHECKSUM_AT, HEADER_BYTES, Header, SECTION_BYTES, SECTIONS_AT, SectionId,
};
use super::ids::KeyId;
use super::load::load_bytes;
use super::manifest::Manifest;
use super::publish::{Content, PublishError, Publisher, Release, write_content};
use super::record::{AppEntry, Digest, Environment, Grant, KeyRecord, KeyState};
use super::view::View;
use super::write::Start;

/// Any fixed moment: the same fixture gives the same bytes.
const CREATED_MS: u64 = 1_700_000_000_000;

/// What is to be published.
#[derive(Clone, Debug, Default)]
pub struct Fixture {
    /// The catalog so far; open to any change.
    pub catalog: CatalogFile,
    /// The apps so far, numbers ascending.
    pub apps: Vec<AppEntry>,
    /// The keys so far, in any order.
    pub keys: Vec<KeyRecord>,
    /// Whether nodes shall accept that many keys vanish.
    pub allow_shrink: bool,
}

/// A digest spread like a real one: the `n`th of a fixed sequence.
pub fn digest(n: u64) -> Digest {
    let mut bytes = [0; 16];
    let (left, right) = bytes.split_at_mut(8);
    // The finalizer of SplitMix64: a bijection, so no two numbers share a digest.
    let mixed = |n: u64| {
        let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    };
    left.copy_from_slice(&mixed(n.wrapping_add(0x9e37_79b9_7f4a_7c15)).to_be_bytes());
    right.copy_from_slice(&mixed(!n).to_be_bytes());
    Digest(bytes)
}

impl Fixture {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The smallest one that serves: tenant `acme`, app `mobile` with one key, [`digest`]`(1)`, plan
    /// `free` (10 a second), API `orders` at `/orders/*`, upstream `origin` at `127.0.0.1:9000`.
    pub fn small() -> Self {
        Self::new()
            .upstream("origin", &["127.0.0.1:9000"])
            .api("orders", "origin", &["/orders/*"])
            .plan("free", 10, 1_000)
            .app("mobile", &[("orders", "free")])
            .key(digest(1))
    }

    /// Adds a tenant; apps that follow are its.
    pub fn tenant(mut self, name: &str) -> Self {
        let number = next(self.catalog.tenants.len());
        self.catalog.tenants.push(TenantEntry {
            number,
            name: name.into(),
            enabled: true,
        });
        self
    }

    /// Adds an upstream with deadlines of 1 and 30 seconds.
    pub fn upstream(mut self, name: &str, targets: &[&str]) -> Self {
        self.catalog.upstreams.push(UpstreamEntry {
            number: next(self.catalog.upstreams.len()),
            name: name.into(),
            targets: targets.iter().map(|target| (*target).into()).collect(),
            ..UpstreamEntry::default()
        });
        self
    }

    /// Adds an API on every host, for every method, that wants a key; [`Fixture::catalog`] is open
    /// to other wishes.
    pub fn api(mut self, name: &str, upstream: &str, paths: &[&str]) -> Self {
        let route = |path: &&str| RouteEntry {
            path: (*path).into(),
            ..RouteEntry::default()
        };
        let upstream = self
            .catalog
            .upstreams
            .iter()
            .find(|entry| entry.name == upstream);
        self.catalog.apis.push(ApiEntry {
            number: next(self.catalog.apis.len()),
            name: name.into(),
            routes: paths.iter().map(route).collect(),
            upstream: upstream.expect("the upstream comes before its APIs").number,
            ..ApiEntry::default()
        });
        self
    }

    /// Adds a plan with one limit, its burst as large as its requests.
    pub fn plan(mut self, name: &str, requests: u64, period_ms: u64) -> Self {
        let number = next(self.catalog.plans.len());
        let limit = LimitEntry {
            number,
            name: "rate".into(),
            subject: LimitSubject::Key,
            unit: LimitUnit::Requests,
            shape: LimitShape::Rate {
                units: requests,
                period_ms,
                burst: requests,
            },
            shadow: false,
        };
        self.catalog.plans.push(PlanEntry {
            number,
            name: name.into(),
            limits: vec![limit],
        });
        self
    }

    /// Adds an app that may call APIs under plans, to the tenant named last (`acme` if none was).
    /// Keys that follow are its.
    pub fn app(mut self, name: &str, grants: &[(&str, &str)]) -> Self {
        if self.catalog.tenants.is_empty() {
            self = self.tenant("acme");
        }
        let grants = grants
            .iter()
            .map(|(api, plan)| self.grant(api, plan))
            .collect();
        self.apps.push(AppEntry {
            number: next(self.apps.len()),
            tenant: self.catalog.tenants.last().expect("made above").number,
            enabled: true,
            unlimited: false,
            name: name.into(),
            grants,
        });
        self
    }

    fn grant(&self, api: &str, plan: &str) -> Grant {
        let api = self.catalog.apis.iter().find(|entry| entry.name == api);
        let plan = self.catalog.plans.iter().find(|entry| entry.name == plan);
        Grant {
            api: api.expect("the API comes before its apps").number,
            plan: plan.expect("the plan comes before its apps").number,
        }
    }

    /// Adds an active key of the app named last: live, always valid, made with pepper 1; its id and
    /// number count from 1.
    pub fn key(self, digest: Digest) -> Self {
        let record = self.record_of(digest);
        self.record(record)
    }

    /// Adds many keys as [`Fixture::key`] does.
    pub fn keys(mut self, digests: impl IntoIterator<Item = Digest>) -> Self {
        for digest in digests {
            self.keys.push(self.record_of(digest));
        }
        self
    }

    /// Adds a key as it is given.
    pub fn record(mut self, record: KeyRecord) -> Self {
        self.keys.push(record);
        self
    }

    fn record_of(&self, digest: Digest) -> KeyRecord {
        let number = next(self.keys.len());
        KeyRecord {
            digest,
            id: KeyId::new(u64::from(number)).expect("counts from 1"),
            number,
            app: self
                .apps
                .last()
                .expect("an app comes before its keys")
                .number,
            not_before_s: 0,
            not_after_s: 0,
            state: KeyState::Active,
            environment: Environment::Live,
            pepper: 1,
            unlimited: false,
        }
    }

    /// Accepts that many keys vanish.
    pub fn allow_shrink(mut self) -> Self {
        self.allow_shrink = true;
        self
    }

    /// Publishes it as a base.
    pub fn publish(&self, directory: &Path, generation: u64) -> Result<Manifest, PublishError> {
        self.publish_to(&mut Publisher::open(directory)?, generation)
    }

    /// Publishes it as an overlay over what serves now: apps and keys are those that changed.
    pub fn publish_overlay(
        &self,
        directory: &Path,
        generation: u64,
    ) -> Result<Manifest, PublishError> {
        self.publish_overlay_to(&mut Publisher::open(directory)?, generation)
    }

    /// Publishes it as a base through an open publisher.
    pub fn publish_to(
        &self,
        publisher: &mut Publisher,
        generation: u64,
    ) -> Result<Manifest, PublishError> {
        self.with_content(|content| {
            publisher
                .publish_base(self.release(generation), content)
                .cloned()
        })
    }

    /// Publishes it as an overlay through an open publisher.
    pub fn publish_overlay_to(
        &self,
        publisher: &mut Publisher,
        generation: u64,
    ) -> Result<Manifest, PublishError> {
        self.with_content(|content| {
            publisher
                .publish_overlay(self.release(generation), content)
                .cloned()
        })
    }

    /// The bytes of it as a base.
    pub fn bytes(&self, generation: u64) -> Vec<u8> {
        self.write(None, generation)
    }

    /// The bytes of it as an overlay over a base.
    pub fn overlay_bytes(&self, base: &[u8], generation: u64) -> Vec<u8> {
        let base = Header::decode(base).expect("a base");
        let base = BaseRef {
            generation: base.generation,
            checksum: base.checksum,
        };
        self.write(Some(base), generation)
    }

    fn write(&self, base: Option<BaseRef>, generation: u64) -> Vec<u8> {
        let directory = Scratch::make();
        let path = directory.0.join("fixture.kws");
        let start = Start {
            base,
            generation,
            created_ms: CREATED_MS,
        };
        self.with_content(|content| write_content(&path, start, content))
            .expect("a fixture is whole");
        std::fs::read(path).expect("just written")
    }

    /// The view of it as a base, without a directory to look after.
    pub fn view(&self, generation: u64) -> Arc<View> {
        load_bytes(&self.bytes(generation), None).expect("a fixture is whole")
    }

    pub(super) fn release(&self, generation: u64) -> Release {
        let created_ms = CREATED_MS;
        Release {
            generation,
            created_ms,
            allow_shrink: self.allow_shrink,
        }
    }

    pub(super) fn with_content<R>(&self, publish: impl FnOnce(Content<'_>) -> R) -> R {
        let mut keys: Vec<&KeyRecord> = self.keys.iter().collect();
        keys.sort_unstable_by_key(|key| key.digest);
        let key_count = u64::try_from(keys.len()).expect("no address is wider than 64 bits");
        publish(Content {
            catalog: &self.catalog,
            apps: &mut self.apps.iter().cloned().map(Ok),
            key_count,
            keys: &mut keys.into_iter().copied().map(Ok),
        })
    }
}

/// Makes all checksums of a changed file match again, as far as its header makes sense: what a
/// hostile writer would do. Lets tests and the fuzzer reach what the checksums guard.
pub fn reseal(bytes: &mut [u8]) {
    seal_header(bytes);
    let Ok(header) = Header::decode(bytes) else {
        return;
    };
    for id in SectionId::ALL {
        let section = header.section(id);
        let start = usize::try_from(section.offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(section.length).unwrap_or(usize::MAX));
        if let Some(checksum) = bytes.get(start..end).map(xxh3_64) {
            let at = SECTIONS_AT + SECTION_BYTES * id.place() + 32;
            bytes[at..at + 8].copy_from_slice(&checksum.to_le_bytes());
        }
    }
    seal_header(bytes);
}

fn seal_header(bytes: &mut [u8]) {
    if let Some(header) = bytes.first_chunk_mut::<HEADER_BYTES>() {
        let checksum = xxh3_64(&header[..CHECKSUM_AT]);
        header[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
    }
}

fn next(count: usize) -> u32 {
    u32::try_from(count + 1).expect("fixtures are small")
}

/// A directory of its own that goes with it.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let n = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("keyway-fixture-{}-{n}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("the directory for temporary files is writable");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(cause) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %cause, "a scratch directory stays");
        }
    }
}
