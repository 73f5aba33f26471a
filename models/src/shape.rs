//! Does this series move as much as it always has?
//!
//! Two questions that values do not answer by themselves. *Flatline*: how long has it stood still, next to how long it ever stood?
//! *Variance*: how large are its newest steps, next to those of its past? The steps' mean over a dozen points is set against
//! their long-run mean, as a logarithm of the ratio (the von Neumann ratio's difference form: what wanders slowly does not
//! count as variance; von Neumann, "Distribution of the ratio of the mean square successive difference to the variance",
//! 1941). Both are measured by records: what the series has done before is no news.

use serde::{Deserialize, Serialize};

use crate::record::{Bounds, Record};

/// Points in a row without a change that are a flatline, at least; and how much longer than ever before it has to be.
const STILL: f64 = 30.0;
const BEYOND_LONGEST: f64 = 4.0;
/// Where this share of points changes nothing, standing still is what the series does.
const MOSTLY_STILL: f64 = 0.5;
/// Points before the first verdict.
const FIRST: u64 = 60;
/// Least weight of the newest point in what is usual: a memory of a thousand points.
const SLOWEST: f64 = 0.001;
/// Weight of the newest step.
const QUICK: f64 = 1.0 / 12.0;
/// Steps count as at most this many of the usual ones: one jump is no variance.
const LARGEST: f64 = 12.0;
/// From which ratios on, as logarithms, variance has changed, upwards and downwards.
const GROWN: Bounds = Bounds { least: 1.1, beyond: 1.15 };
const SHRUNK: Bounds = Bounds { least: 2.0, beyond: 1.15 };

/// What the newest points look like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Judgement {
    /// The value has stood still for `run` points, and more than `limit` are news.
    Flatline {
        /// Points without a change.
        run: f64,
        /// Points beyond which that is news.
        limit: f64,
    },
    /// Steps are larger or smaller than they were.
    Variance {
        /// Mean step of the last dozen points.
        step: f64,
        /// Mean step in the long run.
        usual: f64,
        /// `ln(step / usual)`.
        ratio: f64,
        /// What |ratio| has to exceed on this side.
        limit: f64,
    },
}

impl Judgement {
    /// Above 1 is anomalous.
    #[must_use]
    pub fn score(&self) -> f64 {
        match self {
            Self::Flatline { run, limit } => run / limit,
            Self::Variance { ratio, limit, .. } => ratio.abs() / limit,
        }
    }
}

/// State of one series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    count: u64,
    last: f64,
    /// Points since the last change, and the most there ever were between two.
    run: f64,
    longest: f64,
    /// Share of points that changed nothing, before the present run.
    still: f64,
    /// Mean of the newest steps, and of all, where there was one.
    quick: f64,
    usual: f64,
    grown: Record,
    shrunk: Record,
}

impl Shape {
    /// What the series looks like with the finite `value` as its next point. `None` while nothing is known, and of a
    /// series that mostly stands still.
    #[must_use]
    pub fn judge(&self, value: f64) -> Option<Judgement> {
        if self.count < FIRST || self.usual <= 0.0 || self.still > MOSTLY_STILL {
            return None;
        }
        if value.to_bits() == self.last.to_bits() {
            // Standing still at zero is no flatline: nothing happens, which the values themselves tell better.
            let limit = STILL.max(BEYOND_LONGEST * self.longest);
            return (value != 0.0).then_some(Judgement::Flatline { run: self.run + 1.0, limit });
        }
        let step = self.quick_with(value);
        let ratio = ratio(step, self.usual);
        let limit = if ratio > 0.0 { self.grown.limit(GROWN) } else { self.shrunk.limit(SHRUNK) };
        Some(Judgement::Variance { step, usual: self.usual, ratio, limit })
    }

    /// Mean of the newest steps with one more.
    fn quick_with(&self, value: f64) -> f64 {
        self.quick + QUICK * (self.step_to(value) - self.quick)
    }

    fn step_to(&self, value: f64) -> f64 {
        let step = (value - self.last).abs();
        if self.count < FIRST { step } else { step.min(LARGEST * self.usual) }
    }

    /// Takes a finite value. What belongs to an anomaly (`is_inside`) does not change what is usual.
    pub fn learn(&mut self, value: f64, is_inside: bool) {
        self.count += 1;
        if self.count == 1 {
            self.last = value;
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of points is far below 2^52")]
        let rate = (1.0 / (self.count - 1) as f64).max(SLOWEST);
        if value.to_bits() == self.last.to_bits() {
            self.run += 1.0;
            return;
        }
        let kept = (1.0 - rate).powf(self.run.min(STILL));
        self.still = (1.0 - (1.0 - self.still) * kept) * (1.0 - rate);
        self.longest = self.longest.max(self.run);
        self.run = 0.0;
        let step = self.step_to(value);
        self.quick = self.quick_with(value);
        if self.count >= FIRST && self.usual > 0.0 {
            let ratio = ratio(self.quick, self.usual);
            self.grown.take(ratio.max(0.0), GROWN, 1.0);
            self.shrunk.take((-ratio).max(0.0), SHRUNK, 1.0);
        }
        if !is_inside || self.count < FIRST {
            self.usual += rate * (step - self.usual);
        }
        self.last = value;
    }
}

/// Logarithm of how many times the usual step a step is; not less than that of a thousandth.
fn ratio(step: f64, usual: f64) -> f64 {
    (step / usual).max(1e-3).ln()
}

#[cfg(test)]
#[path = "shape/tests.rs"]
mod tests;
