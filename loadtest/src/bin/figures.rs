//! `figures`: the numbers that Keyway promises, measured. See [`keyway_loadtest::figures`].

use std::process::ExitCode;

use clap::Parser;
use keyway_loadtest::figures::{self, Suite};
use keyway_loadtest::progress::Progress;
use keyway_loadtest::signals;
use keyway_loadtest::trouble::{Outcome, Trouble};

/// The numbers that Keyway promises, measured on this machine. Fails when one misses its bound.
#[derive(Parser)]
struct Arguments {
    /// What to measure.
    suite: Suite,
    /// Smaller and less certain, within five minutes.
    #[arg(long)]
    quick: bool,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match signals::until_interrupted(run(Arguments::parse())).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(trouble) => {
            eprintln!("figures: {trouble}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: Arguments) -> Outcome<bool> {
    let measured = figures::measure(arguments.suite, arguments.quick, Progress::start()).await?;
    if arguments.json {
        for figure in &measured {
            let line = serde_json::to_string(figure)
                .map_err(|error| Trouble::io("write JSON")(error.into()))?;
            println!("{line}");
        }
    } else {
        print!("{}", figures::table(&measured));
    }
    Ok(measured.iter().all(|figure| figure.ok))
}
