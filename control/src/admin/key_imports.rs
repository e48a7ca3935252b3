//! Keys made elsewhere: taken in as plain text or as SHA-256, many in one transaction, all of
//! them or none. Each is digested before it reaches the store; neither form is kept.

use super::Admin;
use super::answer::{Answer, Answered, Changed, WaitQuery, Waiting};
use super::asked::AskedRaw;
use super::body::{self, Media};
use super::key_changes::live;
use super::keys::KeyIdText;
use super::problem::{Fault, Problem};
use super::time::{Moment, validity};
use crate::domain::{
    AppNumber, Attributes, Credential, Environment, Invalid, KeyId, Keysmith, Name, NewKey, Scalar,
    Validity,
};
use crate::store::{IMPORT_KEYS_MAX, ImportLine, StoreError, Tx};
use axum::body::Bytes;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// A key made elsewhere; exactly one of `key` and `sha256` tells which.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "tenant": "acme", "app": "mobile", "environment": "live",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
}))]
pub(super) struct ImportedKey {
    /// The app's tenant.
    tenant: Name,
    /// The app that will own it.
    app: Name,
    /// The key in plain text: 16 to 512 printable ASCII characters.
    #[serde(default)]
    key: Option<String>,
    /// The SHA-256 of the key, as 64 hex digits.
    #[serde(default)]
    sha256: Option<String>,
    /// Where it is meant to be used; default `live`.
    #[serde(default = "live")]
    #[schema(default = "live")]
    environment: Environment,
    /// First second of its validity; default: at once.
    #[serde(default)]
    not_before: Option<Moment>,
    /// First second at which it is no longer valid; default: it never ends.
    #[serde(default)]
    not_after: Option<Moment>,
    /// At most 32, each a text, a whole number or a flag.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Scalar>)]
    attributes: Attributes,
}

/// What became of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Imported {
    /// Keys that are new.
    pub created: u64,
    /// Keys that were there already; nothing of them was changed.
    pub existing: u64,
    /// One for each key that was sent, in its order.
    pub keys: Vec<ImportedLine>,
}

/// What became of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportedLine {
    /// Its public id.
    #[schema(value_type = KeyIdText)]
    pub id: KeyId,
    /// False: the key was there already.
    pub created: bool,
}

impl From<Vec<ImportLine>> for Imported {
    fn from(lines: Vec<ImportLine>) -> Self {
        let keys: Vec<ImportedLine> = lines
            .into_iter()
            .map(|line| match line {
                ImportLine::Created(id) => ImportedLine { id, created: true },
                ImportLine::Exists(id) => ImportedLine { id, created: false },
            })
            .collect();
        let (mut created, mut existing) = (0, 0);
        for line in &keys {
            *(if line.created {
                &mut created
            } else {
                &mut existing
            }) += 1;
        }
        Self {
            created,
            existing,
            keys,
        }
    }
}

/// A key ready for the store, but for its app's number.
struct Ready {
    tenant: Name,
    app: Name,
    credential: Credential,
    environment: Environment,
    validity: Validity,
    attributes: Attributes,
}

/// Takes in keys made elsewhere, at most 10 000 of them, all or none. A key that is there already
/// is left alone, so that an import may be repeated. A fault at `[2].key` is one of the third key.
#[utoipa::path(post, path = "/v1/keys/import", tag = "keys", params(WaitQuery),
    request_body(content(
        (Vec<ImportedKey> = "application/json"),
        (ImportedKey = "application/x-ndjson"),
    ), description = "A JSON array, or one JSON object a line"),
    responses((status = 200, description = "What became of each", body = Changed<Imported>)))]
pub(super) async fn import(
    State(admin): State<Admin>,
    Waiting(timeout): Waiting,
    asked: AskedRaw,
) -> Answered<Imported> {
    let media = asked
        .media
        .ok_or_else(|| Media::unsupported("application/x-ndjson"))?;
    let (keysmith, body) = (Arc::clone(&admin.control.keysmith), asked.body);
    // Ten thousand keys take a while to read; the other requests go on meanwhile.
    let ready = tokio::task::spawn_blocking(move || read(media, &body, &keysmith));
    let ready = ready.await.map_err(|_| StoreError::Panicked)??;
    let store = &admin.control.store;
    let outcome = store
        .write(asked.author, move |tx| take_in(tx, ready))
        .await?;
    let answer: Answer<_> = admin.changed(outcome, timeout, Imported::from).await;
    Ok(answer)
}

