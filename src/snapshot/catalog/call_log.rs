//! What the call log says of the calls of one API, as a catalog writes it.
//!
//! Every field may be left out; an API that says nothing is logged whole, without its query and
//! without headers. Credentials are masked whatever is written here.

use serde::{Deserialize, Serialize};

/// How the calls of an API are logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CallLog {
    /// Its calls are not logged at all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub off: bool,
    /// The share of its calls that is logged, from 0 to 1; absent: the node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<f64>, minimum = 0, maximum = 1))]
    pub sample: Option<SampleShare>,
    /// Refusals, answers of 500 and above and calls without an answer are logged whatever the share
    /// is. Default true.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub errors_always: bool,
    /// The query string is logged, its secrets masked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub query: bool,
    /// Query parameters whose values are masked beside those that always are, in any case. A `*`
    /// at either end stands for any text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mask_query: Vec<String>,
    /// Request headers that are logged, in any case; credentials among them masked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Headers of those whose values are masked beside those that always are, like `mask_query`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mask_headers: Vec<String>,
}

impl Default for CallLog {
    fn default() -> Self {
        Self {
            off: false,
            sample: None,
            errors_always: true,
            query: false,
            mask_query: Vec::new(),
            headers: Vec::new(),
            mask_headers: Vec::new(),
        }
    }
}

impl CallLog {
    /// Nothing is said.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

fn yes() -> bool {
    true
}

fn is_yes(said: &bool) -> bool {
    *said
}

/// A share of calls, written as a number from 0 to 1 and kept in millionths.
///
/// A number outside of that is kept as one that [`SampleShare::is_possible`] denies, so that the
/// check can name its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "f64", into = "f64")]
pub struct SampleShare(u32);

const WHOLE: u32 = 1_000_000;

impl SampleShare {
    /// Every call.
    pub const ALL: Self = Self(WHOLE);

    /// The share in millionths.
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// From 0 to 1.
    pub const fn is_possible(self) -> bool {
        self.0 <= WHOLE
    }
}

impl From<f64> for SampleShare {
    fn from(share: f64) -> Self {
        if !(0.0..=1.0).contains(&share) {
            return Self(u32::MAX);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to a million"
        )]
        Self((share * f64::from(WHOLE)).round() as u32)
    }
}

impl From<SampleShare> for f64 {
    fn from(share: SampleShare) -> Self {
        Self::from(share.0) / Self::from(WHOLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_reads_back_as_it_was_written_and_an_absurd_one_is_known() {
        for (written, possible) in [
            ("0.1", true),
            ("0.000001", true),
            ("0", true),
            ("1", true),
            ("1.0001", false),
            ("-0.1", false),
            ("1e300", false),
        ] {
            let share: SampleShare = serde_json::from_str(written).expect("a number");
            assert_eq!(share.is_possible(), possible, "{written}");
            let again: SampleShare =
                serde_json::from_str(&serde_json::to_string(&share).expect("writes"))
                    .expect("reads");
            assert_eq!(again, share, "{written}");
        }
        let tenth = SampleShare::from(0.1);
        assert_eq!((f64::from(tenth), tenth.millionths()), (0.1, 100_000));
    }

    #[test]
    fn what_is_usual_need_not_be_written() {
        let read: CallLog = serde_json::from_str("{}").expect("reads");
        assert!(read.is_usual());
        assert_eq!(serde_json::to_string(&read).expect("writes"), "{}");
        assert!(serde_json::from_str::<CallLog>(r#"{"of":true}"#).is_err());
    }
}
