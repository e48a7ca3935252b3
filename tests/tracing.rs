//! Traces: what goes on to the target, what the collector gets, and what a bad collector costs.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::Signal;
use support::collector::Span;
use support::gateway::Setup;
use support::origin::refusing;
use support::turn::answer;
use support::wait::{self, Gate};
use support::{Collector, Gateway, Origin, Pki, Request, World, get};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A gateway that records every trace.
fn recording(origin: &Origin, collector: &Collector) -> Setup {
    Gateway::over(World::before(&[origin.address]))
        .setting(&collector.setting())
        .setting("tracing.sample_ratio = 1")
}

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

/// What the only request at `origin` says in its `traceparent`: trace, span, flags.
fn told(origin: &Origin) -> (String, String, String) {
    let head = origin.only().head;
    let value = head.fields.get("traceparent").expect("it is traced");
    let parts: Vec<&str> = value.split('-').collect();
    assert_eq!((parts.len(), parts[0]), (4, "00"), "{value}");
    let [_, trace, span, flags] = [0, 1, 2, 3].map(|at: usize| parts[at].to_owned());
    (trace, span, flags)
}

/// The server's span and the client's, of the only request.
fn both(collector: &Collector) -> (Span, Span) {
    let spans = collector.wait_for(2);
    assert_eq!(spans.len(), 2, "{spans:#?}");
    let of = |kind: &str| spans.iter().find(|span| span.kind == kind).cloned();
    (of("SERVER").expect("one"), of("CLIENT").expect("one"))
}

#[test]
fn a_trace_goes_on_through_the_gateway_and_the_collector_sees_both_of_its_spans() {
    let (origin, collector) = (Origin::saying(answer(200, &[], "ok")), Collector::taking());
    let mut world = World::before(&[origin.address]);
    let (key, id) = (world.key.clone(), world.id(&world.key.clone()));
    let gateway = Gateway::over(world)
        .setting(&collector.setting())
        .setting("tracing.sample_ratio = 0")
        .setting("tracing.trust_parent = true")
        .setting("tracing.service_name = \"edge\"")
        .start();
    let asked = get("/orders/1?secret=word")
        .key(&key)
        .header("traceparent", &parent("01"))
        .header("TraceState", "a=1")
        .header("tracestate", "b=2");
    let said = gateway.exchange(&asked);
    said.assert_status(200);

    let (trace, span, flags) = told(&origin);
    assert_eq!((&*trace, &*flags), (TRACE, "01"));
    let fields = origin.only().head.fields;
    assert_eq!(fields.all("tracestate"), ["a=1,b=2"]);
    let (server, client) = both(&collector);
    assert_eq!((&*server.trace, &*client.trace), (TRACE, TRACE));
    assert_eq!((&*server.parent, &*client.parent), (CALLER, &*server.id));
    assert_eq!(client.id, span);
    assert!(server.times.0 <= client.times.0 && client.times.1 <= server.times.1);
    assert!(client.times.0 < client.times.1 && !server.is_error && !client.is_error);
    assert_eq!(server.resource["service.name"], "edge");
    assert_eq!(server.resource["service.instance.id"], "edge-test");
    assert_eq!(server.name, "GET /orders/*");
    server.assert_says(&[
        ("http.request.method", "GET"),
        ("url.path", "/orders/1"),
        ("url.scheme", "http"),
        ("http.route", "/orders/*"),
        ("http.response.status_code", "200"),
        ("server.address", "gateway.test"),
        ("client.address", "127.0.0.1"),
        ("network.peer.address", "127.0.0.1"),
        ("keyway.tenant", "acme"),
        ("keyway.app", "mobile"),
        ("keyway.api", "orders"),
        ("keyway.plan", "free"),
        ("keyway.key_id", &id),
        ("keyway.generation", "1"),
        (
            "keyway.request_id",
            said.header("x-request-id").expect("one"),
        ),
    ]);
    client.assert_says(&[
        ("server.address", "127.0.0.1"),
        ("server.port", &origin.address.port().to_string()),
        ("http.response.status_code", "200"),
        ("keyway.upstream", "origin"),
    ]);
    let all = format!("{server:?}{client:?}");
    assert!(!all.contains("word") && !all.contains(&key), "{all}");
    let line = &gateway.wait_for_log(1)[0];
    assert_eq!(
        (&line["trace_id"], &line["span_id"]),
        (&TRACE.into(), &server.id.into())
    );
}

