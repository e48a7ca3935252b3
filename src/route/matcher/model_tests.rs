//! The router beside a naive one that looks at every route, and the bound on its work.

use proptest::prelude::*;

use super::tests::{asked, entry};
use super::*;
use crate::route::path::check_path;
use crate::snapshot::catalog::{Condition, VersionHeader};

/// One API with one route.
#[derive(Clone, Debug)]
struct Written {
    host: &'static str,
    path: String,
    methods: &'static [&'static str],
    headers: Vec<Condition>,
    query: Vec<Condition>,
}

fn api(written: &Written) -> ApiEntry {
    let hosts: Vec<String> = Some(written.host)
        .filter(|host| !host.is_empty())
        .map(str::to_owned)
        .into_iter()
        .collect();
    ApiEntry {
        hosts,
        routes: vec![RouteEntry {
            path: written.path.clone(),
            methods: written.methods.iter().map(|m| (*m).to_owned()).collect(),
            headers: written.headers.clone(),
            query: written.query.clone(),
            ..RouteEntry::default()
        }],
        ..ApiEntry::default()
    }
}

fn router(apis: &[ApiEntry]) -> Result<Router, RouteError> {
    Router::build((0..).map(ApiIndex).zip(apis))
}

fn condition() -> impl Strategy<Value = Condition> {
    let values = prop::sample::select(&["1", "12", "2"][..]);
    (prop::sample::select(&["x-a", "x-b"][..]), values, 0..3).prop_map(|(name, value, test)| {
        Condition {
            name: name.to_owned(),
            exact: (test == 0).then(|| value.to_owned()),
            prefix: (test == 1).then(|| value.to_owned()),
        }
    })
}

fn conditions() -> impl Strategy<Value = Vec<Condition>> {
    let all = prop::collection::vec(condition(), 0..3);
    all.prop_map(|mut all| {
        all.sort_by(|left, right| left.name.cmp(&right.name));
        all.dedup_by(|left, right| left.name == right.name);
        all
    })
}

fn path(
    segments: &'static [&'static str],
    ends: &'static [&'static str],
) -> impl Strategy<Value = String> {
    let segments = prop::collection::vec(prop::sample::select(segments), 0..4);
    (segments, prop::sample::select(ends)).prop_map(|(segments, end)| {
        let path: String = segments.iter().flat_map(|segment| ["/", segment]).collect();
        match path + end {
            path if path.is_empty() => "/".to_owned(),
            path => path,
        }
    })
}

const METHODS: &[&[&str]] = &[&[], &["GET"], &["PUT", "HEAD"], &["PUT", "GET"]];

fn written() -> impl Strategy<Value = Written> {
    (
        prop::sample::select(&["", "a.x", "*.x", "*.b.x", "c.b.x"][..]),
        path(&["a", "b", "{p}"], &["", "/", "/*"]),
        prop::sample::select(METHODS),
        conditions(),
        conditions(),
    )
        .prop_map(|(host, path, methods, headers, query)| Written {
            host,
            path,
            methods,
            headers,
            query,
        })
}

type Sent = (
    &'static str,
    String,
    &'static str,
    Vec<(&'static str, &'static str)>,
    String,
);

fn sent() -> impl Strategy<Value = Sent> {
    let pair = || {
        let values = prop::sample::select(&["1", "12", "2", "3"][..]);
        (prop::sample::select(&["x-a", "x-b", "X-A"][..]), values)
    };
    let query = prop::collection::vec(pair(), 0..3).prop_map(|pairs| {
        let pairs: Vec<String> = pairs
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join("&")
    });
    (
        prop::sample::select(&["a.x", "A.X", "b.x", "c.b.x", "d.c.b.x", "x", "other"][..]),
        path(&["a", "b", "c"], &["", "/"]),
        prop::sample::select(&["GET", "PUT", "HEAD", "POST"][..]),
        prop::collection::vec(pair(), 0..3),
        query,
    )
}

