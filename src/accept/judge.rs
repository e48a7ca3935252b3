//! From bytes to a verdict: parse, decide, and write what the target will read. No I/O.
//!
//! The head is borrowed from the connection's buffer only while this runs. What must outlive it is
//! kept as [`Span`]s into that buffer, which stays untouched until the request is recorded.

use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::rc::Rc;

use httparse::{Header, Status};

use crate::accept::Peer;
use crate::accept::hops::Hops;
use crate::clock::Now;
use crate::limit::{Hold, Outcome};
use crate::parse::{BodyFraming, RequestHead, Version, glimpse, parse_request};
use crate::pipeline::{self, Admission, AnsweredBy, Bench, Seen};
use crate::record::request_id::RequestId;
use crate::refusal::Refusal;
use crate::route::UpstreamIndex;
use crate::route::balance::{Balance, Draw, Member};
use crate::route::edits::{self, Edits};
use crate::settings::HEADERS_CEILING;
use crate::snapshot::catalog::{Api, Route, Upstream};
use crate::trace::CallTrace;
use crate::upstream::request_head::{self, Added, Identity};
use crate::upstream::upgrade;
use crate::worker::overload::InFlight;
use crate::worker::{Served, Worker};

/// A part of the connection's buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: usize,
    bytes: usize,
}

impl Span {
    /// Where `part` lies in `whole`; nothing, if it does not.
    fn of(whole: &[u8], part: &str) -> Self {
        let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        match whole.get(start..).and_then(|rest| rest.get(..part.len())) {
            Some(_) => Self {
                start,
                bytes: part.len(),
            },
            None => Self::default(),
        }
    }

    /// The part itself; empty if the buffer is another one.
    pub fn text(self, whole: &[u8]) -> &str {
        let bytes = whole
            .get(self.start..)
            .and_then(|rest| rest.get(..self.bytes));
        bytes
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or("")
    }
}

/// One request, from its head to its record.
#[derive(Debug)]
pub struct Call {
    /// Its id.
    pub request_id: RequestId,
    /// When its head was whole.
    pub begun: Now,
    /// Its method, in the buffer.
    pub method: Span,
    /// Its host, in the buffer.
    pub host: Span,
    /// Its path without the query, in the buffer.
    pub path: Span,
    /// Bytes of its head; zero if the head never became whole.
    pub head_bytes: usize,
    /// How its body ends.
    pub framing: BodyFraming,
    /// HTTP/1.0.
    pub http_1_0: bool,
    /// The client wants the connection kept.
    pub keep_alive: bool,
    /// The client waits for a 100 before it sends the body.
    pub expect_continue: bool,
    /// It wants trailers behind an answer with chunks.
    pub accepts_trailers: bool,
    /// HEAD: an answer without a body.
    pub is_head: bool,
    /// Sending it twice has the effect of sending it once (RFC 9110, 9.2.2).
    pub is_idempotent: bool,
    /// What the decision learned.
    pub seen: Seen,
    /// The generation that judged it.
    pub served: Option<Rc<Served>>,
    /// The client, where a trusted hop told of one.
    pub client: Option<IpAddr>,
    /// Its place in a trace; none where the node does not trace.
    pub trace: Option<CallTrace>,
    /// The protocol that it may switch to, in the client's spelling.
    pub upgrade: Option<Box<str>>,
    /// Field lines for pages of other origins, whatever the answer is; empty for an API that says
    /// nothing of them.
    pub cors: Vec<u8>,
}

impl Call {
    /// The API that matched, and its route.
    pub fn matched(&self) -> Option<(&Api, &Route)> {
        let catalog = self.served.as_ref()?.view().catalog();
        let api = catalog.api(self.seen.api?);
        Some((api, api.route(self.seen.route)))
    }

    /// The body of the gateway's own answer.
    pub fn own_body(&self, own: &Own) -> &[u8] {
        let answer = self.matched().and_then(|(_, route)| route.answer.as_ref());
        answer
            .filter(|_| own.is_of_route)
            .map_or(&[], |answer| &answer.body)
    }

    /// Changes to what the client reads of a target's answer.
    pub fn response_edits(&self) -> &Edits {
        self.matched()
            .map_or(&edits::NONE, |(_, route)| &route.response_edits)
    }
}

/// An admitted request, ready to go.
#[derive(Debug)]
pub struct Job {
    /// The request.
    pub call: Call,
    /// The head for the target.
    pub request_head: Vec<u8>,
    /// Its claim on the limits.
    pub hold: Option<Hold>,
    /// Its place among those in flight; a tunnel, which may rest for hours, gives it up.
    pub in_flight: Option<InFlight>,
    /// Largest body; `u64::MAX` for no cap.
    pub body_bytes_max: u64,
    /// The server in turn.
    pub member: Rc<Member>,
    upstream: UpstreamIndex,
    draw: Draw,
    /// Servers that were asked and did not do.
    tried: Vec<Rc<Member>>,
}

