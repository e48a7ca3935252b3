//! A snapshot directory with many keys, made without control: by the library's own publisher.
//!
//! For figures about the data plane alone. What control adds (a store, an API, receipts) is driven
//! by [`crate::gateway`].

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use keyway::authenticate::digest::Pepper;
use keyway::snapshot::catalog::LimitShape;
use keyway::snapshot::fixture::Fixture;

use crate::trouble::{Outcome, Trouble};

/// Apps that the keys are spread over.
const APPS: usize = 100;

/// What a node needs to serve the keys.
#[derive(Clone, Debug)]
pub struct Published {
    /// The snapshot directory.
    pub snapshots: PathBuf,
    /// File of pepper 1.
    pub pepper: PathBuf,
}

/// Publishes `keys` as generation 1 under `directory`: API `orders` at `/orders/*` from `origin`,
/// `limit_per_s` requests a second for each key.
///
/// # Errors
/// When the directory cannot be written.
pub fn publish(
    directory: &Path,
    keys: &[String],
    origin: SocketAddr,
    limit_per_s: u64,
) -> Outcome<Published> {
    publish_limited(directory, keys, origin, (limit_per_s, limit_per_s))
}

/// [`publish`] with a limit of so many requests a second, and so many at once.
///
/// # Errors
/// As [`publish`].
pub fn publish_limited(
    directory: &Path,
    keys: &[String],
    origin: SocketAddr,
    (limit_per_s, burst): (u64, u64),
) -> Outcome<Published> {
    let (snapshots, pepper_file) = (directory.join("snapshots"), directory.join("pepper.hex"));
    let failed = |what: &str, error: &dyn ToString| {
        Trouble::io(what)(std::io::Error::other(error.to_string()))
    };
    let pepper =
        Pepper::create(1, &pepper_file).map_err(|error| failed("make a pepper", &error))?;
    let mut fixture = Fixture::new()
        .upstream("orders-origin", &[&origin.to_string()])
        .api("orders", "orders-origin", &["/orders/*"])
        .plan("standard", limit_per_s, 1_000);
    fixture.catalog.plans[0].limits[0].shape = LimitShape::Rate {
        units: limit_per_s,
        period_ms: 1_000,
        burst,
    };
    for (number, share) in keys.chunks(keys.len().div_ceil(APPS).max(1)).enumerate() {
        fixture = fixture
            .app(&format!("app-{number}"), &[("orders", "standard")])
            .keys(share.iter().map(|key| pepper.digest(key.as_bytes())));
    }
    fixture
        .publish(&snapshots, 1)
        .map_err(|error| failed("publish the keys", &error))?;
    Ok(Published {
        snapshots,
        pepper: pepper_file,
    })
}
