//! The life of a key: made, switched, moved in time, rotated, revoked.
//!
//! The secret leaves control once, in the answer to the request that made it. It is stored
//! nowhere, so a replay of that request (same `Idempotency-Key`) answers the key without it and
//! says so. A revocation is on disk before it is answered.

use super::Admin;
use super::answer::{Answer, Answered, Changed, WaitQuery, Waiting};
use super::asked::Asked;
use super::body::Nothing;
use super::keys::{KeyIdText, KeyView, of_body};
use super::problem::Problem;
use super::query::Path;
use super::time::{Moment, validity};
use crate::domain::{
    Attributes, Environment, Invalid, Issued, Key, KeyId, Name, NewKey, Scalar, Secret,
};
use crate::store::{Outcome, StoreError, Tx};
use axum::extract::State;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::ToSchema;

/// Longest time that a rotated key lives on beside its successor, seconds: one year.
const GRACE_S_MAX: u32 = 366 * 86_400;

/// What makes a key.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "tenant": "acme", "app": "mobile", "environment": "live",
    "not_after": "2027-11-21T08:00:00Z", "attributes": { "name": "ios", "tier": 2 }
}))]
pub(super) struct KeyBody {
    /// The app's tenant.
    tenant: Name,
    /// The app that will own it.
    app: Name,
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
    /// True: the limits of its plans do not hold for it; default false.
    #[serde(default)]
    unlimited: bool,
}

pub(super) fn live() -> Environment {
    Environment::Live
}

/// What changes of a key; what is left out stays.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "not_after": "2026-12-31T00:00:00Z", "attributes": { "tier": 3, "trial": null }
}))]
pub(super) struct KeyPatch {
    /// First second of its validity; null: since always.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<Moment>)]
    not_before: Option<Option<Moment>>,
    /// First second at which it is no longer valid; null: it never ends.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<Moment>)]
    not_after: Option<Option<Moment>>,
    /// Attributes to set; null takes one away (RFC 7396).
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Scalar>)]
    attributes: BTreeMap<String, Option<Scalar>>,
    /// Whether the limits of its plans do not hold for it.
    #[serde(default)]
    unlimited: Option<bool>,
}

/// Tells a field that is null from one that is not there.
fn named<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

impl KeyPatch {
    fn apply(self, tx: &mut Tx<'_>, id: KeyId) -> Result<Key, StoreError> {
        let key = tx.key(id)?;
        if self.not_before.is_some() || self.not_after.is_some() {
            let now = KeyView::from(key.clone());
            let validity = validity(
                self.not_before.unwrap_or(now.not_before),
                self.not_after.unwrap_or(now.not_after),
            )?;
            tx.key_set_validity(id, validity)?;
        }
        if !self.attributes.is_empty() {
            let mut attributes = key.attributes.entries().clone();
            for (name, value) in self.attributes {
                match value {
                    Some(value) => attributes.insert(name, value),
                    None => attributes.remove(&name),
                };
            }
            let attributes = Attributes::try_from(attributes)
                .map_err(|invalid: Invalid| invalid.within("attributes"))?;
            tx.key_set_attributes(id, attributes)?;
        }
        if let Some(unlimited) = self.unlimited {
            tx.key_set_unlimited(id, unlimited)?;
        }
        tx.key(id)
    }
}

/// How a key is rotated.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "grace_s": 86400 }))]
pub(super) struct RotateBody {
    /// How long the old key lives on beside the new one, in seconds, at most a year; 0 ends it
    /// at once. The nodes end it on time, also when control is down.
    #[schema(maximum = 31622400)]
    grace_s: u32,
}

/// A key with its secret, this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyMade {
    /// The key.
    #[serde(flatten)]
    pub key: KeyView,
    /// The key itself, for its owner. It is stored nowhere: keep it now or never. Null in a
    /// replay.
    #[schema(examples("kw_live_5Fq0kqJ3GZ0y7c2bXo9sVtAeLwN_0gHk2Q"))]
    pub secret: Option<String>,
    /// True: this is a replay under an idempotency key, and the secret was in the first answer.
    /// If that was lost, revoke this key and make another.
    pub secret_withheld: bool,
    /// After a rotation: the old key, with its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<KeyView>,
}

impl std::fmt::Debug for KeyMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyMade")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Answers a new key, with its secret unless this is a replay.
async fn made(
    admin: &Admin,
    outcome: Outcome<(Key, Option<Key>)>,
    secret: &Secret,
    timeout: Option<Duration>,
) -> Answer<Changed<KeyMade>> {
    let replayed = outcome.replayed;
    let answer = admin.changed(outcome, timeout, |(key, replaces)| KeyMade {
        key: key.into(),
        secret: (!replayed).then(|| secret.expose().to_owned()),
        secret_withheld: replayed,
        replaces: replaces.map(KeyView::from),
    });
    answer.await.created()
}

/// Makes a key. Its secret is in this answer and never again.
#[utoipa::path(post, path = "/v1/keys", tag = "keys", params(WaitQuery), request_body = KeyBody,
    responses((status = 201, description = "The key with its secret", body = Changed<KeyMade>)))]
