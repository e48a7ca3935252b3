//! A well-made lie is not believed either: files whose checksums all match, and whose content does
//! not hold together.

use keyway::snapshot::fixture::{Fixture, reseal};
use keyway::snapshot::format::{AppFault, FormatError, HEADER_BYTES, Header, KeyFault, SectionId};
use keyway::snapshot::load::{load_bytes, verify_bytes};
use keyway::snapshot::record::RecordError;
use keyway::snapshot::{Digest, KeyRecord, LoadError};
use proptest::prelude::*;

use super::{fixture, overlay};

const SLOT: usize = 64;

/// A file, opened for changes that its checksums will cover.
struct Forged {
    bytes: Vec<u8>,
    header: Header,
}

impl Forged {
    fn new(fixture: &Fixture) -> Self {
        let bytes = fixture.bytes(3);
        let header = Header::decode(&bytes).expect("whole");
        Self { bytes, header }
    }

    fn start(&self, id: SectionId) -> usize {
        usize::try_from(self.header.section(id).offset).unwrap()
    }

    fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Changes bytes of a section, counted from its start.
    fn in_section(self, id: SectionId, at: usize, bytes: &[u8]) -> Self {
        let start = self.start(id);
        self.put(start + at, bytes)
    }

    /// Changes a field of a section's row in the header: 1 offset, 2 length, 3 count.
    fn in_row(self, id: SectionId, field: usize, value: u64) -> Self {
        let place = SectionId::ALL.iter().position(|it| *it == id).unwrap();
        self.put(96 + 40 * place + 8 * field, &value.to_le_bytes())
    }

    fn refused(mut self) -> FormatError {
        reseal(&mut self.bytes);
        verify_bytes(&self.bytes).expect_err("a lie")
    }

    fn slots(&self) -> Vec<usize> {
        let keys = &self.bytes[self.start(SectionId::Keys)..];
        let taken = keys
            .chunks(SLOT)
            .enumerate()
            .filter(|(_, slot)| slot.iter().any(|b| *b != 0));
        taken.map(|(at, _)| at).collect()
    }

    fn slot(&self, at: usize) -> Vec<u8> {
        let start = self.start(SectionId::Keys) + at * SLOT;
        self.bytes[start..start + SLOT].to_vec()
    }

    fn key_fault(self) -> KeyFault {
        match self.refused() {
            FormatError::Key { fault, .. } => fault,
            other => panic!("{other}"),
        }
    }

    fn app_fault(self) -> AppFault {
        match self.refused() {
            FormatError::App { fault, .. } => fault,
            other => panic!("{other}"),
        }
    }
}

fn forged() -> Forged {
    Forged::new(&fixture(20))
}

#[test]
fn resealing_an_honest_file_changes_nothing() {
    let bytes = fixture(20).bytes(3);
    let mut sealed = bytes.clone();
    reseal(&mut sealed);
    assert!(sealed == bytes);
}

#[test]
fn another_version_is_refused_before_anything_else_is_believed() {
    let forged = forged().put(8, &2_u32.to_le_bytes()).put(40, &[0xff; 400]);
    let refused = verify_bytes(&forged.bytes).expect_err("version 2");
    assert!(
        matches!(refused, FormatError::Version { found: 2 }),
        "{refused}"
    );
}

#[test]
fn header_fields_that_do_not_fit_each_other_are_refused() {
    assert!(matches!(
        forged().put(0, b"\x89KWS\n").refused(),
        FormatError::Magic
    ));
    assert!(matches!(
        forged().put(12, &[3]).refused(),
        FormatError::Kind { found: 3 }
    ));
    let generation = |forged: Forged| matches!(forged.refused(), FormatError::Generation { .. });
    assert!(generation(forged().put(16, &[0; 8])));
    assert!(generation(forged().put(32, &[1])));
    assert!(generation(forged().put(40, &[1])));
    assert!(generation(forged().put(12, &[2])));
    assert!(generation(forged().put(12, &[2]).put(32, &[3])));
    assert!(matches!(
        forged().put(48, &[0; 8]).refused(),
        FormatError::Length { .. }
    ));
    assert!(matches!(
        forged().put(64, &[1]).refused(),
        FormatError::Peppers
    ));
    assert!(matches!(
        forged().put(300, &[1]).refused(),
        FormatError::HeaderReserved
    ));
}

#[test]
fn sections_anywhere_but_in_their_place_are_refused() {
    for id in SectionId::ALL {
        let row = *forged().header.section(id);
        for field in [1, 2, 3] {
            let honest = [0, row.offset, row.length, row.count][field];
            for lie in [
                0,
                1,
                honest + 1,
                honest + 64,
                u64::MAX,
                u64::MAX - honest,
                1 << 63,
            ] {
                if lie == honest {
                    continue;
                }
                forged().in_row(id, field, lie).refused();
            }
        }
        let place = SectionId::ALL.iter().position(|it| *it == id).unwrap();
        for at in [0, 4] {
            let refused = forged().put(96 + 40 * place + at, &[9]).refused();
            assert!(matches!(refused, FormatError::Layout { section } if section == id));
        }
    }
}

