//! What the models of one series say together of a point, and the numbers behind it.
//!
//! A young series is judged by its z-score, whose limit is set for the little that is known. Once it is
//! [settled](ZScoreConfig::settle), distance from everything that it has ever done is the better question,
//! and the z-score only has a say when it is far beyond its own limit: what happened before is no news, but
//! a disaster is one each time.

use models::{
    novelty::{self, VIEWS},
    zscore::{Judgement, Params},
};
use window::Point;

use super::{State, ZScoreConfig, form::Form};
use crate::{Contributor, DetectorKind, Direction, MetricSettings, Pattern};

/// Halvings that find the edge of the band.
const HALVINGS: u32 = 24;

/// What is said of one point.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) detector: DetectorKind,
    /// Above 1 is anomalous.
    pub(super) score: f64,
    /// Scores below this belong to normal times.
    calm_below: f64,
    /// What a score is multiplied by for this series; the models' own is at 1.
    factor: f64,
    /// Deviations below this are not anomalous, whatever their score; 0 for none.
    min_deviation: f64,
    /// Scores from here on are critical.
    pub(super) critical: f64,
    /// How many such points in a row end an anomaly.
    pub(super) calm_points: u64,
    pub(super) z: Option<Judgement>,
    /// The mean of the last few points, and what is to be said of it, where that is more than of the point.
    pub(super) mean: Option<(f64, Judgement)>,
    pub(super) novelty: Option<novelty::Judgement>,
    /// What the course of the series says, where that is more than what its values say.
    form: Option<Form>,
}

/// The numbers of an anomaly, which reproduce the decision.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    pub(super) detector: DetectorKind,
    /// What it looks like, where that is what was found.
    pub(super) pattern: Option<Pattern>,
    pub(super) score: f64,
    pub(super) observed: f64,
    /// Whether that is the mean of the last few points.
    pub(super) of_mean: bool,
    pub(super) expected: f64,
    pub(super) lower: f64,
    pub(super) upper: f64,
    pub(super) z: f64,
    pub(super) threshold: f64,
    pub(super) scale: f64,
    /// Scores from here on are critical.
    pub(super) critical: f64,
    pub(super) contributors: Vec<Contributor>,
}

impl Verdict {
    /// Of the z-score, that nothing is unusual.
    fn plain(config: &ZScoreConfig) -> Self {
        Self {
            detector: DetectorKind::ZScore,
            score: 0.0,
            calm_below: config.calm_score,
            factor: 1.0,
            min_deviation: 0.0,
            critical: config.critical_score,
            calm_points: config.calm_points,
            z: None,
            mean: None,
            novelty: None,
            form: None,
        }
    }

    /// The same, of a series that something is known of beforehand.
    fn with(mut self, settings: &MetricSettings, point: &Point) -> Self {
        let (observed, expected) = match (self.form, self.mean, self.z, self.novelty) {
            (Some(form), _, _, _) => form.observed_and_expected(point),
            (_, Some((mean, j)), _, _) => (mean, j.expected),
            (_, None, Some(j), _) => (point.value, j.expected),
            (_, None, None, Some(j)) => (point.value, j.nearest),
            (_, None, None, None) => return self,
        };
        self.score *= settings.sensitivity;
        self.factor *= settings.sensitivity;
        self.min_deviation = settings.min_deviation(expected);
        self.score = self.score_at(self.score, (observed - expected).abs());
        let side = if observed >= expected { Direction::Up } else { Direction::Down };
        if settings.direction.is_some_and(|wanted| wanted != side) {
            self.score = 0.0;
        }
        self
    }

    /// Multiplies scores by `factor`. What is not valid stays so.
    pub(super) fn multiply(&mut self, factor: f64) {
        if self.detector != DetectorKind::Limit {
            self.score *= factor;
            self.factor *= factor;
        }
    }

    /// A score, seen that deviations may be too small to matter.
    fn score_at(&self, score: f64, deviation: f64) -> f64 {
        if self.min_deviation > 0.0 { score.min(deviation / self.min_deviation) } else { score }
    }

    /// Whether the point belongs to normal times.
    pub(super) fn is_calm(&self) -> bool {
        self.score < self.calm_below
    }
}

impl State {
    /// A share or a quantile of a few calls has no steps of its own.
    pub(super) fn params(&self, config: &ZScoreConfig) -> Params {
        Params { steps: self.smooth.is_none(), ..config.params }
    }

