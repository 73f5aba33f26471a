//! Rate, errors and duration per (service, span name, kind), and log records per severity, in
//! buckets of event time.
//!
//! Names follow the OpenTelemetry Collector's span-metrics connector. A bucket is closed when its
//! service has moved on far enough for stragglers to have come, or has been idle; what comes later
//! goes into the window but no longer into the numbers, and is counted.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use window::{Labels, LogRow, Series, SeriesKey, SeriesKind, SpanKind, SpanRow, Temporality, UnixNanos};

use crate::{IncomingPoint, sketch::Sketch};

/// How spans and logs are summed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedConfig {
    /// Length of a bucket. Default 10 s.
    pub bucket: Duration,
    /// How far a service must have moved past a bucket's end for it to be closed. Default 10 s.
    pub grace: Duration,
    /// Operations (span name and kind) per service; further ones share one named `otel.overflow`. Default 500.
    pub max_operations: usize,
    /// Services; spans of further ones are kept but not summed up. Default 5,000.
    pub max_services: usize,
}

impl Default for RedConfig {
    fn default() -> Self {
        let bucket = Duration::from_secs(10);
        Self { bucket, grace: bucket, max_operations: 500, max_services: 5_000 }
    }
}

/// Name of the operation that takes what exceeds [`RedConfig::max_operations`].
const OVERFLOW: &str = "otel.overflow";
/// An operation without calls is reported at rate zero for this many buckets while its service lives.
const ZERO_BUCKETS: u32 = 360;
/// A service that was not heard for so long gives its place to another one.
const FORGET_AFTER: Duration = Duration::from_hours(24);
/// A bucket that follows the last one after at most this many empty ones is taken to be whole.
const WHOLE_AFTER: u32 = 3;
/// Fewer calls than this say nothing about a share or a quantile.
const MIN_CALLS: u64 = 5;
/// The 99th percentile of fewer calls is only their greatest.
const MIN_CALLS_P99: u64 = 50;
/// OpenTelemetry's severity ranges: unspecified, then four numbers each.
const SEVERITIES: [&str; 7] = ["UNSPECIFIED", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

/// The open buckets and running totals of every service.
#[derive(Debug)]
pub(crate) struct Red {
    config: RedConfig,
    services: HashMap<Arc<str>, Service>,
    /// In order of first appearance, so that emission does not depend on hashing.
    order: Vec<Arc<str>>,
    /// Spans and logs that came after their bucket was closed.
    pub(crate) late: u64,
    /// Spans and logs of services beyond the limit.
    pub(crate) unsummed: u64,
}

#[derive(Debug)]
struct Service {
    operations: Vec<Operation>,
    index: HashMap<(Arc<str>, SpanKind), usize>,
    logs: Option<LogSeries>,
    open: BTreeMap<UnixNanos, Bucket>,
    /// Everything before this time is closed.
    closed_until: UnixNanos,
    progress: UnixNanos,
    /// Wall time of the newest arrival.
    arrived: UnixNanos,
}

#[derive(Debug, Default)]
struct Bucket {
    calls: HashMap<usize, Calls>,
    logs: [u64; SEVERITIES.len()],
}

#[derive(Debug, Default)]
struct Calls {
    ok: u64,
    failed: u64,
    seconds: f64,
    durations: Sketch,
}

/// Series and totals of one operation.
#[derive(Debug)]
struct Operation {
    calls_ok: Counter,
    calls_failed: Counter,
    duration_sum: Counter,
    duration_count: Counter,
    rate: Arc<Series>,
    error_ratio: Arc<Series>,
    quantiles: [(f64, u64, Arc<Series>); 3],
    empty_buckets: u32,
}

#[derive(Debug)]
struct LogSeries([(Counter, Arc<Series>); SEVERITIES.len()]);

#[derive(Debug)]
struct Counter {
    series: Arc<Series>,
    total: f64,
    begun: bool,
}

impl Red {
    pub(crate) fn new(config: RedConfig) -> Self {
        Self { config, services: HashMap::new(), order: Vec::new(), late: 0, unsummed: 0 }
    }

    /// Counts one span that arrived at wall time `now`.
    pub(crate) fn add_span(&mut self, span: &SpanRow, now: UnixNanos) {
        let max_operations = self.config.max_operations;
        let Some((service, start)) = self.open(&span.service, span.end, now) else { return };
        let operation = service.operation(&span.service, &span.name, span.kind, max_operations);
        let calls = service.open.entry(start).or_default().calls.entry(operation).or_default();
        if span.failed {
            calls.failed += 1;
        } else {
            calls.ok += 1;
        }
        calls.seconds += span.duration_secs();
        calls.durations.add(span.duration_secs());
    }

    /// Counts one log record that arrived at wall time `now`.
    pub(crate) fn add_log(&mut self, log: &LogRow, now: UnixNanos) {
        let Some((service, start)) = self.open(&log.service, log.time, now) else { return };
        let severity = usize::from(log.severity).div_ceil(4).min(SEVERITIES.len() - 1);
        service.logs.get_or_insert_with(|| LogSeries::new(&log.service));
        service.open.entry(start).or_default().logs[severity] += 1;
    }

    /// The service and the start of the bucket for an event at `time`, unless it is too late for it.
    fn open(&mut self, name: &Arc<str>, time: UnixNanos, now: UnixNanos) -> Option<(&mut Service, UnixNanos)> {
        if !self.services.contains_key(name) {
            if self.services.len() >= self.config.max_services {
                self.unsummed += 1;
                return None;
            }
            self.order.push(Arc::clone(name));
            self.services.insert(Arc::clone(name), Service::new(time.floor_to(self.config.bucket)));
        }
        let service = self.services.get_mut(name)?;
        let start = time.floor_to(self.config.bucket);
        if start < service.closed_until {
            self.late += 1;
            return None;
        }
        service.progress = service.progress.max(time);
        service.arrived = now;
        Some((service, start))
    }

    /// Closes every bucket whose time has come, and appends what they add up to.
    ///
    /// `now` is the wall clock; a service from which nothing came for a bucket and the grace is idle.
    /// `None` (in a replay) closes by progress only.
    pub(crate) fn close(&mut self, now: Option<UnixNanos>, out: &mut Vec<IncomingPoint>) {
        let RedConfig { bucket, grace, .. } = self.config;
        if let Some(now) = now {
            let services = &mut self.services;
            services.retain(|_, s| now.since(s.arrived) < FORGET_AFTER || !s.open.is_empty());
            self.order.retain(|name| services.contains_key(name));
        }
        for name in &self.order {
            let Some(service) = self.services.get_mut(name) else { continue };
            let idle = now.is_some_and(|now| now.since(service.arrived) >= bucket + grace);
            while let Some((&start, _)) = service.open.first_key_value() {
                let end = start.plus(bucket);
                if !idle && service.progress < end.plus(grace) {
                    break;
                }
                let Some(closed) = service.open.remove(&start) else { break };
                // The bucket in which a service is first heard, or heard again, is not whole.
                let is_whole = start <= service.closed_until.plus(bucket * WHOLE_AFTER);
                service.closed_until = end;
                service.emit(&closed, end, bucket, is_whole, out);
            }
        }
    }
}

impl Service {
    fn new(first_bucket: UnixNanos) -> Self {
        Self {
            operations: Vec::new(),
            index: HashMap::new(),
            logs: None,
            open: BTreeMap::new(),
            // Spans of one trace end in any order, so the first bucket may be preceded by another.
            closed_until: first_bucket.minus(Duration::from_hours(1)),
            progress: first_bucket,
            arrived: UnixNanos::MIN,
        }
    }

    fn operation(&mut self, service: &str, name: &Arc<str>, kind: SpanKind, max: usize) -> usize {
        if let Some(i) = self.index.get(&(Arc::clone(name), kind)) {
            return *i;
        }
        let (name, kind) = if self.operations.len() < max {
            (Arc::clone(name), kind)
        } else {
            (Arc::from(OVERFLOW), SpanKind::Unspecified)
        };
        if let Some(i) = self.index.get(&(Arc::clone(&name), kind)) {
            return *i;
        }
        self.operations.push(Operation::new(service, &name, kind));
        self.index.insert((name, kind), self.operations.len() - 1);
        self.operations.len() - 1
    }

    /// Appends what a bucket adds up to; rates only of a bucket that `is_whole`.
    fn emit(&mut self, bucket: &Bucket, end: UnixNanos, width: Duration, is_whole: bool, out: &mut Vec<IncomingPoint>) {
        let first = out.len();
        for (i, operation) in self.operations.iter_mut().enumerate() {
            operation.emit(bucket.calls.get(&i), end, width, out);
        }
        if let Some(logs) = &mut self.logs {
            logs.emit(&bucket.logs, end, width, out);
        }
        if !is_whole {
            let partial = out.split_off(first);
            out.extend(partial.into_iter().filter(|p| !p.series.name.ends_with(":rate")));
        }
    }
}

impl Operation {
    fn new(service: &str, name: &str, kind: SpanKind) -> Self {
        let labels = [("span_name", name), ("span_kind", kind.as_str())];
        let derived = |metric: &str, unit: &str| derived_series(service, metric, unit, &labels);
        let duration = "traces_span_metrics_duration_seconds";
        let quantile = |name: &str| derived(&format!("{duration}:{name}"), "s");
        let calls = |status| {
            let labels = [labels[0], labels[1], ("status_code", status)];
            Counter::new(service, "traces_span_metrics_calls_total", "", &labels)
        };
        Self {
            calls_ok: calls("STATUS_CODE_UNSET"),
            calls_failed: calls("STATUS_CODE_ERROR"),
            duration_sum: Counter::new(service, &format!("{duration}_sum"), "s", &labels),
            duration_count: Counter::new(service, &format!("{duration}_count"), "", &labels),
            rate: derived("traces_span_metrics_calls:rate", "1/s"),
            error_ratio: derived("traces_span_metrics_errors:ratio", "1"),
            quantiles: [
                (0.5, MIN_CALLS, quantile("p50")),
                (0.95, 4 * MIN_CALLS, quantile("p95")),
                (0.99, MIN_CALLS_P99, quantile("p99")),
            ],
            empty_buckets: 0,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    fn emit(&mut self, calls: Option<&Calls>, end: UnixNanos, width: Duration, out: &mut Vec<IncomingPoint>) {
        self.empty_buckets = if calls.is_some() { 0 } else { self.empty_buckets.saturating_add(1) };
        if self.empty_buckets > ZERO_BUCKETS {
            return;
        }
        let none = Calls::default();
        let calls = calls.unwrap_or(&none);
        let count = calls.ok + calls.failed;
        let begin = end.minus(width);
        self.calls_ok.add(calls.ok as f64, begin, end, out);
        if calls.failed > 0 || self.calls_failed.begun {
            self.calls_failed.add(calls.failed as f64, begin, end, out);
        }
        self.duration_sum.add(calls.seconds, begin, end, out);
        self.duration_count.add(count as f64, begin, end, out);
        out.push(point(&self.rate, end, count as f64 / width.as_secs_f64()));
        if count >= MIN_CALLS {
            out.push(point(&self.error_ratio, end, calls.failed as f64 / count as f64));
        }
        for (rank, least, series) in &self.quantiles {
            if let Some(value) = calls.durations.quantile(*rank)
                && calls.durations.count() >= *least
            {
                out.push(point(series, end, value));
            }
        }
    }
}

impl LogSeries {
    fn new(service: &str) -> Self {
        Self(SEVERITIES.map(|severity| {
            let labels = [("severity", severity)];
            let rate = derived_series(service, "log_records:rate", "1/s", &labels);
            (Counter::new(service, "log_records_total", "", &labels), rate)
        }))
    }

    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    fn emit(
        &mut self,
        counts: &[u64; SEVERITIES.len()],
        end: UnixNanos,
        width: Duration,
        out: &mut Vec<IncomingPoint>,
    ) {
        for ((counter, rate), count) in self.0.iter_mut().zip(counts) {
            if *count > 0 || counter.begun {
                counter.add(*count as f64, end.minus(width), end, out);
                out.push(point(rate, end, *count as f64 / width.as_secs_f64()));
            }
        }
    }
}

impl Counter {
    fn new(service: &str, metric: &str, unit: &str, labels: &[(&str, &str)]) -> Self {
        let kind = SeriesKind::Sum { monotonic: true, temporality: Temporality::Cumulative };
        Self { series: own_series(service, metric, unit, labels, kind), total: 0.0, begun: false }
    }

    /// Adds to the total. The first time a zero is written at the bucket's start, so that PromQL's
    /// `rate` sees the first increase.
    fn add(&mut self, amount: f64, begin: UnixNanos, end: UnixNanos, out: &mut Vec<IncomingPoint>) {
        if !self.begun {
            self.begun = true;
            out.push(point(&self.series, begin, 0.0));
        }
        self.total += amount;
        out.push(point(&self.series, end, self.total));
    }
}

fn point(series: &Arc<Series>, time: UnixNanos, value: f64) -> IncomingPoint {
    IncomingPoint { key: series.key, series: Arc::clone(series), time, start: None, value }
}

fn derived_series(service: &str, metric: &str, unit: &str, labels: &[(&str, &str)]) -> Arc<Series> {
    // The 99th percentile of a bucket is for people; the 50th and the 95th are steady enough to judge.
    let kind = if metric.ends_with(":p99") { SeriesKind::Published } else { SeriesKind::Derived };
    own_series(service, metric, unit, labels, kind)
}

/// A series of our own about `service`, whose name may have a namespace before a slash.
pub(crate) fn own_series(
    service: &str,
    metric: &str,
    unit: &str,
    labels: &[(&str, &str)],
    kind: SeriesKind,
) -> Arc<Series> {
    let name = service.rsplit('/').next().unwrap_or(service);
    let labels = Labels::from_pairs(labels.iter().copied().chain([("job", service), ("service_name", name)]));
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    hash.update(b"bellwether");
    hash.update(metric.as_bytes());
    hash.update(&labels.fingerprint().to_le_bytes());
    Arc::new(Series {
        key: SeriesKey(hash.digest128()),
        name: metric.into(),
        source_name: metric.into(),
        unit: unit.into(),
        kind,
        labels,
        service: service.into(),
    })
}

#[cfg(test)]
#[path = "red/tests.rs"]
mod tests;