/// 0 for the host itself, more for wider ones; `None` if it is another one.
fn host_rank(written: &str, host: &str) -> Option<usize> {
    let host = host.to_ascii_lowercase();
    match written.strip_prefix('*') {
        None if written.is_empty() => Some(1_000),
        None => (written == host).then_some(0),
        Some(suffix) => {
            (host.len() > suffix.len() && host.ends_with(suffix)).then_some(500 - suffix.len())
        }
    }
}

fn holds(condition: &Condition, values: &[&str]) -> bool {
    let same = values.windows(2).all(|pair| pair[0] == pair[1]);
    match (&condition.exact, &condition.prefix, values.first()) {
        (_, _, None) => false,
        (Some(exact), _, Some(value)) => same && value == exact,
        (_, Some(prefix), Some(value)) => same && value.starts_with(prefix.as_str()),
        (None, None, Some(_)) => true,
    }
}

/// The answer by the rules of the module's text, from all routes.
fn naive(all: &[Written], sent: &Sent) -> String {
    let (host, path, method, headers, query) = sent;
    let ranked = all.iter().enumerate().filter_map(|(place, one)| {
        let host = host_rank(one.host, host)?;
        let path = super::tests::path_rank(&one.path, path)?;
        Some(((host, path), place))
    });
    let ranked: Vec<_> = ranked.collect();
    let Some(best) = ranked.iter().map(|(rank, _)| rank).min() else {
        return "-".to_owned();
    };
    let takes = |one: &Written| {
        let head = *method == "HEAD" && one.methods.contains(&"GET");
        one.methods.is_empty() || one.methods.contains(method) || head
    };
    let here: Vec<usize> = ranked
        .iter()
        .filter(|(rank, place)| rank == best && takes(&all[*place]))
        .map(|(_, place)| *place)
        .collect();
    if here.is_empty() {
        return "405".to_owned();
    }
    let header_values = |name: &str| -> Vec<&str> {
        let named = headers
            .iter()
            .filter(|(own, _)| own.eq_ignore_ascii_case(name));
        named.map(|(_, value)| *value).collect()
    };
    let query_values = |name: &str| -> Vec<&str> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(own, _)| *own == name)
            .map(|(_, value)| value)
            .collect()
    };
    let fits = |one: &Written| {
        one.headers
            .iter()
            .all(|c| holds(c, &header_values(&c.name)))
            && one.query.iter().all(|c| holds(c, &query_values(&c.name)))
    };
    let count = |one: &Written, is: fn(&Condition) -> bool| {
        one.headers
            .iter()
            .chain(&one.query)
            .filter(|c| is(c))
            .count()
    };
    let rank = |place: &usize| {
        let one = &all[*place];
        let exact = count(one, |c| c.exact.is_some());
        let prefix = count(one, |c| c.prefix.is_some());
        (
            one.headers.len() + one.query.len(),
            one.headers.len(),
            exact,
            prefix,
            usize::MAX - place,
        )
    };
    let chosen = here
        .into_iter()
        .filter(|place| fits(&all[*place]))
        .max_by_key(rank);
    chosen.map_or("-".to_owned(), |place| place.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_router_finds_what_a_look_at_every_route_finds(
        wanted in prop::collection::vec(written(), 1..24),
        requests in prop::collection::vec(sent(), 1..24),
    ) {
        let (mut all, mut apis) = (Vec::new(), Vec::new());
        for one in wanted {
            apis.push(api(&one));
            // What collides with an earlier one is left out.
            if router(&apis).is_ok() {
                all.push(one);
            } else {
                apis.pop();
            }
        }
        let router = router(&apis).expect("each was tried");
        for sent in &requests {
            let (host, path, method, headers, query) = sent;
            let headers: Vec<Header<'_>> = headers
                .iter()
                .map(|(name, value)| Header { name, value: value.as_bytes() })
                .collect();
            let asked = Asked { headers: &headers, query: Some(query), ..asked(host, path, method) };
            let found = match router.find(&asked) {
                Ok(route) => route.api.0.to_string(),
                Err(NoRoute::Method(_)) => "405".to_owned(),
                Err(NoRoute::Unknown | NoRoute::Version) => "-".to_owned(),
            };
            prop_assert_eq!(found, naive(&all, sent), "{:?} in {:#?}", sent, all);
        }
    }

    #[test]
    fn no_request_makes_a_search_longer_than_was_counted(
        wanted in prop::collection::vec(written(), 1..40),
        paths in prop::collection::vec(path(&["a", "b", "c"], &["", "/"]), 1..24),
    ) {
        let mut apis: Vec<ApiEntry> = Vec::new();
        for one in wanted {
            apis.push(api(&Written { host: "", headers: Vec::new(), query: Vec::new(), ..one }));
            if router(&apis).is_err() {
                apis.pop();
            }
        }
        let router = router(&apis).expect("each was tried");
        for path in &paths {
            prop_assert!(steps(&router, path) <= router.nodes[ANY_HOST].steps, "{}", path);
        }
    }
}

