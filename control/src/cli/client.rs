//! HTTP to the admin API: one request, one answer, every failure named.
//!
//! The token travels in one header and is in no argument, log or error. Proxies of the environment
//! are not used and redirects not followed: a token goes to the address that was named, and
//! nowhere else.

use super::arguments::{ClientOptions, Whose};
use super::error::CliError;
use crate::admin::problem::ProblemBody;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use ureq::http::{Method, Request, Response, Uri};
use ureq::{Agent, Body};

/// Where control listens unless told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:7000";
/// Longest time for an answer, beside what a receipt is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest time to a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// A connection to one control process.
pub(super) struct Client {
    agent: Agent,
    url: String,
    token: String,
}

/// A request under construction.
pub(super) struct Call<'c> {
    client: &'c Client,
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    idempotency_key: Option<String>,
}

impl Client {
    pub(super) fn new(options: &ClientOptions) -> Result<Self, CliError> {
        let url = match &options.url {
            Some(url) => url.clone(),
            None => variable("KEYWAY_URL")?.unwrap_or_else(|| DEFAULT_URL.to_owned()),
        };
        let url = checked_url(&url, options.allow_remote)?;
        let token = match &options.token_file {
            Some(path) => token_of(path)?,
            None => variable("KEYWAY_TOKEN")?.ok_or(CliError::TokenMissing)?,
        };
        let token = token.trim().to_owned();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(CliError::TokenMissing);
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .user_agent(concat!("keyway-control/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { agent, url, token })
    }

    pub(super) fn get(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::GET, path)
    }

    pub(super) fn post(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::POST, path)
    }

    pub(super) fn patch(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::PATCH, path)
    }

    pub(super) fn delete(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::DELETE, path)
    }

    fn call(&self, method: Method, path: impl Into<String>) -> Call<'_> {
        Call {
            client: self,
            method,
            path: path.into(),
            query: Vec::new(),
            idempotency_key: None,
        }
    }
}

impl Call<'_> {
    /// Adds a query parameter, if there is one.
    pub(super) fn with(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query
            .extend(value.map(|value| (name, value.to_string())));
        self
    }

    /// Narrows it to calls of somebody, or to an API.
    pub(super) fn of(self, whose: &Whose) -> Self {
        let app = whose.app.as_ref();
        let tenant = app.map(|app| &app.tenant).or(whose.tenant.as_ref());
        self.with("key", whose.key)
            .with("tenant", tenant)
            .with("app", app.map(|app| &app.app))
            .with("api", whose.api.as_ref())
    }

    /// Asks for a receipt.
    pub(super) fn waiting(self, timeout_ms: Option<u32>) -> Self {
        self.with("wait", timeout_ms.map(|_| "enforced"))
            .with("timeout_ms", timeout_ms)
    }

    /// Makes the request repeatable.
    pub(super) fn once(mut self, key: Option<String>) -> Self {
        self.idempotency_key = key;
        self
    }

    /// Sends it without a body.
    pub(super) fn send<T: DeserializeOwned>(self) -> Result<T, CliError> {
        self.run(None)
    }

    /// Sends it with a JSON body.
    pub(super) fn send_json<T: DeserializeOwned>(
        self,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| CliError::Usage(format!("cannot be written as JSON: {error}")))?;
        self.run(Some(("application/json", body)))
    }

    /// Sends it with lines of JSON.
    pub(super) fn send_lines<T: DeserializeOwned>(self, body: Vec<u8>) -> Result<T, CliError> {
        self.run(Some(("application/x-ndjson", body)))
    }

    /// Sends it without a body; the answer as it comes.
    pub(super) fn send_text(self) -> Result<String, CliError> {
        let bytes = self.bytes(None)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn run<T: DeserializeOwned>(self, body: Option<(&str, Vec<u8>)>) -> Result<T, CliError> {
        let url = self.client.url.clone();
        let bytes = self.bytes(body)?;
        serde_json::from_slice(&bytes).map_err(|_| CliError::Foreign { url, status: 200 })
    }

    /// Sends it without a body; the answer is read line by line as it comes.
    pub(super) fn send_for_lines(self) -> Result<impl BufRead, CliError> {
        let url = self.client.url.clone();
        let response = self.sent(None, Some("application/x-ndjson"))?;
        if !response.status().is_success() {
            answer(&url, response)?;
            return Err(CliError::Broken("it is empty".to_owned()));
        }
        Ok(BufReader::new(response.into_body().into_reader()))
    }

    fn bytes(self, body: Option<(&str, Vec<u8>)>) -> Result<Vec<u8>, CliError> {
        let url = self.client.url.clone();
        answer(&url, self.sent(body, None)?)
    }

    fn sent(
        self,
        body: Option<(&str, Vec<u8>)>,
        accept: Option<&str>,
    ) -> Result<Response<Body>, CliError> {
        let client = self.client;
        let target = format!("{}{}{}", client.url, self.path, query_text(&self.query));
        let mut request = Request::builder()
            .method(self.method)
            .uri(target)
            .header("authorization", format!("Bearer {}", client.token));
        if let Some(key) = self.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if let Some(media) = accept {
            request = request.header("accept", media);
        }
        if let Some((media, _)) = &body {
            request = request.header("content-type", *media);
        }
        let sent = match body {
            Some((_, body)) => request.body(body).map(|request| client.agent.run(request)),
            None => request.body(()).map(|request| client.agent.run(request)),
        };
        // Names and ids were checked, so what is left is an idempotency key of strange bytes.
        let sent = sent.map_err(|error| CliError::Usage(error.to_string()))?;
        sent.map_err(|error| unreachable(&client.url, &error))
    }
}

