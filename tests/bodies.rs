//! Bodies: streamed both ways, byte-exact, never held whole.

mod support;

use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use support::request::chunked;
use support::turn::{answer, answer_in_chunks, crc32, head};
use support::wait::Gate;
use support::wire::Framing;
use support::{Broken, Flow, Gateway, Origin, World, get, post, request};

/// Bytes without a pattern that a buffer's size could hide in: its period is a prime.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state: u32 = 0x9e37_79b9;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    let period: Vec<u8> = (0..65_537).map(|_| next()).collect();
    let mut noise = period.repeat(bytes.div_ceil(period.len()));
    noise.truncate(bytes);
    noise
}

const AROUND_BUFFERS: [usize; 8] = [0, 1, 1_023, 16_383, 16_384, 16_385, 300_000, 5_000_000];

#[test]
fn an_upload_of_known_length_arrives_byte_for_byte() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    for bytes in AROUND_BUFFERS {
        let body = noise(bytes);
        let echo = client
            .exchange(&post("/orders/1", &body).key(&gateway.world.key))
            .json();
        assert_eq!(echo["body_bytes"], bytes);
        assert_eq!(echo["body_crc32"], crc32(&body), "{bytes} bytes");
    }
}

#[test]
fn an_upload_in_chunks_arrives_byte_for_byte_whatever_the_size_of_its_chunks() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    let body = noise(300_000);
    for size in [1_000, 4_096, 16_384, 20_000, 300_000] {
        let chunks: Vec<&[u8]> = body.chunks(size).collect();
        let sent = request("POST", "/orders/1")
            .key(&gateway.world.key)
            .chunks(&chunks);
        let echo = client.exchange(&sent).json();
        assert_eq!(echo["body_crc32"], crc32(&body), "chunks of {size}");
    }
    let empty = request("POST", "/orders/1")
        .key(&gateway.world.key)
        .chunks(&[]);
    assert_eq!(client.exchange(&empty).json()["body_bytes"], 0);
}

#[test]
fn requests_behind_a_long_upload_in_the_same_breath_are_answered_in_order() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let key = gateway.world.key.as_str();
    let body = noise(200_000);
    let chunks: Vec<&[u8]> = body.chunks(9_000).collect();
    let breath = [
        request("POST", "/orders/1")
            .key(key)
            .chunks(&chunks)
            .bytes(),
        post("/orders/2", &body).key(key).bytes(),
        get("/orders/3").key(key).bytes(),
        request("PUT", "/orders/4").key(key).chunks(&chunks).bytes(),
        get("/orders/5").key(key).bytes(),
    ];
    let mut client = gateway.client();
    client.send(breath.concat());
    for (n, bytes) in [(1, 200_000), (2, 200_000), (3, 0), (4, 200_000), (5, 0)] {
        let echo = client.read().json();
        assert_eq!(echo["target"], format!("/orders/{n}"));
        assert_eq!(echo["body_crc32"], crc32(&body[..bytes]), "/orders/{n}");
    }
}

