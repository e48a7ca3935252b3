//! What must hold for [`ChunkedDecoder`] whatever the bytes are, and a model that is slow, simple
//! and reads the grammar of RFC 9112, section 7.1, from the whole stream.

use keyway::parse::{ChunkLimits, ChunkedDecoder, FramingError};

/// No limits: the model has none.
const BOUNDLESS: ChunkLimits = ChunkLimits {
    size_line_bytes_max: u32::MAX,
    excess_bytes_max: u32::MAX,
    trailer_bytes_max: u32::MAX,
};

/// What a body holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Its payload.
    pub payload: Vec<u8>,
    /// The field lines of its trailer section.
    pub trailer: Vec<u8>,
}

/// What the body holds and how many bytes it took; `None` while it is not over.
pub type Answer = Result<Option<(Parts, usize)>, FramingError>;

/// Decodes `bytes` as they arrive in the pieces between `cuts`.
pub fn decode(bytes: &[u8], cuts: &[usize]) -> Answer {
    let mut parts = Parts::default();
    let (consumed, done) = run(bytes, cuts, BOUNDLESS, &mut parts)?;
    Ok(done.then_some((parts, consumed)))
}

/// The answer's name.
pub fn kind(bytes: &[u8]) -> String {
    match decode(bytes, &[]) {
        Ok(None) => "partial".to_owned(),
        Ok(Some(_)) => "complete".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

/// Checks that `bytes` decode alike however they are split, and as the model has it.
pub fn check(bytes: &[u8], cuts: &[usize]) {
    let every_octet: Vec<usize> = (0..bytes.len()).collect();
    for limits in [
        BOUNDLESS,
        ChunkLimits {
            size_line_bytes_max: 8,
            excess_bytes_max: 4,
            trailer_bytes_max: 8,
        },
    ] {
        let mut all = [Parts::default(), Parts::default(), Parts::default()];
        let [whole, split, dripped] = &mut all;
        let answer = run(bytes, &[], limits, whole);
        assert_eq!(run(bytes, cuts, limits, split), answer, "cut at {cuts:?}");
        assert_eq!(
            run(bytes, &every_octet, limits, dripped),
            answer,
            "octet by octet"
        );
        // Also of a body that breaks off or is refused: what was payload stays payload. Its trailer
        // section matters only when it is whole.
        if answer.is_err() {
            for parts in [&mut *whole, &mut *split, &mut *dripped] {
                parts.trailer.clear();
            }
        }
        assert_eq!(whole, split);
        assert_eq!(whole, dripped);
    }
    match (model(bytes), decode(bytes, cuts)) {
        (Model::Whole(parts, consumed), Ok(Some(decoded))) => {
            assert_eq!(decoded, (parts, consumed))
        }
        (Model::More, Ok(None)) | (Model::Refused, Err(_)) => {}
        (model, decoded) => panic!("the model says {model:?}, the decoder {decoded:?}"),
    }
}

/// Decodes into `parts`; the bytes consumed and whether the body is over.
fn run(
    bytes: &[u8],
    cuts: &[usize],
    limits: ChunkLimits,
    parts: &mut Parts,
) -> Result<(usize, bool), FramingError> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| (*cut).min(bytes.len())).collect();
    ends.sort_unstable();
    ends.push(bytes.len());
    let mut decoder = ChunkedDecoder::new(limits);
    let mut at = 0;
    for end in ends {
        // Each step but the last one of a piece deals with something, or this would not end.
        while at < end && !decoder.is_done() {
            let step = decoder.step(&bytes[at..end])?;
            assert!(step.consumed > 0 && step.data.end <= step.consumed);
            assert!(step.trailer.end <= step.consumed);
            parts.payload.extend_from_slice(&bytes[at..end][step.data]);
            parts
                .trailer
                .extend_from_slice(&bytes[at..end][step.trailer]);
            at += step.consumed;
            assert_eq!(step.done, decoder.is_done());
        }
    }
    Ok((at, decoder.is_done()))
}

#[derive(Debug)]
enum Model {
    Whole(Parts, usize),
    More,
    Refused,
}

/// Why the model stops before the end of the body.
enum Stop {
    More,
    Refused,
}

