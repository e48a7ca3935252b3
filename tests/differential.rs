//! Odd requests through a real gateway to an origin that records bytes: what arrives is whole,
//! well-formed requests, one for each good answer that the client got, or nothing.
//!
//! The reader of the recorded bytes is written here, naive and strict, and shares nothing with the
//! gateway's own parser. A request that the client broke off may arrive as a beginning, on a
//! connection that then ends; never as anything that another reader could take for two.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use support::{Gateway, World, wait};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// One connection's bytes, and whether it has ended.
#[derive(Clone, Debug, Default)]
struct Recorded {
    bytes: Vec<u8>,
    ended: bool,
}

type Log = Arc<Mutex<Vec<Recorded>>>;

fn lock(log: &Log) -> std::sync::MutexGuard<'_, Vec<Recorded>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An origin that records all it gets, and answers each whole request.
fn recorder() -> (SocketAddr, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let log = Log::default();
    let shared = Arc::clone(&log);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let log = Arc::clone(&shared);
            thread::spawn(move || record(stream, &log));
        }
    });
    (address, log)
}

fn record(mut stream: TcpStream, log: &Log) {
    let place = {
        let mut log = lock(log);
        log.push(Recorded::default());
        log.len() - 1
    };
    let mut answered = 0;
    let mut buffer = [0; 8192];
    while let Ok(bytes) = stream.read(&mut buffer) {
        if bytes == 0 {
            break;
        }
        let whole = {
            let mut log = lock(log);
            log[place].bytes.extend_from_slice(&buffer[..bytes]);
            requests(&log[place].bytes).0.len()
        };
        for _ in answered..whole {
            if stream.write_all(ANSWER).is_err() {
                break;
            }
        }
        answered = whole;
    }
    lock(log)[place].ended = true;
}

/// What is wrong with recorded bytes.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// The rest may become a request.
    Unfinished,
    /// The rest never will.
    Malformed(String),
}

/// The whole requests at the start of `bytes`, and what is wrong with the rest, if there is one.
fn requests(mut bytes: &[u8]) -> (Vec<String>, Option<Fault>) {
    let mut whole = Vec::new();
    while !bytes.is_empty() {
        match request(bytes) {
            Ok((line, length)) => {
                whole.push(line);
                bytes = &bytes[length..];
            }
            Err(fault) => return (whole, Some(fault)),
        }
    }
    (whole, None)
}

fn malformed<T>(what: &str, line: &[u8]) -> Result<T, Fault> {
    let shown = String::from_utf8_lossy(line).into_owned();
    Err(Fault::Malformed(format!("{what}: {shown:?}")))
}

/// One request at the start of `bytes`: its line and its length.
fn request(bytes: &[u8]) -> Result<(String, usize), Fault> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Err(Fault::Unfinished);
    };
    let head = &bytes[..end];
    if head.iter().any(|byte| *byte == 0 || *byte == 0x7f) {
        return malformed("a control character", head);
    }
    let lines: Vec<&[u8]> = split_lines(head);
    if lines
        .iter()
        .any(|line| line.contains(&b'\n') || line.contains(&b'\r'))
    {
        return malformed("a bare line end", head);
    }
    let words: Vec<&[u8]> = lines[0].split(|byte| *byte == b' ').collect();
    let [method, target, version] = words[..] else {
        return malformed("request line", lines[0]);
    };
    let token = |text: &[u8]| {
        !text.is_empty()
            && text
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
    };
    let visible = target.iter().all(|byte| byte.is_ascii_graphic());
    if !token(method) || !visible || target.is_empty() || version != b"HTTP/1.1" {
        return malformed("request line", lines[0]);
    }
    let (mut hosts, mut lengths, mut codings) = (0, Vec::new(), Vec::new());
    for line in &lines[1..] {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return malformed("field", line);
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if !token(name) || value.iter().any(|byte| *byte < 0x20 && *byte != b'\t') {
            return malformed("field", line);
        }
        match name.to_ascii_lowercase().as_slice() {
            b"host" => hosts += 1,
            b"content-length" => lengths.push(value.to_vec()),
            b"transfer-encoding" => codings.push(value.to_vec()),
            _ => {}
        }
    }
    if hosts != 1 || lengths.len() + codings.len() > 1 {
        return malformed("host or framing", head);
    }
    let body = &bytes[end + 4..];
    let length = match (lengths.first(), codings.first()) {
        (None, None) => 0,
        (Some(length), _) => {
            let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(length).ok().filter(|_| digits);
            let Some(length) = length.and_then(|text| text.parse::<usize>().ok()) else {
                return malformed("content-length", head);
            };
            if body.len() < length {
                return Err(Fault::Unfinished);
            }
            length
        }
        (_, Some(coding)) if coding == b"chunked" => chunked(body)?,
        _ => return malformed("transfer-encoding", head),
    };
    let line = String::from_utf8_lossy(lines[0]).into_owned();
    Ok((line, end + 4 + length))
}

