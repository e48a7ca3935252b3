//! Respond: what the client sees.
//!
//! [`head`] writes the head of a target's answer as the client reads it; [`refuse`] turns a
//! [`Refusal`](crate::refusal::Refusal) into HTTP, the only place that does; [`date`] tells it the
//! time.

pub mod date;
pub mod head;
pub mod refuse;
