//! The command line, as the real program against the real program.

use crate::program::Program;
use crate::world::{ObedientNode, text};
use serde_json::{Value, json};

pub const GATEWAY: &str = "\
upstreams:
  - name: origin
    targets: [\"127.0.0.1:9000\"]
apis:
  - name: orders
    upstream: origin
    routes:
      - { path: \"/orders/*\", methods: [GET, POST] }
plans:
  - name: free
    apis: [orders]
    limits:
      - { name: burst, requests: 10, per: second, burst: 20 }
tenants:
  - name: acme
    apps:
      - name: mobile
        subscriptions:
          - { api: orders, plan: free }
";

pub fn laid_out() -> Program {
    let program = Program::start();
    program.run_with(&["apply", "-f", "-"], GATEWAY).expect(0);
    program
}

/// Makes a key; answers its id and secret.
pub fn key(program: &Program) -> (String, String) {
    let made = program
        .run(&["keys", "create", "acme/mobile", "--json"])
        .json();
    (text(&made["id"]), text(&made["secret"]))
}

#[test]
fn a_file_is_shown_then_applied_then_makes_no_difference() {
    let program = Program::start();
    let file = program.file("gateway.yaml", GATEWAY);
    let dry = program.run(&["apply", "-f", &file, "--dry-run"]).expect(0);
    for line in [
        "+ upstream origin",
        "    targets: [\"127.0.0.1:9000\"]",
        "+ subscription acme/mobile -> orders",
        "6 to create, 0 to change, 0 to remove",
        "dry run: nothing was changed",
    ] {
        assert!(
            dry.lines().any(|found| found == line),
            "{line:?} is missing in:\n{dry}"
        );
    }
    assert_eq!(program.run(&["tenants", "list", "--json"]).expect(0), "");
    program.run(&["apply", "-f", &file]).expect(0);
    let again = program.run(&["apply", "-f", &file]).expect(0);
    assert_eq!(again, "no difference\n");

    let file = program.file(
        "gateway.yaml",
        &GATEWAY.replace("requests: 10", "requests: 30"),
    );
    let changed = program.run(&["apply", "-f", &file]).expect(0);
    assert_eq!(
        changed,
        "~ plan free\n    limits[burst].requests: 10 -> 30\n0 to create, 1 to change, 0 to remove\n"
    );
}

#[test]
fn a_faulty_file_is_told_by_path_and_line() {
    let program = Program::start();
    for (from, to, expected) in [
        (
            "routes:",
            "routs:",
            "line 7, apis[0].routs: unknown field `routs`",
        ),
        (
            "requests: 10",
            "requests: many",
            "line 13, plans[0].limits[0].requests: ",
        ),
        (
            "requests: 10",
            "requests: 0",
            "line 13, plans[0].limits[0].requests: from 1 to",
        ),
        (
            "\"/orders/*\"",
            "orders",
            "line 8, apis[0].routes[0].path: a path begins with '/'",
        ),
        (
            "upstream: origin",
            "upstream: other",
            "line 6, apis[0].upstream: there is no upstream",
        ),
        (
            "plan: free",
            "plan: gold",
            "line 19, tenants[0].apps[0].subscriptions[0].plan: there is",
        ),
    ] {
        let text = GATEWAY.replace(from, to);
        let ran = program.run_with(&["apply", "-f", "-"], &text);
        assert!([1, 2].contains(&ran.code), "{ran:?}");
        assert!(
            ran.stderr.contains(expected),
            "{expected:?} is missing in:\n{}",
            ran.stderr
        );
        assert_eq!(ran.stdout, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_lives_and_dies_with_its_receipt() {
    let program = laid_out();
    let _node = ObedientNode::connect(&program.socket(), "edge-1").await;
    tokio::task::spawn_blocking(move || {
        let made = program.run(&["keys", "create", "acme/mobile", "--name", "ios", "--wait"]);
        let made = made.expect(0);
        assert!(made.contains("secret       kw_live_"), "{made}");
        assert!(
            made.contains("live on all 2 cores of 1 node at generation "),
            "{made}"
        );
        let list = program
            .run(&["keys", "list", "--app", "acme/mobile"])
            .expect(0);
        let id = list
            .lines()
            .nth(1)
            .and_then(|row| row.split(' ').next())
            .expect("a row");
        assert!(list.starts_with("ID "), "{list}");
        assert!(list.contains("acme/mobile  live  active  ios"), "{list}");

        let off = program.run(&["keys", "disable", id, "--wait"]).expect(0);
        assert!(off.starts_with(&format!("{id} (live, acme/mobile) is disabled\noff on all")));
        program.run(&["keys", "enable", id, "--wait"]).expect(0);
        let dead = program.run(&["keys", "revoke", id, "--wait"]).expect(0);
        let receipt = dead.lines().nth(1).expect("a receipt");
        assert!(
            receipt.starts_with("dead on all 2 cores of 1 node at generation "),
            "{dead}"
        );
        assert!(receipt.ends_with(" ms"), "{dead}");
        let refused = program.run(&["keys", "enable", id]).expect(1);
        assert!(refused.contains("a revocation is final"), "{refused}");
    })
    .await
    .expect("the commands run");
}

#[test]
fn a_wait_that_proves_nothing_has_an_exit_code_of_its_own() {
    let program = laid_out();
    let (id, _) = key(&program);
    let ran = program.run(&["keys", "revoke", &id, "--wait", "--timeout-ms", "50"]);
    assert!(ran.stdout.contains("is revoked"), "{ran:?}");
    let told = ran.expect(4);
    assert!(
        told.contains("durable, but not proven to be dead"),
        "{told}"
    );
    assert!(told.contains("no node is known"), "{told}");
}

#[test]
fn quiet_prints_the_secret_and_nothing_else() {
    let program = laid_out();
    let secret = program.run(&[
        "keys",
        "create",
        "acme/mobile",
        "-q",
        "--environment",
        "test",
    ]);
    let secret = secret.expect(0);
    assert!(
        secret.starts_with("kw_test_") && secret.lines().count() == 1,
        "{secret}"
    );
    let token = program
        .run(&["tokens", "create", "ci", "--quiet"])
        .expect(0);
    assert!(
        token.starts_with("kwa_") && token.lines().count() == 1,
        "{token}"
    );
    assert!(program.run(&["tokens", "list"]).expect(0).contains("ci"));
}

#[test]
fn a_command_under_an_idempotency_key_is_carried_out_once() {
    let program = laid_out();
    let create = [
        "keys",
        "create",
        "acme/mobile",
        "--idempotency-key",
        "k1",
        "--json",
    ];
    let (first, again) = (program.run(&create).json(), program.run(&create).json());
    assert_eq!(first["id"], again["id"]);
    assert_eq!(
        (&again["secret"], &again["secret_withheld"]),
        (&Value::Null, &json!(true))
    );
    assert_eq!(
        program.run(&["keys", "list", "--json"]).json_lines().len(),
        1
    );
}

#[test]
fn a_key_is_rotated_expired_and_renamed() {
    let program = laid_out();
    let (id, _) = key(&program);
    let rotated = program
        .run(&["keys", "rotate", &id, "--grace", "15m"])
        .expect(0);
    assert!(
        rotated.contains(&format!("rotated from  {id}")),
        "{rotated}"
    );
    assert!(
        rotated.contains(&format!("replaces      {id}, which ends 20")),
        "{rotated}"
    );

    let at = "2099-01-01T00:00:00Z";
    let expire = |how: &[&str]| {
        let words = [&["keys", "expire", &id], how, &["--json"]].concat();
        program.run(&words).json()["not_after"].clone()
    };
    assert_eq!(expire(&["--at", at]), at);
    assert_eq!(expire(&["--never"]), Value::Null);
    assert!(expire(&["--in", "30d"]).is_string());
    expire(&["--now"]);
    assert!(program.run(&["keys", "list"]).expect(0).contains("expired"));
    program.run(&["keys", "expire", &id]).expect(2);

    let update = [
        "keys",
        "update",
        &id,
        "--name",
        "old",
        "--attribute",
        "tier=2",
        "--attribute",
    ];
    program
        .run(&[&update[..], &["beta=true"]].concat())
        .expect(0);
    let shown = program.run(&["keys", "show", &id, "--json"]).json();
    assert_eq!(
        shown["attributes"],
        json!({ "name": "old", "tier": 2, "beta": true })
    );
    program
        .run(&["keys", "update", &id, "--remove-attribute", "beta"])
        .expect(0);
    let shown = program.run(&["keys", "show", &id]).expect(0);
    assert!(shown.contains("attributes   name=old tier=2"), "{shown}");
}

#[test]
fn keys_are_imported_in_every_form_and_faults_are_told_by_line() {
    let program = laid_out();
    let import = |form: &str, text: &str| {
        program.run_with(
            &[
                "keys",
                "import",
                "-",
                "--app",
                "acme/mobile",
                "--form",
                form,
            ],
            text,
        )
    };
    let plain = "sk-0123456789abcdef-1\n\nsk-0123456789abcdef-2\n";
    let told = import("plain", plain).expect(0);
    assert_eq!(told, "2 keys taken in, 0 there already\n");
    assert_eq!(
        import("plain", plain).expect(0),
        "0 keys taken in, 2 there already\n"
    );
    import("sha256", &"ab".repeat(32)).expect(0);
    import(
        "json",
        r#"{"key":"sk-0123456789abcdef-3","environment":"test"}"#,
    )
    .expect(0);
    assert_eq!(
        program
            .run(&["keys", "list", "--all", "--json"])
            .json_lines()
            .len(),
        4
    );

    let told = import("plain", "sk-0123456789abcdef-4\n\nshort\n").expect(1);
    assert!(
        told.contains("line 3, key: an imported key has 16 to 512"),
        "{told}"
    );
    assert!(!told.contains("short"), "{told}");
    let told = import("json", "not json\n").expect(2);
    assert!(told.contains("line 1 is no JSON object"), "{told}");
    assert_eq!(
        program
            .run(&["keys", "list", "--all", "--json"])
            .json_lines()
            .len(),
        4
    );
}

#[test]
fn an_import_of_more_than_one_part_comes_in_whole() {
    let program = laid_out();
    let text: String = (0..10_050)
        .map(|n| format!("sk-0123456789abcdef-{n}\n"))
        .collect();
    let told = program
        .run_with(
            &[
                "keys",
                "import",
                "-",
                "--app",
                "acme/mobile",
                "--form",
                "plain",
            ],
            &text,
        )
        .expect(0);
    assert_eq!(told, "10050 keys taken in, 0 there already\n");
    let keys = program.run(&["keys", "list", "--all", "--json"]).expect(0);
    assert_eq!(keys.lines().count(), 10_050);
    let page = program.run(&["keys", "list", "--limit", "2"]);
    assert!(page.stderr.starts_with("more: --cursor "), "{page:?}");
}

#[test]
fn a_key_in_the_place_of_its_id_is_sent_nowhere() {
    let program = laid_out();
    let (_, secret) = key(&program);
    let told = program.run(&["keys", "revoke", &secret]).expect(2);
    assert!(told.contains("that is a key; give its id"), "{told}");
}
