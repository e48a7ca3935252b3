//! The chunked transfer coding (RFC 9112, section 7.1), decoded step by step.
//!
//! Takes the bytes of a body as they arrive, answers where in them the payload lies. Framing is
//! checked octet by octet against the grammar, without the liberties that decoders differ in:
//! every line ends in CRLF, a size is hexadecimal digits only, extensions and trailers are well
//! formed. Both are bounded and dropped: whoever forwards the payload frames it anew.

use std::ops::Range;

use crate::parse::octets::{self, hex_value, is};

/// Why a chunked body is refused. Framing is lost: the connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// A chunk does not begin with a hexadecimal size.
    #[error("a chunk size is not hexadecimal")]
    SizeInvalid,
    /// A chunk size does not fit 64 bits.
    #[error("a chunk size is too large")]
    SizeTooLarge,
    /// What follows a chunk's size is neither an extension nor a line end.
    #[error("a chunk extension is malformed")]
    ExtensionInvalid,
    /// A chunk's line is longer than `size_line_bytes_max`.
    #[error("a chunk's size line is too long")]
    SizeLineTooLong,
    /// The framing outweighs the payload by more than `excess_bytes_max`.
    #[error("the chunks are mostly framing")]
    TooMuchFraming,
    /// A line ends in a bare LF or holds a bare CR.
    #[error("a line does not end in CRLF")]
    LineEndInvalid,
    /// A chunk's payload is not followed by CRLF: it is longer than its size says.
    #[error("a chunk is longer than its size")]
    ChunkUnterminated,
    /// A trailer line is not a header line.
    #[error("a trailer is malformed")]
    TrailerInvalid,
    /// The trailers are longer than `trailer_bytes_max`.
    #[error("the trailers are too long")]
    TrailersTooLong,
}

/// What the framing around the payload may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Longest line with a chunk's size and its extensions, in bytes.
    pub size_line_bytes_max: u32,
    /// By how many bytes all size lines may exceed a fair share: 16 bytes a chunk and twice its
    /// payload. A sender of one-byte chunks with long extensions makes others work for nothing.
    pub excess_bytes_max: u32,
    /// All trailer lines together, in bytes.
    pub trailer_bytes_max: u32,
}

impl Default for ChunkLimits {
    fn default() -> Self {
        Self {
            size_line_bytes_max: 1024,
            excess_bytes_max: 16 * 1024,
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
    /// Where in the input its part of the trailer section's field lines lies; nearly always empty.
    pub trailer: Range<usize>,
    /// The body is over; what follows `consumed` belongs to the next message.
    pub done: bool,
}

/// Finds the payload in a chunked body.
///
/// Call [`step`](Self::step) until it is `done` or has consumed all input; then bring more. Any
/// split of the same stream gives the same payload and ends in the same answer.
#[derive(Clone, Debug)]
pub struct ChunkedDecoder {
    limits: ChunkLimits,
    state: State,
    /// While a size is read: its value. Then payload bytes of this chunk that are still to come.
    left: u64,
    /// Bytes of the current size line, or of all trailers.
    line_bytes: u32,
    /// Bytes of size lines beyond the fair share.
    excess_bytes: u64,
}

/// What is expected next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The first digit of a size.
    SizeFirst,
    /// More digits, an extension or the line's end.
    Size,
    /// White space between extensions; a `;` must follow.
    ExtensionGap,
    /// An extension's name, perhaps behind white space.
    ExtensionFirst,
    /// The rest of an extension's name.
    ExtensionName,
    /// White space behind a name; `=` or `;` must follow.
    ExtensionNameGap,
    /// An extension's value, perhaps behind white space.
    ExtensionValueFirst,
    /// The rest of a value that is a token.
    ExtensionValue,
    /// Inside a value that is a quoted string.
    ExtensionQuoted,
    /// Behind a backslash in a quoted string.
    ExtensionQuotedPair,
    /// Behind the closing quote.
    ExtensionQuotedEnd,
    /// The LF of a size line.
    SizeLineFeed,
    /// Payload.
    Data,
    /// The CR behind the payload.
    DataReturn,
    /// The LF behind the payload.
    DataLineFeed,
    /// A trailer's name, or the CR of the last line.
    TrailerFirst,
    /// The rest of a trailer's name.
    TrailerName,
    /// A trailer's value.
    TrailerValue,
    /// The LF of a trailer line.
    TrailerLineFeed,
    /// The LF of the last line.
    EndLineFeed,
    /// Nothing: the body is over.
    Done,
}

impl State {
    /// What is expected belongs to a trailer's field line, or is the line behind the last one.
    fn is_trailer(self) -> bool {
        matches!(
            self,
            Self::TrailerFirst | Self::TrailerName | Self::TrailerValue | Self::TrailerLineFeed
        )
    }
}

impl ChunkedDecoder {
    /// A decoder at the start of a body.
    pub fn new(limits: ChunkLimits) -> Self {
        Self {
            limits,
            state: State::SizeFirst,
            left: 0,
            line_bytes: 0,
            excess_bytes: 0,
        }
    }

