//! Where one message ends and the next begins, and what happens to those who make it unclear.

mod support;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use support::request::chunked;
use support::wire::Framing;
use support::{Broken, Client, Flow, Gateway, Origin, World, get, post, request};

/// A request that must never be judged, let alone be forwarded.
fn hidden(key: &str) -> String {
    format!(
        "GET /orders/hidden HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {key}\r\n\r\n"
    )
}

/// Sends `bytes`, expects one refusal with one of these statuses, and then the end.
#[track_caller]
fn refused_and_closed(gateway: &Gateway, bytes: &[u8], statuses: &[u16]) {
    let shown = String::from_utf8_lossy(bytes).into_owned();
    let mut client = gateway.client();
    client.send(bytes);
    let answer = client
        .try_read()
        .unwrap_or_else(|broken| panic!("{broken:?} after {shown:?}"));
    assert!(
        statuses.contains(&answer.status),
        "{} after {shown:?}",
        answer.status
    );
    assert_eq!(
        answer.header("connection"),
        Some("close"),
        "after {shown:?}"
    );
    client.finish();
    client.assert_closed();
}

#[test]
fn an_ambiguous_length_is_refused_and_nothing_behind_it_is_read() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let key = gateway.world.key.clone();
    let hidden = hidden(&key);
    for (fields, status) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
        ("Content-Length: 5\r\nContent-Length: 6", 400),
        ("Content-Length: 5\r\nContent-Length: 5", 400),
        ("Content-Length: 5, 5", 400),
        ("Content-Length: +5", 400),
        ("Content-Length: -5", 400),
        ("Content-Length: 0x5", 400),
        ("Content-Length: 5 ", 200),
        ("Content-Length: 5 5", 400),
        ("Content-Length: 99999999999999999999", 400),
        ("Content-Length:", 400),
        ("Content-Length: five", 400),
        ("Transfer-Encoding: chunked, chunked", 400),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            400,
        ),
        ("Transfer-Encoding: identity", 501),
        ("Transfer-Encoding: chunked, gzip", 400),
        ("Transfer-Encoding: xchunked", 501),
        ("Transfer-Encoding: \"chunked\"", 400),
        ("Transfer-Encoding: chunked;q=1", 400),
        ("Transfer-Encoding: \x0bchunked", 400),
        ("Transfer-Encoding:", 400),
        ("Transfer-Encoding : chunked", 400),
        ("Content-Length : 5", 400),
    ] {
        let sent = format!(
            "POST /orders/1 HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {key}\r\n\
             {fields}\r\n\r\n"
        );
        if status == 200 {
            let mut client = gateway.client();
            client.send(sent + "12345");
            client.read().assert_status(200);
        } else {
            // A coding that is not served and one that is malformed are close neighbors.
            let statuses = [status, if status == 400 { 501 } else { 400 }];
            refused_and_closed(&gateway, (sent + &hidden).as_bytes(), &statuses);
        }
    }
    let seen = origin.received();
    assert!(
        seen.iter().all(|got| !got.head.line.contains("hidden")),
        "{seen:#?}"
    );
    assert_eq!(seen.len(), 1);
}

#[test]
fn a_malformed_head_is_refused_and_nothing_behind_it_is_read() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let key = gateway.world.key.clone();
    let good = format!("Host: gateway.test\r\nAuthorization: Bearer {key}\r\n");
    for head in [
        format!("GET /orders/1 HTTP/1.1\r\nAuthorization: Bearer {key}\r\n\r\n"),
        format!(
            "GET /orders/1 HTTP/1.1\r\nHost: a\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n"
        ),
        format!("GET /orders/1 HTTP/1.1\r\nHost: a b\r\nAuthorization: Bearer {key}\r\n\r\n"),
        format!("GET /orders/1 HTTP/1.1\r\nHost: u@a\r\nAuthorization: Bearer {key}\r\n\r\n"),
        format!("GET /orders/1 HTTP/1.1\n{good}\r\n"),
        format!("GET /orders/1 HTTP/1.1\r\nX: a\n{good}\r\n"),
        format!("GET /orders/1 HTTP/1.1\r\nX: a\r{good}\r\n"),
        format!("GET /orders/1 HTTP/1.1\r\n{good}X: a\r\n folded\r\n\r\n"),
        format!("GET /orders/1 HTTP/1.1\r\n{good}X : a\r\n\r\n"),
        format!("GET /orders/1 HTTP/1.1\r\n{good}: nameless\r\n\r\n"),
        format!("GET /orders/1 HTTP/1.1\r\n{good}nocolon\r\n\r\n"),
        format!("GET /orders/1 HTTP/1.1\r\n{good}X: a\0b\r\n\r\n"),
        format!("GET /orders/1 HTTP/1.1\r\n{good}X: a\x08b\r\n\r\n"),
        format!("GET /orders/1 HTTP/1.1\r\n{good}X(: a\r\n\r\n"),
        format!("GET /orders/1 HTTP/1.1\r\n X: a\r\n{good}\r\n"),
        format!("GET  /orders/1 HTTP/1.1\r\n{good}\r\n"),
        format!("GET /orders/1  HTTP/1.1\r\n{good}\r\n"),
        format!("GET /orders/1#part HTTP/1.1\r\n{good}\r\n"),
        format!("GET /orders/\x7f HTTP/1.1\r\n{good}\r\n"),
        format!("GET /orders/\u{e9} HTTP/1.1\r\n{good}\r\n"),
        format!("GET orders/1 HTTP/1.1\r\n{good}\r\n"),
        format!("GET /orders/1\r\n{good}\r\n"),
        format!("GET /orders/1 http/1.1\r\n{good}\r\n"),
        format!("G T /orders/1 HTTP/1.1\r\n{good}\r\n"),
        format!("POST /orders/1 HTTP/1.0\r\n{good}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03".into(),
    ] {
        refused_and_closed(&gateway, (head + &hidden(&key)).as_bytes(), &[400]);
    }
    assert_eq!(origin.requests(), 0);
}