pub(super) async fn create(
    State(admin): State<Admin>,
    Waiting(timeout): Waiting,
    asked: Asked<KeyBody>,
) -> Answered<KeyMade> {
    let KeyBody {
        tenant,
        app,
        environment,
        not_before,
        not_after,
        attributes,
        unlimited,
    } = asked.body;
    let validity = validity(not_before, not_after)?;
    let Issued { secret, credential } = admin.control.keysmith.issue(environment)?;
    let outcome = admin
        .control
        .store
        .write(asked.author, move |tx| {
            let app = tx.app(&tenant, &app)?.number;
            let key = NewKey {
                app,
                credential,
                environment,
                validity,
                attributes,
                unlimited,
            };
            Ok((tx.key_create(key)?, None))
        })
        .await
        .map_err(of_body)?;
    Ok(made(&admin, outcome, &secret, timeout).await)
}

/// Changes a key's validity, its attributes, and whether limits hold for it.
#[utoipa::path(patch, path = "/v1/keys/{key}", tag = "keys",
    params(("key" = KeyIdText, Path, description = "Its id"), WaitQuery),
    request_body = KeyPatch,
    responses((status = 200, description = "The key", body = Changed<KeyView>)))]
pub(super) async fn update(
    State(admin): State<Admin>,
    Path(id): Path<KeyId>,
    Waiting(timeout): Waiting,
    asked: Asked<KeyPatch>,
) -> Answered<KeyView> {
    let patch = asked.body;
    let outcome = admin
        .control
        .store
        .write(asked.author, move |tx| patch.apply(tx, id))
        .await?;
    Ok(admin.changed(outcome, timeout, KeyView::from).await)
}

/// Switches a key off. It may be switched on again.
#[utoipa::path(post, path = "/v1/keys/{key}/disable", tag = "keys",
    params(("key" = KeyIdText, Path, description = "Its id"), WaitQuery),
    responses((status = 200, description = "The key", body = Changed<KeyView>)))]
pub(super) async fn disable(
    State(admin): State<Admin>,
    Path(id): Path<KeyId>,
    Waiting(timeout): Waiting,
    asked: Asked<Nothing>,
) -> Answered<KeyView> {
    let store = &admin.control.store;
    let outcome = store
        .write(asked.author, move |tx| tx.key_set_enabled(id, false))
        .await?;
    Ok(admin.changed(outcome, timeout, KeyView::from).await)
}

/// Switches a disabled key on again.
#[utoipa::path(post, path = "/v1/keys/{key}/enable", tag = "keys",
    params(("key" = KeyIdText, Path, description = "Its id"), WaitQuery),
    responses((status = 200, description = "The key", body = Changed<KeyView>)))]
pub(super) async fn enable(
    State(admin): State<Admin>,
    Path(id): Path<KeyId>,
    Waiting(timeout): Waiting,
    asked: Asked<Nothing>,
) -> Answered<KeyView> {
    let store = &admin.control.store;
    let outcome = store
        .write(asked.author, move |tx| tx.key_set_enabled(id, true))
        .await?;
    Ok(admin.changed(outcome, timeout, KeyView::from).await)
}

/// Makes a key that takes the place of this one. The old one ends after `grace_s` seconds.
#[utoipa::path(post, path = "/v1/keys/{key}/rotate", tag = "keys",
    params(("key" = KeyIdText, Path, description = "The old key's id"), WaitQuery),
    request_body = RotateBody,
    responses((status = 201, description = "The new key with its secret",
        body = Changed<KeyMade>)))]
pub(super) async fn rotate(
    State(admin): State<Admin>,
    Path(id): Path<KeyId>,
    Waiting(timeout): Waiting,
    asked: Asked<RotateBody>,
) -> Answered<KeyMade> {
    let grace_s = asked.body.grace_s;
    if grace_s > GRACE_S_MAX {
        return Err(Problem::invalid(
            "grace_s",
            format!("at most {GRACE_S_MAX}, one year"),
        ));
    }
    let store = &admin.control.store;
    let old = store.read(move |rows| rows.key(id)).await?;
    let Issued { secret, credential } = admin.control.keysmith.issue(old.environment)?;
    let outcome = store
        .write(asked.author, move |tx| {
            let new = tx.key_rotate(id, credential, grace_s)?;
            Ok((new, Some(tx.key(id)?)))
        })
        .await?;
    Ok(made(&admin, outcome, &secret, timeout).await)
}

/// Revokes a key for good. The answer comes when that is on disk; revoking again changes nothing.
#[utoipa::path(delete, path = "/v1/keys/{key}", tag = "keys",
    params(("key" = KeyIdText, Path, description = "Its id"), WaitQuery),
    responses((status = 200, description = "The revoked key", body = Changed<KeyView>)))]
pub(super) async fn revoke(
    State(admin): State<Admin>,
    Path(id): Path<KeyId>,
    Waiting(timeout): Waiting,
    asked: Asked<Nothing>,
) -> Answered<KeyView> {
    let outcome = admin
        .control
        .store
        .write(asked.author, move |tx| tx.key_revoke(id))
        .await?;
    Ok(admin.changed(outcome, timeout, KeyView::from).await)
}
