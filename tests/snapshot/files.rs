//! The directory changes under its readers, and they do not care.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use keyway::snapshot::publish::{PublishError, Publisher};
use keyway::snapshot::{LoadError, LoadPolicy, load};
use nix::sys::stat::Mode;

use super::{admits, answers, fixture, load_first, load_next, overlay, revoked};

pub fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).expect("readable");
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn named(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_view_outlives_whatever_happens_to_its_files() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = fixture(1_000);
    fixture.publish(directory.path(), 1).unwrap();
    overlay([revoked(&fixture, 1)])
        .publish_overlay(directory.path(), 2)
        .unwrap();
    let view = load_first(directory.path()).expect("whole");
    let expected = answers(&view, 1_000);
    let files = [
        "base-00000000000000000001.kws",
        "overlay-00000000000000000002.kws",
        "CURRENT",
    ];
    let each = |change: &dyn Fn(&Path)| {
        files
            .iter()
            .for_each(|name| change(&directory.path().join(name)));
        assert!(answers(&view, 1_000) == expected);
    };
    each(&|path| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
        file.write_all_at(&vec![0xff; length], 0).unwrap();
    });
    each(&|path| {
        OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(0)
            .unwrap()
    });
    each(&|path| fs::remove_file(path).unwrap());
}

#[test]
fn what_is_not_a_file_is_refused_and_holds_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = fixture(4).publish(directory.path(), 1).unwrap();
    let path = directory.path().join(&manifest.base.file);
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
    let refused = load_first(directory.path()).expect_err("a pipe");
    assert!(matches!(refused, LoadError::NotAFile { .. }), "{refused}");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let refused = load_first(directory.path()).expect_err("a directory");
    assert!(matches!(refused, LoadError::NotAFile { .. }), "{refused}");
}

#[test]
fn a_file_that_is_missing_or_larger_than_allowed_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = fixture(4).publish(directory.path(), 1).unwrap();
    let policy = LoadPolicy {
        file_bytes_max: manifest.base.bytes - 1,
        ..LoadPolicy::default()
    };
    let refused = load(directory.path(), &policy, None).expect_err("too large");
    assert!(matches!(refused, LoadError::TooLarge { .. }), "{refused}");
    fs::remove_file(directory.path().join(manifest.base.file)).unwrap();
    let refused = load_first(directory.path()).expect_err("missing");
    assert!(matches!(refused, LoadError::Io { .. }), "{refused}");
}

#[test]
fn another_whole_file_under_the_right_name_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = fixture(20).publish(directory.path(), 1).unwrap();
    let mut other = fixture(20);
    other.keys[0].number = 99;
    fs::write(directory.path().join(manifest.base.file), other.bytes(1)).unwrap();
    let refused = load_first(directory.path()).expect_err("another");
    assert!(matches!(refused, LoadError::OtherFile { .. }), "{refused}");
}

#[test]
fn one_publisher_has_the_directory_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let publisher = Publisher::open(directory.path()).unwrap();
    let refused = Publisher::open(directory.path()).expect_err("taken");
    assert!(matches!(refused, PublishError::Busy { .. }), "{refused}");
    drop(publisher);
    Publisher::open(directory.path()).expect("free again");
}

#[test]
fn an_overlay_needs_a_base() {
    let directory = tempfile::tempdir().unwrap();
    let refused = overlay([])
        .publish_overlay(directory.path(), 1)
        .expect_err("no base");
    assert!(matches!(refused, PublishError::NoBase), "{refused}");
    assert_eq!(names(directory.path()), named(&[]));
}

#[test]
fn opening_removes_leftovers_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    fixture(4).publish(directory.path(), 5).unwrap();
    let leftovers = [
        "CURRENT.tmp",
        "base-00000000000000000006.kws.tmp",
        "base-00000000000000000006.kws.grants.tmp",
        "base-00000000000000000006.kws",
        "overlay-00000000000000000007.kws",
    ];
    let others = ["notes.tmp", "base-6.kws", "overlay-x.kws", "README"];
    for name in leftovers.iter().chain(&others) {
        fs::write(directory.path().join(name), "x").unwrap();
    }
    drop(Publisher::open(directory.path()).unwrap());
    let mut kept = named(&others);
    kept.extend(named(&["CURRENT", "base-00000000000000000005.kws"]));
    assert_eq!(names(directory.path()), kept);
}

#[test]
fn without_a_manifest_no_snapshot_is_taken_for_a_leftover() {
    let directory = tempfile::tempdir().unwrap();
    fixture(4).publish(directory.path(), 5).unwrap();
    fs::remove_file(directory.path().join("CURRENT")).unwrap();
    drop(Publisher::open(directory.path()).unwrap());
    assert_eq!(
        names(directory.path()),
        named(&["base-00000000000000000005.kws"])
    );
}