#[test]
fn a_broken_chunk_breaks_the_request_and_the_origin_never_sees_it_whole() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let key = gateway.world.key.clone();
    for body in [
        "5\r\nabcdeX\r\n0\r\n\r\n",
        "5\r\nabcde\n0\r\n\r\n",
        "5\nabcde\r\n0\r\n\r\n",
        "-5\r\nabcde\r\n0\r\n\r\n",
        "+5\r\nabcde\r\n0\r\n\r\n",
        "0x5\r\nabcde\r\n0\r\n\r\n",
        "\r\nabcde\r\n0\r\n\r\n",
        "5 \x0b\r\nabcde\r\n0\r\n\r\n",
        "g\r\nabcde\r\n0\r\n\r\n",
        "10000000000000000\r\nabcde\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabcde\r\n0\r\n\r\n",
        "5\r\nabcde\r\n0\r\nX : y\r\n\r\n",
        "5\r\nabcde\r\n0\r\n\nX: y\r\n\r\n",
    ] {
        let sent = format!(
            "POST /orders/1 HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {key}\r\n\
             Transfer-Encoding: chunked\r\n\r\n{body}{}",
            hidden(&key)
        );
        refused_and_closed(&gateway, sent.as_bytes(), &[400]);
    }
    origin.wait_until_free();
    let seen = origin.received();
    assert!(seen.iter().all(|got| !got.whole), "{seen:#?}");
    assert!(
        seen.iter().all(|got| !got.head.line.contains("hidden")),
        "{seen:#?}"
    );
}

#[test]
fn what_was_not_parsed_is_not_forwarded() {
    let origin = Origin::scripted(|turn| turn.answer("ok"));
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    client.send(format!(
        "POST /orders/1 HTTP/1.1\r\nhOsT:gateway.test\r\nAuthorization: Bearer {}\r\n\
         X-Odd:\t  spaced \t\r\nTransfer-Encoding: CHUNKED\r\nTrailer: X-Trailing\r\n\r\n\
         005;name=\"value\r\n",
        gateway.world.key
    ));
    // The quoted extension above never closes: that is a fault, so the request is.
    client.read().assert_status(400);
    let mut client = gateway.client();
    client.send(format!(
        "POST /orders/1 HTTP/1.1\r\nhOsT:gateway.test\r\nAuthorization: Bearer {}\r\n\
         X-Odd:\t  spaced \t\r\nTransfer-Encoding: CHUNKED\r\nTrailer: X-Trailing\r\n\r\n\
         005;name=value\r\nabcde\r\n0A\r\n0123456789\r\n000\r\nX-Trailing: sent\r\n\r\n",
        gateway.world.key
    ));
    client.read().assert_status(200);
    let got = origin.received().pop().expect("it came through");
    assert_eq!(got.body, b"abcde0123456789");
    assert_eq!(got.head.fields.get("host"), Some("gateway.test"));
    assert_eq!(got.head.fields.get("x-odd"), Some("spaced"));
    assert_eq!(got.head.fields.get("transfer-encoding"), Some("chunked"));
    assert!(!got.head.fields.has("x-trailing"), "{:?}", got.head);
}

