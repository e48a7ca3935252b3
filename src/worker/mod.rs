//! A worker: one event loop on one core, with everything a request needs of its own.
//!
//! [`Worker`] is what the tasks of one loop share, without locks and without atomics on the
//! request path. [`start`] settles the driver and starts the threads, [`pulse`] is the worker's
//! heartbeat (deadlines, new views, counters), [`recorder`] what it remembers of requests.

pub mod deadline;
pub mod overload;
pub mod pace;
pub mod pulse;
pub mod recorder;
pub mod start;
pub mod tunnels;
pub mod unwind;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::accept::admission::Admission;
use crate::accept::hops::TrustedHops;
use crate::accept::judge::Call;
use crate::accept::tls::store::{Current, TlsStore};
use crate::accept::turn_away::TurnedAway;
use crate::authenticate::digest::Pepper;
use crate::clock::Clock;
use crate::io::{Buffers, Parking};
use crate::limit::{Bank, Demand, Shard, ShardSettings, headers};
use crate::link::WorkerHandle;
use crate::parse::HeadLimits;
use crate::pipeline;
use crate::published::Latest;
use crate::record::load::Load;
use crate::record::request_id::{RequestId, RequestIds};
use crate::record::throttle::Throttle;
use crate::record::{CloseCause, Counter};
use crate::refusal::Refusal;
use crate::respond::date::DateCache;
use crate::route::balance::Balance;
use crate::settings::{HttpLimits, Settings};
use crate::snapshot::{View, ViewSlot};
use crate::trace::{CallTrace, SpanSink, Tracer};
use crate::upstream::pool::Pool;
use crate::upstream::tls::{ClientConfigs, Trusts};
use crate::watch::Findings;
use crate::watch::outlook::Outlook;

use deadline::{Deadlines, Waiting, Watch};
use overload::Overload;
use pace::Pace;
use recorder::{Finished, Recorder};
use tunnels::Tunnels;

/// Pause between two lines about failed accepts.
const ACCEPT_LOG_PAUSE_MS: u64 = 10_000;

/// The view a worker serves. The last request judged by it sends it back to the link thread: an
/// unmap of a gigabyte must never run on a worker.
#[derive(Debug)]
pub struct Served {
    // Taken only by `drop`.
    view: Option<Arc<View>>,
    slot: Arc<ViewSlot>,
}

impl Served {
    /// The view itself.
    pub fn view(&self) -> &View {
        self.view.as_ref().expect("taken only by drop")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(view) = self.view.take() {
            self.slot.retire(view);
        }
    }
}

/// What every worker of a node is made from.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// What the node shows over TLS.
    pub tls: Option<Arc<TlsStore>>,
    /// Whom it believes over TLS.
    pub trusts: Arc<Trusts>,
    /// The node's settings.
    pub settings: Arc<Settings>,
    /// Secrets that keys are digested with.
    pub peppers: Arc<[Pepper]>,
    /// The words that limits are counted in.
    pub bank: Arc<Bank>,
    /// The node's clock.
    pub clock: Clock,
    /// The node's count of client connections.
    pub admission: Arc<Admission>,
    /// The node's load.
    pub load: Arc<Load>,
    /// What the node finds out about targets.
    pub watch: Arc<Findings>,
    /// Where spans go.
    pub spans: SpanSink,
}

/// A worker's side of TLS.
#[derive(Debug)]
pub struct WorkerTls {
    /// What the node shows.
    pub store: Arc<TlsStore>,
    /// The newest of it that the worker has.
    pub latest: RefCell<Latest<Current>>,
}

impl WorkerTls {
    fn new(store: &Arc<TlsStore>) -> Self {
        Self {
            latest: RefCell::new(store.latest()),
            store: Arc::clone(store),
        }
    }
}

