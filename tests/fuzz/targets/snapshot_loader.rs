//! Feeds the snapshot loader files that no honest writer makes.
//!
//! The first byte picks what the rest is: the bytes of a file, or a list of changes to an honest
//! file; and whether the checksums are made to match afterwards, as a hostile writer would. Without
//! that, and without an honest start, the fuzzer would hardly get past the first checksum.

#![no_main]

use std::sync::LazyLock;

use keyway::snapshot::fixture::{Fixture, digest, reseal};
use keyway::snapshot::load::{load_bytes, verify_bytes};
use libfuzzer_sys::fuzz_target;

/// Keys of the honest files.
const KEYS: u64 = 24;

static BASE: LazyLock<Vec<u8>> = LazyLock::new(|| fixture().bytes(3));
static OVERLAY: LazyLock<Vec<u8>> = LazyLock::new(|| fixture().overlay_bytes(&BASE, 7));

fn fixture() -> Fixture {
    Fixture::new()
        .upstream("origin", &["127.0.0.1:9000", "[::1]:9001"])
        .api("orders", "origin", &["/orders/*"])
        .api("stock", "origin", &["/stock", "/stock/{id}"])
        .plan("free", 10, 1_000)
        .plan("gold", 1_000, 60_000)
        .app("mobile", &[("orders", "free")])
        .keys((1..=KEYS / 2).map(digest))
        .tenant("zeta")
        .app("kiosk", &[("stock", "gold"), ("orders", "gold")])
        .keys((KEYS / 2 + 1..=KEYS).map(digest))
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else {
        return;
    };
    let overlay = mode & 2 != 0;
    let mut bytes = if mode & 1 == 0 {
        rest.to_vec()
    } else {
        changed(if overlay { &OVERLAY } else { &BASE }, rest)
    };
    if mode & 4 != 0 {
        reseal(&mut bytes);
    }
    let verified = verify_bytes(&bytes);
    let view = if overlay {
        load_bytes(&BASE, Some(&bytes))
    } else {
        load_bytes(&bytes, None)
    };
    let Ok(view) = view else {
        // A base that is whole by itself makes a view.
        assert!(overlay || verified.map_or(true, |summary| summary.base_generation.is_some()));
        return;
    };
    let summary = verified.expect("what makes a view is whole");
    assert_eq!(view.generation(), summary.generation);
    let found = (1..=KEYS)
        .filter(|n| view.key(&digest(*n)).is_some())
        .count();
    assert!(overlay || u64::try_from(found).is_ok_and(|found| found <= summary.keys));
    for number in (0..8).chain([u32::MAX]) {
        if let Some(app) = view.app(number) {
            assert_eq!(app.number, number);
            let _ = (0..4).filter_map(|api| app.plan_for(api)).count();
        }
    }
});

/// Applies changes of 4 to 12 bytes each: what, where, and with which bytes.
fn changed(honest: &[u8], mut changes: &[u8]) -> Vec<u8> {
    let mut bytes = honest.to_vec();
    while let Some(([what, low, high], rest)) = changes.split_first_chunk() {
        let place = usize::from(u16::from_le_bytes([*low, *high])) % (bytes.len() + 1);
        let width = [1, 2, 4, 8][usize::from(what >> 2 & 3)].min(rest.len());
        let (value, rest) = rest.split_at(width);
        match what & 3 {
            // Overwrite.
            0 | 1 => {
                let room = width.min(bytes.len() - place);
                bytes[place..place + room].copy_from_slice(&value[..room]);
            }
            // Copy one slot or row over another.
            2 => {
                let from = value
                    .iter()
                    .fold(0, |at, byte| at << 8 | usize::from(*byte));
                let from = from % (bytes.len() + 1);
                let room = 64.min(bytes.len() - from).min(bytes.len() - place);
                bytes.copy_within(from..from + room, place);
            }
            // Cut, or write on at the end.
            _ if what & 16 == 0 => bytes.truncate(place),
            _ => bytes.extend_from_slice(value),
        }
        changes = rest;
    }
    bytes
}
