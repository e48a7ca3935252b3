//! Answers that a route gives itself: redirects and fixed responses.
//!
//! Everything of them that does not depend on the request is made into text when the catalog is
//! loaded. A redirect's authority comes from the catalog or is the request's checked host, and its
//! path is a [`Template`]: no request can send a client to a host that nobody meant, or end a line.

use std::io::Write;

use crate::authenticate::Place;
use crate::parse::RequestHead;
use crate::respond::reason::reason;
use crate::respond::{Context, head};
use crate::route::edits::Line;
use crate::route::template::Template;
use crate::snapshot::catalog::Respond;
use crate::upstream::request_head;

/// A route's own answer, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAnswer {
    /// Its status.
    pub status: u16,
    /// Its fields, before its route's changes.
    pub fields: Vec<Line>,
    /// Its body.
    pub body: Box<[u8]>,
    /// Where it sends the client.
    pub location: Option<Location>,
}

impl OwnAnswer {
    /// A checked fixed response.
    pub fn respond(entry: &Respond) -> Self {
        Self {
            status: entry.status,
            fields: entry.headers.iter().map(Line::new).collect(),
            body: entry.body.as_bytes().into(),
            location: None,
        }
    }

    /// A checked redirect.
    pub fn redirect(status: u16, location: Location) -> Self {
        Self {
            status,
            fields: Vec::new(),
            body: Box::default(),
            location: Some(location),
        }
    }
}

/// Where a redirect leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// With `://`; empty for a path on the same host.
    scheme: Box<str>,
    /// The host, or what follows the request's own one.
    authority: Box<str>,
    own_host: bool,
    path: Template,
}

impl Location {
    /// A location at a checked authority, or at none.
    pub fn new(scheme: &str, authority: &str, path: Template) -> Self {
        Self {
            scheme: scheme.into(),
            authority: authority.into(),
            own_host: false,
            path,
        }
    }

    /// The same behind the request's own host.
    pub fn at_own_host(self) -> Self {
        Self {
            own_host: true,
            ..self
        }
    }

    /// Appends the field line; the query goes along, without the key.
    pub fn write(&self, head: &RequestHead<'_, '_>, key: Option<Place<'_>>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Location: ");
        // Only HTTP/1.0 may leave the host out; then the path is all that can be said.
        if !self.own_host || !head.host.is_empty() {
            out.extend_from_slice(self.scheme.as_bytes());
            if self.own_host {
                out.extend_from_slice(head.host.as_bytes());
            }
            out.extend_from_slice(self.authority.as_bytes());
        }
        self.path.write(head.path, out);
        request_head::write_query(out, head, key);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends a whole answer; `add_fields` may append whole field lines of its own.
pub fn write(
    out: &mut Vec<u8>,
    (status, fields, body): (u16, &[u8], &[u8]),
    context: &Context<'_>,
    add_fields: impl FnOnce(&mut Vec<u8>),
) {
    // Writes into a Vec cannot fail.
    let _ = write!(
        out,
        "HTTP/1.1 {status} {}\r\nDate: {}\r\nX-Request-Id: ",
        reason(status),
        context.date,
    );
    out.extend_from_slice(context.request_id.as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(fields);
    // RFC 9110, section 8.6: "A server MUST NOT send a Content-Length header field in any response
    // with a status code of 1xx (Informational) or 204 (No Content)." A 304 has none to tell.
    if !matches!(status, 204 | 304) {
        let _ = write!(out, "Content-Length: {}\r\n", body.len());
    }
    add_fields(out);
    head::connection(out, context.http_1_0, context.keep_alive);
    out.extend_from_slice(b"\r\n");
    if !context.head_only {
        out.extend_from_slice(body);
    }
}