    /// True once the body is over.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Decodes from the start of `input`: framing, then at most one run of payload and the line
    /// end behind it. An error is final; do not step again.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, FramingError> {
        let mut data = 0..0;
        let mut trailer = 0..0;
        let mut at = 0;
        while let Some(&octet) = input.get(at) {
            match self.state {
                State::Done => break,
                // The next chunk begins: its payload is the next step's.
                State::SizeFirst if !data.is_empty() => break,
                State::Data => {
                    let arrived = input.len() - at;
                    let run = usize::try_from(self.left).map_or(arrived, |left| left.min(arrived));
                    data = at..at + run;
                    at += run;
                    self.left -= run as u64;
                    if self.left == 0 {
                        self.state = State::DataReturn;
                    }
                }
                state => match self.framing(state, octet) {
                    Ok(next) => {
                        self.state = next;
                        at += 1;
                        if state.is_trailer() && next != State::EndLineFeed {
                            let begins = if trailer.is_empty() {
                                at - 1
                            } else {
                                trailer.start
                            };
                            trailer = begins..at;
                        }
                    }
                    // Hand out the payload before the fault, as if it had come alone; the next
                    // step meets the same octet in the same state.
                    Err(_) if !data.is_empty() => break,
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(Step {
            consumed: at,
            data,
            trailer,
            done: self.is_done(),
        })
    }

    /// Takes in one octet outside the payload.
    fn framing(&mut self, state: State, octet: u8) -> Result<State, FramingError> {
        match state {
            State::SizeFirst | State::Size => self.size(state, octet),
            State::SizeLineFeed => self.size_line_feed(octet),
            State::DataReturn if octet == b'\r' => Ok(State::DataLineFeed),
            State::DataLineFeed if octet == b'\n' => Ok(State::SizeFirst),
            State::DataReturn | State::DataLineFeed => Err(FramingError::ChunkUnterminated),
            State::TrailerFirst
            | State::TrailerName
            | State::TrailerValue
            | State::TrailerLineFeed
            | State::EndLineFeed => self.trailer(state, octet),
            _ => {
                self.count_size_line()?;
                extension(state, octet)
            }
        }
    }

    /// `chunk-size = 1*HEXDIG`
    fn size(&mut self, state: State, octet: u8) -> Result<State, FramingError> {
        if state == State::SizeFirst {
            self.left = 0;
            self.line_bytes = 0;
        }
        self.count_size_line()?;
        if let Some(digit) = hex_value(octet) {
            // RFC 9112, section 7.1: "recipients MUST anticipate potentially large hexadecimal
            // numerals and prevent parsing errors due to integer conversion overflows or
            // precision loss due to integer representation."
            let shifted = self
                .left
                .checked_mul(16)
                .ok_or(FramingError::SizeTooLarge)?;
            self.left = shifted | u64::from(digit);
            return Ok(State::Size);
        }
        match (state, octet) {
            (State::SizeFirst, _) => Err(FramingError::SizeInvalid),
            (_, b'\r') => Ok(State::SizeLineFeed),
            (_, b';') => Ok(State::ExtensionFirst),
            (_, b' ' | b'\t') => Ok(State::ExtensionGap),
            (_, b'\n') => Err(FramingError::LineEndInvalid),
            _ => Err(FramingError::SizeInvalid),
        }
    }

    /// "A server ought to limit the total length of chunk extensions received in a request to an
    /// amount reasonable for the services provided".
    fn count_size_line(&mut self) -> Result<(), FramingError> {
        self.line_bytes += 1;
        if self.line_bytes > self.limits.size_line_bytes_max {
            return Err(FramingError::SizeLineTooLong);
        }
        Ok(())
    }

    /// The size line is whole: payload or trailers follow.
    fn size_line_feed(&mut self, octet: u8) -> Result<State, FramingError> {
        if octet != b'\n' {
            return Err(FramingError::LineEndInvalid);
        }
        let fair = self.left.saturating_mul(2).saturating_add(16);
        self.excess_bytes = (self.excess_bytes + u64::from(self.line_bytes)).saturating_sub(fair);
        if self.excess_bytes > u64::from(self.limits.excess_bytes_max) {
            return Err(FramingError::TooMuchFraming);
        }
        if self.left > 0 {
            return Ok(State::Data);
        }
        self.line_bytes = 0;
        Ok(State::TrailerFirst)
    }

    /// `trailer-section = *( field-line CRLF )`, and the empty line behind it.
    fn trailer(&mut self, state: State, octet: u8) -> Result<State, FramingError> {
        self.line_bytes += 1;
        if self.line_bytes > self.limits.trailer_bytes_max {
            return Err(FramingError::TrailersTooLong);
        }
        match (state, octet) {
            (State::TrailerFirst, b'\r') => Ok(State::EndLineFeed),
            (State::TrailerFirst | State::TrailerName, _) if is(octet, octets::TOKEN) => {
                Ok(State::TrailerName)
            }
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLineFeed),
            (State::TrailerValue, _) if is(octet, octets::FIELD) => Ok(State::TrailerValue),
            (State::TrailerLineFeed, b'\n') => Ok(State::TrailerFirst),
            (State::EndLineFeed, b'\n') => Ok(State::Done),
            (State::TrailerLineFeed | State::EndLineFeed, _) | (_, b'\n') => {
                Err(FramingError::LineEndInvalid)
            }
            _ => Err(FramingError::TrailerInvalid),
        }
    }
}

/// `chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )`
///
/// "A recipient MUST ignore unrecognized chunk extensions": the well-formed ones. They are read
/// to the letter because decoders which skip to the line's end differ in where they see it.
fn extension(state: State, octet: u8) -> Result<State, FramingError> {
    use State::*;
    let token = is(octet, octets::TOKEN);
    match (state, octet) {
        (ExtensionGap | ExtensionFirst | ExtensionValueFirst, b' ' | b'\t') => Ok(state),
        (ExtensionGap | ExtensionNameGap, b';') => Ok(ExtensionFirst),
        (ExtensionFirst | ExtensionName, _) if token => Ok(ExtensionName),
        (ExtensionName | ExtensionNameGap, b' ' | b'\t') => Ok(ExtensionNameGap),
        (ExtensionName | ExtensionNameGap, b'=') => Ok(ExtensionValueFirst),
        (ExtensionValueFirst | ExtensionValue, _) if token => Ok(ExtensionValue),
        (ExtensionValueFirst, b'"') => Ok(ExtensionQuoted),
        (ExtensionQuoted, b'"') => Ok(ExtensionQuotedEnd),
        (ExtensionQuoted, b'\\') => Ok(ExtensionQuotedPair),
        (ExtensionQuoted, _) if is(octet, octets::QUOTED) => Ok(ExtensionQuoted),
        (ExtensionQuotedPair, _) if is(octet, octets::FIELD) => Ok(ExtensionQuoted),
        (ExtensionValue | ExtensionQuotedEnd, b' ' | b'\t') => Ok(ExtensionGap),
        (ExtensionName | ExtensionValue | ExtensionQuotedEnd, b';') => Ok(ExtensionFirst),
        (ExtensionName | ExtensionValue | ExtensionQuotedEnd, b'\r') => Ok(SizeLineFeed),
        (_, b'\n' | b'\r') => Err(FramingError::LineEndInvalid),
        _ => Err(FramingError::ExtensionInvalid),
    }
}

#[cfg(test)]
mod tests;
