//! Re-frames a body on its way through: bytes in as one side framed them, bytes out as the other
//! side expects them. Pure; [`super::body`] does the reading and writing.
//!
//! A chunked body is decoded and its chunks written anew, so that nothing that was not parsed (an
//! extension, an odd size line) reaches the next hop. Trailers pass where the receiving side wants
//! them, as [`trailers`](super::trailers) says, and are dropped elsewhere.

use std::io::Write;

use super::trailers::Trailers;
use crate::parse::{BodyDecoder, BodyError as DecodeError, BodyFraming, ChunkLimits};

/// How the receiving side learns where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encode {
    /// By its announced length, or by the end of the connection.
    Raw,
    /// By chunks.
    Chunked,
}

/// One body's passage.
#[derive(Debug)]
pub struct Recoder {
    decoder: BodyDecoder,
    encode: Encode,
    done: bool,
    payload_bytes: u64,
    payload_bytes_max: u64,
    /// Where trailers pass; in a box, for few bodies have any.
    trailers: Option<Box<Trailers>>,
}

/// Why a body cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecodeError {
    /// The chunked framing is broken.
    Framing,
    /// More payload than allowed.
    TooLarge,
    /// The source ended before the body did.
    EndedEarly,
}

impl From<DecodeError> for RecodeError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Framing(_) => Self::Framing,
            DecodeError::Truncated => Self::EndedEarly,
        }
    }
}

impl Recoder {
    /// A passage for a body framed by `framing`; at most `payload_bytes_max` bytes of payload.
    pub fn new(framing: BodyFraming, encode: Encode, payload_bytes_max: u64) -> Self {
        let decoder = BodyDecoder::new(framing, ChunkLimits::default());
        let done = matches!(decoder, BodyDecoder::Length { left: 0 });
        Self {
            decoder,
            encode,
            done,
            payload_bytes: 0,
            payload_bytes_max,
            trailers: None,
        }
    }

    /// Lets trailers pass, if the body has chunks on both sides.
    pub fn with_trailers(mut self, wanted: bool) -> Self {
        let chunked = matches!(self.decoder, BodyDecoder::Chunked(_));
        if wanted && chunked && self.encode == Encode::Chunked {
            self.trailers = Some(Box::default());
        }
        self
    }

    /// The whole body went through.
    pub fn done(&self) -> bool {
        self.done
    }

    /// Payload bytes that went through so far.
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// Output equals input, so that a buffer can be handed on without a copy.
    pub fn is_verbatim(&self) -> bool {
        self.encode == Encode::Raw && !matches!(self.decoder, BodyDecoder::Chunked(_))
    }

    /// How many bytes may be read without taking what follows the body; `None` where only the
    /// bytes themselves tell.
    pub fn read_max(&self) -> Option<u64> {
        match self.decoder {
            BodyDecoder::Length { left } => Some(left),
            BodyDecoder::Chunked(_) | BodyDecoder::UntilClose => None,
        }
    }

