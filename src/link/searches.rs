//! Searches in the call log that control asked for, each on a thread of its own.
//!
//! A search reads as much as it takes and waits for control to read what it found; the link thread,
//! which carries revocations, waits for neither. A search ends when it is done, when control says so,
//! or with the connection. Absent on purpose: the reading
//! ([`log_search`](crate::record::log_search)).

use super::connection::Outbox;
use super::protocol::NodeMessage;
use crate::record::log_rotation::open_all;
use crate::record::log_search::filter::Sieve;
use crate::record::log_search::scan::{Search, scan, whole_end};
use crate::record::log_search::tail::Tail;
use crate::record::log_search::{LINE_BYTES_MAX, LogFilter};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Searches at one time; each has a thread.
const SEARCHES_MAX: usize = 8;
/// Most lines of one search.
const LIMIT_MAX: u32 = 10_000;
/// Bytes that one search reads.
const SCAN_BYTES_MAX: u64 = 4 << 30;
/// Bytes of lines in one message; twice as many, their quotes escaped, still fit a line of the link.
const MESSAGE_BYTES: usize = 128 * 1024;
/// Between two looks at the end of a log that nothing is written to.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// What control asks for.
#[derive(Debug)]
pub struct Asked {
    /// Names the search.
    pub id: u64,
    /// Which lines.
    pub filter: LogFilter,
    /// Lines wanted, the newest.
    pub limit: u32,
    /// Go on with what is written from now on.
    pub follow: bool,
}

/// The searches that run.
#[derive(Debug, Default)]
pub struct Searches {
    /// Dead once a search is over: its thread holds the other end.
    running: HashMap<u64, Weak<AtomicBool>>,
}

impl Searches {
    /// Begins a search in the log at `log`; what is in its way is answered.
    pub fn begin(&mut self, asked: Asked, log: Result<&Path, &str>, outbox: &Outbox) {
        self.running.retain(|_, running| running.strong_count() > 0);
        let stopped = Arc::new(AtomicBool::new(false));
        let id = asked.id;
        let begun = self.admits(id).and_then(|()| {
            let run = Run {
                id,
                path: log?.to_owned(),
                sieve: asked.filter.sieve().map_err(|error| error.to_string())?,
                limit: asked.limit.min(LIMIT_MAX) as usize,
                follow: asked.follow,
                outbox: outbox.clone(),
                stopped: Arc::clone(&stopped),
            };
            std::thread::Builder::new()
                .name("keyway-search".into())
                .spawn(move || run.run())
                .map_err(|error| format!("no thread for a search: {error}"))
        });
        match begun {
            Ok(_) => drop(self.running.insert(id, Arc::downgrade(&stopped))),
            Err(reason) => outbox.send(done(id, Some(reason))),
        }
    }

    fn admits(&self, id: u64) -> Result<(), String> {
        if self.running.contains_key(&id) {
            return Err("a search with this number is under way".to_owned());
        }
        if self.running.len() >= SEARCHES_MAX {
            return Err(format!(
                "{SEARCHES_MAX} searches are under way on this node; try again"
            ));
        }
        Ok(())
    }

    /// Nobody waits for this one any more.
    pub fn stop(&mut self, id: u64) {
        if let Some(running) = self
            .running
            .remove(&id)
            .and_then(|running| running.upgrade())
        {
            running.store(true, Ordering::Relaxed);
        }
    }

    /// Nobody waits for any.
    pub fn stop_all(&mut self) {
        for (_, running) in self.running.drain() {
            if let Some(running) = running.upgrade() {
                running.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Searches {
    fn drop(&mut self) {
        self.stop_all();
    }
}

fn done(id: u64, error: Option<String>) -> NodeMessage {
    NodeMessage::LogDone {
        id,
        error,
        scanned_bytes: 0,
        complete: false,
    }
}

/// One search, on its thread.
struct Run {
    id: u64,
    path: PathBuf,
    sieve: Sieve,
    limit: usize,
    follow: bool,
    outbox: Outbox,
    stopped: Arc<AtomicBool>,
}

impl Run {
    fn run(&self) {
        let last = match self.search() {
            Ok(last) => last,
            Err(error) => done(self.id, Some(format!("{}: {error}", self.path.display()))),
        };
        self.outbox.find(last, &self.stopped);
    }

    /// The last word on it.
    fn search(&self) -> std::io::Result<NodeMessage> {
        let mut files = open_all(&self.path)?;
        let end = whole_end(&files[0])?;
        let search = Search {
            sieve: &self.sieve,
            limit: self.limit,
            bytes_max: SCAN_BYTES_MAX,
            stopped: &self.stopped,
        };
        let found = if self.limit == 0 {
            Default::default()
        } else {
            scan(&files, end, &search)?
        };
        let is_read = self.send(found.lines, 0, self.follow);
        if self.follow && is_read {
            let newest = files.swap_remove(0);
            drop(files);
            self.follow(Tail::new(self.path.clone(), newest, end))?;
        }
        Ok(NodeMessage::LogDone {
            id: self.id,
            error: None,
            scanned_bytes: found.scanned_bytes,
            complete: found.complete,
        })
    }

    fn follow(&self, mut tail: Tail) -> std::io::Result<()> {
        while !self.stopped.load(Ordering::Relaxed) {
            let read = tail.read(&self.sieve)?;
            let says_something = !read.lines.is_empty() || read.missed > 0;
            if says_something && !self.send(read.lines, read.missed, false) {
                break;
            }
            if !read.has_more {
                std::thread::park_timeout(LOOK_PAUSE);
            }
        }
        Ok(())
    }

    /// Sends lines in messages that fit; false once nobody reads them.
    fn send(&self, lines: Vec<String>, missed: u64, caught_up: bool) -> bool {
        let mut rest = lines
            .into_iter()
            .filter(|line| line.len() <= LINE_BYTES_MAX / 2)
            .peekable();
        let mut missed = missed;
        loop {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while let Some(line) =
                rest.next_if(|line| bytes == 0 || bytes + line.len() <= MESSAGE_BYTES)
            {
                bytes += line.len();
                batch.push(line);
            }
            let is_last = rest.peek().is_none();
            if batch.is_empty() && missed == 0 && !caught_up {
                return true;
            }
            let message = NodeMessage::LogLines {
                id: self.id,
                lines: batch,
                missed: std::mem::take(&mut missed),
                caught_up: caught_up && is_last,
            };
            if !self.outbox.find(message, &self.stopped) {
                return false;
            }
            if is_last {
                return true;
            }
        }
    }
}