#[test]
fn a_download_arrives_byte_for_byte_however_its_end_is_told() {
    // The target says how many bytes, and how their end is told.
    let origin = Origin::scripted(|turn| {
        let target = turn.target().to_owned();
        let (told, bytes) = target
            .rsplit_once('/')
            .and_then(|(told, bytes)| Some((told, bytes.parse().ok()?)))
            .expect("the test asks so");
        let body = noise(bytes);
        match told {
            "/orders/length" => turn.send(answer(200, &[], &body))?,
            "/orders/chunks" => {
                let chunks: Vec<&[u8]> = body.chunks(7_000).collect();
                turn.send(answer_in_chunks(&chunks))?;
            }
            _ => {
                turn.send(head(200, &[("Connection", "close")]) + "\r\n")?;
                turn.send(&body)?;
                return Ok(Flow::Close);
            }
        }
        Ok(Flow::Keep)
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    for bytes in AROUND_BUFFERS {
        let body = noise(bytes);
        let length = Framing::Length(u64::try_from(bytes).expect("fits"));
        for (told, expected) in [
            ("length", length),
            ("chunks", Framing::Chunked),
            ("end", Framing::Chunked),
        ] {
            let target = format!("/orders/{told}/{bytes}");
            let answer = client.exchange(&get(&target).key(&gateway.world.key));
            assert_eq!(answer.framing, expected, "{target}");
            assert_eq!(answer.body.len(), bytes, "{target}");
            assert!(answer.body == body, "{target} was changed on the way");
        }
    }
}

#[test]
fn an_answer_may_begin_before_the_request_is_read() {
    // A conversation: each piece that goes up comes back before the next one is sent.
    let origin = Origin::scripted(|turn| {
        turn.send(head(200, &[("Transfer-Encoding", "chunked")]) + "\r\n")?;
        for _ in 0..5 {
            turn.body_part(4)?;
            turn.send("4\r\nback\r\n")?;
        }
        turn.send("0\r\n\r\n")?;
        Ok(Flow::Close)
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    client.send(
        request("POST", "/orders/1")
            .key(&gateway.world.key)
            .announcing(20)
            .bytes(),
    );
    let head = client.read_head();
    assert!(head.line.starts_with("HTTP/1.1 200 "), "{head:?}");
    for _ in 0..5 {
        client.send("away");
        assert_eq!(
            client.read_piece(9).expect("a piece comes back"),
            b"4\r\nback\r\n"
        );
    }
    assert_eq!(client.read_piece(5).expect("the end comes"), b"0\r\n\r\n");
}

#[test]
fn an_origin_that_answers_early_is_heard_and_the_connection_then_closes() {
    let origin = Origin::scripted(|turn| {
        turn.send(answer(413, &[("Connection", "close")], "too much"))?;
        turn.hang()
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    client.send(
        request("POST", "/orders/1")
            .key(&gateway.world.key)
            .announcing(1 << 30)
            .bytes(),
    );
    client.send(noise(100_000));
    let early = client.read();
    assert_eq!((early.status, early.text()), (413, "too much"));
    assert_eq!(early.header("connection"), Some("close"));
    client.finish();
    client.assert_closed();
    origin.wait_until_free();
}

#[test]
fn a_client_that_does_not_read_holds_the_origin_back() {
    const OFFERED: u64 = 256 << 20;
    let written = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&written);
    let origin = Origin::scripted(move |turn| {
        turn.send(head(200, &[("Content-Length", &OFFERED.to_string())]) + "\r\n")?;
        let stream = turn.stream();
        stream
            .set_write_timeout(Some(Duration::from_millis(700)))
            .expect("takes a deadline");
        let piece = [0; 64 * 1024];
        while let Ok(bytes) = (&*stream).write(&piece) {
            counted.fetch_add(u64::try_from(bytes).expect("fits"), Ordering::SeqCst);
        }
        turn.hang()
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    client.send(gateway.good().bytes());
    client.read_head();
    let mut before = u64::MAX;
    support::wait::until("the origin to be held back", || {
        let now = written.load(Ordering::SeqCst);
        let stuck = now > 0 && now == std::mem::replace(&mut before, now);
        thread::park_timeout(Duration::from_millis(300));
        stuck
    });
    let written = written.load(Ordering::SeqCst);
    assert!(
        written < OFFERED / 8,
        "{written} bytes were taken for a client that reads none"
    );
    let resident_kb = resident_kb(&gateway);
    assert!(resident_kb < 200_000, "the gateway holds {resident_kb} kB");
}

#[test]
fn an_origin_that_does_not_read_holds_the_client_back() {
    let gate = Arc::new(Gate::default());
    let waiting = Arc::clone(&gate);
    let origin = Origin::scripted(move |turn| {
        waiting.pass();
        turn.echo()
    });
    let gateway = Gateway::before(&origin);
    let body = noise(32 << 20);
    let mut client = gateway.client();
    client.send(
        request("POST", "/orders/1")
            .key(&gateway.world.key)
            .announcing(body.len())
            .bytes(),
    );
    let stream = client.stream();
    stream
        .set_write_timeout(Some(Duration::from_millis(700)))
        .expect("takes a deadline");
    let mut sent = 0;
    let mut stream = stream;
    while let Ok(bytes) = stream.write(&body[sent..]) {
        sent += bytes;
    }
    assert!(
        sent < body.len() / 2,
        "{sent} bytes were taken for an origin that reads none"
    );
    let resident_kb = resident_kb(&gateway);
    assert!(resident_kb < 200_000, "the gateway holds {resident_kb} kB");
    gate.open();
    client.stream().set_write_timeout(None).expect("takes none");
    client.send(&body[sent..]);
    assert_eq!(client.read().json()["body_crc32"], crc32(&body));
}

/// The memory of the gateway's process.
fn resident_kb(gateway: &Gateway) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("it runs");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("the kernel says");
    line.split_whitespace()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .expect("a number")
}

#[test]
fn a_client_that_waits_for_100_hears_it_only_when_it_is_let_through() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let waiting = |key: &str| {
        let sent = request("POST", "/orders/1")
            .key(key)
            .header("Expect", "100-continue");
        sent.announcing(6)
    };
    let mut client = gateway.client();
    client.send(waiting(&gateway.world.key).bytes());
    assert_eq!(client.read_head().line, "HTTP/1.1 100 Continue");
    client.send("a body");
    let answer = client.read();
    assert!(answer.interim.is_empty(), "{:?}", answer.interim);
    assert_eq!(answer.json()["body_crc32"], crc32(b"a body"));
    assert!(!origin.only().head.fields.has("expect"));
    // The connection is as good as any.
    client.exchange(&gateway.good()).assert_status(200);

    let mut client = gateway.client();
    client.send(waiting("kw_live_x").bytes());
    let refused = client.read();
    assert!(refused.interim.is_empty(), "{:?}", refused.interim);
    refused.assert_refusal(401, "key-refused");
    // Nobody knows whether the body comes.
    assert_eq!(refused.header("connection"), Some("close"));
}

#[test]
fn a_client_that_sends_without_waiting_for_its_100_is_served_as_well() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    for _ in 0..2 {
        let sent = post("/orders/1", "at once").key(&gateway.world.key);
        let answer = client.exchange(&sent.header("Expect", "100-continue"));
        assert_eq!(answer.json()["body_crc32"], crc32(b"at once"));
    }
}

#[test]
fn answers_without_a_body_leave_the_connection_in_step() {
    let origin = Origin::scripted(|turn| {
        turn.body()?;
        let said = match turn.target() {
            "/orders/204" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/orders/304" => {
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\nETag: \"a\"\r\n\r\n"
            }
            "/orders/head" => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",
            "/orders/head-chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        };
        turn.send(said)?;
        Ok(Flow::Keep)
    });
    let gateway = Gateway::over(World::before(&[origin.address]))
        .workers(1)
        .start();
    let mut client = gateway.client();
    let key = gateway.world.key.as_str();
    for (sent, status, length) in [
        (get("/orders/204").key(key), 204, None),
        (get("/orders/304").key(key), 304, Some("100")),
        (request("HEAD", "/orders/head").key(key), 200, Some("100")),
        (request("HEAD", "/orders/head-chunked").key(key), 200, None),
        (get("/orders/last").key(key), 200, Some("2")),
    ] {
        let answer = client.exchange(&sent);
        assert_eq!(
            (answer.status, answer.header("content-length")),
            (status, length),
            "{sent:?}"
        );
    }
    assert_eq!(origin.accepted(), 1);
}

#[test]
fn early_hints_are_passed_on_and_a_hundred_of_the_origin_is_not() {
    let origin = Origin::saying(
        [
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nKeep-Alive: timeout=5\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: </more.css>; rel=preload\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ]
        .concat(),
    );
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.exchange(&gateway.good());
        assert_eq!(answer.text(), "ok");
        let links: Vec<_> = answer
            .interim
            .iter()
            .map(|head| head.fields.get("link"))
            .collect();
        assert_eq!(
            links,
            [
                Some("</style.css>; rel=preload"),
                Some("</more.css>; rel=preload")
            ]
        );
        assert!(
            answer
                .interim
                .iter()
                .all(|head| !head.fields.has("keep-alive"))
        );
    }
    // HTTP/1.0 knows no interim answers (RFC 9110, section 15.2).
    let old = gateway.exchange(&gateway.good().http_1_0());
    assert!(old.interim.is_empty(), "{:?}", old.interim);
}

#[test]
fn an_origin_that_never_stops_hinting_is_stopped() {
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let origin = Origin::saying_and_closing(hint.repeat(1_000));
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    client.send(gateway.good().bytes());
    match client.try_read() {
        Ok(answer) => {
            assert!(answer.interim.len() < 100, "{} hints", answer.interim.len());
            answer.assert_status(502);
        }
        Err(broken) => assert!(
            broken.is_broken_off() || broken == Broken::Closed,
            "{broken:?}"
        ),
    }
}

#[test]
fn pieces_are_passed_on_as_they_come_and_not_collected() {
    let gate = Arc::new(Gate::default());
    let waiting = Arc::clone(&gate);
    let origin = Origin::scripted(move |turn| {
        turn.send(head(200, &[("Content-Type", "text/event-stream")]))?;
        turn.send("Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")?;
        waiting.pass();
        turn.send(&chunked(&[b"last"])[..])?;
        Ok(Flow::Keep)
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    client.send(gateway.good().bytes());
    client.read_head();
    assert_eq!(client.read_piece(10).expect("at once"), b"5\r\nfirst\r\n");
    gate.open();
    assert_eq!(
        client.read_piece(14).expect("then"),
        b"4\r\nlast\r\n0\r\n\r\n"
    );
}
