//! From bytes to a verdict: parse, decide, and write what the target will read. No I/O.
//!
//! The head is borrowed from the connection's buffer only while this runs. What must outlive it is
//! kept as [`Span`]s into that buffer, which stays untouched until the request is recorded.

use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use httparse::{Header, Status};

use crate::accept::hops::Hops;
use crate::clock::Now;
use crate::limit::Hold;
use crate::parse::{BodyFraming, RequestHead, Version, parse_request};
use crate::pipeline::{self, Admission, Bench, Seen};
use crate::record::request_id::RequestId;
use crate::refusal::Refusal;
use crate::route::UpstreamIndex;
use crate::settings::HEADERS_CEILING;
use crate::snapshot::catalog::Upstream;
use crate::upstream::request_head::{self, Added, Identity};
use crate::upstream::upgrade;
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
    /// The protocol that it may switch to, in the client's spelling.
    pub upgrade: Option<Box<str>>,
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
    upstream: UpstreamIndex,
    target: usize,
}

impl Job {
    /// Where it goes.
    pub fn upstream(&self) -> Option<&Upstream> {
        let served = self.call.served.as_ref()?;
        Some(served.view().catalog().upstream(self.upstream))
    }

    /// The upstream's servers.
    pub fn targets(&self) -> &[SocketAddr] {
        self.upstream().map_or(&[], |upstream| &upstream.targets)
    }

    /// The server in turn.
    pub fn target_address(&self) -> Option<SocketAddr> {
        let targets = self.targets();
        targets
            .get(self.target.checked_rem(targets.len())?)
            .copied()
    }

    /// Passes the turn on.
    pub fn next_target(&mut self) {
        self.target = self.target.wrapping_add(1);
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
}

/// Judges what has arrived on a connection.
pub fn judge(worker: &Worker, bytes: &[u8], peer: SocketAddr) -> Verdict {
    let mut slots = [const { MaybeUninit::<Header<'_>>::uninit() }; HEADERS_CEILING];
    let headers_max = worker.head_limits.headers_max.min(HEADERS_CEILING);
    match parse_request(bytes, &mut slots[..headers_max], &worker.head_limits) {
        Ok(Status::Partial) => Verdict::Partial,
        Ok(Status::Complete((head, head_bytes))) => {
            #[cfg(debug_assertions)]
            super::fault_hook::panic_if_asked(&head);
            let call = Call::of(worker, bytes, &head, head_bytes);
            decide(worker, call, &head, peer)
        }
        Err(refusal) => Verdict::Refused(Call::without_head(worker), refusal),
    }
}

fn decide(
    worker: &Worker,
    mut call: Call,
    head: &RequestHead<'_, '_>,
    peer: SocketAddr,
) -> Verdict {
    // First of all: a refusal must cost as little as it can.
    if worker.overload.refuses_request() {
        return Verdict::Refused(call, Refusal::Overloaded);
    }
    let Some(served) = worker.served() else {
        return Verdict::Refused(call, Refusal::NotReady);
    };
    let hops = Hops::read(&worker.trusted_hops, head, peer.ip());
    call.client = hops.told_client();
    let mut limits = worker.limits.borrow_mut();
    let mut balance = worker.balance.borrow_mut();
    let mut bench = Bench {
        view: served.view(),
        peppers: &worker.peppers,
        limits: &mut limits,
        balance: &mut balance,
        body_bytes_max: worker.body_bytes_max,
    };
    let verdict = pipeline::admit(&mut bench, head, call.begun, &mut call.seen);
    match verdict {
        Err(refusal) => {
            call.served = Some(Rc::clone(&served));
            Verdict::Refused(call, refusal)
        }
        Ok(admission) => {
            let mut request_head = worker.buffers.take();
            let api = call.seen.api.map(|api| served.view().catalog().api(api));
            let upgrade = api.and_then(|api| upgrade::asked(head, &api.upgrades));
            call.upgrade = upgrade.map(Into::into);
            write_request_head(&mut request_head, head, &call, &admission, &hops);
            let Admission {
                upstream,
                target,
                hold,
                ..
            } = admission;
            call.served = Some(Rc::clone(&served));
            Verdict::Admitted(Job {
                call,
                request_head,
                upstream,
                target,
                hold,
            })
        }
    }
}

fn write_request_head(
    out: &mut Vec<u8>,
    head: &RequestHead<'_, '_>,
    call: &Call,
    admission: &Admission<'_, '_>,
    hops: &Hops<'_>,
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
    };
    request_head::write(out, head, &added);
}

impl Call {
    fn of(worker: &Worker, bytes: &[u8], head: &RequestHead<'_, '_>, head_bytes: usize) -> Self {
        Self {
            request_id: worker.mint_request_id(),
            begun: worker.clock.now(),
            method: Span::of(bytes, head.method),
            host: Span::of(bytes, head.host),
            path: Span::of(bytes, head.path),
            head_bytes,
            framing: head.framing,
            http_1_0: head.version == Version::H10,
            keep_alive: head.keep_alive,
            expect_continue: head.expect_continue,
            is_head: head.method == "HEAD",
            is_idempotent: matches!(head.method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE"),
            seen: Seen::default(),
            served: None,
            client: None,
            upgrade: None,
        }
    }

    /// A request whose head could not be read: nothing is known of it.
    pub fn without_head(worker: &Worker) -> Self {
        Self {
            request_id: worker.mint_request_id(),
            begun: worker.clock.now(),
            method: Span::default(),
            host: Span::default(),
            path: Span::default(),
            head_bytes: 0,
            framing: BodyFraming::Empty,
            http_1_0: false,
            keep_alive: false,
            expect_continue: false,
            is_head: false,
            is_idempotent: false,
            seen: Seen::default(),
            served: None,
            client: None,
            upgrade: None,
        }
    }
}
