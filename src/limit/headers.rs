//! What a caller is told of its limits: the values of `RateLimit-Policy`, `RateLimit` and
//! `Retry-After`.
//!
//! The fields are structured (RFC 9651) lists of strings with integer parameters, as in
//! draft-ietf-httpapi-ratelimit-headers-10:
//!
//! ```text
//! RateLimit-Policy: "burst";q=10;w=1, "egress";q=1073741824;qu="content-bytes";w=2592000
//! RateLimit: "burst";r=5;t=1
//! ```
//!
//! The policy lists every limit: `q` units (requests, where `qu` says nothing else) in `w` seconds;
//! a limit on requests in flight has no window. `RateLimit` tells of the limit that binds, the one of which the
//! least share is left: `r` units are available now, `t` seconds until there is more. `r` may be
//! above `q`, where a plan's burst is larger than what one window gives. Names need no escape:
//! the catalog admits `[a-z0-9._-]` only. Values are appended to the caller's buffer, nothing
//! else is allocated.

use crate::limit::compiled::{CompiledLimit, Shape};
use crate::limit::standing::Standing;
use crate::snapshot::catalog::LimitUnit;

/// The largest integer of a structured field (RFC 9651, section 3.3.1).
const INTEGER_MAX: u64 = 999_999_999_999_999;

/// Appends the value of `RateLimit-Policy`: all limits that a request is held to.
pub fn append_policy<'l>(out: &mut Vec<u8>, limits: impl Iterator<Item = &'l CompiledLimit>) {
    for (index, limit) in limits.enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        append_name(out, &limit.name);
        append_parameter(out, b";q=", limit.quota);
        match (&limit.shape, limit.unit) {
            (Shape::Concurrent(_), _) => out.extend_from_slice(b";qu=\"concurrent-requests\""),
            (_, LimitUnit::Requests) => {}
            (_, LimitUnit::BytesIn | LimitUnit::BytesOut) => {
                out.extend_from_slice(b";qu=\"content-bytes\"");
            }
        }
        if limit.window_s > 0 {
            append_parameter(out, b";w=", limit.window_s);
        }
    }
}

/// Appends the value of `RateLimit`: where the limit stands that binds.
pub fn append_binding<'l>(
    out: &mut Vec<u8>,
    standings: impl Iterator<Item = (&'l CompiledLimit, Standing)>,
) {
    let Some((limit, standing)) = standings.reduce(binding) else {
        return;
    };
    append_name(out, &limit.name);
    append_parameter(out, b";r=", standing.remaining);
    if let Some(reset_s) = standing.reset_s {
        append_parameter(out, b";t=", reset_s);
    }
}

/// The one of two limits of which the smaller share is left; of two that are spent, the one that
/// stays so for longer.
fn binding<'l>(
    one: (&'l CompiledLimit, Standing),
    other: (&'l CompiledLimit, Standing),
) -> (&'l CompiledLimit, Standing) {
    // As fractions: remaining of one times limit of the other.
    let share = |this: &Standing, that: &Standing| {
        u128::from(this.remaining) * u128::from(that.limit.max(1))
    };
    let (left, right) = (share(&one.1, &other.1), share(&other.1, &one.1));
    let is_longer = other.1.reset_s > one.1.reset_s;
    if right < left || right == left && is_longer {
        other
    } else {
        one
    }
}

/// The value of `Retry-After` for a wait: whole seconds, rounded up, at least 1.
pub fn retry_after_s(retry_after_ns: u64) -> u32 {
    u32::try_from(retry_after_ns.div_ceil(1_000_000_000))
        .unwrap_or(u32::MAX)
        .max(1)
}

fn append_name(out: &mut Vec<u8>, name: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.push(b'"');
}

fn append_parameter(out: &mut Vec<u8>, key: &[u8], value: u64) {
    out.extend_from_slice(key);
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(value.min(INTEGER_MAX)).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::model::{compiled, concurrent, entry, limit, quota};
    use crate::snapshot::catalog::{CalendarUnit, LimitEntry};

    fn text(fill: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        fill(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn policy(limits: &[CompiledLimit]) -> String {
        text(|out| append_policy(out, limits.iter()))
    }

    #[test]
    fn the_policy_lists_every_limit() {
        let limits = [limit(1, 10, 1_000, 20), limit(2, 5_000, 3_600_000, 100)];
        assert_eq!(
            policy(&limits),
            r#""limit-1";q=10;w=1, "limit-2";q=5000;w=3600"#
        );
    }

    #[test]
    fn other_units_and_shapes_say_so() {
        let bytes = LimitEntry {
            unit: LimitUnit::BytesOut,
            ..quota(2, 1 << 30, CalendarUnit::Month)
        };
        let limits = [compiled(&concurrent(1, 7)), compiled(&bytes)];
        assert_eq!(
            policy(&limits),
            r#""limit-1";q=7;qu="concurrent-requests", "limit-2";q=1073741824;qu="content-bytes";w=2592000"#
        );
    }

    #[test]
    fn the_limit_of_which_the_least_share_is_left_is_told() {
        let limits = [limit(1, 10, 1_000, 20), limit(2, 5_000, 3_600_000, 100)];
        let told = |remaining: [u64; 2], reset_s: [Option<u64>; 2]| {
            let standing = |at: usize| Standing {
                limit: limits[at].quota,
                remaining: remaining[at],
                reset_s: reset_s[at],
            };
            let standings = [0, 1].map(|at| (&limits[at], standing(at)));
            text(|out| append_binding(out, standings.into_iter()))
        };
        assert_eq!(
            told([5, 100], [Some(1), Some(37)]),
            r#""limit-2";r=100;t=37"#
        );
        assert_eq!(
            told([5, 4_000], [Some(1), Some(37)]),
            r#""limit-1";r=5;t=1"#
        );
        assert_eq!(told([0, 0], [Some(1), Some(37)]), r#""limit-2";r=0;t=37"#);
        assert_eq!(told([0, 0], [Some(1), None]), r#""limit-1";r=0;t=1"#);
        assert_eq!(told([1, 5_000], [None, None]), r#""limit-1";r=1"#);
    }

    #[test]
    fn nothing_is_told_of_no_limit() {
        assert_eq!(policy(&[]), "");
        assert_eq!(text(|out| append_binding(out, std::iter::empty())), "");
    }

    #[test]
    fn an_integer_stays_within_fifteen_digits() {
        let huge = entry(1, 16_000_000_000_000_000, 1_000_000_000, 1);
        assert_eq!(
            policy(&[compiled(&huge)]),
            r#""limit-1";q=999999999999999;w=1000000"#
        );
    }

    #[test]
    fn values_are_appended_within_the_room_there_is() {
        let limits = [limit(1, 10, 1_000, 20)];
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(b"RateLimit-Policy: ");
        let before = out.as_ptr();
        append_policy(&mut out, limits.iter());
        assert_eq!(out, br#"RateLimit-Policy: "limit-1";q=10;w=1"#);
        assert_eq!(out.as_ptr(), before, "it must not allocate");
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_rounded_up() {
        assert_eq!(retry_after_s(1), 1);
        assert_eq!(retry_after_s(1_000_000_000), 1);
        assert_eq!(retry_after_s(1_000_000_001), 2);
        assert_eq!(retry_after_s(0), 1);
        assert_eq!(retry_after_s(u64::MAX), u32::MAX);
    }
}
