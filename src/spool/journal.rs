//! The journal of the open count: what workers handed over, second by second, as it came.
//!
//! ```text
//! length of a segment: u32 | the segment | …
//! ```
//!
//! Each is a [`Segment`] of its own, which carries its own checksum and names, so that another version of
//! the program can read it too. What follows the last whole one was torn by a crash and is dropped.

use crate::record::segment::{RefusedClient, RouteName, Segment};
use crate::record::usage::Usage;

/// The longest segment in a journal; it is written in one piece whatever its length.
const BYTES_MAX: usize = 1 << 30;

/// Appends a segment.
pub fn append(out: &mut Vec<u8>, segment: &Segment) {
    let bytes = segment.encode();
    let length = u32::try_from(bytes.len()).expect("a second's rows are bounded");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&bytes);
}

/// A journal, read and merged.
#[derive(Debug, Default)]
pub struct Journal {
    /// The counts, merged.
    pub usage: Usage,
    /// Names of routes in them.
    pub routes: Vec<RouteName>,
    /// Labels of refusals in them.
    pub refusals: Vec<String>,
    /// Where refused credentials came from.
    pub refused_clients: Vec<RefusedClient>,
    /// Requests that it tells to have been dropped.
    pub dropped_requests: u64,
    /// The node's name, as it was written.
    pub node: String,
    /// When the last whole one was written, milliseconds since the epoch.
    pub written_ms: u64,
    /// Bytes behind the last whole one.
    pub torn_bytes: usize,
}

impl Journal {
    /// Reads a journal.
    pub fn decode(mut bytes: &[u8]) -> Self {
        let mut journal = Self::default();
        while let Some((segment, rest)) = next(bytes) {
            for row in &segment.rows {
                journal.usage.merge(row, usize::MAX);
            }
            for name in segment.routes {
                if !journal.routes.contains(&name) {
                    journal.routes.push(name);
                }
            }
            if !segment.refusals.is_empty() {
                journal.refusals = segment.refusals;
            }
            journal.refused_clients.extend(segment.refused_clients);
            journal.dropped_requests += segment.dropped_requests;
            journal.node = segment.node;
            journal.written_ms = segment.sealed_ms;
            bytes = rest;
        }
        journal.torn_bytes = bytes.len();
        journal
    }
}

fn next(bytes: &[u8]) -> Option<(Segment, &[u8])> {
    let (length, rest) = bytes.split_at_checked(4)?;
    let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= BYTES_MAX)?;
    let (segment, rest) = rest.split_at_checked(length)?;
    Some((Segment::decode(segment).ok()?, rest))
}