#[test]
fn a_request_without_a_trace_begins_one() {
    let (origin, collector) = (Origin::echo(), Collector::taking());
    let gateway = recording(&origin, &collector).start();
    gateway
        .exchange(&gateway.good().header("tracestate", "a=1"))
        .assert_status(200);
    let (trace, span, flags) = told(&origin);
    assert_eq!(flags, "01");
    assert!(!origin.only().head.fields.has("tracestate"));
    let (server, client) = both(&collector);
    assert_eq!(
        (&server.trace, &client.trace, &client.id),
        (&trace, &trace, &span)
    );
    assert_eq!((&*server.parent, &client.parent), ("", &server.id));
}

#[test]
fn a_traceparent_that_is_not_valid_is_as_good_as_none() {
    let twice = |request: Request| {
        let first = request.header("traceparent", &parent("01"));
        first.header("Traceparent", &parent("01"))
    };
    let zero = format!("00-{}-{CALLER}-01", "0".repeat(32));
    let once = |value: String| move |request: Request| request.header("traceparent", &value);
    let bad: [Box<dyn Fn(Request) -> Request>; 4] = [
        Box::new(twice),
        Box::new(once(zero)),
        Box::new(once(parent("01").to_uppercase())),
        Box::new(once(parent("01") + "-more")),
    ];
    for bad in bad {
        let (origin, collector) = (Origin::echo(), Collector::taking());
        let gateway = recording(&origin, &collector).start();
        let asked = bad(gateway.good()).header("tracestate", "a=1");
        gateway.exchange(&asked).assert_status(200);
        let (trace, ..) = told(&origin);
        assert_ne!(trace, TRACE);
        assert!(!origin.only().head.fields.has("tracestate"));
        assert_eq!(both(&collector).0.parent, "");
    }
}

#[test]
fn what_is_not_sampled_is_told_to_the_target_and_to_nobody_else() {
    let (origin, collector) = (Origin::echo(), Collector::taking());
    let gateway = recording(&origin, &collector)
        .setting("tracing.trust_parent = true")
        .start();
    let asked = gateway.good().header("traceparent", &parent("00"));
    gateway.exchange(&asked).assert_status(200);
    let (trace, span, flags) = told(&origin);
    assert_eq!((&*trace, &*flags), (TRACE, "00"));
    assert_ne!(span, CALLER);
    assert_eq!(gateway.wait_for_log(1)[0]["trace_id"], TRACE);
    // One that is sampled shows that the exporter has looked at everything before it.
    gateway.get().assert_status(200);
    let spans = collector.wait_for(2);
    assert!(spans.iter().all(|span| span.trace != TRACE), "{spans:#?}");
}

#[test]
fn a_caller_that_is_not_trusted_does_not_decide_what_is_recorded() {
    let (origin, collector) = (Origin::echo(), Collector::taking());
    let gateway = Gateway::over(World::before(&[origin.address]))
        .setting(&collector.setting())
        .setting("tracing.sample_ratio = 0")
        .start();
    let asked = gateway.good().header("traceparent", &parent("01"));
    gateway.exchange(&asked).assert_status(200);
    let (trace, _, flags) = told(&origin);
    assert_eq!((&*trace, &*flags), (TRACE, "00"));
}

#[test]
fn without_tracing_the_fields_of_a_client_pass_as_they_are() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let odd = gateway
        .good()
        .header("traceparent", "whatever")
        .header("traceparent", &parent("01"))
        .header("tracestate", "=");
    let said = gateway.exchange(&odd);
    assert_eq!(said.echoed("traceparent"), ["whatever", &parent("01")]);
    assert_eq!(said.echoed("tracestate"), ["="]);
    let line = &gateway.wait_for_log(1)[0];
    assert!(line.get("trace_id").is_none(), "{line}");
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("keyway_spans_exported_total", &[]), 0.0);
}

#[test]
fn a_refusal_has_its_span_and_no_exchange() {
    let (origin, collector) = (Origin::echo(), Collector::taking());
    let gateway = recording(&origin, &collector).start();
    gateway.exchange(&get("/orders/1")).assert_status(401);
    gateway
        .client()
        .send("GET /orders/1?word HTTP/1.1\r\nHost: a\r\n b\r\n\r\n");
    let spans = collector.wait_for(2);
    let of = |status: &str| {
        let mut all = spans.iter();
        let found = all.find(|span| span.says("http.response.status_code") == Some(status));
        found.unwrap_or_else(|| panic!("{status} in {spans:#?}"))
    };
    for (status, label, name) in [
        ("401", "key_missing", "GET /orders/*"),
        ("400", "head", "GET"),
    ] {
        let span = of(status);
        assert_eq!(
            (&*span.kind, &*span.name, span.is_error),
            ("SERVER", name, false)
        );
        span.assert_says(&[("error.type", label), ("keyway.refusal", label)]);
        assert_eq!(span.says("url.path"), Some("/orders/1"));
    }
    assert_eq!(origin.requests(), 0);
}