impl Job {
    /// Where it goes.
    pub fn upstream(&self) -> Option<&Upstream> {
        let served = self.call.served.as_ref()?;
        Some(served.view().catalog().upstream(self.upstream))
    }

    /// The index of its upstream.
    pub fn upstream_index(&self) -> UpstreamIndex {
        self.upstream
    }

    /// Goes on to a server that was not asked yet; false if there is none.
    pub fn next_member(&mut self, balance: &mut Balance, now_ms: u64) -> bool {
        let Some(served) = &self.call.served else {
            return false;
        };
        let upstream = served.view().catalog().upstream(self.upstream);
        self.tried.push(Rc::clone(&self.member));
        let draw = Draw {
            now_ms,
            ..self.draw
        };
        match balance.pick(upstream, draw, &self.tried) {
            Some(next) => {
                self.member = next;
                true
            }
            None => false,
        }
    }

    /// The server's time to answer, and between two reads of its answer.
    pub fn response_timeout_ms(&self) -> u64 {
        self.upstream()
            .map_or(0, |upstream| u64::from(upstream.response_timeout_ms))
    }
}

/// What becomes of the bytes.
#[derive(Debug)]
pub enum Verdict {
    /// Not a whole head yet.
    Partial,
    /// Refused; an answer is due.
    Refused(Call, Refusal),
    /// May go on.
    Admitted(Job),
    /// May have what the gateway itself has to say.
    Own(Call, Own),
}

/// An answer of the gateway's own.
#[derive(Debug)]
pub struct Own {
    /// Its status.
    pub status: u16,
    /// Whole field lines, in a worker's buffer.
    pub fields: Vec<u8>,
    /// The route says it, its body too; else it answers a preflight.
    pub is_of_route: bool,
}

