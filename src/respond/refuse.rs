//! Turns a refusal into HTTP: RFC 9457 problem details, with the fields that tell a client how to
//! go on.

use std::io::Write;

use crate::record::request_id::RequestId;
use crate::refusal::Refusal;
use crate::respond::reason::reason;
use crate::respond::{Context, head};

/// Appends the whole answer; `allow` are the methods for `Allow`, where the cause is the method, and
/// `add_fields` may append whole field lines of its own.
pub fn write(
    out: &mut Vec<u8>,
    (refusal, allow): (Refusal, &str),
    context: &Context<'_>,
    add_fields: impl FnOnce(&mut Vec<u8>),
) {
    let face = refusal.face();
    let body = body(refusal, context.request_id);
    // Writes into a Vec cannot fail.
    let _ = write!(
        out,
        "HTTP/1.1 {} {}\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\n\
         Date: {}\r\nCache-Control: no-store\r\nX-Request-Id: ",
        face.status,
        reason(face.status),
        body.len(),
        context.date,
    );
    out.extend_from_slice(context.request_id.as_bytes());
    out.extend_from_slice(b"\r\n");
    guidance(out, refusal, allow);
    add_fields(out);
    head::connection(out, context.http_1_0, context.keep_alive);
    out.extend_from_slice(b"\r\n");
    if !context.head_only {
        out.extend_from_slice(&body);
    }
}

/// Every text in it is ours and needs no escaping.
fn body(refusal: Refusal, request_id: RequestId) -> Vec<u8> {
    let face = refusal.face();
    let mut body = Vec::with_capacity(192);
    let _ = writeln!(
        body,
        "{{\"type\":\"urn:keyway:problem:{}\",\"title\":\"{}\",\"status\":{},\"code\":\"{}\",\
         \"request_id\":\"{}\"}}",
        face.code,
        face.title,
        face.status,
        face.code,
        request_id.as_str(),
    );
    body
}

/// RFC 9110: a 401 carries `WWW-Authenticate` (15.5.2), a 405 carries `Allow` (15.5.6).
fn guidance(out: &mut Vec<u8>, refusal: Refusal, allow: &str) {
    match refusal {
        Refusal::LimitReached { retry_after_s } => {
            let _ = write!(out, "Retry-After: {retry_after_s}\r\n");
        }
        Refusal::Overloaded
        | Refusal::NoSocket
        | Refusal::NotReady
        | Refusal::NoTarget
        | Refusal::UpstreamBusy => out.extend_from_slice(b"Retry-After: 1\r\n"),
        Refusal::MethodNotAllowed => {
            let _ = write!(out, "Allow: {allow}\r\n");
        }
        // RFC 6750, 3.1: no error code when no credential was shown.
        Refusal::KeyMissing => {
            out.extend_from_slice(b"WWW-Authenticate: Bearer realm=\"keyway\"\r\n");
        }
        _ if refusal.face().status == 401 => out.extend_from_slice(
            b"WWW-Authenticate: Bearer realm=\"keyway\", error=\"invalid_token\"\r\n",
        ),
        _ => {}
    }
}
