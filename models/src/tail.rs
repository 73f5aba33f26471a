//! How high does this statistic go by itself? Return levels from peaks over a threshold.
//!
//! A fixed three sigma means a false alarm a minute on one series and silence on another. Here each
//! series says for itself what is rare: the peaks of its excursions above a low threshold `u` are
//! fitted with a generalised Pareto distribution, and the level that is reached once in a given
//! period (the return level) is the limit for an alarm. Excursions are counted once each (runs
//! declustering), because neighbouring points are not independent. Sources: Coles, "An
//! Introduction to Statistical Modeling of Extreme Values" (2001), sections 4.3 and 5.3; Hosking and
//! Wallis, "Parameter and quantile estimation for the generalized Pareto distribution" (1987).

use serde::{Deserialize, Serialize};

/// Excursions begin above this many scales from the centre.
pub const THRESHOLD: f64 = 2.5;
/// Points below the threshold that end an excursion.
const RUN: u8 = 3;
/// Peaks kept; older ones have taught their share through the count.
const KEPT: u8 = 32;
/// Mean excess over the threshold believed before any was seen, and how many peaks that is worth.
const PRIOR_EXCESS: f64 = 0.6;
const PRIOR_PEAKS: f64 = 4.0;
/// What an anomalous excursion may teach, in mean excesses.
const LESSON: f64 = 3.0;
/// Tail shape believed before enough peaks were seen (0 is exponential), and its limits. Shapes below
/// 0 (a bounded tail) are not believed: telemetry drifts, and a limit too high by a little is the
/// cheaper mistake.
const PRIOR_SHAPE: f64 = 0.1;
const SHAPE_LIMITS: (f64, f64) = (0.0, 0.4);
/// Peaks worth of belief in the prior shape.
const PRIOR_SHAPE_PEAKS: f64 = 20.0;

/// One tail of one series: its excursions above [`THRESHOLD`], in scales.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tail {
    /// Scale and shape as of the last peak, so that a level costs no fit.
    fitted: (f64, f64),
    peaks: Vec<f32>,
    next: u8,
    count: f64,
    peak: f64,
    below: u8,
    inside: bool,
}

impl Default for Tail {
    fn default() -> Self {
        let fitted = (PRIOR_EXCESS * (1.0 - PRIOR_SHAPE), PRIOR_SHAPE);
        Self { fitted, peaks: Vec::new(), next: 0, count: 0.0, peak: 0.0, below: 0, inside: false }
    }
}

impl Tail {
    /// Takes the statistic of one point, in scales from the centre on this tail's side.
    pub fn observe(&mut self, z: f64) {
        self.observe_up_to(z, f64::INFINITY);
    }

    /// The same for a point of an anomaly. That the series goes out again is worth counting; how far is
    /// not believed beyond [`LESSON`] times what its excursions have been like, so that a disaster does
    /// not make the next one look normal.
    pub fn observe_anomalous(&mut self, z: f64) {
        self.observe_up_to(z, THRESHOLD + LESSON * self.mean_excess());
    }

