//! How the metrics of one thing go together: the detector behind `isolation-forest`.
//!
//! A thing with 3 to 32 metrics that report at the same instants has a [`models::Joint`]: what each metric should be given
//! the others, and an isolation forest over the residuals. It finds what no metric shows by itself, such as a queue that
//! grows while requests do not. It says nothing in a thing's first day, nor of an instant at which a metric lacks, nor while
//! the metrics are said to be out by themselves.

use std::{sync::Arc, time::Duration};

use models::{Joint, joint::Judgement};
use serde::{Deserialize, Serialize};
use window::{Series, UnixNanos};

use super::{Ends, EntityConfig, Moment, Open, Reading, key_of, shares, whose};
use crate::{
    Anomaly, AnomalyEvent, Contributor, DetectorKind, Direction, Pattern, Severity,
    zscore::{number, span},
};

/// Instants in a row that begin an anomaly.
const BEGIN: u32 = 2;
const ENDS: Ends = Ends { calm: 0.9, calm_points: 3, worse: 1.2 };
/// Scores from here on are critical.
const CRITICAL: f64 = 1.5;
/// Metrics that are named.
const NAMED: usize = 5;
/// Least time between two instants that are learned: growing forests costs more than judging.
const LEARN_EVERY: Duration = Duration::from_secs(30);
/// What lasts longer than this, in seconds, is learned.
const ADOPTED: u64 = 6 * 3_600;

/// The metrics of one thing and how they go together.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Together {
    /// Names of the metrics, in order.
    names: Vec<Arc<str>>,
    model: Joint,
    /// Since when the first of them is known.
    began: UnixNanos,
    /// The last instant that was learned: there are at least [`LEARN_EVERY`] between two.
    learned: UnixNanos,
    /// Instants in a row above the limit.
    above: u32,
    pub(super) open: Option<Box<Open>>,
}

impl Together {
    /// Whether that many metrics can be judged so.
    pub(super) fn suits(metrics: usize) -> bool {
        Joint::WIDTHS.contains(&metrics)
    }

    /// Nothing is known of the metrics of an instant, whose row is sorted.
    pub(super) fn of(instant: &Moment, seed: u64) -> Self {
        let names = instant.row.iter().map(|r| Arc::clone(&r.name)).collect();
        Self { names, began: instant.began, ..Self::empty(instant.row.len(), seed) }
    }

    fn empty(width: usize, seed: u64) -> Self {
        let (began, learned) = (UnixNanos::default(), UnixNanos::default());
        Self { names: Vec::new(), model: Joint::new(width, seed), began, learned, above: 0, open: None }
    }

    /// What is left of one that was not written down: its open anomaly.
    pub(super) fn restored(anomaly: Anomaly) -> Self {
        Self { open: Some(Box::new(Open::of(anomaly))), ..Self::empty(0, 0) }
    }

    /// Whether `row`, which is sorted, holds the same metrics.
    pub(super) fn knows(&self, row: &[Reading]) -> bool {
        self.names.iter().eq(row.iter().map(|r| &r.name))
    }

    fn is_young(&self, config: &EntityConfig, at: UnixNanos) -> bool {
        at.since(self.began) < config.memory
    }

    fn is_due(&self, at: UnixNanos) -> bool {
        at.since(self.learned) >= LEARN_EVERY
    }

    /// Whether there is anything to do at an instant. Not in a thing's first day, but to learn now and then.
    pub(super) fn wants(&self, config: &EntityConfig, at: UnixNanos) -> bool {
        !self.is_young(config, at) || self.is_due(at) || self.open.is_some()
    }

