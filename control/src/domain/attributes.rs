//! Attributes of a key: a small, bounded map of the customer's own words.
//!
//! Bounded because a key's attributes travel with every list, audit row and, later, request.

use super::Invalid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most attributes on one key.
pub const ATTRIBUTES_MAX: usize = 32;
/// Longest attribute name, bytes.
const NAME_BYTES_MAX: usize = 63;
/// Longest text value, bytes.
const TEXT_BYTES_MAX: usize = 256;

/// One attribute's value. Nothing nested: policies compare values, they do not walk trees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Scalar {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// Text of at most 256 bytes without control characters.
    Text(String),
}

/// At most 32 named scalars, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(value_type = BTreeMap<String, Scalar>)]
#[serde(
    try_from = "BTreeMap<String, Scalar>",
    into = "BTreeMap<String, Scalar>"
)]
pub struct Attributes(BTreeMap<String, Scalar>);

impl Attributes {
    /// The map itself.
    pub fn entries(&self) -> &BTreeMap<String, Scalar> {
        &self.0
    }
}

impl TryFrom<BTreeMap<String, Scalar>> for Attributes {
    type Error = Invalid;

    fn try_from(entries: BTreeMap<String, Scalar>) -> Result<Self, Invalid> {
        if entries.len() > ATTRIBUTES_MAX {
            return Err(Invalid::value(format!(
                "a key has at most {ATTRIBUTES_MAX} attributes"
            )));
        }
        for (name, value) in &entries {
            check_name(name)?;
            if let Scalar::Text(text) = value
                && (text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control))
            {
                return Err(Invalid::at(
                    name,
                    format!("text has at most {TEXT_BYTES_MAX} bytes and no control characters"),
                ));
            }
        }
        Ok(Self(entries))
    }
}

fn check_name(name: &str) -> Result<(), Invalid> {
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(letter) {
        return Err(Invalid::value(
            "an attribute's name has 1 to 63 of A-Z, a-z, 0-9, '.', '_', '-'",
        ));
    }
    Ok(())
}

impl From<Attributes> for BTreeMap<String, Scalar> {
    fn from(attributes: Attributes) -> Self {
        attributes.0
    }
}