/// Judges what has arrived on a connection.
pub fn judge(worker: &Worker, bytes: &[u8], peer: &Peer) -> Verdict {
    let mut slots = [const { MaybeUninit::<Header<'_>>::uninit() }; HEADERS_CEILING];
    let headers_max = worker.head_limits.headers_max.min(HEADERS_CEILING);
    let begun = worker.clock.now();
    match parse_request(bytes, &mut slots[..headers_max], &worker.head_limits) {
        Ok(Status::Partial) => Verdict::Partial,
        Ok(Status::Complete((head, head_bytes))) => {
            #[cfg(debug_assertions)]
            super::fault_hook::panic_if_asked(&head);
            let call = Call::of(worker, (bytes, begun), &head, head_bytes);
            decide(worker, call, &head, peer)
        }
        Err(refusal) => Verdict::Refused(Call::without_head(worker, bytes), refusal),
    }
}

fn decide(worker: &Worker, mut call: Call, head: &RequestHead<'_, '_>, peer: &Peer) -> Verdict {
    // First of all: a refusal must cost as little as it can.
    if worker.overload.refuses_request() {
        return Verdict::Refused(call, Refusal::Overloaded);
    }
    let Some(served) = worker.served() else {
        return Verdict::Refused(call, Refusal::NotReady);
    };
    let hops = Hops::read(&worker.trusted_hops, head, peer);
    call.client = hops.told_client();
    let mut limits = worker.limits.borrow_mut();
    let mut balance = worker.balance.borrow_mut();
    let mut bench = Bench {
        view: served.view(),
        peppers: &worker.peppers,
        limits: &mut limits,
        balance: &mut balance,
        body_bytes_max: worker.body_bytes_max,
        head_bytes: call.head_bytes,
        client: call.client.unwrap_or(peer.address.ip()),
        request_id: call.request_id,
    };
    let verdict = pipeline::admit(&mut bench, head, call.begun, &mut call.seen);
    let cors = call
        .seen
        .api
        .map(|api| &served.view().catalog().api(api).cors);
    if let Some(Some(cors)) = cors {
        cors.write_answer(head, &mut call.cors);
    }
    match verdict {
        Err(refusal) => {
            call.served = Some(Rc::clone(&served));
            Verdict::Refused(call, refusal)
        }
        Ok(admission) => {
            let mut out = worker.buffers.take();
            let chosen = match &admission.by {
                AnsweredBy::Target(chosen) => chosen.clone(),
                AnsweredBy::Route(_) | AnsweredBy::Preflight(..) => {
                    let own = write_own(out, head, &mut call, &admission);
                    if let Some(hold) = admission.hold {
                        limits.settle(hold, cost_of_own(&call, &admission.by));
                    }
                    call.served = Some(Rc::clone(&served));
                    return Verdict::Own(call, own);
                }
            };
            let upgrade = upgrade::asked(head, &admission.api.upgrades);
            call.upgrade = upgrade.map(Into::into);
            let host = &served.view().catalog().upstream(chosen.upstream).host;
            write_request_head(&mut out, head, &call, &admission, (host.as_deref(), &hops));
            let body_bytes_max = worker.body_bytes_max.min(admission.api.body_bytes_max);
            let hold = admission.hold;
            call.served = Some(Rc::clone(&served));
            Verdict::Admitted(Job {
                call,
                request_head: out,
                hold,
                body_bytes_max,
                upstream: chosen.upstream,
                member: chosen.member,
                draw: chosen.draw,
                tried: Vec::new(),
                in_flight: Some(worker.overload.enter()),
            })
        }
    }
}

/// What an answer of the gateway's own costs: its head is not written yet, and not worth counting.
fn cost_of_own(call: &Call, by: &AnsweredBy<'_, '_>) -> Outcome {
    let body = match by {
        AnsweredBy::Route(answer) => answer.body.len(),
        AnsweredBy::Preflight(..) | AnsweredBy::Target(_) => 0,
    };
    Outcome::Used {
        bytes_in: call.head_bytes as u64,
        bytes_out: body as u64,
    }
}

/// The gateway's own answer, its fields in `out`.
fn write_own(
    mut out: Vec<u8>,
    head: &RequestHead<'_, '_>,
    call: &mut Call,
    admission: &Admission<'_, '_>,
) -> Own {
    let mut status = 204;
    let is_of_route = matches!(admission.by, AnsweredBy::Route(_));
    match &admission.by {
        AnsweredBy::Route(answer) => {
            if let Some(location) = &answer.location {
                location.write(head, admission.shown.map(|shown| shown.place), &mut out);
            }
            let edits = &admission.route.response_edits;
            edits.write_passing(&answer.fields, &mut out);
            edits.write_added(&mut out);
            status = answer.status;
        }
        AnsweredBy::Preflight(cors, asked) => {
            cors.write_preflight(head, asked, &admission.route.methods, &mut out);
            // What it allows stands in these fields, and only once.
            call.cors.clear();
        }
        AnsweredBy::Target(_) => {}
    }
    Own {
        status,
        fields: out,
        is_of_route,
    }
}

fn write_request_head(
    out: &mut Vec<u8>,
    head: &RequestHead<'_, '_>,
    call: &Call,
    admission: &Admission<'_, '_>,
    (upstream_host, hops): (Option<&str>, &Hops<'_>),
) {
    let identity = admission.permit.as_ref().map(|permit| Identity {
        tenant: &permit.tenant().name,
        app: permit.app().name,
        key: permit.key().id,
        plan: &permit.plan().name,
        environment: permit.key().environment.name(),
    });
    let added = Added {
        identity,
        credential: admission.shown.map(|shown| shown.place),
        request_id: call.request_id,
        hops,
        upgrade: call.upgrade.as_deref(),
        path: admission.route.path.as_ref(),
        host: admission.route.host.as_deref().or(upstream_host),
        edits: &admission.route.request_edits,
        trace: call.trace.as_ref(),
    };
    request_head::write(out, head, &added);
}

impl Call {
    fn of(
        worker: &Worker,
        (bytes, begun): (&[u8], Now),
        head: &RequestHead<'_, '_>,
        head_bytes: usize,
    ) -> Self {
        Self {
            request_id: worker.mint_request_id(),
            begun,
            method: Span::of(bytes, head.method),
            host: Span::of(bytes, head.host),
            path: Span::of(bytes, head.path),
            head_bytes,
            framing: head.framing,
            http_1_0: head.version == Version::H10,
            keep_alive: head.keep_alive,
            expect_continue: head.expect_continue,
            accepts_trailers: head.accepts_trailers && head.version == Version::H11,
            is_head: head.method == "HEAD",
            is_idempotent: matches!(head.method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE"),
            seen: Seen::default(),
            served: None,
            client: None,
            trace: worker.trace(head.headers),
            upgrade: None,
            cors: Vec::new(),
        }
    }

    /// A request whose head could not be read. Of `bytes` only what stands in their first line is told
    /// to whoever reads the log; nothing else goes by it.
    pub fn without_head(worker: &Worker, bytes: &[u8]) -> Self {
        let (method, path) = glimpse(bytes).unwrap_or_default();
        Self {
            request_id: worker.mint_request_id(),
            begun: worker.clock.now(),
            method: Span::of(bytes, method),
            host: Span::default(),
            path: Span::of(bytes, path),
            head_bytes: 0,
            framing: BodyFraming::Empty,
            http_1_0: false,
            keep_alive: false,
            expect_continue: false,
            accepts_trailers: false,
            is_head: false,
            is_idempotent: false,
            seen: Seen::default(),
            served: None,
            client: None,
            trace: worker.trace(&[]),
            upgrade: None,
            cors: Vec::new(),
        }
    }
}
