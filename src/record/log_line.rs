//! One line of the call log: what is said of a call, as one JSON object.
//!
//! [`LogLine`] borrows all it says. Whatever clients sent is escaped and cut to a bound, so that a line
//! is one line and valid whatever it tells of. Absent on purpose: bodies and keys. A query is only
//! said masked, and a path is cut at its first `?`, should anyone pass a whole target.

use super::address_text::{push_address, push_ip};
use super::head_text::HeadText;
use super::json_text::write_string;
use super::log_policy::{LogPolicy, Sample};
use super::mask::{MASKED, is_secret};
use super::timestamp::Timestamps;
use crate::accept::tls::identity::ClientIdentity;
use crate::clock::WallTime;
use crate::io::{Endpoint, TlsFacts};
use crate::refusal::Refusal;
use crate::snapshot::ids::KeyId;
use crate::trace::CallTrace;
use std::net::{IpAddr, SocketAddr};

const PATH_BYTES_MAX: usize = 2_048;
const QUERY_BYTES_MAX: usize = 2_048;
const HOST_BYTES_MAX: usize = 256;
const WORD_BYTES_MAX: usize = 128;
const USER_AGENT_BYTES_MAX: usize = 512;
/// Longest text of one logged header, all its values together.
const HEADER_BYTES_MAX: usize = 1_024;

/// One call as the call log tells it. Absent fields are left out of the line.
#[derive(Clone, Copy, Debug)]
pub struct LogLine<'a> {
    /// When the request's head had been read.
    pub time: WallTime,
    /// What `X-Request-Id` said, or what was made up for it.
    pub request_id: &'a [u8],
    /// Where it stands in a trace, if the node traces.
    pub trace: Option<CallTrace>,
    /// The connection's other end.
    pub peer: SocketAddr,
    /// Who the client is by its certificate.
    pub client_certificate: Option<&'a ClientIdentity>,
    /// How TLS is spoken on its connection.
    pub tls: Option<TlsFacts>,
    /// The client, where a trusted hop told of one.
    pub client: Option<IpAddr>,
    /// The method; empty when the head could not be read.
    pub method: &'a [u8],
    /// The host asked for; empty when the head could not be read.
    pub host: &'a [u8],
    /// The path without its query; empty when the head could not be read.
    pub path: &'a [u8],
    /// The request's head, for what the policy has logged of it; nothing if it could not be read.
    pub head: HeadText<'a>,
    /// What of the head is logged.
    pub policy: &'a LogPolicy,
    /// The status sent; 0 when no answer was sent.
    pub status: u16,
    /// Why the gateway itself said no.
    pub refusal: Option<Refusal>,
    /// The key's tenant.
    pub tenant: Option<&'a str>,
    /// The key's app.
    pub app: Option<&'a str>,
    /// The key's public id.
    pub key: Option<KeyId>,
    /// The plan that was applied.
    pub plan: Option<&'a str>,
    /// The API matched.
    pub api: Option<&'a str>,
    /// The path of its route, as the catalog writes it.
    pub route: Option<&'a str>,
    /// The upstream that it went to.
    pub upstream: Option<&'a str>,
    /// The target that was asked.
    pub target: Option<&'a Endpoint>,
    /// Bytes received from the client for this request, head included.
    pub bytes_in: u64,
    /// Bytes sent to the client for this request, head included.
    pub bytes_out: u64,
    /// How long it took.
    pub timings: Timings,
    /// Targets asked, one as often as it was.
    pub attempts: u32,
    /// The share of calls that it stands for, where it was drawn.
    pub sample: Option<Sample>,
    /// The snapshot that judged it; 0 for none.
    pub generation: u64,
}

/// How long the stages of a call took, in microseconds; absent for a stage that it did not reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// From the first byte of the head to the last; only where it did not come at once.
    pub head_us: Option<u64>,
    /// From the whole head to the decision, or to the gateway's own answer.
    pub decide_us: Option<u64>,
    /// From asking for a connection to having one, all attempts together.
    pub connect_us: Option<u64>,
    /// From the dispatch to the target that answered to the head of its answer.
    pub upstream_us: Option<u64>,
    /// From the head of its answer to the last byte sent to the client.
    pub body_us: Option<u64>,
    /// From the whole head to the last byte sent to the client.
    pub duration_us: u64,
}

