//! Webhooks: where alerts are told, and how the receiver knows who tells.

use super::{Invalid, Name, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fmt;
use std::net::IpAddr;

/// Longest address, bytes.
const URL_BYTES_MAX: usize = 2_048;
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;

/// A webhook as the store shows it; its secret is read by nobody but the one who signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Unique name.
    pub name: Name,
    /// Where it is told.
    pub url: WebhookUrl,
    /// Milliseconds since the epoch.
    pub created_ms: u64,
}

/// An address that may be told: `https`, or `http` to this machine. Text that cannot be sent, and
/// credentials, which would end up in logs, are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebhookUrl(String);

impl WebhookUrl {
    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<WebhookUrl> for String {
    fn from(url: WebhookUrl) -> Self {
        url.0
    }
}

impl TryFrom<String> for WebhookUrl {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        let form = || Invalid::value("an address such as https://ops.example.com/keyway");
        if text.len() > URL_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(form());
        }
        let uri: axum::http::Uri = text.parse().map_err(|_| form())?;
        let authority = uri.authority().ok_or_else(form)?;
        if authority.as_str().contains('@') || text.contains('#') {
            let problem = "an address without credentials or fragment; what is sent is signed";
            return Err(Invalid::value(problem));
        }
        match uri.scheme_str() {
            Some("https") => Ok(Self(text)),
            Some("http") if is_this_machine(authority.host()) => Ok(Self(text)),
            Some("http") => Err(Invalid::value(
                "https, or http to a loopback address: alerts name keys and tenants",
            )),
            _ => Err(form()),
        }
    }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// What a receiver checks signatures with. Shown once; kept in the store, since a digest signs
/// nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret([u8; SECRET_BYTES]);

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

impl WebhookSecret {
    /// A fresh one.
    pub fn fresh() -> Result<Self, super::KeysmithError> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// One that was kept; none if it is none.
    pub(crate) fn kept(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    /// What the store keeps.
    pub(crate) fn to_keep(&self) -> &[u8] {
        &self.0
    }

    /// The text for the receiver, as libraries for Standard Webhooks take it.
    pub fn to_show(&self) -> Secret {
        Secret::new(format!("whsec_{}", STANDARD.encode(self.0)))
    }

    /// The value of `webhook-signature`, after Standard Webhooks 1.0: an HMAC-SHA256 of message id,
    /// time and body.
    pub fn sign(&self, id: &str, timestamp_s: u64, body: &[u8]) -> String {
        #[expect(clippy::expect_used, reason = "an HMAC takes a key of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length");
        mac.update(format!("{id}.{timestamp_s}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<WebhookUrl, Invalid> {
        WebhookUrl::try_from(text.to_owned())
    }

    #[test]
    fn only_addresses_that_nobody_listens_in_on_are_told() {
        for good in [
            "https://ops.example.com/keyway?team=1",
            "http://127.0.0.1:9000/",
            "http://[::1]/x",
            "http://localhost:1/",
        ] {
            assert!(url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://ops.example.com/",
            "http://127.0.0.1.example.com/",
            "https://user:word@ops.example.com/",
            "https://",
            "ftp://127.0.0.1/",
            "ops.example.com",
            "https://ops.example.com/ä",
            "https://ops.example.com/\r\nx: y",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    // The example of the specification's reference library.
    #[test]
    fn signs_as_the_standard_says() {
        let secret = STANDARD
            .decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .expect("base64");
        let mut bytes = [0; SECRET_BYTES];
        bytes[..secret.len()].copy_from_slice(&secret);
        // Zeros at the end of a key change no HMAC.
        let secret = WebhookSecret(bytes);
        assert_eq!(
            secret.sign(
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                br#"{"test": 2432232314}"#
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }
}
