//! Do the metrics of one thing still go together as they always have?
//!
//! A row holds the metrics of one instant, each in deviations of its own. What is asked of each metric is where it is
//! *given all the others*: the residual of its regression on them, in its own deviations, which follows from the inverse of
//! the covariance (Lauritzen, "Graphical Models", 1996, section 5.1). A load that doubles moves all metrics and breaks
//! nothing; one that stays behind is far from what the others say, however usual it is by itself. An [isolation
//! forest](crate::forest), grown from a sample of the past's residuals, is the second opinion: it knows several modes where
//! a covariance knows one. A row is anomalous if its residuals are larger than they ever were, and the forest sets it apart
//! more easily than it ever did any.
//!
//! Rows of anomalies are not learned. The forest is grown anew, from a sample that forgets, each time [`PENDING`] rows have
//! come. All randomness comes from the seed.

use serde::{Deserialize, Serialize};

use crate::forest::{Forest, ForestParams, Random, Rows};

/// Rows that are kept of the past.
const KEPT: usize = 256;
/// Rows over which the sample forgets: two days of minutes, a week of five minutes.
const MEMORY: usize = 2_880;
/// Rows that come between two fits.
const PENDING: usize = 128;
/// Trees, and rows that each is grown from.
const TREES: usize = 24;
const SAMPLE: usize = 64;
/// Features that a cut looks at besides the first: what is far out in one of many is seen by most of them.
const EXTENSION: usize = 5;
/// Added to each variance, in deviations: two metrics that are always the same may differ by a quarter of one.
const RIDGE: f64 = 0.05;
/// Deviations beyond this say no more.
const FARTHEST: f32 = 8.0;
/// Residuals that count, the most unusual first.
const TOP: usize = 5;
/// What the evidence and the forest's score have to exceed at least, and both by how much more than they ever did.
const LEAST_EVIDENCE: f64 = 1.3;
const EVIDENCE_BEYOND: f64 = 1.15;
const LEAST_FOREST: f64 = 0.6;
const FOREST_BEYOND: f64 = 1.02;
/// A forest's score that is anomalous whatever it was before (Liu et al. give 0.6 to 0.7).
const MOST_FOREST: f64 = 0.75;
/// The greatest is forgotten by this factor a row: to a half in a week of five minutes.
const FADE: f64 = 0.9997;

/// What the past says of a row: anomalous is what both exceed their limits in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// Mean of `ln(1 + |residual|)` over the five greatest residuals.
    pub evidence: f64,
    /// What it has to exceed.
    pub evidence_limit: f64,
    /// Score of the forest, in (0, 1).
    pub forest: f64,
    /// What it has to exceed.
    pub forest_limit: f64,
}

impl Judgement {
    /// The same with scores multiplied by `factor`, which is positive: what has to be exceeded changes.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self { evidence_limit: self.evidence_limit / factor, forest_limit: self.forest_limit / factor, ..self }
    }

    /// The lesser of both over their limits: above 1 is anomalous.
    #[must_use]
    pub fn score(&self) -> f64 {
        (self.evidence / self.evidence_limit).min(self.forest / self.forest_limit)
    }
}

/// What is known of the metrics of one thing. Written down it is a sample of the past, from which the forest is grown again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Joint {
    past: Past,
    #[serde(skip)]
    fitted: Option<Fitted>,
}

#[derive(Deserialize)]
struct Written {
    past: Past,
}

impl From<Written> for Joint {
    fn from(Written { past }: Written) -> Self {
        let fitted = Fitted::of(&past);
        Self { past, fitted }
    }
}

/// A sample of the rows so far, and how far they went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Past {
    width: usize,
    /// Rows learned.
    count: u64,
    /// The sample that the forest was grown from, one row after the other, and its seed.
    rows: Vec<f32>,
    seed: u64,
    /// Rows that came since.
    pending: Vec<f32>,
    /// The greatest evidence and forest score of the past, which fade.
    greatest: (f64, f64),
    random: Random,
}

#[derive(Clone, Debug, PartialEq)]
struct Fitted {
    means: Vec<f32>,
    /// Row by row: weights of all metrics in the residual of one.
    weights: Vec<f32>,
    forest: Forest,
}

