//! What the course of a series says where its values do not: that it stands still, moves more or less than ever, or
//! no longer follows the day or the week.

use models::{season, shape};
use window::Point;

use super::{
    State,
    verdict::{Numbers, Verdict},
};
use crate::{Anomaly, DetectorKind, Pattern};

/// What was seen in the course of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    Shape(shape::Judgement),
    Season(season::Judgement),
}

impl Form {
    /// Above 1 is anomalous.
    pub(super) fn score(&self) -> f64 {
        match self {
            Self::Shape(j) => j.score(),
            Self::Season(j) => j.z.abs() / j.threshold,
        }
    }

    fn pattern(&self) -> Pattern {
        match self {
            Self::Shape(shape::Judgement::Flatline { .. }) => Pattern::Flatline,
            Self::Shape(shape::Judgement::Variance { .. }) => Pattern::VarianceChange,
            Self::Season(_) => Pattern::SeasonalityBreak,
        }
    }

    /// What was looked at, and what it was expected to be. Of a flatline both are the value: it is not that which is
    /// wrong.
    pub(super) fn observed_and_expected(&self, point: &Point) -> (f64, f64) {
        match self {
            Self::Shape(shape::Judgement::Flatline { .. }) => (point.value, point.value),
            Self::Shape(shape::Judgement::Variance { step, usual, .. }) => (*step, *usual),
            Self::Season(j) => (j.observed, j.expected),
        }
    }

    /// The numbers behind it; see [`Anomaly::z`].
    pub(super) fn numbers(&self, verdict: &Verdict, point: &Point) -> Numbers {
        let (observed, expected) = self.observed_and_expected(point);
        let (z, scale) = match self {
            Self::Shape(shape::Judgement::Flatline { run, .. }) => (*run, 0.0),
            Self::Shape(shape::Judgement::Variance { ratio, .. }) => (*ratio, 0.0),
            Self::Season(j) => (j.z, j.scale),
        };
        let threshold = z.abs() / verdict.score.max(f64::MIN_POSITIVE);
        let (lower, upper) = match self {
            Self::Shape(shape::Judgement::Flatline { .. }) => (expected, expected),
            Self::Shape(shape::Judgement::Variance { .. }) => {
                let edge = expected * (if z > 0.0 { threshold } else { -threshold }).exp();
                (edge.min(expected), edge.max(expected))
            }
            Self::Season(_) => (expected - threshold * scale, expected + threshold * scale),
        };
        Numbers {
            detector: DetectorKind::Pattern,
            pattern: Some(self.pattern()),
            score: verdict.score,
            observed,
            of_mean: false,
            expected,
            lower,
            upper,
            z,
            threshold,
            scale,
            critical: verdict.critical,
            contributors: Vec::new(),
        }
    }
}

impl State {
    /// What the course of a settled series says with this point, if that is anomalous.
    pub(super) fn form(&self, point: &Point) -> Option<Form> {
        let shape = self.shape.judge(point.value).map(Form::Shape);
        let season = self.season.broken().map(Form::Season);
        let seen = [shape, season].into_iter().flatten().filter(|form| form.score() > 1.0);
        seen.max_by(|a, b| a.score().total_cmp(&b.score()))
    }
}

/// How an anomaly goes on: to which sides of the band its points are, and whether it goes further and further.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Progress {
    above: u32,
    below: u32,
    /// Points that were further out than all before them.
    records: u32,
    farthest: f64,
}

impl Progress {
    /// Takes a point outside the band, `distance` from what is expected.
    pub(super) fn take(&mut self, distance: f64) {
        let side = if distance > 0.0 { &mut self.above } else { &mut self.below };
        *side = side.saturating_add(1);
        if distance.abs() > self.farthest {
            self.farthest = distance.abs();
            self.records = self.records.saturating_add(1);
        }
    }

    /// What it looks like by now, if that can be told: after [`EITHER_SIDE`] points when they are on both sides, after
    /// `shift_points` otherwise.
    pub(super) fn pattern(&self, shift_points: u64) -> Option<Pattern> {
        let (points, lesser) = (self.above.saturating_add(self.below), self.above.min(self.below));
        if points >= EITHER_SIDE && lesser.saturating_mul(4) >= points {
            Some(Pattern::VarianceChange)
        } else if u64::from(points) < shift_points {
            None
        } else if self.records.saturating_mul(2) >= points {
            // Of points around a level few go further than all before them: the logarithm of their number.
            Some(Pattern::Trend)
        } else {
            Some(Pattern::LevelShift)
        }
    }
}

/// Points outside the band from which on it is told whether they are on both sides.
const EITHER_SIDE: u32 = 6;

/// The decision in words, with its numbers.
pub(super) fn explain(a: &Anomaly, subject: &str, number: impl Fn(f64) -> String) -> String {
    match a.pattern {
        Pattern::Flatline => format!(
            "{subject} has stood still at {} for {} points in a row. It used to move, and never stood still for more than a \
             quarter of {} points, or of 30. It would not have fired unless for more than {}.",
            number(a.observed),
            number(a.z),
            number(a.threshold),
            number(a.threshold),
        ),
        Pattern::VarianceChange => {
            let (what, limit) = if a.z > 0.0 { ("more", a.upper) } else { ("less", a.lower) };
            format!(
                "{subject} moves {what} than ever before: the mean step between its last dozen points was {}, usual is {}. \
                 That is a ratio whose logarithm is {:.2}; {:.2} is rare for this series. It would not have fired unless \
                 {what} than {}.",
                number(a.observed),
                number(a.expected),
                a.z,
                a.threshold,
                number(limit),
            )
        }
        _ => format!(
            "{subject} no longer follows its season: its mean of the last whole hour was {}, {} is usual at this hour. That \
             hour and the one before were at least {:.1} times the usual error of {} away, on the same side; {:.1} is rare \
             for this series. It would not have fired within {} to {}.",
            number(a.observed),
            number(a.expected),
            a.z.abs(),
            number(a.scale),
            a.threshold,
            number(a.lower),
            number(a.upper),
        ),
    }
}

#[cfg(test)]
#[path = "form/tests.rs"]
mod tests;
