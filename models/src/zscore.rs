//! The streaming robust z-score of one series, with a limit that the series sets itself.
//!
//! Three choices make it usable where the textbook z is not. The centre is whichever of two
//! predictors has erred less: the long-run median (noise around a level) or a short exponential
//! average (a level that wanders). The scale is a median absolute deviation, so outliers do not
//! widen it. The limit is the level that this series exceeds once in a return period, see
//! [`crate::tail`], instead of a fixed number of sigmas.

use serde::{Deserialize, Serialize};

use crate::{Quantile, Tail, exact_quantile, tail::THRESHOLD};

/// Makes the median absolute deviation of normal noise equal its standard deviation.
const MAD_TO_SIGMA: f64 = 1.4826;
/// Weight of the newest value in the short average.
const SHORT_WEIGHT: f64 = 0.25;
/// The short average is preferred only if it errs by this much less.
const SHORT_MUST_WIN_BY: f64 = 0.7;
/// Learning rates do not fall below this: a memory of about a thousand points.
const SLOWEST: f64 = 0.001;
/// Beyond this a z says no more, and it keeps every score finite.
const Z_LIMIT: f64 = 1e6;
/// Share of repeated values from which on a series mostly stands still.
const MOSTLY: f64 = 0.6;
/// Limits fall with the observed time, by its power; they are made anew when it has grown by this factor,
/// which is a few ten-thousandths of a limit.
const LIMITS_EVERY: f64 = 1.0 + 1.0 / 256.0;
/// The observed time is halved (and the counts with it) beyond this many return periods.
const MEMORY_PERIODS: f64 = 4.0;

/// What holds for every series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// Points before the first verdict; at least 8. Default 30.
    pub min_samples: u32,
    /// A score of 1 is reached by chance once in this many seconds of event time. Default four weeks.
    pub return_period: f64,
    /// The scale is at least this share of the centre's magnitude. Default 0.01.
    pub relative_floor: f64,
    /// Whether the scale of a series that mostly stands still is the size of its steps, as it is for gauges of
    /// states; not so for a share of few, which stands still at zero by chance. Default true.
    pub steps: bool,
}

impl Default for Params {
    fn default() -> Self {
        Self { min_samples: 30, return_period: 28.0 * 86_400.0, relative_floor: 0.01, steps: true }
    }
}

/// What the model says of one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// The centre.
    pub expected: f64,
    /// One robust standard deviation, never zero.
    pub scale: f64,
    /// `(value - expected) / scale`.
    pub z: f64,
    /// The |z| on this side of the centre that is reached once in a return period.
    pub threshold: f64,
    /// `expected - scale * threshold` of the lower side.
    pub lower: f64,
    /// `expected + scale * threshold` of the upper side.
    pub upper: f64,
    /// `|z| / threshold`: above 1 is anomalous.
    pub score: f64,
}

/// State of one series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ZScore {
    known: Known,
    samples: u64,
    observed_secs: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Known {
    /// The first values, until there are enough to start the estimates from.
    First(Vec<f64>),
    Learned(Learned),
}

