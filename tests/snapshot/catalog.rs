//! A catalog that means nothing sensible is refused with the path of the place that is wrong.

use keyway::route::{ApiIndex, Asked};
use keyway::snapshot::catalog::{
    CONCURRENT_MAX, CalendarUnit, CatalogFile, LIMIT_NUMBER_MAX, LIMITS_MAX, LimitEntry,
    LimitShape, PERIOD_MS_MAX, QUOTA_MAX, REQUESTS_MAX, SampleShare, TIMEOUT_MS_MAX, TenantEntry,
};
use keyway::snapshot::{Catalog, CatalogFile as Written};

use super::fixture;

/// Says what a catalog is refused for after a change.
fn refused(change: impl FnOnce(&mut CatalogFile)) -> String {
    let mut catalog: Written = fixture(0).catalog;
    change(&mut catalog);
    Catalog::check(catalog).expect_err("refused").to_string()
}

/// Makes one thing wrong.
pub(super) type Spoil = fn(&mut CatalogFile);

/// Each change must be refused at that path.
pub(super) fn each_refused_at<const N: usize>(cases: [(&str, Spoil); N]) {
    for (path, change) in cases {
        let said = refused(change);
        assert!(
            said.starts_with(&format!("{path}: ")),
            "{path} expected, {said}"
        );
    }
}

#[test]
fn an_honest_catalog_resolves_every_reference() {
    let catalog = Catalog::check(fixture(0).catalog).expect("honest");
    let found = catalog
        .router
        .find(&Asked {
            host: "any.example",
            path: "/stock/7",
            method: "GET",
            query: None,
            headers: &[],
        })
        .expect("a route");
    let api = catalog.api(found.api);
    assert_eq!(
        (found.api, api.name.as_str(), api.number),
        (ApiIndex(1), "stock", 2)
    );
    let upstream = catalog.upstream(api.upstream);
    assert_eq!(upstream.name, "origin");
    assert_eq!(
        upstream
            .targets
            .iter()
            .map(|target| target.place.to_string())
            .collect::<Vec<_>>(),
        ["127.0.0.1:9000", "[::1]:9001"]
    );
    assert_eq!(catalog.plan_by_number(2).expect("a plan").name, "gold");
    assert_eq!(catalog.plan_by_number(2).expect("a plan").compiled.len(), 1);
    assert_eq!(catalog.tenant_by_number(1).expect("a tenant").name, "acme");
    assert_eq!(catalog.api_by_number(1).expect("an API").name, "orders");
    for number in [0, 3, u32::MAX] {
        assert!(catalog.plan_by_number(number).is_none());
        assert!(catalog.tenant_by_number(number).is_none());
        assert!(catalog.api_by_number(number).is_none());
    }
}

#[test]
fn a_header_is_compared_in_lower_case() {
    let mut written = fixture(0).catalog;
    written.apis[0].credential.header = Some("X-Partner-Key".into());
    let catalog = Catalog::check(written).expect("honest");
    assert_eq!(
        catalog.apis[0].credential.header.as_deref(),
        Some("x-partner-key")
    );
}

#[test]
fn numbers_and_names_are_unique_and_well_formed() {
    each_refused_at([
        ("tenants[1].number", |c| c.tenants[1].number = 1),
        ("tenants[0].number", |c| c.tenants[0].number = 0),
        ("tenants[1].name", |c| c.tenants[1].name = "acme".into()),
        ("tenants[0].name", |c| c.tenants[0].name = String::new()),
        ("tenants[0].name", |c| c.tenants[0].name = "Acme".into()),
        ("tenants[0].name", |c| c.tenants[0].name = "-acme".into()),
        ("tenants[0].name", |c| c.tenants[0].name = "a".repeat(64)),
        ("plans[1].number", |c| c.plans[1].number = 1),
        ("plans[1].name", |c| c.plans[1].name = "free".into()),
        ("plans[1].limits[0].number", |c| {
            c.plans[1].limits[0].number = 1
        }),
        ("plans[1].limits[0].name", |c| {
            c.plans[1].limits[0].name = "a b".into()
        }),
        ("plans[1].limits[1].name", |c| {
            let again = LimitEntry {
                number: 9,
                ..c.plans[1].limits[0].clone()
            };
            c.plans[1].limits.push(again);
        }),
        ("apis[1].number", |c| c.apis[1].number = 1),
        ("apis[1].name", |c| c.apis[1].name = "orders".into()),
        ("upstreams[0].number", |c| c.upstreams[0].number = 0),
        ("upstreams[0].name", |c| c.upstreams[0].name = "\0".into()),
        ("upstreams[1].name", |c| {
            let again = c.upstreams[0].clone();
            c.upstreams.push(again);
            c.upstreams[1].number = 9;
        }),
    ]);
    let mut longest = fixture(0).catalog;
    let name = "0".to_owned() + &"z.-_".repeat(20)[..62];
    longest.tenants.push(TenantEntry {
        number: u32::MAX,
        name,
        enabled: false,
    });
    Catalog::check(longest).expect("63 characters are allowed");
}