/// How many places a search for `path` on any host looks at, as [`Router::descend`] goes.
fn steps(router: &Router, path: &str) -> u32 {
    fn go(router: &Router, node: NodeIndex, path: &Cut<'_>, place: usize) -> (bool, u32) {
        let here = &router.nodes[node];
        let Some(segment) = path.segment(place) else {
            return (here.exact.is_some() || here.rest.is_some(), 1);
        };
        let mut steps = 1;
        let literal = router.literal(node, segment, path.has_escapes);
        let parameter = here.parameter.filter(|_| !segment.is_empty());
        for next in [literal, parameter].into_iter().flatten() {
            let (found, more) = go(router, next, path, place + 1);
            steps += more;
            if found {
                return (true, steps);
            }
        }
        (here.rest.is_some(), steps)
    }
    assert_eq!(check_path(path), Ok(()));
    let mut ends: Ends = [0; SEGMENTS_MAX + 2];
    let cut = Cut::new(&path.as_bytes()[1..], &mut ends);
    go(router, ANY_HOST, &cut, 0).1
}

fn one_api(paths: impl Iterator<Item = String>) -> ApiEntry {
    ApiEntry {
        routes: paths.map(|path| entry(&path)).collect(),
        ..ApiEntry::default()
    }
}

#[test]
fn ten_thousand_routes_are_searched_as_fast_as_ten() {
    let catalog = |routes: u32| {
        let paths = (0..routes).map(|route| format!("/orders{route}/{{id}}/lines"));
        router(&[one_api(paths)]).expect("they differ")
    };
    let (few, many) = (catalog(10), catalog(10_000));
    for path in [
        "/orders7/1/lines",
        "/orders7/1/other",
        "/other",
        "/orders7/1/lines/2/3",
    ] {
        assert_eq!(steps(&few, path), steps(&many, path), "{path}");
    }
}

#[test]
fn a_catalog_that_makes_a_search_double_at_each_segment_is_refused() {
    // Every mix of a literal and a parameter, `depth` segments long, and an end that does not come.
    let mixed = |depth: u32| {
        (0..1_u32 << depth).map(move |mix| {
            let segment = |bit: u32| if mix >> bit & 1 == 0 { "/a" } else { "/{p}" };
            (0..depth).map(segment).chain(["/end"]).collect::<String>()
        })
    };
    let wide = router(&[one_api(mixed(6))]).expect("191 places");
    assert_eq!(steps(&wide, "/a/a/a/a/a/a/b"), 127);
    let refused = router(&[one_api(mixed(7))]).unwrap_err().to_string();
    assert!(
        refused.contains("].path: with the routes before it"),
        "{refused}"
    );
}

#[test]
fn a_segment_longer_than_any_literal_is_not_looked_up() {
    let router = router(&[one_api(["/a/x", "/{p}/y"].map(str::to_owned).into_iter())]).unwrap();
    let long = format!("/{}/y", "a".repeat(8_000));
    assert!(router.find(&asked("h", &long, "GET")).is_ok());
    let deep = "/a".repeat(4_000);
    assert_eq!(
        router.find(&asked("h", &deep, "GET")),
        Err(NoRoute::Unknown)
    );
}

