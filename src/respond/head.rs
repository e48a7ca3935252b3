//! Writes the head of a target's answer as the client reads it: made from the parsed form,
//! hop-by-hop fields left out, framed for the client's version of HTTP.

use crate::parse::headers::{ConnectionTokens, is_hop_by_hop, is_trailer};
use crate::parse::{BodyFraming, ResponseHead};
use crate::record::request_id::RequestId;
use crate::respond::cors;
use crate::route::edits::Edits;
use crate::upstream::recode::Encode;
use crate::upstream::request_head::field;

/// What the client's side of an exchange asks of the head.
#[derive(Clone, Copy, Debug)]
pub struct ClientSide<'a> {
    /// The client speaks HTTP/1.0: no chunks, keep-alive only when said.
    pub http_1_0: bool,
    /// The connection stays open after this answer.
    pub keep_alive: bool,
    /// It wants trailers behind an answer.
    pub accepts_trailers: bool,
    /// This request's id.
    pub request_id: RequestId,
    /// Changes to what the client reads.
    pub edits: &'a Edits,
    /// The target's own CORS fields do not pass: the gateway writes them.
    pub has_cors: bool,
}

/// How a body with this framing reaches a client; the second is whether the end of the body is the
/// end of the connection.
pub fn encode_for(framing: BodyFraming, http_1_0: bool) -> (Encode, bool) {
    match framing {
        BodyFraming::Empty | BodyFraming::Length(_) => (Encode::Raw, false),
        BodyFraming::Chunked | BodyFraming::UntilClose if http_1_0 => (Encode::Raw, true),
        BodyFraming::Chunked | BodyFraming::UntilClose => (Encode::Chunked, false),
    }
}

/// Appends a final answer's head; `add_fields` may append whole field lines of its own.
pub fn write(
    out: &mut Vec<u8>,
    head: &ResponseHead<'_, '_>,
    client: &ClientSide<'_>,
    add_fields: impl FnOnce(&mut Vec<u8>),
) {
    status_line(out, head);
    let trailers = client.accepts_trailers && head.framing == BodyFraming::Chunked;
    fields(out, head, trailers, |name| {
        client.edits.withhold(name) || (client.has_cors && cors::is_own_field(name))
    });
    let (encode, _) = encode_for(head.framing, client.http_1_0);
    if encode == Encode::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    field(out, "X-Request-Id", client.request_id.as_bytes());
    client.edits.write_added(out);
    add_fields(out);
    connection(out, client.http_1_0, client.keep_alive);
    out.extend_from_slice(b"\r\n");
}

/// Appends an interim answer's head (1xx).
pub fn write_interim(out: &mut Vec<u8>, head: &ResponseHead<'_, '_>) {
    status_line(out, head);
    fields(out, head, false, is_length);
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of a 101 that switches to `protocol`.
pub fn write_switch(
    out: &mut Vec<u8>,
    head: &ResponseHead<'_, '_>,
    protocol: &str,
    request_id: RequestId,
) {
    status_line(out, head);
    fields(out, head, false, is_length);
    out.extend_from_slice(b"Connection: Upgrade\r\n");
    field(out, "Upgrade", protocol.as_bytes());
    field(out, "X-Request-Id", request_id.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// An interim answer has no body (RFC 9110, section 15.2).
fn is_length(name: &str) -> bool {
    name.eq_ignore_ascii_case("content-length")
}

/// Appends `Connection`, where the version's default does not already say it (RFC 9112, 9.3).
pub fn connection(out: &mut Vec<u8>, http_1_0: bool, keep_alive: bool) {
    match (http_1_0, keep_alive) {
        (false, false) => out.extend_from_slice(b"Connection: close\r\n"),
        (true, true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        _ => {}
    }
}

/// The answer's version is the gateway's own, whatever the target speaks (RFC 9110, 2.5).
fn status_line(out: &mut Vec<u8>, head: &ResponseHead<'_, '_>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(head.status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends the target's fields but those that `withhold` names; the one that announces trailers
/// only where they pass.
fn fields(
    out: &mut Vec<u8>,
    head: &ResponseHead<'_, '_>,
    trailers: bool,
    withhold: impl Fn(&str) -> bool,
) {
    let named = head
        .names_hop_headers
        .then(|| ConnectionTokens::of(head.headers));
    // A length beside chunks was refused by the parser; a length on a HEAD's answer or a 304 says
    // what a body would have, and passes.
    for header in head.headers {
        let name = header.name;
        let withheld = (is_hop_by_hop(name) && !(trailers && is_trailer(name)))
            || named.is_some_and(|named| named.contains(name))
            || (name.len() == 12 && name.eq_ignore_ascii_case("x-request-id"))
            || withhold(name);
        if !withheld {
            field(out, name, header.value);
        }
    }
}