fn model(bytes: &[u8]) -> Model {
    let mut input = Input { bytes, at: 0 };
    match input.body() {
        Ok(parts) => Model::Whole(parts, input.at),
        Err(Stop::More) => Model::More,
        Err(Stop::Refused) => Model::Refused,
    }
}

/// One method a rule of the grammar.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn peek(&self) -> Result<u8, Stop> {
        self.bytes.get(self.at).copied().ok_or(Stop::More)
    }

    fn take_if(&mut self, wanted: impl Fn(u8) -> bool) -> Result<Option<u8>, Stop> {
        let octet = self.peek()?;
        if !wanted(octet) {
            return Ok(None);
        }
        self.at += 1;
        Ok(Some(octet))
    }

    fn expect(&mut self, wanted: impl Fn(u8) -> bool) -> Result<u8, Stop> {
        self.take_if(wanted)?.ok_or(Stop::Refused)
    }

    fn many(&mut self, wanted: impl Fn(u8) -> bool) -> Result<Vec<u8>, Stop> {
        let mut taken = Vec::new();
        while let Some(octet) = self.take_if(&wanted)? {
            taken.push(octet);
        }
        Ok(taken)
    }

    fn crlf(&mut self) -> Result<(), Stop> {
        self.expect(|octet| octet == b'\r')?;
        self.expect(|octet| octet == b'\n').map(drop)
    }

    fn body(&mut self) -> Result<Parts, Stop> {
        let mut payload = Vec::new();
        loop {
            let size = self.chunk_size()?;
            self.chunk_extensions()?;
            self.crlf()?;
            if size == 0 {
                let trailer = self.trailers()?;
                return Ok(Parts { payload, trailer });
            }
            for _ in 0..size {
                payload.push(self.expect(|_| true)?);
            }
            self.crlf()?;
        }
    }

    fn chunk_size(&mut self) -> Result<u64, Stop> {
        let mut size: u128 = u128::from(hex(self.expect(|octet| octet.is_ascii_hexdigit())?));
        while let Some(digit) = self.take_if(|octet| octet.is_ascii_hexdigit())? {
            size = size * 16 + u128::from(hex(digit));
            if size > u128::from(u64::MAX) {
                return Err(Stop::Refused);
            }
        }
        u64::try_from(size).map_err(|_| Stop::Refused)
    }

    fn chunk_extensions(&mut self) -> Result<(), Stop> {
        loop {
            let spaces = self.many(is_space)?;
            if self.take_if(|octet| octet == b';')?.is_none() {
                // White space belongs to the `;` behind it.
                return if spaces.is_empty() {
                    Ok(())
                } else {
                    Err(Stop::Refused)
                };
            }
            self.many(is_space)?;
            self.token()?;
            let before_value = self.at;
            self.many(is_space)?;
            if self.take_if(|octet| octet == b'=')?.is_none() {
                self.at = before_value;
                continue;
            }
            self.many(is_space)?;
            if self.take_if(|octet| octet == b'"')?.is_some() {
                self.quoted_string()?;
            } else {
                self.token()?;
            }
        }
    }

    fn quoted_string(&mut self) -> Result<(), Stop> {
        loop {
            match self.expect(is_text)? {
                b'"' => return Ok(()),
                b'\\' => drop(self.expect(is_text)?),
                _ => {}
            }
        }
    }

    fn token(&mut self) -> Result<(), Stop> {
        self.expect(is_token)?;
        self.many(is_token).map(drop)
    }

    fn trailers(&mut self) -> Result<Vec<u8>, Stop> {
        let begin = self.at;
        while self.peek()? != b'\r' {
            self.token()?;
            self.expect(|octet| octet == b':')?;
            self.many(is_text)?;
            self.crlf()?;
        }
        let section = self.bytes[begin..self.at].to_vec();
        self.crlf().map(|()| section)
    }
}

fn hex(digit: u8) -> u8 {
    let value = char::from(digit).to_digit(16).expect("a hexadecimal digit");
    u8::try_from(value).expect("below 16")
}

fn is_space(octet: u8) -> bool {
    octet == b' ' || octet == b'\t'
}

fn is_text(octet: u8) -> bool {
    octet == b'\t' || (octet >= b' ' && octet != 0x7f)
}

fn is_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet)
}
