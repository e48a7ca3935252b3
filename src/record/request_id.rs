//! Names for requests: unique over workers, restarts and nodes, cheap to make.

use std::fmt;

/// 32 lower-case hex digits: 16 random ones of the worker, then its count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId([u8; 32]);

impl RequestId {
    /// The id's digits.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The id's digits as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("")
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One worker's source of ids.
#[derive(Debug)]
pub struct RequestIds {
    seed: [u8; 16],
    count: u64,
}

impl RequestIds {
    /// A source with its own random part.
    pub fn new(seed: u64) -> Self {
        Self {
            seed: hex(seed),
            count: 0,
        }
    }

    /// The next id.
    pub fn mint(&mut self) -> RequestId {
        self.count += 1;
        let mut id = [0; 32];
        id[..16].copy_from_slice(&self.seed);
        id[16..].copy_from_slice(&hex(self.count));
        RequestId(id)
    }
}

fn hex(number: u64) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 16];
    for (place, digit) in digits.iter_mut().enumerate() {
        *digit = DIGITS[(number >> (60 - 4 * place) & 0xf) as usize];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hex_and_differ() {
        let mut ids = RequestIds::new(0x0123_4567_89ab_cdef);
        assert_eq!(ids.mint().as_str(), "0123456789abcdef0000000000000001");
        assert_eq!(ids.mint().as_str(), "0123456789abcdef0000000000000002");
    }
}