impl Joint {
    /// Metrics that it makes sense for, at least and at most.
    pub const WIDTHS: std::ops::RangeInclusive<usize> = 3..=32;

    /// Nothing is known of `width` metrics. What is random follows from `seed`.
    #[must_use]
    pub fn new(width: usize, seed: u64) -> Self {
        let (rows, pending, random) = (Vec::new(), Vec::new(), Random::new(seed));
        let past = Past { width, count: 0, rows, seed: 0, pending, greatest: (0.0, 0.0), random };
        Self { past, fitted: None }
    }

    /// Rows learned so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.past.count
    }

    /// What the past says of a row; `None` while too little is known, or for a row of another width. What is missing
    /// (NaN) counts as the mean.
    #[must_use]
    pub fn judge(&self, row: &[f32]) -> Option<Judgement> {
        let fitted = self.fitted.as_ref().filter(|_| row.len() == self.past.width)?;
        let residuals = fitted.residuals(row);
        let (evidence, forest) = self.past.greatest;
        Some(Judgement {
            evidence: evidence_of(&residuals),
            evidence_limit: LEAST_EVIDENCE.max(EVIDENCE_BEYOND * evidence),
            forest: fitted.forest.score(&residuals),
            forest_limit: (FOREST_BEYOND * forest).clamp(LEAST_FOREST, MOST_FOREST),
        })
    }

    /// How far each metric is from what the others say it should be, in deviations, signed; empty where [`Joint::judge`]
    /// says nothing.
    #[must_use]
    pub fn residuals(&self, row: &[f32]) -> Vec<f32> {
        let fitted = self.fitted.as_ref().filter(|_| row.len() == self.past.width);
        fitted.map(|fitted| fitted.residuals(row)).unwrap_or_default()
    }

    /// One deviation of the metric at `place` from what the others say it should be, in deviations of its own; 1 where
    /// nothing is known.
    #[must_use]
    pub fn deviation_given_others(&self, place: usize) -> f64 {
        let weight = self.fitted.as_ref().and_then(|fitted| fitted.weights.get(place * (self.past.width + 1)));
        weight.filter(|w| **w > 0.0).map_or(1.0, |w| 1.0 / f64::from(*w))
    }

    /// Takes a row that belongs to normal times, with what was said of it. Rows that lack something are left out.
    pub fn learn(&mut self, row: &[f32], judged: Option<&Judgement>) {
        let past = &mut self.past;
        if row.len() != past.width || row.iter().any(|v| !v.is_finite()) {
            return;
        }
        if let Some(j) = judged {
            past.greatest = ((past.greatest.0 * FADE).max(j.evidence), (past.greatest.1 * FADE).max(j.forest));
        }
        past.count += 1;
        past.pending.extend(row.iter().map(|v| v.clamp(-FARTHEST, FARTHEST)));
        if past.pending.len() >= PENDING * past.width {
            past.sample();
            self.fitted = Fitted::of(past);
        }
    }
}

impl Past {
    /// Takes what is pending into the sample.
    fn sample(&mut self) {
        let seen = usize::try_from(self.count).unwrap_or(MEMORY).min(MEMORY);
        for row in std::mem::take(&mut self.pending).chunks_exact(self.width) {
            if self.rows.len() < KEPT * self.width {
                self.rows.extend(row);
                continue;
            }
            let place = self.random.below(seen) * self.width;
            if let Some(kept) = self.rows.get_mut(place..place + self.width) {
                kept.copy_from_slice(row);
            }
        }
        self.seed = self.random.below(1 << 30) as u64;
    }
}

impl Fitted {
    fn of(past: &Past) -> Option<Self> {
        let Past { width, ref rows, seed, .. } = *past;
        if rows.len() < PENDING * width.max(1) {
            return None;
        }
        let (means, weights) = regression(rows, width)?;
        let residuals: Vec<f32> = rows.chunks_exact(width).flat_map(|row| residuals(&means, &weights, row)).collect();
        let extension = EXTENSION.min(width - 1);
        let params = ForestParams::default().trees(TREES).sample_size(SAMPLE).extension(extension).seed(seed);
        let forest = params.grow(Rows::new(&residuals, width)).ok()?;
        Some(Self { means, weights, forest })
    }

