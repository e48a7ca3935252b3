//! How much waits at most, and what is said of what has to go.

use super::keeper::{Keeper, Waiting};
use std::sync::atomic::Ordering;

/// Bytes of segments that wait in memory where there is no disk, or it does not work.
const MEMORY_BYTES_MAX: u64 = 64 << 20;

impl Keeper {
    /// Drops the oldest segments beyond the bounds; one that is with the link stays.
    pub(super) fn keep_within_bounds(&mut self) {
        let skipped = usize::from(self.offered);
        let bytes_max = match self.files {
            Some(_) => self.bytes_max,
            None => self.bytes_max.min(MEMORY_BYTES_MAX),
        };
        while self.waiting_bytes > bytes_max && self.waiting.len() > 1 {
            self.drop_waiting(skipped, "more than state.usage_bytes_max waits for control");
        }
        while self.memory_bytes() > MEMORY_BYTES_MAX {
            let in_memory = |one: &Waiting| one.in_memory.is_some();
            let oldest = self.waiting.iter().skip(skipped).position(in_memory);
            let Some(oldest) = oldest else { return };
            self.drop_waiting(skipped + oldest, "the disk does not take it");
        }
    }

    fn memory_bytes(&self) -> u64 {
        let in_memory = self.waiting.iter().filter(|one| one.in_memory.is_some());
        in_memory.map(|one| one.found.bytes).sum()
    }

    fn drop_waiting(&mut self, at: usize, why: &str) {
        let Some(oldest) = self.waiting.remove(at) else {
            return;
        };
        self.waiting_bytes -= oldest.found.bytes;
        let sealed = self.read(&oldest);
        // What it would have told has to be told by the next one.
        let told = sealed.as_ref().map_or(0, |sealed| sealed.dropped_requests);
        self.dropped_requests = self.dropped_requests.saturating_add(told);
        let requests = sealed.map_or(0, |sealed| sealed.requests);
        let sealed_ms = oldest.found.written_ms;
        self.drop_requests(requests);
        // A disk that stays full has one dropped with each that is sealed.
        if let Some(segments) = self.drops.tell(self.clock.tick().millis()) {
            let requests = self.state.dropped.load(Ordering::Relaxed);
            tracing::warn!(
                segments,
                sealed_ms,
                requests_so_far = requests,
                why,
                "usage is dropped"
            );
        }
        self.journal_drops(self.clock.now());
        self.forget(oldest.found);
    }

    pub(super) fn drop_requests(&mut self, requests: u64) {
        self.dropped_requests = self.dropped_requests.saturating_add(requests);
        self.state.dropped.fetch_add(requests, Ordering::Relaxed);
    }
}