impl Default for Known {
    fn default() -> Self {
        Self::First(Vec::new())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Learned {
    median: Quantile,
    short: f64,
    long_mad: Quantile,
    short_mad: Quantile,
    /// Mean absolute error of the preferred predictor, winsorised.
    mean_error: f64,
    /// Share of recent values that equal the one before.
    repeats: f64,
    /// Greatest recent error: for a series that mostly stands still, the size of the steps in which it
    /// moves.
    resolution: f64,
    last: f64,
    up: Tail,
    down: Tail,
    /// Limits, and the observed time and excursions that they are of, so that judging costs no power.
    limits: (f64, f64),
    limits_of: (f64, f64),
}

impl ZScore {
    /// Points learned so far.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// What the next value is expected to be, or `None` while the history is too short.
    #[must_use]
    pub fn expected(&self) -> Option<f64> {
        self.learned().map(|l| l.predictor().0)
    }

    fn learned(&self) -> Option<&Learned> {
        match &self.known {
            Known::Learned(learned) => Some(learned),
            Known::First(_) => None,
        }
    }

    /// What the history says of `value`, or `None` while the history is too short.
    ///
    /// `floor` is the smallest scale that makes sense for this series, in its unit (0 if unknown).
    /// `value` must be finite.
    #[must_use]
    pub fn judge(&self, params: &Params, floor: f64, value: f64) -> Option<Judgement> {
        let learned = self.learned()?;
        let (expected, _) = learned.predictor();
        let mut scale = learned.scale(params, floor);
        if scale <= 0.0 {
            scale = self.first_change_scale(params, (value - expected).abs(), learned.limits);
        }
        let scale = scale.max(f64::MIN_POSITIVE);
        let z = ((value - expected) / scale).clamp(-Z_LIMIT, Z_LIMIT);
        let (below, above) = learned.limits;
        let threshold = if z < 0.0 { below } else { above };
        Some(Judgement {
            expected,
            scale,
            z,
            threshold,
            lower: expected - scale * below,
            upper: expected + scale * above,
            score: z.abs() / threshold,
        })
    }

    /// A series that has stood still at zero since it began has no scale. How rare its first change
    /// is follows from how long it stood: a score of 1 takes one return period of standing still.
    fn first_change_scale(&self, params: &Params, change: f64, limits: (f64, f64)) -> f64 {
        let rarity = (self.observed_secs / params.return_period).clamp(0.01, 2.0);
        change / (rarity * limits.0.max(limits.1))
    }

    /// Takes a finite value that belongs to the series' normal behaviour, `elapsed` seconds after the
    /// one before (0 for the first).
    pub fn learn(&mut self, params: &Params, floor: f64, value: f64, elapsed: f64) {
        self.samples += 1;
        self.observed_secs += elapsed;
        let judgement = self.judge(params, floor, value);
        match &mut self.known {
            Known::Learned(learned) => {
                if let Some(j) = judgement {
                    learned.update(value, &j, learned.scale(params, floor), self.samples);
                }
            }
            Known::First(first) => {
                first.push(value);
                if first.len() >= params.min_samples.max(8) as usize {
                    self.known = Known::Learned(Learned::from_first(first));
                }
            }
        }
        self.note_tails(params, judgement, Tail::observe);
    }

    /// Takes a value that was judged anomalous: it does not move centre or scale, and teaches the
    /// tail only a bounded lesson, so that what recurs stops being news.
    pub fn learn_anomalous(&mut self, params: &Params, judgement: &Judgement, elapsed: f64) {
        self.observed_secs += elapsed;
        self.note_tails(params, Some(*judgement), Tail::observe_anomalous);
    }

    fn note_tails(&mut self, params: &Params, judgement: Option<Judgement>, observe: fn(&mut Tail, f64)) {
        let Known::Learned(learned) = &mut self.known else { return };
        if let Some(j) = judgement {
            observe(&mut learned.up, j.z);
            observe(&mut learned.down, -j.z);
        }
        if self.observed_secs > MEMORY_PERIODS * params.return_period {
            self.observed_secs /= 2.0;
            learned.up.forget_half();
            learned.down.forget_half();
        }
        let excursions = learned.up.excursions() + learned.down.excursions();
        let (observed, seen) = learned.limits_of;
        let is_due = self.observed_secs > observed * LIMITS_EVERY || self.observed_secs < observed;
        if is_due || excursions.to_bits() != seen.to_bits() {
            let level = |tail: &Tail| tail.return_level(self.observed_secs, params.return_period);
            learned.limits = (level(&learned.down), level(&learned.up));
            learned.limits_of = (self.observed_secs, excursions);
        }
    }
}

impl Learned {
    fn from_first(first: &[f64]) -> Self {
        let median = exact_quantile(&mut first.to_vec(), 0.5);
        let mut short = first[0];
        let mut short_errors = Vec::with_capacity(first.len());
        for value in first {
            short_errors.push((value - short).abs());
            short += SHORT_WEIGHT * (value - short);
        }
        let mut long_errors: Vec<f64> = first.iter().map(|v| (v - median).abs()).collect();
        let long_mad = exact_quantile(&mut long_errors, 0.5);
        let short_mad = exact_quantile(&mut short_errors, 0.5);
        // The upper tenth is left out: the first values may hold an outlier.
        let kept = &long_errors[..long_errors.len() - long_errors.len() / 10];
        let repeated = first.windows(2).filter(|w| w[0].to_bits() == w[1].to_bits()).count();
        #[expect(clippy::cast_precision_loss, reason = "a few dozen values")]
        let repeats = repeated as f64 / (first.len() - 1) as f64;
        let resolution = long_errors.last().copied().unwrap_or(0.0);
        #[expect(clippy::cast_precision_loss, reason = "a few dozen values")]
        let mean_error = kept.iter().sum::<f64>() / kept.len() as f64;
        Self {
            median: Quantile::starting_at(median),
            short,
            long_mad: Quantile::starting_at(long_mad),
            short_mad: Quantile::starting_at(short_mad),
            mean_error,
            repeats,
            resolution,
            last: first[first.len() - 1],
            up: Tail::default(),
            down: Tail::default(),
            limits: (THRESHOLD, THRESHOLD),
            limits_of: (0.0, 0.0),
        }
    }

    /// Centre and median absolute error of the predictor that errs less.
    fn predictor(&self) -> (f64, f64) {
        let (long, short) = (self.long_mad.get(), self.short_mad.get());
        if short < SHORT_MUST_WIN_BY * long { (self.short, short) } else { (self.median.get(), long) }
    }

    /// One robust standard deviation; 0 for a series that has stood still at zero since it began.
    fn scale(&self, params: &Params, floor: f64) -> f64 {
        let (_, mad) = self.predictor();
        let still = if params.steps && self.repeats > MOSTLY { self.resolution } else { 0.0 };
        (MAD_TO_SIGMA * mad)
            .max(self.mean_error)
            .max(still)
            .max(params.relative_floor * self.median.get().abs())
            .max(floor)
    }

    /// `scale` is what [`Learned::scale`] gave: 0 as long as nothing is known of it.
    fn update(&mut self, value: f64, j: &Judgement, scale: f64, samples: u64) {
        #[expect(clippy::cast_precision_loss, reason = "rates need no more than a few digits")]
        let rate = (1.0 / samples as f64).max(SLOWEST);
        let step = rate * scale;
        let (long_error, short_error) = ((value - self.median.get()).abs(), (value - self.short).abs());
        self.long_mad.update(long_error, 0.5, step);
        self.short_mad.update(short_error, 0.5, step);
        let error = (value - j.expected).abs();
        let repeated = if value.to_bits() == self.last.to_bits() { 1.0 } else { 0.0 };
        self.repeats += rate * (repeated - self.repeats);
        self.last = value;
        self.resolution = error.max(self.resolution * (1.0 - SLOWEST));
        self.mean_error += rate * (error.min(THRESHOLD * j.scale) - self.mean_error);
        self.median.update(value, 0.5, step);
        self.short += SHORT_WEIGHT * (value - self.short);
    }
}

#[cfg(test)]
#[path = "zscore/tests.rs"]
mod tests;
