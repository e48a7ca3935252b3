//! A change as it was asked for: by whom, under which idempotency key, with what body.
//!
//! A POST with an `Idempotency-Key` is carried out once, however often it is sent within 24 h:
//! the store keeps the answer in the transaction of the change itself, so that not even a crash
//! between the two is seen. What was refused is kept nowhere and is judged anew.
//! Absent on purpose: secrets. A replay answers everything but them.

use super::Admin;
use super::access::Caller;
use super::body::{self, Media};
use super::problem::{Cause, Problem};
use crate::domain::Actor;
use crate::store::{Author, Idempotency};
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, Method, Uri};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The header that makes a POST repeatable.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Longest idempotency key, bytes.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// A change with its body as it came.
#[derive(Debug)]
pub(super) struct AskedRaw {
    /// Who asks, and under which idempotency key.
    pub author: Author,
    /// The body's form; none: the request does not say.
    pub media: Option<Media>,
    /// The body.
    pub body: Bytes,
    /// Frees the idempotency key when the handler is done.
    _under_way: Option<UnderWay>,
}

/// A change with its body read.
#[derive(Debug)]
pub(super) struct Asked<T> {
    /// Who asks, and under which idempotency key.
    pub author: Author,
    /// What is asked.
    pub body: T,
    _under_way: Option<UnderWay>,
}

impl FromRequest<Admin> for AskedRaw {
    type Rejection = Problem;

    async fn from_request(request: Request, admin: &Admin) -> Result<Self, Problem> {
        let media = Media::of(request.headers())?;
        // The guard put it there; a route that is not behind the guard must not change anything.
        let Some(Caller(actor)) = request.extensions().get().cloned() else {
            return Err(Problem::new(
                Cause::Unauthenticated,
                "nobody asks for this change",
            ));
        };
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let key = match method {
            Method::POST => idempotency_key(request.headers())?,
            _ => None,
        };
        let body = Bytes::from_request(request, admin)
            .await
            .map_err(|e| body::not_whole(&e))?;
        let mut author = Author::new(actor);
        let mut under_way = None;
        if let Some(key) = key {
            under_way = Some(admin.under_way.begin(&author.actor, &key)?);
            author.idempotency = Some(Idempotency {
                key,
                request: digest(&method, &uri, &body),
            });
        }
        Ok(Self {
            author,
            media,
            body,
            _under_way: under_way,
        })
    }
}

impl<T: DeserializeOwned> FromRequest<Admin> for Asked<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, admin: &Admin) -> Result<Self, Problem> {
        let raw = AskedRaw::from_request(request, admin).await?;
        if raw.media != Some(Media::Json) && !(raw.media.is_none() && raw.body.is_empty()) {
            return Err(Media::unsupported("application/json"));
        }
        let body = body::parse(&raw.body)?;
        Ok(Self {
            author: raw.author,
            body,
            _under_way: raw._under_way,
        })
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let well_formed = (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&value.len())
        && value.as_bytes().iter().all(u8::is_ascii_graphic);
    match value.to_str() {
        Ok(text) if well_formed && values.next().is_none() => Ok(Some(text.to_owned())),
        _ => {
            let detail = format!(
                "an Idempotency-Key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters"
            );
            Err(Problem::new(Cause::Malformed, detail))
        }
    }
}

/// What makes two requests the same one: method, address with query, and body.
fn digest(method: &Method, uri: &Uri, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(method.as_str());
    hash.update(b" ");
    hash.update(uri.path_and_query().map_or("", |target| target.as_str()));
    hash.update(b"\n");
    hash.update(body);
    hash.finalize().into()
}

/// Idempotency keys whose requests are under way.
#[derive(Clone, Debug, Default)]
pub(super) struct UnderWayKeys(Arc<Mutex<HashSet<(Actor, String)>>>);

/// One of them, until dropped.
#[derive(Debug)]
struct UnderWay {
    keys: UnderWayKeys,
    taken: (Actor, String),
}

impl UnderWayKeys {
    fn begin(&self, actor: &Actor, key: &str) -> Result<UnderWay, Problem> {
        let taken = (actor.clone(), key.to_owned());
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.insert(taken.clone()) {
            Ok(UnderWay {
                keys: self.clone(),
                taken,
            })
        } else {
            let detail = "ask again once the first request has its answer";
            Err(Problem::new(Cause::IdempotencyKeyBusy, detail))
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.keys
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_key_is_busy_until_its_request_is_done() {
        let (keys, actor) = (UnderWayKeys::default(), Actor::token("ops"));
        let first = keys.begin(&actor, "k1").expect("free");
        let busy = keys.begin(&actor, "k1").expect_err("busy");
        assert_eq!(busy.cause, Cause::IdempotencyKeyBusy);
        keys.begin(&actor, "k2").expect("another key");
        keys.begin(&Actor::token("ci"), "k1")
            .expect("another caller's");
        drop(first);
        keys.begin(&actor, "k1").expect("free again");
    }

    #[test]
    fn an_idempotency_key_is_short_visible_and_alone() {
        let long = "k".repeat(256);
        for (values, good) in [
            (vec!["\"8e03978e-40d5\""], true),
            (vec![""], false),
            (vec![long.as_str()], false),
            (vec!["a b"], false),
            (vec!["a", "a"], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in &values {
                headers.append(IDEMPOTENCY_KEY, HeaderValue::from_str(value).expect("text"));
            }
            assert_eq!(idempotency_key(&headers).is_ok(), good, "{values:?}");
        }
    }

    #[test]
    fn method_address_and_body_make_a_request() {
        let of = |method, uri: &'static str, body| digest(&method, &Uri::from_static(uri), body);
        let one = of(Method::POST, "/v1/keys", b"{}");
        assert_eq!(one, of(Method::POST, "/v1/keys", b"{}"));
        assert_ne!(one, of(Method::POST, "/v1/keys", b"{} "));
        assert_ne!(one, of(Method::POST, "/v1/keys?wait=enforced", b"{}"));
        assert_ne!(one, of(Method::PUT, "/v1/keys", b"{}"));
    }
}
