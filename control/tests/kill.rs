//! Control killed at any moment: what was acknowledged stays, and the next start publishes it.
//!
//! The victim is this test program itself, started once more with a directory in its environment.

use keyway::snapshot::KeyState;
use keyway_control::domain::KeyId;
use keyway_control::fixture::{Running, change, lay_out, new_key, view_of};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const DIRECTORY: &str = "KEYWAY_TEST_VICTIM_DIRECTORY";
const KEYS: u64 = 400;

fn id(n: u64) -> KeyId {
    KeyId::new(n + 1).expect("not zero")
}

/// The victim: revokes key after key, and says so only once the store has acknowledged it.
/// Without a directory there is nothing to do: then this is one of the tests, and passes.
#[tokio::test]
async fn victim() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let running = Running::start(Path::new(&directory)).await;
    for n in 0..KEYS {
        change(&running.store, move |tx| tx.key_revoke(id(n)))
            .await
            .expect("revokes");
        println!("acknowledged {n}");
        std::io::stdout().flush().expect("somebody listens");
    }
}

/// Starts the victim, kills it after `lines` acknowledgments, answers the last one.
fn kill_after(directory: &Path, lines: usize) -> u64 {
    let mut victim = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "victim", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let output = BufReader::new(victim.stdout.take().expect("piped"));
    let mut acknowledged = output
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.split_once("acknowledged ")?.1.trim().parse().ok());
    let last = acknowledged.nth(lines - 1).expect("it gets that far");
    // SIGKILL: no destructor, no flush, no goodbye. It goes on until the signal arrives, so what
    // was acknowledged after `last` is read too.
    victim.kill().expect("is killed");
    let last = acknowledged.last().unwrap_or(last);
    victim.wait().expect("ends");
    last
}

#[tokio::test]
async fn what_was_acknowledged_before_a_kill_is_still_revoked_and_gets_published() {
    for lines in [1, 2, 3, 7, 20, 61] {
        let directory = tempfile::tempdir().expect("a directory");
        let running = Running::start(directory.path()).await;
        running
            .change(|tx| {
                let app = lay_out(tx)?.app;
                (0..KEYS).try_for_each(|n| tx.key_create(new_key(app, n)).map(drop))
            })
            .await;
        running.stop().await;

        let last = kill_after(directory.path(), lines);
        // Whatever step of a publication the kill met: a node still finds one whole generation.
        let old = view_of(&directory.path().join("snapshots"));
        assert!(old.generation() > 0);

        let running = Running::start(directory.path()).await;
        let newest = running
            .store
            .read(|rows| rows.generation())
            .await
            .expect("reads");
        running.published(newest).await;
        let new = running.view();
        for n in 0..=last {
            let key = running
                .store
                .read(move |rows| rows.key(id(n)))
                .await
                .expect("the key");
            assert_eq!(
                key.state,
                keyway_control::domain::KeyState::Revoked,
                "key {n} of {last}"
            );
            let digest = keyway::snapshot::Digest(new_key(key.app, n).credential.digest);
            let served = new.key(&digest).expect("named in the overlay");
            assert_eq!(served.state, KeyState::Revoked, "key {n} of {last}");
        }
        let leftovers: Vec<_> = std::fs::read_dir(&running.snapshots)
            .expect("the directory")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|file| file.ends_with(".tmp"))
            .collect();
        assert!(leftovers.is_empty(), "{leftovers:?}");
    }
}
