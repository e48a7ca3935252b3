//! The words about tenants, apps, subscriptions, tokens and what only a file makes.

use super::{AppName, ListArguments, WaitArguments};
use crate::domain::{Name, SubscriptionState, TokenRole};
use clap::{Args, Subcommand};

/// What to do with tenants.
#[derive(Clone, Debug, Subcommand)]
pub enum TenantsCommand {
    /// List tenants.
    List(ListArguments),
    /// Make a tenant.
    Create(TenantArguments),
    /// Switch a tenant, and with it all its keys, on again.
    Enable(TenantArguments),
    /// Switch a tenant, and with it all its keys, off.
    Disable(TenantArguments),
}

/// Which tenant.
#[derive(Clone, Debug, Args)]
pub struct TenantArguments {
    /// Its name.
    #[arg(value_name = "TENANT")]
    pub name: Name,
    #[command(flatten)]
    pub wait: WaitArguments,
}

/// What to do with apps.
#[derive(Clone, Debug, Subcommand)]
pub enum AppsCommand {
    /// List apps.
    List {
        /// Of this tenant.
        #[arg(long)]
        tenant: Option<Name>,
        #[command(flatten)]
        part: ListArguments,
    },
    /// Make an app.
    Create(AppArguments),
    /// Switch an app, and with it all its keys, on again.
    Enable(AppArguments),
    /// Switch an app, and with it all its keys, off.
    Disable(AppArguments),
}

/// Which app.
#[derive(Clone, Debug, Args)]
pub struct AppArguments {
    /// Its name.
    #[arg(value_name = "TENANT/APP")]
    pub app: AppName,
    #[command(flatten)]
    pub wait: WaitArguments,
}

/// What to do with subscriptions.
#[derive(Clone, Debug, Subcommand)]
pub enum SubscriptionsCommand {
    /// List subscriptions.
    List {
        /// Of this app.
        #[arg(long, value_name = "TENANT/APP")]
        app: Option<AppName>,
        /// Of this tenant.
        #[arg(long, conflicts_with = "app")]
        tenant: Option<Name>,
        /// To this API.
        #[arg(long)]
        api: Option<Name>,
        /// `requested`, `approved`, `suspended` or `cancelled`.
        #[arg(long)]
        state: Option<SubscriptionState>,
        #[command(flatten)]
        part: ListArguments,
    },
    /// Let it grant its API.
    Approve(SubscriptionArguments),
    /// Let it grant nothing for now.
    Suspend(SubscriptionArguments),
    /// End it for good.
    Cancel(SubscriptionArguments),
}

/// Which subscription.
#[derive(Clone, Copy, Debug, Args)]
pub struct SubscriptionArguments {
    /// Its number.
    pub number: u32,
    #[command(flatten)]
    pub wait: WaitArguments,
}

/// What there is to do with things that only a file makes.
#[derive(Clone, Debug, Subcommand)]
pub enum ListCommand {
    /// List them.
    List(ListArguments),
}

/// What to do with admin tokens.
#[derive(Clone, Debug, Subcommand)]
pub enum TokensCommand {
    /// List admin tokens, withdrawn ones too.
    List(ListArguments),
    /// Make an admin token; it is shown once.
    Create {
        /// Who will hold it; names the actor in the audit log.
        label: Name,
        /// What it may do: admin (everything) or metrics (read /metrics).
        #[arg(long, default_value = "admin")]
        role: TokenRole,
        /// Print the token and nothing else.
        #[arg(short, long, conflicts_with = "json")]
        quiet: bool,
    },
    /// Withdraw an admin token for good.
    Withdraw {
        /// Its number.
        number: u32,
    },
}
