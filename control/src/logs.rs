//! Searches of the call log on all connected nodes at once.
//!
//! In: what an administrator looks for. Out: a [`Running`] search, which tells line by line what nodes
//! find. The link brings nodes here ([`LogDesk::join`]) and passes on what they say
//! ([`Seat::heard`]), and waits for nobody: lines that a reader is too slow for are dropped and
//! counted. Nothing is kept; the lines lie on the nodes.

use keyway::link::protocol::{ControlMessage, NodeMessage};
use keyway::record::log_search::LogFilter;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// Searches at one time.
pub const SEARCHES_MAX: usize = 8;

/// Bytes of lines of one search that may wait for its reader.
const WAITING_BYTES_MAX: usize = 32 << 20;

/// Where searches and nodes meet; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct LogDesk {
    inner: Arc<Mutex<Desk>>,
}

#[derive(Debug, Default)]
struct Desk {
    /// Nodes by a number for their connection.
    nodes: BTreeMap<u64, Node>,
    searches: HashMap<u64, Search>,
    /// The last number that was given to a connection or a search.
    last: u64,
}

#[derive(Debug)]
struct Node {
    name: String,
    asks: mpsc::Sender<ControlMessage>,
}

#[derive(Debug)]
struct Search {
    filter: LogFilter,
    follow: bool,
    events: mpsc::UnboundedSender<Event>,
    waiting_bytes: Arc<AtomicUsize>,
    /// Lines that found no room, by connection.
    missed: HashMap<u64, u64>,
}

/// What a search hears.
#[derive(Debug)]
pub struct Event {
    /// The connection.
    pub link: u64,
    /// The node at its other end.
    pub node: String,
    /// What it is.
    pub what: What,
}

/// What a node says of a search.
#[derive(Debug, PartialEq, Eq)]
pub enum What {
    /// It came while the search was on, and is asked too.
    Joined,
    /// It found these, and passed over so many.
    Lines {
        /// JSON objects, the oldest first.
        lines: Vec<String>,
        /// Lines that were passed over before them.
        missed: u64,
        /// What follows is new.
        caught_up: bool,
    },
    /// It is done.
    Done {
        /// Why it found nothing.
        error: Option<String>,
        /// Bytes that it read.
        scanned_bytes: u64,
        /// It looked at all that could be meant.
        complete: bool,
    },
    /// It is not connected any more.
    Gone,
}

/// Why a search is not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSearch {
    /// Nobody can be asked.
    #[error("no node is connected; the call log lies on the nodes")]
    NoNodes,
    /// There are enough already.
    #[error("{SEARCHES_MAX} searches are under way; end one of them, or try again")]
    TooMany,
}

/// A search that is under way; nodes are told to stop when it is dropped.
#[derive(Debug)]
pub struct Running {
    id: u64,
    desk: LogDesk,
    events: mpsc::UnboundedReceiver<Event>,
    waiting_bytes: Arc<AtomicUsize>,
    /// The nodes that were asked: names by connection.
    pub asked: BTreeMap<u64, String>,
}

/// A node that can be asked, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    link: u64,
    desk: LogDesk,
}

impl LogDesk {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node is connected and takes what is asked through `asks`.
    pub fn join(&self, name: &str, asks: mpsc::Sender<ControlMessage>) -> Seat {
        let mut desk = self.desk();
        desk.last += 1;
        let link = desk.last;
        for (id, search) in desk.searches.iter().filter(|(_, search)| search.follow) {
            if asks.try_send(ask(*id, &search.filter, 0, true)).is_ok() {
                search.tell(link, name, What::Joined);
            }
        }
        let name = name.to_owned();
        desk.nodes.insert(link, Node { name, asks });
        drop(desk);
        Seat {
            link,
            desk: self.clone(),
        }
    }

    /// Asks every node for the newest `limit` lines that `filter` means.
    pub fn search(&self, filter: LogFilter, limit: u32, follow: bool) -> Result<Running, NoSearch> {
        let mut desk = self.desk();
        if desk.nodes.is_empty() {
            return Err(NoSearch::NoNodes);
        }
        if desk.searches.len() >= SEARCHES_MAX {
            return Err(NoSearch::TooMany);
        }
        desk.last += 1;
        let id = desk.last;
        let (sender, events) = mpsc::unbounded_channel();
        let waiting_bytes = Arc::<AtomicUsize>::default();
        let search = Search {
            filter,
            follow,
            events: sender,
            waiting_bytes: Arc::clone(&waiting_bytes),
            missed: HashMap::new(),
        };
        let mut asked = BTreeMap::new();
        for (link, node) in &desk.nodes {
            asked.insert(*link, node.name.clone());
            let message = ask(id, &search.filter, limit, follow);
            if node.asks.try_send(message).is_err() {
                let error = Some("it does not read what control says".to_owned());
                let what = What::Done {
                    error,
                    scanned_bytes: 0,
                    complete: false,
                };
                search.tell(*link, &node.name, what);
            }
        }
        desk.searches.insert(id, search);
        drop(desk);
        Ok(Running {
            id,
            desk: self.clone(),
            events,
            waiting_bytes,
            asked,
        })
    }
}

