//! What the words of [`call_log`](super::super::call_log) must mean: headers that exist, patterns
//! that match something, a share that is one.

use crate::parse::octets::is_token;

use super::super::CallLog;
use super::{At, CatalogError, CatalogProblem, TrafficFault};

/// Most logged headers of an API, and most patterns of one list.
const NAMES_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 64;

/// Checks what an API says of its calls.
pub(super) fn call_log(entry: &CallLog, at: &At<'_>) -> Result<(), CatalogError> {
    if entry.sample.is_some_and(|share| !share.is_possible()) {
        return Err(at.field("sample").fail(CatalogProblem::SampleShare));
    }
    let list = at.field("headers");
    bounded(&entry.headers, &list)?;
    for (place, name) in entry.headers.iter().enumerate() {
        let at = list.item(place);
        if name.len() > NAME_BYTES_MAX || !is_token(name.as_bytes()) {
            return Err(at.fail(CatalogProblem::Header));
        }
        let same = |earlier: &String| earlier.eq_ignore_ascii_case(name);
        if entry.headers[..place].iter().any(same) {
            return Err(at.fail(TrafficFault::Repeated.into()));
        }
    }
    patterns(&entry.mask_query, &at.field("mask_query"))?;
    patterns(&entry.mask_headers, &at.field("mask_headers"))?;
    if entry.headers.is_empty() && !entry.mask_headers.is_empty() {
        return Err(at
            .field("mask_headers")
            .fail(CatalogProblem::MaskOfNothing("headers")));
    }
    if !entry.query && !entry.mask_query.is_empty() {
        return Err(at
            .field("mask_query")
            .fail(CatalogProblem::MaskOfNothing("query")));
    }
    Ok(())
}

fn patterns(patterns: &[String], list: &At<'_>) -> Result<(), CatalogError> {
    bounded(patterns, list)?;
    for (place, pattern) in patterns.iter().enumerate() {
        let text = pattern.strip_prefix('*').unwrap_or(pattern);
        let text = text.strip_suffix('*').unwrap_or(text);
        let bounded = (1..=NAME_BYTES_MAX).contains(&text.len()) || pattern == "*";
        if !bounded
            || !text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'*')
        {
            return Err(list.item(place).fail(CatalogProblem::MaskPattern));
        }
    }
    Ok(())
}

fn bounded(names: &[String], list: &At<'_>) -> Result<(), CatalogError> {
    if names.len() > NAMES_MAX {
        return Err(list.fail(TrafficFault::TooMany(NAMES_MAX).into()));
    }
    Ok(())
}
