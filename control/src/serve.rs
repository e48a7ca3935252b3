//! Puts the running control process together, and takes it down in order.
//!
//! Start: lock the directory → pepper → store → first admin token → publisher → link → admin API.
//! End, on SIGTERM or SIGINT: no new requests, those under way are answered, then the rest follows
//! by being dropped. A kill at any moment loses nothing that was acknowledged.

use crate::admin;
use crate::alerts::{self, Deliverer, TrustError, WebhookTrust};
use crate::data_dir::{DataDir, DataDirError};
use crate::domain::{Keysmith, KeysmithError, Name, Secret, TokenRole, fresh_admin_token};
use crate::ingest;
use crate::link::{LinkError, LinkServer};
use crate::publish::board::Board;
use crate::publish::{PublishError, Publisher};
use crate::state::Control;
use crate::store::{Author, Page, Retention, Store, StoreError};
use keyway::clock::Clock;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// How long requests that are under way may take to end.
const DRAIN: Duration = Duration::from_secs(10);
/// The label of the token that is made at the first start.
const FIRST_TOKEN: &str = "admin";

/// Where to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The data directory.
    pub data: PathBuf,
    /// Where the admin API listens; port 0 for any.
    pub listen: SocketAddr,
    /// Gets the address that the admin API listens on, once it does.
    pub port_file: Option<PathBuf>,
    /// Whose certificates receivers of webhooks may have.
    pub webhook_trust: WebhookTrust,
    /// Keys, and apps, that have series of their own in the metrics: those that call most.
    pub metrics_top: u32,
}

/// Why control does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No token could be made.
    #[error(transparent)]
    Token(#[from] KeysmithError),
    /// The snapshot directory.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The link socket.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The authorities of webhooks.
    #[error(transparent)]
    WebhookTrust(#[from] TrustError),
    /// The admin API's address.
    #[error("{address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// The port file.
    #[error("{}: {source}", path.display())]
    PortFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The system refused something that a process can do without only once.
    #[error("{0}")]
    System(io::Error),
}

/// A directory that is ready to serve from.
struct Ready {
    dir: DataDir,
    store: Store,
    keysmith: Keysmith,
    clock: Clock,
    /// The first admin token, if it was made just now.
    token: Option<Secret>,
}

async fn make_ready(data: &Path, another_token: bool) -> Result<Ready, ServeError> {
    let clock = Clock::system();
    let dir = DataDir::open(data)?;
    let keysmith = Keysmith::new(dir.pepper()?);
    let store = Store::open(&dir.database(), clock)?;
    let tokens = store.read(|rows| rows.tokens(Page::first(1))).await?;
    let token = match tokens.items.is_empty() || another_token {
        true => Some(make_token(&store).await?),
        false => None,
    };
    Ok(Ready {
        dir,
        store,
        keysmith,
        clock,
        token,
    })
}

async fn make_token(store: &Store) -> Result<Secret, ServeError> {
    let (secret, digest) = fresh_admin_token()?;
    let label: Name = FIRST_TOKEN.parse().map_err(StoreError::Invalid)?;
    store
        .write(Author::system(), move |tx| {
            tx.token_create(label, digest, TokenRole::Admin)
        })
        .await?;
    Ok(secret)
}

/// Makes a data directory ready. Answers the admin token that was made: at the first time, or when
/// `another_token` is asked for.
pub async fn init(data: &Path, another_token: bool) -> Result<Option<Secret>, ServeError> {
    Ok(make_ready(data, another_token).await?.token)
}

/// Serves until a signal ends it. `show_token` gets the admin token if this is the first start.
pub async fn serve(
    options: ServeOptions,
    show_token: impl FnOnce(&Secret),
) -> Result<(), ServeError> {
    let Ready {
        dir,
        store,
        keysmith,
        clock,
        token,
    } = make_ready(&options.data, false).await?;
    if let Some(token) = token {
        show_token(&token);
    }
    let deliverer = Deliverer::new(&options.webhook_trust)?;
    // Before anything listens: a signal in between would end the process the hard way.
    let stop = stop_signal()?;
    let board = Board::new(clock);
    let snapshots = dir.snapshots();
    let publisher = Publisher::start(store.clone(), clock, board.clone(), &snapshots).await?;
    let link = LinkServer::bind(&dir.socket(), store.clone(), publisher.clone(), board).await?;
    let control = Control {
        store,
        publisher,
        keysmith: Arc::new(keysmith),
        clock,
        metrics_top: options.metrics_top,
    };

    let address = options.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { address, source })?;
    let address = listener.local_addr().map_err(ServeError::System)?;
    let link = tokio::spawn(link.run());
    let beside = [
        tokio::spawn(ingest::forget(control.store.clone(), Retention::default())),
        tokio::spawn(alerts::evaluate(control.store.clone(), clock)),
        tokio::spawn(alerts::deliver(control.store.clone(), clock, deliverer)),
    ];
    if let Some(path) = &options.port_file {
        write_port_file(path, address)?;
    }
    tracing::info!(%address, data = %options.data.display(), "control serves");
    let served = serve_until(listener, admin::router(control), stop).await;
    link.abort();
    beside.iter().for_each(tokio::task::JoinHandle::abort);
    // Best effort: one that stays is removed at the next start.
    drop(std::fs::remove_file(dir.socket()));
    tracing::info!("control has ended");
    served.map_err(ServeError::System)
}

async fn serve_until(
    listener: TcpListener,
    router: axum::Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stopped, mut stopping) = tokio::sync::watch::channel(());
    let graceful = async move {
        stop.await;
        drop(stopped);
    };
    let drained = async move {
        // Ends when the sender is dropped; a client that holds its connection cannot hold us.
        while stopping.changed().await.is_ok() {}
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = axum::serve(listener, router).with_graceful_shutdown(graceful) => served,
        () = drained => Ok(()),
    }
}

fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::System)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::System)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Whole or not at all: whoever waits for the file reads it the moment it is there.
fn write_port_file(path: &Path, address: SocketAddr) -> Result<(), ServeError> {
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, format!("{address}\n"))
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(|source| ServeError::PortFile {
            path: path.to_owned(),
            source,
        })
}
