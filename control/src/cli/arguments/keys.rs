//! The words about keys.

use super::{AppName, ListArguments, WaitArguments};
use crate::admin::time::Moment;
use crate::cli::duration;
use crate::domain::{Environment, KeyId, KeyState, Name, Scalar};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// An attribute, as `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// `true` and `false` are flags, whole numbers numbers, all else text.
    pub value: Scalar,
}

impl std::str::FromStr for Attribute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or("an attribute is written as NAME=VALUE")?;
        let value = match (value, value.parse()) {
            ("true", _) => Scalar::Flag(true),
            ("false", _) => Scalar::Flag(false),
            (_, Ok(number)) => Scalar::Integer(number),
            (text, Err(_)) => Scalar::Text(text.to_owned()),
        };
        Ok(Self {
            name: name.to_owned(),
            value,
        })
    }
}

/// What to do with keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key; its secret is shown once.
    Create(KeyCreateArguments),
    /// List keys.
    List(KeyListArguments),
    /// Show a key.
    Show {
        /// Its id.
        #[arg(value_parser = key_id)]
        id: KeyId,
    },
    /// Change a key's name and attributes, and whether limits hold for it.
    Update(KeyUpdateArguments),
    /// Switch a key off.
    Disable(KeyArguments),
    /// Switch a key on again.
    Enable(KeyArguments),
    /// Set when a key ends.
    Expire(KeyExpireArguments),
    /// Make a key that takes the place of another, which ends after a grace.
    Rotate(KeyRotateArguments),
    /// Revoke a key for good.
    Revoke(KeyArguments),
    /// Take in keys made elsewhere, in plain text or as SHA-256.
    Import(KeyImportArguments),
}

/// Which key.
#[derive(Clone, Copy, Debug, Args)]
pub struct KeyArguments {
    /// Its id.
    #[arg(value_parser = key_id)]
    pub id: KeyId,
    #[command(flatten)]
    pub wait: WaitArguments,
}

/// A key's id; whoever gives the key itself is told so, and it is sent nowhere.
pub(super) fn key_id(text: &str) -> Result<KeyId, String> {
    text.parse().map_err(|_| match text.starts_with("kw_") {
        true => "that is a key; give its id, `key_` and 13 characters (see `keys list`)".to_owned(),
        false => "a key's id is `key_` and 13 characters".to_owned(),
    })
}

/// What makes a key.
#[derive(Clone, Debug, Args)]
pub struct KeyCreateArguments {
    /// The app that will own it.
    #[arg(value_name = "TENANT/APP")]
    pub app: AppName,
    /// `live` or `test`.
    #[arg(long, default_value = "live")]
    pub environment: Environment,
    /// A name to know it by; kept as the attribute `name`.
    #[arg(long)]
    pub name: Option<String>,
    /// An attribute; may be given many times.
    #[arg(long, value_name = "NAME=VALUE")]
    pub attribute: Vec<Attribute>,
    /// First second of its validity, such as 2026-11-21T08:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub not_before: Option<Moment>,
    /// First second at which it is no longer valid.
    #[arg(long, value_name = "TIME", conflicts_with = "expires_in")]
    pub not_after: Option<Moment>,
    /// The same, from now: 90s, 15m, 24h, 30d.
    #[arg(long, value_name = "SPAN", value_parser = duration::seconds)]
    pub expires_in: Option<u32>,
    /// The limits of its plans do not hold for it.
    #[arg(long)]
    pub unlimited: bool,
    /// Print the secret and nothing else.
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,
    /// Makes the command repeatable: with the same key it is carried out once within 24 h.
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    #[command(flatten)]
    pub wait: WaitArguments,
}

/// Which keys to list.
#[derive(Clone, Debug, Args)]
pub struct KeyListArguments {
    /// Of this app.
    #[arg(long, value_name = "TENANT/APP")]
    pub app: Option<AppName>,
    /// Of this tenant.
    #[arg(long, conflicts_with = "app")]
    pub tenant: Option<Name>,
    /// `active`, `disabled` or `revoked`.
    #[arg(long)]
    pub state: Option<KeyState>,
    /// `live` or `test`.
    #[arg(long)]
    pub environment: Option<Environment>,
    #[command(flatten)]
    pub part: ListArguments,
}

/// What changes of a key.
#[derive(Clone, Debug, Args)]
pub struct KeyUpdateArguments {
    /// Its id.
    #[arg(value_parser = key_id)]
    pub id: KeyId,
    /// Its name, kept as the attribute `name`.
    #[arg(long)]
    pub name: Option<String>,
    /// An attribute to set; may be given many times.
    #[arg(long, value_name = "NAME=VALUE")]
    pub attribute: Vec<Attribute>,
    /// An attribute to take away; may be given many times.
    #[arg(long, value_name = "NAME")]
    pub remove_attribute: Vec<String>,
    /// Whether the limits of its plans do not hold for it.
    #[arg(long, value_name = "BOOL")]
    pub unlimited: Option<bool>,
    #[command(flatten)]
    pub wait: WaitArguments,
}

/// When a key ends.
#[derive(Clone, Debug, Args)]
#[group(id = "when", required = true, multiple = false,
    args = ["at", "after", "now", "never"])]
pub struct KeyExpireArguments {
    /// Its id.
    #[arg(value_parser = key_id)]
    pub id: KeyId,
    /// At this time, such as 2026-11-21T08:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub at: Option<Moment>,
    /// After this span: 90s, 15m, 24h, 30d.
    #[arg(long = "in", value_name = "SPAN", value_parser = duration::seconds)]
    pub after: Option<u32>,
    /// At once.
    #[arg(long)]
    pub now: bool,
    /// Never.
    #[arg(long)]
    pub never: bool,
    #[command(flatten)]
    pub wait: WaitArguments,
}

/// How to rotate a key.
#[derive(Clone, Debug, Args)]
pub struct KeyRotateArguments {
    /// The old key's id.
    #[arg(value_parser = key_id)]
    pub id: KeyId,
    /// How long the old key lives on: 0s, 15m, 24h, 30d.
    #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = duration::seconds)]
    pub grace: u32,
    /// Print the secret and nothing else.
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,
    /// Makes the command repeatable: with the same key it is carried out once within 24 h.
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    #[command(flatten)]
    pub wait: WaitArguments,
}

/// The form of a file of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImportForm {
    /// One JSON object a line, with `key` or `sha256`.
    Json,
    /// One key a line.
    Plain,
    /// The SHA-256 of one key a line, 64 hex digits.
    Sha256,
}

/// What to import.
#[derive(Clone, Debug, Args)]
pub struct KeyImportArguments {
    /// The file; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What a line is.
    #[arg(long, value_enum, default_value_t = ImportForm::Json)]
    pub form: ImportForm,
    /// The app of keys whose line names none.
    #[arg(long, value_name = "TENANT/APP")]
    pub app: Option<AppName>,
    /// The environment of keys whose line names none: `live` or `test`.
    #[arg(long)]
    pub environment: Option<Environment>,
    #[command(flatten)]
    pub wait: WaitArguments,
}
