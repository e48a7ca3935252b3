//! Authenticate: whose key is this?
//!
//! In: the matched API and the head. Out: a [`Caller`], the evidence that a live key was shown, or
//! a [`Refusal`]. The key itself never leaves this stage: what goes on is its record and the
//! [`Place`] it stood in, so that it can be left out of what the target reads.

pub mod digest;
pub mod key_form;

use std::fmt;

use crate::clock::WallTime;
use crate::parse::RequestHead;
use crate::refusal::Refusal;
use crate::snapshot::catalog::{Api, Credential};
use crate::snapshot::{Digest, KeyRecord, KeyState, View};

use digest::Pepper;
use key_form::Form;

/// Where in a request a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// `Authorization: Bearer …`
    Bearer,
    /// `X-API-Key: …`
    ApiKeyHeader,
    /// The header that the API names.
    Header(&'a str),
    /// The query parameter that the API names.
    Query(&'a str),
}

impl Place<'_> {
    /// Whether the header `name` carries the key.
    pub fn is_header(&self, name: &str) -> bool {
        match self {
            Self::Bearer => name.eq_ignore_ascii_case("authorization"),
            Self::ApiKeyHeader => name.eq_ignore_ascii_case("x-api-key"),
            Self::Header(own) => name.eq_ignore_ascii_case(own),
            Self::Query(_) => false,
        }
    }
}

/// A key as it was shown, borrowed from the request.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    key: &'a [u8],
    /// Where it stood.
    pub place: Place<'a>,
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Evidence that the request showed a key that is alive.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The key's record in the view that judged it.
    pub key: KeyRecord,
}

/// The key that the request shows to `api`, if any.
///
/// Two keys in one request are refused rather than ranked, with one exception: beside
/// `X-API-Key`, an `Authorization` that holds no key of ours is the target's business.
pub fn shown<'a>(
    api: &'a Credential,
    head: &RequestHead<'_, 'a>,
) -> Result<Option<Shown<'a>>, Refusal> {
    let mut found = None;
    for header in head.headers {
        let Some(place) = place_of(api, header.name) else {
            continue;
        };
        let Some(key) = key_in(place, header.value) else {
            continue;
        };
        add(&mut found, Shown { key, place })?;
    }
    if let (Some(parameter), Some(query)) = (&api.query, head.query) {
        for pair in query.split('&') {
            if let Some((name, value)) = pair.split_once('=')
                && name == parameter
            {
                add(
                    &mut found,
                    Shown {
                        key: value.as_bytes(),
                        place: Place::Query(parameter),
                    },
                )?;
            }
        }
    }
    Ok(found)
}

fn place_of<'a>(api: &'a Credential, name: &str) -> Option<Place<'a>> {
    if let Some(own) = &api.header {
        return name.eq_ignore_ascii_case(own).then_some(Place::Header(own));
    }
    match name.len() {
        9 if name.eq_ignore_ascii_case("x-api-key") => Some(Place::ApiKeyHeader),
        13 if name.eq_ignore_ascii_case("authorization") => Some(Place::Bearer),
        _ => None,
    }
}

/// The key inside a header's value: for `Authorization`, what follows `Bearer` (RFC 6750); another
/// scheme is not for us.
fn key_in<'a>(place: Place<'_>, value: &'a [u8]) -> Option<&'a [u8]> {
    if !matches!(place, Place::Bearer) {
        return Some(value);
    }
    let end = value.iter().position(|byte| matches!(byte, b' ' | b'\t'))?;
    let (scheme, token) = value.split_at(end);
    scheme
        .eq_ignore_ascii_case(b"bearer")
        .then(|| token.trim_ascii())
}

fn add<'a>(found: &mut Option<Shown<'a>>, next: Shown<'a>) -> Result<(), Refusal> {
    let Some(first) = *found else {
        *found = Some(next);
        return Ok(());
    };
    let (bearer, other) = match (first.place, next.place) {
        (Place::Bearer, Place::ApiKeyHeader) => (first, next),
        (Place::ApiKeyHeader, Place::Bearer) => (next, first),
        _ => return Err(Refusal::KeyAmbiguous),
    };
    if !matches!(key_form::is_ours(bearer.key), Form::Foreign) {
        return Err(Refusal::KeyAmbiguous);
    }
    *found = Some(other);
    Ok(())
}

/// The key's record, whatever its state: checksum first, so that garbage costs no hash.
pub fn look_up(view: &View, peppers: &[Pepper], shown: Shown<'_>) -> Result<KeyRecord, Refusal> {
    let formats = view.catalog().key_formats;
    let form = key_form::is_ours(shown.key);
    match form {
        Form::NativeBroken => return Err(Refusal::KeyMalformed),
        Form::Foreign if !formats.foreign && !formats.foreign_sha256 => {
            return Err(Refusal::KeyMalformed);
        }
        Form::Native | Form::Foreign => {}
    }
    let native = form == Form::Native;
    for pepper in peppers
        .iter()
        .filter(|pepper| view.peppers().contains(&pepper.id()))
    {
        if (native || formats.foreign)
            && let Some(record) = view.key(&pepper.digest(shown.key))
        {
            return Ok(record);
        }
        if !native
            && formats.foreign_sha256
            && let Some(record) = view.key(&foreign_digest(pepper, shown.key))
        {
            return Ok(record);
        }
    }
    Err(Refusal::KeyUnknown)
}

fn foreign_digest(pepper: &Pepper, key: &[u8]) -> Digest {
    use sha2::{Digest as _, Sha256};
    pepper.digest_of_sha256(&Sha256::digest(key).into())
}

/// Turns a record into a [`Caller`] if the key is alive at `now`.
pub fn admit(key: KeyRecord, now: WallTime) -> Result<Caller, Refusal> {
    match key.state {
        KeyState::Active => {}
        KeyState::Disabled => return Err(Refusal::KeyDisabled),
        KeyState::Revoked => return Err(Refusal::KeyRevoked),
    }
    if now.seconds() < u64::from(key.not_before_s) {
        return Err(Refusal::KeyNotYetValid);
    }
    if key.not_after_s != 0 && now.seconds() >= u64::from(key.not_after_s) {
        return Err(Refusal::KeyExpired);
    }
    Ok(Caller { key })
}

/// What an API says of its credential, or nothing if it asks for none.
pub fn required(api: &Api) -> Option<&Credential> {
    api.key_required.then_some(&api.credential)
}
