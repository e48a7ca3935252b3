//! The command line as an operator uses it: what is there, what is switched, what went wrong.

use crate::commands::{GATEWAY, key, laid_out};
use crate::program::run;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

#[test]
fn what_is_there_is_listed() {
    let program = laid_out();
    key(&program);
    for (words, expected) in [
        (&["tenants", "list"][..], "acme    yes"),
        (&["apps", "list"], "acme/mobile  yes"),
        (&["apps", "list", "--tenant", "acme"], "acme/mobile"),
        (
            &["subscriptions", "list"],
            "1       acme/mobile  orders  free  approved",
        ),
        (
            &["plans", "list"],
            "free  orders  burst 10/second (20 at once)",
        ),
        (
            &["apis", "list"],
            "orders  v1       origin    every  /orders/*  needed",
        ),
        (&["upstreams", "list"], "origin    127.0.0.1:9000"),
        (&["audit"], "token:admin"),
        (&["usage"], "P99"),
        (&["top", "--by", "app"], "LIMITED %"),
        (&["tokens", "list"], "admin"),
        (&["status"], "1 tenants, 1 apps, 1 keys"),
    ] {
        let told = program.run(words).expect(0);
        assert!(
            told.contains(expected),
            "{expected:?} is missing in {words:?}:\n{told}"
        );
        assert!(told.lines().all(|line| line == line.trim_end()), "{told:?}");
    }
    let audit = program.run(&["audit", "--subject", "app", "--id", "acme/mobile", "--json"]);
    assert_eq!(audit.json_lines()[0]["action"], "create");
}

#[test]
fn tenants_apps_and_subscriptions_are_switched() {
    let program = laid_out();
    for (words, expected) in [
        (&["tenants", "create", "beta"][..], "tenant beta is on\n"),
        (&["apps", "create", "beta/web"], "app beta/web is on\n"),
        (
            &["apps", "disable", "acme/mobile"],
            "app acme/mobile is off\n",
        ),
        (
            &["apps", "enable", "acme/mobile"],
            "app acme/mobile is on\n",
        ),
        (&["tenants", "disable", "acme"], "tenant acme is off\n"),
        (&["tenants", "enable", "acme"], "tenant acme is on\n"),
        (
            &["subscriptions", "suspend", "1"],
            "subscription 1 (acme/mobile to orders) is suspended\n",
        ),
        (
            &["subscriptions", "approve", "1"],
            "subscription 1 (acme/mobile to orders) is approved\n",
        ),
        (
            &["subscriptions", "cancel", "1"],
            "subscription 1 (acme/mobile to orders) is cancelled\n",
        ),
    ] {
        assert_eq!(program.run(words).expect(0), expected);
    }
}

#[test]
fn a_configuration_is_published_and_stepped_back() {
    let program = laid_out();
    let first = program.run(&["publish", "--full", "--json"]).json();
    let other = GATEWAY.replace("requests: 10", "requests: 30");
    program.run_with(&["apply", "-f", "-"], &other).expect(0);
    program.run(&["publish"]).expect(0);
    let to = first["generation"].to_string();
    let back = program.run(&["rollback", "--to", &to]).expect(0);
    assert!(
        back.contains(&format!("configuration {}", first["configuration"])),
        "{back}"
    );
    assert!(
        program
            .run(&["status"])
            .expect(0)
            .contains("since a rollback")
    );
    assert!(program.run(&["generations"]).expect(0).contains("rollback"));
    program.run(&["rollback", "--to", "99999"]).expect(1);
}

#[test]
fn errors_name_the_cause_and_the_mend() {
    let program = laid_out();
    let told = program
        .run(&["keys", "show", "key_0000000000001"])
        .expect(1);
    assert!(
        told.contains("there is no key `key_0000000000001`"),
        "{told}"
    );
    let told = run(&["status"], &[("KEYWAY_URL", &program.url)], "").expect(2);
    assert!(
        told.contains("set KEYWAY_TOKEN, or give --token-file"),
        "{told}"
    );
    let environment = [
        ("KEYWAY_URL", program.url.as_str()),
        ("KEYWAY_TOKEN", "kwa_wrong"),
    ];
    let told = run(&["status"], &environment, "").expect(1);
    assert!(told.contains("unknown or was withdrawn"), "{told}");
    assert!(!told.contains("kwa_wrong"), "{told}");
    for words in [
        &["keys", "create"][..],
        &["keys", "create", "acme"],
        &["nonsense"],
    ] {
        program.run(words).expect(2);
    }
    program
        .run(&["status", "--token", &program.token])
        .expect(2);
}

#[test]
fn nobody_there_has_an_exit_code_of_its_own() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    };
    let url = format!("http://127.0.0.1:{port}");
    let told = run(&["--url", &url, "status"], &[("KEYWAY_TOKEN", "kwa_0")], "").expect(3);
    assert!(told.contains("is `keyway-control serve` running"), "{told}");
    let far = run(
        &["--url", "http://192.0.2.1:7000", "status"],
        &[("KEYWAY_TOKEN", "t")],
        "",
    );
    assert!(far.expect(2).contains("in clear text"));
}

#[test]
fn the_token_may_come_from_a_file_that_others_should_not_read() {
    let program = laid_out();
    let file = program.file("token", &format!("{}\n", program.token));
    let words = ["--url", &program.url, "--token-file", &file, "status"];
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("a file");
    let ran = run(&words, &[], "");
    assert_eq!(ran.stderr, "");
    ran.expect(0);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("a file");
    assert!(run(&words, &[], "").stderr.contains("chmod 600"));
}

#[test]
fn help_gives_examples() {
    for (words, expected) in [
        (&["apply", "--help"][..], "--dry-run"),
        (&["keys", "--help"], "keyway-control keys revoke"),
        (&["--help"], "rollback"),
    ] {
        let told = run(words, &[], "").expect(0);
        assert!(told.contains(expected), "{told}");
    }
}
