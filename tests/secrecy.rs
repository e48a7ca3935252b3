//! No key, token or query string is ever said by the gateway, wherever it came in.

mod support;

use keyway::snapshot::catalog::CallLog;
use keyway::snapshot::record::KeyState;
use support::origin::refusing;
use support::{Gateway, Origin, Request, World, get, post, request, wait};

const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0LXBheWxvYWQ.c2lnbmF0dXJl";
const IN_QUERY: &str = "the-word-in-the-query";
const PASSWORD: &str = "c2VjcmV0OnBhc3N3b3Jk";

/// A gateway with all that could be said, and the words that may not be.
fn gateway_with_secrets(origin: &Origin, dead: &str) -> (Gateway, Vec<String>) {
    let mut world = World::before(&[origin.address]).with(|world| {
        world.fixture = std::mem::take(&mut world.fixture)
            .upstream("dead", &[dead])
            .api("notes", "origin", &["/notes/*"])
            .api("dead", "dead", &["/dead/*"])
            .api("vault", "origin", &["/vault/*"]);
        world.api("notes").credential.query = Some("api_key".into());
        for name in ["orders", "notes", "dead", "vault"] {
            world.api(name).log = CallLog {
                query: true,
                mask_query: vec!["q".into()],
                headers: ["Authorization", "X-API-Key", "Cookie", "Expect"]
                    .map(String::from)
                    .into(),
                ..CallLog::default()
            };
        }
        world.fixture = std::mem::take(&mut world.fixture).app(
            "all",
            &[("orders", "free"), ("notes", "free"), ("dead", "free")],
        );
        world.key = world.mint();
    });
    let revoked = world.mint_as(|record| record.state = KeyState::Revoked);
    let unknown = world.unpublished();
    let mut damaged = world.unpublished();
    damaged.pop();
    world.import("sk-an-imported-key-of-somebody");
    let mut words: Vec<String> = [&world.key, &revoked, &unknown, &damaged]
        .iter()
        // The random part alone is the secret as well.
        .flat_map(|key| [(*key).clone(), key[8..35].to_owned()])
        .collect();
    words.extend([TOKEN, IN_QUERY, PASSWORD, "sk-an-imported-key-of-somebody"].map(String::from));
    words.push(world.secret.clone());
    let setup = Gateway::over(world).variable("KEYWAY_LOG", "trace");
    (setup.start(), words)
}

/// Requests that carry secrets everywhere, to every end there is.
fn requests(words: &[String]) -> Vec<Request> {
    let (good, revoked, unknown, damaged) = (&words[0], &words[2], &words[4], &words[6]);
    let query = |path: &str, key: &str| format!("{path}?api_key={key}&q={IN_QUERY}");
    vec![
        get(&format!("/orders/1?q={IN_QUERY}")).key(good),
        get(&format!("/orders/1?q={IN_QUERY}")).key(revoked),
        get("/orders/1").key(unknown),
        get("/orders/1").key(damaged),
        get("/orders/1").key(TOKEN),
        get("/orders/1").key("sk-an-imported-key-of-somebody"),
        get("/orders/1").header("Authorization", &format!("Basic {PASSWORD}")),
        get("/orders/1").header("X-API-Key", good).key(TOKEN),
        get("/orders/1").header("X-API-Key", good).key(revoked),
        get("/orders/1").header("X-API-Key", TOKEN).key(TOKEN),
        get("/orders/1")
            .header("Cookie", &format!("session={TOKEN}"))
            .key(good),
        get(&query("/notes/1", good)),
        get(&query("/notes/1", unknown)),
        get(&query("/notes/1", TOKEN)),
        get(&query("/orders/1", good)),
        get(&query("/nowhere", good)),
        get(&query("/vault/1", good)).key(good),
        get(&query("/dead/1", good)).key(good),
        get(&query("/orders/../1", good)).key(good),
        get(&query("/orders/%zz", good)).key(good),
        get(&query("/orders/reset", good)).key(good),
        get(&query("/orders/garbage", good)).key(good),
        get(&query("http://gateway.test/orders/1", good)).key(good),
        request("TRACE", &query("/orders/1", good)).key(good),
        request("PATCH", &query("/orders/1", good))
            .key(good)
            .header("Expect", TOKEN),
        post("/orders/1", format!("token={TOKEN}")).key(good),
        post("/orders/1", format!("token={TOKEN}")),
        get("/orders/1").key(good).header("Bad Name", TOKEN),
        get("/orders/1")
            .key(good)
            .header("Transfer-Encoding", TOKEN),
        get("/orders/1").key(good).header("Content-Length", TOKEN),
    ]
}

#[test]
fn no_secret_is_ever_said() {
    let origin = Origin::scripted(|turn| match turn.target().split('?').next() {
        Some("/orders/reset") => Ok(support::Flow::Reset),
        Some("/orders/garbage") => {
            turn.send(format!("HTTP/9 {TOKEN}\r\n\r\n"))?;
            Ok(support::Flow::Close)
        }
        _ => turn.answer("quiet"),
    });
    let (_held, dead) = refusing();
    let (mut gateway, words) = gateway_with_secrets(&origin, &dead.to_string());
    let said_by = |place: &str, text: &str| {
        for word in &words {
            assert!(
                !text.contains(word.as_str()),
                "{place} says {word:?}:\n{text}"
            );
        }
    };
    let requests = requests(&words);
    for sent in &requests {
        let mut client = gateway.client();
        client.send(sent.bytes());
        let answer = client.try_read().expect("everything is answered");
        said_by("an answer", &format!("{:?}{}", answer.head, answer.text()));
        // What is left unfinished is logged in its own way.
        let mut client = gateway.client();
        let whole = sent.bytes();
        client.send(&whole[..whole.len() - 3]);
        client.reset();
    }
    gateway.publish_damaged(|_| {}, |bytes| bytes.truncate(100));
    wait::until("the snapshot to be refused", || {
        !gateway.status()["snapshot_error"].is_null()
    });
    let lines = gateway.wait_for_log(requests.len());
    said_by("the access log", &format!("{lines:#?}"));
    for path in ["/metrics", "/status", "/readyz", "/healthz", "/nothing"] {
        said_by(path, gateway.ask_admin(path).text());
    }
    gateway.signal(nix::sys::signal::Signal::SIGTERM);
    gateway.wait_for_exit();
    said_by("standard error", &gateway.stderr());
    let files = ["access.log", "ports.json", "snapshots/CURRENT"];
    for file in files {
        said_by(
            file,
            &std::fs::read_to_string(gateway.path(file)).unwrap_or_default(),
        );
    }
    // The log names the requests all the same.
    assert!(
        lines
            .iter()
            .any(|line| line["path"] == "/notes/1" && line["status"] == 200)
    );
    assert!(lines.iter().any(|line| line["refusal"] == "key_revoked"));
    assert!(
        lines
            .iter()
            .any(|line| line["query"] == "api_key=***&q=***")
    );
    assert!(
        lines
            .iter()
            .any(|line| line["headers"]["authorization"] == "***")
    );
}

#[test]
fn a_snapshot_on_disk_holds_no_key() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let (base, _) = gateway.live_files();
    let bytes = std::fs::read(base).expect("it is published");
    for word in [
        &gateway.world.key,
        &gateway.world.key[8..35],
        &gateway.world.secret,
    ] {
        let found = bytes
            .windows(word.len())
            .any(|window| window == word.as_bytes());
        assert!(!found, "the snapshot holds {word:?}");
    }
}
