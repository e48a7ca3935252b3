//! Plans: which APIs are included, and how much of them.

use super::limit::{self, Limit, LimitSpec, RawLimit};
use super::{Invalid, Name, PlanNumber, Price};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most APIs in one plan.
const APIS_MAX: usize = 1_000;

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
    /// What it costs; none: nothing is billed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
}

impl Plan {
    /// The plan as a person would write it.
    pub fn spec(&self) -> PlanSpec {
        PlanSpec {
            name: self.name.clone(),
            apis: self.apis.clone(),
            limits: self.limits.iter().map(|limit| limit.spec.clone()).collect(),
            price: self.price.clone(),
        }
    }
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
    /// What it costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
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
    /// What it costs, for the export of usage. Default: nothing is billed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
}

impl TryFrom<RawPlan> for PlanSpec {
    type Error = Invalid;

    fn try_from(raw: RawPlan) -> Result<Self, Invalid> {
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
        let limits = limit::limits(raw.limits)?;
        let price = raw.price;
        if let Some(price) = &price {
            price.check().map_err(|e| e.within("price"))?;
        }
        let name = raw.name.parse().map_err(|e: Invalid| e.within("name"))?;
        Ok(Self {
            name,
            apis: apis.into_iter().collect(),
            limits,
            price,
        })
    }
}
