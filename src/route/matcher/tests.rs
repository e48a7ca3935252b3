//! What the router finds, what it refuses to compile, and that it agrees with simpler models.

use proptest::prelude::*;

use super::*;

/// One API: its hosts and its routes, each written `GET,POST /path` or `/path` for every method.
type Written<'a> = (&'a [&'a str], &'a [&'a str]);

pub(super) fn entry(route: &str) -> RouteEntry {
    let (methods, path) = route.split_once(' ').unwrap_or(("", route));
    let methods = methods
        .split(',')
        .filter(|method| !method.is_empty())
        .map(str::to_owned);
    RouteEntry {
        path: path.to_owned(),
        methods: methods.collect(),
        ..RouteEntry::default()
    }
}

fn build(apis: &[Written<'_>]) -> Result<Router, RouteError> {
    let apis: Vec<ApiEntry> = apis
        .iter()
        .map(|(hosts, routes)| ApiEntry {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            routes: routes.iter().map(|route| entry(route)).collect(),
            ..ApiEntry::default()
        })
        .collect();
    Router::build((0..).map(ApiIndex).zip(&apis))
}

/// A request without query and headers.
pub(super) fn asked<'r>(host: &'r str, path: &'r str, method: &'r str) -> Asked<'r> {
    Asked {
        host,
        path,
        method,
        query: None,
        headers: &[],
    }
}

/// The API and route found, as `api.route`; `-` for none; `405: methods`.
fn found(router: &Router, host: &str, path: &str, method: &str) -> String {
    match router.find(&asked(host, path, method)) {
        Ok(route) => format!("{}.{}", route.api.0, route.route),
        Err(NoRoute::Version) => "version".to_owned(),
        Err(NoRoute::Unknown) => "-".to_owned(),
        Err(NoRoute::Method(allow)) => format!("405: {allow}"),
    }
}

fn check(apis: &[Written<'_>], expectations: &[(&str, &str)]) {
    let router = build(apis).unwrap();
    for (path, expected) in expectations {
        assert_eq!(
            found(&router, "any.example", path, "GET"),
            *expected,
            "{path}"
        );
    }
}

#[test]
fn a_plain_path_matches_itself_only() {
    check(
        &[(&[], &["/orders", "/orders/open", "/"])],
        &[
            ("/orders", "0.0"),
            ("/orders/open", "0.1"),
            ("/", "0.2"),
            ("/orders/", "-"),
            ("/order", "-"),
            ("/orders2", "-"),
            ("/Orders", "-"),
            ("/orders/open/x", "-"),
            ("*", "-"),
            ("", "-"),
        ],
    );
}

#[test]
fn a_parameter_matches_one_whole_segment_that_is_not_empty() {
    check(
        &[(&[], &["/orders/{id}", "/orders/{id}/lines"])],
        &[
            ("/orders/5", "0.0"),
            ("/orders/a%20b", "0.0"),
            ("/orders/5/lines", "0.1"),
            ("/orders", "-"),
            ("/orders/", "-"),
            ("/orders//lines", "-"),
            ("/orders/5/", "-"),
            ("/orders/5/lines/1", "-"),
        ],
    );
}

#[test]
fn a_prefix_matches_at_a_segment_boundary() {
    check(
        &[(&[], &["/orders/*"])],
        &[
            ("/orders", "0.0"),
            ("/orders/", "0.0"),
            ("/orders/5", "0.0"),
            ("/orders/5/lines/", "0.0"),
            ("/orders2", "-"),
            ("/orders2/5", "-"),
            ("/order", "-"),
            ("/", "-"),
        ],
    );
    check(
        &[(&[], &["/*"])],
        &[("/", "0.0"), ("/a", "0.0"), ("/a/b/", "0.0")],
    );
}

#[test]
fn the_most_specific_pattern_wins_read_from_the_left() {
    check(
        &[(
            &[],
            &[
                "/*",
                "/orders/*",
                "/orders/{id}",
                "/orders/open",
                "/{kind}/{id}",
                "/orders",
            ],
        )],
        &[
            ("/orders/open", "0.3"),
            ("/orders/5", "0.2"),
            ("/orders/5/lines", "0.1"),
            ("/orders/", "0.1"),
            ("/orders", "0.5"),
            ("/refunds/5", "0.4"),
            ("/refunds", "0.0"),
            ("/refunds/5/lines", "0.0"),
        ],
    );
}

#[test]
fn the_search_steps_back_from_a_branch_that_leads_nowhere() {
    check(
        &[(&[], &["/a/b/c", "/a/{x}/d", "/{y}/b/e", "/a/*"])],
        &[
            ("/a/b/c", "0.0"),
            ("/a/b/d", "0.1"),
            ("/z/b/e", "0.2"),
            ("/a/b/e", "0.3"),
        ],
    );
    check(
        &[(&[], &["/{a}/{b}/x", "/{a}/*"])],
        &[("/1/2/x", "0.0"), ("/1/2/y", "0.1")],
    );
}

#[test]
fn a_hosts_own_tree_wins_and_any_host_is_the_fallback() {
    let router = build(&[
        (&[], &["/*"]),
        (&["api.example.com", "api.example.net"], &["GET /orders/*"]),
        (&["[::1]"], &["/"]),
    ])
    .unwrap();
    for (host, path, method, expected) in [
        ("api.example.com", "/orders/5", "GET", "1.0"),
        ("API.Example.COM", "/orders/5", "GET", "1.0"),
        ("api.example.com.", "/orders/5", "GET", "1.0"),
        ("api.example.net", "/orders/5", "GET", "1.0"),
        ("api.example.com", "/other", "GET", "0.0"),
        ("api.example.com", "/orders/5", "PUT", "405: GET, HEAD"),
        ("example.com", "/orders/5", "PUT", "0.0"),
        ("", "/orders/5", "GET", "0.0"),
        ("[::1]", "/", "GET", "2.0"),
    ] {
        assert_eq!(
            found(&router, host, path, method),
            expected,
            "{method} {host}{path}"
        );
    }
    let long = "a".repeat(5000);
    assert_eq!(found(&router, &long, "/", "GET"), "0.0");
}

#[test]
fn methods_pick_among_the_routes_of_a_path() {
    let router = build(&[
        (&[], &["GET /orders", "POST,PUT /orders"]),
        (&[], &["DELETE /orders", "PURGE /orders/{id}", "/orders/*"]),
    ])
    .unwrap();
    for (path, method, expected) in [
        ("/orders", "GET", "0.0"),
        ("/orders", "HEAD", "0.0"),
        ("/orders", "PUT", "0.1"),
        ("/orders", "DELETE", "1.0"),
        ("/orders", "PATCH", "405: DELETE, GET, HEAD, POST, PUT"),
        ("/orders", "get", "405: DELETE, GET, HEAD, POST, PUT"),
        ("/orders/5", "PURGE", "1.1"),
        // The path has picked its pattern; a more general one does not take over.
        ("/orders/5", "GET", "405: PURGE"),
        ("/orders/5/x", "ANY-THING", "1.2"),
    ] {
        assert_eq!(
            found(&router, "h", path, method),
            expected,
            "{method} {path}"
        );
    }
}

#[test]
fn an_escaped_spelling_cannot_slip_past_a_specific_route() {
    check(
        &[(
            &[],
            &[
                "/orders/*",
                "/orders/admin",
                "/things:purge",
                "/{any}",
                "/caf%C3%A9/x",
            ],
        )],
        &[
            ("/orders/admin", "0.1"),
            ("/orders/%61dmin", "0.1"),
            ("/%6f%72ders/%61%64%6d%69%6e", "0.1"),
            ("/things%3Apurge", "0.2"),
            ("/things%3apurge", "0.2"),
            ("/caf%c3%a9/x", "0.4"),
            ("/orders/admi%6e2", "0.0"),
            ("/things%253Apurge", "0.3"),
        ],
    );
    // A segment longer than any literal is none, escaped or not.
    let router = build(&[(&[], &["/a", "/{any}"])]).unwrap();
    assert_eq!(
        found(&router, "h", &format!("/{}", "%61".repeat(4000)), "GET"),
        "0.1"
    );
}

#[test]
fn two_claims_on_the_same_path_and_method_name_both() {
    for (apis, message) in [
        (
            &[
                (&[][..], &["/x", "GET /orders"][..]),
                (&[], &["POST,GET /orders"]),
            ][..],
            "apis[1].routes[0]: claims /orders like apis[0].routes[1], with a method and a host in common and no condition that tells them apart",
        ),
        (
            &[(&[], &["GET /o/{a}"]), (&[], &["HEAD /o/{b}"])],
            "apis[1].routes[0]: claims /o/{b} like apis[0].routes[0], with a method and a host in common and no condition that tells them apart",
        ),
        (
            &[(&[], &["/o/*"]), (&[], &["PUT /o/*"])],
            "apis[1].routes[0]: claims /o/* like apis[0].routes[0], with a method and a host in common and no condition that tells them apart",
        ),
        (
            &[(&[], &["PUT /o"]), (&[], &["/o"])],
            "apis[1].routes[0]: claims /o like apis[0].routes[0], with a method and a host in common and no condition that tells them apart",
        ),
        (
            &[(&[], &["/o", "/%6f"])],
            "apis[0].routes[1]: claims /%6f like apis[0].routes[0], with a method and a host in common and no condition that tells them apart",
        ),
        (
            &[(&["a", "b"], &["/o"]), (&["c", "b"], &["/o"])],
            "apis[1].routes[0]: claims /o like apis[0].routes[0], with a method and a host in common and no condition that tells them apart",
        ),
    ] {
        assert_eq!(build(apis).unwrap_err().to_string(), message);
    }
}

#[test]
fn claims_that_do_not_overlap_live_side_by_side() {
    for apis in [
        &[(&["a"][..], &["/o"][..]), (&["b"], &["/o"]), (&[], &["/o"])][..],
        &[(&[], &["GET /o"]), (&[], &["POST /o"])],
        &[(&[], &["/o", "/o/", "/o/*", "/o/{x}"])],
        &[(&["a", "a"], &["/o", "GET,HEAD,GET /p"])],
    ] {
        assert!(build(apis).is_ok(), "{apis:?}");
    }
}

#[test]
fn faults_are_named_by_their_place() {
    for (apis, message) in [
        (
            &[(&["a", "B"][..], &["/"][..])][..],
            "apis[0].hosts[1]: a host is a name in lower case without port, or `*.` before one",
        ),
        (
            &[(&[], &["/"]), (&[], &["/a", "b"])],
            "apis[1].routes[1].path: a path begins with `/`",
        ),
        (
            &[(&[], &["GET,get /"])],
            "apis[0].routes[0].methods[1]: a method is upper case, and neither CONNECT nor TRACE",
        ),
    ] {
        assert_eq!(build(apis).unwrap_err().to_string(), message);
    }
}

#[test]
fn a_router_without_routes_knows_nothing() {
    let router = Router::default();
    assert_eq!(router.find(&asked("h", "/", "GET")), Err(NoRoute::Unknown));
}

/// How well a pattern fits a path: its segments are, from the left, literal before parameter before
/// rest; a path that ends is best matched exactly. `None` if it does not match.
pub(in crate::route) fn path_rank(pattern: &str, path: &str) -> Option<Vec<u8>> {
    let mut ranks = Vec::new();
    let mut wanted = pattern[1..].split('/');
    for segment in path[1..].split('/') {
        match wanted.next() {
            Some("*") => {
                ranks.push(2);
                return Some(ranks);
            }
            Some(name) if name.starts_with('{') && !segment.is_empty() => ranks.push(1),
            Some(text) if text == segment => ranks.push(0),
            _ => return None,
        }
    }
    match wanted.next() {
        None => ranks.push(0),
        Some("*") => ranks.push(1),
        Some(_) => return None,
    }
    Some(ranks)
}

/// The specificity order as a plain rule.
fn naive(patterns: &[String], path: &str) -> Option<usize> {
    let matching = patterns
        .iter()
        .enumerate()
        .filter_map(|(place, pattern)| Some((path_rank(pattern, path)?, place)));
    matching.min().map(|(_, place)| place)
}

fn segment() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["a", "b", "ab", "{p}"][..])
}

