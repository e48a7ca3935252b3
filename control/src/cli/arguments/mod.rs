//! The words of the command line.

mod alerts;
mod keys;
mod logs;
mod things;
mod whose;

pub use alerts::*;
pub use keys::*;
pub use logs::*;
pub use things::*;
pub use whose::*;

use crate::admin::time::Moment;
use crate::cli::duration;
use crate::domain::{Name, Subject};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Where control is, and how to speak to it.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Talking to control")]
pub struct ClientOptions {
    /// Address of the admin API [env: KEYWAY_URL] [default: http://127.0.0.1:7000].
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
    /// File that holds the admin token; without it the token is taken from the variable
    /// KEYWAY_TOKEN. It is never an argument: those are seen by every process.
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Send the token to another machine, in clear text.
    #[arg(long, global = true)]
    pub allow_remote: bool,
    /// Print JSON: one object for one thing, one object a line for a list.
    #[arg(long, global = true)]
    pub json: bool,
}

/// Commands that ask a running control process.
#[derive(Clone, Debug, Subcommand)]
pub enum ClientCommand {
    /// Make plans, APIs, upstreams and tenants as a file says.
    #[command(after_help = "Examples:
  keyway-control apply -f gateway.yaml --dry-run   # show the difference, change nothing
  keyway-control apply -f gateway.yaml --wait      # and prove that every core serves it
  keyway-control apply -f - --prune < gateway.yaml")]
    Apply(ApplyArguments),
    /// Make, list, switch, rotate, revoke and import keys.
    #[command(after_help = "Examples:
  keyway-control keys create acme/mobile --name ios --expires-in 90d
  keyway-control keys list --app acme/mobile --state active
  keyway-control keys rotate key_06t0q3zkd8v1w --grace 24h
  keyway-control keys revoke key_06t0q3zkd8v1w --wait
  keyway-control keys import --app acme/mobile --form sha256 digests.txt")]
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// List, make and switch tenants.
    Tenants {
        #[command(subcommand)]
        command: TenantsCommand,
    },
    /// List, make and switch apps.
    Apps {
        #[command(subcommand)]
        command: AppsCommand,
    },
    /// List subscriptions, and say what becomes of them.
    Subscriptions {
        #[command(subcommand)]
        command: SubscriptionsCommand,
    },
    /// List plans.
    Plans {
        #[command(subcommand)]
        command: ListCommand,
    },
    /// List APIs.
    Apis {
        #[command(subcommand)]
        command: ListCommand,
    },
    /// List upstreams.
    Upstreams {
        #[command(subcommand)]
        command: ListCommand,
    },
    /// List, make and withdraw admin tokens.
    Tokens {
        #[command(subcommand)]
        command: TokensCommand,
    },
    /// List what alert rules went off for, newest first.
    #[command(after_help = "Examples:
  keyway-control alerts --firing
  keyway-control alerts --rule stolen-key --json")]
    Alerts(AlertsArguments),
    /// List alert rules; they are made by `apply`.
    AlertRules {
        #[command(subcommand)]
        command: ListCommand,
    },
    /// List, make, try and delete the webhooks that alerts are told to.
    #[command(after_help = "Examples:
  keyway-control webhooks create ops https://ops.example.com/keyway
  keyway-control webhooks test ops")]
    Webhooks {
        #[command(subcommand)]
        command: WebhooksCommand,
    },
    /// Publish now, and end the hold of a rollback. Changes publish by themselves.
    Publish(PublishArguments),
    /// Serve the plans, APIs and upstreams of an earlier generation again; keys stay as they are.
    Rollback(RollbackArguments),
    /// Show what is served, by whom.
    Status,
    /// List published generations, newest first.
    Generations(ListArguments),
    /// List changes, newest first: who changed what.
    #[command(after_help = "Example:
  keyway-control audit --subject key --id key_06t0q3zkd8v1w --json")]
    Audit(AuditArguments),
    /// Look for calls in the nodes' logs, or follow them.
    #[command(after_help = "Examples:
  keyway-control logs --status 5xx --since 1h
  keyway-control logs --key key_06t0q3zkd8v1w --follow
  keyway-control logs --app acme/mobile --path /orders --json")]
    Logs(Box<LogsArguments>),
    /// Sum up usage, or export it for billing.
    #[command(
        after_help = "Examples:\n  keyway-control usage --by app --since 24h --step hour\n  \
        keyway-control usage --key key_06t0q3zkd8v1w --since 30d --step day\n  \
        keyway-control usage --csv --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z"
    )]
    Usage(UsageArguments),
    /// Show who calls most, now.
    Top(TopArguments),
}

