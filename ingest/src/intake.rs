//! The one writer of the window: admits rows, gives series their numbers, derives rates and RED.

use std::{sync::Arc, time::Duration};

use window::{Point, Series, SeriesId, SeriesKind, SeriesLimit, UnixNanos, Window, is_stale};

use crate::{
    Batch, Feed, IncomingPoint, RedConfig, Rejections,
    rates::Sums,
    red::{Exemplars, Red},
};

/// What is admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntakeConfig {
    /// Points further ahead of the wall clock than this are refused. Default 10 min.
    pub max_ahead: Duration,
    /// How spans and logs are summed up.
    pub red: RedConfig,
}

impl Default for IntakeConfig {
    fn default() -> Self {
        Self { max_ahead: Duration::from_mins(10), red: RedConfig::default() }
    }
}

/// What came of one batch (or of closing buckets).
#[derive(Debug, Default)]
pub struct Applied {
    /// Points for the detectors, in the order of the input; per series strictly forward in time,
    /// finite, of kinds that are judged.
    pub judged: Vec<Point>,
    /// Who sent something, and the newest event time of it.
    pub feeds: Vec<(Feed, UnixNanos)>,
    /// What was refused, together with what the decoder refused.
    pub rejected: Rejections,
    /// Traces of the operations whose buckets were closed.
    pub exemplars: Vec<Exemplars>,
}

/// Rows that were taken but not judged, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Older than the newest point of their series: in the window, not judged.
    pub late: u64,
    /// Same series and time as a point before: ignored.
    pub repeated: u64,
    /// NaN or infinite: in the window, not judged.
    pub not_finite: u64,
    /// Spans and logs whose bucket was already closed: in the window, not in the derived series.
    pub late_events: u64,
    /// Spans and logs of services beyond the limit: in the window, not in the derived series.
    pub unsummed_events: u64,
}

/// Where a point comes from. Rates are derived from sums that were sent; the sums that are derived
/// here come with rates of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Sent,
    Derived,
}

/// Applies batches to a window.
#[derive(Debug)]
pub struct Intake {
    config: IntakeConfig,
    sums: Sums,
    /// By number of the sum: its rate series, once known.
    rate_series: Vec<Option<Arc<Series>>>,
    red: Red,
    passed: Passed,
}

impl Intake {
    /// An intake without state.
    #[must_use]
    pub fn new(config: IntakeConfig) -> Self {
        let red = Red::new(config.red.clone());
        Self { config, sums: Sums::default(), rate_series: Vec::new(), red, passed: Passed::default() }
    }

    /// What was taken without being judged, since the start.
    #[must_use]
    pub fn passed(&self) -> Passed {
        Passed { late_events: self.red.late, unsummed_events: self.red.unsummed, ..self.passed }
    }

    /// Puts `batch` into `window`. `now` is the wall clock, against which the future is refused and
    /// idle services are closed; `None` in a replay, where every time is as good as another.
    pub fn apply(&mut self, mut batch: Batch, window: &mut Window, now: Option<UnixNanos>) -> Applied {
        let mut applied = Applied { rejected: batch.rejected, ..Applied::default() };
        let limit = now.map(|n| n.plus(self.config.max_ahead));
        let in_future = |time: UnixNanos| limit.is_some_and(|l| time > l);
        let ahead = self.config.max_ahead.as_secs();
        let refuse = |rejected: &mut Rejections, what: &str| {
            rejected.add(1, || format!("{what} is more than {ahead} s in the future"));
        };
        let mut newest: Option<UnixNanos> = None;
        for point in batch.points {
            if in_future(point.time) {
                refuse(&mut applied.rejected, "time_unix_nano");
            } else {
                newest = newest.max(Some(point.time));
                self.take(point, Origin::Sent, window, &mut applied);
            }
        }
        let arrived = now.unwrap_or(UnixNanos::MIN);
        if let Some(limit) = limit {
            let refused = [
                (batch.spans.refuse_after(limit), "end_time_unix_nano"),
                (batch.logs.refuse_after(limit), "log record's time"),
            ];
            for (count, what) in refused.into_iter().filter(|(count, _)| *count > 0) {
                applied.rejected.add(count as u64, || format!("{what} is more than {ahead} s in the future"));
            }
        }
        newest = newest.max(batch.spans.newest()).max(batch.logs.newest());
        self.red.add_spans(&batch.spans, arrived);
        window.push_spans(&batch.spans);
        self.red.add_logs(&batch.logs, arrived);
        window.push_logs(&batch.logs);
        if let Some(newest) = newest {
            applied.feeds = batch.feeds.into_iter().map(|feed| (feed, newest)).collect();
        }
        self.close_buckets(window, now, &mut applied);
        applied
    }

