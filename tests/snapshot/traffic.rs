//! Words about routing and traffic that make no sense are refused at their place.

use keyway::snapshot::Catalog;
use keyway::snapshot::catalog::{
    Affinity, Answer, Condition, Cors, Field, HeaderEdits, Redirect, Respond, Rewrite, RouteEntry,
    SplitEntry, VersionHeader, VersionPlace,
};

use super::catalog::each_refused_at;
use super::fixture;

fn field(name: &str, value: &str) -> Field {
    Field {
        name: name.into(),
        value: value.into(),
    }
}

fn set(name: &str, value: &str) -> HeaderEdits {
    HeaderEdits {
        set: vec![field(name, value)],
        ..HeaderEdits::default()
    }
}

fn remove(name: &str) -> HeaderEdits {
    HeaderEdits {
        remove: vec![name.into()],
        ..HeaderEdits::default()
    }
}

fn rewrite(path: Option<&str>, host: Option<&str>) -> Option<Rewrite> {
    Some(Rewrite {
        path: path.map(str::to_owned),
        host: host.map(str::to_owned),
    })
}

fn redirect(status: u16, location: &str) -> Option<Answer> {
    Some(Answer::Redirect(Redirect {
        status,
        location: location.into(),
    }))
}

fn respond(status: u16, body: &str) -> Option<Answer> {
    Some(Answer::Respond(Respond {
        status,
        body: body.into(),
        ..Respond::default()
    }))
}

fn cors(origin: &str) -> Option<Cors> {
    Some(Cors {
        origins: vec![origin.into()],
        ..Cors::default()
    })
}

fn share(upstream: u32, weight: u32) -> SplitEntry {
    SplitEntry { upstream, weight }
}

#[test]
fn hosts_and_conditions() {
    each_refused_at([
        ("apis[0].hosts[0]", |c| c.apis[0].hosts = vec!["*".into()]),
        ("apis[0].hosts[0]", |c| {
            c.apis[0].hosts = vec!["a.*.b".into()]
        }),
        ("apis[0].hosts[0]", |c| {
            c.apis[0].hosts = vec!["*.[::1]".into()]
        }),
        ("apis[0].routes[0].headers[0]", |c| {
            c.apis[0].routes[0].headers = vec![Condition {
                name: "Authorization".into(),
                ..Condition::default()
            }];
        }),
        ("apis[0].routes[0].headers[0].name", |c| {
            c.apis[0].credential.header = Some("X-My-Key".into());
            c.apis[0].routes[0].headers = vec![Condition {
                name: "x-my-key".into(),
                ..Condition::default()
            }];
        }),
        ("apis[0].routes[0].query[0]", |c| {
            c.apis[0].routes[0].query = vec![Condition::default()];
        }),
        ("apis[0].version_in.header.name", |c| {
            c.apis[0].version_in = Some(VersionPlace::Header(VersionHeader::default()));
        }),
        ("apis[0].version", |c| {
            c.apis[0].version = "v/1".into();
            c.apis[0].version_in = Some(VersionPlace::Path);
        }),
    ]);
}