/// A request with chunks and these trailers.
fn with_trailers(key: &str, fields: &str, trailers: &str) -> String {
    format!(
        "POST /orders/1 HTTP/1.1\r\nHost: gateway.test\r\nX-API-Key: {key}\r\n{fields}\
         Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n{trailers}\r\n"
    )
}

#[test]
fn trailers_of_a_request_reach_the_target_but_for_those_that_belong_into_a_header() {
    let origin = Origin::scripted(|turn| turn.answer("ok"));
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    let trailers = "X-Sum:7\r\nKeyway-Tenant: other\r\nContent-Length: 99\r\nGrpc-Status: 0\r\n";
    client.send(with_trailers(
        &gateway.world.key,
        "Trailer: X-Sum\r\n",
        trailers,
    ));
    client.read().assert_status(200);
    // And the connection goes on behind them.
    client.send(with_trailers(&gateway.world.key, "", ""));
    client.read().assert_status(200);
    let got = origin.received();
    assert_eq!(got[0].trailers, ["X-Sum: 7", "Grpc-Status: 0"]);
    assert_eq!(got[0].head.fields.get("trailer"), Some("X-Sum"));
    assert_eq!(got[0].head.fields.get("keyway-tenant"), Some("acme"));
    assert_eq!(
        (got[0].body.as_slice(), got[1].body.as_slice()),
        (&b"abc"[..], &b"abc"[..])
    );
    assert_eq!(got[1].trailers, [""; 0]);
}

#[test]
fn trailers_of_an_answer_reach_a_client_that_wants_them() {
    let origin = Origin::scripted(|turn| {
        turn.send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
             3\r\nabc\r\n0\r\nX-Sum: 7\r\nSet-Cookie: a=b\r\nX-Request-Id: mine\r\n\r\n",
        )?;
        Ok(Flow::Keep)
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    let wanted = gateway
        .good()
        .header("Connection", "TE")
        .header("TE", "trailers");
    for _ in 0..2 {
        let answer = client.exchange(&wanted);
        assert_eq!(
            (answer.body.as_slice(), answer.trailers),
            (&b"abc"[..], vec!["X-Sum: 7".to_owned()])
        );
        assert_eq!(answer.fields.get("trailer"), Some("X-Sum"));
    }
    let asked = origin.received().pop().expect("it came through").head;
    assert_eq!(asked.fields.get("te"), Some("trailers"));
    assert_eq!(asked.fields.get("connection"), Some("TE"));
    for sent in [gateway.good(), wanted.http_1_0()] {
        let answer = gateway.exchange(&sent);
        assert_eq!(
            (answer.body.as_slice(), answer.trailers),
            (&b"abc"[..], Vec::new())
        );
        assert!(!answer.fields.has("trailer"), "{:?}", answer.head);
    }
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    let sent = request("POST", "/orders/1")
        .key(&gateway.world.key)
        .chunks(&[b"abc", b"defgh"]);
    for _ in 0..2 {
        for byte in sent.bytes() {
            client.send([byte]);
        }
        let echo = client.read().json();
        assert_eq!(echo["body_crc32"], support::turn::crc32(b"abcdefgh"));
    }
}

#[test]
fn any_split_of_a_conversation_gives_the_same_answers() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let key = &gateway.world.key;
    let conversation = [
        gateway.good().bytes(),
        post("/orders/2", "a body").key(key).bytes(),
        get("/orders/3").bytes(),
        request("POST", "/orders/4")
            .key(key)
            .chunks(&[b"in", b"chunks"])
            .bytes(),
        post("/orders/5", "unread").bytes(),
        gateway.good().bytes(),
    ]
    .concat();
    let expected = [200, 200, 401, 200, 401, 200];
    let config = ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let cuts = proptest::collection::btree_set(0..conversation.len(), 0..12);
    let outcome = TestRunner::new(config).run(&cuts, |cuts| {
        let mut client = gateway.client();
        let mut from = 0;
        for to in cuts.into_iter().chain([conversation.len()]) {
            client.send(&conversation[from..to]);
            from = to;
        }
        let statuses = expected.map(|_| client.read().status);
        prop_assert_eq!(statuses, expected);
        Ok(())
    });
    outcome.expect("every split reads the same");
}

#[test]
fn an_answer_with_an_ambiguous_end_is_not_passed_on() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nX: y\r\n folded\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/3.0 200 OK\r\nContent-Length: 2\r\n\r\nab",
        "SSH-2.0-OpenSSH_9.2p1\r\n\r\n",
    ] {
        let origin = Origin::saying_and_closing(answer);
        let gateway = Gateway::over(World::before(&[origin.address]))
            .workers(1)
            .start();
        gateway.get().assert_refusal(502, "upstream-malformed");
    }
}

