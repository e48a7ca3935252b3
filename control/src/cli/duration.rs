//! Spans of time as people type them: `90s`, `15m`, `24h`, `30d`.

/// Reads a span; answers seconds.
pub(super) fn seconds(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is no span of time; write 90s, 15m, 24h or 30d");
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (count, unit) = text.split_at(unit_at);
    let unit_s: u32 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let count: u32 = count.parse().map_err(|_| wrong())?;
    count.checked_mul(unit_s).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn a_span_is_a_count_and_a_unit() {
        for (text, expected) in [
            ("90s", Some(90)),
            ("15m", Some(900)),
            ("24h", Some(86_400)),
            ("30d", Some(2_592_000)),
            ("0s", Some(0)),
            ("", None),
            ("90", None),
            ("h", None),
            ("1w", None),
            ("-1s", None),
            ("99999999999d", None),
            ("4294967295d", None),
        ] {
            assert_eq!(seconds(text).ok(), expected, "{text:?}");
        }
    }
}
