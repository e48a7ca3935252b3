//! Calls from pages of other origins (Fetch standard, section 3.2).
//!
//! A preflight is answered by the gateway, before any key is asked for: browsers send none with it.
//! Answers to requests proper, refusals among them, get the fields that let a page read them, if
//! its origin may. An origin that may not gets none of them, and its request goes on: to keep the
//! answer from the page is the browser's part, and a client that is no browser is not bound by it.

use crate::parse::RequestHead;
use crate::parse::octets::{self, is_token};
use crate::snapshot::catalog;
use crate::upstream::request_head::field;

/// Who may call an API from where, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// None: every origin may.
    origins: Option<Box<[Origin]>>,
    /// As the values of their headers; empty where nothing was said.
    methods: Box<str>,
    headers: Box<str>,
    expose: Box<str>,
    credentials: bool,
    max_age_s: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    Exact(Box<str>),
    /// Every host below a name: what stands before the host, and what its end must be.
    Below {
        scheme: Box<str>,
        end: Box<str>,
    },
}

impl Origin {
    fn of(written: &str) -> Self {
        match written.split_once('*') {
            Some((scheme, end)) => Self::Below {
                scheme: scheme.into(),
                end: end.into(),
            },
            None => Self::Exact(written.into()),
        }
    }

    fn is(&self, origin: &[u8]) -> bool {
        match self {
            Self::Exact(own) => own.as_bytes() == origin,
            Self::Below { scheme, end } => {
                let host = origin
                    .strip_prefix(scheme.as_bytes())
                    .and_then(|rest| rest.strip_suffix(end.as_bytes()));
                host.is_some_and(|host| {
                    !host.is_empty() && octets::all(host, octets::HOST) && host[0] != b'.'
                })
            }
        }
    }
}

/// What a preflight asks (Fetch standard, section 3.2.2).
#[derive(Clone, Copy, Debug)]
pub struct Preflight<'a> {
    /// The method of the request to come.
    pub method: &'a str,
    headers: Option<&'a [u8]>,
}

impl<'a> Preflight<'a> {
    /// What `head` asks, if it is a preflight.
    pub fn of(head: &RequestHead<'_, 'a>) -> Option<Self> {
        if head.method != "OPTIONS" {
            return None;
        }
        only(head, "origin")?;
        let method = only(head, "access-control-request-method")?;
        let method = std::str::from_utf8(method).ok()?;
        is_token(method.as_bytes()).then(|| Self {
            method,
            headers: only(head, "access-control-request-headers"),
        })
    }
}

/// The value of a header that comes once.
fn only<'a>(head: &RequestHead<'_, 'a>, name: &str) -> Option<&'a [u8]> {
    let mut values = head.values(name);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

impl Cors {
    /// Compiles a checked entry.
    pub fn new(entry: &catalog::Cors) -> Self {
        let any = entry.origins.iter().any(|origin| origin == "*");
        let origins = entry.origins.iter().map(|origin| Origin::of(origin));
        Self {
            origins: (!any).then(|| origins.collect()),
            methods: entry.methods.join(", ").into(),
            headers: entry.headers.join(", ").into(),
            expose: entry.expose.join(", ").into(),
            credentials: entry.credentials,
            max_age_s: entry.max_age_s,
        }
    }

    /// Appends the fields of an answer to `head`, whether it comes from a target or is a refusal.
    pub fn write_answer(&self, head: &RequestHead<'_, '_>, out: &mut Vec<u8>) {
        if self.origins.is_some() {
            // RFC 9110, section 12.5.5: also where this origin gets nothing, another one would.
            field(out, "Vary", b"Origin");
        }
        if self.allow(head, out) && !self.expose.is_empty() {
            let expose = self.expose.as_bytes();
            field(out, "Access-Control-Expose-Headers", expose);
        }
    }

    /// Appends the fields of a preflight's answer; `methods` are those of the route that is meant,
    /// empty for all.
    pub fn write_preflight(
        &self,
        head: &RequestHead<'_, '_>,
        asked: &Preflight<'_>,
        methods: &str,
        out: &mut Vec<u8>,
    ) {
        field(
            out,
            "Vary",
            b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        );
        if !self.allow(head, out) {
            return;
        }
        let mut given = [&*self.methods, methods, asked.method].into_iter();
        let methods = given
            .find(|methods| !methods.is_empty())
            .unwrap_or_default();
        field(out, "Access-Control-Allow-Methods", methods.as_bytes());
        let listed = |octet: &u8| octets::is(*octet, octets::TOKEN) || b", \t".contains(octet);
        let headers = match asked.headers {
            _ if !self.headers.is_empty() => Some(self.headers.as_bytes()),
            Some(asked) => asked.iter().all(listed).then_some(asked),
            None => None,
        };
        if let Some(headers) = headers {
            field(out, "Access-Control-Allow-Headers", headers);
        }
        if let Some(seconds) = self.max_age_s {
            let seconds = itoa::Buffer::new().format(seconds).to_owned();
            field(out, "Access-Control-Max-Age", seconds.as_bytes());
        }
    }

    /// Appends what allows the request's origin, if it may; whether it may.
    fn allow(&self, head: &RequestHead<'_, '_>, out: &mut Vec<u8>) -> bool {
        let origin: &[u8] = match (&self.origins, only(head, "origin")) {
            (None, _) => b"*",
            (Some(origins), Some(origin)) if origins.iter().any(|own| own.is(origin)) => origin,
            _ => return false,
        };
        field(out, "Access-Control-Allow-Origin", origin);
        if self.credentials {
            field(out, "Access-Control-Allow-Credentials", b"true");
        }
        true
    }
}

/// Whether a target's own field is replaced where an API has `cors`.
pub fn is_own_field(name: &str) -> bool {
    const PREFIX: &[u8] = b"access-control-";
    let name = name.as_bytes();
    name.len() > PREFIX.len() && name[..PREFIX.len()].eq_ignore_ascii_case(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_compared_whole_or_by_its_end() {
        for (written, origin, expected) in [
            ("https://app.example.com", "https://app.example.com", true),
            ("https://app.example.com", "http://app.example.com", false),
            (
                "https://app.example.com",
                "https://app.example.com:8443",
                false,
            ),
            (
                "https://app.example.com",
                "https://app.example.com.evil.test",
                false,
            ),
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://.example.com", false),
            (
                "https://*.example.com",
                "https://evil.test/.example.com",
                false,
            ),
            (
                "https://*.example.com",
                "https://evil.test:1.example.com",
                false,
            ),
            ("https://*.example.com", "https://u@a.example.com", false),
            ("https://*.example.com", "https://aexample.com", false),
            ("https://*.example.com", "null", false),
            (
                "https://*.example.com:8443",
                "https://a.example.com:8443",
                true,
            ),
            ("https://*.example.com:8443", "https://a.example.com", false),
        ] {
            let is = Origin::of(written).is(origin.as_bytes());
            assert_eq!(is, expected, "{written} {origin}");
        }
    }
}