impl Timings {
    fn write(&self, out: &mut Vec<u8>) {
        number(out, "duration_us", self.duration_us);
        for (label, us) in [
            ("head_us", self.head_us),
            ("decide_us", self.decide_us),
            ("connect_us", self.connect_us),
            ("upstream_us", self.upstream_us),
            ("body_us", self.body_us),
        ] {
            if let Some(us) = us {
                number(out, label, us);
            }
        }
    }
}

impl LogLine<'_> {
    /// Appends the line, newline included.
    pub fn write(&self, timestamps: &mut Timestamps, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        out.extend_from_slice(timestamps.text(self.time));
        out.push(b'"');
        text(out, "request_id", self.request_id, WORD_BYTES_MAX);
        if let Some(trace) = self.trace {
            text(out, "trace_id", &trace.trace.hex(), WORD_BYTES_MAX);
            text(out, "span_id", &trace.span.hex(), WORD_BYTES_MAX);
        }
        match self.client {
            None => address(out, "client", Some(self.peer)),
            Some(client) => {
                field(out, "client");
                out.push(b'"');
                push_ip(out, client);
                out.push(b'"');
                address(out, "peer", Some(self.peer));
            }
        }
        if let Some(identity) = self.client_certificate {
            text(
                out,
                "client_cert",
                &identity.fingerprint_hex(),
                WORD_BYTES_MAX,
            );
        }
        if let Some(tls) = self.tls {
            name(out, "tls", Some(tls.version()));
            name(out, "cipher", Some(tls.cipher()));
        }
        text(out, "method", self.method, WORD_BYTES_MAX);
        text(out, "host", self.host, HOST_BYTES_MAX);
        text(out, "path", without_query(self.path), PATH_BYTES_MAX);
        self.write_head(out);
        number(out, "status", u64::from(self.status));
        name(
            out,
            "refusal",
            self.refusal.map(|refusal| refusal.face().label),
        );
        name(out, "tenant", self.tenant);
        name(out, "app", self.app);
        if let Some(key) = self.key {
            text(out, "key", &key.encode(), WORD_BYTES_MAX);
        }
        name(out, "plan", self.plan);
        name(out, "api", self.api);
        if let Some(route) = self.route {
            text(out, "route", route.as_bytes(), PATH_BYTES_MAX);
        }
        name(out, "upstream", self.upstream);
        endpoint(out, "target", self.target);
        number(out, "bytes_in", self.bytes_in);
        number(out, "bytes_out", self.bytes_out);
        self.timings.write(out);
        if self.attempts > 1 {
            number(out, "attempts", u64::from(self.attempts));
        }
        number(out, "generation", self.generation);
        if let Some(share) = self.sample {
            field(out, "sample");
            share.write(out);
        }
        out.extend_from_slice(b"}\n");
    }

    /// What the policy has logged of the head; allocates only for that.
    fn write_head(&self, out: &mut Vec<u8>) {
        let asked = self.policy.query().zip(self.head.query());
        if let Some((mask, query)) = asked {
            let mut shown = Vec::new();
            mask.write_query(&query[..query.len().min(QUERY_BYTES_MAX)], &mut shown);
            text(out, "query", &shown, 2 * QUERY_BYTES_MAX);
        }
        if let Some(agent) = self.head.values("user-agent").next() {
            let shown = if is_secret(agent) { MASKED } else { agent };
            text(out, "user_agent", shown, USER_AGENT_BYTES_MAX);
        }
        let mut separator = "";
        for header in self.policy.headers() {
            let mut values = self
                .head
                .values(&header.name)
                .map(|value| header.shown(value));
            let Some(first) = values.next() else { continue };
            let mut shown = first.to_vec();
            for value in values {
                shown.extend_from_slice(b", ");
                shown.extend_from_slice(value);
            }
            if separator.is_empty() {
                field(out, "headers");
                out.push(b'{');
            }
            out.extend_from_slice(separator.as_bytes());
            separator = ",";
            write_string(header.name.as_bytes(), WORD_BYTES_MAX, out);
            out.push(b':');
            write_string(&shown, HEADER_BYTES_MAX, out);
        }
        if !separator.is_empty() {
            out.push(b'}');
        }
    }
}

fn without_query(path: &[u8]) -> &[u8] {
    memchr::memchr(b'?', path).map_or(path, |at| &path[..at])
}