fn shape(catalog: &mut CatalogFile, shape: LimitShape) {
    catalog.plans[0].limits[0].shape = shape;
}

fn rate(catalog: &mut CatalogFile, units: u64, period_ms: u64, burst: u64) {
    shape(
        catalog,
        LimitShape::Rate {
            units,
            period_ms,
            burst,
        },
    );
}

fn quota(units: u64, zone: &str) -> LimitShape {
    LimitShape::Quota {
        units,
        window: CalendarUnit::Day,
        zone: zone.into(),
    }
}

#[test]
fn limits_are_within_what_can_be_held() {
    each_refused_at([
        ("plans[0].limits[0].requests", |c| rate(c, 0, 1_000, 1)),
        ("plans[0].limits[0].requests", |c| {
            rate(c, REQUESTS_MAX + 1, 1_000, 1)
        }),
        ("plans[0].limits[0].period_ms", |c| rate(c, 1, 0, 1)),
        ("plans[0].limits[0].period_ms", |c| {
            rate(c, 1, PERIOD_MS_MAX + 1, 1)
        }),
        ("plans[0].limits[0].burst", |c| rate(c, 1, 1_000, 0)),
        ("plans[0].limits[0].burst", |c| rate(c, 1, 1_000, u64::MAX)),
        // Each value is allowed, all of them together are not.
        ("plans[0].limits[0]", |c| {
            rate(c, 1, PERIOD_MS_MAX, REQUESTS_MAX)
        }),
        ("plans[0].limits[0]", |c| rate(c, REQUESTS_MAX, 1, 1)),
        ("plans[0].limits[0].requests", |c| {
            shape(c, quota(QUOTA_MAX + 1, "UTC"))
        }),
        ("plans[0].limits[0].requests", |c| shape(c, quota(0, "UTC"))),
        ("plans[0].limits[0]", |c| shape(c, quota(1, "Nowhere"))),
        ("plans[0].limits[0].concurrent", |c| {
            shape(c, LimitShape::Concurrent { requests: 0 })
        }),
        ("plans[0].limits[0].concurrent", |c| {
            let requests = CONCURRENT_MAX + 1;
            shape(c, LimitShape::Concurrent { requests })
        }),
        ("plans[0].limits[0].number", |c| {
            c.plans[0].limits[0].number = LIMIT_NUMBER_MAX + 1
        }),
        ("apis[0].limits[0].number", |c| {
            // A number names words in the bank, wherever it stands.
            let taken = c.plans[0].limits[0].clone();
            c.apis[0].limits.push(taken);
        }),
        ("plans[0].limits", |c| {
            let like = c.plans[0].limits[0].clone();
            c.plans[0].limits = vec![like; LIMITS_MAX + 1];
        }),
    ]);
}

