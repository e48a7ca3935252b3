//! The access log on the worker's side: one JSON line a request, formatted into the worker's own
//! buffer and handed to the log thread in pieces.
//!
//! [`LogLine`] says it; [`LogBuffer`] collects lines; [`LogSink`] is the bounded way to the
//! [log thread](super::log_thread). A full sink drops whole buffers and counts their lines: a slow
//! disk costs lines, never a request.

use super::counters::{Counter, Counters};
use super::log_line::LogLine;
use super::log_policy::Sample;
use super::timestamp::Timestamps;
use crossbeam::queue::ArrayQueue;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

/// A worker's buffer is handed over once it holds this much, or on the tick.
const BUFFER_BYTES: usize = 32 * 1_024;

/// Buffers that may wait for the log thread: with [`BUFFER_BYTES`] at most some 32 MiB.
const BUFFERS_MAX: usize = 1_024;

/// One worker's lines on their way to the sink.
#[derive(Debug)]
pub struct LogBuffer {
    sink: LogSink,
    bytes: Vec<u8>,
    lines: u64,
    timestamps: Timestamps,
}

impl LogBuffer {
    /// An empty buffer before `sink`.
    pub fn new(sink: LogSink) -> Self {
        Self {
            sink,
            bytes: Vec::new(),
            lines: 0,
            timestamps: Timestamps::default(),
        }
    }

    /// False when there is no access log: then nobody need gather what a line says.
    pub fn is_on(&self) -> bool {
        self.sink.is_on()
    }

    /// The share of calls that is logged where an API says nothing; `None` for all.
    pub fn sample(&self) -> Option<Sample> {
        self.sink.shared.as_ref()?.sample
    }

    /// Adds a line; hands the buffer over when it is full.
    pub fn add(&mut self, line: &LogLine<'_>, counters: &mut Counters) {
        if !self.is_on() {
            return;
        }
        if self.bytes.capacity() == 0 {
            self.bytes = self.sink.buffer();
        }
        line.write(&mut self.timestamps, &mut self.bytes);
        self.lines += 1;
        if self.bytes.len() >= BUFFER_BYTES {
            self.flush(counters);
        }
    }

    /// Hands over what there is; lines that find no room are counted as dropped. Called on the
    /// worker's tick.
    pub fn flush(&mut self, counters: &mut Counters) {
        if self.lines == 0 {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        if let Err(mut rejected) = self.sink.push(std::mem::take(&mut self.bytes)) {
            counters.add(Counter::LogLinesDropped, lines);
            rejected.clear();
            self.bytes = rejected;
        }
    }
}

/// The way to the log thread, shared by all workers; or to nowhere.
#[derive(Clone, Debug)]
pub struct LogSink {
    shared: Option<Arc<Shared>>,
}

/// Between the workers and the log thread.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) filled: ArrayQueue<Vec<u8>>,
    /// Written buffers on their way back to the workers, so that they need not allocate.
    pub(super) emptied: ArrayQueue<Vec<u8>>,
    pub(super) thread: OnceLock<Thread>,
    pub(super) reopen: AtomicBool,
    pub(super) stop: AtomicBool,
    pub(super) lines_written: AtomicU64,
    pub(super) lines_lost: AtomicU64,
    pub(super) write_errors: AtomicU64,
    sample: Option<Sample>,
    /// Absent for standard output.
    file: Option<PathBuf>,
}

impl Shared {
    pub(super) fn new(sample: Option<Sample>, file: Option<PathBuf>) -> Self {
        Self {
            sample,
            file,
            filled: ArrayQueue::new(BUFFERS_MAX),
            emptied: ArrayQueue::new(64),
            thread: OnceLock::new(),
            reopen: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            lines_written: AtomicU64::new(0),
            lines_lost: AtomicU64::new(0),
            write_errors: AtomicU64::new(0),
        }
    }

    /// Wakes the log thread if it sleeps; costs no system call if it does not.
    pub(super) fn ring(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

impl LogSink {
    /// No access log.
    pub const fn off() -> Self {
        Self { shared: None }
    }

    pub(super) const fn on(shared: Arc<Shared>) -> Self {
        Self {
            shared: Some(shared),
        }
    }

    /// False when there is no access log.
    pub const fn is_on(&self) -> bool {
        self.shared.is_some()
    }

    /// The file that it goes to; or why there is none, for a person.
    pub fn file(&self) -> Result<&Path, &'static str> {
        let Some(shared) = &self.shared else {
            return Err("this node writes no call log; set access_log.file in its settings");
        };
        shared.file.as_deref().ok_or(
            "this node's call log goes to standard output; set access_log.file in its settings to \
             search it here",
        )
    }

    /// What the log thread did so far.
    pub fn stats(&self) -> LogStats {
        let read = |word: fn(&Shared) -> &AtomicU64| {
            self.shared
                .as_deref()
                .map_or(0, |shared| word(shared).load(Ordering::Relaxed))
        };
        LogStats {
            lines_written: read(|shared| &shared.lines_written),
            lines_lost: read(|shared| &shared.lines_lost),
            write_errors: read(|shared| &shared.write_errors),
        }
    }

    fn buffer(&self) -> Vec<u8> {
        self.shared
            .as_ref()
            .and_then(|shared| shared.emptied.pop())
            // Room for one more line, so that the last one seldom makes it grow.
            .unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES + 1_024))
    }

    fn push(&self, buffer: Vec<u8>) -> Result<(), Vec<u8>> {
        let Some(shared) = &self.shared else {
            return Err(buffer);
        };
        shared.filled.push(buffer)?;
        shared.ring();
        Ok(())
    }
}

/// What the log thread did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Lines written whole.
    pub lines_written: u64,
    /// Lines that the disk did not take.
    pub lines_lost: u64,
    /// Failed writes, reopenings and rotations.
    pub write_errors: u64,
}

#[cfg(test)]
mod tests {
    use super::super::log_line::tests::line;
    use super::*;

    #[test]
    fn a_full_sink_drops_the_buffer_and_counts_its_lines() {
        let shared = Arc::new(Shared::new(None, None));
        while shared.filled.push(Vec::new()).is_ok() {}
        let mut buffer = LogBuffer::new(LogSink::on(Arc::clone(&shared)));
        let mut counters = Counters::new();
        buffer.add(&line(b"/", b"h"), &mut counters);
        buffer.add(&line(b"/", b"h"), &mut counters);
        buffer.flush(&mut counters);
        let published = super::super::PublishedCounters::new();
        counters.publish(&published);
        assert_eq!(published.counter(Counter::LogLinesDropped), 2);

        shared.filled.pop().expect("is full");
        buffer.add(&line(b"/again", b"h"), &mut counters);
        buffer.flush(&mut counters);
        let last = std::iter::from_fn(|| shared.filled.pop())
            .last()
            .expect("was pushed");
        assert!(last.starts_with(b"{\"time\"") && last.ends_with(b"}\n"));
        assert_eq!(last.iter().filter(|&&b| b == b'\n').count(), 1);
    }

    #[test]
    fn a_full_buffer_is_handed_over_without_waiting_for_the_tick() {
        let shared = Arc::new(Shared::new(None, None));
        let mut buffer = LogBuffer::new(LogSink::on(Arc::clone(&shared)));
        let mut counters = Counters::new();
        let mut lines = 0;
        while shared.filled.is_empty() {
            buffer.add(&line(b"/", b"h"), &mut counters);
            lines += 1;
        }
        assert!((50..=500).contains(&lines), "{lines} lines");
    }
}
