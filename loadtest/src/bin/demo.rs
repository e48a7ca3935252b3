//! `demo`: a whole gateway on loopback. See [`keyway_loadtest::demo`] and `scripts/demo`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use keyway_loadtest::demo::{self, check};
use keyway_loadtest::progress::Progress;
use keyway_loadtest::signals;
use keyway_loadtest::trouble::{Outcome, Trouble};

/// A whole gateway on loopback: origin, control, data plane, two apps with keys.
#[derive(Parser)]
struct Arguments {
    /// Send real requests, compare answers with what is expected, and end.
    #[arg(long)]
    check: bool,
    /// What to apply; its one target becomes the demo's own origin.
    #[arg(long, default_value = "scripts/gateway.yaml")]
    configuration: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let interactive = !arguments.check;
    match signals::until_interrupted(run(arguments)).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Ctrl-C is how a person leaves the demo.
        Err(Trouble::Interrupted) if interactive => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("demo: {trouble}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Outcome<bool> {
    let progress = Progress::start();
    let (mut gateway, keys) = demo::start(arguments.configuration, progress).await?;
    if !arguments.check {
        demo::show(&gateway, &keys).await?;
        return Ok(true);
    }
    progress.say("checking");
    let rows = check::check(&mut gateway, &keys).await?;
    drop(gateway);
    print!("{}", check::table(&rows));
    let good = rows.iter().filter(|row| row.ok()).count();
    println!("{good} passed, {} failed", rows.len() - good);
    Ok(good == rows.len())
}
