//! Windows of the calendar: hours, days and months of a time zone.
//!
//! Days and months begin where the zone's midnight is, so a day in which clocks change has 23 or 25
//! hours. The zone's rules come from the machine, or from what is built in where it has none.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, Zoned};

use crate::clock::WallTime;
use crate::snapshot::catalog::CalendarUnit;

/// Windows end by then, in 2105, so that hours and seconds fit their fields.
const SECONDS_MAX: u64 = u32::MAX as u64 - 40 * 24 * 3_600;

/// One window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// When it begins, in whole hours since 1970: its name, which grows from window to window.
    pub(super) hour: u32,
    begins_s: u32,
    ends_s: u32,
}

impl Window {
    /// Whether a moment is in it.
    #[inline]
    pub(super) fn holds(self, wall: WallTime) -> bool {
        let now_s = wall.seconds().min(SECONDS_MAX);
        u64::from(self.begins_s) <= now_s && now_s < u64::from(self.ends_s)
    }

    /// The name of the one after it.
    #[inline]
    pub(super) fn next_hour(self) -> u32 {
        self.ends_s / 3_600
    }

    /// Nanoseconds until it ends, at least 1.
    pub(super) fn wait_ns(self, wall: WallTime) -> u64 {
        let wait_ms = (u64::from(self.ends_s) * 1_000).saturating_sub(wall.0);
        wait_ms.saturating_mul(1_000_000).max(1)
    }
}

/// A time zone that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no time zone is called so; write a name of the IANA database, such as UTC or Europe/Berlin"
)]
pub struct ZoneUnknown;

/// How time is cut into windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    unit: CalendarUnit,
    zone: TimeZone,
    id: u32,
}

impl Calendar {
    /// The calendar of a zone.
    pub fn new(unit: CalendarUnit, zone: &str) -> Result<Self, ZoneUnknown> {
        let id = crc32fast::hash(format!("{unit:?} {zone}").as_bytes()).max(1);
        let zone = TimeZone::get(zone).map_err(|_| ZoneUnknown)?;
        Ok(Self { unit, zone, id })
    }

    /// Tells calendars apart; never zero.
    #[inline]
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// The window's usual length in seconds, for people.
    pub(super) fn usual_s(&self) -> u64 {
        match self.unit {
            CalendarUnit::Hour => 3_600,
            CalendarUnit::Day => 86_400,
            CalendarUnit::Month => 30 * 86_400,
        }
    }

    /// The window that a moment is in.
    pub(super) fn window(&self, wall: WallTime) -> Window {
        let now_s = wall.seconds().min(SECONDS_MAX);
        let (begins_s, ends_s) = self
            .bounds(now_s)
            .filter(|(begins_s, ends_s)| *begins_s <= now_s && now_s < *ends_s)
            // No zone is known to come here; an hour by UTC is a window too.
            .unwrap_or((now_s / 3_600 * 3_600, now_s / 3_600 * 3_600 + 3_600));
        let fits = |s: u64| u32::try_from(s).unwrap_or(u32::MAX);
        Window {
            hour: fits(begins_s / 3_600),
            begins_s: fits(begins_s),
            ends_s: fits(ends_s),
        }
    }

    /// The window that a moment is in, from and to, milliseconds since the epoch.
    pub fn bounds_ms(&self, wall: WallTime) -> (u64, u64) {
        let window = self.window(wall);
        let ms = |s: u32| u64::from(s) * 1_000;
        (ms(window.begins_s), ms(window.ends_s))
    }