fn some_pattern() -> impl Strategy<Value = String> {
    let segments = prop::collection::vec(segment(), 0..4);
    (segments, prop::sample::select(&["", "/", "/*"][..])).prop_map(|(segments, end)| {
        let path: String = segments
            .iter()
            .map(|segment| format!("/{segment}"))
            .collect();
        if path.is_empty() && end.is_empty() {
            "/".to_owned()
        } else {
            path + end
        }
    })
}

fn some_path() -> impl Strategy<Value = String> {
    let segments = prop::collection::vec(prop::sample::select(&["a", "b", "ab", "c"][..]), 0..5);
    (segments, any::<bool>()).prop_map(|(segments, slash)| {
        let path: String = segments
            .iter()
            .map(|segment| format!("/{segment}"))
            .collect();
        if path.is_empty() || slash {
            path + "/"
        } else {
            path
        }
    })
}

proptest! {
    #[test]
    fn the_tree_finds_what_the_naive_rule_finds(
        patterns in prop::collection::btree_set(some_pattern(), 1..12),
        paths in prop::collection::vec(some_path(), 1..20),
    ) {
        let patterns: Vec<String> = patterns.into_iter().collect();
        let routes: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let router = build(&[(&[], &routes)]).unwrap();
        for path in &paths {
            let tree = router.find(&asked("h", path, "GET")).ok().map(|route| usize::from(route.route));
            prop_assert_eq!(tree, naive(&patterns, path), "{} in {:?}", path, patterns);
        }
    }

    /// matchit is a router that others trust. It refuses a parameter beside a rest and does not
    /// match a rest that is empty, so the comparison is over patterns without rests.
    #[test]
    fn the_tree_agrees_with_matchit_where_both_have_a_word(
        patterns in prop::collection::btree_set(some_pattern(), 1..12),
        paths in prop::collection::vec(some_path(), 1..20),
    ) {
        let patterns: Vec<String> =
            patterns.into_iter().filter(|pattern| !pattern.contains('*')).collect();
        let routes: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let router = build(&[(&[], &routes)]).unwrap();
        let mut reference = matchit::Router::new();
        for (place, pattern) in patterns.iter().enumerate() {
            let mut names = 0;
            let name = |segment: &str| {
                names += 1;
                segment.replace("{p}", &format!("{{p{names}}}"))
            };
            let named: Vec<String> = pattern.split('/').map(name).collect();
            reference.insert(named.join("/"), place).unwrap();
        }
        for path in &paths {
            let tree = router.find(&asked("h", path, "GET")).ok().map(|route| usize::from(route.route));
            let theirs = reference.at(path).ok().map(|found| *found.value);
            prop_assert_eq!(tree, theirs, "{} in {:?}", path, patterns);
        }
    }
}
