//! The public name of a key: what logs, usage and upstreams see instead of the key itself.
//!
//! A [`KeyId`] is a random nonzero `u64`, written `key_` and 13 characters of lower-case Crockford
//! base32. Exactly one spelling exists for each id, so that two logs never disagree on one key.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const PREFIX: &str = "key_";
/// 13 digits of 5 bits hold 65 bits: the first digit is below 16.
const DIGITS: usize = 13;
/// Crockford's alphabet: no `i`, `l`, `o`, `u`.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Bytes of a written [`KeyId`].
pub const KEY_ID_BYTES: usize = PREFIX.len() + DIGITS;

/// The public, random, never reused id of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(NonZeroU64);

/// A text that is not a [`KeyId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key id: `key_` and 13 characters of lower-case Crockford base32, not all zero")]
pub struct NotAKeyId;

impl KeyId {
    /// The id with this value; `None` for zero, which marks an empty slot in the key table.
    pub const fn new(value: u64) -> Option<Self> {
        match NonZeroU64::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The value, never zero.
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The written form, without allocating: the access log and identity headers use it.
    pub fn encode(self) -> [u8; KEY_ID_BYTES] {
        let mut text = [0; KEY_ID_BYTES];
        let (prefix, digits) = text.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX.as_bytes());
        let mut rest = self.get();
        for digit in digits.iter_mut().rev() {
            let [low, ..] = rest.to_le_bytes();
            *digit = ALPHABET[usize::from(low & 31)];
            rest >>= 5;
        }
        text
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.encode();
        f.pad(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = NotAKeyId;

    fn from_str(text: &str) -> Result<Self, NotAKeyId> {
        let digits = text.strip_prefix(PREFIX).ok_or(NotAKeyId)?.as_bytes();
        if digits.len() != DIGITS {
            return Err(NotAKeyId);
        }
        let mut value: u64 = 0;
        for digit in digits {
            let place = ALPHABET
                .iter()
                .position(|known| known == digit)
                .ok_or(NotAKeyId)?;
            // A first digit of 16 or more would shift out of 64 bits: a second spelling.
            if value >> 59 != 0 {
                return Err(NotAKeyId);
            }
            value = (value << 5) | u64::try_from(place).map_err(|_| NotAKeyId)?;
        }
        Self::new(value).ok_or(NotAKeyId)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_written_form_is_fixed() {
        for (value, text) in [
            (1, "key_0000000000001"),
            (31, "key_000000000000z"),
            (32, "key_0000000000010"),
            (u64::MAX, "key_fzzzzzzzzzzzz"),
        ] {
            let id = KeyId::new(value).expect("not zero");
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse(), Ok(id));
        }
    }

    #[test]
    fn a_second_spelling_is_refused() {
        for text in [
            "",
            "key_",
            "0000000000001",
            "key_0000000000000",  // zero
            "key_000000000001",   // short
            "key_00000000000001", // long
            "key_000000000000Z",  // upper case
            "key_000000000000o",  // not in the alphabet
            "key_g000000000000",  // 65 bits
            "key_000000000000é",
        ] {
            assert_eq!(text.parse::<KeyId>(), Err(NotAKeyId), "{text}");
        }
    }

    proptest! {
        #[test]
        fn reading_what_was_written_gives_the_same_id(value in 1..=u64::MAX) {
            let id = KeyId::new(value).expect("not zero");
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            let json = serde_json::to_string(&id).expect("a string");
            prop_assert_eq!(serde_json::from_str::<KeyId>(&json).expect("the same"), id);
        }
    }
}
