//! What must hold for [`parse_response`] whatever the bytes are.

use std::mem::MaybeUninit;

use keyway::parse::{BodyFraming, HeadLimits, ResponseError, ResponseHead, Status, parse_response};

/// Small, so that short inputs reach them.
const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 200,
    target_bytes_max: 0,
    headers_max: 8,
};

/// A head with all that was read from it, and its length; `None` while it is partial.
type Answer = Result<Option<(String, usize)>, ResponseError>;

fn answer(bytes: &[u8], to_head: bool) -> Answer {
    let mut slots = [const { MaybeUninit::uninit() }; 16];
    Ok(match parse_response(bytes, &mut slots, &LIMITS, to_head)? {
        Status::Partial => None,
        Status::Complete((head, head_bytes)) => {
            check_faithful(&head, &bytes[..head_bytes], to_head);
            let ResponseHead {
                status,
                reason,
                version,
                headers,
                framing,
                keep_alive,
                ..
            } = head;
            let all = format!("{status} {reason} {version:?} {headers:?} {framing:?} {keep_alive}");
            Some((all, head_bytes))
        }
    })
}

/// The answer's name.
pub fn kind(bytes: &[u8]) -> String {
    match answer(bytes, false) {
        Ok(None) => "partial".to_owned(),
        Ok(Some(_)) => "complete".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

/// Checks that `bytes` get one answer, however they are split.
pub fn check(bytes: &[u8], cuts: &[usize]) {
    for to_head in [false, true] {
        let whole = answer(bytes, to_head);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| (*cut).min(bytes.len())).collect();
        ends.sort_unstable();
        ends.push(bytes.len());
        assert_eq!(
            first(bytes, to_head, ends.into_iter()),
            whole,
            "cut at {cuts:?}"
        );
        assert_eq!(
            first(bytes, to_head, 0..=bytes.len()),
            whole,
            "octet by octet"
        );
    }
}

/// The first answer that is not partial, as the ever longer starts of `bytes` arrive.
fn first(bytes: &[u8], to_head: bool, ends: impl Iterator<Item = usize>) -> Answer {
    for end in ends {
        let answer = answer(&bytes[..end], to_head);
        if answer != Ok(None) {
            return answer;
        }
    }
    Ok(None)
}

/// Checks what was read against the bytes, line by line and without cleverness.
fn check_faithful(head: &ResponseHead<'_, '_>, bytes: &[u8], to_head: bool) {
    let text: String = bytes.iter().map(|octet| char::from(*octet)).collect();
    let lines: Vec<&str> = text
        .strip_suffix("\r\n\r\n")
        .expect("an empty line")
        .split("\r\n")
        .collect();
    for line in &lines {
        assert!(!line.is_empty());
        assert!(
            !line.contains(|letter: char| letter.is_ascii_control() && letter != '\t'),
            "{line:?}"
        );
    }
    assert!(
        lines[0].starts_with("HTTP/1.") && lines[0][8..].starts_with(&format!(" {}", head.status))
    );
    assert_eq!(lines.len() - 1, head.headers.len());
    for (line, header) in lines[1..].iter().zip(head.headers) {
        let (name, value) = line.split_once(':').expect("a colon");
        let read: String = header
            .value
            .iter()
            .map(|octet| char::from(*octet))
            .collect();
        assert_eq!(
            (name, value.trim_matches([' ', '\t'])),
            (header.name, read.as_str())
        );
    }
    let bodiless = to_head || matches!(head.status, 100..=199 | 204 | 304);
    assert_eq!(head.framing == BodyFraming::Empty, bodiless);
    assert!(head.framing != BodyFraming::UntilClose || !head.keep_alive);
}