    /// Whether it is judged by everything that it has ever done.
    pub(super) fn is_settled(&self, config: &ZScoreConfig) -> bool {
        self.novelty.count() >= config.settle_points && self.novelty.age() >= config.settle.as_secs_f64()
    }

    /// `None` while nothing is known. `strictness` multiplies what the series must exceed.
    pub(super) fn verdict(
        &self,
        config: &ZScoreConfig,
        settings: Option<&MetricSettings>,
        (floor, strictness): (f64, f64),
        point: &Point,
    ) -> Option<Verdict> {
        let Some(settings) = settings else { return self.calibrated(config, floor, strictness, point) };
        if let Some(beyond) = settings.beyond(point.value) {
            let z = self.model.judge(&self.params(config), floor, point.value);
            return Some(Verdict { detector: DetectorKind::Limit, score: beyond.abs(), z, ..Verdict::plain(config) });
        }
        let verdict = match settings.thresholds {
            Some(thresholds) => self.classic(config, floor, thresholds, point),
            None => self.calibrated(config, floor, strictness, point),
        };
        Some(verdict?.with(settings, point))
    }

    /// By |z| alone, against fixed thresholds.
    fn classic(
        &self,
        config: &ZScoreConfig,
        floor: f64,
        (warning, critical): (f64, f64),
        point: &Point,
    ) -> Option<Verdict> {
        let j = self.model.judge(&self.params(config), floor, point.value)?;
        let score = j.z.abs() / warning;
        Some(Verdict { score, critical: critical / warning, z: Some(j), ..Verdict::plain(config) })
    }

    /// By what is rare for this series.
    fn calibrated(&self, config: &ZScoreConfig, floor: f64, strictness: f64, point: &Point) -> Option<Verdict> {
        let z = self.model.judge(&self.params(config), floor, point.value);
        let novelty = self.novelty.judge(&config.novelty, floor, seconds(point), point.value);
        let is_settled = self.is_settled(config);
        let by_z = z.map_or(0.0, |j| j.score);
        let Some(novel) = novelty.filter(|_| is_settled) else {
            let j = z?;
            let mean = self.smooth.as_ref().and_then(|s| s.judge(config, floor, point.value));
            let mean = mean.filter(|(_, smooth)| smooth.score > j.score);
            let greatest = mean.map_or(j.score, |(_, smooth)| smooth.score);
            // One of many metrics is not said by itself as long as it is young.
            let score = if strictness > 1.0 { greatest.min(strictness) / strictness } else { greatest };
            return Some(Verdict { score, z, mean, novelty, ..Verdict::plain(config) });
        };
        let by_novelty = novel.score / strictness;
        let far = if strictness > 1.0 { 0.0 } else { by_z / config.far_score };
        let (detector, score) =
            if far > by_novelty { (DetectorKind::ZScore, far) } else { (DetectorKind::Novelty, by_novelty) };
        let (calm_below, calm_points) = (config.calm_novelty, config.calm_points_novelty);
        let factor = 1.0 / strictness;
        let mut verdict =
            Verdict { detector, score, calm_below, factor, calm_points, z, novelty, ..Verdict::plain(config) };
        // One of many metrics is judged together with the others; and what values say is more than what their course says.
        verdict.form = if score > 1.0 || strictness > 1.0 { None } else { self.form(point) };
        if let Some(form) = &verdict.form {
            (verdict.detector, verdict.score) = (DetectorKind::Pattern, form.score());
        }
        Some(verdict)
    }

    /// The numbers behind `verdict`.
    pub(super) fn numbers(
        &self,
        config: &ZScoreConfig,
        settings: Option<&MetricSettings>,
        floor: f64,
        verdict: &Verdict,
        point: &Point,
    ) -> Option<Numbers> {
        match verdict.detector {
            DetectorKind::Limit => Some(numbers_of_limit(settings?, verdict, point)),
            DetectorKind::Novelty => self.numbers_of_novelty(config, floor, verdict, point),
            DetectorKind::Pattern => Some(verdict.form?.numbers(verdict, point)),
            _ => {
                let (observed, j) = verdict.mean.or(verdict.z.map(|j| (point.value, j)))?;
                Some(Numbers { of_mean: verdict.mean.is_some(), ..numbers_of_z(&j, verdict, observed) })
            }
        }
    }

