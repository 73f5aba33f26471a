//! What is known of single metrics beforehand, by whoever runs them: which side matters, how much is worth a word,
//! what is possible at all. The defaults are meant to be good enough that most metrics need none of it.

use std::{sync::Arc, time::Duration};

use query::SeriesSelector;
use serde::{Deserialize, Serialize};
use window::Series;

use crate::Direction;

/// Settings of all series that a selector means.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSettings {
    /// The series.
    pub selector: SeriesSelector,
    /// Whether they are judged at all. Default true.
    pub enabled: bool,
    /// The only side that is anomalous. Default both.
    pub direction: Option<Direction>,
    /// Deviations from what is expected below this are not anomalous, in the unit of the series. Default 0.
    pub min_absolute_deviation: f64,
    /// The same as a share of the expected value. Default 0.
    pub min_relative_deviation: f64,
    /// What is possible, or allowed. A value outside is anomalous from the first point on. Default everything.
    pub valid_range: (f64, f64),
    /// Scores are multiplied by this: above 1 finds more, and cries wolf more often. Default 1.
    pub sensitivity: f64,
    /// Classic thresholds of |z|, for a warning and for a critical anomaly, instead of calibrated ones.
    pub thresholds: Option<(f64, f64)>,
    /// A limit that must not be reached, see [`crate::Forecasts`].
    pub limit: Option<Limit>,
}

/// A limit that a series must not reach: a full disk, an empty pool.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// The limit, in the unit of the series.
    pub value: f64,
    /// From which side it is reached.
    pub towards: Direction,
    /// How far to look ahead. Default 4 h.
    pub horizon: Duration,
    /// Probability of reaching it within the horizon from which on it is said. Default 0.5.
    pub probability: f64,
}

impl MetricSettings {
    /// The defaults, for what `selector` means.
    #[must_use]
    pub fn of(selector: SeriesSelector) -> Self {
        Self {
            selector,
            enabled: true,
            direction: None,
            min_absolute_deviation: 0.0,
            min_relative_deviation: 0.0,
            valid_range: (f64::NEG_INFINITY, f64::INFINITY),
            sensitivity: 1.0,
            thresholds: None,
            limit: None,
        }
    }

    /// The deviation from `expected` below which nothing is anomalous; 0 if there is none.
    #[must_use]
    pub fn min_deviation(&self, expected: f64) -> f64 {
        self.min_absolute_deviation.max(self.min_relative_deviation * expected.abs())
    }

    /// How far `value` is outside the valid range, as a score above 1, negative below the range; `None` inside. Distance
    /// is measured by the width of the range, or by the size of the limit of one that is open to the other side.
    #[must_use]
    pub fn beyond(&self, value: f64) -> Option<f64> {
        let (lower, upper) = self.valid_range;
        let unit = |limit: f64| match upper - lower {
            width if width.is_finite() && width > 0.0 => width,
            _ if limit == 0.0 => 1.0,
            _ => limit.abs(),
        };
        if value > upper {
            Some(1.0 + (value - upper) / unit(upper))
        } else if value < lower {
            Some(-1.0 - (lower - value) / unit(lower))
        } else {
            None
        }
    }
}

/// The settings of all metrics that have any; the first that means a series counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(Arc<[MetricSettings]>);

impl Settings {
    /// In the order of preference.
    #[must_use]
    pub fn new(settings: Vec<MetricSettings>) -> Self {
        Self(settings.into())
    }

    /// The settings in their order.
    pub fn iter(&self) -> impl Iterator<Item = &MetricSettings> {
        self.0.iter()
    }

    /// The place of the settings of `series`, if it has any.
    pub(crate) fn place_of(&self, series: &Series) -> Option<u16> {
        let place = self.0.iter().position(|s| s.selector.matches(series))?;
        u16::try_from(place).ok()
    }

    /// The settings at `place`.
    pub(crate) fn at(&self, place: Option<u16>) -> Option<&MetricSettings> {
        self.0.get(usize::from(place?))
    }
}

#[cfg(test)]
#[path = "settings/tests.rs"]
mod tests;
