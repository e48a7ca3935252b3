//! The publisher is killed at every system call of a publication, or a system call fails: a reader
//! finds the old generation or the new one, whole, and the next publisher finds a clean house.
//!
//! Each test runs itself again under strace, which kills or fails the child at the Nth call; a
//! variable in the environment tells the child that it is the child.

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use keyway::snapshot::publish::Publisher;

use super::files::names;
use super::{admits, fixture, load_first, overlay, revoked};

/// The directory in which the child publishes.
const DIRECTORY: &str = "KEYWAY_TEST_PUBLISH_INTO";
/// The child published.
const PUBLISHED: i32 = 0;
/// The child could not publish, and said so.
const REFUSED: i32 = 3;
/// SIGKILL.
const KILLED: i32 = 9;

/// Calls that a publication of either kind must consist of at least; if it does not, the kills
/// below hit nothing.
const STEPS: [(&str, usize); 4] = [
    ("rename,renameat,renameat2", 2),
    ("fsync,fdatasync", 4),
    ("write,pwrite64,writev", 3),
    ("unlink,unlinkat", 1),
];

#[test]
fn killed_at_any_step_of_a_base() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        publish(Path::new(&directory), false);
    }
    for (calls, least) in STEPS {
        kill_at_each("killed_at_any_step_of_a_base", calls, least);
    }
}

#[test]
fn killed_at_any_step_of_an_overlay() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        publish(Path::new(&directory), true);
    }
    for (calls, least) in STEPS {
        kill_at_each("killed_at_any_step_of_an_overlay", calls, least);
    }
}

#[test]
fn a_failed_fsync_publishes_nothing_and_says_so() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        publish(Path::new(&directory), false);
    }
    // The file, the directory, CURRENT; the fourth comes after the moment of publication.
    for (nth, generation) in [(1, 1), (2, 1), (3, 1), (4, 2)] {
        let directory = served();
        let inject = format!("fsync:error=EIO:when={nth}");
        let test = "a_failed_fsync_publishes_nothing_and_says_so";
        let (status, said) = run(test, directory.path(), &inject, None);
        assert_eq!(status.code(), Some(REFUSED), "fsync {nth}: {said}");
        assert!(said.contains("Input/output error"), "fsync {nth}: {said}");
        check(directory.path(), Some(generation), &format!("fsync {nth}"));
    }
}

#[test]
fn a_full_disk_publishes_nothing_and_says_so() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        publish(Path::new(&directory), false);
    }
    for file in ["base-00000000000000000002.kws.tmp", "CURRENT.tmp"] {
        let directory = served();
        let path = directory.path().join(file);
        let test = "a_full_disk_publishes_nothing_and_says_so";
        let (status, said) = run(test, directory.path(), "write:error=ENOSPC", Some(&path));
        assert_eq!(status.code(), Some(REFUSED), "{file}: {said}");
        assert!(said.contains("No space left on device"), "{file}: {said}");
        // Cleaned at once, not only at the next open.
        let left = names(directory.path());
        assert!(
            left.iter().all(|name| !name.ends_with(".tmp")),
            "{file}: {left:?}"
        );
        check(directory.path(), Some(1), file);
    }
}

/// A directory that serves generation 1: 20 keys.
fn served() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fixture(20).publish(directory.path(), 1).unwrap();
    directory
}

/// The child: publishes generation 2, in which key 1 is gone, and ends the process.
fn publish(directory: &Path, over: bool) -> ! {
    let fixture = fixture(20);
    let published = Publisher::open(directory).and_then(|mut publisher| {
        publisher.keep(1);
        if over {
            // What lies under an overlay is kept, so something else must be there to prune.
            overlay([revoked(&fixture, 1)]).publish_overlay_to(&mut publisher, 2)?;
            return overlay([revoked(&fixture, 1)]).publish_overlay_to(&mut publisher, 3);
        }
        let mut changed = fixture.clone();
        changed.keys[0] = revoked(&fixture, 1);
        changed.publish_to(&mut publisher, 2)
    });
    if let Err(cause) = &published {
        eprintln!("{cause}");
    }
    std::process::exit(if published.is_ok() {
        PUBLISHED
    } else {
        REFUSED
    });
}

fn kill_at_each(test: &str, calls: &str, least: usize) {
    let mut kills = 0;
    loop {
        let directory = served();
        let inject = format!("{calls}:signal=KILL:when={}", kills + 1);
        let (status, said) = run(test, directory.path(), &inject, None);
        let context = format!("{calls} number {}", kills + 1);
        if status.code() == Some(PUBLISHED) {
            check(directory.path(), None, &context);
            break;
        }
        assert!(was_killed(status), "{context}: {status}: {said}");
        check(directory.path(), None, &context);
        kills += 1;
        assert!(
            kills < 100,
            "{context}: a publication does not take this many"
        );
    }
    assert!(
        kills >= least,
        "{calls} killed the publisher {kills} times only"
    );
}

/// strace ends as its child did.
fn was_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(KILLED) || status.code() == Some(128 + KILLED)
}

/// Runs one test of this file again, under strace. `only` restricts it to calls on one path.
fn run(test: &str, directory: &Path, inject: &str, only: Option<&Path>) -> (ExitStatus, String) {
    let calls = inject
        .split_once(':')
        .expect("calls and what becomes of them")
        .0;
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qqq", "-o", "/dev/null"]);
    strace.args([
        "-e",
        &format!("trace={calls}"),
        "-e",
        &format!("inject={inject}"),
    ]);
    if let Some(path) = only {
        strace.arg("-P").arg(path);
    }
    strace.arg(std::env::current_exe().expect("this test"));
    strace.args([
        &format!("crash::{test}"),
        "--exact",
        "--nocapture",
        "--test-threads=1",
    ]);
    strace.env(DIRECTORY, directory).stdin(Stdio::null());
    let output = match strace.output() {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            panic!("strace is missing, and this test needs it: apt-get install strace")
        }
        other => other.expect("strace runs"),
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status, said)
}

/// What must hold in a directory after the child, whatever became of it.
fn check(directory: &Path, expected: Option<u64>, context: &str) {
    let view = load_first(directory).unwrap_or_else(|cause| panic!("{context}: {cause}"));
    let generation = view.generation();
    assert!((1..=3).contains(&generation), "{context}: {generation}");
    assert!(
        expected.is_none_or(|expected| expected == generation),
        "{context}: {generation}"
    );
    assert_eq!(
        admits(&view, 1),
        generation == 1,
        "{context}: a mix of two generations"
    );
    assert!(
        (2..=20).all(|n| admits(&view, n)),
        "{context}: keys are missing"
    );

    let mut publisher = Publisher::open(directory).unwrap_or_else(|e| panic!("{context}: {e}"));
    publisher.keep(1);
    let leftover = |name: &String| {
        let number = name
            .split(['-', '.'])
            .nth(1)
            .and_then(|part| part.parse::<u64>().ok());
        name.ends_with(".tmp") || number.is_some_and(|number| number > generation)
    };
    let left = names(directory);
    assert!(!left.iter().any(leftover), "{context}: {left:?}");

    // And work goes on, with the very generation that was lost.
    fixture(21)
        .publish_to(&mut publisher, generation + 1)
        .unwrap();
    let view = load_first(directory).unwrap_or_else(|cause| panic!("{context}: {cause}"));
    assert!(admits(&view, 1) && admits(&view, 21), "{context}");
    assert_eq!(
        names(directory).len(),
        2,
        "{context}: {:?}",
        names(directory)
    );
}
