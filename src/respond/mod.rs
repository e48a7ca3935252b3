//! Respond: what the client sees.
//!
//! [`head`] writes the head of a target's answer as the client reads it; [`refuse`] turns a
//! [`Refusal`](crate::refusal::Refusal) into HTTP, the only place that does; [`own`] writes the
//! answers that routes give themselves, and [`cors`] what pages of other origins may read of all
//! of them. [`date`] tells the time.

pub mod cors;
pub mod date;
pub mod head;
pub mod own;
mod reason;
pub mod refuse;

use crate::record::request_id::RequestId;

/// What an answer of the gateway's own depends on beside its cause.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The request's id.
    pub request_id: RequestId,
    /// The client speaks HTTP/1.0.
    pub http_1_0: bool,
    /// The connection stays open after this answer.
    pub keep_alive: bool,
    /// Answer to HEAD: fields only.
    pub head_only: bool,
    /// The answer's `Date`.
    pub date: &'a str,
}
