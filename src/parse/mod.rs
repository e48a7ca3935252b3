//! Parse: bytes of a connection in, one well-formed message head and the rule for its body out.
//!
//! Everything here is free of I/O and of allocation: it borrows from the connection's buffer, and
//! a head that is not whole yet is [`Status::Partial`]. It is strict where the RFCs let a recipient
//! be lenient, because two recipients that are lenient in different ways are how requests are
//! smuggled. What is forwarded is written anew from the parsed form, never copied from the wire.
//!
//! - [`head`]: requests; [`response`]: an upstream's answers, which are no less hostile.
//! - [`framing`]: where a body ends; [`chunked`] and [`body`]: its bytes, step by step.
//! - [`headers`]: names as classes, lists, and what must not travel further.
//!
//! Absent on purpose: sockets, deadlines, the connection's loop.

pub mod body;
pub mod chunked;
pub mod framing;
pub mod head;
pub mod headers;
pub mod response;

mod lines;
pub(crate) mod octets;
mod request_line;
mod survey;
mod target;

pub use body::{BodyDecoder, BodyError};
pub use chunked::{ChunkLimits, ChunkedDecoder, FramingError, Step};
pub use framing::BodyFraming;
pub use head::{HeadLimits, RequestHead, Version, parse_request};
pub use httparse::{Header, Status};
pub use request_line::glimpse;
pub use response::{ResponseError, ResponseHead, parse_response};
