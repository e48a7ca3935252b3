//! Plans: which APIs are included, and how much of them.

use super::{Invalid, LimitNumber, Name, PlanNumber};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most limits of one plan: each costs every request under it a hold.
const LIMITS_MAX: usize = 8;
/// Most APIs in one plan.
const APIS_MAX: usize = 1_000;
/// Most requests of one limit, per period and at once.
const REQUESTS_MAX: u64 = 1_000_000_000;

/// A plan as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Stable number.
    pub number: PlanNumber,
    /// Unique name.
    pub name: Name,
    /// Names of the included APIs, in the order of their names.
    pub apis: Vec<Name>,
    /// Limits in the order written.
    pub limits: Vec<Limit>,
}

impl Plan {
    /// The plan as a person would write it.
    pub fn spec(&self) -> PlanSpec {
        PlanSpec {
            name: self.name.clone(),
            apis: self.apis.clone(),
            limits: self.limits.iter().map(|limit| limit.spec.clone()).collect(),
        }
    }
}

/// A limit as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Stable over the life of its name within the plan, so that a changed rate keeps counting.
    pub number: LimitNumber,
    /// What it is.
    #[serde(flatten)]
    pub spec: LimitSpec,
}

/// The period of a limit.
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

impl std::str::FromStr for Period {
    type Err = super::UnknownWord;

    fn from_str(word: &str) -> Result<Self, super::UnknownWord> {
        match word {
            "second" => Ok(Self::Second),
            "minute" => Ok(Self::Minute),
            "hour" => Ok(Self::Hour),
            _ => Err(super::UnknownWord("second, minute, hour")),
        }
    }
}

/// What a person says a limit is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawLimit")]
pub struct LimitSpec {
    /// Unique within the plan; shown in `RateLimit-Policy`.
    pub name: Name,
    /// Requests per period, 1 to 10^9.
    pub requests: u64,
    /// The period.
    pub per: Period,
    /// Requests that may come at once, 1 to 10^9.
    pub burst: u64,
}

/// What a person says a plan is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawPlan")]
pub struct PlanSpec {
    /// Unique name.
    pub name: Name,
    /// Names of the included APIs, in the order of their names, none twice.
    pub apis: Vec<Name>,
    /// Limits; none twice by name.
    pub limits: Vec<LimitSpec>,
}

/// A limit as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RawLimit {
    /// Unique within the plan.
    pub name: String,
    /// Requests per period.
    pub requests: u64,
    /// `second`, `minute` or `hour`.
    pub per: Period,
    /// Default: `requests`.
    #[serde(default)]
    pub burst: Option<u64>,
}

/// A plan as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RawPlan {
    /// Unique name.
    pub name: String,
    /// Names of APIs.
    #[serde(default)]
    pub apis: Vec<String>,
    /// Limits.
    #[serde(default)]
    pub limits: Vec<RawLimit>,
}

impl TryFrom<RawLimit> for LimitSpec {
    type Error = Invalid;

    fn try_from(raw: RawLimit) -> Result<Self, Invalid> {
        let burst = raw.burst.unwrap_or(raw.requests);
        for (field, value) in [("requests", raw.requests), ("burst", burst)] {
            if !(1..=REQUESTS_MAX).contains(&value) {
                return Err(Invalid::at(field, format!("from 1 to {REQUESTS_MAX}")));
            }
        }
        let name = raw.name.parse().map_err(|e: Invalid| e.within("name"))?;
        Ok(Self {
            name,
            requests: raw.requests,
            per: raw.per,
            burst,
        })
    }
}

impl TryFrom<RawPlan> for PlanSpec {
    type Error = Invalid;

    fn try_from(raw: RawPlan) -> Result<Self, Invalid> {
        if raw.limits.len() > LIMITS_MAX {
            return Err(Invalid::at(
                "limits",
                format!("a plan has at most {LIMITS_MAX} limits"),
            ));
        }
        if raw.apis.len() > APIS_MAX {
            return Err(Invalid::at(
                "apis",
                format!("a plan has at most {APIS_MAX} APIs"),
            ));
        }
        let mut apis = BTreeSet::new();
        for (index, text) in raw.apis.iter().enumerate() {
            let at = format!("apis[{index}]");
            let name: Name = text.parse().map_err(|e: Invalid| e.within(&at))?;
            if !apis.insert(name) {
                return Err(Invalid::at(at, "this API stands twice"));
            }
        }
        let mut limits: Vec<LimitSpec> = Vec::with_capacity(raw.limits.len());
        for (index, raw) in raw.limits.into_iter().enumerate() {
            let at = format!("limits[{index}]");
            let limit = LimitSpec::try_from(raw).map_err(|e| e.within(&at))?;
            if limits.iter().any(|earlier| earlier.name == limit.name) {
                return Err(Invalid::at(at, "a limit of this name stands above"));
            }
            limits.push(limit);
        }
        let name = raw.name.parse().map_err(|e: Invalid| e.within("name"))?;
        Ok(Self {
            name,
            apis: apis.into_iter().collect(),
            limits,
        })
    }
}
