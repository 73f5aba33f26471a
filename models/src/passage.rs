//! When does a series reach a limit? First-passage times of a random walk with drift.
//!
//! A disk fills, a pool empties: the series goes one way, and scatters on its way. It is taken for a Brownian motion
//! with drift, whose time of first passage is known in closed form (the inverse Gaussian distribution: Chhikara
//! and Folks, "The Inverse Gaussian Distribution", 1989), so no path needs to be simulated. The pace is the median of
//! the slopes between all pairs (Theil, 1950; Sen, "Estimates of the regression coefficient based on Kendall's tau",
//! 1968), which a burst does not move, and how far it may be off is carried through to the answer. The volatility is
//! that of changes over four buckets, in which the noise of single ones counts little.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

use crate::exact_quantile;

/// Buckets that are remembered.
pub const BUCKETS: u8 = 48;
/// Buckets before the first answer.
const FIRST: usize = 16;
/// Buckets between two values whose difference tells the volatility.
const LAG: usize = 4;
/// Newest buckets whose median is where the series stands.
const NEWEST: usize = 4;
/// Paces among which an answer is averaged.
const PACES: u32 = 15;
/// Halvings that find a time.
const HALVINGS: u32 = 48;

/// The course of one series: means of buckets of equal length, with their numbers, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Course {
    buckets: VecDeque<(i64, f64)>,
}

/// Where a series stands, how fast it goes and how much it scatters. Time is in buckets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Where it stands.
    pub level: f64,
    /// Change a bucket.
    pub drift: f64,
    /// Standard deviation of the drift.
    pub uncertainty: f64,
    /// Standard deviation of the change within a bucket.
    pub volatility: f64,
}

impl Course {
    /// Takes the finite mean of the bucket number `bucket`, greater than all before. What is older than [`BUCKETS`] is
    /// forgotten.
    pub fn take(&mut self, bucket: i64, mean: f64) {
        self.buckets.push_back((bucket, mean));
        let oldest = bucket.saturating_sub(i64::from(BUCKETS));
        while self.buckets.front().is_some_and(|(b, _)| *b <= oldest) {
            self.buckets.pop_front();
        }
    }

    /// Buckets that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Where it stands and goes; `None` while there are fewer than 16 buckets.
    #[must_use]
    pub fn pace(&self) -> Option<Pace> {
        if self.buckets.len() < FIRST {
            return None;
        }
        let mut slopes = Vec::with_capacity(self.buckets.len() * self.buckets.len() / 2);
        for (i, (t, x)) in self.buckets.iter().enumerate() {
            slopes.extend(self.buckets.iter().skip(i + 1).map(|(later, y)| (y - x) / between(*t, *later)));
        }
        let drift = exact_quantile(&mut slopes, 0.5);
        let (newest, _) = *self.buckets.back()?;
        let mut ahead: Vec<f64> =
            self.buckets.iter().rev().take(NEWEST).map(|(t, x)| x + drift * between(*t, newest)).collect();
        let level = exact_quantile(&mut ahead, 0.5);
        let (mut squares, mut time) = (0.0, 0.0);
        for ((t, x), (later, y)) in self.buckets.iter().zip(self.buckets.iter().skip(LAG)) {
            let elapsed = between(*t, *later);
            squares += (y - x - drift * elapsed).powi(2);
            time += elapsed;
        }
        let volatility = (squares / time).sqrt();
        let (oldest, _) = *self.buckets.front()?;
        Some(Pace { level, drift, uncertainty: volatility / between(oldest, newest).sqrt(), volatility })
    }
}

impl Pace {
    /// Probability, in [0, 1], of having reached `limit` within `time` buckets. It is reached `upwards`, or from above.
    #[must_use]
    pub fn reaches(&self, limit: f64, upwards: bool, time: f64) -> f64 {
        let (distance, drift) =
            if upwards { (limit - self.level, self.drift) } else { (self.level - limit, -self.drift) };
        if self.uncertainty <= 0.0 {
            return passage(distance, drift, self.volatility, time);
        }
        let normal = Normal::standard();
        let sum: f64 = (0..PACES)
            .map(|i| {
                let rank = (f64::from(i) + 0.5) / f64::from(PACES);
                passage(distance, drift + self.uncertainty * normal.inverse_cdf(rank), self.volatility, time)
            })
            .sum();
        sum / f64::from(PACES)
    }

    /// The time, in buckets, within which `limit` is reached with `probability`; `None` if that takes longer than
    /// `longest`.
    #[must_use]
    pub fn time_to(&self, limit: f64, upwards: bool, probability: f64, longest: f64) -> Option<f64> {
        if self.reaches(limit, upwards, longest) < probability {
            return None;
        }
        let (mut before, mut after) = (0.0, longest);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(before, after);
            if self.reaches(limit, upwards, middle) < probability { before = middle } else { after = middle }
        }
        Some(after)
    }

    /// The level from which `limit` would be reached within `time` with `probability`, at the same pace.
    #[must_use]
    pub fn level_for(&self, limit: f64, upwards: bool, probability: f64, time: f64) -> f64 {
        let reach = (self.drift.abs() + 8.0 * self.uncertainty) * time + 8.0 * self.volatility * time.sqrt();
        let (mut far, mut near) = (if upwards { limit - reach } else { limit + reach }, limit);
        for _ in 0..HALVINGS {
            let level = f64::midpoint(far, near);
            if (Self { level, ..*self }).reaches(limit, upwards, time) < probability {
                far = level
            } else {
                near = level
            }
        }
        near
    }
}

/// Probability that a Brownian motion with `drift` towards a limit at `distance` has reached it by `time`; `volatility` is
/// its standard deviation after a time of 1.
#[must_use]
pub fn passage(distance: f64, drift: f64, volatility: f64, time: f64) -> f64 {
    if distance <= 0.0 {
        return 1.0;
    }
    if time <= 0.0 {
        return 0.0;
    }
    if volatility <= 0.0 {
        return if drift * time >= distance { 1.0 } else { 0.0 };
    }
    let normal = Normal::standard();
    let scatter = volatility * time.sqrt();
    let straight = normal.cdf((drift * time - distance) / scatter);
    // The paths that were there and came back, by reflection: a great number times a small one, so in logarithms.
    let exponent = 2.0 * drift * distance / (volatility * volatility);
    let back = (exponent + ln_cdf((-drift * time - distance) / scatter)).exp();
    (straight + back).clamp(0.0, 1.0)
}

/// Logarithm of the standard normal distribution, also far out, where it is too small for a float (Abramowitz and
/// Stegun, 26.2.12).
fn ln_cdf(x: f64) -> f64 {
    if x > -20.0 {
        Normal::standard().cdf(x).ln()
    } else {
        let inverse = 1.0 / (x * x);
        -0.5 * x * x - (-x).ln() - 0.5 * std::f64::consts::TAU.ln() + (-inverse + 3.0 * inverse * inverse).ln_1p()
    }
}

/// Buckets from one number to a later one.
fn between(earlier: i64, later: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "at most the number of buckets that are remembered")]
    let buckets = later.saturating_sub(earlier) as f64;
    buckets
}

#[cfg(test)]
#[path = "passage/tests.rs"]
mod tests;
