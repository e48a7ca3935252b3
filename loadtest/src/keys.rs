//! Sets of API keys: as many as a comparison wants, in the gateway's own form, and files of them.

use std::io::Write;
use std::path::Path;

use keyway::authenticate::key_form;
use keyway::snapshot::record::Environment;

use crate::trouble::{Outcome, Trouble};

/// `count` new keys of the live environment, well-formed and random.
///
/// # Errors
/// When the system has no randomness.
pub fn mint(count: usize) -> Outcome<Vec<String>> {
    (0..count)
        .map(|_| {
            let mut random = [0_u8; 20];
            getrandom::fill(&mut random)
                .map_err(|error| Trouble::io("draw random bytes")(std::io::Error::other(error)))?;
            Ok(key_form::mint(Environment::Live, &random))
        })
        .collect()
}

/// Writes one line a key, as `line` words it.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, keys: &[String], line: impl Fn(usize, &str) -> String) -> Outcome<()> {
    let file = std::fs::File::create(path).map_err(Trouble::file("create", path))?;
    let mut out = std::io::BufWriter::new(file);
    for (index, key) in keys.iter().enumerate() {
        writeln!(out, "{}", line(index, key)).map_err(Trouble::file("write", path))?;
    }
    out.flush().map_err(Trouble::file("write", path))
}
