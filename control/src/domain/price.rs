//! What a plan costs: whole numbers of millionths of a currency's unit, so that no sum is ever
//! rounded but where it says so.

use super::Invalid;
use serde::{Deserialize, Serialize};

const MIB: u128 = 1 << 20;
/// Most of any price: a billion units.
const MICRO_MAX: u64 = 1_000_000_000_000_000;

/// A price as the store keeps it, and as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Three letters, as in ISO 4217.
    pub currency: String,
    /// For each subscription and calendar month (UTC) that begins in the period, in millionths.
    #[serde(default)]
    pub base_micro: u64,
    /// Requests of each such month that the base pays for.
    #[serde(default)]
    pub included_requests: u64,
    /// For each further request that counts, in millionths.
    #[serde(default)]
    pub per_request_micro: u64,
    /// For each MiB to clients, in millionths; the amount of all bytes together is rounded down.
    #[serde(default)]
    pub per_mib_out_micro: u64,
}

impl Price {
    /// Checks what the types do not say.
    pub fn check(&self) -> Result<(), Invalid> {
        let letters = |text: &str| text.bytes().all(|byte| byte.is_ascii_uppercase());
        if self.currency.len() != 3 || !letters(&self.currency) {
            return Err(Invalid::at(
                "currency",
                "three capital letters, such as EUR",
            ));
        }
        for (field, micro) in [
            ("base_micro", self.base_micro),
            ("per_request_micro", self.per_request_micro),
            ("per_mib_out_micro", self.per_mib_out_micro),
        ] {
            if micro > MICRO_MAX {
                return Err(Invalid::at(field, format!("at most {MICRO_MAX}")));
            }
        }
        Ok(())
    }

    /// What so much usage over so many months costs, in millionths.
    pub fn amount_micro(&self, months: u32, requests: u64, bytes_out: u64) -> u128 {
        let months = u128::from(months);
        let included = u128::from(self.included_requests) * months;
        let further = u128::from(requests).saturating_sub(included);
        let base = u128::from(self.base_micro) * months;
        let of_requests = further * u128::from(self.per_request_micro);
        let of_bytes = u128::from(bytes_out) * u128::from(self.per_mib_out_micro) / MIB;
        base + of_requests + of_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn price() -> Price {
        Price {
            currency: "EUR".into(),
            base_micro: 10_000_000,
            included_requests: 1_000,
            per_request_micro: 50,
            per_mib_out_micro: 3,
        }
    }

    #[test]
    fn the_base_pays_for_the_included_requests() {
        assert_eq!(price().amount_micro(1, 1_000, 0), 10_000_000);
        assert_eq!(price().amount_micro(1, 1_001, 0), 10_000_050);
        assert_eq!(price().amount_micro(2, 1_500, 0), 20_000_000);
        assert_eq!(price().amount_micro(0, 2, 0), 100);
    }

    #[test]
    fn bytes_are_rounded_down_once() {
        assert_eq!(price().amount_micro(0, 0, 349_525), 0);
        assert_eq!(price().amount_micro(0, 0, 349_526), 1);
        assert_eq!(price().amount_micro(0, 0, 1 << 20), 3);
    }

    #[test]
    fn a_price_that_makes_no_sense_says_where() {
        let told = |price: Price| price.check().expect_err("makes no sense").path;
        let euro = Price {
            currency: "euro".into(),
            ..price()
        };
        assert_eq!(told(euro), "currency");
        let dear = Price {
            base_micro: u64::MAX,
            ..price()
        };
        assert_eq!(told(dear), "base_micro");
    }

    proptest! {
        #[test]
        fn no_usage_overflows(months: u32, requests: u64, bytes: u64) {
            let dear = Price {
                base_micro: MICRO_MAX,
                per_request_micro: MICRO_MAX,
                per_mib_out_micro: MICRO_MAX,
                ..price()
            };
            let more = dear.amount_micro(months, requests, bytes);
            prop_assert!(more >= price().amount_micro(months, requests, bytes));
        }
    }
}
