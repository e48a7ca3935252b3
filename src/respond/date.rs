//! The `Date` of the gateway's own answers (RFC 9110, section 6.6.1), formatted once a second.

use std::time::{Duration, UNIX_EPOCH};

use crate::clock::WallTime;

/// The last second's text.
#[derive(Debug, Default)]
pub struct DateCache {
    second: u64,
    text: String,
}

impl DateCache {
    /// `now` as an IMF-fixdate.
    pub fn at(&mut self, now: WallTime) -> &str {
        if self.second != now.seconds() || self.text.is_empty() {
            self.second = now.seconds();
            self.text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(self.second));
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_follows_the_clock_by_whole_seconds() {
        let mut date = DateCache::default();
        assert_eq!(
            date.at(WallTime(784_111_777_000)),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
        assert_eq!(
            date.at(WallTime(784_111_777_999)),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
        assert_eq!(
            date.at(WallTime(784_111_778_000)),
            "Sun, 06 Nov 1994 08:49:38 GMT"
        );
    }
}
