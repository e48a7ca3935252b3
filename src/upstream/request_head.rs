//! Writes the head that the target reads.
//!
//! It is made from the parsed form, never copied: what was not understood does not pass. Left out
//! are hop-by-hop fields and those that `Connection` names (RFC 9110, section 7.6.1), the key, and
//! every field by which a client could pretend to be the gateway.

use std::net::IpAddr;

use crate::accept::hops::Hops;
use crate::authenticate::Place;
use crate::parse::headers::{ConnectionTokens, is_hop_by_hop, is_trailer};
use crate::parse::{BodyFraming, RequestHead, Version};
use crate::record::address_text::push_ip;
use crate::record::request_id::RequestId;
use crate::route::edits::Edits;
use crate::route::template::Template;
use crate::trace::CallTrace;
use crate::trace::tracer::is_trace_field;

/// Who calls, as the target is told.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'v> {
    /// Tenant's name.
    pub tenant: &'v str,
    /// App's name.
    pub app: &'v str,
    /// The key's public id.
    pub key: crate::snapshot::KeyId,
    /// Plan's name.
    pub plan: &'v str,
    /// `live` or `test`.
    pub environment: &'static str,
}

/// What the gateway adds to a request.
#[derive(Clone, Copy, Debug)]
pub struct Added<'a> {
    /// Absent for an API that asks for no key.
    pub identity: Option<Identity<'a>>,
    /// Where the key stood, so that it is left out.
    pub credential: Option<Place<'a>>,
    /// This request's id.
    pub request_id: RequestId,
    /// The way it came.
    pub hops: &'a Hops<'a>,
    /// The protocol that the target may switch to.
    pub upgrade: Option<&'a str>,
    /// The path that the target is asked for instead of the client's.
    pub path: Option<&'a Template>,
    /// The host that the target is asked for instead of the client's.
    pub host: Option<&'a str>,
    /// Changes to the client's fields.
    pub edits: &'a Edits,
    /// Where the request stands in its trace; none if what the client says of it passes.
    pub trace: Option<&'a CallTrace>,
}

/// Appends the head, with its empty line.
pub fn write(out: &mut Vec<u8>, head: &RequestHead<'_, '_>, added: &Added<'_>) {
    out.extend_from_slice(head.method.as_bytes());
    out.push(b' ');
    match added.path {
        Some(path) => path.write(head.path, out),
        None => out.extend_from_slice(head.path.as_bytes()),
    }
    write_query(out, head, added.credential);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let host = added.host.unwrap_or(head.authority);
    if !host.is_empty() {
        field(out, "Host", host.as_bytes());
    }
    let named = head
        .names_hop_headers
        .then(|| ConnectionTokens::of(head.headers));
    // What it announces passes with the body's chunks.
    let has_trailers = head.framing == BodyFraming::Chunked;
    for header in head.headers {
        let name = header.name;
        let announces = has_trailers && is_trailer(name);
        let hop_by_hop =
            (is_hop_by_hop(name) && !announces) || named.is_some_and(|named| named.contains(name));
        let is_anew = added.trace.is_some() && is_trace_field(name);
        if !hop_by_hop
            && !is_anew
            && !is_withheld(name, added.credential)
            && !added.edits.withhold(name)
        {
            field(out, name, header.value);
        }
    }
    added.edits.write_added(out);
    if let Some(trace) = added.trace {
        trace.write(head.headers, out);
    }
    write_framing(out, head.framing);
    write_connection(
        out,
        added.upgrade,
        head.accepts_trailers && head.version == Version::H11,
    );
    write_forwarded(out, head, added);
    if let Some(identity) = &added.identity {
        write_identity(out, identity);
    }
    out.extend_from_slice(b"\r\n");
}

/// Fields the client may not set, or that are written anew.
///
/// `_` counts as `-`: a target that keeps fields in CGI variables takes `Keyway_Tenant` for
/// `Keyway-Tenant`, and a client that sends it would be believed.
pub(super) fn is_withheld(name: &str, credential: Option<Place<'_>>) -> bool {
    let own = match name.len() {
        4 => is(name, "host"),
        6 => is(name, "expect"),
        9 => is(name, "forwarded") || is(name, "x-real-ip"),
        12 => is(name, "x-request-id"),
        14 => is(name, "content-length"),
        17 => is(name, "transfer-encoding"),
        _ => false,
    };
    own || starts_with(name, "x-forwarded-")
        || starts_with(name, "keyway-")
        || credential.is_some_and(|place| place.is_header(name))
}

fn is(name: &str, own: &str) -> bool {
    name.len() == own.len() && starts_with(name, own)
}

/// Whether `name` begins with `prefix`, which is in lower case, in any case and with any dashes.
fn starts_with(name: &str, prefix: &str) -> bool {
    let folded = |byte: u8| {
        if byte == b'_' {
            b'-'
        } else {
            byte.to_ascii_lowercase()
        }
    };
    name.len() >= prefix.len()
        && name
            .bytes()
            .zip(prefix.bytes())
            .all(|(byte, own)| folded(byte) == own)
}

