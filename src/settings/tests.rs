//! What settings accept, what they refuse, and in which words.

use super::*;
use crate::accept::hops::HopField;
use proptest::prelude::*;

const LEAST: &str = r#"
    listen = ["127.0.0.1:8080"]
    pepper = [{ id = 1, file = "pepper.hex" }]
    snapshot.directory = "snapshots"
"#;

fn parse(text: &str) -> Result<Settings, SettingsError> {
    Settings::parse(text, Path::new("/etc/keyway"))
}

/// The least settings and these lines, which must be usable.
fn with(lines: &str) -> Settings {
    parse(&format!("{LEAST}\n{lines}")).expect("these settings are usable")
}

/// All problems of the least settings and these lines.
fn problems(lines: &str) -> Vec<String> {
    match parse(&format!("{LEAST}\n{lines}")) {
        Err(SettingsError::Unusable(problems)) => problems.iter().map(Problem::to_string).collect(),
        other => panic!("expected unusable settings, got {other:?}"),
    }
}

#[test]
fn the_least_settings_get_defaults_for_everything_else() {
    let settings = with("");
    let plain = ListenerSettings {
        address: "127.0.0.1:8080".parse().expect("is an address"),
        tls: false,
        proxy_protocol: false,
    };
    assert_eq!(settings.listen, [plain]);
    assert_eq!(settings.tls, None);
    assert!(settings.workers >= 1 && !settings.node.is_empty());
    assert_eq!(settings.driver, DriverChoice::Auto);
    assert_eq!(settings.admin.listen.to_string(), "127.0.0.1:9901");
    assert_eq!(settings.snapshot.keys_lost_max_percent, 50);
    assert_eq!(settings.link.socket, None);
    assert_eq!(settings.state.directory, None);
    assert_eq!(settings.state.usage_bytes_max, 1 << 30);
    assert_eq!(settings.access_log, AccessLog::Off);
    assert_eq!(settings.http, HttpLimits::default());
    assert_eq!(settings.overload, OverloadLimits::default());
}

#[test]
fn what_has_to_survive_the_process_lies_where_the_settings_say() {
    let settings = with("[state]\ndirectory = \"state\"\nusage_bytes_max = 1048576");
    assert_eq!(
        settings.state,
        StateSettings {
            directory: Some("/etc/keyway/state".into()),
            usage_bytes_max: 1 << 20,
        }
    );
}

#[test]
fn every_setting_can_be_written() {
    let settings = with(
        r#"
        node = "edge-1"
        workers = 3
        driver = "epoll"
        [admin]
        listen = "[::1]:9000"
        [link]
        socket = "/run/keyway/control.sock"
        [access_log]
        file = "access.log"
        [http]
        head_bytes_max = 4096
        target_bytes_max = 1024
        headers_max = 50
        head_timeout_ms = 1
        body_timeout_ms = 2
        idle_timeout_ms = 3
        write_timeout_ms = 4
        tunnel_idle_timeout_ms = 15
        body_bytes_max = 5
        drain_bytes_max = 6
        drain_timeout_ms = 7
        body_rate_min_bytes_per_s = 11
        answer_rate_min_bytes_per_s = 12
        rate_window_ms = 13
        connections_max = 8
        connections_per_address_max = 14
        upstream_idle_max = 9
        trusted_proxies = ["10.0.0.7", "fd00::1/8"]
        trusted_proxies_header = "forwarded"
        upstream_idle_timeout_ms = 10
        "#,
    );
    assert_eq!((settings.node.as_str(), settings.workers), ("edge-1", 3));
    assert_eq!(settings.driver, DriverChoice::Epoll);
    assert_eq!(settings.admin.listen.to_string(), "[::1]:9000");
    assert_eq!(
        settings.access_log,
        AccessLog::File("/etc/keyway/access.log".into())
    );
    assert_eq!(
        settings.http,
        HttpLimits {
            head_bytes_max: 4_096,
            target_bytes_max: 1_024,
            headers_max: 50,
            head_timeout_ms: 1,
            body_timeout_ms: 2,
            idle_timeout_ms: 3,
            tunnel_idle_timeout_ms: 15,
            write_timeout_ms: 4,
            body_bytes_max: Some(5),
            drain_bytes_max: 6,
            drain_timeout_ms: 7,
            body_rate_min_bytes_per_s: 11,
            answer_rate_min_bytes_per_s: 12,
            rate_window_ms: 13,
            connections_max: 8,
            connections_per_address_max: 14,
            upstream_idle_max: 9,
            upstream_idle_timeout_ms: 10,
        }
    );
    let networks = settings.trusted_hops.networks.iter();
    let networks: Vec<String> = networks.map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.7/32", "fd00::/8"]);
    assert_eq!(settings.trusted_hops.field, HopField::Forwarded);
}

