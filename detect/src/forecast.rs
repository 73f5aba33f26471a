//! Series that are about to reach a limit: a disk that fills, a pool that empties.
//!
//! Only series with a declared [`Limit`] are looked at. Their points are averaged over buckets of a thirty-second part of the
//! horizon; the last 48 buckets give a pace, and the pace a probability of reaching the limit within the
//! horizon (see [`models::passage`]). The score is that probability over the one from which on it is said.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use models::{Course, Pace};
use serde::{Deserialize, Serialize};
use window::{Point, Series, SeriesId, SeriesKey, UnixNanos};

use crate::{
    Anomaly, AnomalyEvent, DetectorKind, Direction, Forecast, Limit, Pattern, Severity,
    zscore::{number, span, subject},
};

/// Buckets of a horizon.
const BUCKETS: u32 = 32;
/// Buckets in a row that begin or end an anomaly.
const IN_A_ROW: u32 = 2;
/// Below this share of the probability that began it, an anomaly may end.
const CALM: f64 = 0.5;
/// Times to the limit are given up to this many horizons.
const LONGEST: f64 = 10.0;
/// A limit that is reached within this share of the horizon is critical.
const SOON: f64 = 0.25;
/// An update is said again when the time that is left has shrunk to this share.
const NEARER: f64 = 0.5;

/// The courses of all series with a limit.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Forecasts {
    states: BTreeMap<SeriesId, State>,
    /// Anomalies that were open when the process ended, until their series is seen again.
    restored: BTreeMap<SeriesKey, Anomaly>,
}

#[derive(Debug, Serialize, Deserialize)]
struct State {
    limit: Limit,
    course: Course,
    /// The bucket that is filled now, the sum of its points and their number.
    bucket: i64,
    sum: f64,
    count: u32,
    began: UnixNanos,
    points: u64,
    /// Buckets in a row that were on the other side of the decision.
    turned: u32,
    open: Option<Box<Anomaly>>,
    /// Time that was left when it was last said, in seconds.
    said: f64,
}

impl Forecasts {
    /// Takes the next point of a series, the limit that it has now, and what scores are multiplied by. Without a limit, or
    /// while it is not to be judged, nothing is known of it any more.
    pub fn observe(
        &mut self,
        point: &Point,
        series: &Arc<Series>,
        limit: Option<(&Limit, f64)>,
    ) -> Option<AnomalyEvent> {
        if limit.is_none() && self.states.is_empty() && self.restored.is_empty() {
            return None;
        }
        let is_other =
            self.states.get(&point.series).is_some_and(|state| limit.map(|(limit, _)| limit) != Some(&state.limit));
        let open = if is_other { self.states.remove(&point.series).and_then(|state| state.open) } else { None };
        let open = open.or_else(|| self.restored.remove(&series.key).map(Box::new));
        let Some((limit, factor)) = limit else { return open.map(|open| ended(*open, point.time)) };
        let state = self.states.entry(point.series).or_insert_with(|| State::new(*limit, point.time));
        state.open = state.open.take().or(open);
        state.observe(point, series, factor)
    }

    /// Takes back the anomalies that were open when the process ended.
    pub fn restore(&mut self, anomalies: impl IntoIterator<Item = Anomaly>) {
        self.restored.extend(anomalies.into_iter().filter_map(|a| Some((a.series_key?, a))));
    }

    /// Replaces what is remembered of the open anomaly of `series` by `anomaly`, to which the caller has added.
    pub fn amend(&mut self, series: SeriesId, anomaly: &Anomaly) {
        if let Some(open) = self.states.get_mut(&series).and_then(|state| state.open.as_mut()) {
            **open = anomaly.clone();
        }
    }

    /// Forgets series that are gone; their open anomalies end at their last bucket.
    pub fn forget(&mut self, expired: &[SeriesId]) -> Vec<AnomalyEvent> {
        let gone = expired.iter().filter_map(|id| self.states.remove(id));
        gone.filter_map(|state| {
            let at = state.start_of(state.bucket);
            state.open.map(|open| ended(*open, at))
        })
        .collect()
    }

    /// The anomalies that are open.
    pub fn open(&self) -> impl Iterator<Item = &Anomaly> {
        self.states.values().filter_map(|state| state.open.as_deref()).chain(self.restored.values())
    }
}

fn ended(mut anomaly: Anomaly, at: UnixNanos) -> AnomalyEvent {
    anomaly.ends_at = Some(at.max(anomaly.starts_at));
    AnomalyEvent::Ended(anomaly)
}

impl State {
    fn new(limit: Limit, began: UnixNanos) -> Self {
        let course = Course::default();
        Self { limit, course, bucket: i64::MIN, sum: 0.0, count: 0, began, points: 0, turned: 0, open: None, said: 0.0 }
    }

    /// Length of a bucket in nanoseconds.
    fn width(&self) -> i64 {
        i64::try_from((self.limit.horizon / BUCKETS).as_nanos()).unwrap_or(i64::MAX).max(1)
    }

    fn start_of(&self, bucket: i64) -> UnixNanos {
        UnixNanos(bucket.saturating_mul(self.width()))
    }

