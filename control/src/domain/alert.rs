//! Alert rules: what is watched, of whom, and from where on somebody is told.

use super::{Invalid, Name};
use keyway::record::counters::REFUSALS;
use keyway::snapshot::catalog::SampleShare;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Requests that a share needs to mean anything, unless a rule says otherwise.
const REQUESTS_MIN: u64 = 20;
/// Minutes that a rule looks back, unless it says otherwise.
const WINDOW_MINUTES: u32 = 5;
/// Most of them: a day.
const WINDOW_MINUTES_MAX: u32 = 1_440;
/// Per cent of a quota that a rule tells of, unless it says otherwise.
const PERCENTS: [u32; 2] = [80, 100];
/// Most per cent of a quota: limits that only watch are passed.
const PERCENT_MAX: u32 = 1_000;
/// Keys that a rule may disable within an hour, unless it says otherwise.
const DISABLE_MAX: u32 = 10;
/// Most levels of a quota, and most webhooks of a rule.
const LIST_MAX: usize = 10;

/// What a rule watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Watched {
    /// Requests answered with 5xx.
    Errors,
    /// Requests that the gateway refused.
    Refusals,
    /// Requests refused with 401: no key, a wrong one, one that is revoked or has expired.
    Unauthorized,
    /// How much of the calendar quotas of plans and APIs is used.
    Quota,
}

/// Whose requests a rule counts together.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum CountedBy {
    /// All requests.
    #[default]
    All,
    /// Each key's.
    Key,
    /// Each app's.
    App,
    /// Each tenant's.
    Tenant,
    /// Each API's.
    Api,
    /// Each route's.
    Route,
    /// Each client address's; of `unauthorized` only.
    Address,
}

/// From where on a count is too much: both bounds, where both are said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// More requests than this.
    pub above: Option<u64>,
    /// A larger share of all requests of the subject than this.
    pub above_share: Option<SampleShare>,
    /// The subject has at least as many requests.
    pub requests_min: u64,
}

/// When a rule goes off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A count of the last minutes is too much.
    Count {
        /// Of what; never a quota.
        watched: Watched,
        /// Only refusals with this label.
        cause: Option<&'static str>,
        /// Whose.
        by: CountedBy,
        /// From where on.
        bound: Bound,
        /// How many minutes, the running one included.
        window_minutes: u32,
    },
    /// A calendar quota is used up to one of these per cents, which grow.
    Quota(Vec<u32>),
}

/// What a person says an alert rule is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawAlertRule", into = "RawAlertRule")]
pub struct AlertRuleSpec {
    /// Unique name.
    pub name: Name,
    /// When it goes off.
    pub condition: Condition,
    /// Who is told, in the order of names, none twice.
    pub webhooks: Vec<Name>,
    /// It disables the key that it went off for, but no more keys than this within an hour.
    pub disable_keys_max: Option<u32>,
}

/// An alert rule as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RawAlertRule {
    /// Unique name.
    pub name: String,
    /// `errors` (5xx), `refusals`, `unauthorized` (401) or `quota`.
    pub when: Watched,
    /// Of `refusals`: only those for this cause, as metrics and the call log name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Whose requests are counted together: `key`, `app`, `tenant`, `api`, `route`, `all`, or of
    /// `unauthorized` also `address`. Default: `all`. A quota has its own subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<CountedBy>,
    /// More requests than this within the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<u64>,
    /// A larger share than this, 0 to 1, of all requests of the subject within the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub above_share: Option<SampleShare>,
    /// With `above_share`: only if the subject has at least as many requests. Default: 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_min: Option<u64>,
    /// The last so many minutes, 1 to 1440. Default: 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_minutes: Option<u32>,
    /// Of `quota`: told at each of these. Default: 80 and 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percents: Option<Vec<u32>>,
    /// Names of webhooks that are told. Default: none; alerts are listed in any case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<String>,
    /// With `by: key`: disable the key. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disable_key: bool,
    /// With `disable_key`: no more keys than this within an hour, the rest is only told of.
    /// Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_max: Option<u32>,
}

impl TryFrom<RawAlertRule> for AlertRuleSpec {
    type Error = Invalid;

