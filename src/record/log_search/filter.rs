//! Which lines are meant.

use crate::clock::WallTime;
use crate::record::timestamp::{TIMESTAMP_BYTES, Timestamps};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

/// Longest text of a filter.
const TEXT_BYTES_MAX: usize = 2_048;

/// Which lines are looked for; each field narrows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogFilter {
    /// Of this key, by its public id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Of this app of any tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Of this tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Of this API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// Of the route with this path pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// `404`, or `5xx` for 500 to 599.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Refused for this cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// With this method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// With a path that begins like this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// From this client, an address without a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// With this request id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Of this trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Begun at this time or later, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Begun before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

/// A filter that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FilterError {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it, and what would be right.
    pub problem: &'static str,
}

/// A filter that was checked, ready to judge lines.
#[derive(Clone, Debug)]
pub struct Sieve {
    filter: LogFilter,
    status: Option<(u16, u16)>,
    client: Option<IpAddr>,
    since: Option<[u8; TIMESTAMP_BYTES]>,
    until: Option<[u8; TIMESTAMP_BYTES]>,
    /// What every line that is meant has in it, word for word.
    needles: Vec<memchr::memmem::Finder<'static>>,
}

/// What of a line is judged.
#[derive(Debug, Deserialize)]
struct Line<'l> {
    #[serde(borrow)]
    time: Cow<'l, str>,
    status: u16,
    request_id: Option<Cow<'l, str>>,
    trace_id: Option<Cow<'l, str>>,
    client: Option<Cow<'l, str>>,
    method: Option<Cow<'l, str>>,
    path: Option<Cow<'l, str>>,
    refusal: Option<Cow<'l, str>>,
    tenant: Option<Cow<'l, str>>,
    app: Option<Cow<'l, str>>,
    key: Option<Cow<'l, str>>,
    api: Option<Cow<'l, str>>,
    route: Option<Cow<'l, str>>,
}

impl LogFilter {
    /// The texts that a line must have under a name.
    fn texts(&self) -> [(&'static str, Option<&String>); 10] {
        [
            ("key", self.key.as_ref()),
            ("app", self.app.as_ref()),
            ("tenant", self.tenant.as_ref()),
            ("api", self.api.as_ref()),
            ("route", self.route.as_ref()),
            ("refusal", self.refusal.as_ref()),
            ("method", self.method.as_ref()),
            ("request_id", self.request_id.as_ref()),
            ("trace_id", self.trace_id.as_ref()),
            ("path", self.path.as_ref()),
        ]
    }

    /// Checks what it says.
    pub fn sieve(self) -> Result<Sieve, FilterError> {
        let fail = |field, problem| Err(FilterError { field, problem });
        let mut needles = Vec::new();
        for (field, text) in self.texts() {
            let Some(text) = text else { continue };
            if text.is_empty() || text.len() > TEXT_BYTES_MAX {
                return fail(field, "must be 1 to 2048 bytes");
            }
            // What stands for itself in a line's JSON is looked for before the line is read.
            let is_plain = |octet: u8| octet == b' ' || octet.is_ascii_graphic();
            if text
                .bytes()
                .all(|octet| is_plain(octet) && octet != b'"' && octet != b'\\')
            {
                let end = if field == "path" { "" } else { "\"" };
                let needle = format!("\"{field}\":\"{text}{end}");
                needles.push(memchr::memmem::Finder::new(needle.as_bytes()).into_owned());
            }
        }
        let status = match self.status.as_deref().map(statuses) {
            Some(None) => {
                return fail(
                    "status",
                    "must be a status such as 404, or a class such as 5xx",
                );
            }
            status => status.flatten(),
        };
        let client = match self.client.as_deref().map(str::parse) {
            Some(Err(_)) => return fail("client", "must be an address without a port"),
            client => client.and_then(Result::ok),
        };
        if matches!((self.since_ms, self.until_ms), (Some(since), Some(until)) if since >= until) {
            return fail("until", "must be later than `since`");
        }
        let text = |ms: Option<u64>| ms.map(|ms| *Timestamps::default().text(WallTime(ms)));
        Ok(Sieve {
            status,
            client,
            since: text(self.since_ms),
            until: text(self.until_ms),
            needles,
            filter: self,
        })
    }
}

/// `404` or `5xx`, as a range.
fn statuses(text: &str) -> Option<(u16, u16)> {
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
        return Some((class * 100, class * 100 + 99));
    }
    let status = text.parse().ok().filter(|status| *status < 600)?;
    Some((status, status))
}