#[test]
fn bytes_between_sections_are_refused() {
    let forged = forged();
    let end = forged.start(SectionId::Grants) - 1;
    let refused = forged.put(end, &[1]).refused();
    assert!(
        matches!(
            refused,
            FormatError::Padding {
                section: SectionId::Grants
            }
        ),
        "{refused}"
    );
}

#[test]
fn keys_where_no_lookup_finds_them_are_refused() {
    let slots = forged().slots();
    let free = (0..)
        .find(|at| !slots.contains(at) && *at > slots[3])
        .unwrap();
    let (first, second) = (slots[3], slots[4]);

    let moved = |from: usize, to: usize| {
        let slot = forged().slot(from);
        let gone = forged().in_section(SectionId::Keys, from * SLOT, &[0; SLOT]);
        gone.in_section(SectionId::Keys, to * SLOT, &slot)
    };
    let misplaced = [KeyFault::Misplaced, KeyFault::Unordered];
    assert!(misplaced.contains(&moved(first, free).key_fault()));

    let (a, b) = (forged().slot(first), forged().slot(second));
    let swapped = forged()
        .in_section(SectionId::Keys, first * SLOT, &b)
        .in_section(SectionId::Keys, second * SLOT, &a);
    assert!(misplaced.contains(&swapped.key_fault()));

    let twice = forged().in_section(SectionId::Keys, second * SLOT, &a);
    assert_eq!(twice.key_fault(), KeyFault::Unordered);
}

#[test]
fn records_that_are_not_records_are_refused() {
    let at = forged().slots()[0] * SLOT;
    let fault = |offset: usize, bytes: &[u8]| {
        forged()
            .in_section(SectionId::Keys, at + offset, bytes)
            .key_fault()
    };
    assert_eq!(fault(16, &[0; 8]), RecordError::IdZero.into());
    assert_eq!(fault(24, &[0; 4]), RecordError::NumberZero.into());
    assert_eq!(fault(28, &[0; 4]), RecordError::AppZero.into());
    assert_eq!(fault(28, &[9]), KeyFault::AppUnknown(9));
    assert_eq!(fault(40, &[0]), RecordError::State(0).into());
    assert_eq!(fault(41, &[3]), RecordError::Environment(3).into());
    assert_eq!(fault(63, &[1]), RecordError::Reserved.into());
    let refused = forged()
        .in_section(SectionId::Keys, at + 42, &[7])
        .refused();
    assert!(matches!(refused, FormatError::Peppers), "{refused}");
    let gone = forged()
        .in_section(SectionId::Keys, at, &[0; SLOT])
        .refused();
    assert!(
        matches!(gone, FormatError::KeyCount { expected: 20 }),
        "{gone}"
    );
}

#[test]
fn a_capacity_that_makes_lookups_slow_or_miss_is_refused() {
    for capacity in [0, 24, 31, u64::MAX, u64::MAX / 4, 1 << 62] {
        let refused = forged().put(56, &u64::to_le_bytes(capacity)).refused();
        let expected = matches!(
            refused,
            FormatError::Capacity { .. } | FormatError::Key { .. }
        );
        assert!(expected, "{capacity}: {refused}");
    }
}

#[test]
fn digests_that_all_have_one_home_are_refused_by_the_writer() {
    let mut hot = fixture(2);
    let like = hot.keys[0];
    hot.keys = (0..5_000_u64)
        .map(|n| {
            let mut digest = [0x55; 16];
            digest[8..].copy_from_slice(&n.to_be_bytes());
            KeyRecord {
                digest: Digest(digest),
                ..like
            }
        })
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let refused = hot
        .publish(directory.path(), 1)
        .expect_err("refused")
        .to_string();
    assert!(refused.contains("further from its home slot"), "{refused}");
}

