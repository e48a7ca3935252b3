//! Names of routes, by the numbers that workers count them under.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::record::counters::REFUSALS;
use crate::record::segment::{RouteName, Segment, SegmentRow};
use crate::snapshot::catalog::Catalog;

/// All routes that a snapshot ever named, by API and number.
#[derive(Debug, Default)]
pub struct RouteNames(Mutex<BTreeMap<(u32, u32), String>>);

impl RouteNames {
    /// Learns the routes of a catalog.
    pub fn follow(&self, catalog: &Catalog) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for api in &catalog.apis {
            for route in &api.routes {
                let place = names.entry((api.number, route.number));
                place.or_insert_with(|| route.name());
            }
        }
    }

    /// A segment of rows that this process counted, with the names of what is in them.
    pub fn segment(&self, rows: Vec<SegmentRow>) -> Segment {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut used: Vec<(u32, u32)> = rows
            .iter()
            .map(|row| (row.counted.api, row.counted.route))
            .collect();
        used.sort_unstable();
        used.dedup();
        let routes = used
            .into_iter()
            .filter_map(|place| {
                let name = names.get(&place)?.clone();
                let (api, route) = place;
                Some(RouteName { api, route, name })
            })
            .collect();
        // All of them: some forty short words, and no row needs to be rewritten.
        let refusals = if rows.iter().any(|row| row.counted.refusal > 0) {
            let label = |refusal: &crate::refusal::Refusal| refusal.face().label.to_owned();
            REFUSALS.iter().map(label).collect()
        } else {
            Vec::new()
        };
        Segment {
            routes,
            refusals,
            rows,
            ..Segment::default()
        }
    }
}
