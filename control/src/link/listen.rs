//! The socket file and the loop that accepts nodes.

use super::connection;
use super::receipts::ReceiptKeeper;
use crate::publish::Publisher;
use crate::publish::board::{Board, NodeStart};
use crate::publish::process::Process;
use crate::store::{Store, StoreError};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

/// Nodes that may be connected at one time.
const LINKS_MAX: usize = 1_024;
/// Wait after an accept that failed, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Something that is no socket lies in its place.
    #[error("{}: is no socket, and is not removed; move it away", .0.display())]
    InTheWay(PathBuf),
    /// The socket file cannot be made.
    #[error("{}: {source}", path.display())]
    Socket {
        /// The socket file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What every connection needs.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub store: Store,
    pub publisher: Publisher,
    pub board: Board,
    pub receipts: ReceiptKeeper,
}

/// The listening socket.
#[derive(Debug)]
pub struct LinkServer {
    listener: UnixListener,
    context: Context,
}

impl LinkServer {
    /// Makes the socket file, and takes up the nodes that were connected before this start. A
    /// socket file that is left from before is removed: the caller holds the data directory's
    /// lock, so nobody listens on it.
    pub async fn bind(
        path: &Path,
        store: Store,
        publisher: Publisher,
        board: Board,
    ) -> Result<Self, LinkError> {
        let failed = |source| LinkError::Socket {
            path: path.to_owned(),
            source,
        };
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => {
                std::fs::remove_file(path).map_err(failed)?;
            }
            Ok(_) => return Err(LinkError::InTheWay(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let owner_only = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, owner_only).map_err(failed)?;
        expect_known(&store, &board).await?;
        let receipts = ReceiptKeeper::start(store.clone());
        Ok(Self {
            listener,
            context: Context {
                store,
                publisher,
                board,
                receipts,
            },
        })
    }

    /// Accepts nodes until dropped, and then hangs up on them.
    pub async fn run(self) {
        let mut links = JoinSet::new();
        loop {
            if links.len() >= LINKS_MAX {
                links.join_next().await;
            }
            while links.try_join_next().is_some() {}
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    links.spawn(connection::serve(stream, self.context.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a node could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Puts the nodes on the board that were connected before and whose processes still live.
async fn expect_known(store: &Store, board: &Board) -> Result<(), StoreError> {
    for known in store.read(|rows| rows.nodes()).await? {
        let process = known
            .pid
            .zip(known.started)
            .map(|(pid, started)| Process { pid, started });
        let start = NodeStart {
            node: known.name,
            boot: known.boot,
        };
        board.expect(start, known.workers, process);
    }
    Ok(())
}