/// Which part of a list.
#[derive(Clone, Debug, Default, Args)]
pub struct ListArguments {
    /// Rows of the page, 1 to 1000 [default: 100].
    #[arg(long, value_name = "ROWS")]
    pub limit: Option<u32>,
    /// Go on where the page before ended.
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// Page after page, to the end.
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
}

/// Whether to wait until a change is in force.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct WaitArguments {
    /// Wait until every worker of every node serves the change, and print the receipt; exit code 4
    /// if that is not so in time.
    #[arg(long)]
    pub wait: bool,
    /// Longest wait, 1 to 60000.
    #[arg(long, value_name = "MS", default_value_t = 10_000, requires = "wait",
        value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub timeout_ms: u32,
}

impl WaitArguments {
    /// How long to wait; none: not at all.
    pub(super) fn timeout_ms(self) -> Option<u32> {
        self.wait.then_some(self.timeout_ms)
    }
}

/// How to apply a file.
#[derive(Clone, Debug, Args)]
pub struct ApplyArguments {
    /// The file; `-` for standard input.
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Check everything and show the difference, but change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Also remove what the file's own sections no longer hold. A section that is not in the file
    /// is left alone, and so is an app with keys.
    #[arg(long)]
    pub prune: bool,
    #[command(flatten)]
    pub wait: WaitArguments,
}

/// An app, as `TENANT/APP`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppName {
    /// Its tenant.
    pub tenant: Name,
    /// Its name there.
    pub app: Name,
}

impl std::str::FromStr for AppName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (tenant, app) = text
            .split_once('/')
            .ok_or("an app is written as TENANT/APP, such as acme/mobile")?;
        let name = |text: &str| {
            text.parse()
                .map_err(|e: crate::domain::Invalid| e.to_string())
        };
        Ok(Self {
            tenant: name(tenant)?,
            app: name(app)?,
        })
    }
}

/// How to publish.
#[derive(Clone, Copy, Debug, Args)]
pub struct PublishArguments {
    /// Write a whole new base, also where an overlay would do.
    #[arg(long)]
    pub full: bool,
    /// Publish even though the store is empty or far smaller than what is served.
    #[arg(long)]
    pub allow_shrink: bool,
    #[command(flatten)]
    pub wait: WaitArguments,
}

/// Where to step back to.
#[derive(Clone, Copy, Debug, Args)]
pub struct RollbackArguments {
    /// The generation, see `generations`.
    #[arg(long, value_name = "GENERATION")]
    pub to: u64,
    #[command(flatten)]
    pub wait: WaitArguments,
}

/// Which changes to list.
#[derive(Clone, Debug, Args)]
pub struct AuditArguments {
    /// Of this kind of thing: tenant, app, key, plan, api, upstream, subscription, token, alert_rule, webhook,
    /// publication.
    #[arg(long)]
    pub subject: Option<Subject>,
    /// Of this one: its public id, name or number.
    #[arg(long, requires = "subject")]
    pub id: Option<String>,
    #[command(flatten)]
    pub part: ListArguments,
}

/// Which usage.
#[derive(Clone, Debug, Args)]
pub struct UsageArguments {
    /// Tell it by key, app, tenant, api or route.
    #[arg(long, value_parser = ["key", "app", "tenant", "api", "route"])]
    pub by: Option<String>,
    /// Tell it by minute, hour or day [default: the finest that makes at most 200 steps].
    #[arg(long, value_parser = ["minute", "hour", "day"])]
    pub step: Option<String>,
    /// From this time on [default: an hour ago].
    #[arg(long, value_name = "TIME")]
    pub from: Option<Moment>,
    /// The same, back from now: 90s, 15m, 24h, 30d.
    #[arg(long, value_name = "SPAN", value_parser = duration::seconds, conflicts_with = "from")]
    pub since: Option<u32>,
    /// Before this time [default: now].
    #[arg(long, value_name = "TIME")]
    pub to: Option<Moment>,
    #[command(flatten)]
    pub whose: Whose,
    /// Export each subscription's usage and amount instead, as comma-separated values.
    #[arg(long, conflicts_with_all = ["by", "step", "key", "tenant", "app", "api"])]
    pub csv: bool,
}

/// What to show of those who call most.
#[derive(Clone, Debug, Args)]
pub struct TopArguments {
    /// Keys, apps, tenants, APIs or routes.
    #[arg(long, default_value = "key", value_parser = ["key", "app", "tenant", "api", "route"])]
    pub by: String,
    /// What comes first.
    #[arg(long, default_value = "requests",
        value_parser = ["requests", "errors", "error_rate", "bytes_out", "p99"])]
    pub order: String,
    /// How many.
    #[arg(long, default_value_t = 20)]
    pub limit: u32,
    /// Seconds between two pictures.
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    pub interval: u32,
    /// One picture, as where the output is no terminal.
    #[arg(long)]
    pub once: bool,
}
