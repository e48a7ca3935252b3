//! Medians and percentiles of a handful of measured values.

/// The middle value; the mean of the middle two when their number is even. Zero of nothing.
pub fn median(values: &[f64]) -> f64 {
    let sorted = sort(values);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// The smallest value that at least `percent` of the values do not exceed. Zero of nothing.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let sorted = sort(values);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}

fn sort(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_in_the_middle() {
        for (values, expected) in [
            (&[][..], 0.0),
            (&[7.0], 7.0),
            (&[9.0, 1.0, 5.0], 5.0),
            (&[4.0, 1.0, 2.0, 100.0], 3.0),
        ] {
            assert!((median(values) - expected).abs() < 1e-9, "{values:?}");
        }
    }

    #[test]
    fn the_99th_of_200_leaves_two_above() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert!((percentile(&values, 99) - 198.0).abs() < 1e-9);
        assert!((percentile(&values, 100) - 200.0).abs() < 1e-9);
        assert!((percentile(&[3.0], 99) - 3.0).abs() < 1e-9);
    }
}
