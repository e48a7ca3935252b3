//! Messages close to well-formed ones: pieces of good and bad grammar, then a few octets bent.

use proptest::prelude::*;

/// Where a stream is cut: offsets, in any order, beyond its end too.
pub fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..300_usize, 0..12)
}

/// Request heads, some with what follows them.
pub fn requests() -> BoxedStrategy<Vec<u8>> {
    let start = pick(&[
        "GET / HTTP/1.1",
        "GET / HTTP/1.1",
        "POST /a?b=c HTTP/1.1",
        "GET http://h:1/x HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET /a HTTP/1.0",
        "PRI * HTTP/2.0",
        "CONNECT h:1 HTTP/1.1",
        "GET /../a HTTP/1.1",
        "GET /%2e%2e HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOP / HTTP/1.1",
        "G@T / HTTP/1.1",
        "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1",
    ]);
    let host = pick(&[
        "Host: h",
        "Host: h",
        "Host: h",
        "host:h:80",
        "Host: h,i",
        "Host : h",
        "X: y",
    ]);
    let line = pick(&[
        "A: b",
        "Accept: */*",
        "Content-Length: 5",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: gzip",
        "Content-Length: +5",
        "Expect: 100-continue",
        "Expect: 200-ok",
        "Connection: close",
        "Connection: keep-alive, x",
        "Connection: x y",
        "Upgrade: websocket",
        "TE: trailers",
        " folded",
        "Empty:",
        ": nameless",
        "Key\t: v",
        "K: \u{e9}",
        "Long: vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv",
    ]);
    let tail = pick(&["", "hello", "GET / HTTP/1.1\r\nHost: i\r\n\r\n", "\n\n"]);
    message(
        start,
        host.prop_map(|host| format!("{host}\r\n")),
        line,
        tail,
    )
}

/// Response heads, some with what follows them.
pub fn responses() -> BoxedStrategy<Vec<u8>> {
    let start = pick(&[
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200",
        "HTTP/1.1 204 No Content",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 101 Switching Protocols",
        "HTTP/1.1 304 ",
        "HTTP/1.1 999 X",
        "HTTP/1.1 099 X",
        "HTTP/2.0 200 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 200 \u{e9}",
        "HTT",
    ]);
    let line = pick(&[
        "A: b",
        "Content-Length: 5",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip",
        "Content-Length: x",
        "Connection: close",
        "Connection: a b",
        " folded",
        "Empty:",
        ": nameless",
        "Key : v",
        "Long: vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv",
    ]);
    let tail = pick(&["", "hello", "HTTP/1.1 200 OK\r\n\r\n", "\n\n"]);
    message(start, Just(String::new()), line, tail)
}

/// Chunked bodies, some with what follows them.
pub fn chunked() -> BoxedStrategy<Vec<u8>> {
    let chunk = pick(&[
        "5\r\nhello\r\n",
        "05\r\nhello\r\n",
        "1;a\r\nx\r\n",
        "1;a=b\r\nx\r\n",
        "1 ; a = \"q;\\\"\" ;c\r\nx\r\n",
        "1;a=\"b\r\nx\r\n",
        "2\r\n\r\n\r\n",
        "1\r\nxy\r\n",
        "1\nx\r\n",
        "1\r\nx\n",
        "0x1\r\nx\r\n",
        "+1\r\nx\r\n",
        "1;\r\nx\r\n",
        "1 \r\nx\r\n",
        "1;a;;b\r\nx\r\n",
        "1;a\nx\r\n",
        "10000000000000000\r\nx",
        "FFFFFFFFFFFFFFFF\r\nx",
        "-1\r\n",
        "\r\n",
        "a\r\n0123456789\r\n",
    ]);
    let end = pick(&[
        "0\r\n\r\n",
        "0\r\n\r\n",
        "000\r\n\r\n",
        "0;a=b\r\n\r\n",
        "0\r\nA: b\r\nC:d\r\n\r\n",
        "0\r\nA : b\r\n\r\n",
        "0\r\n folded\r\n\r\n",
        "0\r\nA: b\n\r\n",
        "0\r\n\n",
        "0\r\n: b\r\n\r\n",
        "0\r\nA\r\n\r\n",
        "0\n\r\n",
        "0\r\n",
        "",
    ]);
    let tail = pick(&["", "GET / HTTP/1.1\r\n", "\r\n"]);
    (prop::collection::vec(chunk, 0..5), end, tail)
        .prop_map(|(chunks, end, tail)| (chunks.concat() + end + tail).into_bytes())
        .prop_flat_map(bent)
        .boxed()
}

fn pick(pieces: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(pieces)
}

/// A head of lines, most of which end in CRLF.
fn message(
    start: impl Strategy<Value = &'static str> + 'static,
    second: impl Strategy<Value = String> + 'static,
    line: impl Strategy<Value = &'static str> + 'static,
    tail: impl Strategy<Value = &'static str> + 'static,
) -> BoxedStrategy<Vec<u8>> {
    let before =
        prop_oneof![8 => Just(""), 1 => Just("\r\n"), 1 => Just("\r\n\r\n"), 1 => Just("\n")];
    let end =
        prop_oneof![60 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("\r\r\n")];
    let lines = prop::collection::vec((line, end), 0..12);
    (before, start, second, lines, tail)
        .prop_map(|(before, start, second, lines, tail)| {
            let mut text = format!("{before}{start}\r\n{second}");
            for (line, end) in lines {
                text += line;
                text += end;
            }
            (text + "\r\n" + tail).into_bytes()
        })
        .prop_flat_map(bent)
        .boxed()
}

/// Leaves a message alone, cuts it off, or replaces, inserts or removes an octet or two.
fn bent(message: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![
        prop::sample::select(&b"\r\n\0\t :;,=\"\\/%0a"[..]),
        any::<u8>(),
    ];
    let bend = (0..4_u8, any::<prop::sample::Index>(), octet);
    let bends = prop_oneof![
        3 => prop::collection::vec(bend.clone(), 0..=0),
        2 => prop::collection::vec(bend, 1..3),
    ];
    bends.prop_map(move |bends| {
        let mut message = message.clone();
        for (kind, place, octet) in bends {
            let place = place.index(message.len() + 1);
            match kind {
                0 => message.insert(place, octet),
                1 => message.truncate(place),
                2 if place < message.len() => message[place] = octet,
                _ if place < message.len() => drop(message.remove(place)),
                _ => {}
            }
        }
        message
    })
}
