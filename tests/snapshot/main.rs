//! The snapshot from outside: written, published, loaded, damaged, attacked, crashed.
//!
//! One file a promise: [`identity`] (what goes in comes out), [`damage`] (no changed byte is
//! believed), [`hostile`] (nor a well-made lie), [`order`] (generations, rollbacks, losses),
//! [`files`] (the directory changes under its readers), [`crash`] (the publisher dies or fails at
//! any system call), [`catalog`] and [`traffic`] (what a catalog must mean), [`commands`] (inspect and
//! verify).

#![expect(
    clippy::unwrap_used,
    reason = "in a test, what cannot be had is a failure, and the place says enough"
)]

mod catalog;
mod commands;
mod crash;
mod damage;
mod files;
mod hostile;
mod identity;
mod order;
mod traffic;

use std::path::Path;
use std::sync::Arc;

use keyway::snapshot::fixture::{Fixture, digest};
use keyway::snapshot::{KeyRecord, KeyState, LoadError, LoadPolicy, View, load};

/// A fixture with `keys` keys, [`digest`]s 1 to `keys`, on two apps.
fn fixture(keys: u64) -> Fixture {
    let half = keys / 2;
    Fixture::new()
        .upstream("origin", &["127.0.0.1:9000", "[::1]:9001"])
        .api("orders", "origin", &["/orders/*"])
        .api("stock", "origin", &["/stock", "/stock/{id}"])
        .plan("free", 10, 1_000)
        .plan("gold", 1_000, 60_000)
        .tenant("acme")
        .app("mobile", &[("orders", "free")])
        .keys((1..=half).map(digest))
        .tenant("zeta")
        .app("kiosk", &[("stock", "gold"), ("orders", "gold")])
        .keys((half + 1..=keys).map(digest))
}

/// The same without its keys: for overlays.
fn overlay(keys: impl IntoIterator<Item = KeyRecord>) -> Fixture {
    let mut fixture = fixture(0);
    fixture.apps.clear();
    fixture.keys = keys.into_iter().collect();
    fixture
}

/// The `n`th key of [`fixture`], revoked.
fn revoked(fixture: &Fixture, n: usize) -> KeyRecord {
    KeyRecord {
        state: KeyState::Revoked,
        ..fixture.keys[n - 1]
    }
}

fn load_first(directory: &Path) -> Result<Arc<View>, LoadError> {
    load(directory, &LoadPolicy::default(), None)
}

fn load_next(directory: &Path, previous: &Arc<View>) -> Result<Arc<View>, LoadError> {
    load(directory, &LoadPolicy::default(), Some(previous))
}

fn admits(view: &View, n: u64) -> bool {
    view.key(&digest(n))
        .is_some_and(|key| key.state == KeyState::Active)
}

/// Everything that a view of [`fixture`] answers, as text: two views are the same if this is.
fn answers(view: &View, keys: u64) -> String {
    let mut text = format!(
        "{} {} {} {} {:?}\n",
        view.generation(),
        view.base_generation(),
        view.created_ms(),
        view.keys(),
        view.peppers()
    );
    for n in 0..=keys + 1 {
        text += &format!("{:?}\n", view.key(&digest(n)));
    }
    for number in 0..4 {
        let app = view.app(number);
        let plans = app.map(|app| [1, 2, 3].map(|api| app.plan_for(api)));
        text += &format!("{app:?} {:?} {plans:?}\n", app.map(|app| app.tenant));
    }
    let catalog = view.catalog();
    text += &format!(
        "{:?}{:?}{:?}",
        catalog.tenants, catalog.plans, catalog.key_formats
    );
    text + &format!("{:?}{:?}", catalog.apis, catalog.upstreams)
}