    fn observe(&mut self, point: &Point, series: &Arc<Series>, factor: f64) -> Option<AnomalyEvent> {
        let bucket = point.time.0.div_euclid(self.width());
        let closed = self.count > 0 && bucket > self.bucket;
        if closed {
            self.course.take(self.bucket, self.sum / f64::from(self.count));
        }
        if closed || self.count == 0 {
            (self.bucket, self.sum, self.count) = (bucket, 0.0, 0);
        }
        self.sum += point.value;
        self.count = self.count.saturating_add(1);
        self.points += 1;
        if closed { self.judge(point, series, factor) } else { None }
    }

    /// What the course says now that a bucket is complete.
    fn judge(&mut self, point: &Point, series: &Arc<Series>, factor: f64) -> Option<AnomalyEvent> {
        let pace = self.course.pace()?;
        let limit = self.limit;
        let probability = pace.reaches(limit.value, limit.is_upwards(), f64::from(BUCKETS));
        // The probability from which on it is said.
        let least = limit.probability / factor;
        let score = probability / least;
        let Some(mut open) = self.open.take() else {
            self.turned = if score > 1.0 { self.turned + 1 } else { 0 };
            if self.turned < IN_A_ROW {
                return None;
            }
            let key = SeriesKey(series.key.0);
            let mut anomaly = Anomaly::of(DetectorKind::Forecast, key, series, point.time);
            anomaly.series_key = Some(key);
            self.state(&mut anomaly, &pace, (probability, least));
            (self.turned, self.said) = (0, left(&anomaly));
            self.open = Some(Box::new(anomaly.clone()));
            return Some(AnomalyEvent::Opened(anomaly));
        };
        self.turned = if score < CALM { self.turned + 1 } else { 0 };
        if self.turned >= IN_A_ROW {
            self.turned = 0;
            return Some(ended(*open, point.time));
        }
        open.points += 1;
        let before = (open.severity, self.said);
        if score >= open.score {
            self.state(&mut open, &pace, (probability, least));
        }
        let is_worse = open.severity > before.0 || left(&open) < NEARER * before.1;
        if is_worse {
            self.said = left(&open);
        }
        let event = is_worse.then(|| AnomalyEvent::Updated((*open).clone()));
        self.open = Some(open);
        event
    }

    /// Writes down the numbers of this moment.
    fn state(&self, a: &mut Anomaly, pace: &Pace, (probability, least): (f64, f64)) {
        let (limit, ahead) = (self.limit, f64::from(BUCKETS));
        let second = self.limit.horizon.as_secs_f64() / ahead;
        let time = |p| {
            let buckets = pace.time_to(limit.value, limit.is_upwards(), p, LONGEST * ahead)?;
            Some(Duration::from_secs_f64((buckets * second).round()))
        };
        let sign = if limit.is_upwards() { 1.0 } else { -1.0 };
        let edge = pace.level_for(limit.value, limit.is_upwards(), least.min(1.0), ahead);
        a.direction = limit.towards;
        a.pattern = Pattern::Trend;
        (a.z, a.threshold, a.score) = (sign * probability, least, probability / least);
        (a.observed, a.expected, a.scale) = (pace.level, pace.level + pace.drift * ahead, pace.volatility);
        (a.lower, a.upper) =
            if limit.is_upwards() { (edge.min(pace.level), edge) } else { (edge, edge.max(pace.level)) };
        a.sample_count = self.points;
        a.baseline_span = a.emitted_at.max(a.starts_at).since(self.began).min(self.limit.horizon.mul_f64(1.5));
        let forecast = Forecast {
            limit: limit.value,
            horizon: limit.horizon,
            probability,
            p10: time(0.1),
            p50: time(0.5),
            p90: time(0.9),
            pace: pace.drift / second,
        };
        let is_soon = forecast.p50.is_some_and(|t| t.as_secs_f64() < SOON * limit.horizon.as_secs_f64());
        a.severity = a.severity.max(if is_soon { Severity::Critical } else { Severity::Warning });
        a.explanation = explain(a, &forecast);
        a.forecast = Some(Box::new(forecast));
    }
}

impl Limit {
    fn is_upwards(&self) -> bool {
        self.towards == Direction::Up
    }
}

/// Seconds until the limit is reached, as likely as not.
fn left(a: &Anomaly) -> f64 {
    let time = a.forecast.as_ref().and_then(|f| f.p50);
    time.map_or(f64::INFINITY, |time| time.as_secs_f64())
}

fn explain(a: &Anomaly, forecast: &Forecast) -> String {
    let time = |t: Option<Duration>| t.map_or_else(|| "longer than can be said".to_owned(), span);
    format!(
        "{} is at {} and changes by {} an hour (from {} points over {}). At this pace it reaches its limit of {} in {} (with a \
         probability of 0.1 in {}, of 0.9 in {}); within {} with a probability of {:.2}. It would not have fired unless above \
         {:.2}, which is from {} on.",
        subject(a),
        number(a.observed),
        number(forecast.pace * 3_600.0),
        a.sample_count,
        span(a.baseline_span),
        number(forecast.limit),
        time(forecast.p50),
        time(forecast.p10),
        time(forecast.p90),
        span(forecast.horizon),
        forecast.probability,
        a.threshold,
        number(if a.z > 0.0 { a.upper } else { a.lower }),
    )
}

#[cfg(test)]
#[path = "forecast/tests.rs"]
mod tests;
