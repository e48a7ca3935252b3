//! The chunked transfer coding (RFC 9112, section 7.1), decoded step by step.

use std::ops::Range;

/// Why a chunked body is refused. Framing is lost: the connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// A chunk does not begin with a hexadecimal size.
    #[error("a chunk size is not hexadecimal")]
    SizeInvalid,
    /// A chunk size does not fit 64 bits.
    #[error("a chunk size is too large")]
    SizeTooLarge,
}

/// What the framing around the payload may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Longest line with a chunk's size and its extensions, in bytes.
    pub size_line_bytes_max: u32,
    /// All trailer lines together, in bytes.
    pub trailer_bytes_max: u32,
}

impl Default for ChunkLimits {
    fn default() -> Self {
        Self {
            size_line_bytes_max: 256,
            trailer_bytes_max: 8192,
        }
    }
}

/// What one [`ChunkedDecoder::step`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that are dealt with; the caller drops them and steps again.
    pub consumed: usize,
    /// Where in the input this step's payload lies; often empty.
    pub data: Range<usize>,
    /// The body is over; what follows `consumed` belongs to the next message.
    pub done: bool,
}

/// Finds the payload in a chunked body. Extensions and trailers are checked, bounded and dropped.
///
/// Call [`step`](Self::step) until it is `done`, or consumes nothing: then it needs more input.
#[derive(Clone, Debug)]
pub struct ChunkedDecoder {
    limits: ChunkLimits,
}

impl ChunkedDecoder {
    /// A decoder at the start of a body.
    pub fn new(limits: ChunkLimits) -> Self {
        Self { limits }
    }

    /// Decodes from the start of `input`: framing, then at most one run of payload.
    pub fn step(&mut self, _input: &[u8]) -> Result<Step, FramingError> {
        let _ = self.limits;
        unimplemented!()
    }
}