#[test]
fn an_answer_is_written_anew_and_carries_nothing_that_was_not_parsed() {
    let origin = Origin::saying(
        "HTTP/1.1 200 Fine by me\r\nX-Odd:\t spaced \r\nTransfer-Encoding: Chunked\r\n\
         Trailer: X-T\r\n\r\n0003;ext=1\r\nabc\r\n02\r\nde\r\n0\r\nX-T: sent\r\n\r\n",
    );
    let gateway = Gateway::before(&origin);
    let answer = gateway.get();
    assert_eq!(answer.reason, "Fine by me");
    assert_eq!(answer.framing, Framing::Chunked);
    assert_eq!(answer.body, b"abcde");
    assert_eq!(answer.header("x-odd"), Some("spaced"));
    assert!(
        !answer.fields.has("trailer") && !answer.fields.has("x-t"),
        "{:?}",
        answer.head
    );
}

#[test]
fn an_http_1_0_client_gets_no_chunks() {
    let origin = Origin::saying(support::turn::answer_in_chunks(&[b"abc", b"de"]));
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    let sent = gateway.good().http_1_0().header("Connection", "keep-alive");
    let answer = client.exchange(&sent);
    assert_eq!(answer.framing, Framing::Close);
    assert_eq!(answer.body, b"abcde");
    assert!(!answer.fields.has("transfer-encoding"), "{:?}", answer.head);
}

#[test]
fn an_origin_that_says_more_than_it_announced_poisons_nothing() {
    let origin = Origin::scripted(|turn| {
        let body = format!("answer {}", turn.target());
        let whole = support::turn::answer(200, &[], body);
        let evil = support::turn::answer(200, &[], "evil");
        turn.send([whole, evil].concat())?;
        Ok(Flow::Keep)
    });
    let gateway = Gateway::over(World::before(&[origin.address]))
        .workers(1)
        .start();
    let mut client = gateway.client();
    for n in 0..5 {
        let target = format!("/orders/{n}");
        let answer = client.exchange(&get(&target).key(&gateway.world.key));
        assert_eq!(answer.text(), format!("answer {target}"));
    }
    assert_eq!(
        origin.accepted(),
        5,
        "a connection with something left on it was used again"
    );
}

#[test]
fn the_hidden_request_of_a_known_smuggling_trick_is_never_served() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let key = gateway.world.key.clone();
    let hidden = hidden(&key);
    let post = "POST /orders/1 HTTP/1.1\r\nHost: gateway.test\r\n";
    let whole_chunk = String::from_utf8(chunked(&[hidden.as_bytes()])).expect("text");
    for sent in [
        // CL.TE, TE.CL and their disguises, with a good key and without one.
        format!("{post}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{post}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n{whole_chunk}"),
        format!("{post}Content-Length: 6\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!(
            "{post}Content-Length: 6\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
        ),
        format!(
            "{post}Content-Length: 0\r\nContent-Length: {}\r\n\r\n{hidden}",
            hidden.len()
        ),
        format!(
            "{post}Connection: Content-Length\r\nContent-Length: {}\r\n\r\n{hidden}",
            hidden.len()
        ),
        format!(
            "{post}Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n{whole_chunk}"
        ),
        format!(
            "{post}Authorization: Bearer {key}\r\nConnection: Content-Length\r\nContent-Length: {}\r\n\r\n{hidden}",
            hidden.len()
        ),
        format!(
            "{post}Authorization: Bearer {key}\r\nTransfer-Encoding: chunked\r\n\r\n{whole_chunk}"
        ),
        format!(
            "GET /orders/1 HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n{hidden}",
            hidden.len()
        ),
    ] {
        let mut client: Client = gateway.client();
        client.send(&sent);
        client.finish();
        while let Ok(answer) = client.try_read() {
            assert!(
                !answer.text().contains("/orders/hidden"),
                "served after {sent:?}"
            );
        }
    }
    let seen = origin.received();
    assert!(
        seen.iter().all(|got| !got.head.line.contains("hidden")),
        "{seen:#?}"
    );
}

#[test]
fn a_truncated_request_is_no_request() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let whole = gateway.good().bytes();
    for end in [1, 10, whole.len() / 2, whole.len() - 2, whole.len() - 1] {
        let mut client = gateway.client();
        client.send(&whole[..end]);
        client.finish();
        let outcome = client.try_read();
        let refused = outcome.as_ref().is_ok_and(|answer| answer.status == 400);
        assert!(
            refused || outcome.as_ref().is_err_and(|end| *end == Broken::Closed),
            "{outcome:?}"
        );
    }
    assert_eq!(origin.requests(), 0);
}