impl Sieve {
    /// Whether a line is meant; false for one that is none of ours.
    pub fn keeps(&self, line: &[u8]) -> bool {
        if !self
            .needles
            .iter()
            .all(|needle| needle.find(line).is_some())
        {
            return false;
        }
        let Ok(line) = serde_json::from_slice::<Line<'_>>(line) else {
            return false;
        };
        self.judges(&line)
    }

    fn judges(&self, line: &Line<'_>) -> bool {
        let same = |wanted: &Option<String>, found: &Option<Cow<'_, str>>| {
            wanted
                .as_ref()
                .is_none_or(|wanted| found.as_deref() == Some(wanted))
        };
        let filter = &self.filter;
        let time = line.time.as_bytes();
        let in_time = self.since.is_none_or(|since| time >= &since[..])
            && self.until.is_none_or(|until| time < &until[..]);
        let begins = |wanted: &String| {
            line.path
                .as_deref()
                .is_some_and(|path| path.starts_with(wanted.as_str()))
        };
        in_time
            && self
                .status
                .is_none_or(|(first, last)| (first..=last).contains(&line.status))
            && same(&filter.key, &line.key)
            && same(&filter.app, &line.app)
            && same(&filter.tenant, &line.tenant)
            && same(&filter.api, &line.api)
            && same(&filter.route, &line.route)
            && same(&filter.refusal, &line.refusal)
            && same(&filter.method, &line.method)
            && same(&filter.request_id, &line.request_id)
            && same(&filter.trace_id, &line.trace_id)
            && filter.path.as_ref().is_none_or(begins)
            && self
                .client
                .is_none_or(|client| line.client.as_deref().and_then(ip_of) == Some(client))
    }

    /// From when on, milliseconds since 1970.
    pub fn since_ms(&self) -> Option<u64> {
        self.filter.since_ms
    }

    /// Whether a call whose line this is ended long enough before what is looked for that no line
    /// before it can be meant: lines stand in the order in which their calls ended, but for the time
    /// that a worker keeps them.
    pub(super) fn is_past(&self, line: &[u8]) -> bool {
        const SLACK_MS: u64 = 10_000;
        let (Some(since_ms), Some(since)) = (self.filter.since_ms, self.since) else {
            return false;
        };
        let Some(time) = line
            .strip_prefix(b"{\"time\":\"")
            .and_then(|rest| rest.get(..TIMESTAMP_BYTES))
        else {
            return false;
        };
        if time >= &since[..] {
            return false;
        }
        let begun_ms = std::str::from_utf8(time)
            .ok()
            .and_then(|time| time.parse::<jiff::Timestamp>().ok())
            .and_then(|time| u64::try_from(time.as_millisecond()).ok());
        let ended_ms = begun_ms
            .zip(duration_ms(line))
            .map(|(begun, took)| begun.saturating_add(took));
        ended_ms.is_some_and(|ended| ended.saturating_add(SLACK_MS) < since_ms)
    }
}

fn duration_ms(line: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"\"duration_us\":";
    let start = memchr::memmem::find(line, NAME)? + NAME.len();
    let digits = line[start..]
        .iter()
        .take_while(|octet| octet.is_ascii_digit())
        .count();
    let digits = std::str::from_utf8(&line[start..start + digits]).ok()?;
    Some(digits.parse::<u64>().ok()? / 1_000)
}

