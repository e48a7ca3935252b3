//! Feeds the head parsers, of requests and of responses, bytes that strangers wrote.
//!
//! The checks are those of the parser's own tests: one answer however the stream is split, and
//! what is accepted says what its bytes say. The first byte tells how many cuts follow it.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../parse/request.rs"]
mod request;
#[path = "../../parse/response.rs"]
mod response;

fuzz_target!(|input: &[u8]| {
    let Some((count, rest)) = input.split_first() else {
        return;
    };
    let (cuts, stream) = rest.split_at(usize::from(count % 8).min(rest.len()));
    let cuts: Vec<usize> = cuts.iter().map(|cut| usize::from(*cut)).collect();
    // Longer streams only repeat the answer of the small limits' worth.
    let stream = &stream[..stream.len().min(400)];
    request::check(stream, &cuts);
    response::check(stream, &cuts);
});