#[test]
fn rewriting_and_upstreams() {
    each_refused_at([
        ("apis[0].routes[0].rewrite.path", |c| {
            c.apis[0].routes[0].rewrite = rewrite(Some("/{nobody}"), None);
        }),
        ("apis[0].routes[0].rewrite.path", |c| {
            c.apis[0].routes[0].rewrite = rewrite(Some("//evil.test"), None);
        }),
        ("apis[0].routes[0].rewrite.host", |c| {
            c.apis[0].routes[0].rewrite = rewrite(None, Some("a b"));
        }),
        ("apis[0].routes[0].upstream", |c| {
            c.apis[0].routes[0].upstream = Some(99)
        }),
        ("upstreams[0].host", |c| {
            c.upstreams[0].host = Some("a\r\nb".into())
        }),
        ("upstreams[0].host", |c| {
            c.upstreams[0].host = Some("a:0".into())
        }),
        ("apis[0].split", |c| c.apis[0].split = vec![share(99, 1)]),
        ("apis[0].split[1].upstream", |c| {
            c.apis[0].split = vec![share(c.apis[0].upstream, 1), share(99, 1)];
        }),
        ("apis[0].split[1].upstream", |c| {
            c.apis[0].split = vec![share(c.apis[0].upstream, 1); 2];
        }),
        ("apis[0].split", |c| {
            c.apis[0].split = vec![share(c.apis[0].upstream, 0)]
        }),
        ("apis[0].split[0].weight", |c| {
            c.apis[0].split = vec![share(c.apis[0].upstream, 1_001)];
        }),
        ("apis[0].split_by", |c| {
            c.apis[0].split_by = Some(Affinity::Key)
        }),
        ("apis[0].split_by", |c| {
            c.apis[0].split = vec![share(c.apis[0].upstream, 1)];
            c.apis[0].split_by = Some(Affinity::Header("a b".into()));
        }),
        ("apis[0].body_bytes_max", |c| {
            c.apis[0].body_bytes_max = Some(0)
        }),
        ("apis[0].upgrades[0]", |c| {
            c.apis[0].upgrades = vec!["h2c".into()]
        }),
        ("apis[0].upgrades[0]", |c| {
            c.apis[0].upgrades = vec!["WebSocket".into()]
        }),
    ]);
}

#[test]
fn header_changes() {
    for name in [
        "Host",
        "Content-Length",
        "Content_Length",
        "Transfer-Encoding",
        "Connection",
        "Keyway-Tenant",
        "keyway_tenant",
        "X-Forwarded-For",
        "Forwarded",
        "X-Request-Id",
        "Upgrade",
    ] {
        let mut catalog = fixture(0).catalog;
        catalog.apis[0].request_headers = remove(name);
        let said = Catalog::check(catalog).expect_err(name).to_string();
        assert!(
            said.starts_with("apis[0].request_headers.remove[0]: "),
            "{said}"
        );
    }
    for name in [
        "Content-Length",
        "Transfer-Encoding",
        "X-Request-Id",
        "RateLimit",
        "Trailer",
    ] {
        let mut catalog = fixture(0).catalog;
        catalog.apis[0].routes[0].response_headers = set(name, "1");
        let said = Catalog::check(catalog).expect_err(name).to_string();
        let place = "apis[0].routes[0].response_headers.set[0].name: ";
        assert!(said.starts_with(place), "{said}");
    }
    each_refused_at([
        ("apis[0].request_headers.set[0].name", |c| {
            c.apis[0].request_headers = set("a b", "1");
        }),
        ("apis[0].request_headers.set[0].value", |c| {
            c.apis[0].request_headers = set("X-A", "a\r\nX-B: c");
        }),
        ("apis[0].request_headers.set[0].value", |c| {
            c.apis[0].request_headers = set("X-A", " a");
        }),
        ("apis[0].request_headers.set[1].name", |c| {
            c.apis[0].request_headers.set = vec![field("X-A", "1"), field("x_a", "2")];
        }),
        ("apis[0].response_headers.set[0].name", |c| {
            c.apis[0].cors = cors("*");
            c.apis[0].response_headers = set("Access-Control-Allow-Origin", "*");
        }),
    ]);
}

