//! Feeds the chunked decoder bytes that strangers wrote.
//!
//! The checks are those of the decoder's own tests: the payload of a slow and simple model, however
//! the stream is split. The first byte tells how many cuts follow it.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../parse/chunked.rs"]
mod chunked;

fuzz_target!(|input: &[u8]| {
    let Some((count, rest)) = input.split_first() else {
        return;
    };
    let (cuts, stream) = rest.split_at(usize::from(count % 8).min(rest.len()));
    let cuts: Vec<usize> = cuts.iter().map(|cut| usize::from(*cut)).collect();
    chunked::check(&stream[..stream.len().min(2000)], &cuts);
});