#[test]
fn a_proxy_that_cannot_be_believed_is_refused_by_its_place() {
    let written = "http.trusted_proxies = [\"10.0.0.0/8\", \"10.0.0.0/33\", \"balancer\"]\n\
                   http.trusted_proxies_header = \"x-real-ip\"";
    let refused = problems(written).join("\n");
    for path in [
        "http.trusted_proxies[1] = \"10.0.0.0/33\": must be an address or a network",
        "http.trusted_proxies[2] = \"balancer\": must be an address or a network",
        "http.trusted_proxies_header = \"x-real-ip\": must be",
    ] {
        assert!(refused.contains(path), "{refused}");
    }
}

#[test]
fn the_thresholds_of_overload_can_be_written() {
    let settings = with("overload = { inflight_max = 1, lag_max_ms = 2, memory_max_bytes = 3 }");
    assert_eq!(
        settings.overload,
        OverloadLimits {
            inflight_max: 1,
            lag_max_ms: 2,
            memory_max_bytes: 3,
        }
    );
}

#[test]
fn listeners_may_say_more_than_their_address() {
    let text = LEAST.replace(
        "listen = [\"127.0.0.1:8080\"]",
        "listen = [\"127.0.0.1:80\", { address = \"127.0.0.1:443\", tls = true, proxy_protocol = true }]
         tls.certificates = [{ certificate = \"a.pem\", key = \"/b.key\", ocsp = \"c.der\" }]
         tls.min_version = \"1.3\"
         tls.client_ca = \"ca.pem\"
         tls.client_auth = \"optional\"",
    );
    let settings = parse(&text).expect("is usable");
    assert_eq!(
        settings.listen[1].to_string(),
        "127.0.0.1:443 (PROXY protocol, TLS)"
    );
    let tls = settings.tls.expect("is there");
    assert_eq!(
        tls.certificates,
        [CertificateFiles {
            certificate: "/etc/keyway/a.pem".into(),
            key: "/b.key".into(),
            ocsp: Some("/etc/keyway/c.der".into()),
        }]
    );
    assert!(tls.tls13_only);
    assert_eq!(
        tls.client.map(|client| client.auth),
        Some(ClientAuth::Optional)
    );
}

#[test]
fn tls_that_cannot_be_spoken_is_refused_by_its_place() {
    let listen = "listen = [{ address = \"127.0.0.1:443\", tls = true }]";
    let refused = |lines: &str| {
        let text = LEAST.replace("listen = [\"127.0.0.1:8080\"]", listen);
        match parse(&format!("{text}\n{lines}")) {
            Err(SettingsError::Unusable(problems)) => problems[0].to_string(),
            other => panic!("{other:?}"),
        }
    };
    for (lines, expected) in [
        ("", "tls.certificates: is missing"),
        (
            "tls.certificates = [{ certificate = \"a.pem\" }]",
            "tls.certificates[0].key: is missing",
        ),
        (
            "tls.certificates = [{ certificate = \"a\", key = \"b\" }]\ntls.min_version = \"1.1\"",
            "tls.min_version = \"1.1\": must be",
        ),
        (
            "tls.certificates = [{ certificate = \"a\", key = \"b\" }]\ntls.client_auth = \"required\"",
            "tls.client_ca: is missing",
        ),
    ] {
        let problem = refused(lines);
        assert!(problem.starts_with(expected), "{problem}");
    }
}

#[test]
fn relative_paths_start_from_the_directory_of_the_settings() {
    let settings = with("link.socket = \"/run/control.sock\"");
    assert_eq!(
        settings.peppers[0].file,
        Path::new("/etc/keyway/pepper.hex")
    );
    assert_eq!(
        settings.snapshot.directory,
        Path::new("/etc/keyway/snapshots")
    );
    assert_eq!(
        settings.link.socket.as_deref(),
        Some(Path::new("/run/control.sock"))
    );
}

#[test]
fn an_empty_file_is_told_all_it_lacks_at_once() {
    let Err(SettingsError::Unusable(problems)) = parse("") else {
        panic!("must be refused")
    };
    let paths: Vec<_> = problems.iter().map(|p| p.path.as_str()).collect();
    assert_eq!(paths, ["listen", "pepper", "snapshot.directory"]);
    assert!(problems.iter().all(|p| p.value.is_none()));
}

#[test]
fn a_value_out_of_range_is_named_with_its_path_and_its_mend() {
    for (line, expected) in [
        (
            "http.head_bytes_max = 12",
            "http.head_bytes_max = 12: must be at least 1024; the default is 16384",
        ),
        (
            "http.headers_max = 1000",
            "http.headers_max = 1000: must be at most 256; the default is 100",
        ),
        (
            "http.head_timeout_ms = 0",
            "http.head_timeout_ms = 0: must be at least 1; the default is 10000",
        ),
        (
            "snapshot.keys_lost_max_percent = 101",
            "snapshot.keys_lost_max_percent = 101: must be at most 100; the default is 50",
        ),
        (
            "http.target_bytes_max = 20000",
            "http.target_bytes_max = 20000: must not exceed http.head_bytes_max, 16384",
        ),
        (
            "driver = \"kqueue\"",
            "driver = \"kqueue\": must be \"auto\", \"uring\" or \"epoll\"",
        ),
        (
            "node = \"edge 1\"",
            "node = \"edge 1\": must be 1 to 64 letters, digits, dots, underscores or hyphens",
        ),
        (
            "link.socket = \"\"",
            "link.socket = \"\": must not be empty; name a file or remove it",
        ),
        (
            "workers = 4\nhttp.connections_max = 3",
            "http.connections_max = 3: must be at least 4; the default is 100000",
        ),
    ] {
        assert_eq!(problems(line), [expected]);
    }
}

#[test]
fn a_socket_path_that_no_socket_can_have_is_refused() {
    let told = problems(&format!("link.socket = \"/{}\"", "a".repeat(107)));
    assert!(
        told.len() == 1 && told[0].contains("shorter than 108 bytes"),
        "{told:?}"
    );
    assert!(
        with(&format!("link.socket = \"/{}\"", "a".repeat(106)))
            .link
            .socket
            .is_some()
    );
}

#[test]
fn an_admin_listener_beyond_loopback_must_be_meant() {
    let told = problems("admin.listen = \"0.0.0.0:9901\"");
    assert!(
        told.len() == 1 && told[0].contains("admin.allow_remote = true"),
        "{told:?}"
    );
    let settings = with("admin = { listen = \"0.0.0.0:9901\", allow_remote = true }");
    assert_eq!(settings.admin.listen.to_string(), "0.0.0.0:9901");
}

#[test]
fn peppers_have_ids_of_their_own() {
    let text = LEAST.replace(
        "pepper = [{ id = 1, file = \"pepper.hex\" }]",
        r#"pepper = [{ id = 1, file = "a" }, { id = 1, file = "b" }, { id = 300, file = "" }, {}]"#,
    );
    let error = parse(&text).expect_err("must be refused").to_string();
    assert_eq!(
        error.lines().collect::<Vec<_>>(),
        [
            "pepper[1].id = 1: is given twice; ids must differ",
            "pepper[2].id = 300: must be 0 to 255",
            "pepper[2].file = \"\": must not be empty; name a file or remove it",
            "pepper[3].id: is missing; key records name their pepper by it",
            "pepper[3].file: is missing; name the file with 32 bytes in hex",
        ]
    );
}

#[test]
fn addresses_must_be_addresses_and_no_port_is_taken_twice() {
    let text = LEAST.replace(
        "[\"127.0.0.1:8080\"]",
        r#"["localhost:80", "127.0.0.1:80", "127.0.0.1:80", "127.0.0.1:0", "127.0.0.1:0"]"#,
    );
    let error = parse(&text).expect_err("must be refused").to_string();
    let lines: Vec<_> = error.lines().collect();
    assert!(
        lines[0].starts_with("listen[0] = \"localhost:80\": must be an address"),
        "{error}"
    );
    assert_eq!(
        lines[1..],
        ["listen[2] = \"127.0.0.1:80\": is written twice; remove one"]
    );
}

#[test]
fn a_log_goes_to_one_place() {
    assert_eq!(
        with("access_log.stdout = true").access_log,
        AccessLog::Stdout
    );
    assert_eq!(
        problems("access_log = { stdout = true, file = \"a.log\" }"),
        ["access_log.stdout = true: cannot go with access_log.file; remove one of the two"]
    );
}

#[test]
fn a_misspelled_or_mistyped_setting_is_refused_where_it_stands() {
    for (line, part) in [
        ("http.head_byte_max = 4096", "head_byte_max"),
        ("worker = 2", "worker"),
        ("http.head_bytes_max = \"4096\"", "invalid type"),
        ("http.head_bytes_max = -1", "-1"),
        ("workers = ", "workers"),
    ] {
        let error = parse(&format!("{LEAST}\n{line}"))
            .expect_err("must be refused")
            .to_string();
        assert!(
            error.contains(part) && error.contains("line 6"),
            "{line}: {error}"
        );
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Settings::read(Path::new("/nowhere/keyway.toml")).expect_err("is not there");
    assert!(
        error.to_string().starts_with("/nowhere/keyway.toml: "),
        "{error}"
    );
}

#[test]
fn the_summary_tells_where_everything_is() {
    let text = with("workers = 2\nnode = \"edge-1\"").to_string();
    for part in [
        "edge-1",
        "2 (driver auto)",
        "127.0.0.1:8080",
        "127.0.0.1:9901",
        "snapshots",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

proptest! {
    #[test]
    fn no_number_makes_the_check_panic(head: u32, target: u32, workers in 0..5_000u32, most: u32) {
        let _ = parse(&format!(
            "{LEAST}\nworkers = {workers}\n[http]\nhead_bytes_max = {head}\n\
             target_bytes_max = {target}\nconnections_max = {most}\n"
        ));
    }
}

#[test]
fn a_name_server_has_an_address_and_a_port() {
    let servers = ["10.0.0.2:53", "[fd00::2]:5353"];
    let settings = with(&format!("dns.servers = {servers:?}"));
    assert_eq!(
        settings.dns.servers,
        servers.map(|one| one.parse().expect("is one"))
    );
    assert_eq!(
        problems("dns.servers = [\"10.0.0.2:53\", \"10.0.0.2\", \"dns.internal:53\"]"),
        [
            "dns.servers[1] = \"10.0.0.2\": must be ip:port, such as \"10.0.0.2:53\"",
            "dns.servers[2] = \"dns.internal:53\": must be ip:port, such as \"10.0.0.2:53\"",
        ]
    );
}
