//! `keyway snapshot inspect` and `keyway snapshot verify`: what is in a file, and whether a node
//! would serve it.
//!
//! Inspect says as much as it can of a damaged file too, and then what is wrong with it.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::catalog::CatalogFile;
use super::format::{FILE_BYTES_MAX, Header, Kind, SectionId};
use super::load::{self, LoadError};
use super::manifest::Checksum;
use super::map::SealedMap;
use super::verify::{self, Summary};

/// What to show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// As one JSON object instead of a table.
    pub json: bool,
    /// The catalog too.
    pub catalog: bool,
}

/// Why a file could not be shown, or what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// It is not a snapshot, or a damaged one.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The output cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

#[derive(Serialize)]
struct Report {
    file: String,
    kind: Kind,
    generation: u64,
    created: String,
    created_ms: u64,
    base: Option<BaseReport>,
    bytes: u64,
    checksum: Checksum,
    sections: Vec<SectionReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    catalog: Option<CatalogFile>,
}

#[derive(Serialize)]
struct BaseReport {
    generation: u64,
    checksum: Checksum,
}

#[derive(Serialize)]
struct SectionReport {
    section: SectionId,
    offset: u64,
    bytes: u64,
    count: u64,
    checksum: Checksum,
    whole: bool,
}

/// Prints what is in a snapshot file. An error after the output says what is wrong with the file.
pub fn inspect(path: &Path, shown: Shown, out: &mut impl Write) -> Result<(), CliError> {
    let map = load::read_sealed(path, FILE_BYTES_MAX, None)?;
    let failed = |source| LoadError::Format {
        path: path.into(),
        source,
    };
    let header = Header::decode(map.bytes()).map_err(failed)?;
    let verified = verify::verify_bytes(map.bytes()).map_err(failed);
    let report = report(path, &header, &map, shown, verified.as_ref());
    if shown.json {
        serde_json::to_writer_pretty(&mut *out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        print(&report, out)?;
    }
    verified.map(drop).map_err(CliError::from)
}

/// Verifies a snapshot file as a node would, and prints one line.
pub fn verify(path: &Path, out: &mut impl Write) -> Result<(), CliError> {
    let summary = load::verify_file(path, FILE_BYTES_MAX)?;
    let Summary {
        generation,
        keys,
        apps,
        ..
    } = summary;
    writeln!(
        out,
        "{}: generation {generation}, {keys} keys, {apps} apps: whole",
        path.display()
    )?;
    Ok(())
}

fn report(
    path: &Path,
    header: &Header,
    map: &SealedMap,
    shown: Shown,
    verified: Result<&Summary, &LoadError>,
) -> Report {
    let section = |id| {
        let section = header.section(id);
        SectionReport {
            section: id,
            offset: section.offset,
            bytes: section.length,
            count: section.count,
            checksum: Checksum(section.checksum),
            whole: verify::section_is_whole(map.bytes(), header, id),
        }
    };
    Report {
        file: path.display().to_string(),
        kind: header.kind(),
        generation: header.generation,
        created: time(header.created_ms),
        created_ms: header.created_ms,
        base: header.base.map(|base| BaseReport {
            generation: base.generation,
            checksum: Checksum(base.checksum),
        }),
        bytes: header.file_bytes,
        checksum: Checksum(header.checksum),
        sections: SectionId::ALL.map(section).into(),
        content: verified.ok().cloned(),
        error: verified.err().map(ToString::to_string),
        catalog: shown.catalog.then(|| catalog(map, header)).flatten(),
    }
}

fn catalog(map: &SealedMap, header: &Header) -> Option<CatalogFile> {
    let section = header.section(SectionId::Catalog);
    let start = usize::try_from(section.offset).ok()?;
    let end = start.checked_add(usize::try_from(section.length).ok()?)?;
    serde_json::from_slice(map.bytes().get(start..end)?).ok()
}

fn time(ms: u64) -> String {
    let time = i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| "beyond the calendar".into(), |time| time.to_string())
}

fn print(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let kind = match report.kind {
        Kind::Base => "base",
        Kind::Overlay => "overlay",
    };
    writeln!(out, "file        {}", report.file)?;
    writeln!(out, "kind        {kind}")?;
    writeln!(out, "generation  {}", report.generation)?;
    if let Some(base) = &report.base {
        writeln!(out, "base        {} ({:?})", base.generation, base.checksum)?;
    }
    writeln!(out, "created     {}", report.created)?;
    writeln!(out, "bytes       {}", report.bytes)?;
    writeln!(out, "checksum    {:?}", report.checksum)?;
    writeln!(out)?;
    let (section, offset, bytes, count) = ("section", "offset", "bytes", "count");
    writeln!(
        out,
        "{section:<10}{offset:>14}{bytes:>14}{count:>12}  checksum"
    )?;
    for row in &report.sections {
        let SectionReport {
            section,
            offset,
            bytes,
            count,
            checksum,
            whole,
        } = row;
        let damage = if *whole { "" } else { "  DAMAGED" };
        let name = section.name();
        writeln!(
            out,
            "{name:<10}{offset:>14}{bytes:>14}{count:>12}  {checksum:?}{damage}"
        )?;
    }
    if let Some(content) = &report.content {
        writeln!(out)?;
        print_content(content, out)?;
    }
    if let Some(catalog) = &report.catalog {
        let json = serde_json::to_string_pretty(catalog).map_err(io::Error::from)?;
        writeln!(out, "\n{json}")?;
    }
    Ok(())
}

fn print_content(content: &Summary, out: &mut impl Write) -> io::Result<()> {
    let revoked = content.keys - content.keys_alive;
    let peppers: Vec<String> = content.peppers.iter().map(u8::to_string).collect();
    writeln!(out, "keys        {} ({revoked} revoked)", content.keys)?;
    writeln!(out, "key slots   {} at home", content.key_capacity)?;
    writeln!(out, "peppers     {}", peppers.join(", "))?;
    writeln!(out, "apps        {}", content.apps)?;
    writeln!(out, "grants      {}", content.grants)?;
    writeln!(out, "tenants     {}", content.tenants)?;
    writeln!(out, "plans       {}", content.plans)?;
    writeln!(out, "APIs        {}", content.apis)?;
    writeln!(out, "upstreams   {}", content.upstreams)
}
