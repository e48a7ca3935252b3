//! Link: the threads that may block, so that no worker has to.
//!
//! The link thread takes snapshots over, hands views to the workers through their
//! worker handles, reports what they serve, and ships usage. The admin thread
//! answers `/metrics`, `/healthz`, `/readyz` and `/status`. Absent on purpose: anything a
//! request waits for.

pub mod protocol;
pub mod state;
pub mod worker_handle;

pub use worker_handle::{Phase, PhaseCell, WorkerHandle, WorkerSeat, WorkerState};
