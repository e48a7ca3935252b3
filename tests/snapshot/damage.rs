//! No changed byte is believed: every flip and every cut is refused, or changes no answer.

use keyway::snapshot::format::FormatError;
use keyway::snapshot::load::{load_bytes, verify_bytes};
use keyway::snapshot::manifest::Manifest;

use super::{answers, fixture, load_first, overlay, revoked};

/// Every way of changing one byte would take 255 times as long; these reach each bit alone and
/// all of them together.
const FLIPS: [u8; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 255];

fn each_flip(bytes: &[u8], mut check: impl FnMut(usize, &[u8])) {
    let mut changed = bytes.to_vec();
    for at in 0..bytes.len() {
        for flip in FLIPS {
            changed[at] ^= flip;
            check(at, &changed);
            changed[at] ^= flip;
        }
    }
}

#[test]
fn every_byte_flipped_in_a_base_is_refused() {
    let bytes = fixture(6).bytes(3);
    let expected = answers(&load_bytes(&bytes, None).expect("whole"), 6);
    let mut refused = 0;
    each_flip(&bytes, |at, changed| match load_bytes(changed, None) {
        Ok(view) => assert_eq!(answers(&view, 6), expected, "byte {at} changed an answer"),
        Err(_) => refused += 1,
    });
    assert_eq!(refused, bytes.len() * FLIPS.len());
}

#[test]
fn every_byte_flipped_in_an_overlay_is_refused() {
    let fixture = fixture(6);
    let base = fixture.bytes(3);
    let bytes = overlay([revoked(&fixture, 2)]).overlay_bytes(&base, 5);
    load_bytes(&base, Some(&bytes)).expect("whole");
    each_flip(&bytes, |at, changed| {
        assert!(load_bytes(&base, Some(changed)).is_err(), "byte {at}");
    });
}

#[test]
fn every_byte_flipped_in_the_manifest_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = fixture(6);
    fixture.publish(directory.path(), 3).unwrap();
    overlay([revoked(&fixture, 2)])
        .publish_overlay(directory.path(), 5)
        .unwrap();
    let bytes = std::fs::read(directory.path().join("CURRENT")).unwrap();
    Manifest::decode(&bytes).expect("whole");
    each_flip(&bytes, |at, changed| {
        assert!(Manifest::decode(changed).is_err(), "byte {at}");
    });
    for length in 0..bytes.len() {
        assert!(
            Manifest::decode(&bytes[..length]).is_err(),
            "cut at {length}"
        );
    }
    assert!(Manifest::decode(&[&bytes[..], b"\n"].concat()).is_err());
}

#[test]
fn a_file_cut_at_any_length_is_refused() {
    let bytes = fixture(6).bytes(3);
    for length in 0..bytes.len() {
        let refused = verify_bytes(&bytes[..length]).expect_err("cut");
        match refused {
            FormatError::NoHeader { .. } => assert!(length < 512),
            FormatError::Length { .. } => assert!(length >= 512),
            other => panic!("cut at {length}: {other}"),
        }
    }
}

#[test]
fn a_file_with_something_after_its_end_is_refused() {
    let mut bytes = fixture(6).bytes(3);
    bytes.push(0);
    assert!(matches!(
        verify_bytes(&bytes),
        Err(FormatError::Length { .. })
    ));
}

#[test]
fn a_damaged_file_in_the_directory_is_refused_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = fixture(6).publish(directory.path(), 3).unwrap();
    let path = directory.path().join(&manifest.base.file);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let refused = load_first(directory.path())
        .expect_err("damaged")
        .to_string();
    assert!(refused.contains(&manifest.base.file), "{refused}");
    assert!(refused.contains("section keys is damaged"), "{refused}");
}
