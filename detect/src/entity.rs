//! Many metrics of one thing, taken together.
//!
//! A machine with dozens of metrics is rarely broken in only one of them, and each metric by itself has
//! its own chances of a false alarm. So series with exactly the same labels (the metrics of one machine,
//! pod or instance of a service) are judged as one: at each instant the evidence of an entity is the mean
//! of `ln(1 + z)` over its five most unusual metrics, where z is the distance from the last day's mean in
//! standard deviations. The logarithm keeps one absurd metric from speaking for all.
//!
//! From [`EntityConfig::min_metrics`] on a thing is an entity, and its metrics by themselves have to be
//! much further out to be said separately.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use models::Rolling;
use serde::{Deserialize, Serialize};
use window::{Point, Series, SeriesId, SeriesKey, UnixNanos};

use crate::{
    Anomaly, AnomalyEvent, Contributor, DetectorKind, Direction, Pattern, Severity,
    zscore::{anomaly_id, number, span},
};

/// How entities are judged.
#[derive(Clone, Debug, PartialEq)]
pub struct EntityConfig {
    /// Metrics with the same labels that make an entity. Default 8.
    pub min_metrics: usize,
    /// Evidence from which on an entity is anomalous, at one point a minute. Default 2.4.
    pub limit: f64,
    /// Added to the limit when points come e times as often. Default 0.1.
    pub per_rate: f64,
    /// Scores below this are calm. Default 0.6.
    pub calm_score: f64,
    /// Calm instants in a row that end an anomaly. Default 5.
    pub calm_points: u32,
    /// Instants before the first verdict. Default 120.
    pub min_samples: u64,
    /// Time constant of what is usual. Default one day.
    pub memory: Duration,
    /// How much further out than a lone series one of a hundred metrics has to be by itself. Default 10.
    pub strictness: f64,
    /// Scores from here on are critical. Default 1.4.
    pub critical_score: f64,
}

impl Default for EntityConfig {
    fn default() -> Self {
        Self {
            min_metrics: 8,
            limit: 2.4,
            per_rate: 0.1,
            calm_score: 0.6,
            calm_points: 5,
            min_samples: 120,
            memory: Duration::from_hours(24),
            strictness: 10.0,
            critical_score: 1.4,
        }
    }
}

/// Metrics whose evidence counts.
const TOP: usize = 5;
/// An update is said again when the score, which is logarithmic, has grown by this factor.
const WORSE: f64 = 1.08;
/// Sampling interval for which [`EntityConfig::limit`] holds.
const REFERENCE_INTERVAL: f64 = 60.0;

/// All entities, and which series belongs to which.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Entities {
    #[serde(skip)]
    config: EntityConfig,
    metrics: Vec<Metric>,
    /// By the fingerprint of the labels.
    known: BTreeMap<u64, Entity>,
}

/// What is usual for one metric.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Metric {
    rolling: Rolling,
    last: Option<UnixNanos>,
    /// Fingerprint of the labels.
    entity: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Entity {
    metrics: usize,
    /// The instant whose evidence is being collected.
    now: UnixNanos,
    began: UnixNanos,
    reported: usize,
    instants: u64,
    interval: f64,
    judged: bool,
    /// The most unusual metrics of this instant, most unusual first.
    top: Vec<Reading>,
    open: Option<Box<Open>>,
}

/// One metric at one instant.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Reading {
    /// Name of the metric.
    name: Arc<str>,
    z: f64,
    value: f64,
    mean: f64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Open {
    anomaly: Anomaly,
    calm: u32,
    calm_since: Option<UnixNanos>,
    said: f64,
}

