//! `[tracing]`: where spans go, how many, and whom to believe.

use super::check::Check;
use super::raw::RawTracing;
use crate::trace::SampleRatio;
use http::{HeaderName, HeaderValue, Uri};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where OTLP over HTTP takes spans, below the endpoint.
const PATH: &str = "/v1/traces";

const SERVICE_NAME_BYTES_MAX: usize = 255;

/// One trace of a hundred: enough to see, and little to keep.
const RATIO_USUAL: f64 = 0.01;

/// A collector stands near, and a batch is small.
const TIMEOUT_USUAL_MS: u64 = 3_000;

const TIMEOUT_MAX_MS: u64 = 60_000;

/// Fields that are the exporter's own.
const OWN_FIELDS: [&str; 6] = [
    "host",
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "connection",
];

/// `[tracing]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracingSettings {
    /// Where spans are posted: `http` or `https`, with the path of OTLP.
    pub endpoint: Uri,
    /// The `[[trust]]` that a collector over TLS is held to; the public roots without one.
    pub trust: Option<String>,
    /// How long one try to post spans may take.
    pub timeout_ms: u64,
    /// The share of traces that are recorded.
    pub sample_ratio: SampleRatio,
    /// A caller's `traceparent` decides whether its trace is recorded.
    pub trust_parent: bool,
    /// What the gateway is called in traces.
    pub service_name: String,
    /// Fields for the collector, by name.
    pub headers: Vec<(String, String)>,
    /// Fields for the collector whose values lie in files, readable by their owner alone.
    pub header_files: Vec<(String, PathBuf)>,
}

/// What `keyway check` prints of it; no field for the collector, for some are secrets.
impl fmt::Display for TracingSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (endpoint, ratio) = (&self.endpoint, self.sample_ratio);
        write!(
            f,
            "{endpoint} as {}, {ratio} of new traces",
            self.service_name
        )?;
        f.write_str(match self.trust_parent {
            true => ", others as their caller says",
            false => " and of others",
        })
    }
}

impl Check<'_> {
    pub(super) fn tracing(
        &mut self,
        raw: Option<RawTracing>,
        trusts: &[super::Trust],
    ) -> Option<TracingSettings> {
        let raw = raw?;
        let sample_ratio = self.sample_ratio(raw.sample_ratio.unwrap_or(RATIO_USUAL));
        let mut timeout_ms = TIMEOUT_USUAL_MS;
        let timeouts = 1..=TIMEOUT_MAX_MS;
        self.number(
            "tracing.timeout_ms",
            raw.timeout_ms,
            &mut timeout_ms,
            timeouts,
        );
        let service_name = self.service_name(raw.service_name);
        let unknown = |name: &String| !trusts.iter().any(|trust| trust.name == *name);
        if let Some(name) = raw.trust.clone().filter(unknown) {
            let mend = "is not the name of a [[trust]]; add one, or remove it for the public roots";
            self.problem("tracing.trust", Some(format!("{name:?}")), mend);
        }
        let headers = self.headers(raw.headers, &raw.header_files);
        let header_files = self.header_files(raw.header_files);
        Some(TracingSettings {
            endpoint: self.endpoint(raw.endpoint)?,
            trust: raw.trust,
            timeout_ms,
            sample_ratio,
            trust_parent: raw.trust_parent,
            service_name,
            headers,
            header_files,
        })
    }

    fn endpoint(&mut self, written: Option<String>) -> Option<Uri> {
        let path = "tracing.endpoint";
        let Some(text) = written else {
            let mend = "is missing; name the collector, such as \"http://127.0.0.1:4318\", or \
                        remove [tracing]";
            self.problem(path, None, mend);
            return None;
        };
        let endpoint = with_path(&text);
        if endpoint.is_none() {
            // Not shown as written: a URL of another form may carry a password.
            let mend = "must be http:// or https:// with a host, a port if it is another than usual \
                        and perhaps a path, such as \"http://127.0.0.1:4318\"; a user and a query \
                        have no place there, see tracing.header_files for tokens";
            self.problem(path, None, mend);
        }
        endpoint
    }

    fn sample_ratio(&mut self, written: f64) -> SampleRatio {
        SampleRatio::new(written).unwrap_or_else(|| {
            let mend = format!("must be from 0 to 1; the default is {RATIO_USUAL}");
            self.problem("tracing.sample_ratio", Some(written.to_string()), &mend);
            SampleRatio::NONE
        })
    }

    fn service_name(&mut self, written: Option<String>) -> String {
        let name = written.unwrap_or_else(|| "keyway".to_owned());
        let fits = (1..=SERVICE_NAME_BYTES_MAX).contains(&name.len());
        if !fits || name.chars().any(char::is_control) {
            let mend = "must be 1 to 255 bytes without control characters";
            self.problem("tracing.service_name", Some(format!("{name:?}")), mend);
        }
        name
    }

    fn headers(
        &mut self,
        written: BTreeMap<String, String>,
        files: &BTreeMap<String, PathBuf>,
    ) -> Vec<(String, String)> {
        for (name, value) in &written {
            let path = format!("tracing.headers.{name}");
            self.field_name(&path, name);
            if HeaderValue::from_str(value).is_err() {
                self.problem(&path, None, "has a value that cannot be a field's");
            }
            if files.keys().any(|other| other.eq_ignore_ascii_case(name)) {
                let mend = "is in tracing.header_files too; remove one of the two";
                self.problem(&path, None, mend);
            }
        }
        written.into_iter().collect()
    }

    fn header_files(&mut self, written: BTreeMap<String, PathBuf>) -> Vec<(String, PathBuf)> {
        let mut files = Vec::new();
        for (name, file) in written {
            let path = format!("tracing.header_files.{name}");
            self.field_name(&path, &name);
            if let Some(file) = self.path(&path, file) {
                files.push((name, file));
            }
        }
        files
    }

    fn field_name(&mut self, path: &str, name: &str) {
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            self.problem(path, None, "is not the name of a field");
        } else if OWN_FIELDS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            self.problem(path, None, "is a field that the exporter itself writes");
        }
    }
}