#[test]
fn origins() {
    each_refused_at([
        ("apis[0].cors.origins", |c| {
            c.apis[0].cors = Some(Cors::default())
        }),
        ("apis[0].cors.origins[0]", |c| c.apis[0].cors = cors("null")),
        ("apis[0].cors.origins[0]", |c| {
            c.apis[0].cors = cors("app.example.com")
        }),
        ("apis[0].cors.origins[0]", |c| {
            c.apis[0].cors = cors("https://a.test/")
        }),
        ("apis[0].cors.origins[0]", |c| {
            c.apis[0].cors = cors("https://*")
        }),
        ("apis[0].cors.origins[0]", |c| {
            c.apis[0].cors = cors("https://a*.test")
        }),
        ("apis[0].cors.origins[0]", |c| {
            c.apis[0].cors = cors("https://A.test")
        }),
        ("apis[0].cors.credentials", |c| {
            c.apis[0].cors = Some(Cors {
                credentials: true,
                ..cors("*").unwrap_or_default()
            });
        }),
        ("apis[0].cors.expose[0]", |c| {
            c.apis[0].cors = Some(Cors {
                expose: vec!["a\r\n".into()],
                ..cors("*").unwrap_or_default()
            });
        }),
        ("apis[0].cors.max_age_s", |c| {
            c.apis[0].cors = Some(Cors {
                max_age_s: Some(86_401),
                ..cors("*").unwrap_or_default()
            });
        }),
    ]);
}

#[test]
fn own_answers() {
    each_refused_at([
        ("apis[0].routes[0].answer.redirect.status", |c| {
            c.apis[0].routes[0].answer = redirect(200, "/a");
        }),
        ("apis[0].routes[0].answer.redirect.location", |c| {
            c.apis[0].routes[0].answer = redirect(302, "a");
        }),
        ("apis[0].routes[0].answer.redirect.location", |c| {
            c.apis[0].routes[0].answer = redirect(302, "//evil.test");
        }),
        ("apis[0].routes[0].answer.redirect.location", |c| {
            c.apis[0].routes[0].answer = redirect(302, "https://a{host}/");
        }),
        ("apis[0].routes[0].answer.redirect.location", |c| {
            c.apis[0].routes[0].answer = redirect(302, "https://{host}.evil.test/");
        }),
        ("apis[0].routes[0].answer.redirect.location", |c| {
            c.apis[0].routes[0].answer = redirect(302, "https://u@a.test/");
        }),
        ("apis[0].routes[0].answer.redirect.location", |c| {
            c.apis[0].routes[0].answer = redirect(302, "https://a.test/?a=b");
        }),
        ("apis[0].routes[0].answer.redirect.location", |c| {
            c.apis[0].routes[0].answer = redirect(302, "javascript:alert(1)");
        }),
        ("apis[0].routes[0].answer", |c| {
            c.apis[0].response_headers = set("location", "https://evil.test/");
            c.apis[0].routes[0].answer = redirect(302, "/a");
        }),
        ("apis[0].routes[0].answer.respond.status", |c| {
            c.apis[0].routes[0].answer = respond(101, "");
        }),
        ("apis[0].routes[0].answer.respond.body", |c| {
            c.apis[0].routes[0].answer = respond(204, "a");
        }),
        ("apis[0].routes[0].answer.respond.headers[0].name", |c| {
            c.apis[0].routes[0].answer = Some(Answer::Respond(Respond {
                status: 200,
                headers: vec![field("Content-Length", "7")],
                ..Respond::default()
            }));
        }),
        ("apis[0].routes[0].rewrite", |c| {
            c.apis[0].routes[0].answer = respond(200, "a");
            c.apis[0].routes[0].rewrite = rewrite(None, Some("a"));
        }),
    ]);
}

#[test]
fn what_makes_sense_is_taken() {
    let mut catalog = fixture(0).catalog;
    let own = catalog.apis[0].upstream;
    let api = &mut catalog.apis[0];
    api.hosts = vec!["*.example.com".into(), "[::1]".into()];
    api.split = vec![share(own, 9)];
    api.split_by = Some(Affinity::Cookie("user".into()));
    api.cors = cors("https://*.example.com:8443");
    api.request_headers = set("X-A", "");
    api.routes.push(RouteEntry {
        path: "/moved/*".into(),
        answer: redirect(308, "https://{host}:8443/*"),
        ..RouteEntry::default()
    });
    Catalog::check(catalog).expect("it makes sense");
}
