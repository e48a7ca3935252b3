//! A worker's pool of buffers: borrowed for the time of an exchange, never by an idle connection.

use std::cell::RefCell;

/// Capacity of a pooled buffer: one read or write of a body moves at most this much.
pub const BUFFER_BYTES: usize = 16 * 1024;

/// Buffers kept for reuse at most; more are freed when they come back.
const KEPT_MAX: usize = 256;

/// Empty buffers of one capacity, [`BUFFER_BYTES`] unless said otherwise.
#[derive(Debug)]
pub struct Buffers {
    bytes: usize,
    free: RefCell<Vec<Vec<u8>>>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self::of(BUFFER_BYTES)
    }
}

impl Buffers {
    /// A pool of buffers of `bytes` capacity.
    pub const fn of(bytes: usize) -> Self {
        Self {
            bytes,
            free: RefCell::new(Vec::new()),
        }
    }

    /// An empty buffer, recycled if there is one.
    pub fn take(&self) -> Vec<u8> {
        self.free
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(self.bytes))
    }

    /// Takes a buffer back. One that grew is freed: a single large head must not stay for ever.
    pub fn give(&self, mut buffer: Vec<u8>) {
        let mut free = self.free.borrow_mut();
        if free.len() < KEPT_MAX && (self.bytes..=2 * self.bytes).contains(&buffer.capacity()) {
            buffer.clear();
            free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_buffer_is_empty_and_used_again() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take();
        buffer.extend_from_slice(b"someone's body");
        let address = buffer.as_ptr();
        buffers.give(buffer);
        let again = buffers.take();
        assert!(again.is_empty());
        assert_eq!(again.as_ptr(), address);
    }

    #[test]
    fn a_buffer_that_grew_is_not_kept() {
        let buffers = Buffers::default();
        buffers.give(Vec::with_capacity(1 << 20));
        assert!(buffers.take().capacity() < 1 << 20);
    }
}