    fn try_from(raw: RawAlertRule) -> Result<Self, Invalid> {
        let condition = match raw.when {
            Watched::Quota => quota(&raw)?,
            watched => count(watched, &raw)?,
        };
        if raw.webhooks.len() > LIST_MAX {
            let problem = format!("a rule tells at most {LIST_MAX} webhooks");
            return Err(Invalid::at("webhooks", problem));
        }
        let mut webhooks = BTreeSet::new();
        for (index, text) in raw.webhooks.iter().enumerate() {
            let at = format!("webhooks[{index}]");
            let name: Name = text.parse().map_err(|e: Invalid| e.within(&at))?;
            if !webhooks.insert(name) {
                return Err(Invalid::at(at, "this webhook stands twice"));
            }
        }
        let disable_keys_max = match (raw.disable_key, raw.disable_max) {
            (true, _) if raw.by != Some(CountedBy::Key) => {
                return Err(Invalid::at("disable_key", "goes with `by: key`"));
            }
            (true, Some(0)) => return Err(Invalid::at("disable_max", "at least 1")),
            (true, most) => Some(most.unwrap_or(DISABLE_MAX)),
            (false, Some(_)) => return Err(Invalid::at("disable_max", "goes with `disable_key`")),
            (false, None) => None,
        };
        let name = raw.name.parse().map_err(|e: Invalid| e.within("name"))?;
        Ok(Self {
            name,
            condition,
            webhooks: webhooks.into_iter().collect(),
            disable_keys_max,
        })
    }
}

fn count(watched: Watched, raw: &RawAlertRule) -> Result<Condition, Invalid> {
    if raw.percents.is_some() {
        return Err(Invalid::at("percents", "goes with `when: quota`"));
    }
    let by = raw.by.unwrap_or_default();
    if by == CountedBy::Address && watched != Watched::Unauthorized {
        let problem = "addresses are counted for `when: unauthorized` only";
        return Err(Invalid::at("by", problem));
    }
    if by == CountedBy::Address && raw.above_share.is_some() {
        let problem = "of an address only refusals are counted; say `above`";
        return Err(Invalid::at("above_share", problem));
    }
    if raw.above.is_none() && raw.above_share.is_none() {
        return Err(Invalid::at("above", "say `above`, `above_share` or both"));
    }
    if raw.above_share.is_some_and(|share| !share.is_possible()) {
        return Err(Invalid::at("above_share", "from 0 to 1, such as 0.05"));
    }
    if raw.above_share.is_none() && raw.requests_min.is_some() {
        return Err(Invalid::at("requests_min", "goes with `above_share`"));
    }
    let window_minutes = raw.window_minutes.unwrap_or(WINDOW_MINUTES);
    if !(1..=WINDOW_MINUTES_MAX).contains(&window_minutes) {
        let problem = format!("from 1 to {WINDOW_MINUTES_MAX}");
        return Err(Invalid::at("window_minutes", problem));
    }
    Ok(Condition::Count {
        watched,
        cause: cause(watched, raw.cause.as_deref())?,
        by,
        bound: Bound {
            above: raw.above,
            above_share: raw.above_share,
            requests_min: raw.requests_min.unwrap_or(match raw.above_share {
                Some(_) => REQUESTS_MIN,
                None => 0,
            }),
        },
        window_minutes,
    })
}

fn cause(watched: Watched, text: Option<&str>) -> Result<Option<&'static str>, Invalid> {
    let Some(text) = text else { return Ok(None) };
    if watched != Watched::Refusals {
        return Err(Invalid::at("cause", "goes with `when: refusals`"));
    }
    let labels: BTreeSet<&'static str> = REFUSALS.iter().map(|r| r.face().label).collect();
    labels.get(text).map(|label| Some(*label)).ok_or_else(|| {
        let labels: Vec<&str> = labels.iter().copied().collect();
        Invalid::at("cause", format!("one of {}", labels.join(", ")))
    })
}