#[test]
fn a_target_that_cannot_be_reached_is_an_error_of_both_spans() {
    let (_socket, nobody) = refusing();
    let collector = Collector::taking();
    let gateway = Gateway::over(World::before(&[nobody]))
        .setting(&collector.setting())
        .setting("tracing.sample_ratio = 1")
        .start();
    gateway.get().assert_status(502);
    let (server, client) = both(&collector);
    assert!(server.is_error && client.is_error);
    assert_eq!(server.says("error.type"), client.says("error.type"));
    assert_eq!(client.says("http.response.status_code"), None);
    client.assert_says(&[("server.port", &nobody.port().to_string())]);
}

/// The spans that `gateway` counts as dropped for `cause`, once they are `spans`.
fn wait_for_dropped(gateway: &Gateway, cause: &str, spans: f64) {
    wait::until("dropped spans in the metrics", || {
        let metrics = gateway.metrics();
        metrics.sum("keyway_spans_dropped_total", &[("cause", cause)]) >= spans
    });
}

#[test]
fn a_collector_that_is_down_costs_spans_and_is_told_of_once() {
    let (_socket, nobody) = refusing();
    let origin = Origin::echo();
    let gateway = Gateway::over(World::before(&[origin.address]))
        .setting(&format!("tracing.endpoint = \"http://{nobody}\""))
        .setting("tracing.sample_ratio = 1")
        .start();
    gateway.get().assert_status(200);
    wait_for_dropped(&gateway, "unreachable", 2.0);
    gateway.get().assert_status(200);
    wait_for_dropped(&gateway, "unreachable", 4.0);
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("keyway_spans_exported_total", &[]), 0.0);
    let said = gateway.stderr();
    assert_eq!(said.matches("spans are not exported").count(), 1, "{said}");
}

#[test]
fn a_collector_that_fails_for_a_while_is_asked_again_and_one_that_refuses_is_not() {
    for (status, spare, asked) in [(503, 1, 2), (400, 1, 1), (500, 9, 1), (503, 9, 3)] {
        let failures = Arc::new(AtomicUsize::new(0));
        let collector = Collector::scripted(move |turn| {
            turn.body()?;
            let fails = failures.fetch_add(1, Ordering::SeqCst) < spare;
            turn.send(answer(if fails { status } else { 200 }, &[], ""))?;
            Ok(support::Flow::Close)
        });
        let origin = Origin::echo();
        let gateway = recording(&origin, &collector).start();
        gateway.get().assert_status(200);
        if asked > spare {
            wait::until("exported spans in the metrics", || {
                gateway.metrics().sum("keyway_spans_exported_total", &[]) == 2.0
            });
        } else {
            wait_for_dropped(&gateway, "refused", 2.0);
        }
        assert_eq!(collector.origin.requests(), asked, "{status}");
    }
}

#[test]
fn what_a_collector_says_it_rejected_is_not_counted_as_exported() {
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceResponse,
    };
    let partial = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: 1,
            error_message: "too old".into(),
        }),
    };
    let body = prost::Message::encode_to_vec(&partial);
    let collector = Collector::scripted(move |turn| turn.answer(&body));
    let origin = Origin::echo();
    let gateway = recording(&origin, &collector).start();
    gateway.get().assert_status(200);
    wait_for_dropped(&gateway, "rejected", 1.0);
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("keyway_spans_exported_total", &[]), 1.0);
}

#[test]
fn a_collector_that_hangs_holds_no_request_and_what_finds_no_room_is_counted() {
    let gate = Arc::new(Gate::default());
    let shut = Arc::clone(&gate);
    let collector = Collector::scripted(move |turn| {
        turn.body()?;
        shut.pass();
        turn.answer("")
    });
    let origin = Origin::echo();
    let gateway = recording(&origin, &collector).start();
    gateway.get().assert_status(200);
    collector.origin.wait_for_requests(1);
    // It is held. More than the queue has room for, each with one span.
    let mut client = gateway.client();
    let refused = get("/nowhere").bytes().repeat(100);
    for _ in 0..90 {
        client.send(&refused);
        for _ in 0..100 {
            client.read().assert_status(404);
        }
    }
    wait_for_dropped(&gateway, "queue_full", 1.0);
    gateway.get().assert_status(200);
    gate.open();
    wait::until("every span to be exported or counted as dropped", || {
        let metrics = gateway.metrics();
        let exported = metrics.sum("keyway_spans_exported_total", &[]);
        // Two with an exchange, and nine thousand without.
        exported > 0.0 && exported + metrics.sum("keyway_spans_dropped_total", &[]) == 9_004.0
    });
}

