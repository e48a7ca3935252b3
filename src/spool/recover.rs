//! What processes that are gone left in the directory: found at start, and later on when a
//! predecessor of an upgrade has ended.

use std::io;

use super::cut::{merge_clients, pieces, requests};
use super::files::Id;
use super::journal::Journal;
use super::keeper::{Keeper, SEARCH_NS};
use crate::clock::Tick;
use crate::record::segment::Segment;
use std::sync::atomic::Ordering;

impl Keeper {
    /// Takes over what processes that are gone left. A directory that cannot be read is complained
    /// of, and looked at again later.
    pub(super) fn recover(&mut self) {
        let now = self.clock.tick();
        self.next_search = Tick(now.0.saturating_add(SEARCH_NS));
        if let Err(error) = self.search() {
            self.complain(&error, now);
        }
        self.show();
    }

    fn search(&mut self) -> io::Result<()> {
        let Some(files) = &self.files else {
            return Ok(());
        };
        let left = files.leftovers(|id| self.waiting.iter().any(|one| one.found.id == id))?;
        for found in left.sealed {
            self.wait(found, None);
        }
        for id in left.journals {
            self.recover_journal(id)?;
        }
        Ok(())
    }

    /// Seals a journal under the number it was to have.
    fn recover_journal(&mut self, id: Id) -> io::Result<()> {
        let Some(files) = &mut self.files else {
            return Ok(());
        };
        let mut journal = Journal::decode(&files.read_journal(id)?);
        let requests = requests(journal.usage.rows());
        tracing::info!(
            requests,
            torn = journal.torn_bytes > 0,
            last_written_ms = journal.written_ms,
            "usage of a process that was killed is recovered; what it counted after its last \
             write, less than a second, is lost"
        );
        if journal.usage.is_empty() && journal.dropped_requests == 0 {
            return files.forget_journal(id);
        }
        self.state.recovered.fetch_add(requests, Ordering::Relaxed);
        merge_clients(&mut journal.refused_clients);
        let segment = Segment {
            node: journal.node,
            boot: id.boot,
            sealed_ms: journal.written_ms,
            dropped_requests: journal.dropped_requests,
            routes: journal.routes,
            refusals: journal.refusals,
            refused_clients: journal.refused_clients,
            rows: journal.usage.take(),
            ..Segment::default()
        };
        self.seal_as(id.boot, pieces(segment, id.sequence), self.clock.now());
        Ok(())
    }
}