#[test]
fn a_damaged_manifest_stops_the_publisher_with_the_mend() {
    let directory = tempfile::tempdir().unwrap();
    fixture(4).publish(directory.path(), 5).unwrap();
    fs::write(directory.path().join("CURRENT"), "{}").unwrap();
    let refused = fixture(4)
        .publish(directory.path(), 6)
        .expect_err("damaged")
        .to_string();
    assert!(
        refused.contains("remove the file to publish anew"),
        "{refused}"
    );
}

#[test]
fn old_generations_go_and_the_base_of_a_kept_overlay_stays() {
    let directory = tempfile::tempdir().unwrap();
    let mut publisher = Publisher::open(directory.path()).unwrap();
    publisher.keep(2);
    let fixture = fixture(4);
    fixture.publish_to(&mut publisher, 1).unwrap();
    fixture.publish_to(&mut publisher, 2).unwrap();
    for generation in 3..=6 {
        overlay([])
            .publish_overlay_to(&mut publisher, generation)
            .unwrap();
    }
    let overlays = [
        "overlay-00000000000000000005.kws",
        "overlay-00000000000000000006.kws",
    ];
    let mut expected = named(&overlays);
    expected.extend(named(&["CURRENT", "base-00000000000000000002.kws"]));
    assert_eq!(names(directory.path()), expected);

    fixture.publish_to(&mut publisher, 7).unwrap();
    let expected = named(&[
        "CURRENT",
        "base-00000000000000000002.kws",
        "base-00000000000000000007.kws",
        "overlay-00000000000000000006.kws",
    ]);
    assert_eq!(names(directory.path()), expected);
}

#[test]
fn a_failed_source_or_a_wrong_count_leaves_no_file_behind() {
    use keyway::snapshot::publish::{Content, Release};
    let directory = tempfile::tempdir().unwrap();
    let mut publisher = Publisher::open(directory.path()).unwrap();
    let fixture = fixture(4);
    fixture.publish_to(&mut publisher, 1).unwrap();
    let release = Release {
        generation: 2,
        created_ms: 0,
        allow_shrink: false,
    };
    let mut keys = fixture.keys.clone();
    keys.sort_by_key(|key| key.digest);

    for (announced, given) in [(4, 3), (3, 4), (u64::MAX, 4), (1 << 40, 4)] {
        let content = Content {
            catalog: &fixture.catalog,
            apps: &mut fixture.apps.iter().cloned().map(Ok),
            key_count: announced,
            keys: &mut keys.iter().copied().take(given).map(Ok),
        };
        let refused = publisher
            .publish_base(release, content)
            .expect_err("miscounted");
        assert!(matches!(refused, PublishError::Write(_)), "{refused}");
    }
    let content = Content {
        catalog: &fixture.catalog,
        apps: &mut std::iter::once(Err("the database is gone".into())),
        key_count: 0,
        keys: &mut std::iter::empty(),
    };
    let refused = publisher
        .publish_base(release, content)
        .expect_err("failed");
    assert!(
        refused.to_string().contains("the database is gone"),
        "{refused}"
    );
    let expected = named(&["CURRENT", "base-00000000000000000001.kws"]);
    assert_eq!(names(directory.path()), expected);
    assert_eq!(publisher.current().expect("serving").generation, 1);
}

#[test]
fn a_reader_beside_a_busy_publisher_sees_whole_generations_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = fixture(200);
    let mut publisher = Publisher::open(directory.path()).unwrap();
    // The least there is, so that files vanish under the reader as often as can be.
    publisher.keep(1);
    fixture.publish_to(&mut publisher, 1).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for generation in 2..=200 {
                // Even generations know key 1, odd ones do not.
                if generation % 2 == 0 {
                    fixture.publish_to(&mut publisher, generation).unwrap();
                } else {
                    let change = overlay([revoked(&fixture, 1)]);
                    change
                        .publish_overlay_to(&mut publisher, generation)
                        .unwrap();
                }
            }
            done.store(true, Ordering::Release);
        });
        let mut view = load_first(directory.path()).expect("whole");
        loop {
            let last = done.load(Ordering::Acquire);
            match load_next(directory.path(), &view) {
                Ok(next) => {
                    assert!(next.generation() > view.generation());
                    assert_eq!(admits(&next, 1), next.generation() % 2 == 0);
                    assert!(admits(&next, 200));
                    view = next;
                }
                Err(LoadError::NotNewer { .. }) => {}
                // Overtaken each time it tried; the next round will do.
                Err(LoadError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(other) => panic!("{other}"),
            }
            if last {
                break;
            }
        }
        assert_eq!(view.generation(), 200);
    });
}