#[test]
fn a_collector_that_never_answers_is_given_up() {
    let collector = Collector::scripted(support::Turn::hang);
    let origin = Origin::echo();
    let setup = recording(&origin, &collector).setting("tracing.timeout_ms = 50");
    let gateway = setup.start();
    gateway.get().assert_status(200);
    wait_for_dropped(&gateway, "timeout", 2.0);
    assert!(collector.origin.requests() <= 3);
}

#[test]
fn a_node_that_ends_exports_what_it_has_first() {
    let (origin, collector) = (Origin::echo(), Collector::taking());
    let mut gateway = recording(&origin, &collector).start();
    for _ in 0..5 {
        gateway.get().assert_status(200);
    }
    gateway.signal(Signal::SIGTERM);
    assert!(gateway.wait_for_exit().success());
    assert_eq!(collector.spans().len(), 10);
}

#[test]
fn a_node_ends_in_time_though_its_collector_hangs() {
    let collector = Collector::scripted(support::Turn::hang);
    let origin = Origin::echo();
    let mut gateway = recording(&origin, &collector).start();
    gateway.get().assert_status(200);
    collector.origin.wait_for_requests(1);
    let began = wait::now();
    gateway.signal(Signal::SIGTERM);
    assert!(gateway.wait_for_exit().success());
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}

#[test]
fn a_collector_over_tls_is_held_to_its_authority_and_its_name() {
    let (origin, collector, pki) = (Origin::echo(), Collector::taking(), Pki::new());
    pki.sign("good", &["127.0.0.1"]);
    pki.sign("other", &["elsewhere.test"]);
    for (certificate, trust, is_taken) in [
        ("good", ", trust = \"inside\"", true),
        ("other", ", trust = \"inside\"", false),
        ("good", "", false),
    ] {
        // In front of the collector, for the sake of its TLS.
        let world = World::before(&[collector.origin.address]).with(|world| {
            let fixture = std::mem::take(&mut world.fixture);
            world.fixture = fixture.api("otlp", "origin", &["/v1/traces"]);
            world.api("otlp").key_required = false;
        });
        let front = Gateway::over(world)
            .listen_as(&["{ address = \"127.0.0.1:0\", tls = true }"])
            .setting(&format!("tls.certificates = [{}]", pki.entry(certificate)))
            .start();
        let ca = pki.path("ca.pem");
        let gateway = Gateway::over(World::before(&[origin.address]))
            .setting(&format!("trust = [{{ name = \"inside\", ca = {ca:?} }}]"))
            .setting(&format!(
                "tracing = {{ endpoint = \"https://{}\", sample_ratio = 1{trust} }}",
                front.listen
            ))
            .start();
        gateway.get().assert_status(200);
        if is_taken {
            assert_eq!(collector.wait_for(2).len(), 2);
        } else {
            wait_for_dropped(&gateway, "unreachable", 2.0);
            assert!(gateway.stderr().contains("no TLS"), "{}", gateway.stderr());
        }
    }
    assert_eq!(collector.origin.requests(), 1);
}

#[test]
fn a_token_for_the_collector_comes_from_a_closed_file_and_is_never_said() {
    let directory = tempfile::tempdir().expect("room for a directory");
    let token = directory.path().join("token");
    fs::write(&token, "Bearer s3cret-token\n").expect("room for it");
    let (origin, collector) = (Origin::echo(), Collector::taking());
    let setup = || {
        recording(&origin, &collector)
            .setting("tracing.headers = { X-Scope = \"edge\" }")
            .setting(&format!(
                "tracing.header_files = {{ Authorization = {token:?} }}"
            ))
            .variable("KEYWAY_LOG", "trace")
    };
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).expect("ours");
    let (status, said) = setup().fail();
    assert!(!status.success() && said.contains("chmod 600"), "{said}");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("ours");
    let gateway = setup().start();
    gateway.get().assert_status(200);
    collector.wait_for(2);
    let fields = collector.origin.received()[0].head.fields.clone();
    assert_eq!(fields.get("Authorization"), Some("Bearer s3cret-token"));
    assert_eq!(fields.get("X-Scope"), Some("edge"));
    assert_eq!(
        fields.get("Host"),
        Some(&*collector.origin.address.to_string())
    );
    assert!(!gateway.stderr().contains("s3cret"));
}
