//! What a caller is told of its limits: the values of `RateLimit-Policy`, `RateLimit` and
//! `Retry-After`.
//!
//! The fields are structured (RFC 9651) lists of strings with integer parameters, as in
//! draft-ietf-httpapi-ratelimit-headers-10:
//!
//! ```text
//! RateLimit-Policy: "burst";q=10;w=1
//! RateLimit: "burst";r=5;t=1
//! ```
//!
//! `q` requests in `w` seconds; `r` requests are available now, `t` seconds "until additional
//! quota associated with the quota policy is made available". `r` may be above `q`, where a
//! plan's burst is larger than what one window gives. Names need no escape: the catalog admits
//! `[a-z0-9._-]` only. Values are appended to the caller's buffer, nothing else is allocated.

use crate::limit::schedule::CompiledLimit;
use crate::limit::shard::Standing;

/// The largest integer of a structured field (RFC 9651, section 3.3.1).
const INTEGER_MAX: u64 = 999_999_999_999_999;

/// Appends the value of `RateLimit-Policy`: the limits of a plan.
pub fn append_policy(out: &mut Vec<u8>, limits: &[CompiledLimit]) {
    for (index, limit) in limits.iter().enumerate() {
        append_name(out, index, &limit.name);
        append_parameter(out, b";q=", limit.quota);
        append_parameter(out, b";w=", limit.window_s);
    }
}

/// Appends the value of `RateLimit`: where the limits of a plan stand, in the same order.
pub fn append_standings(
    out: &mut Vec<u8>,
    limits: &[CompiledLimit],
    standings: impl IntoIterator<Item = Standing>,
) {
    for (index, (limit, standing)) in limits.iter().zip(standings).enumerate() {
        append_name(out, index, &limit.name);
        append_parameter(out, b";r=", standing.remaining);
        append_parameter(out, b";t=", standing.reset_s);
    }
}

/// The value of `Retry-After` for a wait: whole seconds, rounded up, at least 1.
pub fn retry_after_s(retry_after_ns: u64) -> u32 {
    u32::try_from(retry_after_ns.div_ceil(1_000_000_000))
        .unwrap_or(u32::MAX)
        .max(1)
}

fn append_name(out: &mut Vec<u8>, index: usize, name: &str) {
    if index > 0 {
        out.extend_from_slice(b", ");
    }
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
    use crate::limit::model::{entry, limit};

    fn text(fill: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        fill(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_policy_lists_every_limit_of_the_plan() {
        let limits = [limit(1, 10, 1_000, 20), limit(2, 5_000, 3_600_000, 100)];
        assert_eq!(
            text(|out| append_policy(out, &limits)),
            r#""limit-1";q=10;w=1, "limit-2";q=5000;w=3600"#
        );
    }

    #[test]
    fn the_standings_follow_the_order_of_the_policy() {
        let limits = [limit(1, 10, 1_000, 20), limit(2, 5_000, 3_600_000, 100)];
        let standings = [
            Standing {
                limit: 10,
                remaining: 5,
                reset_s: 1,
            },
            Standing {
                limit: 5_000,
                remaining: 0,
                reset_s: 37,
            },
        ];
        assert_eq!(
            text(|out| append_standings(out, &limits, standings)),
            r#""limit-1";r=5;t=1, "limit-2";r=0;t=37"#
        );
    }

    #[test]
    fn a_plan_without_limits_has_nothing_to_say() {
        assert_eq!(text(|out| append_policy(out, &[])), "");
    }

    #[test]
    fn an_integer_stays_within_fifteen_digits() {
        let huge = entry(1, 16_000_000_000_000_000, 1_000_000_000, 1);
        let limits = [CompiledLimit::new(&huge).unwrap()];
        assert_eq!(
            text(|out| append_policy(out, &limits)),
            r#""limit-1";q=999999999999999;w=1000000"#
        );
    }

    #[test]
    fn values_are_appended_within_the_room_there_is() {
        let limits = [limit(1, 10, 1_000, 20)];
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(b"RateLimit-Policy: ");
        let before = out.as_ptr();
        append_policy(&mut out, &limits);
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