    /// Takes `input` and appends what goes on to `output`; the number of bytes used. Fewer than
    /// `input.len()` only when the body is done.
    pub fn push(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, RecodeError> {
        let mut used = 0;
        while used < input.len() && !self.done {
            let step = self.decoder.step(&input[used..])?;
            let data = &input[used..][step.data];
            if let Some(trailers) = &mut self.trailers {
                trailers.take(&input[used..][step.trailer]);
            }
            used += step.consumed;
            self.done = step.done;
            self.count(data.len())?;
            self.emit(data, output);
        }
        if self.done {
            self.finish(output);
        }
        Ok(used)
    }

    /// Counts bytes that the caller hands on itself; only when [`Recoder::is_verbatim`], and no
    /// more than [`Recoder::read_max`].
    pub fn note_verbatim(&mut self, bytes: &[u8]) -> Result<(), RecodeError> {
        let step = self.decoder.step(bytes)?;
        self.done = step.done;
        self.count(bytes.len())
    }

    /// The source ended.
    pub fn end(&mut self, output: &mut Vec<u8>) -> Result<(), RecodeError> {
        self.decoder.close()?;
        self.done = true;
        self.finish(output);
        Ok(())
    }

    fn count(&mut self, bytes: usize) -> Result<(), RecodeError> {
        self.payload_bytes += bytes as u64;
        if self.payload_bytes > self.payload_bytes_max {
            return Err(RecodeError::TooLarge);
        }
        Ok(())
    }

    fn emit(&self, data: &[u8], output: &mut Vec<u8>) {
        // An empty chunk would end the body.
        if data.is_empty() {
            return;
        }
        match self.encode {
            Encode::Raw => output.extend_from_slice(data),
            Encode::Chunked => {
                write!(output, "{:x}\r\n", data.len()).expect("a Vec takes every write");
                output.extend_from_slice(data);
                output.extend_from_slice(b"\r\n");
            }
        }
    }

    fn finish(&self, output: &mut Vec<u8>) {
        if self.encode == Encode::Chunked {
            output.extend_from_slice(b"0\r\n");
            if let Some(trailers) = &self.trailers {
                trailers.write(output);
            }
            output.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recode(framing: BodyFraming, encode: Encode, input: &[u8]) -> (Vec<u8>, usize, bool) {
        let mut recoder = Recoder::new(framing, encode, u64::MAX);
        let mut output = Vec::new();
        let used = recoder.push(input, &mut output).unwrap();
        (output, used, recoder.done())
    }

    #[test]
    fn a_length_stops_where_the_next_message_begins() {
        let (output, used, done) = recode(BodyFraming::Length(3), Encode::Raw, b"abcGET /");
        assert_eq!((output.as_slice(), used, done), (&b"abc"[..], 3, true));
    }

    #[test]
    fn extensions_and_trailers_do_not_pass() {
        let input = b"3;x=y\r\nabc\r\n0\r\nTrailer: t\r\n\r\nGET /";
        let (output, used, done) = recode(BodyFraming::Chunked, Encode::Chunked, input);
        assert_eq!(output, b"3\r\nabc\r\n0\r\n\r\n");
        assert_eq!(&input[used..], b"GET /");
        assert!(done);
    }

    #[test]
    fn trailers_pass_where_they_are_wanted_however_they_are_cut() {
        let input = b"3;x=y\r\nabc\r\n0\r\nSum: 7\r\nHost: evil\r\n\r\nGET /";
        for piece in 1..input.len() {
            let recoder = Recoder::new(BodyFraming::Chunked, Encode::Chunked, u64::MAX);
            let mut recoder = recoder.with_trailers(true);
            let (mut output, mut used) = (Vec::new(), 0);
            while !recoder.done() {
                let end = (used + piece).min(input.len());
                used += recoder.push(&input[used..end], &mut output).unwrap();
            }
            assert!(
                output.ends_with(b"\r\n0\r\nSum: 7\r\n\r\n"),
                "in pieces of {piece}"
            );
            assert_eq!(&input[used..], b"GET /");
        }
    }

    #[test]
    fn an_answer_that_ends_with_its_connection_is_chunked_for_the_client() {
        let mut recoder = Recoder::new(BodyFraming::UntilClose, Encode::Chunked, u64::MAX);
        let mut output = Vec::new();
        recoder.push(b"abc", &mut output).unwrap();
        recoder.end(&mut output).unwrap();
        assert_eq!(output, b"3\r\nabc\r\n0\r\n\r\n");
    }

    #[test]
    fn a_source_that_ends_early_is_an_error_and_never_a_whole_body() {
        for framing in [BodyFraming::Length(4), BodyFraming::Chunked] {
            let mut recoder = Recoder::new(framing, Encode::Chunked, u64::MAX);
            let mut output = Vec::new();
            recoder.push(b"3\r\n", &mut output).unwrap();
            assert_eq!(recoder.end(&mut output), Err(RecodeError::EndedEarly));
            assert!(!output.ends_with(b"0\r\n\r\n"));
        }
    }

    #[test]
    fn a_chunked_body_over_the_cap_is_refused() {
        let mut recoder = Recoder::new(BodyFraming::Chunked, Encode::Chunked, 4);
        let outcome = recoder.push(b"5\r\nabcde\r\n", &mut Vec::new());
        assert_eq!(outcome, Err(RecodeError::TooLarge));
    }
}