/// The address of a client, which a line tells with a port or without.
fn ip_of(client: &str) -> Option<IpAddr> {
    let with_port = client.parse::<SocketAddr>().map(|address| address.ip());
    with_port.or_else(|_| client.parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINE: &str = r#"{"time":"2026-11-21T08:00:00.500Z","request_id":"r1","client":"[::1]:5000","method":"GET","path":"/orders/\"1\"","status":502,"refusal":"upstream_closed","tenant":"acme","app":"mobile","key":"key_06t0q3zkd8v1w","api":"orders","route":"/orders/*","duration_us":2000000}"#;
    /// 2026-11-21T08:00:00Z
    const AT_MS: u64 = 1_795_248_000_000;

    fn keeps(change: impl FnOnce(&mut LogFilter)) -> bool {
        let mut filter = LogFilter::default();
        change(&mut filter);
        filter.sieve().expect("can be meant").keeps(LINE.as_bytes())
    }

    #[test]
    fn each_field_narrows() {
        type Change = fn(&mut LogFilter);
        let cases: [(Change, bool); 22] = [
            (|_| (), true),
            (|f| f.key = Some("key_06t0q3zkd8v1w".into()), true),
            (|f| f.key = Some("key_06t0q3zkd8v1".into()), false),
            (|f| f.app = Some("mobile".into()), true),
            (|f| f.app = Some("mob".into()), false),
            (|f| f.tenant = Some("acme".into()), true),
            (|f| f.api = Some("other".into()), false),
            (|f| f.route = Some("/orders/*".into()), true),
            (|f| f.status = Some("502".into()), true),
            (|f| f.status = Some("5xx".into()), true),
            (|f| f.status = Some("4xx".into()), false),
            (|f| f.refusal = Some("upstream_closed".into()), true),
            (|f| f.method = Some("POST".into()), false),
            (|f| f.path = Some("/orders/\"".into()), true),
            (|f| f.path = Some("/ord".into()), true),
            (|f| f.path = Some("/orders/2".into()), false),
            (|f| f.client = Some("::1".into()), true),
            (|f| f.client = Some("::2".into()), false),
            (|f| f.since_ms = Some(AT_MS + 500), true),
            (|f| f.since_ms = Some(AT_MS + 501), false),
            (|f| f.until_ms = Some(AT_MS + 500), false),
            (|f| f.trace_id = Some("t".into()), false),
        ];
        for (place, (change, expected)) in cases.into_iter().enumerate() {
            assert_eq!(keeps(change), expected, "case {place}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_its_field() {
        type Change = fn(&mut LogFilter);
        let cases: [(Change, &str); 6] = [
            (|f| f.status = Some("6xx".into()), "status"),
            (|f| f.status = Some("many".into()), "status"),
            (|f| f.client = Some("::1]:80".into()), "client"),
            (|f| f.key = Some(String::new()), "key"),
            (|f| f.path = Some("/".repeat(5_000)), "path"),
            (|f| (f.since_ms, f.until_ms) = (Some(2), Some(2)), "until"),
        ];
        for (change, field) in cases {
            let mut filter = LogFilter::default();
            change(&mut filter);
            assert_eq!(filter.sieve().expect_err(field).field, field);
        }
    }

    #[test]
    fn only_what_ended_long_before_is_past() {
        let past = |since_ms| {
            let filter = LogFilter {
                since_ms: Some(since_ms),
                ..LogFilter::default()
            };
            filter
                .sieve()
                .expect("can be meant")
                .is_past(LINE.as_bytes())
        };
        // Begun half a second after, ended two seconds later.
        assert!(!past(AT_MS + 12_499));
        assert!(past(AT_MS + 12_501));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(line: Vec<u8>, text in "\\PC{1,20}") {
            let filter = LogFilter { path: Some(text), since_ms: Some(1), ..LogFilter::default() };
            let sieve = filter.sieve().expect("can be meant");
            prop_assert!(!sieve.keeps(&line));
            sieve.is_past(&line);
        }

        #[test]
        fn a_line_is_found_by_its_own_path(path in "/\\PC{0,40}") {
            let mut line = b"{\"time\":\"x\",\"status\":200".to_vec();
            line.extend_from_slice(b",\"path\":");
            crate::record::json_text::write_string(path.as_bytes(), 4_096, &mut line);
            line.push(b'}');
            let filter = LogFilter { path: Some(path), ..LogFilter::default() };
            prop_assert!(filter.sieve().expect("can be meant").keeps(&line));
        }
    }
}
