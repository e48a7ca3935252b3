//! A body's payload under any framing, one interface for requests and responses.

use crate::parse::{BodyFraming, ChunkLimits, ChunkedDecoder, FramingError, Step};

/// Why a body cannot be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The chunked framing is broken.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// The connection closed before the body's end: the message is not whole.
    #[error("the connection closed before the end of the body")]
    Truncated,
}

/// Reads a body to its end, whatever its framing.
#[derive(Clone, Debug)]
pub enum BodyDecoder {
    /// This many bytes are left; 0 is the end.
    Length {
        /// Payload bytes that are still to come.
        left: u64,
    },
    /// Chunked.
    Chunked(ChunkedDecoder),
    /// Until the connection closes.
    UntilClose,
}

impl BodyDecoder {
    /// A decoder at the start of a body.
    pub fn new(framing: BodyFraming, limits: ChunkLimits) -> Self {
        match framing {
            BodyFraming::Empty => Self::Length { left: 0 },
            BodyFraming::Length(left) => Self::Length { left },
            BodyFraming::Chunked => Self::Chunked(ChunkedDecoder::new(limits)),
            BodyFraming::UntilClose => Self::UntilClose,
        }
    }

    /// Like [`ChunkedDecoder::step`]. May be called with empty input to learn whether the body is
    /// over already.
    pub fn step(&mut self, _input: &[u8]) -> Result<Step, BodyError> {
        unimplemented!()
    }

    /// The peer closed: was that the body's end?
    pub fn close(&self) -> Result<(), BodyError> {
        unimplemented!()
    }
}
