//! A small world for tests: names, specs and a laid-out store on a real file.
//!
//! Part of the library, not of one test file, so that unit tests, integration tests and benches
//! lay out the same world.

use crate::domain::{
    ApiSpec, AppNumber, AppSpec, Attributes, Credential, Environment, Key, KeyId, KeyOrigin, Name,
    NewKey, NewSubscription, Period, PlanSpec, RawApi, RawLimit, RawPlan, RawUpstream,
    Subscription, SubscriptionState, TenantSpec, UpstreamSpec, Validity,
};
use crate::link::LinkServer;
use crate::publish::Publisher;
use crate::publish::board::Board;
use crate::store::{Author, Outcome, Store, StoreError, Tx};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyway::clock::Clock;
use keyway::link::protocol::{self, ControlMessage, NodeMessage, PROTOCOL};
use keyway::record::latency::Latency;
use keyway::record::segment::{Counted, RouteName, Segment, SegmentRow};
use keyway::snapshot::{LoadPolicy, View, load};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinHandle;

/// A name.
pub fn name(text: &str) -> Name {
    text.parse().expect("a good name")
}

/// Opens a store in `directory`.
pub fn open(directory: &Path) -> Store {
    Store::open(&directory.join("control.db"), Clock::system()).expect("opens")
}

/// An upstream with one target on loopback.
pub fn upstream(text: &str) -> UpstreamSpec {
    let written = serde_json::json!({ "name": text, "targets": ["127.0.0.1:9000"] });
    let raw: RawUpstream = serde_json::from_value(written).expect("a well-formed upstream");
    raw.try_into().expect("a good upstream")
}

/// An API that serves `/NAME/*` from the upstream `origin`.
pub fn api(text: &str) -> ApiSpec {
    let written = serde_json::json!({
        "name": text, "upstream": "origin", "routes": [{ "path": format!("/{text}/*") }]
    });
    let raw: RawApi = serde_json::from_value(written).expect("a well-formed API");
    raw.try_into().expect("a good API")
}

/// A plan that includes `apis`, with one limit.
pub fn plan(text: &str, apis: &[&str]) -> PlanSpec {
    let limit = RawLimit {
        name: "burst".to_owned(),
        requests: Some(10),
        per: Some(Period::Second),
        burst: Some(20),
        ..RawLimit::default()
    };
    let raw = RawPlan {
        name: text.to_owned(),
        apis: apis.iter().map(|&api| api.to_owned()).collect(),
        limits: vec![limit],
        price: None,
    };
    raw.try_into().expect("a good plan")
}

/// A key with a digest of its own, which `n` makes.
pub fn new_key(app: AppNumber, n: u64) -> NewKey {
    // Spread like the real digests: the snapshot's table wants them uniform.
    let spread = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut digest = [0; 16];
    digest[..8].copy_from_slice(&spread.to_be_bytes());
    digest[8..].copy_from_slice(&n.to_be_bytes());
    NewKey {
        app,
        credential: Credential {
            id: KeyId::new(n + 1).expect("not zero"),
            digest,
            pepper: 1,
            origin: KeyOrigin::Issued,
        },
        environment: Environment::Live,
        validity: Validity::ALWAYS,
        attributes: Attributes::default(),
        unlimited: false,
    }
}

/// Runs a change as the system.
pub async fn change<T, F>(store: &Store, change: F) -> Result<Outcome<T>, StoreError>
where
    T: serde::Serialize + serde::de::DeserializeOwned + Send + 'static,
    F: FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
{
    store.write(Author::system(), change).await
}

/// Upstream `origin`, API `orders`, plan `free`, tenant `acme`, app `mobile` with an approved
/// subscription.
pub fn lay_out(tx: &mut Tx<'_>) -> Result<Subscription, StoreError> {
    tx.upstream_create(upstream("origin"))?;
    tx.api_create(api("orders"))?;
    tx.plan_create(plan("free", &["orders"]))?;
    tx.tenant_create(TenantSpec {
        name: name("acme"),
        enabled: true,
    })?;
    let app = tx.app_create(
        &name("acme"),
        AppSpec {
            name: name("mobile"),
            enabled: true,
            unlimited: false,
        },
    )?;
    tx.subscription_create(NewSubscription {
        app: app.number,
        api: name("orders"),
        plan: name("free"),
        state: SubscriptionState::Approved,
    })
}

/// A laid-out store with one key.
pub async fn store_with_key(directory: &Path) -> (Store, Key) {
    let store = open(directory);
    let made = change(&store, |tx| {
        let app = lay_out(tx)?.app;
        tx.key_create(new_key(app, 0))
    });
    let key = made.await.expect("lays out").value;
    (store, key)
}

/// A control process without its admin API, on a directory of its own.
#[derive(Debug)]
pub struct Running {
    /// Truth.
    pub store: Store,
    /// The publishing task.
    pub publisher: Publisher,
    /// The snapshot directory.
    pub snapshots: PathBuf,
    /// The link socket.
    pub socket: PathBuf,
    link: JoinHandle<()>,
}

impl Running {
    /// Starts it.
    pub async fn start(directory: &Path) -> Self {
        let clock = Clock::system();
        let store = Store::open(&directory.join("control.db"), clock).expect("the database opens");
        let (snapshots, socket) = (directory.join("snapshots"), directory.join("control.sock"));
        let board = Board::new(clock);
        let started = Publisher::start(store.clone(), clock, board.clone(), &snapshots).await;
        let publisher = started.expect("the publisher starts");
        let bound = LinkServer::bind(&socket, store.clone(), publisher.clone(), board).await;
        let link = tokio::spawn(bound.expect("the socket is there").run());
        Self {
            store,
            publisher,
            snapshots,
            socket,
            link,
        }
    }

