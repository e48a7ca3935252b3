//! Keys: identity, validity and the one-way road to `revoked`.
//!
//! A key's secret is nowhere in here: what is kept of it is the keyed digest in [`Credential`].

use super::{AppNumber, Attributes, Credential, Invalid, KeyNumber, Name};
use keyway::snapshot::KeyId;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// A word that is none of the choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of: {0}")]
pub struct UnknownWord(pub &'static str);

/// Where a key is meant to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// The real thing.
    Live,
    /// A sandbox.
    Test,
}

impl Environment {
    /// The word as written everywhere.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}

impl From<Environment> for keyway::snapshot::Environment {
    fn from(environment: Environment) -> Self {
        match environment {
            Environment::Live => Self::Live,
            Environment::Test => Self::Test,
        }
    }
}

impl FromStr for Environment {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "live" => Ok(Self::Live),
            "test" => Ok(Self::Test),
            _ => Err(UnknownWord("live, test")),
        }
    }
}

/// Whether a key may be used, beside its validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// In use.
    Active,
    /// Switched off; may be switched on again.
    Disabled,
    /// Dead for good.
    Revoked,
}

/// The key was revoked: nothing about it changes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key is revoked, and a revocation is final")]
pub struct FinalState;

impl KeyState {
    /// The word as written everywhere.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
        }
    }

    /// Refuses a key that nothing may be done with any more.
    pub fn alive(self) -> Result<(), FinalState> {
        if self == Self::Revoked {
            Err(FinalState)
        } else {
            Ok(())
        }
    }

    /// The state after it was asked to become `wanted`.
    pub fn become_(self, wanted: KeyState) -> Result<KeyState, FinalState> {
        match (self, wanted) {
            (Self::Revoked, Self::Revoked) => Ok(Self::Revoked),
            (Self::Revoked, _) => Err(FinalState),
            (_, wanted) => Ok(wanted),
        }
    }
}

impl FromStr for KeyState {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "active" => Ok(Self::Active),
            "disabled" => Ok(Self::Disabled),
            "revoked" => Ok(Self::Revoked),
            _ => Err(UnknownWord("active, disabled, revoked")),
        }
    }
}

/// When a key is valid, in whole seconds since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawValidity")]
pub struct Validity {
    not_before_s: Option<u32>,
    not_after_s: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawValidity {
    #[serde(default)]
    not_before_s: Option<u32>,
    #[serde(default)]
    not_after_s: Option<u32>,
}

impl Validity {
    /// Valid from now on, without end.
    pub const ALWAYS: Self = Self {
        not_before_s: None,
        not_after_s: None,
    };

    /// Valid from `not_before_s` (included) until `not_after_s` (excluded).
    pub fn new(not_before_s: Option<u32>, not_after_s: Option<u32>) -> Result<Self, Invalid> {
        // The snapshot writes "no bound" as zero.
        if not_before_s == Some(0) || not_after_s == Some(0) {
            return Err(Invalid::value(
                "a bound of validity is after 1970; leave it out for none",
            ));
        }
        if let (Some(from), Some(until)) = (not_before_s, not_after_s)
            && from >= until
        {
            return Err(Invalid::at("not_after_s", "validity ends after it begins"));
        }
        Ok(Self {
            not_before_s,
            not_after_s,
        })
    }

    /// The first second at which the key is valid; none: since always.
    pub fn not_before_s(self) -> Option<u32> {
        self.not_before_s
    }

    /// The first second at which it is no longer valid; none: never ends.
    pub fn not_after_s(self) -> Option<u32> {
        self.not_after_s
    }

    /// The same validity, ended at `end_s` unless it ends earlier by itself.
    #[must_use]
    pub fn ended_by(self, end_s: u32) -> Self {
        let end_s = self.not_after_s.map_or(end_s, |own| own.min(end_s)).max(1);
        // A key that has not begun yet is ended before it begins: drop its beginning, so that the
        // bounds stay in order and the end alone decides.
        let not_before_s = self.not_before_s.filter(|&from| from < end_s);
        Self {
            not_before_s,
            not_after_s: Some(end_s),
        }
    }
}

impl TryFrom<RawValidity> for Validity {
    type Error = Invalid;

    fn try_from(raw: RawValidity) -> Result<Self, Invalid> {
        Self::new(raw.not_before_s, raw.not_after_s)
    }
}

/// Where a key came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyOrigin {
    /// Made here, in our own form.
    Issued,
    /// Brought in plain text, in a form that is not ours.
    Imported,
    /// Brought as the SHA-256 of a key that we never saw.
    ImportedSha256,
}

impl KeyOrigin {
    /// The word as written everywhere.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Imported => "imported",
            Self::ImportedSha256 => "imported_sha256",
        }
    }
}

impl FromStr for KeyOrigin {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "issued" => Ok(Self::Issued),
            "imported" => Ok(Self::Imported),
            "imported_sha256" => Ok(Self::ImportedSha256),
            _ => Err(UnknownWord("issued, imported, imported_sha256")),
        }
    }
}

/// A key as the store keeps it, without anything of its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Stable number: the subject its limits are counted for.
    pub number: KeyNumber,
    /// Public id.
    pub id: KeyId,
    /// The app that owns it.
    pub app: AppNumber,
    /// That app's tenant.
    pub tenant_name: Name,
    /// That app's name.
    pub app_name: Name,
    /// Where it is meant to be used.
    pub environment: Environment,
    /// Whether it may be used.
    pub state: KeyState,
    /// When it may be used.
    pub validity: Validity,
    /// The customer's own words about it.
    pub attributes: Attributes,
    /// The limits of its plans do not hold for it.
    #[serde(default)]
    pub unlimited: bool,
    /// Where it came from.
    pub origin: KeyOrigin,
    /// The key that this one takes the place of.
    pub rotated_from: Option<KeyId>,
    /// Milliseconds since the epoch.
    pub created_ms: u64,
    /// When it was revoked, milliseconds since the epoch.
    pub revoked_ms: Option<u64>,
    /// The last minute with a request by this key, as far as usage was reported.
    pub last_used_ms: Option<u64>,
}

/// Everything to make a key, once its secret was made or brought.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The app that will own it.
    pub app: AppNumber,
    /// What the store keeps of the secret.
    pub credential: Credential,
    /// Where it is meant to be used.
    pub environment: Environment,
    /// When it may be used.
    pub validity: Validity,
    /// The customer's own words about it.
    pub attributes: Attributes,
    /// The limits of its plans do not hold for it.
    pub unlimited: bool,
}
