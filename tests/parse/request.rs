//! What must hold for [`parse_request`] whatever the bytes are.

use std::mem::MaybeUninit;

use keyway::parse::{BodyFraming, HeadLimits, RequestHead, Status, Version, parse_request};
use keyway::refusal::Refusal;
use keyway::route::path::check_path;

/// Small, so that short inputs reach them.
const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 200,
    target_bytes_max: 64,
    headers_max: 8,
};

/// A head with all that was read from it, and its length; `None` while it is partial.
type Answer = Result<Option<(String, usize)>, Refusal>;

fn answer(bytes: &[u8]) -> Answer {
    let mut slots = [const { MaybeUninit::uninit() }; 16];
    Ok(match parse_request(bytes, &mut slots, &LIMITS)? {
        Status::Partial => None,
        Status::Complete((head, head_bytes)) => {
            check_faithful(&head, &bytes[..head_bytes]);
            Some((all_of(&head), head_bytes))
        }
    })
}

/// The answer's name.
pub fn kind(bytes: &[u8]) -> String {
    match answer(bytes) {
        Ok(None) => "partial".to_owned(),
        Ok(Some(_)) => "complete".to_owned(),
        Err(refusal) => format!("{refusal:?}"),
    }
}

/// Checks that `bytes` get one answer, however they are split.
pub fn check(bytes: &[u8], cuts: &[usize]) {
    let whole = answer(bytes);
    let mut ends: Vec<usize> = cuts.iter().map(|cut| (*cut).min(bytes.len())).collect();
    ends.sort_unstable();
    ends.push(bytes.len());
    assert_eq!(first(bytes, ends.into_iter()), whole, "cut at {cuts:?}");
    assert_eq!(first(bytes, 0..=bytes.len()), whole, "octet by octet");
}

/// The first answer that is not partial, as the ever longer starts of `bytes` arrive.
fn first(bytes: &[u8], ends: impl Iterator<Item = usize>) -> Answer {
    for end in ends {
        let answer = answer(&bytes[..end]);
        if answer != Ok(None) {
            return answer;
        }
    }
    Ok(None)
}

/// Checks what was read against the bytes, line by line and without cleverness.
fn check_faithful(head: &RequestHead<'_, '_>, bytes: &[u8]) {
    assert!(bytes.len() <= LIMITS.head_bytes_max);
    let text: String = bytes.iter().map(|octet| char::from(*octet)).collect();
    let text = text.strip_prefix("\r\n").unwrap_or(&text);
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
    let version = if head.version == Version::H10 {
        "1.0"
    } else {
        "1.1"
    };
    assert_eq!(
        lines[0],
        format!("{} {} HTTP/{version}", head.method, head.target)
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
        assert!(!name.is_empty() && !name.contains([' ', '\t']));
    }
    check_meaning(head);
}

/// Checks what no accepted request may be.
fn check_meaning(head: &RequestHead<'_, '_>) {
    let count = |name: &str| head.values(name).count();
    assert!(count("host") == 1 || (head.version == Version::H10 && count("host") == 0));
    assert!(count("content-length") + count("transfer-encoding") <= 1);
    assert!(!["CONNECT", "TRACE"].contains(&head.method));
    match head.framing {
        BodyFraming::Empty => assert_eq!(count("content-length") + count("transfer-encoding"), 0),
        BodyFraming::Length(_) => assert_eq!(count("content-length"), 1),
        BodyFraming::Chunked => assert_eq!(count("transfer-encoding"), 1),
        BodyFraming::UntilClose => panic!("a request cannot end with its connection"),
    }
    assert!(head.path == "*" || check_path(head.path).is_ok());
    assert!(!head.host.is_empty() || head.version == Version::H10);
    assert!(
        head.target.contains(head.authority)
            || head.values("host").next() == Some(head.authority.as_bytes())
    );
}

/// All fields; the debug form keeps values to itself.
fn all_of(head: &RequestHead<'_, '_>) -> String {
    format!(
        "{} {} {} {:?} {:?} {} {} {:?} {:?} {} {} {:?} {} {}",
        head.method,
        head.target,
        head.path,
        head.query,
        head.version,
        head.host,
        head.authority,
        head.headers,
        head.framing,
        head.keep_alive,
        head.expect_continue,
        head.upgrade,
        head.accepts_trailers,
        head.names_hop_headers,
    )
}
