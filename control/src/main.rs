//! The `keyway-control` binary: reads the command line, and hands over.

use clap::{Parser, Subcommand};
use keyway_control::alerts::WebhookTrust;
use keyway_control::cli::{self, ClientCommand, ClientOptions};
use keyway_control::domain::Secret;
use keyway_control::serve::{self, ServeOptions};
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Keyway's control process: owns the keys and publishes snapshots.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// The data directory (serve, init).
    #[arg(long, global = true, default_value = "keyway-data", value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    client: ClientOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Local(LocalCommand),
    #[command(flatten)]
    Client(ClientCommand),
}

/// Commands that work in the data directory themselves.
#[derive(Debug, Subcommand)]
enum LocalCommand {
    /// Make a data directory: database, pepper, and the first admin token, which is printed once.
    Init {
        /// Also print one more admin token for a directory that has some; control must be down.
        #[arg(long)]
        another_token: bool,
    },
    /// Serve the admin API and the nodes; makes the data directory if it is new.
    Serve {
        /// Where the admin API listens; port 0 for any.
        #[arg(long, default_value = "127.0.0.1:7000", value_name = "ADDRESS")]
        listen: SocketAddr,
        /// Write the address that the admin API listens on to this file.
        #[arg(long, value_name = "FILE")]
        port_file: Option<PathBuf>,
        /// Authorities (PEM) whose certificates the receivers of webhooks may have, in place of the
        /// public ones.
        #[arg(long, value_name = "FILE")]
        webhook_ca: Option<PathBuf>,
        /// How many keys, and apps, have series of their own in /metrics: those that call most.
        #[arg(long, value_name = "COUNT", default_value_t = 20,
            value_parser = clap::value_parser!(u32).range(0..=1_000))]
        metrics_top: u32,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let command = match arguments.command {
        Command::Client(command) => return cli::run(&arguments.client, command),
        Command::Local(command) => command,
    };
    let filter = EnvFilter::try_from_env("KEYWAY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Colors are for a terminal; in a file or a journal they are noise.
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match run(arguments.data, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keyway-control: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is still asked of others when control ends, such as a receiver of webhooks, is not waited
/// for: it is asked again after the next start.
const ENDING: Duration = Duration::from_millis(500);

fn run(data: PathBuf, command: LocalCommand) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(carry_out(data, command));
    runtime.shutdown_timeout(ENDING);
    outcome
}

async fn carry_out(data: PathBuf, command: LocalCommand) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        LocalCommand::Init { another_token } => {
            match serve::init(&data, another_token).await? {
                Some(token) => show(&token),
                None => println!("{}: was made before; nothing changed", data.display()),
            }
            Ok(())
        }
        LocalCommand::Serve {
            listen,
            port_file,
            webhook_ca,
            metrics_top,
        } => {
            let options = ServeOptions {
                data,
                listen,
                port_file,
                webhook_trust: webhook_ca.map_or(WebhookTrust::Public, WebhookTrust::File),
                metrics_top,
            };
            Ok(serve::serve(options, show).await?)
        }
    }
}

/// The only time that the token is seen.
fn show(token: &Secret) {
    println!("admin token (shown once, keep it safe): {}", token.expose());
    // A pipe that nobody reads is no reason to stay down.
    drop(std::io::stdout().flush());
}
