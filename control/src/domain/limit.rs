//! Limits: how much a caller may have of a plan, and how much an API gives.

use super::{Invalid, LimitNumber, Name};
use keyway::limit::CompiledLimit;
use keyway::snapshot::catalog::{CalendarUnit, LimitEntry, LimitShape, LimitSubject, LimitUnit};
use serde::{Deserialize, Serialize};

/// Most limits of one plan or API: each costs every request under it a hold.
const LIMITS_MAX: usize = 8;
/// Most units of one rate, per period and at once.
const RATE_MAX: u64 = 1_000_000_000;

/// A limit as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Stable over the life of its name within the plan, so that a changed rate keeps counting.
    pub number: LimitNumber,
    /// What it is.
    #[serde(flatten)]
    pub spec: LimitSpec,
}

/// The period of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// 1 s.
    Second,
    /// 60 s.
    Minute,
    /// 3600 s.
    Hour,
}

impl Period {
    /// Length in milliseconds.
    pub const fn millis(self) -> u64 {
        match self {
            Self::Second => 1_000,
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
        }
    }

    /// The word as written everywhere.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
        }
    }
}

/// How a limit counts, in the words of people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// So many units a period, and a burst at once.
    Rate {
        /// Units per period, 1 to 10^9.
        units: u64,
        /// The period.
        per: Period,
        /// Units that may come at once, 1 to 10^9.
        burst: u64,
    },
    /// So many units a window of the calendar.
    Quota {
        /// Units per window.
        units: u64,
        /// The window.
        window: CalendarUnit,
        /// Time zone of the windows.
        zone: String,
    },
    /// So many requests at the same time.
    Concurrent(u32),
}

/// What a person says a limit is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawLimit", into = "RawLimit")]
pub struct LimitSpec {
    /// Unique within the plan or API; shown in `RateLimit-Policy`.
    pub name: Name,
    /// Whose requests are counted together.
    pub subject: LimitSubject,
    /// What is counted.
    pub unit: LimitUnit,
    /// How.
    pub shape: Shape,
    /// It only watches.
    pub shadow: bool,
}

/// A limit as written: an amount (`requests`, `bytes_in` or `bytes_out`) with `per` or `calendar`,
/// or `concurrent` alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RawLimit {
    /// Unique within the plan or API.
    pub name: String,
    /// Whose requests are counted together: `key`, `app`, `tenant`, `api` or `address`. Default: `key`;
    /// requests without a key share one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub subject: LimitSubject,
    /// Requests per period or window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Bytes from clients per period or window, heads included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_in: Option<u64>,
    /// Bytes to clients per period or window, heads included; counted at the end of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
    /// Requests at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
    /// A rate: `second`, `minute` or `hour`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<Period>,
    /// Of a rate, units that may come at once. Default: those of a period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// A quota: `hour`, `day` or `month` of the calendar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<CalendarUnit>,
    /// Time zone of the calendar, such as `Europe/Berlin`. Default: `UTC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// It refuses nobody: what it would have refused is counted in the metrics. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
}

impl LimitSpec {
    /// The limit as the nodes see it.
    pub fn entry(&self, number: LimitNumber) -> LimitEntry {
        LimitEntry {
            number: number.0,
            name: self.name.to_string(),
            subject: self.subject,
            unit: self.unit,
            shape: match &self.shape {
                Shape::Rate { units, per, burst } => LimitShape::Rate {
                    units: *units,
                    period_ms: per.millis(),
                    burst: *burst,
                },
                Shape::Quota {
                    units,
                    window,
                    zone,
                } => LimitShape::Quota {
                    units: *units,
                    window: *window,
                    zone: zone.clone(),
                },
                Shape::Concurrent(requests) => LimitShape::Concurrent {
                    requests: *requests,
                },
            },
            shadow: self.shadow,
        }
    }
}

impl From<LimitSpec> for RawLimit {
    fn from(spec: LimitSpec) -> Self {
        let mut raw = Self {
            name: spec.name.to_string(),
            subject: spec.subject,
            shadow: spec.shadow,
            ..Self::default()
        };
        let units = match spec.shape {
            Shape::Rate { units, per, burst } => {
                (raw.per, raw.burst) = (Some(per), Some(burst));
                units
            }
            Shape::Quota {
                units,
                window,
                zone,
            } => {
                (raw.calendar, raw.zone) = (Some(window), Some(zone));
                units
            }
            Shape::Concurrent(requests) => {
                raw.concurrent = Some(requests);
                return raw;
            }
        };
        match spec.unit {
            LimitUnit::Requests => raw.requests = Some(units),
            LimitUnit::BytesIn => raw.bytes_in = Some(units),
            LimitUnit::BytesOut => raw.bytes_out = Some(units),
        }
        raw
    }
}

