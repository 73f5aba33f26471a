//! The plain z of one value against the last day or so.
//!
//! A single series is judged better by what it has ever done ([`crate::novelty`]). Where dozens of
//! metrics of one machine are judged together, a simple yardstick that forgets at the same pace for all of
//! them is what makes their evidence addable. Mean and variance are exponentially weighted in event time,
//! after Finch, "Incremental calculation of weighted mean and variance" (2009), and plain averages until
//! there is enough time to forget.

use serde::{Deserialize, Serialize};

/// Points before the first verdict.
const FIRST: u32 = 30;
/// Beyond this a z says no more.
pub const FARTHEST: f64 = 50.0;

/// Rolling mean and variance of one series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rolling {
    mean: f64,
    variance: f64,
    count: u32,
}

impl Rolling {
    /// `|value - mean| / deviation`, at most [`FARTHEST`], before `value` is learned; 0 while there are too few points.
    /// A series that stood still is [`FARTHEST`] away with its first change.
    #[must_use]
    pub fn z(&self, value: f64) -> f64 {
        let distance = (value - self.mean).abs();
        let deviation = self.variance.max(0.0).sqrt();
        if self.count < FIRST || distance <= 1e-9 * self.mean.abs() {
            0.0
        } else if deviation > 0.0 {
            (distance / deviation).min(FARTHEST)
        } else {
            FARTHEST
        }
    }

    /// Points taken.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The mean: what is expected.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Takes a finite value, `elapsed` seconds after the one before; `memory` is the time constant in
    /// seconds.
    pub fn learn(&mut self, value: f64, elapsed: f64, memory: f64) {
        self.count = self.count.saturating_add(1);
        let rate = (1.0 / f64::from(self.count)).max(-(-elapsed / memory).exp_m1());
        let delta = value - self.mean;
        self.mean += rate * delta;
        self.variance = (1.0 - rate) * (self.variance + rate * delta * delta);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(values: impl Iterator<Item = f64>) -> Rolling {
        let mut rolling = Rolling::default();
        values.for_each(|v| rolling.learn(v, 60.0, 86_400.0));
        rolling
    }

    #[test]
    fn is_the_textbook_z_as_long_as_nothing_is_forgotten() {
        let rolling = after((0..100).map(|i| f64::from(i % 2)));
        assert!((rolling.z(3.0) - 5.0).abs() < 1e-9, "{}", rolling.z(3.0));
        assert!(rolling.z(0.5).abs() < 1e-9);
    }

    #[test]
    fn forgets_at_the_pace_of_event_time() {
        let mut rolling = after((0..1_000).map(|i| f64::from(i % 2)));
        (0..1_000).for_each(|i| rolling.learn(10.0 + f64::from(i % 2), 3_600.0, 86_400.0));
        assert!(rolling.z(11.0) < 1.5 && rolling.z(0.0) > 15.0);
    }

    #[test]
    fn the_first_change_of_a_still_series_is_far_but_finite() {
        let rolling = after(std::iter::repeat_n(2.0, 50));
        assert!((rolling.z(2.1) - FARTHEST).abs() < 1e-9 && rolling.z(2.0).abs() < 1e-9);
        assert!(after(std::iter::repeat_n(2.0, 5)).z(9.0).abs() < 1e-9, "too few points");
    }
}
