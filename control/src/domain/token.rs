//! What an admin token may do.

use serde::{Deserialize, Serialize};

/// What a token is for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum TokenRole {
    /// Everything.
    #[default]
    Admin,
    /// `GET /metrics` and nothing else.
    Metrics,
}

impl TokenRole {
    /// The word as written everywhere.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Metrics => "metrics",
        }
    }
}

impl std::str::FromStr for TokenRole {
    type Err = super::UnknownWord;

    fn from_str(word: &str) -> Result<Self, super::UnknownWord> {
        match word {
            "admin" => Ok(Self::Admin),
            "metrics" => Ok(Self::Metrics),
            _ => Err(super::UnknownWord("admin, metrics")),
        }
    }
}
