//! The command line of `keyway`: what is asked for, and which function answers.
//!
//! [`upgrade`] is the one command that speaks to a running node. Absent on purpose: anything that changes keys or plans; that is `keyway-control`'s.

mod upgrade;

use crate::accept::tls::store::TlsStore;
use crate::node::{self, Predecessor};
use crate::record::diagnostics;
use crate::settings::Settings;
use crate::snapshot::cli::{self as snapshot, Shown};
use crate::trace::exporter;
use crate::upstream::tls::Trusts;
use clap::{Args, Parser, Subcommand};
use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// The data plane of an API gateway whose center is the key.
///
/// Takes traffic, checks keys against the snapshots that keyway-control publishes, holds the
/// limits of their plans, and forwards to upstreams.
#[derive(Debug, Parser)]
#[command(name = "keyway", version, max_term_width = 100)]
#[command(after_help = "\
Examples:
  keyway check --settings /etc/keyway/keyway.toml
  keyway run --settings /etc/keyway/keyway.toml
  keyway snapshot inspect snapshots/base-00000000000000000007.kws

Signals of a running node:
  SIGTERM, SIGINT   drain: accept nothing new, finish what runs, end; a second one ends at once
  SIGHUP            open the access log anew, and read the certificates anew
  SIGUSR2           let a new process take over, with the settings and the program as they are now;
                    keyway upgrade does it and says how it went")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Run),
    Check(Check),
    Upgrade(upgrade::Upgrade),
    /// Look at snapshot files.
    #[command(subcommand)]
    Snapshot(Snapshot),
}

/// Run a node until it is told to end.
///
/// Without a published snapshot it runs and answers 503: nobody passes unchecked.
#[derive(Debug, Args)]
#[command(after_help = "\
Example of the least settings, keyway.toml:
  listen = [\"127.0.0.1:8080\"]
  pepper = [{ id = 1, file = \"pepper.hex\" }]
  snapshot.directory = \"snapshots\"
  link.socket = \"control.sock\"

KEYWAY_LOG sets how much is logged on standard error: error, warn, info (default), debug.")]
struct Run {
    /// The settings; relative paths in it start from its directory.
    #[arg(long, value_name = "FILE")]
    settings: PathBuf,
    /// Write the addresses in use to this file, as JSON, once the node accepts. For port 0.
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,
    /// Log as JSON, one object a line.
    #[arg(long)]
    log_json: bool,
}

/// Check settings and the peppers they name, and print what they come to.
///
/// Exits with 1 if a node would not start with them.
#[derive(Debug, Args)]
struct Check {
    /// The settings.
    #[arg(long, value_name = "FILE")]
    settings: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Snapshot {
    Inspect(Inspect),
    Verify(Verify),
}

/// Print what is in a snapshot file: generation, sections, counts, checksums.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  keyway snapshot inspect --json snapshots/base-00000000000000000007.kws")]
struct Inspect {
    /// The file.
    file: PathBuf,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
    /// The catalog too: tenants, plans, APIs with routes, upstreams.
    #[arg(long)]
    catalog: bool,
}

/// Verify a snapshot file as a node would; exits with 1 if it would be refused.
#[derive(Debug, Args)]
struct Verify {
    /// The file.
    file: PathBuf,
}

impl Cli {
    /// Does what is asked for.
    pub fn run(self) -> ExitCode {
        let outcome = match self.command {
            Command::Run(args) => run(args),
            Command::Check(args) => check(&args),
            Command::Upgrade(args) => upgrade::run(&args, &mut io::stdout()).map_err(tell),
            Command::Snapshot(Snapshot::Inspect(args)) => {
                let shown = Shown {
                    json: args.json,
                    catalog: args.catalog,
                };
                print(|out| snapshot::inspect(&args.file, shown, out))
            }
            Command::Snapshot(Snapshot::Verify(args)) => {
                print(|out| snapshot::verify(&args.file, out))
            }
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(Told) => ExitCode::FAILURE,
        }
    }
}

/// An error that was told to the person.
struct Told;

fn tell(error: impl Display) -> Told {
    for line in error.to_string().lines() {
        eprintln!("keyway: {line}");
    }
    Told
}

fn run(args: Run) -> Result<(), Told> {
    // First: it sorts out the descriptors that the process was started with.
    let predecessor = Predecessor::meet().map_err(tell)?;
    // Before anything is logged, and in plain text: a mistake in the settings is for a person.
    let settings = Settings::read(&args.settings).map_err(|error| {
        if let Some(predecessor) = &predecessor {
            predecessor.refuse(&error);
        }
        tell(error)
    })?;
    let diagnostics = diagnostics::start(args.log_json).map_err(tell)?;
    let outcome = node::run(settings, args.port_file.as_deref(), predecessor);
    // Its last lines come before the reason for the end.
    drop(diagnostics);
    outcome.map_err(tell)
}

fn check(args: &Check) -> Result<(), Told> {
    let settings = Settings::read(&args.settings).map_err(tell)?;
    node::peppers(&settings).map_err(tell)?;
    Trusts::read(&settings.upstream_tls).map_err(tell)?;
    if let Some(tls) = &settings.tls {
        TlsStore::read(tls).map_err(tell)?;
    }
    if let Some(tracing) = &settings.tracing {
        exporter::headers(tracing).map_err(tell)?;
    }
    print(|out| writeln!(out, "{}: usable\n{settings}", args.settings.display()))
}

/// Runs what writes to standard output. A reader that went away (`| head`) is no failure.
fn print<E: Display>(write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), Told> {
    let mut out = Vec::new();
    let outcome = write(&mut out);
    let mut stdout = io::stdout().lock();
    match stdout.write_all(&out).and_then(|()| stdout.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => return Err(tell(error)),
    }
    outcome.map_err(tell)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_least_settings_of_the_help_are_usable() {
        let mut command = Cli::command();
        let run = command.find_subcommand_mut("run").expect("exists");
        let help = run.render_long_help().to_string();
        let (_, example) = help.split_once("keyway.toml:\n").expect("has an example");
        let (example, _) = example.split_once("\n\n").expect("ends");
        Settings::parse(example, std::path::Path::new("")).expect("is usable");
    }
}
