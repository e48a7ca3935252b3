//! Upstream: carries an admitted request to a target and its answer back.
//!
//! In: an [`Admission`](crate::pipeline::Admission) and the client's connection. Out: an
//! [`exchange::Outcome`]. [`request_head`] writes what the target reads, [`pool`] keeps connections
//! for reuse, [`places`] bounds them and [`connect`] takes or opens one, [`exchange`] drives both directions, [`answer`]
//! brings the answer back, [`body`] and [`recode`] move bodies, with their [`trailers`]. [`upgrade`] knows who may switch
//! protocols, and [`tunnel`] carries what follows; of it, only the frames of a [`websocket`] matter.

pub mod answer;
pub mod body;
pub mod connect;
pub mod exchange;
pub mod fitness;
pub mod places;
pub mod pool;
pub mod recode;
pub mod request_head;
pub mod retry;
pub mod tls;
mod trailers;
pub mod tries;
pub mod tunnel;
pub mod upgrade;
pub mod websocket;