/// The endpoint with the path of OTLP behind its own.
fn with_path(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let scheme = uri
        .scheme_str()
        .filter(|one| matches!(*one, "http" | "https"))?;
    let authority = uri.authority()?.as_str();
    let host = uri.host().filter(|host| !host.is_empty())?;
    // A port beyond 65535 reads as none, and the usual one would be taken for it.
    let port_fits = authority == host || uri.port_u16().is_some_and(|port| port != 0);
    if !port_fits || authority.contains('@') || text.contains(['?', '#']) {
        return None;
    }
    let path = uri.path().trim_end_matches('/');
    format!("{scheme}://{authority}{path}{PATH}").parse().ok()
}

#[cfg(test)]
pub mod tests {
    use super::super::{Settings, SettingsError};
    use super::*;
    use std::path::Path;

    /// Usable settings.
    pub fn tracing_for_tests() -> TracingSettings {
        TracingSettings {
            endpoint: Uri::from_static("http://127.0.0.1:4318/v1/traces"),
            trust: None,
            timeout_ms: 3_000,
            sample_ratio: SampleRatio::NONE,
            trust_parent: false,
            service_name: "keyway".into(),
            headers: Vec::new(),
            header_files: Vec::new(),
        }
    }

    fn parse(lines: &str) -> Result<Settings, SettingsError> {
        let least = "listen = [\"127.0.0.1:8080\"]\nsnapshot.directory = \"snapshots\"\n\
                     pepper = [{ id = 1, file = \"pepper.hex\" }]\n";
        Settings::parse(&format!("{least}{lines}"), Path::new("/etc/keyway"))
    }

    fn problem(lines: &str) -> String {
        parse(&format!("[tracing]\n{lines}"))
            .expect_err("must be refused")
            .to_string()
    }

    #[test]
    fn without_the_section_nothing_is_traced() {
        assert_eq!(parse("").expect("usable").tracing, None);
    }

    #[test]
    fn an_endpoint_is_enough() {
        let settings = parse("[tracing]\nendpoint = \"http://127.0.0.1:4318\"").expect("usable");
        let expected = TracingSettings {
            sample_ratio: SampleRatio::new(0.01).expect("a ratio"),
            ..tracing_for_tests()
        };
        assert_eq!(settings.tracing, Some(expected));
        assert!(settings.to_string().contains("4318"), "{settings}");
    }

    #[test]
    fn everything_can_be_said() {
        let settings = parse(
            "[[trust]]\nname = \"inside\"\nca = \"ca.pem\"\n\
             [tracing]\nendpoint = \"https://otel.example/tenant/\"\ntrust = \"inside\"\n\
             sample_ratio = 1\ntimeout_ms = 500\ntrust_parent = true\nservice_name = \"edge\"\n\
             headers = { X-Scope = \"a\" }\nheader_files = { Authorization = \"token\" }\n",
        );
        let settings = settings.expect("usable");
        let text = settings.to_string();
        let expected = TracingSettings {
            endpoint: Uri::from_static("https://otel.example/tenant/v1/traces"),
            trust: Some("inside".into()),
            timeout_ms: 500,
            sample_ratio: SampleRatio::new(1.0).expect("a ratio"),
            trust_parent: true,
            service_name: "edge".into(),
            headers: vec![("X-Scope".into(), "a".into())],
            header_files: vec![("Authorization".into(), "/etc/keyway/token".into())],
        };
        assert_eq!(settings.tracing, Some(expected));
        assert!(text.contains("otel.example") && !text.contains("Authorization"));
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_path_and_its_mend() {
        assert!(problem("").starts_with("tracing.endpoint: is missing"));
        for bad in [
            "127.0.0.1:4318",
            "ftp://h",
            "http://",
            "http://u:hidden@h",
            "http://h?token=hidden",
            "http://h:0",
            "http://h:99999",
            "",
        ] {
            let said = problem(&format!("endpoint = {bad:?}"));
            assert!(
                said.starts_with("tracing.endpoint: must be"),
                "{bad}: {said}"
            );
            assert!(!said.contains("hidden"), "{said}");
        }
        let good = "endpoint = \"http://h\"\n";
        for (line, path) in [
            ("sample_ratio = 1.5", "tracing.sample_ratio = 1.5: "),
            ("sample_ratio = -1", "tracing.sample_ratio = -1: "),
            ("sample_ratio = nan", "tracing.sample_ratio = NaN: "),
            ("timeout_ms = 0", "tracing.timeout_ms = 0: "),
            ("service_name = \"\"", "tracing.service_name = \"\": "),
            ("trust = \"nobody\"", "tracing.trust = \"nobody\": "),
            ("headers = { \"a b\" = \"1\" }", "tracing.headers.a b: "),
            ("headers = { a = \"hidden\\n\" }", "tracing.headers.a: "),
            ("headers = { Host = \"1\" }", "tracing.headers.Host: "),
            (
                "headers = { A = \"1\" }\nheader_files = { a = \"f\" }",
                "tracing.headers.A: ",
            ),
            (
                "header_files = { a = \"\" }",
                "tracing.header_files.a = \"\": ",
            ),
        ] {
            let said = problem(&format!("{good}{line}"));
            assert!(said.starts_with(path), "{said}");
            assert!(!said.contains("hidden"), "{said}");
        }
    }
}
