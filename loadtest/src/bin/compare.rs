//! `compare`: Keyway, nginx and HAProxy on the same job. See [`keyway_loadtest::compare`].

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use keyway_loadtest::compare::{self, Options};
use keyway_loadtest::progress::Progress;
use keyway_loadtest::trouble::{Outcome, Trouble};
use keyway_loadtest::{files, signals};

/// Keyway, nginx and HAProxy on the same job: the same keys, limits and logs, the same origin.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// File for the result as JSON; `-` prints it instead of the table.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match signals::until_interrupted(run(Arguments::parse())).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("compare: {trouble}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Outcome<()> {
    let report = compare::run(&arguments.options, Progress::start()).await?;
    let json = serde_json::to_string_pretty(&report)
        .map_err(|error| Trouble::io("write JSON")(error.into()))?;
    match arguments.json {
        Some(path) if path.as_os_str() == "-" => println!("{json}"),
        Some(path) => {
            files::write(&path, json)?;
            println!("{}", report.table());
        }
        None => println!("{}", report.table()),
    }
    Ok(())
}