/// Appends the query with its `?`, without the key.
pub(crate) fn write_query(
    out: &mut Vec<u8>,
    head: &RequestHead<'_, '_>,
    credential: Option<Place<'_>>,
) {
    let Some(query) = head.query else { return };
    let Some(Place::Query(parameter)) = credential else {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
        return;
    };
    let mut separator = b'?';
    let kept = query
        .split('&')
        .filter(|pair| pair.split('=').next() != Some(parameter));
    for pair in kept {
        out.push(separator);
        out.extend_from_slice(pair.as_bytes());
        separator = b'&';
    }
}

fn write_framing(out: &mut Vec<u8>, framing: BodyFraming) {
    match framing {
        BodyFraming::Length(bytes) => {
            out.extend_from_slice(b"Content-Length: ");
            out.extend_from_slice(itoa::Buffer::new().format(bytes).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        BodyFraming::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        // A request never ends with its connection.
        BodyFraming::Empty | BodyFraming::UntilClose => {}
    }
}

/// What is asked of this connection alone: another protocol, and trailers behind the answer (RFC 9110,
/// section 10.1.4: "A sender of TE MUST also send a "TE" connection option").
fn write_connection(out: &mut Vec<u8>, upgrade: Option<&str>, trailers: bool) {
    let options: &[u8] = match (upgrade, trailers) {
        (Some(_), true) => b"Connection: Upgrade, TE\r\n",
        (Some(_), false) => b"Connection: Upgrade\r\n",
        (None, true) => b"Connection: TE\r\n",
        (None, false) => return,
    };
    out.extend_from_slice(options);
    if let Some(protocol) = upgrade {
        field(out, "Upgrade", protocol.as_bytes());
    }
    if trailers {
        out.extend_from_slice(b"TE: trailers\r\n");
    }
}

/// `Via` is a MUST of RFC 9110, section 7.6.3; `Forwarded` is RFC 7239. Of what the client or a hop
/// said, only what could be believed passes: see [`Hops`].
fn write_forwarded(out: &mut Vec<u8>, head: &RequestHead<'_, '_>, added: &Added<'_>) {
    out.extend_from_slice(b"Via: 1.1 keyway\r\nX-Request-Id: ");
    out.extend_from_slice(added.request_id.as_bytes());
    out.extend_from_slice(b"\r\nX-Forwarded-For: ");
    for (place, address) in added.hops.from_client().enumerate() {
        if place > 0 {
            out.extend_from_slice(b", ");
        }
        push_ip(out, address);
    }
    out.extend_from_slice(b"\r\nForwarded: for=");
    for (place, address) in added.hops.from_client().enumerate() {
        if place > 0 {
            out.extend_from_slice(b", for=");
        }
        push_node(out, address);
    }
    let proto: &[u8] = if added.hops.https { b"https" } else { b"http" };
    let host = added.hops.host.unwrap_or(head.authority).as_bytes();
    out.extend_from_slice(b";proto=");
    out.extend_from_slice(proto);
    if !host.is_empty() {
        out.extend_from_slice(b";host=\"");
        out.extend_from_slice(host);
        out.push(b'"');
    }
    out.extend_from_slice(b"\r\n");
    field(out, "X-Forwarded-Proto", proto);
    if !host.is_empty() {
        field(out, "X-Forwarded-Host", host);
    }
}

/// RFC 7239, section 6: an IPv6 address stands in brackets and quotes.
fn push_node(out: &mut Vec<u8>, address: IpAddr) {
    if address.is_ipv6() {
        out.extend_from_slice(b"\"[");
        push_ip(out, address);
        out.extend_from_slice(b"]\"");
    } else {
        push_ip(out, address);
    }
}

fn write_identity(out: &mut Vec<u8>, identity: &Identity<'_>) {
    field(out, "Keyway-Tenant", identity.tenant.as_bytes());
    field(out, "Keyway-App", identity.app.as_bytes());
    field(out, "Keyway-Key-Id", &identity.key.encode());
    field(out, "Keyway-Plan", identity.plan.as_bytes());
    field(out, "Keyway-Environment", identity.environment.as_bytes());
}

/// Appends one field line.
pub(crate) fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_the_gateways_own_fields_passes() {
        for name in [
            "Keyway-Tenant",
            "keyway_tenant",
            "KEYWAY_Plan",
            "X_Forwarded_For",
            "x-forwarded-anything",
            "X_Real_IP",
            "X_Request_Id",
            "Content_Length",
            "Transfer_Encoding",
            "Forwarded",
        ] {
            assert!(is_withheld(name, None), "{name}");
        }
        for name in [
            "Keyway",
            "X-Forward",
            "Accept",
            "X-Request-Ids",
            "Content-Lengths",
        ] {
            assert!(!is_withheld(name, None), "{name}");
        }
    }

    #[test]
    fn the_field_that_carries_the_key_does_not_pass_and_others_do() {
        let places = [
            (Place::Bearer, "authorization"),
            (Place::ApiKeyHeader, "X-Api-Key"),
            (Place::Header("x-own"), "X-Own"),
        ];
        for (place, name) in places {
            assert!(is_withheld(name, Some(place)), "{name}");
            assert!(!is_withheld("Accept", Some(place)));
        }
        assert!(!is_withheld("Authorization", Some(Place::ApiKeyHeader)));
    }
}