    /// Closes buckets of services that have been idle by the wall clock `now`.
    pub fn tick(&mut self, window: &mut Window, now: UnixNanos) -> Applied {
        let mut applied = Applied::default();
        self.close_buckets(window, Some(now), &mut applied);
        applied
    }

    /// Forgets series whose numbers may be used again.
    pub fn forget(&mut self, expired: &[SeriesId]) {
        for id in expired {
            self.sums.forget(*id);
            if let Some(rate) = self.rate_series.get_mut(id.index()) {
                *rate = None;
            }
        }
    }

    fn close_buckets(&mut self, window: &mut Window, now: Option<UnixNanos>, applied: &mut Applied) {
        let mut derived = Vec::new();
        self.red.close(now, &mut derived);
        applied.exemplars = std::mem::take(&mut self.red.exemplars);
        for point in derived {
            self.take(point, Origin::Derived, window, applied);
        }
    }

    fn take(&mut self, point: IncomingPoint, origin: Origin, window: &mut Window, applied: &mut Applied) {
        let IncomingPoint { key, series, time, start, value } = point;
        let id = match window.registry_mut().find_or_add(key, || (*series).clone()) {
            Ok(id) => id,
            Err(SeriesLimit { limit }) => {
                applied.rejected.add(1, || format!("{}: series limit of {limit} reached", series.name));
                return;
            }
        };
        let last = window.registry().last_seen(id);
        if time == last {
            self.passed.repeated += 1;
            return;
        }
        let forward = time > last;
        if !forward {
            self.passed.late += 1;
        }
        let SeriesKind::Sum { temporality, monotonic } = series.kind else {
            window.push_point(Point { series: id, time, value });
            if forward && series.kind.is_judged() {
                self.judge(Point { series: id, time, value }, applied);
            }
            return;
        };
        if !forward || is_stale(value) || !value.is_finite() {
            // A late delta cannot be added to a total that has moved on; as a cumulative value it can stand.
            if temporality == window::Temporality::Cumulative || is_stale(value) {
                window.push_point(Point { series: id, time, value });
            }
            return;
        }
        let advance = self.sums.advance(id, temporality, start, time, value);
        window.push_point(Point { series: id, time, value: advance.total });
        if !monotonic {
            self.judge(Point { series: id, time, value: advance.total }, applied);
        } else if let Some(rate) = advance.rate
            && origin == Origin::Sent
        {
            self.take_rate(id, &series, time, rate, window, applied);
        }
    }

    fn take_rate(
        &mut self,
        of: SeriesId,
        series: &Arc<Series>,
        time: UnixNanos,
        rate: f64,
        window: &mut Window,
        applied: &mut Applied,
    ) {
        if self.rate_series.len() <= of.index() {
            self.rate_series.resize(of.index() + 1, None);
        }
        let derived = self.rate_series[of.index()].get_or_insert_with(|| rate_of(series));
        let point = IncomingPoint { key: derived.key, series: Arc::clone(derived), time, start: None, value: rate };
        self.take(point, Origin::Derived, window, applied);
    }

    fn judge(&mut self, point: Point, applied: &mut Applied) {
        if point.value.is_finite() {
            applied.judged.push(point);
        } else if !is_stale(point.value) {
            self.passed.not_finite += 1;
        }
    }
}

/// The series of per-second rates of a monotonic sum: same labels, `:rate` behind the name.
fn rate_of(series: &Series) -> Arc<Series> {
    let name: Arc<str> = format!("{}:rate", series.name.trim_end_matches("_total")).into();
    let unit = if series.unit.is_empty() { "1/s".into() } else { format!("{}/s", series.unit) };
    Arc::new(Series {
        key: series.key.derived(":rate"),
        source_name: Arc::clone(&name),
        name,
        unit: unit.into(),
        kind: SeriesKind::Derived,
        labels: series.labels.clone(),
        service: Arc::clone(&series.service),
    })
}

#[cfg(test)]
#[path = "intake/tests.rs"]
mod tests;
