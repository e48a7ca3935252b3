//! `keyway snapshot inspect` and `verify`: what people and scripts are shown.

use std::path::Path;

use keyway::snapshot::cli::{self, CliError, Shown};
use serde_json::Value;

use super::{fixture, overlay, revoked};

fn inspect(path: &Path, shown: Shown) -> (String, Result<(), CliError>) {
    let mut out = Vec::new();
    let result = cli::inspect(path, shown, &mut out);
    (String::from_utf8(out).expect("text"), result)
}

fn published() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let fixture = fixture(20);
    fixture.publish(directory.path(), 1).unwrap();
    let change = overlay([revoked(&fixture, 1), fixture.keys[2]]);
    let manifest = change.publish_overlay(directory.path(), 2).unwrap();
    let path = directory
        .path()
        .join(manifest.overlay.expect("published").file);
    (directory, path)
}

#[test]
fn the_table_shows_what_is_in_a_file() {
    let (_directory, path) = published();
    let (text, result) = inspect(&path, Shown::default());
    result.expect("whole");
    for line in [
        "kind        overlay",
        "generation  2",
        "base        1 (",
        "created     2023-11-14T22:13:20Z",
        "keys        2 (1 revoked)",
        "peppers     1",
        "tenants     2",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(
        !text.contains("key_required"),
        "the catalog was not asked for:\n{text}"
    );
}

#[test]
fn the_json_shows_the_same_and_the_catalog_if_asked() {
    let (_directory, path) = published();
    let (text, result) = inspect(
        &path,
        Shown {
            json: true,
            catalog: true,
        },
    );
    result.expect("whole");
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["kind"], "overlay");
    assert_eq!(json["base"]["generation"], 1);
    assert_eq!(json["content"]["keys"], 2);
    assert_eq!(json["content"]["keys_alive"], 1);
    assert_eq!(json["sections"][4]["section"], "keys");
    assert_eq!(json["sections"][4]["whole"], true);
    assert_eq!(json["catalog"]["apis"][0]["name"], "orders");
}

#[test]
fn a_damaged_file_is_shown_and_then_refused() {
    let (_directory, path) = published();
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (text, result) = inspect(&path, Shown::default());
    let error = result.expect_err("damaged").to_string();
    assert!(
        error.ends_with("section keys is damaged: its checksum does not match"),
        "{error}"
    );
    let damaged: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("DAMAGED"))
        .collect();
    assert!(
        matches!(damaged[..], [line] if line.starts_with("keys ")),
        "{text}"
    );
    cli::verify(&path, &mut Vec::new()).expect_err("damaged");
}

#[test]
fn verify_says_one_line_of_a_whole_file() {
    let (_directory, path) = published();
    let mut out = Vec::new();
    cli::verify(&path, &mut out).expect("whole");
    let text = String::from_utf8(out).expect("text");
    assert!(
        text.ends_with(".kws: generation 2, 2 keys, 0 apps: whole\n"),
        "{text}"
    );
    cli::verify(&path.with_extension("gone"), &mut Vec::new()).expect_err("absent");
}
