//! Keyway on the job.

use std::path::Path;

use super::stage::{Contestant, Setting};
use crate::trouble::{Outcome, Trouble};

/// Starts Keyway as a gateway.
///
/// # Errors
/// When the snapshot cannot be published or the program does not start.
pub async fn start(_setting: Setting<'_>, _binary: Option<&Path>) -> Outcome<Contestant> {
    Err(Trouble::wrong("keyway", "not wired yet"))
}