    fn bounds(&self, now_s: u64) -> Option<(u64, u64)> {
        let now = Timestamp::from_second(i64::try_from(now_s).ok()?).ok()?;
        let now = now.to_zoned(self.zone.clone());
        let seconds = |at: &Zoned| u64::try_from(at.timestamp().as_second().max(0)).ok();
        match self.unit {
            CalendarUnit::Hour => {
                let offset_s = i64::from(now.offset().seconds());
                let local_s = i64::try_from(now_s).ok()? + offset_s;
                let begins_s = u64::try_from(local_s.div_euclid(3_600) * 3_600 - offset_s).ok()?;
                Some((begins_s, begins_s + 3_600))
            }
            CalendarUnit::Day => {
                let begins = now.start_of_day().ok()?;
                let ends = now.date().checked_add(1.day()).ok()?;
                let ends = ends.to_zoned(self.zone.clone()).ok()?.start_of_day().ok()?;
                Some((seconds(&begins)?, seconds(&ends)?))
            }
            CalendarUnit::Month => {
                let first = now.date().first_of_month();
                let next = first.checked_add(1.month()).ok()?;
                let start = |date: jiff::civil::Date| {
                    date.to_zoned(self.zone.clone()).ok()?.start_of_day().ok()
                };
                Some((seconds(&start(first)?)?, seconds(&start(next)?)?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> WallTime {
        let at: Timestamp = text.parse().unwrap();
        WallTime(u64::try_from(at.as_millisecond()).unwrap())
    }

    fn window(unit: CalendarUnit, zone: &str, now: &str) -> (String, String) {
        let window = Calendar::new(unit, zone).unwrap().window(at(now));
        assert!(window.holds(at(now)));
        let text = |s: u32| Timestamp::from_second(s.into()).unwrap().to_string();
        (text(window.begins_s), text(window.ends_s))
    }

    #[test]
    fn windows_begin_at_full_hours_midnight_and_the_first_of_the_month() {
        use CalendarUnit::{Day, Hour, Month};
        let now = "2026-11-27T04:30:00Z";
        for (unit, zone, begins, ends) in [
            (Hour, "UTC", "2026-11-27T04:00:00Z", "2026-11-27T05:00:00Z"),
            (
                Hour,
                "Asia/Kolkata",
                "2026-11-27T04:30:00Z",
                "2026-11-27T05:30:00Z",
            ),
            (Day, "UTC", "2026-11-27T00:00:00Z", "2026-11-28T00:00:00Z"),
            (
                Day,
                "Europe/Berlin",
                "2026-11-26T23:00:00Z",
                "2026-11-27T23:00:00Z",
            ),
            (
                Day,
                "America/New_York",
                "2026-11-26T05:00:00Z",
                "2026-11-27T05:00:00Z",
            ),
            (Month, "UTC", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
            (
                Month,
                "America/New_York",
                "2026-11-01T04:00:00Z",
                "2026-12-01T05:00:00Z",
            ),
        ] {
            let expected = (begins.to_owned(), ends.to_owned());
            assert_eq!(window(unit, zone, now), expected, "{unit:?} in {zone}");
        }
    }

    #[test]
    fn a_day_on_which_clocks_change_is_longer_or_shorter() {
        let hours = |now| {
            let calendar = Calendar::new(CalendarUnit::Day, "Europe/Berlin").unwrap();
            let window = calendar.window(at(now));
            (window.ends_s - window.begins_s) / 3_600
        };
        assert_eq!(hours("2026-03-29T10:00:00Z"), 23);
        assert_eq!(hours("2026-10-25T10:00:00Z"), 25);
        assert_eq!(hours("2026-10-26T10:00:00Z"), 24);
    }

    #[test]
    fn a_zone_that_nobody_knows_is_refused() {
        let told = Calendar::new(CalendarUnit::Day, "Europe/Atlantis").unwrap_err();
        assert!(told.to_string().contains("IANA"), "{told}");
    }

    const ZONES: [&str; 6] = [
        "UTC",
        "Europe/Berlin",
        "America/St_Johns",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
        "Pacific/Apia",
    ];

    proptest! {
        /// Names grow, and nothing lies between two windows or in both.
        #[test]
        fn each_window_begins_where_the_one_before_ends(
            zone in prop::sample::select(&ZONES[..]),
            unit in prop::sample::select(&[CalendarUnit::Hour, CalendarUnit::Day, CalendarUnit::Month][..]),
            now_s in 946_684_800_u64..4_000_000_000,
        ) {
            let calendar = Calendar::new(unit, zone).unwrap();
            let window = calendar.window(WallTime(now_s * 1_000));
            prop_assert!(window.holds(WallTime(now_s * 1_000)));
            let last = calendar.window(WallTime(u64::from(window.ends_s) * 1_000 - 1));
            prop_assert_eq!(last.hour, window.hour);
            let next = calendar.window(WallTime(u64::from(window.ends_s) * 1_000));
            prop_assert!(next.hour > window.hour);
            prop_assert!(next.hour <= window.next_hour());
        }

        #[test]
        fn no_clock_makes_it_panic(wall_ms: u64) {
            for zone in ZONES {
                for unit in [CalendarUnit::Hour, CalendarUnit::Day, CalendarUnit::Month] {
                    let window = Calendar::new(unit, zone).unwrap().window(WallTime(wall_ms));
                    prop_assert!(window.hour < 1 << 21);
                    let _ = window.wait_ns(WallTime(wall_ms));
                }
            }
        }
    }
}
