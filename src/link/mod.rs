//! Link: the threads that may block, so that no worker has to.
//!
//! The link thread takes snapshots over, hands views to the workers through their
//! [`WorkerHandle`]s, reports what they serve, and ships usage. The admin thread
//! answers `/metrics`, `/healthz`, `/readyz` and `/status`. Absent on purpose: anything a
//! request waits for.

pub mod admin;
mod backoff;
pub mod connection;
pub mod feed;
pub mod loader;
pub mod pages;
pub mod protocol;
mod receipts;
mod searches;
mod shipper;
pub mod state;
pub mod upgrade;
pub mod worker_handle;

pub use worker_handle::{Phase, PhaseCell, WorkerHandle, WorkerSeat, WorkerState};

#[cfg(test)]
mod admin_tests;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
