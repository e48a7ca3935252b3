//! What is published: a fixture, and the keys as their owners hold them.

use std::net::SocketAddr;

use keyway::authenticate::digest::Pepper;
use keyway::authenticate::key_form;
use keyway::snapshot::catalog::{ApiEntry, LimitEntry, LimitShape, UpstreamEntry};
use keyway::snapshot::fixture::Fixture;
use keyway::snapshot::record::{Environment, KeyRecord};

/// The limit of plan `free`: nobody reaches it by accident.
const PLENTY: u64 = 1_000_000;

/// A snapshot in the making.
///
/// Begins with upstream `origin`, API `orders` at `/orders/*`, plan `free`, tenant `acme`, its app
/// `mobile` and one key.
#[derive(Clone, Debug)]
pub struct World {
    /// Open to any change.
    pub fixture: Fixture,
    /// The first key.
    pub key: String,
    /// The node's secret, in hex.
    pub secret: String,
    pepper: Pepper,
    minted: u32,
}

impl World {
    /// The usual world, its upstream at `targets`.
    pub fn before(targets: &[SocketAddr]) -> Self {
        let targets: Vec<String> = targets.iter().map(SocketAddr::to_string).collect();
        let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
        let fixture = Fixture::new()
            .upstream("origin", &targets)
            .api("orders", "origin", &["/orders/*"])
            .plan("free", PLENTY, 1_000)
            .app("mobile", &[("orders", "free")]);
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).expect("the system has randomness");
        let pepper = Pepper::new(1, &secret).expect("it is long enough");
        let secret = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut world = Self {
            fixture,
            key: String::new(),
            secret,
            pepper,
            minted: 0,
        };
        world.key = world.mint();
        world
    }

    /// A new key of the app named last.
    pub fn mint(&mut self) -> String {
        self.mint_as(|_| {})
    }

    /// A new key of the app named last, its record changed.
    pub fn mint_as(&mut self, change: impl FnOnce(&mut KeyRecord)) -> String {
        let key = self.unpublished();
        self.fixture = std::mem::take(&mut self.fixture).key(self.pepper.digest(key.as_bytes()));
        change(self.fixture.keys.last_mut().expect("just added"));
        key
    }

    /// A well-formed key that nobody knows.
    pub fn unpublished(&mut self) -> String {
        self.minted += 1;
        let mut random = [0x5a; 20];
        random[..4].copy_from_slice(&self.minted.to_be_bytes());
        getrandom::fill(&mut random[4..]).expect("the system has randomness");
        key_form::mint(Environment::Live, &random)
    }

    /// A key in a form that is not ours, as imports bring them.
    pub fn import(&mut self, key: &str) {
        self.fixture.catalog.key_formats.foreign = true;
        self.fixture = std::mem::take(&mut self.fixture).key(self.pepper.digest(key.as_bytes()));
    }

    /// The record of `key`.
    pub fn record(&mut self, key: &str) -> &mut KeyRecord {
        let digest = self.pepper.digest(key.as_bytes());
        let record = self
            .fixture
            .keys
            .iter_mut()
            .find(|record| record.digest == digest);
        record.expect("the key was minted here")
    }

    /// The public id of `key`.
    pub fn id(&mut self, key: &str) -> String {
        self.record(key).id.to_string()
    }

    /// The API called `name`.
    pub fn api(&mut self, name: &str) -> &mut ApiEntry {
        self.fixture
            .catalog
            .apis
            .iter_mut()
            .find(|api| api.name == name)
            .expect("it was added")
    }

    /// The first upstream.
    pub fn upstream(&mut self) -> &mut UpstreamEntry {
        &mut self.fixture.catalog.upstreams[0]
    }

    /// Sets the limit of plan `free`.
    pub fn limit(mut self, requests: u64, period_ms: u64, burst: u64) -> Self {
        let limit = &mut self.fixture.catalog.plans[0].limits[0];
        limit.shape = LimitShape::Rate {
            units: requests,
            period_ms,
            burst,
        };
        self
    }

    /// The limit of plan `free`.
    pub fn limit_entry(&mut self) -> &mut LimitEntry {
        &mut self.fixture.catalog.plans[0].limits[0]
    }

    /// Gives the first API this limit.
    pub fn api_limit(mut self, limit: LimitEntry) -> Self {
        self.fixture.catalog.apis[0].limits.push(limit);
        self
    }

    /// Changes it in any way.
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}
