//! The one form of names: tenants, apps, plans, limits, APIs and upstreams.

use super::Invalid;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest name in bytes: a DNS label, so that a name may become one.
const NAME_BYTES_MAX: usize = 63;

/// `[a-z0-9][a-z0-9._-]{0,62}`: safe in a path, a header, a label and a log line.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[schema(value_type = String, pattern = "^[a-z0-9][a-z0-9._-]{0,62}$", examples("acme"))]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let first = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let later = |b: u8| first(b) || matches!(b, b'.' | b'_' | b'-');
        let bytes = text.as_bytes();
        let well_formed = bytes.first().is_some_and(|&b| first(b))
            && bytes.iter().all(|&b| later(b))
            && bytes.len() <= NAME_BYTES_MAX;
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::value(
                "a name has 1 to 63 of a-z, 0-9, '.', '_', '-' and begins with a letter or digit",
            ))
        }
    }
}

impl TryFrom<String> for Name {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}
