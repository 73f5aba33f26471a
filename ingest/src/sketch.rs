//! Quantiles of durations within a bucket: a log-scaled histogram with a fixed relative error.
//!
//! After Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with
//! relative-error guarantees" (2019). The range of durations is bounded, so the size is as well.

use std::collections::BTreeMap;

/// Relative error of a quantile.
pub(crate) const RELATIVE_ERROR: f64 = 0.01;
/// Durations are cut to this range, in seconds: a nanosecond to eleven days.
const RANGE: (f64, f64) = (1e-9, 1e6);

/// A histogram of positive numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sketch {
    /// Count of values in (gamma^(i-1), gamma^i], by i; at most about 1,730 entries.
    buckets: BTreeMap<i16, u32>,
    count: u64,
}

fn log_gamma() -> f64 {
    ((1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR)).ln()
}

impl Sketch {
    /// Adds one value; values outside the range count as its nearest end.
    pub(crate) fn add(&mut self, value: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "the range gives indices between -1,037 and 691")]
        let index = (value.clamp(RANGE.0, RANGE.1).ln() / log_gamma()).ceil() as i16;
        *self.buckets.entry(index).or_default() += 1;
        self.count += 1;
    }

    /// How many values were added.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The `rank` quantile, within [`RELATIVE_ERROR`]; `None` when empty.
    pub(crate) fn quantile(&self, rank: f64) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "counts of one bucket are far below 2^52")]
        let position = rank * self.count.checked_sub(1)? as f64;
        let mut below = 0.0;
        for (index, count) in &self.buckets {
            below += f64::from(*count);
            if below > position {
                let gamma = log_gamma().exp();
                return Some(2.0 * (f64::from(*index) * log_gamma()).exp() / (gamma + 1.0));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_the_promised_error() {
        let mut sketch = Sketch::default();
        let mut values: Vec<f64> = (1..=1_000).map(|i| (f64::from(i) * 0.37).sin().abs() * 2.0 + 1e-3).collect();
        values.iter().for_each(|v| sketch.add(*v));
        values.sort_unstable_by(f64::total_cmp);
        for (rank, exact) in [(0.5, values[499]), (0.95, values[949]), (0.99, values[989])] {
            let got = sketch.quantile(rank).expect("has values");
            assert!((got / exact - 1.0).abs() < 2.0 * RELATIVE_ERROR, "{rank}: {got} for {exact}");
        }
    }

    #[test]
    fn extremes_are_cut_and_nothing_has_no_quantile() {
        assert_eq!(Sketch::default().quantile(0.5), None);
        let mut sketch = Sketch::default();
        [0.0, -1.0, f64::INFINITY].into_iter().for_each(|v| sketch.add(v));
        assert_eq!(sketch.count(), 3);
        assert!(sketch.quantile(1.0).expect("has values") <= 1.02e6);
    }
}
