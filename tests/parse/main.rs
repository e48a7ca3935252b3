//! Framing under any split: what arrives in pieces gets the answer of what arrives at once, and
//! what is accepted says what its bytes say.
//!
//! The checks of [`request`], [`response`] and [`chunked`] take any bytes; here proptest brings
//! them, bent from well-formed messages, and the fuzz targets bring theirs.

mod bent;
mod chunked;
mod request;
mod response;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_request_head_is_judged_alike_in_any_split(
        bytes in bent::requests(),
        cuts in bent::cuts(),
    ) {
        request::check(&bytes, &cuts);
    }

    #[test]
    fn a_response_head_is_judged_alike_in_any_split(
        bytes in bent::responses(),
        cuts in bent::cuts(),
    ) {
        response::check(&bytes, &cuts);
    }

    #[test]
    fn a_chunked_body_decodes_alike_in_any_split_and_as_the_model_has_it(
        bytes in bent::chunked(),
        cuts in bent::cuts(),
    ) {
        chunked::check(&bytes, &cuts);
    }

    #[test]
    fn any_payload_comes_through_its_chunks(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 0..20),
        cuts in bent::cuts(),
    ) {
        let mut body = Vec::new();
        for chunk in &chunks {
            body.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            body.extend(chunk);
            body.extend(b"\r\n");
        }
        body.extend(b"0\r\n\r\n");
        let end = body.len();
        body.extend(b"GET / HTTP/1.1\r\n");
        let decoded = chunked::decode(&body, &cuts).map(|all| all.map(|(parts, end)| (parts.payload, end)));
        prop_assert_eq!(decoded, Ok(Some((chunks.concat(), end))));
        chunked::check(&body, &cuts);
    }
}

#[test]
fn the_bent_messages_reach_every_kind_of_answer() {
    // A generator that only ever made refusals would prove nothing above.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut answers = std::collections::BTreeSet::new();
    for _ in 0..3000 {
        let mut sample = |strategy: BoxedStrategy<Vec<u8>>| {
            strategy.new_tree(&mut runner).expect("a sample").current()
        };
        answers.insert(format!(
            "request {}",
            request::kind(&sample(bent::requests()))
        ));
        answers.insert(format!(
            "response {}",
            response::kind(&sample(bent::responses()))
        ));
        answers.insert(format!(
            "chunked {}",
            chunked::kind(&sample(bent::chunked()))
        ));
    }
    for expected in [
        "request complete",
        "request partial",
        "request HeadMalformed",
        "request HeadTooLarge",
        "request TargetTooLong",
        "request TooManyHeaders",
        "request VersionUnsupported",
        "request CodingUnsupported",
        "request FramingInvalid",
        "request ExpectationUnknown",
        "request PathUnsafe",
        "request MethodUnsupported",
        "response complete",
        "response partial",
        "response HeadMalformed",
        "response HeadTooLarge",
        "response TooManyHeaders",
        "response StatusInvalid",
        "response FramingInvalid",
        "chunked complete",
        "chunked partial",
        "chunked SizeInvalid",
        "chunked SizeTooLarge",
        "chunked ExtensionInvalid",
        "chunked LineEndInvalid",
        "chunked ChunkUnterminated",
        "chunked TrailerInvalid",
    ] {
        assert!(
            answers.contains(expected),
            "never {expected}; only {answers:#?}"
        );
    }
}