    /// Takes a complete instant, all metrics of which are in `instant.row`, in order. `is_out` says whether several are
    /// said to be out by themselves, `factor` what scores are multiplied by.
    pub(super) fn judge(
        &mut self,
        config: &EntityConfig,
        series: &Arc<Series>,
        instant: &Moment,
        (emitted_at, is_out, factor): (UnixNanos, bool, f64),
    ) -> Option<AnomalyEvent> {
        let row: Vec<f32> = instant.row.iter().map(Reading::signed).collect();
        let judged = if self.is_young(config, instant.at) { None } else { self.model.judge(&row) };
        let judged = judged.map(|j| j.times(factor));
        let score = judged.map_or(0.0, |j| j.score());
        let lasts = self.open.as_ref().map_or(0, |open| instant.at.since(open.anomaly.starts_at).as_secs());
        if ((score <= 1.0 && !is_out) || lasts > ADOPTED) && self.is_due(instant.at) {
            self.learned = instant.at;
            self.model.learn(&row, judged.as_ref());
        }
        self.above = if score > 1.0 { self.above + 1 } else { 0 };
        if let Some(open) = self.open.take() {
            let state = |a: &mut Anomaly| {
                // Without a judgement the score is 0, and never the greatest.
                if let Some(judged) = &judged {
                    self.state(a, instant, &row, judged);
                }
            };
            let (open, event) = open.goes_on(instant.at, score, &ENDS, state);
            self.open = open;
            return event;
        }
        if self.above < BEGIN || is_out {
            return None;
        }
        let key = key_of(series.labels.fingerprint());
        let mut anomaly = Anomaly::of(DetectorKind::Forest, key, series, instant.at);
        (anomaly.emitted_at, anomaly.pattern) = (emitted_at, Pattern::Joint);
        anomaly.sample_count = self.model.count();
        anomaly.baseline_span = instant.at.since(instant.began);
        self.state(&mut anomaly, instant, &row, &judged?);
        self.open = Some(Box::new(Open::of(anomaly.clone())));
        Some(AnomalyEvent::Opened(anomaly))
    }

    /// Writes down the numbers of this instant: those of the metric that is farthest from what the others say.
    fn state(&self, a: &mut Anomaly, instant: &Moment, row: &[f32], judged: &Judgement) {
        let residuals = self.model.residuals(row);
        let mut parts: Vec<(usize, &Reading, f64)> = (0..)
            .zip(&instant.row)
            .zip(&residuals)
            .map(|((place, reading), r)| (place, reading, f64::from(*r)))
            .collect();
        parts.sort_by(|a, b| b.2.abs().total_cmp(&a.2.abs()));
        parts.truncate(NAMED);
        let Some((place, first, residual)) = parts.first().copied() else { return };
        // One deviation from what the others say it should be, in the metric's own unit.
        let scale = first.deviation() * self.model.deviation_given_others(place);
        let sign = if residual < 0.0 { -1.0 } else { 1.0 };
        a.metric = Arc::clone(&first.name);
        a.direction = if residual < 0.0 { Direction::Down } else { Direction::Up };
        a.score = judged.score();
        // The lesser of both is what decided.
        let by_evidence = judged.evidence / judged.evidence_limit <= judged.forest / judged.forest_limit;
        (a.z, a.threshold) = if by_evidence {
            (sign * judged.evidence, judged.evidence_limit)
        } else {
            (sign * judged.forest, judged.forest_limit)
        };
        (a.observed, a.expected, a.scale) = (first.value, first.value - residual * scale, scale);
        let reach = judged.evidence_limit.exp_m1() * scale;
        (a.lower, a.upper) = (a.expected - reach, a.expected + reach);
        if a.score >= CRITICAL {
            a.severity = Severity::Critical;
        }
        let total: f64 = parts.iter().map(|(_, _, r)| r.abs().ln_1p()).sum();
        let part = |(_, reading, r): &(usize, &Reading, f64)| Contributor {
            name: Arc::clone(&reading.name),
            distance: r.abs(),
            share: r.abs().ln_1p() / total.max(f64::MIN_POSITIVE),
        };
        a.contributors = parts.iter().map(part).collect();
        a.explanation = explain(a, &self.names, judged);
    }
}

fn explain(a: &Anomaly, names: &[Arc<str>], judged: &Judgement) -> String {
    format!(
        "The {} metrics of {} no longer go together as they did in {}: {} was {}, where the others say {}. Farthest from what the \
         others say: {}. The mean of ln(1 + deviations) over the five farthest is {:.2}, and an isolation forest scores {:.3}; it \
         would not have fired unless above {:.2} and above {:.3}.",
        names.len(),
        whose(a),
        span(a.baseline_span),
        a.metric,
        number(a.observed),
        number(a.expected),
        shares(a, "deviations"),
        judged.evidence,
        judged.forest,
        judged.evidence_limit,
        judged.forest_limit,
    )
}

#[cfg(test)]
#[path = "together/tests.rs"]
mod tests;