impl Entities {
    /// Entities that nothing is known of.
    #[must_use]
    pub fn new(config: EntityConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// The same, deciding by `config` from now on.
    #[must_use]
    pub(crate) fn with_config(self, config: EntityConfig) -> Self {
        Self { config, ..self }
    }

    /// How much further out the series has to be than a lone one, to be said by itself: 1 for a lone one.
    #[must_use]
    pub fn strictness(&self, series: SeriesId) -> f64 {
        let metrics = self.metrics.get(series.index()).and_then(|m| self.known.get(&m.entity)).map_or(1, |e| e.metrics);
        if metrics < self.config.min_metrics {
            return 1.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of metrics")]
        let many = (metrics as f64).log10() / 2.0;
        1.0 + (self.config.strictness - 1.0) * many
    }

    /// Takes the next point of a series. An instant is judged with its last metric, or with the first point
    /// of a later instant when not all metrics came.
    pub fn observe(&mut self, point: &Point, series: &Arc<Series>) -> Vec<AnomalyEvent> {
        let index = point.series.index();
        if self.metrics.len() <= index {
            self.metrics.resize_with(index + 1, Metric::default);
        }
        let metric = &mut self.metrics[index];
        let elapsed = match metric.last {
            Some(last) => point.time.since(last).as_secs_f64(),
            None => {
                metric.entity = series.labels.fingerprint();
                self.known.entry(metric.entity).or_default().metrics += 1;
                0.0
            }
        };
        metric.last = Some(point.time);
        let (z, mean) = (metric.rolling.z(point.value), metric.rolling.mean());
        metric.rolling.learn(point.value, elapsed, self.config.memory.as_secs_f64());
        let Some(entity) = self.known.get_mut(&metric.entity) else { return Vec::new() };
        let mut events = Vec::new();
        if point.time > entity.now {
            events.extend(entity.judge(&self.config, series));
            entity.begin(point.time);
        }
        if point.time == entity.now && !entity.judged {
            entity.take(Reading { name: Arc::clone(&series.name), z, value: point.value, mean });
            if entity.reported >= entity.metrics {
                events.extend(entity.judge(&self.config, series));
            }
        }
        events
    }

    /// Replaces what is remembered of the open anomaly with the id of `anomaly`, to which the caller has
    /// added.
    pub fn amend(&mut self, anomaly: &Anomaly) {
        if let Some(open) = self.known.get_mut(&anomaly.labels.fingerprint()).and_then(|e| e.open.as_mut()) {
            open.anomaly = anomaly.clone();
        }
    }

    /// Takes back anomalies that were open when the process ended.
    pub fn restore(&mut self, anomalies: impl IntoIterator<Item = Anomaly>) {
        for anomaly in anomalies {
            let entity = self.known.entry(anomaly.labels.fingerprint()).or_default();
            entity.open = Some(Box::new(Open { said: anomaly.score, anomaly, calm: 0, calm_since: None }));
        }
    }

    /// Forgets series that are gone; with its last metric an entity is forgotten, and its anomaly ends.
    pub fn forget(&mut self, expired: &[SeriesId]) -> Vec<AnomalyEvent> {
        let mut events = Vec::new();
        for id in expired {
            let Some(metric) = self.metrics.get_mut(id.index()).map(std::mem::take) else { continue };
            let Some(entity) = self.known.get_mut(&metric.entity).filter(|_| metric.last.is_some()) else { continue };
            entity.metrics = entity.metrics.saturating_sub(1);
            if entity.metrics == 0 {
                let ended = entity.open.take().map(|open| open.ended(metric.last));
                self.known.remove(&metric.entity);
                events.extend(ended);
            }
        }
        events
    }

    /// The anomalies that are open.
    pub fn open(&self) -> impl Iterator<Item = &Anomaly> {
        self.known.values().filter_map(|e| e.open.as_ref().map(|o| &o.anomaly))
    }
}

impl Entity {
    fn begin(&mut self, now: UnixNanos) {
        if self.instants == 0 {
            self.began = now;
        } else {
            let elapsed = now.since(self.now).as_secs_f64();
            let rate = if self.instants < 50 { 1.0 / count(self.instants) } else { 0.02 };
            self.interval += rate * (elapsed - self.interval);
        }
        self.instants += 1;
        (self.now, self.reported, self.judged) = (now, 0, false);
        self.top.clear();
    }

    fn take(&mut self, reading: Reading) {
        self.reported += 1;
        if self.top.len() < TOP || self.top.last().is_some_and(|last| reading.z > last.z) {
            self.top.truncate(TOP - 1);
            let at = self.top.partition_point(|r| r.z >= reading.z);
            self.top.insert(at, reading);
        }
    }

    /// Judges the instant that was collected.
    fn judge(&mut self, config: &EntityConfig, series: &Arc<Series>) -> Option<AnomalyEvent> {
        if self.judged || self.metrics < config.min_metrics || self.instants < config.min_samples {
            return None;
        }
        self.judged = true;
        let evidence = evidence(&self.top);
        let limit = config.limit + config.per_rate * (REFERENCE_INTERVAL / self.interval.max(1e-3)).ln();
        let score = evidence / limit.max(config.limit / 2.0);
        match self.open.take() {
            Some(open) => self.continues(config, open, evidence, score),
            None if score > 1.0 => {
                let anomaly = self.opened(config, series, evidence, score);
                let open = Open { anomaly: anomaly.clone(), calm: 0, calm_since: None, said: score };
                self.open = Some(Box::new(open));
                Some(AnomalyEvent::Opened(anomaly))
            }
            None => None,
        }
    }

    fn continues(
        &mut self,
        config: &EntityConfig,
        mut open: Box<Open>,
        evidence: f64,
        score: f64,
    ) -> Option<AnomalyEvent> {
        if score < config.calm_score {
            open.calm += 1;
            let since = *open.calm_since.get_or_insert(self.now);
            if open.calm >= config.calm_points {
                return Some(open.ended(Some(since)));
            }
            self.open = Some(open);
            return None;
        }
        (open.calm, open.calm_since) = (0, None);
        open.anomaly.points += 1;
        if score > open.anomaly.score {
            self.state(config, &mut open.anomaly, evidence, score);
        }
        let worse = open.anomaly.score > WORSE * open.said;
        if worse {
            open.said = open.anomaly.score;
        }
        let event = worse.then(|| AnomalyEvent::Updated(open.anomaly.clone()));
        self.open = Some(open);
        event
    }

    fn opened(&self, config: &EntityConfig, series: &Arc<Series>, evidence: f64, score: f64) -> Anomaly {
        let key = SeriesKey(u128::from(series.labels.fingerprint()));
        let mut anomaly = Anomaly {
            id: anomaly_id(DetectorKind::Entity, key, self.now),
            seq: 0,
            detector: DetectorKind::Entity,
            service: Arc::clone(&series.service),
            metric: Arc::clone(&series.name),
            labels: series.labels.clone(),
            series_key: None,
            starts_at: self.now,
            ends_at: None,
            emitted_at: self.now,
            direction: Direction::Up,
            pattern: Pattern::Joint,
            severity: Severity::Warning,
            score,
            observed: 0.0,
            expected: 0.0,
            lower: 0.0,
            upper: 0.0,
            z: 0.0,
            threshold: 0.0,
            scale: 0.0,
            contributors: Vec::new(),
            sample_count: self.instants - 1,
            baseline_span: self.now.since(self.began).min(config.memory),
            points: 1,
            exemplars: Vec::new(),
            incident_id: None,
            runbook_url: None,
            explanation: String::new(),
        };
        self.state(config, &mut anomaly, evidence, score);
        anomaly
    }

    /// Writes down the numbers of this instant: those of its most unusual metric, and every share.
    fn state(&self, config: &EntityConfig, a: &mut Anomaly, evidence: f64, score: f64) {
        let Some(first) = self.top.first() else { return };
        a.metric = Arc::clone(&first.name);
        a.direction = if first.value >= first.mean { Direction::Up } else { Direction::Down };
        let sign = if first.value >= first.mean { 1.0 } else { -1.0 };
        (a.score, a.z, a.threshold) = (score, sign * evidence, evidence / score);
        (a.observed, a.expected) = (first.value, first.mean);
        // Where the metric would have to be for its z to be that of the whole at the limit.
        a.scale = if first.z > 0.0 { (first.value - first.mean).abs() / first.z } else { 0.0 };
        let reach = a.threshold.exp_m1() * a.scale;
        (a.lower, a.upper) = (first.mean - reach, first.mean + reach);
        if score >= config.critical_score {
            a.severity = Severity::Critical;
        }
        let total: f64 = self.top.iter().take(TOP).map(|r| r.z.ln_1p()).sum();
        a.contributors = self
            .top
            .iter()
            .take(TOP)
            .map(|r| Contributor { name: Arc::clone(&r.name), distance: r.z, share: r.z.ln_1p() / total })
            .collect();
        a.explanation = explain(a, self.metrics);
    }
}

impl Open {
    fn ended(self, at: Option<UnixNanos>) -> AnomalyEvent {
        let mut anomaly = self.anomaly;
        anomaly.ends_at = at.or(Some(anomaly.starts_at));
        AnomalyEvent::Ended(anomaly)
    }
}

/// Mean of `ln(1 + z)` over the most unusual metrics, which come first in `top`.
fn evidence(top: &[Reading]) -> f64 {
    let sum: f64 = top.iter().take(TOP).map(|r| r.z.ln_1p()).sum();
    #[expect(clippy::cast_precision_loss, reason = "five")]
    let most = TOP as f64;
    sum / most
}

fn explain(a: &Anomaly, metrics: usize) -> String {
    let parts: Vec<String> = a
        .contributors
        .iter()
        .map(|c| format!("{} ({:.1} standard deviations, {:.0} %)", c.name, c.distance, 100.0 * c.share))
        .collect();
    format!(
        "Of {metrics} metrics of {} several left their usual range of the last {} together: {}. The mean of ln(1 + z) \
         over the five most unusual is {:.2}; it would not have fired unless above {:.2}. The first was {}, usual is {}.",
        if a.service.is_empty() { "one sender" } else { &a.service },
        span(a.baseline_span),
        parts.join(", "),
        a.z.abs(),
        a.threshold,
        number(a.observed),
        number(a.expected),
    )
}

fn count(n: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let n = n as f64;
    n
}

#[cfg(test)]
#[path = "entity/tests.rs"]
mod tests;
