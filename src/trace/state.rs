//! `tracestate`: what other tracing systems keep in a trace (W3C Trace Context, level 1, section
//! 3.3). The gateway adds nothing to it; it passes on what is valid, within a bound.
//!
//! In: the values of all its field lines in order. Out: one value, appended. A list that is not to
//! the letter is dropped whole: "If the vendor failed to parse tracestate, it MUST discard the
//! tracestate."

/// Most members of a list.
const MEMBERS_MAX: usize = 32;

/// Most bytes that pass: "Vendors SHOULD propagate at least 512 characters of a combined header."
const BYTES_MAX: usize = 512;

/// "Entries larger than 128 characters long SHOULD be removed first."
const LARGE_BYTES: usize = 128;

const KEY_BYTES_MAX: usize = 256;
const TENANT_BYTES_MAX: usize = 241;
const SYSTEM_BYTES_MAX: usize = 14;
const VALUE_BYTES_MAX: usize = 256;

/// Appends what passes of a list that came in `lines`; true if there was anything.
pub fn write<'a>(lines: impl Iterator<Item = &'a [u8]> + Clone, out: &mut Vec<u8>) -> bool {
    let members = || {
        let all = lines
            .clone()
            .flat_map(|line| line.split(|&byte| byte == b','));
        // "Empty list members are allowed in tracestate": senders may leave them behind.
        all.map(<[u8]>::trim_ascii).filter(|one| !one.is_empty())
    };
    let (mut count, mut bytes) = (0, 0);
    for member in members() {
        count += 1;
        bytes += member.len() + 1;
        if count > MEMBERS_MAX || !is_member(member) {
            return false;
        }
    }
    let begun = out.len();
    for member in members() {
        if bytes > BYTES_MAX + 1 && member.len() > LARGE_BYTES {
            continue;
        }
        let is_next = out.len() > begun;
        if out.len() - begun + usize::from(is_next) + member.len() > BYTES_MAX {
            break;
        }
        if is_next {
            out.push(b',');
        }
        out.extend_from_slice(member);
    }
    out.len() > begun
}

fn is_member(member: &[u8]) -> bool {
    let Some(equals) = memchr::memchr(b'=', member) else {
        return false;
    };
    is_key(&member[..equals]) && is_value(&member[equals + 1..])
}

fn is_key(key: &[u8]) -> bool {
    match memchr::memchr(b'@', key) {
        None => key.len() <= KEY_BYTES_MAX && starts_lower(key) && is_key_text(key),
        Some(at) => {
            let (tenant, system) = (&key[..at], &key[at + 1..]);
            let begins = tenant
                .first()
                .is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            begins
                && tenant.len() <= TENANT_BYTES_MAX
                && is_key_text(tenant)
                && system.len() <= SYSTEM_BYTES_MAX
                && starts_lower(system)
                && is_key_text(system)
        }
    }
}

fn starts_lower(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_lowercase)
}

fn is_key_text(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'))
}

/// Printable, without `,` and `=`; a blank may stand anywhere but at the end, where it was trimmed.
fn is_value(value: &[u8]) -> bool {
    (1..=VALUE_BYTES_MAX).contains(&value.len())
        && value
            .iter()
            .all(|byte| matches!(byte, 0x20..=0x7e) && !matches!(byte, b',' | b'='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn passed(lines: &[&str]) -> Option<String> {
        let mut out = b"before ".to_vec();
        let some = write(lines.iter().map(|line| line.as_bytes()), &mut out);
        let text = String::from_utf8(out).expect("only printable bytes pass");
        let passed = text.strip_prefix("before ").expect("only appended");
        assert_eq!(some, !passed.is_empty());
        some.then(|| passed.to_owned())
    }

    #[test]
    fn lines_become_one_list_in_their_order() {
        let one = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";
        assert_eq!(passed(&[one]).as_deref(), Some(one));
        assert_eq!(
            passed(&["a=1 , b=2\t", ",", "t1@sys=x y"]).as_deref(),
            Some("a=1,b=2,t1@sys=x y")
        );
        assert_eq!(passed(&[]), None);
        assert_eq!(passed(&["", " , "]), None);
    }

    #[test]
    fn a_list_that_is_not_to_the_letter_is_dropped_whole() {
        for bad in [
            "a",
            "=1",
            "a=",
            "A=1",
            "1a=1",
            "a=1=2",
            "a=\u{e9}",
            "a b=1",
            "a@b@c=1",
            "@b=1",
            "a@=1",
            "a@1=1",
            "a=x\u{7f}",
            "a=\t1",
        ] {
            assert_eq!(passed(&["good=1", bad]), None, "{bad:?}");
        }
        let long = |tenant: usize, system: usize| {
            format!("{}@{}=1", "t".repeat(tenant), "s".repeat(system))
        };
        assert!(passed(&[&long(241, 14)]).is_some());
        assert_eq!(passed(&[&long(242, 14)]), None);
        assert_eq!(passed(&[&long(241, 15)]), None);
        assert!(passed(&[&format!("{}=1", "k".repeat(256))]).is_some());
        assert_eq!(passed(&[&format!("{}=1", "k".repeat(257))]), None);
        assert!(passed(&[&format!("k={}", "v".repeat(256))]).is_some());
        assert_eq!(passed(&[&format!("k={}", "v".repeat(257))]), None);
    }

    #[test]
    fn more_members_than_a_list_may_have_are_none() {
        let list = |count: usize| {
            let members: Vec<_> = (0..count).map(|n| format!("k{n}=v")).collect();
            members.join(",")
        };
        assert_eq!(passed(&[&list(32)]), Some(list(32)));
        assert_eq!(passed(&[&list(33)]), None);
    }

    #[test]
    fn of_a_long_list_large_members_go_first_and_then_the_last_ones() {
        let large = format!("large={}", "v".repeat(130));
        let small = |n: usize| format!("small{n:02}={}", "v".repeat(40));
        let short = format!("{large},a=1");
        assert_eq!(passed(&[&short]), Some(short));
        let members: Vec<_> = (0..12).map(small).collect();
        let kept = passed(&[&large, &members.join(",")]).expect("some pass");
        assert!(kept.len() <= 512 && !kept.contains("large"), "{kept}");
        assert!(members.join(",").starts_with(&kept), "{kept}");
        assert_eq!(kept.split(',').count(), 10);
    }

    proptest! {
        #[test]
        fn whatever_passes_is_valid_bounded_and_passes_again(lines: Vec<Vec<u8>>) {
            let mut once = Vec::new();
            let some = write(lines.iter().map(Vec::as_slice), &mut once);
            prop_assert!(once.len() <= BYTES_MAX);
            let mut twice = Vec::new();
            prop_assert_eq!(write([&once[..]].into_iter(), &mut twice), some);
            prop_assert_eq!(once, twice);
        }

        #[test]
        fn a_valid_list_passes_in_part_and_in_order(
            members in prop::collection::vec("[a-z][a-z0-9_*/-]{0,60}=[!-+--<>-~]{1,150}", 1..33),
        ) {
            let list = members.join(",");
            let mut out = Vec::new();
            write([list.as_bytes()].into_iter(), &mut out);
            prop_assert!(out.len() <= BYTES_MAX);
            let kept = String::from_utf8(out).expect("printable");
            let mut left = members.iter();
            for one in kept.split(',').filter(|one| !one.is_empty()) {
                prop_assert!(left.any(|member| member == one), "{} is out of place", one);
            }
            if list.len() <= BYTES_MAX {
                prop_assert_eq!(kept, list);
            }
        }
    }
}