/// An API whose version stands in `place`.
fn versioned(version: &str, place: VersionPlace) -> ApiEntry {
    ApiEntry {
        version: version.to_owned(),
        version_in: Some(place),
        ..one_api(["/orders/{id}".to_owned()].into_iter())
    }
}

fn in_header(version: &str, default: bool) -> ApiEntry {
    let name = "Api-Version".to_owned();
    versioned(
        version,
        VersionPlace::Header(VersionHeader { name, default }),
    )
}

#[test]
fn a_version_is_told_by_the_first_segment() {
    let router = router(&[
        versioned("v1", VersionPlace::Path),
        versioned("v2", VersionPlace::Path),
    ])
    .expect("they differ");
    for (path, expected) in [
        ("/v1/orders/1", Some(0)),
        ("/v2/orders/1", Some(1)),
        ("/v%32/orders/1", Some(1)),
        ("/v3/orders/1", None),
        ("/orders/1", None),
    ] {
        let found = router.find(&asked("h", path, "GET")).ok();
        assert_eq!(found.map(|found| found.api.0), expected, "{path}");
    }
    for version in ["v 1", "{v}", "*", "a/b", ".."] {
        let refused =
            Router::build([(ApiIndex(0), &versioned(version, VersionPlace::Path))].into_iter());
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.starts_with("apis[0].version: "),
            "{version}: {refused}"
        );
    }
}

#[test]
fn a_version_is_told_by_its_header() {
    let router = router(&[in_header("1", true), in_header("2", false)]).expect("they differ");
    let found = |values: &[&str]| {
        let headers: Vec<Header<'_>> = values
            .iter()
            .map(|value| Header {
                name: "api-version",
                value: value.as_bytes(),
            })
            .collect();
        let asked = Asked {
            headers: &headers,
            ..asked("h", "/orders/7", "GET")
        };
        router.find(&asked).map(|found| found.api.0)
    };
    assert_eq!(found(&["1"]), Ok(0));
    assert_eq!(found(&["2"]), Ok(1));
    assert_eq!(found(&[]), Ok(0));
    assert_eq!(found(&["3"]), Err(NoRoute::Version));
    assert_eq!(found(&["1", "2"]), Err(NoRoute::Version));
}

#[test]
fn one_version_at_most_is_the_default_and_each_has_a_name_of_its_own() {
    for pair in [
        [in_header("1", true), in_header("2", true)],
        [in_header("1", true), in_header("1", false)],
    ] {
        let refused = router(&pair).unwrap_err().to_string();
        assert!(
            refused.starts_with("apis[1].routes[0]: claims "),
            "{refused}"
        );
    }
}

#[test]
fn few_routes_may_share_a_host_path_and_method() {
    let with = |count: usize| {
        let route = |value: usize| RouteEntry {
            headers: vec![Condition {
                name: "X-A".to_owned(),
                exact: Some(value.to_string()),
                prefix: None,
            }],
            ..entry("/orders")
        };
        router(&[ApiEntry {
            routes: (0..count).map(route).collect(),
            ..ApiEntry::default()
        }])
    };
    assert!(with(64).is_ok());
    let refused = with(65).unwrap_err().to_string();
    assert!(
        refused.starts_with("apis[0].routes[64]: more than 64 routes"),
        "{refused}"
    );
}

#[test]
fn hosts_times_routes_are_bounded() {
    let api = ApiEntry {
        hosts: (0..64).map(|host| format!("h{host}.test")).collect(),
        ..one_api((0..4_097).map(|route| format!("/r{route}")))
    };
    let refused = router(&[api]).unwrap_err().to_string();
    assert!(
        refused.starts_with("apis[0].hosts: with the APIs"),
        "{refused}"
    );
}
