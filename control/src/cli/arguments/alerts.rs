//! The words about alerts.

use super::ListArguments;
use crate::domain::Name;
use clap::{Args, Subcommand};

/// Which alerts.
#[derive(Clone, Debug, Args)]
pub struct AlertsArguments {
    /// Those that last.
    #[arg(long, conflicts_with = "resolved")]
    pub firing: bool,
    /// Those that are over.
    #[arg(long)]
    pub resolved: bool,
    /// Of this rule.
    #[arg(long)]
    pub rule: Option<Name>,
    #[command(flatten)]
    pub part: ListArguments,
}

/// What to do with webhooks.
#[derive(Clone, Debug, Subcommand)]
pub enum WebhooksCommand {
    /// List webhooks, and how telling them goes.
    List(ListArguments),
    /// Make a webhook; the secret that its receiver checks signatures with is shown once.
    Create {
        /// Unique name, by which rules speak of it.
        name: Name,
        /// Where it is told: https, or http to a loopback address.
        #[arg(value_name = "URL")]
        address: String,
        /// Print the secret and nothing else.
        #[arg(short, long, conflicts_with = "json")]
        quiet: bool,
    },
    /// Send a test message, and wait for what becomes of it.
    Test {
        /// Its name.
        name: Name,
    },
    /// Delete a webhook that no rule speaks of.
    Delete {
        /// Its name.
        name: Name,
    },
}
