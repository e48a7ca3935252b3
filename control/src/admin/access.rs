//! Who may speak to the admin API: bearers of an admin token, and nobody else.
//!
//! One layer around everything, unknown paths included: without a good token there is one answer,
//! so that probing learns nothing, not even which paths exist. There is no default token.
//! Only SHA-256 digests of tokens are compared; a token is in no log and in no answer.

use super::Admin;
use super::problem::{Cause, Problem};
use crate::domain::{Actor, TokenRole};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

/// Who asks; in the extensions of every request that came through [`guard`].
#[derive(Clone, Debug)]
pub(super) struct Caller(pub Actor);

/// Lets a request through if it bears a good token.
pub(super) async fn guard(
    State(admin): State<Admin>,
    mut request: Request,
    next: Next,
) -> Response {
    let mut response = match caller(&admin, request.headers()).await {
        Ok((caller, role)) if may(role, &request) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Ok(_) => {
            let detail = "this token reads /metrics and nothing else; use one of the role `admin`";
            Problem::new(Cause::Forbidden, detail).into_response()
        }
        Err(refused) => refused,
    };
    admin.requests.note(response.status());
    // Answers hold secrets now and then; none may lie in a cache.
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// Whether a token of that role may ask for that.
fn may(role: TokenRole, request: &Request) -> bool {
    role == TokenRole::Admin
        || (request.method() == Method::GET && request.uri().path() == "/metrics")
}

async fn caller(admin: &Admin, headers: &HeaderMap) -> Result<(Caller, TokenRole), Response> {
    let Some(token) = bearer(headers) else {
        // RFC 6750, section 3.1: no error code when no token was shown.
        return Err(unauthenticated(
            "send `Authorization: Bearer` with an admin token",
            "",
        ));
    };
    let digest: [u8; 32] = Sha256::digest(token).into();
    let known = admin
        .control
        .store
        .read(move |rows| rows.token_by_digest(&digest))
        .await;
    match known {
        Ok(Some(token)) => Ok((Caller(Actor::token(token.label.as_str())), token.role)),
        Ok(None) => Err(unauthenticated(
            "this admin token is unknown or was withdrawn",
            ", error=\"invalid_token\"",
        )),
        Err(error) => Err(Problem::from(error).into_response()),
    }
}

/// The one bearer token of a request; two of them are none.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    let one = values.next().is_none();
    let token = token.trim_ascii();
    (one && scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

fn unauthenticated(detail: &str, error: &str) -> Response {
    let mut response = Problem::new(Cause::Unauthenticated, detail).into_response();
    let challenge = format!("Bearer realm=\"keyway-control\"{error}");
    if let Ok(challenge) = HeaderValue::from_str(&challenge) {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_bearer_token_counts() {
        let cases: [(&[&str], Option<&str>); 8] = [
            (&["Bearer abc"], Some("abc")),
            (&["bearer  abc "], Some("abc")),
            (&["BEARER abc"], Some("abc")),
            (&[], None),
            (&["Bearer "], None),
            (&["Bearer"], None),
            (&["Basic abc"], None),
            (&["Bearer abc", "Bearer abc"], None),
        ];
        for (values, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(
                    header::AUTHORIZATION,
                    HeaderValue::from_str(value).expect("text"),
                );
            }
            assert_eq!(bearer(&headers), expected.map(str::as_bytes), "{values:?}");
        }
    }
}
