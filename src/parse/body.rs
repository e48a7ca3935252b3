//! A body's payload under any framing: one interface for requests and responses.
//!
//! Takes bytes as they arrive, answers where in them the payload lies and when the body is over.
//! A connection that closes early is an error here and never passes for a body's end.

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

    /// True once the body is over; before the first step if there is none. One that ends with its
    /// connection is never over by itself.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Length { left } => *left == 0,
            Self::Chunked(decoder) => decoder.is_done(),
            Self::UntilClose => false,
        }
    }

    /// Like [`ChunkedDecoder::step`].
    pub fn step(&mut self, input: &[u8]) -> Result<Step, BodyError> {
        match self {
            Self::Length { left } => {
                let run = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left -= run as u64;
                Ok(Step {
                    consumed: run,
                    data: 0..run,
                    trailer: 0..0,
                    done: *left == 0,
                })
            }
            Self::Chunked(decoder) => Ok(decoder.step(input)?),
            Self::UntilClose => Ok(Step {
                consumed: input.len(),
                data: 0..input.len(),
                trailer: 0..0,
                done: false,
            }),
        }
    }

    /// The peer closed the connection: was that the body's end?
    ///
    /// RFC 9112, section 8: "A message body that uses the chunked transfer coding is incomplete if
    /// the zero-sized chunk that terminates the encoding has not been received. A message that
    /// uses a valid Content-Length is incomplete if the size of the message body received (in
    /// octets) is less than the value given by Content-Length. A response that has neither chunked
    /// transfer coding nor Content-Length is terminated by closure of the connection".
    pub fn close(&self) -> Result<(), BodyError> {
        match self {
            Self::UntilClose => Ok(()),
            Self::Length { .. } | Self::Chunked(_) if self.is_done() => Ok(()),
            Self::Length { .. } | Self::Chunked(_) => Err(BodyError::Truncated),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoder(framing: BodyFraming) -> BodyDecoder {
        BodyDecoder::new(framing, ChunkLimits::default())
    }

    #[test]
    fn a_length_takes_its_bytes_and_leaves_the_next_message() {
        let mut body = decoder(BodyFraming::Length(5));
        assert_eq!(
            body.step(b"ab"),
            Ok(Step {
                consumed: 2,
                data: 0..2,
                trailer: 0..0,
                done: false
            })
        );
        assert_eq!(body.close(), Err(BodyError::Truncated));
        assert_eq!(
            body.step(b"cdeGET /"),
            Ok(Step {
                consumed: 3,
                data: 0..3,
                trailer: 0..0,
                done: true
            })
        );
        assert_eq!(
            body.step(b"GET /"),
            Ok(Step {
                consumed: 0,
                data: 0..0,
                trailer: 0..0,
                done: true
            })
        );
        assert_eq!(body.close(), Ok(()));
    }

    #[test]
    fn an_empty_body_is_over_before_it_began() {
        for framing in [BodyFraming::Empty, BodyFraming::Length(0)] {
            let mut body = decoder(framing);
            assert!(body.is_done());
            assert_eq!(
                body.step(b"GET /"),
                Ok(Step {
                    consumed: 0,
                    data: 0..0,
                    trailer: 0..0,
                    done: true
                })
            );
        }
    }

    #[test]
    fn a_chunked_body_that_closes_early_is_truncated() {
        let mut body = decoder(BodyFraming::Chunked);
        for part in ["5\r\nhello\r\n", "0\r\n"] {
            assert!(!body.step(part.as_bytes()).unwrap().done);
            assert_eq!(body.close(), Err(BodyError::Truncated));
        }
        assert!(body.step(b"\r\n").unwrap().done);
        assert_eq!(body.close(), Ok(()));
        let mut broken = decoder(BodyFraming::Chunked);
        assert_eq!(
            broken.step(b"x"),
            Err(BodyError::Framing(FramingError::SizeInvalid))
        );
    }

    #[test]
    fn a_body_until_close_takes_everything_and_ends_well() {
        let mut body = decoder(BodyFraming::UntilClose);
        assert_eq!(
            body.step(b"abc"),
            Ok(Step {
                consumed: 3,
                data: 0..3,
                trailer: 0..0,
                done: false
            })
        );
        assert_eq!(body.close(), Ok(()));
    }
}
