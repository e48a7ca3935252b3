//! What a worker remembers of its requests, in memory of its own until the next beat.

use crate::accept::Peer;
use crate::accept::judge::Call;
use crate::clock::{Now, Tick};
use crate::limit::ShardCounts;
use crate::link::WorkerHandle;
use crate::record::counters::{class_of, refusal_number};
use crate::record::head_text::HeadText;
use crate::record::log_line::Timings;
use crate::record::log_policy;
use crate::record::refused_clients::RefusedClients;
use crate::record::segment::Counted;
use crate::record::{Counter, Counters, LogBuffer, LogLine, Span, Usage};
use crate::refusal::Refusal;
use crate::upstream::exchange::Progress;

/// A request at its end.
#[derive(Debug)]
pub struct Finished<'a> {
    /// The request.
    pub call: &'a Call,
    /// Its head, where the call's spans lie.
    pub head: &'a [u8],
    /// Why the gateway said no, if it did.
    pub refusal: Option<Refusal>,
    /// What went through.
    pub progress: &'a Progress,
    /// The client.
    pub peer: &'a Peer,
    /// When the first part of its head came, if that was not whole at once.
    pub head_begun: Option<Tick>,
}

/// Counters, usage and log of one worker.
#[derive(Debug)]
pub struct Recorder {
    /// Counts of everything.
    pub counters: Counters,
    usage: Usage,
    refused_clients: RefusedClients,
    log: LogBuffer,
    limits: ShardCounts,
}

impl Recorder {
    /// An empty recorder.
    pub fn new(handle: &WorkerHandle) -> Self {
        Self {
            counters: Counters::new(),
            usage: Usage::new(),
            refused_clients: RefusedClients::default(),
            log: LogBuffer::new(handle.log.clone()),
            limits: ShardCounts::default(),
        }
    }

    /// Remembers a request that ended at `now`.
    pub fn record(&mut self, finished: &Finished<'_>, now: Tick) {
        let Finished { call, progress, .. } = finished;
        let status = progress.status.get();
        let bytes_in = call.head_bytes as u64 + progress.body_bytes_in.get();
        let bytes_out = progress.bytes_out.get();
        let duration_ns = now.since_ns(call.begun.tick);
        let upstream_ns = progress.upstream_ns.get();
        self.counters
            .finished(status, bytes_in, bytes_out, duration_ns);
        if let Some(refusal) = finished.refusal {
            self.counters.refused(refusal);
        }
        if upstream_ns > 0 {
            self.counters.took(Span::Upstream, upstream_ns);
        }
        let matched = call.matched();
        let minute = minute_of(call.begun, now);
        let counted = Counted {
            minute,
            key: call.seen.key.map(|key| key.id),
            api: matched.map_or(0, |(api, _)| api.number),
            route: matched.map_or(0, |(_, route)| route.number),
            class: class_of(status),
            refusal: finished.refusal.map_or(0, refusal_number),
        };
        let latency = (status != 101).then_some(duration_ns);
        self.usage.add(counted, bytes_in, bytes_out, latency);
        if status == 401 && finished.refusal.is_some() {
            let client = call.client.unwrap_or(finished.peer.address.ip());
            self.refused_clients.add(client, minute);
        }
        if self.log.is_on() {
            self.log(finished, (bytes_in, bytes_out), now);
        }
    }