fn answer(url: &str, response: Response<Body>) -> Result<Vec<u8>, CliError> {
    let status = response.status();
    let mut body = response.into_body();
    let bytes = body
        .with_config()
        .limit(ANSWER_BYTES_MAX)
        .read_to_vec()
        .map_err(|error| unreachable(url, &error))?;
    let foreign = || CliError::Foreign {
        url: url.to_owned(),
        status: status.as_u16(),
    };
    if status.is_success() {
        return Ok(bytes);
    }
    let problem: ProblemBody = serde_json::from_slice(&bytes).map_err(|_| foreign())?;
    Err(CliError::Refused(Box::new(problem)))
}

fn unreachable(url: &str, error: &ureq::Error) -> CliError {
    let cause = match error {
        ureq::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    CliError::Unreachable {
        url: url.to_owned(),
        cause,
    }
}

/// `?a=b&c=d`, or nothing.
fn query_text(query: &[(&'static str, String)]) -> String {
    let pairs: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{name}={}", escaped(value)))
        .collect();
    if pairs.is_empty() {
        String::new()
    } else {
        format!("?{}", pairs.join("&"))
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub(super) fn escaped(text: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    text.bytes()
        .map(|b| {
            if keep(b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

/// A token in clear text must not cross a network.
fn checked_url(url: &str, allow_remote: bool) -> Result<String, CliError> {
    let wrong = |why: &str| Err(CliError::Usage(format!("{url}: {why}")));
    let Ok(parsed) = url.parse::<Uri>() else {
        return wrong("is no URL; write http://127.0.0.1:7000");
    };
    let Some(host) = parsed
        .host()
        .filter(|_| parsed.scheme_str() == Some("http"))
    else {
        return wrong("begins with http://; for a distant control bring it near with `ssh -L`");
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let near = bare == "localhost"
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    if !near && !allow_remote {
        return wrong(
            "is another machine, and the admin token would travel there in clear text; \
             use `ssh -L`, or say --allow-remote where the network is trusted",
        );
    }
    if parsed.path() != "/" || parsed.query().is_some() {
        return wrong("has no path and no query");
    }
    Ok(url.trim_end_matches('/').to_owned())
}

fn variable(name: &str) -> Result<Option<String>, CliError> {
    match env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(CliError::Usage(format!("{name} is no text"))),
    }
}

fn token_of(path: &Path) -> Result<String, CliError> {
    let failed = |source| CliError::File {
        path: path.to_owned(),
        source,
    };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        eprintln!(
            "keyway-control: warning: {} may be read by others; `chmod 600` it",
            path.display()
        );
    }
    fs::read_to_string(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_to_this_machine_only_unless_said_otherwise() {
        for (url, near) in [
            ("http://127.0.0.1:7000", true),
            ("http://127.0.0.1:7000/", true),
            ("http://localhost:7000", true),
            ("http://[::1]:7000", true),
            ("http://10.0.0.1:7000", false),
            ("http://example.com", false),
        ] {
            assert_eq!(checked_url(url, false).is_ok(), near, "{url}");
            assert!(checked_url(url, true).is_ok(), "{url}");
        }
        for url in [
            "https://127.0.0.1:7000",
            "127.0.0.1:7000",
            "http://127.0.0.1/v1",
            "",
        ] {
            assert!(checked_url(url, true).is_err(), "{url}");
        }
    }

    #[test]
    fn what_has_a_meaning_in_an_address_is_escaped() {
        assert_eq!(
            escaped("2026-11-21T08:00:00+02:00"),
            "2026-11-21T08%3A00%3A00%2B02%3A00"
        );
        assert_eq!(
            query_text(&[("a", "b c".to_owned()), ("d", "&".to_owned())]),
            "?a=b%20c&d=%26"
        );
    }
}
