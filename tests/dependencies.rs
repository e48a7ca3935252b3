//! What comes into the build: every package from the registry we name, under a license we accept.
//!
//! `deny.toml` holds the lists, so that `cargo deny check licenses bans sources` and this test can
//! never disagree; this test needs no other tool. Known vulnerabilities are not
//! looked up here: their database is not part of a checkout.

use std::process::Command;

use serde::Deserialize;
use spdx::{Expression, Licensee, ParseMode};

#[derive(Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(Deserialize)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// Absent for members of this workspace.
    source: Option<String>,
}

#[test]
fn every_package_carries_a_license_we_accept() {
    let allowed: Vec<Licensee> = rules()
        .licenses
        .allow
        .iter()
        .map(|name| Licensee::parse(name).expect("deny.toml names SPDX licenses"))
        .collect();
    let refused = tell(|package| !accepted(&allowed, package.license.as_deref()));
    assert!(
        refused.is_empty(),
        "licenses outside the list in deny.toml: {refused:#?}"
    );
}

#[test]
fn every_package_comes_from_a_registry_we_name() {
    let registries: Vec<String> = rules()
        .sources
        .allow_registry
        .into_iter()
        .map(|url| format!("registry+{url}"))
        .collect();
    let refused = tell(|package| {
        package
            .source
            .as_ref()
            .is_some_and(|from| !registries.contains(from))
    });
    assert!(refused.is_empty(), "packages from elsewhere: {refused:#?}");
}

#[test]
fn no_banned_package_has_come_in() {
    let banned = rules().bans.deny;
    let refused = tell(|package| banned.iter().any(|ban| ban.name == package.name));
    assert!(
        refused.is_empty(),
        "packages banned in deny.toml: {refused:#?}"
    );
}

#[test]
fn a_license_is_accepted_only_as_its_expression_says() {
    let allowed =
        ["MIT", "Apache-2.0"].map(|name| Licensee::parse(name).expect("both are SPDX names"));
    for (license, expected) in [
        (Some("MIT"), true),
        (Some("MIT/Apache-2.0"), true),
        (Some("GPL-3.0-only OR MIT"), true),
        (Some("GPL-3.0-only AND MIT"), false),
        (Some("GPL-3.0-only"), false),
        (Some("no license at all"), false),
        (None, false),
    ] {
        assert_eq!(accepted(&allowed, license), expected, "{license:?}");
    }
}

fn accepted(allowed: &[Licensee], license: Option<&str>) -> bool {
    license
        // Old manifests write `MIT/Apache-2.0` for a choice.
        .and_then(|text| Expression::parse_mode(text, ParseMode::LAX).ok())
        .is_some_and(|terms| terms.evaluate(|term| allowed.iter().any(|ours| ours.satisfies(term))))
}

fn tell(refused: impl Fn(&Package) -> bool) -> Vec<String> {
    let packages = packages();
    assert!(
        packages.len() > 50,
        "cargo metadata told of {} packages only",
        packages.len()
    );
    packages
        .into_iter()
        .filter(refused)
        .map(|package| {
            let (license, source) = (package.license, package.source);
            format!(
                "{} {}: license {license:?}, source {source:?}",
                package.name, package.version
            )
        })
        .collect()
}

fn rules() -> Rules {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml");
    let text = std::fs::read_to_string(path).expect("deny.toml stands at the root");
    toml::from_str(&text).expect("deny.toml has lists of licenses, bans and sources")
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--manifest-path",
        ])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        // What other systems would need is not built, so it need not be fetched.
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .output()
        .expect("cargo runs its own tests, so it can run again");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "cargo metadata failed: {complaint}"
    );
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).expect("cargo metadata writes its format 1");
    metadata.packages
}