    fn log(&mut self, finished: &Finished<'_>, bytes: (u64, u64), now: Tick) {
        let Finished {
            call,
            head,
            progress,
            ..
        } = finished;
        let matched = call.matched();
        let policy = matched.map_or(&log_policy::USUAL, |(api, _)| &api.log);
        let status = progress.status.get();
        let is_error = finished.refusal.is_some() || status == 0 || status >= 500;
        let request_id = call.request_id.as_bytes();
        let Some(kept) = policy.keeps(self.log.sample(), request_id, is_error) else {
            return;
        };
        let view = call.served.as_ref().map(|served| served.view());
        let app = call.seen.key.and_then(|key| view?.app(key.app));
        let catalog = view.map(|view| view.catalog());
        let tenant = app.and_then(|app| catalog?.tenant_by_number(app.tenant));
        let plan = call
            .seen
            .plan
            .and_then(|plan| catalog?.plan_by_number(plan));
        let upstream = call.seen.upstream;
        let upstream = upstream.and_then(|upstream| Some(catalog?.upstream(upstream)));
        let target = progress.target.borrow();
        let line = LogLine {
            time: call.begun.wall,
            request_id,
            peer: finished.peer.address,
            client_certificate: finished.peer.identity.as_deref(),
            tls: finished.peer.tls,
            client: call.client,
            trace: call.trace,
            method: call.method.text(head).as_bytes(),
            host: call.host.text(head).as_bytes(),
            path: call.path.text(head).as_bytes(),
            // Of a head that could not be read nothing is known for sure.
            head: HeadText::new(if call.head_bytes > 0 { head } else { &[] }),
            policy,
            status,
            refusal: finished.refusal,
            tenant: tenant.map(|tenant| tenant.name.as_str()),
            app: app.map(|app| app.name),
            key: call.seen.key.map(|key| key.id),
            plan: plan.map(|plan| plan.name.as_str()),
            api: matched.map(|(api, _)| api.name.as_str()),
            route: matched.map(|(_, route)| &*route.pattern),
            upstream: upstream.map(|upstream| upstream.name.as_str()),
            target: target.as_ref(),
            bytes_in: bytes.0,
            bytes_out: bytes.1,
            timings: timings(finished, now),
            attempts: progress.attempts.get(),
            sample: kept.sample,
            generation: view.map_or(0, |view| view.generation()),
        };
        self.log.add(&line, &mut self.counters);
    }

    /// Makes what was counted visible, and hands usage over if asked to.
    pub fn flush(&mut self, handle: &WorkerHandle, limits: ShardCounts, with_usage: bool) {
        let taken = limits.leases_taken - self.limits.leases_taken;
        let returned = limits.leases_returned - self.limits.leases_returned;
        self.limits = limits;
        self.counters.add(Counter::LeasesTaken, taken);
        self.counters.add(Counter::LeasesReturned, returned);
        if with_usage {
            self.usage
                .hand_over(&handle.usage, &mut self.refused_clients);
            self.counters
                .add(Counter::UsageLost, self.usage.take_lost());
        }
        self.log.flush(&mut self.counters);
        self.counters.publish(&handle.counters);
    }
}

/// The minute in which a request ended, by the wall clock as it was read when the request began.
fn minute_of(begun: Now, now: Tick) -> u32 {
    let ended_ms = begun.wall.0 + now.since_ns(begun.tick) / 1_000_000;
    u32::try_from(ended_ms / 60_000).unwrap_or(u32::MAX)
}

/// How long each stage took that the request came to.
fn timings(finished: &Finished<'_>, now: Tick) -> Timings {
    let Finished { call, progress, .. } = finished;
    let begun = call.begun.tick;
    let since = |from: Tick, at: Tick| (at > Tick::default()).then(|| at.since_ns(from) / 1_000);
    let upstream_ns = progress.upstream_ns.get();
    let answered_at = progress.answered_at.get();
    Timings {
        head_us: finished
            .head_begun
            .map(|first| begun.since_ns(first) / 1_000),
        decide_us: since(begun, progress.decided_at.get()),
        connect_us: (progress.attempts.get() > 0).then(|| progress.connect_ns.get() / 1_000),
        upstream_us: (upstream_ns > 0).then_some(upstream_ns / 1_000),
        body_us: (answered_at > Tick::default()).then(|| now.since_ns(answered_at) / 1_000),
        duration_us: now.since_ns(begun) / 1_000,
    }
}
