//! Where the frames of a WebSocket end (RFC 6455, section 5.2), for whoever must say a last word.
//!
//! The gateway reads no messages. It follows the frames that a target sends, so that it can put one
//! of its own between two of them, and never in the middle of one.

/// Follows frames through the bytes of one direction.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: usize,
    payload_bytes_left: u64,
}

/// The longest head: two bytes, a length of eight, a mask of four.
const HEAD_BYTES_MAX: usize = 14;

/// A close frame with status 1008, "policy violation" (section 7.4.1), unmasked as a server's are.
pub const CLOSE_POLICY: [u8; 4] = [0x88, 2, 0x03, 0xf0];

impl Frames {
    /// No frame has begun that has not ended.
    pub fn at_boundary(&self) -> bool {
        self.head_bytes == 0 && self.payload_bytes_left == 0
    }

    /// Follows more bytes.
    pub fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload_bytes_left > 0 {
                let left = usize::try_from(self.payload_bytes_left).unwrap_or(usize::MAX);
                let skipped = left.min(bytes.len());
                self.payload_bytes_left -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            self.head[self.head_bytes] = bytes[0];
            self.head_bytes += 1;
            bytes = &bytes[1..];
            if let Some(payload_bytes) = payload_bytes(&self.head[..self.head_bytes]) {
                self.payload_bytes_left = payload_bytes;
                self.head_bytes = 0;
            }
        }
    }
}

/// The length of the payload, once `head` is whole.
fn payload_bytes(head: &[u8]) -> Option<u64> {
    let [_, second, rest @ ..] = head else {
        return None;
    };
    let mask_bytes = if second & 0x80 == 0 { 0 } else { 4 };
    let length_bytes = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    if rest.len() < length_bytes + mask_bytes {
        return None;
    }
    Some(match length_bytes {
        0 => u64::from(second & 0x7f),
        _ => rest[..length_bytes]
            .iter()
            .fold(0, |length, byte| length << 8 | u64::from(*byte)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(payload_bytes: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut bytes = vec![0x82];
        match payload_bytes {
            0..126 => bytes.push(mask | u8::try_from(payload_bytes).unwrap()),
            126..65_536 => {
                bytes.push(mask | 126);
                bytes.extend(u16::try_from(payload_bytes).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(mask | 127);
                bytes.extend((payload_bytes as u64).to_be_bytes());
            }
        }
        bytes.resize(
            bytes.len() + if masked { 4 } else { 0 } + payload_bytes,
            0x7f,
        );
        bytes
    }

    proptest! {
        #[test]
        fn a_boundary_is_where_a_frame_ends_however_the_bytes_come(
            sizes in prop::collection::vec((0..70_000_usize, any::<bool>()), 1..4),
            pieces in prop::collection::vec(1..40_000_usize, 0..20),
        ) {
            let mut stream = Vec::new();
            let mut ends = vec![0];
            for (payload_bytes, masked) in sizes {
                stream.extend(frame(payload_bytes, masked));
                ends.push(stream.len());
            }
            let mut frames = Frames::default();
            let mut at = 0;
            for piece in pieces.into_iter().chain([stream.len()]) {
                let next = (at + piece).min(stream.len());
                frames.follow(&stream[at..next]);
                at = next;
                prop_assert_eq!(frames.at_boundary(), ends.contains(&at));
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            Frames::default().follow(&bytes);
        }
    }
}