/// One worker's state, shared by the tasks of its loop.
#[derive(Debug)]
pub struct Worker {
    /// Its number, from 0.
    pub index: usize,
    /// Caps and deadlines.
    pub http: HttpLimits,
    /// Caps of a request's head.
    pub head_limits: HeadLimits,
    /// Largest request body; `u64::MAX` for no cap.
    pub body_bytes_max: u64,
    /// The node's count of client connections.
    pub admission: Arc<Admission>,
    /// Whether there is too much to do.
    pub overload: Rc<Overload>,
    /// The node's load.
    pub load: Arc<Load>,
    /// Connections that were turned away a moment ago.
    pub turned_away: TurnedAway,
    /// The node's clock.
    pub clock: Clock,
    /// Secrets that keys are digested with.
    pub peppers: Arc<[Pepper]>,
    /// The proxies in front that are believed.
    pub trusted_hops: TrustedHops,
    /// Buffers for exchanges.
    pub buffers: Buffers,
    /// What takes the buffers of its idle connections back.
    pub parking: Parking,
    /// The least pace of a request's body.
    pub body_pace: Pace,
    /// Deadlines of its connections.
    pub deadlines: Rc<Deadlines>,
    /// What it shows over TLS.
    pub tls: Option<WorkerTls>,
    /// How it speaks TLS to targets.
    pub client_configs: ClientConfigs,
    /// Its connections that have switched protocols.
    pub tunnels: Tunnels,
    /// Its idle connections to targets.
    pub pool: RefCell<Pool>,
    /// Its share of the limits.
    pub limits: RefCell<Shard>,
    /// The date for its own answers.
    pub date: RefCell<DateCache>,
    /// Its turns among targets.
    pub balance: RefCell<Balance>,
    outlook: RefCell<Latest<Outlook>>,
    watch: Arc<Findings>,
    served: RefCell<Option<Rc<Served>>>,
    handle: Arc<WorkerHandle>,
    recorder: RefCell<Recorder>,
    request_ids: RefCell<RequestIds>,
    tracer: Option<Tracer>,
    draining: Cell<bool>,
    listening: Cell<usize>,
    open: Cell<usize>,
    accept_log: RefCell<Throttle>,
}

impl Worker {
    /// A worker that serves nothing yet.
    pub fn new(config: &WorkerConfig, handle: Arc<WorkerHandle>, request_id_seed: u64) -> Self {
        let http = config.settings.http.clone();
        let outlook = config.watch.outlook.latest();
        let mut balance = Balance::starting_at(handle.index);
        balance.adopt(Arc::clone(outlook.value()));
        let workers = config.settings.workers;
        let shard_settings = ShardSettings::for_workers(u32::try_from(workers).unwrap_or(u32::MAX));
        Self {
            index: handle.index,
            head_limits: HeadLimits {
                head_bytes_max: http.head_bytes_max,
                target_bytes_max: http.target_bytes_max,
                headers_max: http.headers_max,
            },
            body_bytes_max: http.body_bytes_max.unwrap_or(u64::MAX),
            admission: Arc::clone(&config.admission),
            overload: Rc::new(Overload::new(&config.settings.overload, pulse::BEAT_US)),
            load: Arc::clone(&config.load),
            turned_away: TurnedAway::default(),
            clock: config.clock,
            peppers: Arc::clone(&config.peppers),
            trusted_hops: config.settings.trusted_hops.clone(),
            buffers: Buffers::default(),
            parking: Parking::default(),
            tls: config.tls.as_ref().map(WorkerTls::new),
            client_configs: ClientConfigs::new(Arc::clone(&config.trusts)),
            tunnels: Tunnels::default(),
            deadlines: Rc::new(Deadlines::new(
                Pace::new(http.answer_rate_min_bytes_per_s, http.rate_window_ms),
                http.write_timeout_ms,
            )),
            body_pace: Pace::new(http.body_rate_min_bytes_per_s, http.rate_window_ms),
            pool: RefCell::new(Pool::new(
                http.upstream_idle_max,
                http.upstream_idle_timeout_ms,
            )),
            limits: RefCell::new(Shard::new(Arc::clone(&config.bank), shard_settings)),
            date: RefCell::default(),
            balance: RefCell::new(balance),
            outlook: RefCell::new(outlook),
            watch: Arc::clone(&config.watch),
            served: RefCell::new(None),
            recorder: RefCell::new(Recorder::new(&handle)),
            request_ids: RefCell::new(RequestIds::new(request_id_seed)),
            tracer: config
                .settings
                .tracing
                .as_ref()
                .map(|settings| Tracer::new(settings, config.spans.clone(), request_id_seed)),
            draining: Cell::new(false),
            listening: Cell::new(0),
            open: Cell::new(0),
            accept_log: RefCell::new(Throttle::every_ms(ACCEPT_LOG_PAUSE_MS)),
            handle,
            http,
        }
    }

