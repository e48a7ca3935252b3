//! Where our own programs are: beside the one that runs.

use std::path::PathBuf;

use crate::trouble::{Outcome, Trouble};

/// The program `name`, built in the same way as this one.
///
/// # Errors
/// [`Trouble::Missing`] when it was not built.
pub fn sibling(name: &'static str) -> Outcome<PathBuf> {
    let own = std::env::current_exe().map_err(Trouble::io("find this program's own file"))?;
    // Tests live one directory below the programs.
    let found = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(name));
    found
        .into_iter()
        .find(|file| file.is_file())
        .ok_or(Trouble::Missing {
            missing: vec![name],
            install: "cargo build --release --workspace --bins".into(),
        })
}