fn ask(id: u64, filter: &LogFilter, limit: u32, follow: bool) -> ControlMessage {
    ControlMessage::SearchLog {
        id,
        filter: Box::new(filter.clone()),
        limit,
        follow,
    }
}

impl Search {
    fn tell(&self, link: u64, node: &str, what: What) {
        let node = node.to_owned();
        // Whoever asked may have left just now.
        let _ = self.events.send(Event { link, node, what });
    }

    /// Passes lines on, or counts them where the reader is too far behind.
    fn lines(&mut self, link: u64, node: &str, found: (Vec<String>, u64, bool)) {
        let (mut lines, missed, caught_up) = found;
        let bytes: usize = lines.iter().map(String::len).sum();
        let missed_here = self.missed.entry(link).or_default();
        *missed_here += missed;
        if self.waiting_bytes.load(Ordering::Relaxed) + bytes > WAITING_BYTES_MAX {
            *missed_here += u64::try_from(lines.len()).unwrap_or(u64::MAX);
            if !caught_up {
                return;
            }
            lines.clear();
        } else {
            self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        let missed = std::mem::take(missed_here);
        let what = What::Lines {
            lines,
            missed,
            caught_up,
        };
        self.tell(link, node, what);
    }
}

impl Seat {
    /// The node said something of a search; one that is over is passed over.
    pub fn heard(&self, message: NodeMessage) {
        let mut desk = self.desk.desk();
        let Desk {
            nodes, searches, ..
        } = &mut *desk;
        let Some(node) = nodes.get(&self.link) else {
            return;
        };
        match message {
            NodeMessage::LogLines {
                id,
                lines,
                missed,
                caught_up,
            } => {
                if let Some(search) = searches.get_mut(&id) {
                    search.lines(self.link, &node.name, (lines, missed, caught_up));
                }
            }
            NodeMessage::LogDone {
                id,
                error,
                scanned_bytes,
                complete,
            } => {
                if let Some(search) = searches.get(&id) {
                    let what = What::Done {
                        error,
                        scanned_bytes,
                        complete,
                    };
                    search.tell(self.link, &node.name, what);
                }
            }
            _ => {}
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut desk = self.desk.desk();
        let Some(node) = desk.nodes.remove(&self.link) else {
            return;
        };
        for search in desk.searches.values() {
            search.tell(self.link, &node.name, What::Gone);
        }
    }
}

impl Running {
    /// What comes next.
    pub async fn next(&mut self) -> Option<Event> {
        let event = self.events.recv().await?;
        if let What::Lines { lines, .. } = &event.what {
            let bytes = lines.iter().map(String::len).sum();
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        Some(event)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut desk = self.desk.desk();
        desk.searches.remove(&self.id);
        for node in desk.nodes.values() {
            // One that does not read stops by itself: nobody takes what it finds.
            let _ = node.asks.try_send(ControlMessage::StopLog { id: self.id });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: u64, bytes: usize) -> NodeMessage {
        NodeMessage::LogLines {
            id,
            lines: vec!["x".repeat(bytes)],
            missed: 0,
            caught_up: false,
        }
    }

    #[tokio::test]
    async fn a_reader_that_is_too_slow_is_told_what_it_missed() {
        let desk = LogDesk::default();
        let (asks, _asked) = mpsc::channel(4);
        let seat = desk.join("edge-1", asks);
        let mut running = desk.search(LogFilter::default(), 1, true).expect("begins");
        for _ in 0..5 {
            seat.heard(line(running.id, WAITING_BYTES_MAX / 2));
        }
        let mut missed_and_kept = (0, 0);
        for _ in 0..2 {
            if let What::Lines { lines, missed, .. } = running.next().await.expect("is told").what {
                missed_and_kept.0 += missed;
                missed_and_kept.1 += lines.len();
            }
        }
        assert_eq!(missed_and_kept, (0, 2));
        seat.heard(line(running.id, 1));
        let next = running.next().await.expect("is told").what;
        let expected = What::Lines {
            lines: vec!["x".to_owned()],
            missed: 3,
            caught_up: false,
        };
        assert_eq!(next, expected);
    }

    #[tokio::test]
    async fn searches_are_bounded_and_nodes_hear_of_their_end() {
        let desk = LogDesk::default();
        let none = desk.search(LogFilter::default(), 1, false);
        assert_eq!(none.err(), Some(NoSearch::NoNodes));
        let (asks, mut asked) = mpsc::channel(64);
        let seat = desk.join("edge-1", asks);
        let mut all: Vec<Running> = (0..SEARCHES_MAX)
            .map(|_| desk.search(LogFilter::default(), 1, false).expect("begins"))
            .collect();
        let more = desk.search(LogFilter::default(), 1, false);
        assert_eq!(more.err(), Some(NoSearch::TooMany));
        let first = all.remove(0);
        let id = first.id;
        drop(first);
        desk.search(LogFilter::default(), 1, false)
            .expect("there is room again");
        while let Some(message) = asked.recv().await {
            if message == (ControlMessage::StopLog { id }) {
                break;
            }
        }
        drop(seat);
        let gone = all[0].next().await.expect("is told");
        assert_eq!((gone.node.as_str(), gone.what), ("edge-1", What::Gone));
    }
}