impl TryFrom<RawLimit> for LimitSpec {
    type Error = Invalid;

    fn try_from(raw: RawLimit) -> Result<Self, Invalid> {
        let (unit, shape) = shape(&raw)?;
        let spec = Self {
            name: raw.name.parse().map_err(|e: Invalid| e.within("name"))?,
            subject: raw.subject,
            unit,
            shape,
            shadow: raw.shadow,
        };
        // What the nodes would refuse is refused here, with the field that is to blame.
        CompiledLimit::new(&spec.entry(LimitNumber(1))).map_err(|error| {
            let text = error.to_string();
            match text.split_once(": ") {
                Some((field, problem)) => Invalid::at(field, problem),
                None => Invalid::value(text),
            }
        })?;
        Ok(spec)
    }
}

/// The unit and the shape; every field that belongs to another shape is refused.
fn shape(raw: &RawLimit) -> Result<(LimitUnit, Shape), Invalid> {
    let amounts = [
        ("requests", raw.requests, LimitUnit::Requests),
        ("bytes_in", raw.bytes_in, LimitUnit::BytesIn),
        ("bytes_out", raw.bytes_out, LimitUnit::BytesOut),
    ];
    let mut written = amounts
        .into_iter()
        .filter_map(|(field, amount, unit)| Some((field, amount?, unit)));
    let Some((field, units, unit)) = written.next() else {
        let others = [
            ("per", raw.per.is_some()),
            ("burst", raw.burst.is_some()),
            ("calendar", raw.calendar.is_some()),
            ("zone", raw.zone.is_some()),
        ];
        return match (raw.concurrent, others.iter().find(|(_, is)| *is)) {
            (Some(requests), None) => {
                let most = keyway::snapshot::catalog::CONCURRENT_MAX;
                within("concurrent", requests.into(), most.into())?;
                Ok((LimitUnit::Requests, Shape::Concurrent(requests)))
            }
            (Some(_), Some((field, _))) => {
                Err(Invalid::at(*field, "does not go with `concurrent`"))
            }
            (None, _) => Err(Invalid::at(
                "requests",
                "write `requests`, `bytes_in`, `bytes_out` or `concurrent`",
            )),
        };
    };
    if let Some((second, ..)) = written.next() {
        let problem = format!("does not go with `{field}`; write two limits");
        return Err(Invalid::at(second, problem));
    }
    if raw.concurrent.is_some() {
        let problem = format!("does not go with `{field}`; write two limits");
        return Err(Invalid::at("concurrent", problem));
    }
    let shape = match (raw.per, raw.calendar) {
        (Some(per), None) => rate(raw, field, units, per)?,
        (None, Some(window)) => quota(raw, units, window)?,
        (Some(_), Some(_)) => {
            let problem = "does not go with `per`: a rate has `per`, a quota has `calendar`";
            return Err(Invalid::at("calendar", problem));
        }
        (None, None) => {
            let problem = "write `per: second, minute or hour` for a rate, or \
                `calendar: hour, day or month` for a quota";
            return Err(Invalid::at("per", problem));
        }
    };
    Ok((unit, shape))
}

fn rate(raw: &RawLimit, field: &str, units: u64, per: Period) -> Result<Shape, Invalid> {
    if raw.zone.is_some() {
        return Err(Invalid::at("zone", "goes with `calendar` only"));
    }
    let burst = raw.burst.unwrap_or(units);
    within(field, units, RATE_MAX)?;
    within("burst", burst, RATE_MAX)?;
    Ok(Shape::Rate { units, per, burst })
}