    fn residuals(&self, row: &[f32]) -> Vec<f32> {
        residuals(&self.means, &self.weights, row)
    }
}

/// Mean of `ln(1 + |residual|)` over the greatest.
fn evidence_of(residuals: &[f32]) -> f64 {
    let mut sizes: Vec<f32> = residuals.iter().map(|r| r.abs()).collect();
    let top = TOP.min(sizes.len());
    sizes.sort_unstable_by(|a, b| b.total_cmp(a));
    let sum: f64 = sizes.iter().take(top).map(|r| f64::from(*r).ln_1p()).sum();
    #[expect(clippy::cast_precision_loss, reason = "five")]
    let top = top.max(1) as f64;
    sum / top
}

/// The residual of each metric given the others. What is missing counts as the mean.
fn residuals(means: &[f32], weights: &[f32], row: &[f32]) -> Vec<f32> {
    let from_mean = |v: f32, mean: f32| if v.is_nan() { 0.0 } else { v.clamp(-FARTHEST, FARTHEST) - mean };
    let own: Vec<f32> = row.iter().zip(means).map(|(v, mean)| from_mean(*v, *mean)).collect();
    let rows = weights.chunks_exact(own.len().max(1));
    rows.map(|w| w.iter().zip(&own).map(|(w, x)| w * x).sum()).collect()
}

/// Means, and the weights that give the residual of each metric given the others, in deviations: of the inverse `P` of the
/// covariance `P[i][j] / sqrt(P[i][i])`.
fn regression(rows: &[f32], width: usize) -> Option<(Vec<f32>, Vec<f32>)> {
    let n = rows.len() / width;
    #[expect(clippy::cast_precision_loss, reason = "a few hundred rows")]
    let count = n as f64;
    let mut means = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        means.iter_mut().zip(row).for_each(|(mean, v)| *mean += f64::from(*v) / count);
    }
    let mut covariance = vec![0.0; width * width];
    for row in rows.chunks_exact(width) {
        for i in 0..width {
            let from_mean = f64::from(row[i]) - means[i];
            for j in 0..=i {
                covariance[i * width + j] += from_mean * (f64::from(row[j]) - means[j]) / count;
            }
        }
    }
    (0..width).for_each(|i| covariance[i * width + i] += RIDGE);
    let inverse = inverse(covariance, width)?;
    #[expect(clippy::cast_possible_truncation, reason = "seven digits of a weight are plenty")]
    let rough = |x: f64| x as f32;
    let weights = (0..width * width).map(|at| {
        let i = at / width;
        rough(inverse[at] / inverse[i * width + i].sqrt())
    });
    Some((means.iter().map(|m| rough(*m)).collect(), weights.collect()))
}

/// Inverse of a symmetric positive definite matrix of which the lower half is given, by Cholesky's factor `L` (Golub and
/// Van Loan, "Matrix Computations", 4.2): the inverse is that of `L` transposed times that of `L`.
fn inverse(mut a: Vec<f64>, n: usize) -> Option<Vec<f64>> {
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| a[i * n + k] * a[j * n + k]).sum();
            let rest = a[i * n + j] - dot;
            if i == j {
                if rest <= 0.0 || !rest.is_finite() {
                    return None;
                }
                a[i * n + i] = rest.sqrt();
            } else {
                a[i * n + j] = rest / a[j * n + j];
            }
        }
    }
    let mut low = vec![0.0; n * n];
    for j in 0..n {
        for i in j..n {
            let known: f64 = (j..i).map(|k| a[i * n + k] * low[k * n + j]).sum();
            let unit = if i == j { 1.0 } else { 0.0 };
            low[i * n + j] = (unit - known) / a[i * n + i];
        }
    }
    let at = |i: usize, j: usize| (i.max(j)..n).map(|k| low[k * n + i] * low[k * n + j]).sum();
    Some((0..n * n).map(|place| at(place / n, place % n)).collect())
}

#[cfg(test)]
#[path = "joint/tests.rs"]
mod tests;