/// The length of a chunked body, without extensions; trailers are fields.
fn chunked(body: &[u8]) -> Result<usize, Fault> {
    let mut at = 0;
    loop {
        let Some(end) = find(&body[at..], b"\r\n") else {
            return Err(Fault::Unfinished);
        };
        let line = &body[at..at + end];
        let hex = std::str::from_utf8(line).ok().filter(|text| {
            (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        let Some(size) = hex.and_then(|text| usize::from_str_radix(text, 16).ok()) else {
            return malformed("chunk size", line);
        };
        at += end + 2;
        if size == 0 {
            break;
        }
        let Some(rest) = body.get(at + size..) else {
            return Err(Fault::Unfinished);
        };
        match rest {
            [b'\r', b'\n', ..] => at += size + 2,
            [] | [b'\r'] => return Err(Fault::Unfinished),
            _ => return malformed("chunk end", &rest[..2]),
        }
    }
    loop {
        let Some(end) = find(&body[at..], b"\r\n") else {
            return Err(Fault::Unfinished);
        };
        at += end + 2;
        if end == 0 {
            return Ok(at);
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

fn split_lines(head: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = head;
    while let Some(end) = find(rest, b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    lines
}

/// The statuses of the answers in `bytes`, which must be nothing else.
fn answers(bytes: &[u8], case: &str) -> Vec<u16> {
    let mut statuses = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = find(rest, b"\r\n\r\n").unwrap_or_else(|| panic!("{case}: a part of an answer"));
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        let status = head.get(9..12).and_then(|text| text.parse().ok());
        let status: u16 = status.unwrap_or_else(|| panic!("{case}: {head:?}"));
        rest = &rest[end + 4..];
        if status == 100 {
            continue;
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.parse().ok())?
        });
        let length: usize = length.unwrap_or_else(|| panic!("{case}: no length in {head:?}"));
        rest = rest
            .get(length..)
            .unwrap_or_else(|| panic!("{case}: a cut body"));
        statuses.push(status);
    }
    statuses
}

/// Sends `bytes` on a connection of their own, and reads all that comes until it ends.
fn send(gateway: &Gateway, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(gateway.listen).expect("the gateway takes connections");
    stream
        .set_read_timeout(Some(wait::PATIENCE))
        .expect("a socket");
    // The gateway may have answered and closed before it has read all.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut reader = stream.try_clone().expect("descriptors are left");
    let closer = thread::spawn(move || {
        // A client that half-closes has said all it will.
        let _ = stream.shutdown(Shutdown::Write);
        stream
    });
    let _ = reader.read_to_end(&mut answer);
    drop(closer.join());
    answer
}

/// Requests that have fooled somebody once. `{key}` stands for a line with a key.
const CLASSICS: &[&str] = &[
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding\r\n: chunked\r\n\r\n0\r\n\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}X: y\r\n Transfer-Encoding: chunked\r\n\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Content-Length: 3, 3\r\n\r\nabc",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Content-Length: +3\r\n\r\nabc",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Content-Length: 0x3\r\n\r\nabc",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Content-Length: 3 \r\n\r\nabc",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Content-Length: \r\n\r\nabc",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Content-Length: 18446744073709551616\r\n\r\nabc",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Content-Length: 00003\r\n\r\nabc",
    "POST /orders/1 HTTP/1.0\r\nHost: a\r\n{key}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding: chunked\r\n\r\n3;x=\"\r\n\"\r\nabc\r\n0\r\n\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding: chunked\r\n\r\n3\r\nabcX0\r\n\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\nabc",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding: chunked\r\n\r\n00000000000000003\r\nabc\r\n0\r\n\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nHost: b\r\nContent-Length: 9\r\n\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX y\r\n\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Expect: 200-ok\r\nContent-Length: 3\r\n\r\nabc",
    "GET /orders/1 HTTP/1.1\nHost: a\n{key}\n",
    "GET /orders/1 HTTP/1.1\r\nHost: a\r\n{key}X: a\rb\r\n\r\n",
    "GET /orders/1 HTTP/1.1\r\nHost: a\r\n{key}X: a\nY: b\r\n\r\n",
    "GET /orders/1 HTTP/1.1\r\nHost: a\r\n{key}X: a\0b\r\n\r\n",
    "GET /orders/1 HTTP/1.1\r\nHost: a\r\n{key}X: y\r\n z\r\n\r\n",
    "GET /orders/1 HTTP/1.1\r\n Host: a\r\n{key}\r\n",
    "GET /orders/1 HTTP/1.1\r\nHost : a\r\n{key}\r\n",
    "GET /orders/1 HTTP/1.1\r\n: a\r\nHost: a\r\n{key}\r\n",
    "GET /orders/1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n{key}\r\n",
    "GET /orders/1 HTTP/1.1\r\n{key}\r\n",
    "GET /orders/1 HTTP/1.1\r\nHost: \r\n{key}\r\n",
    "GET /orders/1 HTTP/1.1\r\nHost: a@b\r\n{key}\r\n",
    "GET /orders/1 HTTP/1.1\r\nHost: a/b\r\n{key}\r\n",
    "GET http://b/orders/1 HTTP/1.1\r\nHost: a\r\n{key}\r\n",
    "GET //evil/orders/1 HTTP/1.1\r\nHost: a\r\n{key}\r\n",
    "GET /orders/../vault HTTP/1.1\r\nHost: a\r\n{key}\r\n",
    "GET /orders/%2e%2e/vault HTTP/1.1\r\nHost: a\r\n{key}\r\n",
    "GET /orders%2f1 HTTP/1.1\r\nHost: a\r\n{key}\r\n",
    "GET /orders/%c0%af HTTP/1.1\r\nHost: a\r\n{key}\r\n",
    "GET /orders/1#x HTTP/1.1\r\nHost: a\r\n{key}\r\n",
    "GET /orders/\u{e9} HTTP/1.1\r\nHost: a\r\n{key}\r\n",
    "GET  /orders/1 HTTP/1.1\r\nHost: a\r\n{key}\r\n",
    "GET\t/orders/1\tHTTP/1.1\r\nHost: a\r\n{key}\r\n",
    "GET /orders/1 HTTP/1.1 \r\nHost: a\r\n{key}\r\n",
    "GET /orders/1 HTTP/1.2\r\nHost: a\r\n{key}\r\n",
    "GET /orders/1 HTTP/2.0\r\nHost: a\r\n{key}\r\n",
    "GET /orders/1\r\nHost: a\r\n{key}\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\r\n\r\nGET /orders/1 HTTP/1.1\r\nHost: a\r\n{key}\r\n",
    "G\u{0}T /orders/1 HTTP/1.1\r\nHost: a\r\n{key}\r\n",
    "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n{key}\r\n",
    "TRACE /orders/1 HTTP/1.1\r\nHost: a\r\n{key}\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n{key}\r\n",
    "GET /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Connection: X-API-Key, Host\r\n\r\n",
    "GET /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Connection: Content-Length\r\nContent-Length: 3\r\n\r\nabc",
    "GET /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
    "GET /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Content-Length: 41\r\n\r\nGET /orders/2 HTTP/1.1\r\nHost: a\r\nX: yyyyyyy",
    "GET /orders/1 HTTP/1.1\r\nHost: a\r\n{key}\r\nGET /orders/2 HTTP/1.1\r\nHost: a\r\n{key}\r\n",
    "GET /orders/1 HTTP/1.1\r\nHost: a\r\n\r\nGET /orders/2 HTTP/1.1\r\nHost: a\r\n{key}\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\nGET /orders/2 HTTP/1.1\r\nHost: a\r\n{key}\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /orders/2 HTTP/1.1\r\nHost: a\r\n{key}\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /orders/2 HTTP/1.1\r\nHost: a\r\n{key}\r\n",
    "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{key}Content-Length: 5\r\n\r\nhelloGET /orders/2 HTTP/1.1\r\nHost: a\r\n{key}\r\n",
];

/// What mutations put into a request.
const ODDITIES: &[&[u8]] = &[
    b"\0",
    b"\n",
    b"\r",
    b"\r\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\x0b",
    b"\x7f",
    b"\xff",
    b"%",
    b"0",
    b"/",
    b"\\",
    b"\"",
    b"\r\nContent-Length: 7",
    b"\r\nTransfer-Encoding: chunked",
    b"\r\nHost: b",
    b"\r\n x",
    b"0\r\n\r\n",
];

/// A sequence that is the same in each run (SplitMix64).
struct Sequence(u64);

impl Sequence {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % below as u64).expect("below is a usize")
    }
}

fn corpus(key: &str) -> Vec<Vec<u8>> {
    let line = format!("X-API-Key: {key}\r\n");
    let mut cases: Vec<Vec<u8>> = CLASSICS
        .iter()
        .map(|text| text.replace("{key}", &line).into_bytes())
        .collect();
    let whole = [
        format!("GET /orders/1?q=2 HTTP/1.1\r\nHost: a\r\n{line}Accept: */*\r\n\r\n"),
        format!("POST /orders/1 HTTP/1.1\r\nHost: a\r\n{line}Content-Length: 5\r\n\r\nhello"),
        format!(
            "POST /orders/1 HTTP/1.1\r\nHost: a\r\n{line}Transfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\n\r\n"
        ),
    ];
    let mut sequence = Sequence(20_261);
    for _ in 0..400 {
        let mut case = whole[sequence.next(whole.len())].clone().into_bytes();
        for _ in 0..=sequence.next(2) {
            let at = sequence.next(case.len());
            let oddity = ODDITIES[sequence.next(ODDITIES.len())];
            match sequence.next(3) {
                0 => drop(case.splice(at..at, oddity.iter().copied())),
                1 => drop(case.splice(at..=at, oddity.iter().copied())),
                _ => drop(case.remove(at)),
            }
        }
        cases.push(case);
    }
    for text in &whole {
        // Cut at every third byte, so that the whole stays short.
        cases.extend(
            (1..text.len())
                .step_by(3)
                .map(|end| text.as_bytes()[..end].to_vec()),
        );
    }
    cases
}

#[test]
fn what_arrives_is_whole_requests_one_for_each_good_answer_or_nothing() {
    let (address, log) = recorder();
    let gateway = Gateway::over(World::before(&[address])).start();
    let cases = corpus(&gateway.world.key);
    assert!(cases.len() > 500);
    let mut forwarded = 0;
    for case in &cases {
        let shown = String::from_utf8_lossy(case).into_owned();
        let before: Vec<usize> = lock(&log).iter().map(|one| one.bytes.len()).collect();
        let answer = send(&gateway, case);
        let good = answers(&answer, &shown)
            .iter()
            .filter(|status| **status == 200)
            .count();
        let mut arrived = Vec::new();
        let recorded = lock(&log).clone();
        for (place, one) in recorded.iter().enumerate() {
            let from = before.get(place).copied().unwrap_or(0);
            let (whole, fault) = requests(&one.bytes[from..]);
            arrived.extend(whole);
            match fault {
                None => {}
                // The client broke off: so did the gateway, and nothing follows on that connection.
                Some(Fault::Unfinished) => {
                    wait::until("the broken connection to end", || lock(&log)[place].ended)
                }
                Some(Fault::Malformed(what)) => panic!("{shown:?} arrived malformed, {what}"),
            }
        }
        // A client that half-closes may be gone before its answer is: then it got none.
        assert!(
            arrived.len() >= good,
            "{shown:?}: {arrived:?} for {good} good answers"
        );
        assert!(arrived.len() <= 2, "{shown:?}: {arrived:?}");
        for line in &arrived {
            let path = line.split(' ').nth(1).unwrap_or_default();
            assert!(path.starts_with("/orders"), "{shown:?} arrived as {line:?}");
        }
        forwarded += arrived.len();
    }
    assert!(
        forwarded > 30,
        "the good ones among them do arrive: {forwarded}"
    );
}

#[test]
fn the_reader_of_this_test_tells_good_from_bad() {
    let good =
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(requests(good.as_bytes()).1, None);
    for bad in [
        "GET /a HTTP/1.1\r\n\r\n",
        "GET /a HTTP/1.0\r\nHost: a\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nX: a\nb\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\n",
    ] {
        assert!(
            matches!(requests(bad.as_bytes()).1, Some(Fault::Malformed(_))),
            "{bad:?}"
        );
    }
}