    /// The expected value is the centre of the z-score, and the point is on that side of it on which it is: the
    /// nearest value ever seen may be just beyond the point, where the point is unusual only at this hour or
    /// after the one before. The edge is where the score becomes 1 on the way from there, or from the nearest
    /// value where that is on the way.
    fn numbers_of_novelty(
        &self,
        config: &ZScoreConfig,
        floor: f64,
        verdict: &Verdict,
        point: &Point,
    ) -> Option<Numbers> {
        let j = verdict.novelty?;
        let expected = verdict.z.map_or(j.nearest, |z| z.expected);
        let score = |value: f64| {
            let judged = self.novelty.judge(&config.novelty, floor, seconds(point), value);
            judged.map_or(0.0, |j| verdict.score_at(j.score * verdict.factor, (value - expected).abs()))
        };
        let is_up = point.value > expected;
        let on_the_way = if is_up {
            (expected..point.value).contains(&j.nearest)
        } else {
            j.nearest > point.value && j.nearest <= expected
        };
        let (mut inside, mut outside) = (if on_the_way { j.nearest } else { expected }, point.value);
        for _ in 0..HALVINGS {
            let middle = inside + (outside - inside) / 2.0;
            if score(middle) > 1.0 { outside = middle } else { inside = middle }
        }
        let (lower, upper) = verdict.z.map_or((expected, expected), |z| (z.lower, z.upper));
        let (lower, upper) = if is_up { (lower.min(inside), inside) } else { (inside, upper.max(inside)) };
        let sign = if is_up { 1.0 } else { -1.0 };
        Some(Numbers {
            detector: DetectorKind::Novelty,
            pattern: None,
            score: verdict.score,
            observed: point.value,
            of_mean: false,
            expected,
            lower,
            upper,
            z: sign * j.evidence,
            threshold: j.evidence / verdict.score,
            scale: j.deviation,
            critical: verdict.critical,
            contributors: views(config, &j),
        })
    }
}

fn numbers_of_z(j: &Judgement, verdict: &Verdict, observed: f64) -> Numbers {
    let score = verdict.score;
    let threshold = j.z.abs() / score.max(f64::MIN_POSITIVE);
    // Where the limit is not the model's own (it only had a say), the band is as wide as the limit.
    let wider = threshold / j.threshold.max(f64::MIN_POSITIVE);
    Numbers {
        detector: DetectorKind::ZScore,
        pattern: None,
        score,
        observed,
        of_mean: false,
        expected: j.expected,
        lower: j.expected - (j.expected - j.lower) * wider,
        upper: j.expected + (j.upper - j.expected) * wider,
        z: j.z,
        threshold,
        scale: j.scale,
        critical: verdict.critical,
        contributors: Vec::new(),
    }
}

/// A value outside of what is valid, by how much in units of the range.
fn numbers_of_limit(settings: &MetricSettings, verdict: &Verdict, point: &Point) -> Numbers {
    let (least, most) = settings.valid_range;
    let is_up = point.value > most;
    let limit = if is_up { most } else { least };
    let excess = verdict.score - 1.0;
    let expected = verdict.z.map_or(limit, |j| j.expected.clamp(least, most));
    Numbers {
        detector: DetectorKind::Limit,
        pattern: None,
        score: verdict.score,
        observed: point.value,
        of_mean: false,
        expected,
        // Where the range is open, the band ends at what is expected.
        lower: if least.is_finite() { least } else { expected },
        upper: if most.is_finite() { most } else { expected },
        z: if is_up { verdict.score } else { -verdict.score },
        threshold: 1.0,
        scale: if excess > 0.0 { (point.value - limit).abs() / excess } else { 0.0 },
        critical: verdict.critical,
        contributors: Vec::new(),
    }
}

/// The views that saw something, greatest share first.
fn views(config: &ZScoreConfig, j: &novelty::Judgement) -> Vec<Contributor> {
    let weighted = VIEWS.iter().zip(&config.novelty.weights).zip(&j.distances);
    let mut parts: Vec<Contributor> = weighted
        .map(|((name, weight), distance)| Contributor {
            name: (*name).into(),
            distance: *distance,
            share: (weight * distance).ln_1p() / j.evidence.max(f64::MIN_POSITIVE),
        })
        .filter(|part| part.share > 0.0)
        .collect();
    parts.sort_by(|a, b| b.share.total_cmp(&a.share));
    parts
}

/// Seconds of event time.
pub(super) fn seconds(point: &Point) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "the hour of day needs no nanoseconds")]
    let nanos = point.time.0 as f64;
    nanos / 1e9
}