    /// Ends it, and waits until a next one can take its place.
    pub async fn stop(self) {
        let Self {
            store,
            publisher,
            snapshots,
            link,
            ..
        } = self;
        link.abort();
        drop(link.await);
        drop((store, publisher));
        // The publishing task lets go of the directory when it hears that nobody is left.
        while tokio::task::spawn_blocking({
            let snapshots = snapshots.clone();
            move || keyway::snapshot::publish::Publisher::open(&snapshots).is_err()
        })
        .await
        .expect("no panic")
        {
            tokio::task::yield_now().await;
        }
    }

    /// Runs a change, and waits until it is published.
    pub async fn change<T, F>(&self, wanted: F) -> T
    where
        T: serde::Serialize + serde::de::DeserializeOwned + Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let outcome = change(&self.store, wanted)
            .await
            .expect("the change is taken");
        self.published(outcome.generation).await;
        outcome.value
    }

    /// Waits until a generation with that change is published.
    pub async fn published(&self, change: u64) -> u64 {
        let mut state = self.publisher.published();
        let found = state
            .wait_for(|state| state.first_with(change).is_some())
            .await;
        found
            .expect("the publisher lives")
            .first_with(change)
            .expect("just seen")
    }

    /// What a node that starts now would serve.
    pub fn view(&self) -> Arc<View> {
        view_of(&self.snapshots)
    }
}

/// What a node that starts now would serve from `snapshots`.
pub fn view_of(snapshots: &Path) -> Arc<View> {
    load(snapshots, &LoadPolicy::default(), None).expect("a sound snapshot")
}

/// A node that does what it is told to, over a real socket.
#[derive(Debug)]
pub struct FakeNode {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl FakeNode {
    /// Takes a connected socket, without a greeting.
    pub fn of(stream: UnixStream) -> Self {
        let (read, writer) = stream.into_split();
        Self {
            reader: BufReader::new(read),
            writer,
        }
    }

    /// Connects as `node` with two workers that serve `generation`.
    pub async fn connect(socket: &Path, node: &str, boot: u64, generation: u64) -> Self {
        let stream = UnixStream::connect(socket).await.expect("control listens");
        let name = node.to_owned();
        let mut node = Self::of(stream);
        let hello = NodeMessage::Hello {
            protocol: PROTOCOL,
            node: name,
            version: "0".to_owned(),
            boot,
            workers: 2,
            driver: "epoll".to_owned(),
            generation,
        };
        node.say(&hello).await;
        node
    }

    /// Sends a message.
    pub async fn say(&mut self, message: &NodeMessage) {
        let mut line = Vec::new();
        protocol::write_line(message, &mut line).expect("writes to memory");
        self.writer.write_all(&line).await.expect("control reads");
    }

    /// Sends bytes as they are.
    pub async fn say_raw(&mut self, bytes: &[u8]) {
        // Control may have hung up in the middle, which is what some tests want.
        drop(self.writer.write_all(bytes).await);
    }

    /// Says that all workers serve `generation`.
    pub async fn serve(&mut self, generation: u64) {
        let workers = vec![generation; 2];
        self.say(&NodeMessage::Serving {
            generation,
            workers,
            elapsed_ms: 1,
        })
        .await;
    }

    /// The next message of control; none if it hung up.
    pub async fn hear(&mut self) -> Option<ControlMessage> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line).await.unwrap_or(0);
        (read > 0).then(|| protocol::read_line(line.as_bytes()).expect("a message"))
    }

    /// Waits for the announcement of a generation with that change.
    pub async fn announced(&mut self, change: u64) -> u64 {
        loop {
            match self.hear().await.expect("control is there") {
                ControlMessage::Announce { generation } if generation >= change => {
                    return generation;
                }
                _ => {}
            }
        }
    }
}

/// A segment of usage: requests of a key to the first API, by minute and status class, each of 1 ms.
pub fn segment(boot: u64, sequence: u64, counts: &[(u32, Option<KeyId>, u8, u64)]) -> Segment {
    let row = |(minute, key, class, requests): &(u32, Option<KeyId>, u8, u64)| {
        let mut latency = Latency::default();
        (0..*requests).for_each(|_| latency.add(1_000_000));
        SegmentRow {
            counted: Counted {
                minute: *minute,
                key: *key,
                api: 1,
                route: 7,
                class: *class,
                refusal: u8::from(*class == 4),
            },
            requests: *requests,
            bytes_in: 10 * requests,
            bytes_out: 100 * requests,
            latency,
        }
    };
    let last = counts.iter().map(|(minute, ..)| *minute).max();
    Segment {
        node: "edge-1".to_owned(),
        boot,
        sequence,
        sealed_ms: u64::from(last.unwrap_or(0)) * 60_000,
        routes: vec![RouteName {
            api: 1,
            route: 7,
            name: "GET /orders/*".to_owned(),
        }],
        refusals: vec!["limit".to_owned()],
        rows: counts.iter().map(row).collect(),
        ..Segment::default()
    }
}

/// The message that brings a segment.
pub fn message(segment: &Segment) -> NodeMessage {
    NodeMessage::Segment {
        boot: segment.boot,
        sequence: segment.sequence,
        data: STANDARD.encode(segment.encode()),
    }
}

/// The minute that runs.
pub fn this_minute() -> u32 {
    u32::try_from(Clock::system().wall().0 / 60_000).expect("before the year 10000")
}
