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