fn quota(raw: &RawLimit, units: u64, window: CalendarUnit) -> Result<Shape, Invalid> {
    if raw.burst.is_some() {
        let problem = "goes with `per` only: all of a quota may come at once";
        return Err(Invalid::at("burst", problem));
    }
    let (field, most) = match raw.requests {
        Some(_) => ("requests", keyway::snapshot::catalog::QUOTA_MAX),
        None => ("bytes", keyway::snapshot::catalog::QUOTA_BYTES_MAX),
    };
    within(field, units, most)?;
    Ok(Shape::Quota {
        units,
        window,
        zone: raw.zone.clone().unwrap_or_else(|| "UTC".to_owned()),
    })
}

fn within(field: &str, value: u64, most: u64) -> Result<(), Invalid> {
    if (1..=most).contains(&value) {
        Ok(())
    } else {
        Err(Invalid::at(field, format!("from 1 to {most}")))
    }
}

fn is_default(subject: &LimitSubject) -> bool {
    *subject == LimitSubject::default()
}

/// Checks the limits of one plan or API.
pub(super) fn limits(raw: Vec<RawLimit>) -> Result<Vec<LimitSpec>, Invalid> {
    if raw.len() > LIMITS_MAX {
        let problem = format!("at most {LIMITS_MAX} limits");
        return Err(Invalid::at("limits", problem));
    }
    let mut limits: Vec<LimitSpec> = Vec::with_capacity(raw.len());
    for (index, raw) in raw.into_iter().enumerate() {
        let at = format!("limits[{index}]");
        let limit = LimitSpec::try_from(raw).map_err(|e| e.within(&at))?;
        if limits.iter().any(|earlier| earlier.name == limit.name) {
            return Err(Invalid::at(at, "a limit of this name stands above"));
        }
        limits.push(limit);
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(mut written: Value) -> Result<LimitSpec, String> {
        written["name"] = "n".into();
        let raw: RawLimit = serde_json::from_value(written).map_err(|e| e.to_string())?;
        raw.try_into().map_err(|e: Invalid| e.to_string())
    }

    #[test]
    fn each_form_reads_back_as_it_was_written() {
        for written in [
            json!({ "requests": 10, "per": "second" }),
            json!({ "bytes_out": 1_000_000, "per": "minute", "burst": 5, "subject": "tenant" }),
            json!({ "requests": 10, "calendar": "month", "shadow": true }),
            json!({ "bytes_in": 10_000, "calendar": "day", "zone": "Europe/Berlin" }),
            json!({ "concurrent": 3, "subject": "address" }),
        ] {
            let spec = read(written).expect("well-formed");
            let text = serde_json::to_string(&spec).expect("serializes");
            assert_eq!(serde_json::from_str::<LimitSpec>(&text).ok(), Some(spec));
        }
    }

    #[test]
    fn a_limit_of_an_older_version_still_reads() {
        let text = r#"{"name":"burst","requests":10,"per":"second","burst":20}"#;
        let spec: LimitSpec = serde_json::from_str(text).expect("reads");
        assert_eq!(spec.subject, LimitSubject::Key);
    }

    #[test]
    fn what_makes_no_sense_is_refused_at_its_field() {
        for (written, field) in [
            (json!({}), "requests: "),
            (json!({ "requests": 1 }), "per: "),
            (json!({ "requests": 0, "per": "second" }), "requests: "),
            (
                json!({ "requests": 1, "per": "second", "burst": 0 }),
                "burst: ",
            ),
            (
                json!({ "requests": 1, "per": "second", "zone": "UTC" }),
                "zone: ",
            ),
            (
                json!({ "requests": 1, "per": "hour", "calendar": "hour" }),
                "calendar: ",
            ),
            (
                json!({ "requests": 1, "calendar": "day", "burst": 2 }),
                "burst: ",
            ),
            (
                json!({ "requests": 1, "calendar": "day", "zone": "Moon" }),
                "zone: ",
            ),
            (
                json!({ "requests": 1, "bytes_in": 1, "per": "hour" }),
                "bytes_in: ",
            ),
            (
                json!({ "requests": 1, "concurrent": 1, "per": "hour" }),
                "concurrent: ",
            ),
            (json!({ "concurrent": 0 }), "concurrent: "),
            (json!({ "concurrent": 1, "per": "hour" }), "per: "),
            (
                json!({ "bytes_out": 1_000_000_001, "per": "hour" }),
                "bytes_out: ",
            ),
        ] {
            let told = read(written.clone()).expect_err("makes no sense");
            assert!(told.starts_with(field), "{written}: {told}");
        }
    }
}
