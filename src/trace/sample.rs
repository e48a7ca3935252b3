//! Sampling: whether a trace is recorded, decided from its id alone, so that every gateway and
//! every library that goes by the same ratio decides alike.

use super::parent::TraceId;
use std::fmt;

/// The share of traces that are recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SampleRatio {
    /// Of 2^63 equally likely numbers, so many are sampled.
    threshold: u64,
}

/// How many numbers there are.
const ALL: u64 = 1 << 63;

impl SampleRatio {
    /// No trace is recorded.
    pub const NONE: Self = Self { threshold: 0 };

    /// A ratio from 0 to 1; `None` for any other number.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the product lies between 0 and 2^63, and its last bits do not matter"
    )]
    pub fn new(ratio: f64) -> Option<Self> {
        (0.0..=1.0).contains(&ratio).then_some(Self {
            threshold: (ratio * ALL as f64) as u64,
        })
    }

    /// Whether the trace is sampled: `TraceIdRatioBased` of the OpenTelemetry libraries, which goes
    /// by the id's last eight bytes without their lowest bit.
    pub fn takes(self, trace: TraceId) -> bool {
        let bytes = trace.bytes();
        let low = u64::from_be_bytes([
            bytes[8], bytes[9], bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15],
        ]);
        low >> 1 < self.threshold
    }

    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn ratio(self) -> f64 {
        self.threshold as f64 / ALL as f64
    }
}

impl fmt::Display for SampleRatio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ratio().fmt(f)
    }
}

impl fmt::Debug for SampleRatio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ratio().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(low: u64) -> TraceId {
        let mut bytes = [0xff; 16];
        bytes[8..].copy_from_slice(&low.to_be_bytes());
        TraceId::new(bytes).expect("not zero")
    }

    #[test]
    fn none_all_and_a_half() {
        let ratio = |ratio| SampleRatio::new(ratio).expect("a ratio");
        for low in [0, 1, u64::MAX / 2, u64::MAX / 2 + 2, u64::MAX] {
            assert!(!ratio(0.0).takes(id(low)), "{low}");
            assert!(ratio(1.0).takes(id(low)), "{low}");
            assert_eq!(ratio(0.5).takes(id(low)), low <= u64::MAX / 2, "{low}");
        }
        for bad in [-0.1, 1.000_1, f64::NAN, f64::INFINITY] {
            assert_eq!(SampleRatio::new(bad), None);
        }
        assert_eq!(ratio(0.25).to_string(), "0.25");
    }
}
