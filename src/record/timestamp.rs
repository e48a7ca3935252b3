//! RFC 3339 timestamps in UTC with milliseconds, formatted without allocation.
//!
//! Lines of one second share all but the milliseconds, so the rest is kept from line to line.
//! Absent on purpose: time zones, and years past 9999, which RFC 3339 cannot write.

use crate::clock::WallTime;

/// Bytes of a written timestamp: `2026-11-21T21:20:33.123Z`.
pub const TIMESTAMP_BYTES: usize = 24;

const LAST_SECOND: u64 = 253_402_300_799;
const NO_SECOND: u64 = u64::MAX;

/// Writes timestamps, one after the other.
#[derive(Clone, Debug)]
pub struct Timestamps {
    second: u64,
    text: [u8; TIMESTAMP_BYTES],
}

impl Default for Timestamps {
    fn default() -> Self {
        Self {
            second: NO_SECOND,
            text: *b"0000-00-00T00:00:00.000Z",
        }
    }
}

impl Timestamps {
    /// The text of `time`; the end of year 9999 for any later one.
    pub fn text(&mut self, time: WallTime) -> &[u8; TIMESTAMP_BYTES] {
        let second = time.seconds().min(LAST_SECOND);
        if second != self.second {
            self.second = second;
            self.format_second(second);
        }
        self.put(20, 3, time.0 % 1_000);
        &self.text
    }

    fn format_second(&mut self, second: u64) {
        let (days, clock) = (second / 86_400, second % 86_400);
        let (year, month, day) = civil(days);
        self.put(0, 4, year);
        self.put(5, 2, month);
        self.put(8, 2, day);
        self.put(11, 2, clock / 3_600);
        self.put(14, 2, clock / 60 % 60);
        self.put(17, 2, clock % 60);
    }

    fn put(&mut self, at: usize, digits: usize, value: u64) {
        let mut rest = value;
        for place in self.text[at..at + digits].iter_mut().rev() {
            let [digit, ..] = (rest % 10).to_le_bytes();
            *place = b'0' + digit;
            rest /= 10;
        }
    }
}

/// Year, month and day of a day counted from 1970-01-01.
///
/// Counts in eras of 400 years that start on March 1st, so that leap days come last
/// (H. Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(stamps: &mut Timestamps, ms: u64) -> String {
        String::from_utf8(stamps.text(WallTime(ms)).to_vec()).expect("ASCII")
    }

    #[test]
    fn the_epoch_a_leap_day_and_the_last_millisecond_are_written_right() {
        let mut stamps = Timestamps::default();
        assert_eq!(written(&mut stamps, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            written(&mut stamps, 951_782_400_007),
            "2000-02-29T00:00:00.007Z"
        );
        assert_eq!(
            written(&mut stamps, 253_402_300_799_999),
            "9999-12-31T23:59:59.999Z"
        );
        assert_eq!(&written(&mut stamps, u64::MAX)[..19], "9999-12-31T23:59:59");
    }

    proptest! {
        #[test]
        fn timestamps_agree_with_a_calendar_library(times in prop::collection::vec(0u64..253_402_300_800_000, 1..20)) {
            let mut stamps = Timestamps::default();
            for ms in times {
                let model = jiff::Timestamp::from_millisecond(i64::try_from(ms).expect("in range"))
                    .expect("in range")
                    .strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
                    .to_string();
                prop_assert_eq!(written(&mut stamps, ms), model);
            }
        }
    }
}
