//! Switching protocols (RFC 9110, section 7.8): which one a request asks for, and whether an answer
//! grants it.
//!
//! A request may offer to go on in another protocol. Only one that its API allows is passed on, and
//! only the target's 101 opens the tunnel: a gateway that takes a request for a switch by itself
//! lets a client speak to the target past every check. `h2c` is never passed: requests inside it
//! would not be judged.

use crate::parse::headers::{ConnectionTokens, Kind, kind, split_list};
use crate::parse::{BodyFraming, RequestHead, ResponseHead};

/// The protocol that a request may switch to, in the client's spelling; `allowed` are lower case.
///
/// A request with a body is not switched: what follows its head would be a body to one reader and
/// the new protocol to another.
pub fn asked<'b>(head: &RequestHead<'_, 'b>, allowed: &[String]) -> Option<&'b str> {
    let offered = head.upgrade?;
    if head.method != "GET" || head.framing != BodyFraming::Empty {
        return None;
    }
    split_list(offered)
        .filter_map(|protocol| std::str::from_utf8(protocol).ok())
        .find(|protocol| allowed.iter().any(|one| protocol.eq_ignore_ascii_case(one)))
}

/// Whether a 101 switches to `protocol` and to nothing else.
///
/// RFC 9110, section 7.8: "A server that sends a 101 (Switching Protocols) response MUST send an
/// Upgrade header field to indicate the new protocol(s)" and "MUST NOT switch to a protocol that
/// was not indicated by the client".
pub fn is_granted(head: &ResponseHead<'_, '_>, protocol: &str) -> bool {
    let mut named = head
        .headers
        .iter()
        .filter(|header| kind(header.name) == Kind::Upgrade)
        .flat_map(|header| split_list(header.value));
    named
        .next()
        .is_some_and(|one| one.eq_ignore_ascii_case(protocol.as_bytes()))
        && named.next().is_none()
        && ConnectionTokens::of(head.headers).contains("upgrade")
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use super::*;
    use crate::parse::{HeadLimits, Status, parse_request, parse_response};

    const LIMITS: HeadLimits = HeadLimits {
        head_bytes_max: 4_096,
        target_bytes_max: 100,
        headers_max: 16,
    };

    fn asked_in(request: &str, allowed: &[&str]) -> Option<String> {
        let allowed: Vec<String> = allowed.iter().map(|one| (*one).to_owned()).collect();
        let mut slots = [const { MaybeUninit::uninit() }; 16];
        let text = format!("{request}\r\n");
        match parse_request(text.as_bytes(), &mut slots, &LIMITS) {
            Ok(Status::Complete((head, _))) => asked(&head, &allowed).map(str::to_owned),
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn what_the_api_allows_is_passed_on() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n";
        for (offer, expected) in [
            ("Upgrade: websocket\r\n", Some("websocket")),
            ("Upgrade: WebSocket\r\n", Some("WebSocket")),
            ("Upgrade: h2c, websocket\r\n", Some("websocket")),
            ("Upgrade: h2c\r\n", None),
            ("Upgrade: websocket/13\r\n", None),
            ("Upgrade: websocket\r\nUpgrade: websocket\r\n", None),
            ("", None),
        ] {
            let found = asked_in(&format!("{head}{offer}"), &["websocket"]);
            assert_eq!(found.as_deref(), expected, "{offer}");
        }
        assert_eq!(
            asked_in(&format!("{head}Upgrade: websocket\r\n"), &[]),
            None
        );
    }

    #[test]
    fn only_a_plain_get_that_asks_on_this_connection_is_switched() {
        for request in [
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Content-Length: 3\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Transfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(asked_in(request, &["websocket"]), None, "{request}");
        }
    }

    #[test]
    fn an_answer_that_switches_to_anything_else_grants_nothing() {
        for (fields, expected) in [
            ("Connection: Upgrade\r\nUpgrade: WebSocket\r\n", true),
            ("Connection: Upgrade\r\nUpgrade: h2c\r\n", false),
            ("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n", false),
            ("Connection: Upgrade\r\n", false),
            ("Upgrade: websocket\r\n", false),
        ] {
            let text = format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n");
            let mut slots = [const { MaybeUninit::uninit() }; 16];
            let parsed = parse_response(text.as_bytes(), &mut slots, &LIMITS, false);
            let Ok(Status::Complete((head, _))) = parsed else {
                panic!("{text:?}: {parsed:?}");
            };
            assert_eq!(is_granted(&head, "websocket"), expected, "{fields}");
        }
    }
}