fn quota(raw: &RawAlertRule) -> Result<Condition, Invalid> {
    let strange = [
        ("cause", raw.cause.is_some()),
        ("by", raw.by.is_some()),
        ("above", raw.above.is_some()),
        ("above_share", raw.above_share.is_some()),
        ("requests_min", raw.requests_min.is_some()),
        ("window_minutes", raw.window_minutes.is_some()),
    ];
    if let Some((field, _)) = strange.into_iter().find(|(_, said)| *said) {
        let problem = "a quota has its own subject, amount and window; say `percents`";
        return Err(Invalid::at(field, problem));
    }
    let percents = raw.percents.clone().unwrap_or_else(|| PERCENTS.to_vec());
    let grows = percents.is_sorted_by(|a, b| a < b);
    let fits = percents.iter().all(|p| (1..=PERCENT_MAX).contains(p));
    if percents.is_empty() || percents.len() > LIST_MAX || !grows || !fits {
        let problem =
            format!("1 to {LIST_MAX} numbers from 1 to {PERCENT_MAX}, each above the last");
        return Err(Invalid::at("percents", problem));
    }
    Ok(Condition::Quota(percents))
}

impl From<AlertRuleSpec> for RawAlertRule {
    fn from(spec: AlertRuleSpec) -> Self {
        let mut raw = Self {
            name: spec.name.to_string(),
            when: Watched::Quota,
            cause: None,
            by: None,
            above: None,
            above_share: None,
            requests_min: None,
            window_minutes: None,
            percents: None,
            webhooks: spec.webhooks.iter().map(ToString::to_string).collect(),
            disable_key: spec.disable_keys_max.is_some(),
            disable_max: spec.disable_keys_max,
        };
        match spec.condition {
            Condition::Quota(percents) => raw.percents = Some(percents),
            Condition::Count {
                watched,
                cause,
                by,
                bound,
                window_minutes,
            } => {
                raw.when = watched;
                raw.cause = cause.map(str::to_owned);
                raw.by = Some(by);
                raw.above = bound.above;
                raw.above_share = bound.above_share;
                raw.requests_min = bound.above_share.map(|_| bound.requests_min);
                raw.window_minutes = Some(window_minutes);
            }
        }
        raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(rule: Value) -> Result<AlertRuleSpec, String> {
        let raw: RawAlertRule = serde_json::from_value(rule).expect("well-formed");
        AlertRuleSpec::try_from(raw).map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn a_rule_survives_being_written_and_read() {
        for rule in [
            json!({ "name": "a", "when": "errors", "by": "api", "above_share": 0.005 }),
            json!({ "name": "a", "when": "refusals", "cause": "limit", "above": 10 }),
            json!({ "name": "a", "when": "unauthorized", "by": "address", "above": 100,
                "window_minutes": 1, "webhooks": ["ops", "night"] }),
            json!({ "name": "a", "when": "unauthorized", "by": "key", "above": 5,
                "disable_key": true }),
            json!({ "name": "a", "when": "quota", "percents": [50, 100, 120] }),
        ] {
            let spec = check(rule).expect("sound");
            let written = serde_json::to_value(&spec).expect("writes");
            assert_eq!(serde_json::from_value(written).ok(), Some(spec));
        }
    }

    #[test]
    fn what_means_nothing_is_told_with_its_place() {
        for (rule, place) in [
            (json!({ "when": "errors" }), "above: "),
            (
                json!({ "when": "errors", "above_share": 1.5 }),
                "above_share: ",
            ),
            (
                json!({ "when": "errors", "above": 1, "by": "address" }),
                "by: ",
            ),
            (
                json!({ "when": "errors", "above": 1, "cause": "limit" }),
                "cause: ",
            ),
            (
                json!({ "when": "refusals", "above": 1, "cause": "moon" }),
                "cause: one of ",
            ),
            (
                json!({ "when": "errors", "above": 1, "requests_min": 3 }),
                "requests_min: ",
            ),
            (
                json!({ "when": "errors", "above": 1, "window_minutes": 0 }),
                "window_minutes: ",
            ),
            (
                json!({ "when": "errors", "above": 1, "percents": [80] }),
                "percents: ",
            ),
            (json!({ "when": "quota", "above": 1 }), "above: "),
            (
                json!({ "when": "quota", "percents": [100, 80] }),
                "percents: ",
            ),
            (
                json!({ "when": "errors", "above": 1, "disable_key": true }),
                "disable_key: ",
            ),
            (
                json!({ "when": "errors", "above": 1, "disable_max": 1 }),
                "disable_max: ",
            ),
            (
                json!({ "when": "quota", "webhooks": ["a", "a"] }),
                "webhooks[1]: ",
            ),
        ] {
            let mut named = rule.clone();
            named["name"] = "a".into();
            let told = check(named).expect_err("refused");
            assert!(told.starts_with(place), "{rule}: {told}");
        }
    }
}
