//! What goes into a segment, and how a count that is too long for one is cut.

use std::collections::BTreeSet;

use crate::record::segment::{RefusedClient, SEGMENT_BYTES_MAX, Segment, SegmentRow};

/// Addresses in one segment.
const REFUSED_CLIENTS_MAX: usize = 100;

/// Requests in rows.
pub fn requests(rows: &[SegmentRow]) -> u64 {
    let sum = |sum: u64, row: &SegmentRow| sum.saturating_add(row.requests);
    rows.iter().fold(0, sum)
}

/// One row an address and minute; the loudest ones only.
pub fn merge_clients(clients: &mut Vec<RefusedClient>) {
    clients.sort_unstable_by_key(|one| (one.minute, one.client));
    clients.dedup_by(|later, first| {
        let is_same = (later.minute, later.client) == (first.minute, first.client);
        if is_same {
            first.unauthorized = first.unauthorized.saturating_add(later.unauthorized);
        }
        is_same
    });
    clients.sort_unstable_by_key(|one| std::cmp::Reverse(one.unauthorized));
    clients.truncate(REFUSED_CLIENTS_MAX);
}

/// Cuts a segment into such as fit the link, numbered from `sequence` on. Each names the routes of
/// its own rows: with those of all rows, a large catalog would never fit.
pub fn pieces(mut segment: Segment, sequence: u64) -> Vec<Segment> {
    segment.sequence = sequence;
    if segment.rows.len() < 2 || segment.encode().len() <= SEGMENT_BYTES_MAX {
        return vec![segment];
    }
    let later = segment.rows.split_off(segment.rows.len() / 2);
    let mut rest = Segment {
        rows: later,
        dropped_requests: 0,
        ..segment.clone_without_rows()
    };
    keep_used_names(&mut segment);
    keep_used_names(&mut rest);
    let mut all = pieces(segment, sequence);
    let next = sequence + all.len() as u64;
    all.extend(pieces(rest, next));
    all
}

fn keep_used_names(segment: &mut Segment) {
    let place = |row: &SegmentRow| (row.counted.api, row.counted.route);
    let used: BTreeSet<(u32, u32)> = segment.rows.iter().map(place).collect();
    segment
        .routes
        .retain(|name| used.contains(&(name.api, name.route)));
}

/// As bytes.
pub fn encoded(pieces: &[Segment]) -> Vec<Vec<u8>> {
    pieces.iter().map(Segment::encode).collect()
}
