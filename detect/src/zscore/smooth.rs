//! Means of the last few points, for series whose points are estimates from a few calls each.
//!
//! The error ratio of ten calls is 0 or 0.1, whatever the truth is; a p95 of ten calls is one of them. Each
//! such point by itself is hardly ever surprising, so a fault that lasts is seen late or not at all. The mean
//! of the last six scatters less by the root of six, and has a z-score and a limit of its own. (Averages of
//! consecutive samples before a chart's limits: Montgomery, "Introduction to Statistical Quality Control", chapter 6.)

use models::{
    ZScore,
    zscore::{Judgement, Params},
};
use serde::{Deserialize, Serialize};
use window::Series;

use super::ZScoreConfig;

/// Points of a mean: a minute of buckets of ten seconds.
pub(super) const POINTS: usize = 6;

/// The mean of one series.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Smooth {
    recent: [f64; POINTS - 1],
    taken: usize,
    model: ZScore,
}

impl Smooth {
    /// `None` for a series whose points are what they are.
    pub(super) fn of(series: &Series) -> Option<Self> {
        let is_estimate = series.name.starts_with("traces_span_metrics_")
            && (series.name.ends_with(":ratio") || series.name.contains(":p"));
        is_estimate.then(Self::default)
    }

    /// The mean with `value` as its last point; `None` while there are too few.
    fn mean(&self, value: f64) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let points = POINTS as f64;
        (self.taken >= self.recent.len()).then(|| (self.recent.iter().sum::<f64>() + value) / points)
    }

    /// The mean up to `value`, and what is to be said of it. `floor` is that of single points.
    pub(super) fn judge(&self, config: &ZScoreConfig, floor: f64, value: f64) -> Option<(f64, Judgement)> {
        let mean = self.mean(value)?;
        Some((mean, self.model.judge(&params(config), of_mean(floor), mean)?))
    }

    /// Takes `value`; inside an anomaly the mean teaches its model as little as the point does its own.
    pub(super) fn learn(&mut self, config: &ZScoreConfig, floor: f64, value: f64, elapsed: f64, is_inside: bool) {
        if let Some(mean) = self.mean(value) {
            let judged = self.model.judge(&params(config), of_mean(floor), mean);
            match judged.filter(|j| is_inside && j.score > config.calm_score) {
                Some(j) => self.model.learn_anomalous(&params(config), &j, elapsed),
                None => self.model.learn(&params(config), of_mean(floor), mean, elapsed),
            }
        }
        self.recent[self.taken % (POINTS - 1)] = value;
        self.taken += 1;
    }
}

fn params(config: &ZScoreConfig) -> Params {
    Params { steps: false, ..config.params }
}

/// What is left of the smallest scale of a point.
fn of_mean(floor: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let points = POINTS as f64;
    floor / points.sqrt()
}
