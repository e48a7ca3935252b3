//! The command line as a client of the admin API: it knows no more than any other client.
//!
//! Human tables by default, JSON with `--json`: one object for one thing, one object a line for a
//! list. Exit codes: 0 done, 1 refused by the server, 2 wrong usage, 3 not reachable, 4 done and
//! durable but not proven to be in force in time.

mod alerts;
mod apply;
mod arguments;
mod calls;
mod catalog;
mod client;
mod duration;
mod error;
mod fleet;
mod import;
mod keys;
mod logs;
mod organization;
mod output;
mod receipt;
mod usage;

pub use arguments::{ClientCommand, ClientOptions};
pub use error::CliError;

use client::Client;
use output::Output;
use std::process::ExitCode;

/// What every command has in hand.
struct Session {
    client: Client,
    output: Output,
}

/// Runs a command against a running control process. Blocks; needs no runtime.
pub fn run(options: &ClientOptions, command: ClientCommand) -> ExitCode {
    match try_run(options, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.tell();
            ExitCode::from(error.exit_code())
        }
    }
}

fn try_run(options: &ClientOptions, command: ClientCommand) -> Result<(), CliError> {
    let client = Client::new(options)?;
    let session = &Session {
        client,
        output: Output::new(options.json),
    };
    match command {
        ClientCommand::Apply(arguments) => apply::run(session, &arguments),
        ClientCommand::Keys { command } => keys::run(session, command),
        ClientCommand::Tenants { command } => organization::tenants(session, command),
        ClientCommand::Apps { command } => organization::apps(session, command),
        ClientCommand::Subscriptions { command } => organization::subscriptions(session, command),
        ClientCommand::Plans { command } => catalog::plans(session, command),
        ClientCommand::Apis { command } => catalog::apis(session, command),
        ClientCommand::Upstreams { command } => catalog::upstreams(session, command),
        ClientCommand::Tokens { command } => organization::tokens(session, command),
        ClientCommand::Alerts(arguments) => alerts::alerts(session, &arguments),
        ClientCommand::AlertRules { command } => alerts::rules(session, command),
        ClientCommand::Webhooks { command } => alerts::webhooks(session, command),
        ClientCommand::Publish(arguments) => fleet::publish(session, &arguments),
        ClientCommand::Rollback(arguments) => fleet::rollback(session, &arguments),
        ClientCommand::Status => fleet::status(session),
        ClientCommand::Generations(list) => fleet::generations(session, &list),
        ClientCommand::Audit(arguments) => logs::audit(session, &arguments),
        ClientCommand::Logs(arguments) => calls::logs(session, &arguments),
        ClientCommand::Usage(arguments) => usage::usage(session, &arguments),
        ClientCommand::Top(arguments) => usage::top(session, &arguments),
    }
}
