//! The check of what is asked of clients that may be hostile: their pace and their number, and when
//! there is too much of everything.

use super::check::{Check, HOUR_MS};
use super::raw::{RawHttp, RawOverload};
use super::{HttpLimits, OverloadLimits};
use crate::accept::per_address::COUNTED_MAX;

/// The fastest pace that can be asked for: 1 GB/s.
const RATE_MAX: u64 = 1_000_000_000;

impl Check<'_> {
    pub(super) fn hostile(&mut self, raw: &RawHttp, h: &mut HttpLimits) {
        self.number(
            "http.body_rate_min_bytes_per_s",
            raw.body_rate_min_bytes_per_s,
            &mut h.body_rate_min_bytes_per_s,
            0..=RATE_MAX,
        );
        self.number(
            "http.answer_rate_min_bytes_per_s",
            raw.answer_rate_min_bytes_per_s,
            &mut h.answer_rate_min_bytes_per_s,
            0..=RATE_MAX,
        );
        self.number(
            "http.rate_window_ms",
            raw.rate_window_ms,
            &mut h.rate_window_ms,
            1..=HOUR_MS,
        );
        let mut connections = u64::from(h.connections_per_address_max);
        self.number(
            "http.connections_per_address_max",
            raw.connections_per_address_max,
            &mut connections,
            0..=u64::from(COUNTED_MAX),
        );
        h.connections_per_address_max = u32::try_from(connections).unwrap_or(COUNTED_MAX);
    }

    pub(super) fn overload(&mut self, raw: &RawOverload) -> OverloadLimits {
        let mut limits = OverloadLimits::default();
        for (path, written, place, most) in [
            (
                "overload.inflight_max",
                raw.inflight_max,
                &mut limits.inflight_max,
                10_000_000,
            ),
            (
                "overload.lag_max_ms",
                raw.lag_max_ms,
                &mut limits.lag_max_ms,
                HOUR_MS,
            ),
            (
                "overload.memory_max_bytes",
                raw.memory_max_bytes,
                &mut limits.memory_max_bytes,
                u64::MAX,
            ),
        ] {
            self.number(path, written, place, 0..=most);
        }
        limits
    }
}
