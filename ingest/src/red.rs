//! Rate, errors and duration per (service, span name, kind), and log records per severity, in
//! buckets of event time.
//!
//! Names follow the OpenTelemetry Collector's span-metrics connector. A bucket is closed when its
//! service has moved on far enough for stragglers to have come, or has been idle; what comes later
//! goes into the window but no longer into the numbers, and is counted.

mod exemplars;
mod saved;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, btree_map::Entry},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use window::{
    Dictionary, Exemplar, Labels, LogColumns, Series, SeriesId, SeriesKey, SeriesKind, SpanColumns, SpanKind,
    SpanStatus, Temporality, UnixNanos,
};

use self::exemplars::Longest;
use crate::{DerivedPoint, sketch::Sketch};

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
/// What it takes to remember a span, in bytes.
const SEEN: usize = 16;
/// OpenTelemetry's span kinds.
const KINDS: usize = 6;
/// OpenTelemetry's severity ranges: unspecified, then four numbers each.
const SEVERITIES: [&str; 7] = ["UNSPECIFIED", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

/// The open buckets and running totals of every service.
#[derive(Debug)]
pub(crate) struct Red {
    config: RedConfig,
    services: HashMap<Arc<str>, Service>,
    /// In order of first appearance, so that emission does not depend on hashing.
    order: Vec<Arc<str>>,
    /// Places in the order of those that something came from since [`Red::close_moved`], where buckets do not wait.
    moved: Vec<usize>,
    /// How many buckets are open that begin at a time.
    starts: BTreeMap<UnixNanos, usize>,
    /// Traces of the buckets that were closed last.
    pub(crate) exemplars: Vec<(SeriesKey, Exemplar)>,
    /// Spans and logs that came after their bucket was closed.
    pub(crate) late: u64,
    /// Spans and logs of services beyond the limit.
    pub(crate) unsummed: u64,
    /// Spans and logs that had been there before, where buckets wait.
    pub(crate) repeated: u64,
    /// Whether buckets wait for a time that is common to all services, see [`Red::close_at`].
    waits: bool,
    /// Where they wait: everything before this time is closed.
    closed: UnixNanos,
    /// What is remembered of spans and logs in open buckets.
    seen: usize,
}

#[derive(Debug)]
struct Service {
    /// Its place in the order of appearance.
    place: usize,
    operations: Operations,
    logs: Option<LogSeries>,
    open: BTreeMap<UnixNanos, Bucket>,
    /// Everything before this time is closed.
    closed_until: UnixNanos,
    progress: UnixNanos,
    /// Wall time of the newest arrival.
    arrived: UnixNanos,
}

#[derive(Debug, Default)]
struct Operations {
    list: Vec<Operation>,
    /// Numbers in the list, by kind and by name.
    index: [BTreeMap<Arc<str>, u32>; KINDS],
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Bucket {
    /// By number of the operation. Boxed, because a sender may open many buckets with a call each.
    #[serde(with = "crate::sorted")]
    calls: HashMap<u32, Box<Calls>, foldhash::fast::FixedState>,
    logs: [u64; SEVERITIES.len()],
    /// Hashes of the spans and logs in it, where buckets wait: what comes again is not counted again.
    seen: BTreeSet<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Calls {
    ok: u64,
    failed: u64,
    /// Together. Integers add up to the same in any order.
    nanos: u64,
    durations: Sketch,
    slowest: Longest,
    slowest_failed: Longest,
}

/// Series and totals of one operation.
#[derive(Debug)]
struct Operation {
    name: Arc<str>,
    kind: SpanKind,
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
        Self {
            config,
            services: HashMap::new(),
            order: Vec::new(),
            moved: Vec::new(),
            starts: BTreeMap::new(),
            exemplars: Vec::new(),
            late: 0,
            unsummed: 0,
            repeated: 0,
            waits: false,
            closed: UnixNanos::MIN,
            seen: 0,
        }
    }

    /// The same, with buckets that wait for [`Red::close_at`] or do not.
    pub(crate) fn waiting(self, waits: bool) -> Self {
        Self { waits, ..self }
    }

    /// Counts spans that arrived at wall time `now`.
    pub(crate) fn add_spans(&mut self, spans: &SpanColumns, now: UnixNanos) {
        let mut memo = vec![Resolved::default(); spans.names().1.len()];
        for (turn, (service, rows)) in (1..).zip(runs(spans.services())) {
            self.add_spans_of(&service, spans, rows, &mut Memo { turn, by_name: &mut memo }, now);
        }
    }

    fn add_spans_of(
        &mut self,
        name: &str,
        spans: &SpanColumns,
        rows: Range<usize>,
        memo: &mut Memo<'_>,
        now: UnixNanos,
    ) {
        let (width, max) = (self.config.bucket, self.config.max_operations);
        let (starts, ends) = (&spans.starts()[rows.clone()], &spans.ends()[rows.clone()]);
        let (waits, closed) = (self.waits, self.closed);
        let Some(service) = self.service(name, ends) else { return };
        let (codes, names) = spans.names();
        let (kinds, statuses, traces) = (spans.kinds(), spans.statuses(), spans.trace_ids());
        let Service { operations, open, closed_until, progress, arrived, .. } = service;
        let (mut late, mut repeated, mut seen, mut begun) = (0, 0, 0, Vec::new());
        let mut current: Option<(Range<i64>, &mut Bucket)> = None;
        for (row, (start, end)) in rows.zip(starts.iter().zip(ends)) {
            if !current.as_ref().is_some_and(|(range, _)| range.contains(end)) {
                let begin = UnixNanos(*end).floor_to(width);
                if begin < *closed_until || begin.plus(width) <= closed {
                    late += 1;
                    continue;
                }
                let bucket = open.entry(begin).or_insert_with(|| new_bucket(begin, &mut begun));
                current = Some((begin.0..begin.plus(width).0, bucket));
            }
            let Some((_, bucket)) = &mut current else { continue };
            if waits {
                if !bucket.seen.insert(hash_of_span(spans, row)) {
                    repeated += 1;
                    continue;
                }
                seen += 1;
            }
            *progress = (*progress).max(UnixNanos(*end));
            *arrived = now;
            let operation = memo.operation(codes[row], kinds[row], || {
                let operation = std::str::from_utf8(names.get(codes[row])).unwrap_or_default();
                operations.number(name, operation, SpanKind::from_wire(kinds[row].into()), max)
            });
            let calls = bucket.calls.entry(operation).or_default();
            let nanos = u64::try_from(end.saturating_sub(*start)).unwrap_or(0);
            calls.add(nanos, statuses[row] == SpanStatus::Error as u8, &traces[row]);
        }
        self.late += late;
        self.repeated += repeated;
        self.seen += seen;
        self.begin(begun);
    }

    /// Counts log records that arrived at wall time `now`.
    pub(crate) fn add_logs(&mut self, logs: &LogColumns, now: UnixNanos) {
        let (width, waits, closed) = (self.config.bucket, self.waits, self.closed);
        for (name, rows) in runs(logs.services()) {
            let (times, severities) = (&logs.times()[rows.clone()], &logs.severities()[rows.clone()]);
            let Some(service) = self.service(&name, times) else { continue };
            let (mut late, mut repeated, mut seen, mut begun) = (0, 0, 0, Vec::new());
            let mut current: Option<(Range<i64>, &mut Bucket)> = None;
            for (row, (time, severity)) in rows.zip(times.iter().zip(severities)) {
                if !current.as_ref().is_some_and(|(range, _)| range.contains(time)) {
                    let begin = UnixNanos(*time).floor_to(width);
                    if begin < service.closed_until || begin.plus(width) <= closed {
                        late += 1;
                        continue;
                    }
                    let bucket = service.open.entry(begin).or_insert_with(|| new_bucket(begin, &mut begun));
                    current = Some((begin.0..begin.plus(width).0, bucket));
                }
                let Some((_, bucket)) = &mut current else { continue };
                if waits {
                    if !bucket.seen.insert(hash_of_log(logs, row)) {
                        repeated += 1;
                        continue;
                    }
                    seen += 1;
                }
                service.progress = service.progress.max(UnixNanos(*time));
                service.arrived = now;
                service.logs.get_or_insert_with(|| LogSeries::new(&name));
                bucket.logs[usize::from(*severity).div_ceil(4).min(SEVERITIES.len() - 1)] += 1;
            }
            self.late += late;
            self.repeated += repeated;
            self.seen += seen;
            self.begin(begun);
        }
    }

    /// Notes that buckets were opened.
    fn begin(&mut self, begun: Vec<UnixNanos>) {
        for start in begun {
            *self.starts.entry(start).or_default() += 1;
        }
    }

    /// The service from which events at `times` came; `None` when there is no place for it.
    fn service(&mut self, name: &str, times: &[i64]) -> Option<&mut Service> {
        if !self.services.contains_key(name) {
            if self.services.len() >= self.config.max_services {
                self.unsummed += times.len() as u64;
                return None;
            }
            let name: Arc<str> = name.into();
            let first = UnixNanos(*times.first()?).floor_to(self.config.bucket);
            self.services.insert(Arc::clone(&name), Service::new(self.order.len(), first));
            self.order.push(name);
        }
        let service = self.services.get_mut(name)?;
        if !self.waits {
            self.moved.push(service.place);
        }
        Some(service)
    }

    /// Notes that the wall clock was set by so many nanoseconds.
    pub(crate) fn clock_was_set(&mut self, by: i64) {
        self.services.values_mut().for_each(|service| service.arrived.0 = service.arrived.0.saturating_add(by));
    }

    /// Closes the buckets whose time has come by what was added since the last time, and appends what they add up to:
    /// those of services from which something came, whose number does not grow with that of all.
    pub(crate) fn close_moved(&mut self, out: &mut Vec<DerivedPoint>) {
        self.exemplars.clear();
        let mut moved = std::mem::take(&mut self.moved);
        moved.sort_unstable();
        moved.dedup();
        moved.drain(..).for_each(|place| self.close_due(place, false, out));
        self.moved = moved;
    }

    /// Closes every bucket whose time has come, and appends what they add up to; forgets services of which nothing was
    /// heard for long.
    ///
    /// `now` is the wall clock; a service from which nothing came for `idle_after` is idle.
    /// `None` (in a replay) closes by progress only.
    pub(crate) fn close(&mut self, now: Option<UnixNanos>, idle_after: Option<Duration>, out: &mut Vec<DerivedPoint>) {
        self.exemplars.clear();
        self.moved.clear();
        if let Some(now) = now {
            self.forget(now);
        }
        if self.waits {
            return;
        }
        let is_idle = |s: &Service| now.zip(idle_after).is_some_and(|(now, after)| now.since(s.arrived) >= after);
        for place in 0..self.order.len() {
            let is_idle = self.order.get(place).and_then(|name| self.services.get(name)).is_some_and(is_idle);
            self.close_due(place, is_idle, out);
        }
    }

    /// Lets go of services of which nothing was heard for long.
    fn forget(&mut self, now: UnixNanos) {
        let (services, before) = (&mut self.services, self.order.len());
        services.retain(|_, s| now.since(s.arrived) < FORGET_AFTER || !s.open.is_empty());
        if services.len() < before {
            self.order.retain(|name| services.contains_key(name));
            for (place, name) in self.order.iter().enumerate() {
                if let Some(service) = services.get_mut(name) {
                    service.place = place;
                }
            }
        }
    }

    /// Closes the buckets of one service: all of them if it is idle, otherwise those that it has moved past.
    fn close_due(&mut self, place: usize, is_idle: bool, out: &mut Vec<DerivedPoint>) {
        let RedConfig { bucket, grace, .. } = self.config;
        let Some(service) = self.order.get(place).and_then(|name| self.services.get_mut(name)) else { return };
        let progress = service.progress;
        let is_due = |start: UnixNanos| is_idle || progress >= start.plus(bucket).plus(grace);
        while let Some(first) = service.open.first_entry().filter(|first| is_due(*first.key())) {
            let (start, closed) = first.remove_entry();
            self.seen -= closed.seen.len().min(self.seen);
            if let Entry::Occupied(mut count) = self.starts.entry(start) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
            service.close(&closed, start, bucket, false, &mut self.exemplars, out);
        }
    }

    /// The end of the first bucket that is open.
    pub(crate) fn first_end(&self) -> Option<UnixNanos> {
        self.starts.first_key_value().map(|(start, _)| start.plus(self.config.bucket))
    }

    /// Closes the buckets that end at `end`, where buckets wait: in the order of the names of services
    /// and operations, so that nothing depends on who came first.
    pub(crate) fn close_at(&mut self, end: UnixNanos, out: &mut Vec<DerivedPoint>) {
        let bucket = self.config.bucket;
        let start = end.minus(bucket);
        self.exemplars.clear();
        let mut names: Vec<&Arc<str>> = self.order.iter().collect();
        names.sort_unstable();
        for name in names {
            let Some(service) = self.services.get_mut(name) else { continue };
            let Some(closed) = service.open.remove(&start) else { continue };
            self.seen -= closed.seen.len().min(self.seen);
            service.close(&closed, start, bucket, true, &mut self.exemplars, out);
        }
        self.starts.remove(&start);
    }

    /// Notes that everything up to `end` is closed: what comes for it is late.
    pub(crate) fn closed_until(&mut self, end: UnixNanos) {
        self.closed = self.closed.max(end);
    }

    /// Bytes in which spans and logs in open buckets are remembered, roughly.
    pub(crate) fn seen_bytes(&self) -> usize {
        self.seen * SEEN
    }
}

impl Service {
    fn new(place: usize, first_bucket: UnixNanos) -> Self {
        Self {
            place,
            operations: Operations::default(),
            logs: None,
            open: BTreeMap::new(),
            // Spans of one trace end in any order, so the first bucket may be preceded by another.
            closed_until: first_bucket.minus(Duration::from_hours(1)),
            progress: first_bucket,
            arrived: UnixNanos::MIN,
        }
    }

    /// Appends what the bucket that begins at `start` adds up to, and the traces that it kept. Where
    /// buckets wait, only `begun` operations are in it: those that have had a call by then, since others
    /// may or may not have been met in later ones.
    fn close(
        &mut self,
        bucket: &Bucket,
        start: UnixNanos,
        width: Duration,
        begun: bool,
        exemplars: &mut Vec<(SeriesKey, Exemplar)>,
        out: &mut Vec<DerivedPoint>,
    ) {
        let end = start.plus(width);
        // The bucket in which a service is first heard, or heard again, is not whole.
        let is_whole = start <= self.closed_until.plus(width * WHOLE_AFTER);
        self.closed_until = end;
        self.operations.exemplars(bucket, end, exemplars);
        self.emit(bucket, end, width, is_whole, begun, out);
    }

    /// Appends what a bucket adds up to; rates only of a bucket that `is_whole`.
    fn emit(
        &mut self,
        bucket: &Bucket,
        end: UnixNanos,
        width: Duration,
        is_whole: bool,
        begun: bool,
        out: &mut Vec<DerivedPoint>,
    ) {
        let first = out.len();
        // In the order of their names, whichever was met first.
        for index in &self.operations.index {
            for number in index.values() {
                let Some(operation) = self.operations.list.get_mut(*number as usize) else { continue };
                let calls = bucket.calls.get(number).map(|calls| &**calls);
                if calls.is_some() || operation.calls_ok.begun || !begun {
                    operation.emit(calls, end, width, out);
                }
            }
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

fn new_bucket(start: UnixNanos, begun: &mut Vec<UnixNanos>) -> Bucket {
    begun.push(start);
    Bucket::default()
}

/// What tells a span from every other one: its ids and its times.
fn hash_of_span(spans: &SpanColumns, row: usize) -> u64 {
    let Some(span) = spans.get(row) else { return 0 };
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    for part in [&span.trace_id[..], &span.span_id, &span.start.0.to_le_bytes(), &span.end.0.to_le_bytes()] {
        hash.update(part);
    }
    hash.update(span.name.as_bytes());
    hash.digest()
}

/// What tells a log record from others, as far as anything does: its time, severity, text and span.
fn hash_of_log(logs: &LogColumns, row: usize) -> u64 {
    let Some(log) = logs.get(row) else { return 0 };
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    for part in [&log.time.0.to_le_bytes()[..], &[log.severity], &log.trace_id, &log.span_id, log.body.as_bytes()] {
        hash.update(part);
    }
    hash.digest()
}

/// Runs of rows from one service, and its name.
fn runs((codes, services): (&[i32], &Dictionary)) -> Vec<(String, Range<usize>)> {
    let mut from = 0;
    let run = |same: &[i32]| {
        let rows = from..from + same.len();
        from = rows.end;
        let name = same.first().map(|code| services.get(*code)).unwrap_or_default();
        (String::from_utf8_lossy(name).into_owned(), rows)
    };
    codes.chunk_by(|a, b| a == b).map(run).collect()
}

/// The operations of names that were met in the run of rows at hand.
struct Memo<'m> {
    turn: u32,
    by_name: &'m mut [Resolved],
}

/// What a name was resolved to last, in which run and with which kind.
#[derive(Clone, Copy, Default)]
struct Resolved {
    turn: u32,
    operation: u32,
    kind: u8,
}

impl Memo<'_> {
    #[inline]
    fn operation(&mut self, name: i32, kind: u8, resolve: impl FnOnce() -> u32) -> u32 {
        let Some(known) = usize::try_from(name).ok().and_then(|name| self.by_name.get_mut(name)) else {
            return resolve();
        };
        if known.turn != self.turn || known.kind != kind {
            *known = Resolved { turn: self.turn, operation: resolve(), kind };
        }
        known.operation
    }
}

impl Operations {
    /// The number of an operation, which is added while there are fewer than `max`.
    fn number(&mut self, service: &str, name: &str, kind: SpanKind, max: usize) -> u32 {
        if let Some(number) = self.index[kind as usize].get(name) {
            return *number;
        }
        let (name, kind) = if self.list.len() < max { (name, kind) } else { (OVERFLOW, SpanKind::Unspecified) };
        if let Some(number) = self.index[kind as usize].get(name) {
            return *number;
        }
        self.add(Operation::new(service, &name.into(), kind))
    }

    fn add(&mut self, operation: Operation) -> u32 {
        let number = u32::try_from(self.list.len()).expect("operations of a service are limited");
        self.index[operation.kind as usize].insert(Arc::clone(&operation.name), number);
        self.list.push(operation);
        number
    }

    /// Appends the traces that a bucket kept, each with the series of calls that it belongs to.
    fn exemplars(&self, bucket: &Bucket, end: UnixNanos, out: &mut Vec<(SeriesKey, Exemplar)>) {
        for (number, operation) in
            self.index.iter().flat_map(BTreeMap::values).filter_map(|n| Some((n, self.list.get(*n as usize)?)))
        {
            let Some(calls) = bucket.calls.get(number) else { continue };
            for (counter, kept) in
                [(&operation.calls_ok, &calls.slowest), (&operation.calls_failed, &calls.slowest_failed)]
            {
                out.extend(kept.calls().map(|(nanos, trace_id)| {
                    let value = Duration::from_nanos(nanos).as_secs_f64();
                    // Its number is known to the one who registers it.
                    let exemplar = Exemplar { series: SeriesId(0), time: end, value, trace_id, span_id: [0; 8] };
                    (counter.series.key, exemplar)
                }));
            }
        }
    }
}

impl Calls {
    #[inline]
    fn add(&mut self, nanos: u64, failed: bool, trace_id: &[u8; 16]) {
        let seconds = Duration::from_nanos(nanos).as_secs_f64();
        if failed {
            self.failed += 1;
            self.slowest_failed.note(nanos, trace_id);
        } else {
            self.ok += 1;
        }
        self.nanos = self.nanos.saturating_add(nanos);
        self.durations.add(seconds);
        self.slowest.note(nanos, trace_id);
    }
}

impl Operation {
    fn new(service: &str, name: &Arc<str>, kind: SpanKind) -> Self {
        let labels = [("span_name", &**name), ("span_kind", kind.as_str())];
        let derived = |metric: &str, unit: &str| derived_series(service, metric, unit, &labels);
        let duration = "traces_span_metrics_duration_seconds";
        let quantile = |name: &str| derived(&format!("{duration}:{name}"), "s");
        let calls = |status| {
            let labels = [labels[0], labels[1], ("status_code", status)];
            Counter::new(service, "traces_span_metrics_calls_total", "", &labels)
        };
        Self {
            name: Arc::clone(name),
            kind,
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
    fn emit(&mut self, calls: Option<&Calls>, end: UnixNanos, width: Duration, out: &mut Vec<DerivedPoint>) {
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
        self.duration_sum.add(Duration::from_nanos(calls.nanos).as_secs_f64(), begin, end, out);
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
    fn emit(&mut self, counts: &[u64; SEVERITIES.len()], end: UnixNanos, width: Duration, out: &mut Vec<DerivedPoint>) {
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
    fn add(&mut self, amount: f64, begin: UnixNanos, end: UnixNanos, out: &mut Vec<DerivedPoint>) {
        if !self.begun {
            self.begun = true;
            out.push(point(&self.series, begin, 0.0));
        }
        self.total += amount;
        out.push(point(&self.series, end, self.total));
    }
}

fn point(series: &Arc<Series>, time: UnixNanos, value: f64) -> DerivedPoint {
    DerivedPoint { series: Arc::clone(series), time, value }
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