fn field(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// A field from outside; left out when empty.
fn text(out: &mut Vec<u8>, label: &str, value: &[u8], bytes_max: usize) {
    if !value.is_empty() {
        field(out, label);
        write_string(value, bytes_max, out);
    }
}

fn name(out: &mut Vec<u8>, label: &str, value: Option<&str>) {
    if let Some(value) = value {
        text(out, label, value.as_bytes(), WORD_BYTES_MAX);
    }
}

fn number(out: &mut Vec<u8>, label: &str, value: u64) {
    field(out, label);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn endpoint(out: &mut Vec<u8>, label: &str, value: Option<&Endpoint>) {
    match value {
        Some(Endpoint::Tcp(value)) => address(out, label, Some(*value)),
        Some(Endpoint::Unix(path)) => {
            let path = path.as_os_str().as_encoded_bytes();
            text(out, label, &[b"unix:", path].concat(), PATH_BYTES_MAX);
        }
        None => {}
    }
}

fn address(out: &mut Vec<u8>, label: &str, value: Option<SocketAddr>) {
    if let Some(value) = value {
        field(out, label);
        out.push(b'"');
        push_address(out, value);
        out.push(b'"');
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::log_policy;
    use super::*;
    use crate::snapshot::catalog::{CallLog, CredentialEntry, SampleShare};
    use proptest::prelude::*;
    use serde_json::Value;
    use std::sync::OnceLock;

    fn target() -> &'static Endpoint {
        static TARGET: OnceLock<Endpoint> = OnceLock::new();
        TARGET.get_or_init(|| SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 9_000)).into())
    }

    pub fn line<'a>(path: &'a [u8], host: &'a [u8]) -> LogLine<'a> {
        LogLine {
            time: WallTime(1_000),
            request_id: b"req-1",
            trace: None,
            peer: SocketAddr::from(([127, 0, 0, 1], 5_000)),
            client: None,
            client_certificate: None,
            tls: None,
            head: HeadText::default(),
            policy: &log_policy::USUAL,
            method: b"GET",
            host,
            path,
            status: 200,
            refusal: None,
            tenant: Some("acme"),
            app: Some("mobile"),
            key: KeyId::new(7),
            plan: Some("free"),
            api: Some("orders"),
            route: Some("/orders/{id}"),
            upstream: Some("origin"),
            target: Some(target()),
            bytes_in: 100,
            bytes_out: 2_000,
            timings: Timings {
                upstream_us: Some(300),
                duration_us: 350,
                ..Timings::default()
            },
            attempts: 1,
            sample: None,
            generation: 12,
        }
    }

    fn written(line: &LogLine<'_>) -> String {
        let mut out = Vec::new();
        line.write(&mut Timestamps::default(), &mut out);
        String::from_utf8(out).expect("a line is UTF-8")
    }

    #[test]
    fn a_line_tells_who_asked_what_and_how_it_went() {
        assert_eq!(
            written(&line(b"/orders/1", b"api.example")),
            "{\"time\":\"1970-01-01T00:00:01.000Z\",\"request_id\":\"req-1\",\
             \"client\":\"127.0.0.1:5000\",\"method\":\"GET\",\"host\":\"api.example\",\
             \"path\":\"/orders/1\",\"status\":200,\"tenant\":\"acme\",\"app\":\"mobile\",\
             \"key\":\"key_0000000000007\",\"plan\":\"free\",\"api\":\"orders\",\
             \"route\":\"/orders/{id}\",\"upstream\":\"origin\",\"target\":\"[::1]:9000\",\"bytes_in\":100,\"bytes_out\":2000,\
             \"duration_us\":350,\"upstream_us\":300,\"generation\":12}\n"
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let refused = LogLine {
            method: b"",
            host: b"",
            path: b"",
            status: 400,
            refusal: Some(Refusal::HeadMalformed),
            tenant: None,
            app: None,
            key: None,
            plan: None,
            api: None,
            route: None,
            upstream: None,
            target: None,
            timings: Timings {
                duration_us: 350,
                ..Timings::default()
            },
            ..line(b"", b"")
        };
        assert_eq!(
            written(&refused),
            "{\"time\":\"1970-01-01T00:00:01.000Z\",\"request_id\":\"req-1\",\
             \"client\":\"127.0.0.1:5000\",\"status\":400,\"refusal\":\"head\",\
             \"bytes_in\":100,\"bytes_out\":2000,\"duration_us\":350,\"generation\":12}\n"
        );
    }

    #[test]
    fn a_query_never_reaches_the_log() {
        let text = written(&line(b"/orders?api_key=kw_live_secret", b"h"));
        assert!(text.contains("\"path\":\"/orders\","), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }

    fn policy(entry: &CallLog) -> LogPolicy {
        LogPolicy::new(entry, &CredentialEntry::default())
    }

    const HEAD: &[u8] = b"GET /orders?page=2&token=SECRET HTTP/1.1\r\nHost: h\r\n\
        User-Agent: curl/8\r\nX-Tenant: a\r\nx-tenant: b\r\nAuthorization: Bearer SECRET\r\n\r\n";

    #[test]
    fn a_line_tells_of_the_head_what_its_policy_says() {
        let policy = policy(&CallLog {
            query: true,
            headers: ["X-Tenant", "Authorization", "X-Absent"]
                .map(String::from)
                .into(),
            ..CallLog::default()
        });
        let said = LogLine {
            head: HeadText::new(HEAD),
            policy: &policy,
            ..line(b"/orders", b"h")
        };
        let value: Value = serde_json::from_str(&written(&said)).expect("valid JSON");
        assert_eq!(value["query"], "page=2&token=***");
        assert_eq!(value["user_agent"], "curl/8");
        let headers = serde_json::json!({ "x-tenant": "a, b", "authorization": "***" });
        assert_eq!(value["headers"], headers);
        let usual = LogLine {
            policy: &log_policy::USUAL,
            ..said
        };
        let value: Value = serde_json::from_str(&written(&usual)).expect("valid JSON");
        assert_eq!(
            (&value["query"], &value["headers"]),
            (&Value::Null, &Value::Null)
        );
    }

    #[test]
    fn a_line_tells_each_stage_and_what_it_stands_for() {
        let timings = Timings {
            head_us: Some(1),
            decide_us: Some(2),
            connect_us: Some(3),
            upstream_us: Some(4),
            body_us: Some(5),
            duration_us: 6,
        };
        let said = LogLine {
            timings,
            attempts: 2,
            sample: Sample::new(SampleShare::from(0.25)),
            ..line(b"/", b"h")
        };
        let text = written(&said);
        let end = "\"duration_us\":6,\"head_us\":1,\"decide_us\":2,\"connect_us\":3,\
                   \"upstream_us\":4,\"body_us\":5,\"attempts\":2,\"generation\":12,\"sample\":0.25}\n";
        assert!(text.ends_with(end), "{text}");
    }

    proptest! {
        #[test]
        fn a_parser_accepts_the_line_of_any_bytes(path: Vec<u8>, host: Vec<u8>, id: Vec<u8>) {
            let text = written(&LogLine { request_id: &id, ..line(&path, &host) });
            prop_assert_eq!(text.matches('\n').count(), 1);
            let value: Value = serde_json::from_str(&text).expect("valid JSON");
            let shown = without_query(&path);
            if !shown.is_empty() && shown.len() <= PATH_BYTES_MAX {
                prop_assert_eq!(value["path"].as_str(), Some(&*String::from_utf8_lossy(shown)));
            }
            prop_assert_eq!(value["status"].as_u64(), Some(200));
            prop_assert_eq!(value["generation"].as_u64(), Some(12));
        }

        #[test]
        fn a_line_is_valid_and_keeps_a_secret_whatever_else_a_head_says(
            query in prop::collection::vec(any::<u8>(), 0..60),
            agent in prop::collection::vec(any::<u8>(), 0..60),
            header in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let policy = policy(&CallLog {
                query: true,
                headers: vec!["x-any".into(), "cookie".into()],
                ..CallLog::default()
            });
            let head = [
                b"GET /?", &*query, b"&token=SECRET HTTP/1.1\r\nUser-Agent:", &agent,
                b"\r\nx-any:", &header, b"\r\ncookie:SECRET\r\n\r\n",
            ].concat();
            let text = written(&LogLine {
                head: HeadText::new(&head),
                policy: &policy,
                ..line(b"/", b"h")
            });
            prop_assert_eq!(text.matches('\n').count(), 1);
            prop_assert!(!text.contains("SECRET"), "{}", text);
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
        }
    }
}