    fn observe_up_to(&mut self, z: f64, cap: f64) {
        if z > THRESHOLD {
            self.inside = true;
            self.below = 0;
            self.peak = self.peak.max(z.min(cap));
        } else if self.inside {
            self.below += 1;
            if self.below >= RUN {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        #[expect(clippy::cast_possible_truncation, reason = "four significant digits of a peak are plenty")]
        let peak = self.peak as f32;
        if self.peaks.len() < usize::from(KEPT) {
            self.peaks.push(peak);
        } else {
            self.peaks[usize::from(self.next)] = peak;
        }
        self.next = (self.next + 1) % KEPT;
        self.count += 1.0;
        (self.inside, self.below, self.peak) = (false, 0, 0.0);
        self.fitted = self.fit();
    }

    /// Excursions that have ended, those before [`Tail::forget_half`] by half: what changes a return level,
    /// apart from time.
    #[must_use]
    pub fn excursions(&self) -> f64 {
        self.count
    }

    /// Halves the weight of the past; the caller halves the observed time with it.
    pub fn forget_half(&mut self) {
        self.count /= 2.0;
    }

    /// The level, in scales, that excursions exceed once in `period`, after `observed` of the same
    /// unit of time. At least [`THRESHOLD`].
    ///
    /// Before the first excursion half a one is assumed, so that a short history gives a high level.
    #[must_use]
    pub fn return_level(&self, observed: f64, period: f64) -> f64 {
        let expected = (self.count + 0.5) / observed.max(f64::MIN_POSITIVE) * period;
        let (scale, shape) = self.fitted;
        THRESHOLD + scale / shape * (expected.max(1.0).powf(shape) - 1.0)
    }

    fn mean_excess(&self) -> f64 {
        let sum: f64 = self.peaks.iter().map(|p| f64::from(*p) - THRESHOLD).sum();
        #[expect(clippy::cast_precision_loss, reason = "at most KEPT peaks")]
        let n = self.peaks.len() as f64;
        (sum + PRIOR_EXCESS * PRIOR_PEAKS) / (n + PRIOR_PEAKS)
    }

    /// Scale and shape of the generalised Pareto distribution of the excesses, by probability
    /// weighted moments, drawn towards the prior while peaks are few.
    fn fit(&self) -> (f64, f64) {
        let mut excesses: Vec<f64> = self.peaks.iter().map(|p| f64::from(*p) - THRESHOLD).collect();
        excesses.sort_unstable_by(f64::total_cmp);
        #[expect(clippy::cast_precision_loss, reason = "at most KEPT peaks")]
        let n = excesses.len() as f64;
        let mean = self.mean_excess();
        let mut weighted = 0.0;
        for (rank, excess) in excesses.iter().rev().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "at most KEPT peaks")]
            let at_least = rank as f64;
            weighted += excess * at_least / (n - 1.0).max(1.0);
        }
        let (first, second) = (excesses.iter().sum::<f64>() / n.max(1.0), weighted / n.max(1.0));
        let raw = if n >= 4.0 && first > 2.0 * second { 2.0 - first / (first - 2.0 * second) } else { PRIOR_SHAPE };
        let shape = (raw * n + PRIOR_SHAPE * PRIOR_SHAPE_PEAKS) / (n + PRIOR_SHAPE_PEAKS);
        let shape = shape.clamp(SHAPE_LIMITS.0 + 0.01, SHAPE_LIMITS.1);
        (mean * (1.0 - shape), shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_the_fit_is_the_fit() {
        let mut tail = Tail::default();
        assert_eq!(tail.fitted, tail.fit());
        for z in normal(20_000) {
            tail.observe(z);
            assert_eq!(tail.fitted, tail.fit());
        }
        assert!(tail.count > 20.0);
    }

    /// Standard normal values from a fixed generator (Box and Muller).
    fn normal(n: usize) -> impl Iterator<Item = f64> {
        let mut x: u64 = 3;
        let mut uniform = move || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((x >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
        };
        (0..n).map(move |_| (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos())
    }

    #[test]
    fn the_return_level_of_normal_noise_is_on_the_safe_side() {
        let mut tail = Tail::default();
        let n = 200_000;
        normal(n).for_each(|z| tail.observe(z));
        // 1 - Phi(4.0) is 3.2e-5: exceeded about once in 31,600 points.
        let level = tail.return_level(n as f64, 31_600.0);
        assert!((3.7..=4.8).contains(&level), "{level}");
        // What it promises holds on new data: no more often than once in 1,000 points, and not never.
        let limit = tail.return_level(n as f64, 1_000.0);
        let exceeded = normal(400_000).skip(n).filter(|z| *z > limit).count();
        assert!((20..=220).contains(&exceeded), "{exceeded} times in 200,000 points, promised at most 200");
    }

    #[test]
    fn a_short_history_demands_more() {
        let tail = Tail::default();
        assert!(tail.return_level(30.0, 10_000.0) > tail.return_level(10_000.0, 10_000.0) + 2.0);
    }

    #[test]
    fn one_excursion_is_counted_once_and_its_lesson_is_bounded() {
        let (mut once, mut capped) = (Tail::default(), Tail::default());
        for z in [0.0, 9.0, 8.0, 1.0, 7.0, 0.0, 0.0, 0.0, 0.0] {
            once.observe(z);
            capped.observe_anomalous(z);
        }
        assert_eq!(once.peaks, [9.0]);
        assert_eq!(capped.peaks, [4.3], "the threshold and three times the prior excess");
    }

    #[test]
    fn frequent_peaks_become_normal() {
        let mut tail = Tail::default();
        let before = tail.return_level(1_000.0, 1_000.0);
        for i in 0..1_000 {
            tail.observe(if i % 20 == 0 { 6.0 } else { 0.0 });
        }
        let after = tail.return_level(1_000.0, 1_000.0);
        assert!(before < 6.0 && after > 6.0, "{before} then {after}");
    }
}
