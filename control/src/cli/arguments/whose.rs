//! The words that name whose calls are meant.

use super::{AppName, keys};
use crate::domain::{KeyId, Name};
use clap::Args;

/// Whose calls, and to what; every word narrows.
#[derive(Clone, Debug, Args)]
pub struct Whose {
    /// By this key.
    #[arg(long, value_parser = keys::key_id)]
    pub key: Option<KeyId>,
    /// By keys of this tenant.
    #[arg(long, conflicts_with = "app")]
    pub tenant: Option<Name>,
    /// By keys of this app.
    #[arg(long, value_name = "TENANT/APP")]
    pub app: Option<AppName>,
    /// To this API.
    #[arg(long)]
    pub api: Option<Name>,
}