fn read(media: Media, body: &Bytes, keysmith: &Keysmith) -> Result<Vec<Ready>, Problem> {
    let mut faults = Vec::new();
    let keys = match media {
        Media::Json => body::parse::<Vec<ImportedKey>>(body)?,
        Media::JsonLines => read_lines(body, &mut faults),
    };
    if keys.len() > IMPORT_KEYS_MAX {
        return Err(Problem::invalid(
            "",
            format!("at most {IMPORT_KEYS_MAX} keys in one import"),
        ));
    }
    let mut ready = Vec::with_capacity(keys.len());
    for (index, key) in keys.into_iter().enumerate() {
        match prepare(key, keysmith) {
            Ok(key) => ready.push(key),
            Err(invalid) => faults.push(invalid.within(format!("[{index}]")).into()),
        }
    }
    if faults.is_empty() {
        Ok(ready)
    } else {
        Err(Problem::faults(faults))
    }
}

/// One key a line; blank lines do not count. With a fault the indices that follow are off by the
/// lines that could not be read, so reading ends there.
fn read_lines(body: &[u8], faults: &mut Vec<Fault>) -> Vec<ImportedKey> {
    let mut keys = Vec::new();
    let lines = body
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty());
    for (index, line) in lines.enumerate().take(IMPORT_KEYS_MAX + 1) {
        let mut reader = serde_json::Deserializer::from_slice(line);
        match serde_path_to_error::deserialize(&mut reader) {
            Ok(key) => keys.push(key),
            Err(error) => {
                let path = match error.path().to_string().as_str() {
                    "." => format!("[{index}]"),
                    inner => format!("[{index}].{inner}"),
                };
                faults.push(body::fault(&path, error.inner()));
                break;
            }
        }
    }
    keys
}

fn prepare(key: ImportedKey, keysmith: &Keysmith) -> Result<Ready, Invalid> {
    let credential = match (&key.key, &key.sha256) {
        (Some(plain), None) => keysmith
            .adopt_plain(plain)
            .map_err(|e| refused("key", &e))?,
        (None, Some(hex)) => {
            let sha256 = sha256(hex)
                .ok_or_else(|| Invalid::at("sha256", "a SHA-256 is written as 64 hex digits"))?;
            keysmith
                .adopt_sha256(&sha256)
                .map_err(|e| refused("sha256", &e))?
        }
        _ => return Err(Invalid::value("give exactly one of `key` and `sha256`")),
    };
    Ok(Ready {
        tenant: key.tenant,
        app: key.app,
        credential,
        environment: key.environment,
        validity: validity(key.not_before, key.not_after)?,
        attributes: key.attributes,
    })
}

fn refused(field: &str, error: &crate::domain::KeysmithError) -> Invalid {
    Invalid::at(field, error.to_string())
}

fn sha256(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(bytes)
}

fn take_in(tx: &mut Tx<'_>, keys: Vec<Ready>) -> Result<Vec<ImportLine>, StoreError> {
    let mut numbers: BTreeMap<(Name, Name), AppNumber> = BTreeMap::new();
    let mut new = Vec::with_capacity(keys.len());
    for (index, key) in keys.into_iter().enumerate() {
        let name = (key.tenant, key.app);
        let app = match numbers.get(&name) {
            Some(&app) => app,
            None => {
                let found = tx.app(&name.0, &name.1);
                let app = found.map_err(|error| missing_app(error, index))?.number;
                numbers.insert(name, app);
                app
            }
        };
        new.push(NewKey {
            app,
            credential: key.credential,
            environment: key.environment,
            validity: key.validity,
            attributes: key.attributes,
            unlimited: false,
        });
    }
    tx.keys_import(new)
}

fn missing_app(error: StoreError, index: usize) -> StoreError {
    match error {
        StoreError::NotFound { subject, id } => {
            let problem = format!("there is no {} `{id}`", subject.word());
            Invalid::at(format!("[{index}].{}", subject.word()), problem).into()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_four_hex_digits_are_a_digest() {
        assert_eq!(sha256(&"0f".repeat(32)), Some([15; 32]));
        assert_eq!(sha256(&"0F".repeat(32)), Some([15; 32]));
        for wrong in [
            String::new(),
            "0f".repeat(31),
            "0g".repeat(32),
            "é".repeat(32),
        ] {
            assert_eq!(sha256(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn blank_lines_do_not_count_and_a_bad_one_is_named() {
        let good = r#"{"tenant":"a","app":"b","key":"0123456789abcdef"}"#;
        let mut faults = Vec::new();
        let body = format!("\n{good}\r\n\n{good}\n");
        assert_eq!(read_lines(body.as_bytes(), &mut faults).len(), 2);
        assert!(faults.is_empty());

        let body = format!("{good}\n{{\"tenant\":\"A\"}}\n");
        read_lines(body.as_bytes(), &mut faults);
        assert_eq!(faults[0].path, "[1].tenant");
    }
}
