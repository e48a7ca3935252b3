//! Making keys: the only place where a secret exists, between the random source and the one
//! answer that shows it.
//!
//! Out: a [`Credential`], which is all that the store ever sees.

use super::{Environment, KeyId, KeyOrigin};
use keyway::authenticate::digest::Pepper;
use keyway::authenticate::key_form::{self, Form};
use sha2::{Digest, Sha256};
use std::fmt;

/// Shortest key that may be imported in plain text, bytes: below lies what can be guessed.
const IMPORT_BYTES_MIN: usize = 16;
/// Longest, bytes.
const IMPORT_BYTES_MAX: usize = 512;

/// A key, a token or a webhook's secret in plain text. Shown once, never stored, never printed by `Debug`.
pub struct Secret(String);

impl Secret {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, to be handed to its owner and to nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What the store keeps of a key: who it is, and a keyed digest to recognize it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Public id, fresh.
    pub id: KeyId,
    /// First 16 bytes of the keyed digest.
    pub digest: [u8; 16],
    /// Which pepper keyed it.
    pub pepper: u8,
    /// Whether it was made here or brought.
    pub origin: KeyOrigin,
}

/// A fresh key.
#[derive(Debug)]
pub struct Issued {
    /// For its owner.
    pub secret: Secret,
    /// For the store.
    pub credential: Credential,
}

/// Why no key could be made or taken in.
#[derive(Debug, thiserror::Error)]
pub enum KeysmithError {
    /// The system gave no randomness.
    #[error("the system gave no randomness: {0}")]
    Random(getrandom::Error),
    /// A key brought in plain text is too short to be safe, too long to travel, or no text that
    /// a header carries.
    #[error("an imported key has 16 to 512 printable ASCII characters without spaces")]
    ImportForm,
    /// A key brought in plain text looks like ours but its checksum is wrong.
    #[error("the key begins like one of ours but is damaged")]
    ImportDamaged,
}

impl From<getrandom::Error> for KeysmithError {
    fn from(error: getrandom::Error) -> Self {
        Self::Random(error)
    }
}

/// Makes keys and digests them under the pepper.
#[derive(Debug)]
pub struct Keysmith {
    pepper: Pepper,
}

impl Keysmith {
    /// A keysmith whose keys are recognized by nodes with the same pepper.
    pub fn new(pepper: Pepper) -> Self {
        Self { pepper }
    }

    /// Makes a fresh key from the system's randomness.
    pub fn issue(&self, environment: Environment) -> Result<Issued, KeysmithError> {
        let mut random = [0; 20];
        getrandom::fill(&mut random)?;
        let secret = key_form::mint(environment.into(), &random);
        let credential = self.credential(secret.as_bytes(), KeyOrigin::Issued)?;
        Ok(Issued {
            secret: Secret(secret),
            credential,
        })
    }

    /// Takes in a key made elsewhere, in plain text. One of our own form is taken as issued, so
    /// that keys can move from one Keyway to another.
    pub fn adopt_plain(&self, key: &str) -> Result<Credential, KeysmithError> {
        let bytes = key.as_bytes();
        if !(IMPORT_BYTES_MIN..=IMPORT_BYTES_MAX).contains(&bytes.len())
            || !bytes.iter().all(u8::is_ascii_graphic)
        {
            return Err(KeysmithError::ImportForm);
        }
        let origin = match key_form::is_ours(bytes) {
            Form::Native => KeyOrigin::Issued,
            Form::NativeBroken => return Err(KeysmithError::ImportDamaged),
            Form::Foreign => KeyOrigin::Imported,
        };
        self.credential(bytes, origin)
    }

    /// Takes in the SHA-256 of a key made elsewhere.
    pub fn adopt_sha256(&self, sha256: &[u8; 32]) -> Result<Credential, KeysmithError> {
        Ok(Credential {
            id: fresh_id()?,
            digest: self.pepper.digest_of_sha256(sha256).0,
            pepper: self.pepper.id(),
            origin: KeyOrigin::ImportedSha256,
        })
    }

    fn credential(&self, key: &[u8], origin: KeyOrigin) -> Result<Credential, KeysmithError> {
        Ok(Credential {
            id: fresh_id()?,
            digest: self.pepper.digest(key).0,
            pepper: self.pepper.id(),
            origin,
        })
    }
}

/// 64 random bits; zero, which marks an empty slot, comes once in an age of the universe.
fn fresh_id() -> Result<KeyId, KeysmithError> {
    loop {
        if let Some(id) = KeyId::new(getrandom::u64()?) {
            return Ok(id);
        }
    }
}

/// A fresh admin token, and the SHA-256 that the store keeps of it. It has 160 random bits, so a
/// slow hash would add nothing.
pub fn fresh_admin_token() -> Result<(Secret, [u8; 32]), KeysmithError> {
    let mut random = [0; 20];
    getrandom::fill(&mut random)?;
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let token = Secret(format!("kwa_{digits}"));
    let digest = Sha256::digest(token.expose().as_bytes()).into();
    Ok((token, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keysmith() -> Keysmith {
        Keysmith::new(Pepper::new(7, &[1; 32]).expect("long enough"))
    }

    #[test]
    fn a_fresh_key_is_recognized_by_its_digest_and_nothing_of_it_is_kept() {
        let issued = keysmith().issue(Environment::Test).expect("issues");
        assert!(issued.secret.expose().starts_with("kw_test_"));
        let again = keysmith()
            .adopt_plain(issued.secret.expose())
            .expect("adopts");
        assert_eq!(again.digest, issued.credential.digest);
        assert_eq!((again.pepper, again.origin), (7, KeyOrigin::Issued));
        assert_ne!(
            again.id, issued.credential.id,
            "the id tells nothing of the secret"
        );
        assert!(!format!("{issued:?}").contains(&issued.secret.expose()[8..]));
    }

    #[test]
    fn a_foreign_key_is_taken_in_and_a_damaged_one_of_ours_is_not() {
        let foreign = keysmith()
            .adopt_plain("sk-0123456789abcdef")
            .expect("adopts");
        assert_eq!(foreign.origin, KeyOrigin::Imported);
        let mut damaged = keysmith()
            .issue(Environment::Live)
            .expect("issues")
            .secret
            .0;
        let last = if damaged.pop() == Some('0') { '1' } else { '0' };
        damaged.push(last);
        for (key, expected) in [
            (damaged.as_str(), KeysmithError::ImportDamaged),
            ("short", KeysmithError::ImportForm),
            ("with a space in it, long enough", KeysmithError::ImportForm),
        ] {
            let error = keysmith().adopt_plain(key).expect_err("refused");
            assert_eq!(error.to_string(), expected.to_string());
        }
    }

    #[test]
    fn two_admin_tokens_are_never_the_same() {
        let (first, second) = (fresh_admin_token(), fresh_admin_token());
        assert_ne!(first.expect("makes").1, second.expect("makes").1);
    }
}