#[test]
fn apps_that_do_not_hold_together_are_refused() {
    let apps = |at: usize, bytes: &[u8]| forged().in_section(SectionId::Apps, at, bytes);
    assert_eq!(apps(0, &[0]).app_fault(), AppFault::Unordered);
    assert_eq!(apps(24, &[1]).app_fault(), AppFault::Unordered);
    assert_eq!(apps(4, &[9]).app_fault(), AppFault::TenantUnknown(9));
    assert_eq!(apps(8, &[1]).app_fault(), AppFault::Place);
    assert_eq!(apps(12, &[1]).app_fault(), AppFault::Place);
    assert_eq!(apps(16, &[0xff; 4]).app_fault(), AppFault::Place);
    assert_eq!(apps(20, &[255]).app_fault(), AppFault::Place);
    assert_eq!(apps(20, &[0]).app_fault(), AppFault::Name);
    assert_eq!(apps(21, &[2]).app_fault(), AppFault::Flags);
    assert_eq!(apps(22, &[2]).app_fault(), AppFault::Flags);
    assert_eq!(apps(23, &[1]).app_fault(), AppFault::Flags);
    // One grant less leaves one that no app owns.
    assert!(matches!(
        apps(24 + 16, &[1]).refused(),
        FormatError::Layout { .. }
    ));
    assert!(matches!(
        apps(24 + 20, &[4]).refused(),
        FormatError::Layout { .. }
    ));

    let grants = |at: usize, bytes: &[u8]| forged().in_section(SectionId::Grants, at, bytes);
    assert_eq!(grants(0, &[9]).app_fault(), AppFault::ApiUnknown(9));
    assert_eq!(grants(4, &[9]).app_fault(), AppFault::PlanUnknown(9));
    assert_eq!(grants(8, &[2]).app_fault(), AppFault::GrantsUnordered);

    let names = |bytes: &[u8]| {
        forged()
            .in_section(SectionId::Strings, 0, bytes)
            .app_fault()
    };
    for name in [b"M".as_slice(), b"\xff", b"\0", b".", "é".as_bytes()] {
        assert_eq!(names(name), AppFault::Name);
    }
}

#[test]
fn catalogs_that_a_node_does_not_understand_are_refused() {
    let catalog = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let forged = forged();
        let text = String::from_utf8_lossy(&forged.bytes).into_owned();
        assert!(text.contains(from), "{text}");
        let start = forged
            .bytes
            .windows(from.len())
            .position(|it| it == from.as_bytes())
            .unwrap();
        forged.put(start, to.as_bytes()).refused()
    };
    let unknown_field = catalog("\"key_required\"", "\"kez_required\"");
    assert!(
        matches!(unknown_field, FormatError::CatalogSyntax(_)),
        "{unknown_field}"
    );
    let not_utf8 = forged()
        .in_section(SectionId::Catalog, 5, &[0xff])
        .refused();
    assert!(
        matches!(not_utf8, FormatError::CatalogSyntax(_)),
        "{not_utf8}"
    );
    let wrong = catalog("127.0.0.1:9000", "127.0.0.1:none");
    assert_eq!(
        wrong.to_string(),
        "the catalog is wrong at upstreams[0].targets[0]: must be an IP address or a host name \
         with a port, such as 127.0.0.1:9000, [::1]:9000 or app.internal:9000, or a socket such as \
         unix:/run/app.sock"
    );
}

#[test]
fn an_overlay_over_another_base_is_refused() {
    let base = fixture(20).bytes(3);
    let like = fixture(21).bytes(3);
    let over = overlay([]).overlay_bytes(&like, 5);
    let refused = load_bytes(&base, Some(&over)).expect_err("another base");
    assert!(
        matches!(refused, LoadError::OverlayBase { base: 3 }),
        "{refused}"
    );
    let refused = load_bytes(&base, Some(&base)).expect_err("no overlay");
    assert!(
        matches!(refused, LoadError::OverlayBase { base: 3 }),
        "{refused}"
    );
}

#[test]
fn an_overlay_key_of_an_app_that_does_not_exist_is_refused() {
    let fixture = fixture(20);
    let base = fixture.bytes(3);
    let mut key = fixture.keys[0];
    key.app = 77;
    let over = overlay([key]).overlay_bytes(&base, 5);
    let refused = load_bytes(&base, Some(&over)).expect_err("no such app");
    assert!(
        matches!(refused, LoadError::AppUnknown { app: 77, .. }),
        "{refused}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// What the fuzzer does, for a moment in every test run.
    #[test]
    fn no_forgery_panics_and_what_is_accepted_can_be_looked_up(
        keys in 0..20_u64,
        changes in proptest::collection::vec(
            (any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..6),
    ) {
        let mut bytes = fixture(keys).bytes(3);
        for (place, byte, in_header) in changes {
            let end = if in_header { HEADER_BYTES } else { bytes.len() };
            bytes[place.index(end)] = byte;
        }
        reseal(&mut bytes);
        if let Ok(summary) = verify_bytes(&bytes) {
            let view = load_bytes(&bytes, None);
            // An overlay is whole by itself, but no view without its base.
            prop_assert_eq!(view.is_ok(), summary.base_generation.is_none());
            if let Ok(view) = view {
                super::answers(&view, keys);
                prop_assert_eq!(view.keys(), summary.keys_alive);
            }
        }
    }
}
