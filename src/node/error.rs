//! Why a node did not start, or ended.

use super::predecessor::HandOverError;
use crate::accept::tls::store::TlsError;
use crate::authenticate::digest::PepperError;
use crate::trace::TraceError;
use crate::worker::start::StartError;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a node did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A pepper cannot be used.
    #[error("pepper {id}: {cause}")]
    Pepper {
        /// Its id.
        id: u8,
        /// The cause.
        cause: PepperError,
    },
    /// An address for traffic cannot be had.
    #[error("listen: cannot listen on {address}: {cause}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        cause: io::Error,
    },
    /// The admin address cannot be had.
    #[error("admin.listen: cannot listen on {address}: {cause}")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// The cause.
        cause: io::Error,
    },
    /// The access log cannot be opened.
    #[error("access_log: cannot open {}: {cause}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// The port file cannot be written.
    #[error("--port-file: cannot write {}: {cause}", path.display())]
    PortFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// No spans can be exported.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// There is nothing to show over TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No worker runs.
    #[error(transparent)]
    Workers(#[from] StartError),
    /// The system gave no thread, socket pair or signal handler.
    #[error("the system lacks what the node needs: {0}")]
    System(io::Error),
    /// The service manager passes something that the settings do not name.
    #[error(
        "the service manager passes {what}, which neither listen nor admin.listen names; \
         write it there, or take it out of the socket unit"
    )]
    Activation {
        /// What it passes.
        what: String,
    },
    /// The state directory cannot be read or written.
    #[error("state.directory: {0}")]
    State(io::Error),
    /// Nothing can be taken over from the process before this one.
    #[error(transparent)]
    HandOver(#[from] HandOverError),
    /// The process before this one serves, and this one could not.
    #[error("not as ready as the process that runs: {0}")]
    NotReady(String),
    /// Every worker ended though nobody asked.
    #[error("every worker has ended; the log above says why")]
    WorkersEnded,
}