#[test]
fn apis_can_be_reached_and_served() {
    each_refused_at([
        ("apis[0].version", |c| c.apis[0].version = String::new()),
        ("apis[0].version", |c| c.apis[0].version = "v1\n".into()),
        ("apis[0].hosts[0]", |c| {
            c.apis[0].hosts = vec!["API.example".into()]
        }),
        ("apis[0].hosts[0]", |c| {
            c.apis[0].hosts = vec!["api.example:80".into()]
        }),
        ("apis[0].hosts[0]", |c| {
            c.apis[0].hosts = vec![String::new()]
        }),
        ("apis[0].hosts[0]", |c| {
            c.apis[0].hosts = vec!["a..b".into()]
        }),
        ("apis[0].hosts[1]", |c| {
            c.apis[0].hosts = vec!["a.b".into(), "a.b".into()]
        }),
        ("apis[0].routes", |c| c.apis[0].routes.clear()),
        ("apis[0].routes[0].path", |c| {
            c.apis[0].routes[0].path = "orders".into()
        }),
        ("apis[0].routes[0].methods[0]", |c| {
            c.apis[0].routes[0].methods = vec!["get".into()]
        }),
        ("apis[0].routes[0].methods[1]", |c| {
            c.apis[0].routes[0].methods = vec!["GET".into(), "GET".into()];
        }),
        ("apis[1].upstream", |c| c.apis[1].upstream = 9),
        ("apis[1].routes[0]", |c| {
            c.apis[1].routes[0].path = "/orders/*".into()
        }),
        ("apis[0].credential.header", |c| {
            c.apis[0].credential.header = Some(String::new())
        }),
        ("apis[0].credential.header", |c| {
            c.apis[0].credential.header = Some("a b".into())
        }),
        ("apis[0].credential.header", |c| {
            c.apis[0].credential.header = Some("Host".into())
        }),
        ("apis[0].credential.header", |c| {
            c.apis[0].credential.header = Some("Keyway-App".into())
        }),
        ("apis[0].credential.query", |c| {
            c.apis[0].credential.query = Some("a=b".into())
        }),
        ("apis[0].credential.query", |c| {
            c.apis[0].credential.query = Some(String::new())
        }),
        ("apis[0].log.sample", |c| {
            c.apis[0].log.sample = Some(SampleShare::from(-1.0))
        }),
        ("apis[0].log.headers[0]", |c| {
            c.apis[0].log.headers = vec!["a b".into()]
        }),
        ("apis[0].log.headers", |c| {
            c.apis[0].log.headers = (0..33).map(|i| format!("x-{i}")).collect()
        }),
        ("apis[0].log.mask_query[0]", |c| {
            c.apis[0].log.query = true;
            c.apis[0].log.mask_query = vec!["a*b".into()]
        }),
        ("apis[0].log.mask_headers", |c| {
            c.apis[0].log.mask_headers = vec!["a".into()]
        }),
    ]);
}

#[test]
fn upstreams_can_be_connected_to() {
    each_refused_at([
        ("upstreams[0].targets", |c| c.upstreams[0].targets.clear()),
        ("upstreams[0].targets[0]", |c| {
            c.upstreams[0].targets[0] = "origin..internal:9000".into()
        }),
        ("upstreams[0].targets[0]", |c| {
            c.upstreams[0].targets[0] = "127.0.0.1".into()
        }),
        ("upstreams[0].targets[0]", |c| {
            c.upstreams[0].targets[0] = "127.0.0.1:0".into()
        }),
        ("upstreams[0].targets[1]", |c| {
            c.upstreams[0].targets[1] = "127.0.0.1:9000".into()
        }),
        ("upstreams[0].connect_timeout_ms", |c| {
            c.upstreams[0].connect_timeout_ms = 0
        }),
        ("upstreams[0].response_timeout_ms", |c| {
            c.upstreams[0].response_timeout_ms = TIMEOUT_MS_MAX + 1;
        }),
    ]);
}

#[test]
fn the_writer_refuses_what_a_node_would() {
    let directory = tempfile::tempdir().unwrap();
    let mut wrong = fixture(2);
    wrong.catalog.upstreams[0].targets.clear();
    let said = wrong
        .publish(directory.path(), 1)
        .expect_err("refused")
        .to_string();
    assert_eq!(
        said,
        "the catalog is wrong at upstreams[0].targets: needs at least one target"
    );

    for (what, change) in [
        (
            "app 1: no tenant has number 9",
            (|f| f.apps[0].tenant = 9) as fn(&mut super::Fixture),
        ),
        ("app 1: its name is not well-formed", |f| {
            f.apps[0].name = "A".into()
        }),
        ("app 2: its grants must name each API once", |f| {
            let again = f.apps[1].grants[0];
            f.apps[1].grants.push(again);
        }),
        ("app 1: no API has number 7", |f| {
            f.apps[0].grants[0].api = 7
        }),
        ("app 1: no plan has number 7", |f| {
            f.apps[0].grants[0].plan = 7
        }),
        ("app 1: numbers must ascend", |f| f.apps[1].number = 1),
        ("app 0: numbers must ascend", |f| f.apps[0].number = 0),
        ("key key_0000000000002: no app has number 7", |f| {
            f.keys[1].app = 7
        }),
        ("key key_0000000000001: its number is zero", |f| {
            f.keys[0].number = 0
        }),
        ("digests must ascend, none twice", |f| {
            f.keys[1].digest = f.keys[0].digest
        }),
    ] {
        let mut wrong = fixture(2);
        change(&mut wrong);
        let said = wrong
            .publish(directory.path(), 1)
            .expect_err("refused")
            .to_string();
        assert!(said.contains(what), "{what} expected, {said}");
    }
}