    /// The view that judges a request which begins now: adopts a newer one if one waits.
    pub fn served(&self) -> Option<Rc<Served>> {
        self.adopt();
        self.served.borrow().clone()
    }

    /// Adopts a newer view, if one waits; one relaxed load if none does.
    pub fn adopt(&self) {
        let generation = self.generation();
        if !self.handle.slot.newer_than(generation) {
            return;
        }
        let Some(view) = self.handle.slot.take() else {
            return;
        };
        let served = view.generation();
        let next = Served {
            view: Some(view),
            slot: Arc::clone(&self.handle.slot),
        };
        self.tunnels.judge(next.view(), self.clock.now().wall);
        *self.served.borrow_mut() = Some(Rc::new(next));
        self.count(Counter::SnapshotSwaps);
        self.handle.slot.serve(served);
        self.handle.adopted();
    }

    /// Goes by what the node has newly found out about targets, if it has.
    pub fn look_out(&self) {
        let mut latest = self.outlook.borrow_mut();
        if latest.renew(&self.watch.outlook) {
            self.balance.borrow_mut().adopt(Arc::clone(latest.value()));
        }
    }

    /// The generation served now; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.served
            .borrow()
            .as_ref()
            .map_or(0, |served| served.view().generation())
    }

    /// Milliseconds on the monotonic clock.
    pub fn now_ms(&self) -> u64 {
        self.clock.tick().millis()
    }

    /// Sets the client's deadline for `what`, as the settings say.
    pub fn client_until(&self, watch: &Watch, what: Waiting) {
        let timeout_ms = match what {
            Waiting::Nothing => return watch.client_free(),
            Waiting::Idle => return watch.idle(self.now_ms(), self.http.idle_timeout_ms),
            Waiting::Head => self.http.head_timeout_ms,
            Waiting::Body => self.http.body_timeout_ms,
            Waiting::Tunnel => self.http.tunnel_idle_timeout_ms,
            Waiting::Taking => self.http.write_timeout_ms,
        };
        watch.client_until(what, self.now_ms() + timeout_ms);
    }

    /// A request's body begins, and its client may be as slow as any.
    pub fn body_begins(&self, watch: &Watch) {
        watch.body_credit(self.body_pace.full());
    }

    /// More of a body is awaited from the client.
    pub fn body_awaited(&self, watch: &Watch) {
        watch.body_awaited(self.body_pace, self.now_ms(), self.http.body_timeout_ms);
    }

    /// So many bytes of it came.
    pub fn body_came(&self, watch: &Watch, bytes: u64) {
        watch.body_came(self.body_pace, self.now_ms(), bytes);
    }

    /// A part of an answer is offered to the client.
    pub fn answer_offered(&self, watch: &Watch) {
        watch.answer_offered(
            self.deadlines.answer_pace(),
            self.now_ms(),
            self.http.write_timeout_ms,
        );
    }

    /// So many bytes of it were taken.
    pub fn answer_taken(&self, watch: &Watch, bytes: u64) {
        watch.answer_taken(self.deadlines.answer_pace(), self.now_ms(), bytes);
    }

    /// The node drains: no new connections, and open ones end after their request.
    pub fn draining(&self) -> bool {
        self.draining.get()
    }

    /// One more of its listeners accepts.
    pub fn listens(&self) {
        self.listening.set(self.listening.get() + 1);
    }

    /// One of them has ended: nothing of its queue is left to this worker.
    pub fn listened(&self) {
        self.listening.set(self.listening.get() - 1);
    }

    /// Connections open now.
    pub fn open_connections(&self) -> usize {
        self.open.get()
    }

    /// A connection was accepted.
    pub fn opened(&self) {
        self.open.set(self.open.get() + 1);
        self.count(Counter::ConnectionsAccepted);
    }

    /// A connection ended.
    pub fn closed(&self, cause: CloseCause) {
        self.open.set(self.open.get() - 1);
        if cause == CloseCause::Panic {
            self.count(Counter::Panics);
        }
        self.recorder.borrow_mut().counters.closed(cause);
    }

    /// An accept failed. However often it does, the log gets a line every ten seconds.
    pub fn accept_failed(&self, error: &std::io::Error) {
        self.count(Counter::AcceptErrors);
        if let Some(failures) = self.accept_log.borrow_mut().tell(self.now_ms()) {
            tracing::warn!(worker = self.index, failures, %error, "connections are not accepted");
        }
    }

    /// Counts something.
    pub fn count(&self, counter: Counter) {
        self.recorder.borrow_mut().counters.count(counter);
    }

    /// Remembers a finished request.
    pub fn record(&self, finished: &Finished<'_>) {
        let now = self.clock.tick();
        let mut recorder = self.recorder.borrow_mut();
        recorder.record(finished, now);
        if let Some(tracer) = &self.tracer {
            let dropped = tracer.record(finished, now);
            recorder.counters.add(Counter::SpansDropped, dropped);
        }
    }

    /// Where a request with these field lines stands in a trace, if the node traces.
    pub fn trace(&self, headers: &[httparse::Header<'_>]) -> Option<CallTrace> {
        Some(self.tracer.as_ref()?.begin(headers))
    }

    /// An id for a request.
    pub fn mint_request_id(&self) -> RequestId {
        self.request_ids.borrow_mut().mint()
    }

    /// Appends `RateLimit-Policy` and `RateLimit`, if the request is held to limits.
    pub fn write_limit_fields(&self, call: &Call, out: &mut Vec<u8>) {
        let seen = &call.seen;
        let (Some(served), Some(subjects), Some(api)) = (&call.served, seen.subjects, seen.api)
        else {
            return;
        };
        let catalog = served.view().catalog();
        let plan = seen.plan.filter(|_| !seen.unlimited);
        let plan = plan.and_then(|plan| catalog.plan_by_number(plan));
        let demand = Demand {
            subjects,
            limits: pipeline::limits_of(catalog.api(api), plan),
            bytes_in: 0,
        };
        let shown = || demand.all().filter(|limit| !limit.shadow);
        if shown().next().is_none() {
            return;
        }
        let (limits, now) = (self.limits.borrow(), self.clock.now());
        let standings = shown().map(|limit| (limit, limits.standing(&subjects, limit, now)));
        out.extend_from_slice(b"RateLimit-Policy: ");
        headers::append_policy(out, shown());
        out.extend_from_slice(b"\r\nRateLimit: ");
        headers::append_binding(out, standings);
        out.extend_from_slice(b"\r\n");
    }

    /// The value of `Allow` for a request whose method is not served.
    pub fn allowed_methods(&self, call: &Call, refusal: Refusal, buffer: &[u8]) -> String {
        let (Refusal::MethodNotAllowed, Some(served)) = (refusal, &call.served) else {
            return String::new();
        };
        let [host, path] = [call.host, call.path].map(|span| span.text(buffer));
        served.view().catalog().router.allow(host, path).to_owned()
    }
}
