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

use super::{State, ZScoreConfig};
use crate::{Contributor, DetectorKind};

/// Halvings that find the edge of the band.
const HALVINGS: u32 = 24;

/// What is said of one point.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) detector: DetectorKind,
    /// Above 1 is anomalous.
    pub(super) score: f64,
    /// Whether the point belongs to normal times.
    pub(super) is_calm: bool,
    /// How many such points in a row end an anomaly.
    pub(super) calm_points: u64,
    pub(super) z: Option<Judgement>,
    /// The mean of the last few points, and what is to be said of it, where that is more than of the point.
    pub(super) mean: Option<(f64, Judgement)>,
    pub(super) novelty: Option<novelty::Judgement>,
}

/// The numbers of an anomaly, which reproduce the decision.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    pub(super) detector: DetectorKind,
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
    pub(super) contributors: Vec<Contributor>,
}

impl State {
    /// A share or a quantile of a few calls has no steps of its own.
    pub(super) fn params(&self, config: &ZScoreConfig) -> Params {
        Params { steps: self.smooth.is_none(), ..config.params }
    }

    /// `None` while nothing is known. `strictness` multiplies what the series must exceed.
    pub(super) fn verdict(&self, config: &ZScoreConfig, floor: f64, strictness: f64, point: &Point) -> Option<Verdict> {
        let z = self.model.judge(&self.params(config), floor, point.value);
        let novelty = self.novelty.judge(&config.novelty, floor, seconds(point), point.value);
        let is_settled =
            self.novelty.count() >= config.settle_points && self.novelty.age() >= config.settle.as_secs_f64();
        let by_z = z.map_or(0.0, |j| j.score);
        let Some(novel) = novelty.filter(|_| is_settled) else {
            let j = z?;
            let mean = self.smooth.as_ref().and_then(|s| s.judge(config, floor, point.value));
            let mean = mean.filter(|(_, smooth)| smooth.score > j.score);
            let greatest = mean.map_or(j.score, |(_, smooth)| smooth.score);
            // One of many metrics is not said by itself as long as it is young.
            let score = if strictness > 1.0 { greatest.min(strictness) / strictness } else { greatest };
            let is_calm = score < config.calm_score;
            let calm_points = config.calm_points;
            return Some(Verdict { detector: DetectorKind::ZScore, score, is_calm, calm_points, z, mean, novelty });
        };
        let by_novelty = novel.score / strictness;
        let far = if strictness > 1.0 { 0.0 } else { by_z / config.far_score };
        let is_calm = by_novelty < config.calm_novelty && far < config.calm_novelty;
        let (detector, score) =
            if far > by_novelty { (DetectorKind::ZScore, far) } else { (DetectorKind::Novelty, by_novelty) };
        let calm_points = config.calm_points_novelty;
        Some(Verdict { detector, score, is_calm, calm_points, z, mean: None, novelty })
    }

    /// The numbers behind `verdict`.
    pub(super) fn numbers(
        &self,
        config: &ZScoreConfig,
        floor: f64,
        verdict: &Verdict,
        point: &Point,
    ) -> Option<Numbers> {
        match verdict.detector {
            DetectorKind::Novelty => self.numbers_of_novelty(config, floor, verdict, point),
            _ => {
                let (observed, j) = verdict.mean.or(verdict.z.map(|j| (point.value, j)))?;
                Some(Numbers { of_mean: verdict.mean.is_some(), ..numbers_of_z(&j, verdict.score, observed) })
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
        let strictness = j.score / verdict.score;
        let score = |value: f64| {
            let judged = self.novelty.judge(&config.novelty, floor, seconds(point), value);
            judged.map_or(0.0, |j| j.score / strictness)
        };
        let expected = verdict.z.map_or(j.nearest, |z| z.expected);
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
            score: verdict.score,
            observed: point.value,
            of_mean: false,
            expected,
            lower,
            upper,
            z: sign * j.evidence,
            threshold: j.evidence / verdict.score,
            scale: j.deviation,
            contributors: views(config, &j),
        })
    }
}

fn numbers_of_z(j: &Judgement, score: f64, observed: f64) -> Numbers {
    let threshold = j.z.abs() / score.max(f64::MIN_POSITIVE);
    // Where the limit is not the model's own (it only had a say), the band is as wide as the limit.
    let wider = threshold / j.threshold.max(f64::MIN_POSITIVE);
    Numbers {
        detector: DetectorKind::ZScore,
        score,
        observed,
        of_mean: false,
        expected: j.expected,
        lower: j.expected - (j.expected - j.lower) * wider,
        upper: j.expected + (j.upper - j.expected) * wider,
        z: j.z,
        threshold,
        scale: j.scale,
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
