//! The one writer of the window: admits rows, gives series their numbers, derives rates and RED.

mod held;
mod lateness;
mod overflow;

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use window::{Exemplar, HistogramRow, Point, Series, SeriesId, SeriesKind, UnixNanos, Window, is_stale};

pub use self::lateness::{Idle, LatenessConfig};
use self::{lateness::Progress, overflow::Overflow};
use crate::{
    Batch, Derived, DerivedPoint, ExemplarRow, Feed, Histograms, KnownSeries, Numbers, RedConfig, Rejections,
    SeriesRef, Stranger, rates::Sum, red::Red,
};

/// One series in so many of [`IntakeConfig::max_series`] that there is always room for is a derived one.
const DERIVED_SHARE: usize = 4;

/// What is admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntakeConfig {
    /// Points further ahead of the wall clock than this are refused. Default 10 min.
    pub max_ahead: Duration,
    /// Series that are sent, as opposed to derived here. Points of further ones are folded into one
    /// overflow series per metric. Default 1,000,000.
    pub max_series: usize,
    /// Series of one metric name. Default 200,000; beyond it as beyond `max_series`.
    pub max_series_per_metric: usize,
    /// How spans and logs are summed up.
    pub red: RedConfig,
    /// How long judgement waits for what comes late.
    pub lateness: LatenessConfig,
}

impl Default for IntakeConfig {
    fn default() -> Self {
        Self {
            max_ahead: Duration::from_mins(10),
            max_series: 1_000_000,
            max_series_per_metric: 200_000,
            red: RedConfig::default(),
            lateness: LatenessConfig::default(),
        }
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
}

/// The batch names series by numbers that mean something else by now. It was not applied; decoded
/// again it would be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("series have expired while the request was waiting")]
pub struct Outdated;

/// Rows that were taken but not judged, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Points of series beyond the limits: folded into overflow series.
    pub folded: u64,
    /// Rows that were judged before their lateness had passed, because too many were waiting.
    pub early: u64,
    /// Attributes that were left out because another one of the same item had their name.
    pub repeated_attributes: u64,
}

/// Where a point comes from. Rates are derived from sums that were sent; the sums that are derived
/// here come with rates of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Sent,
    Derived,
}

/// What is known of one series, by its number.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct State {
    kind: Option<SeriesKind>,
    is_sent: bool,
    /// Number of its series of rates, once there is one.
    rate: Option<SeriesId>,
    /// Greatest time that was taken; `None` before the first.
    newest: Option<UnixNanos>,
    sum: Sum,
}

/// Applies batches to a window.
#[derive(Debug)]
pub struct Intake {
    config: IntakeConfig,
    known: Arc<KnownSeries>,
    state: IntakeState,
}

/// Everything in an [`Intake`] that what comes next depends on, besides its configuration and the
/// registry of its window. Equal states are serialised to equal bytes.
#[derive(Debug, Serialize, Deserialize)]
pub struct IntakeState {
    /// By number of the series.
    states: Vec<State>,
    /// Numbers that were taken back last, and the epoch that began with it.
    expired: (u64, Vec<SeriesId>),
    /// How many series are there that were sent.
    sent: usize,
    histograms: Histograms,
    /// By histogram: its series of [`STATISTICS`], where there are any yet.
    #[serde(with = "crate::sorted")]
    statistics: HashMap<SeriesId, [Option<SeriesId>; STATISTICS.len()]>,
    overflow: Overflow,
    red: Red,
    progress: Progress,
    passed: Passed,
}

impl Intake {
    /// An intake without state, which tells decoders what it knows through `known`.
    #[must_use]
    pub fn new(config: IntakeConfig, known: Arc<KnownSeries>) -> Self {
        let state = IntakeState {
            states: Vec::new(),
            expired: (0, Vec::new()),
            sent: 0,
            histograms: Histograms::default(),
            statistics: HashMap::new(),
            overflow: Overflow::default(),
            red: Red::new(config.red.clone()).waiting(!config.lateness.lateness.is_zero()),
            progress: Progress::default(),
            passed: Passed::default(),
        };
        Self { config, known, state }
    }

    /// What has to be kept to go on later with [`Intake::restore`].
    #[must_use]
    pub fn state(&self) -> &IntakeState {
        &self.state
    }

    /// An intake that goes on where another one was when `state` was taken of it. The window's registry
    /// must be the one of that time as well, since series are remembered by number. Nothing needs to be
    /// `known` to decoders: a series that one of them does not know is found by its identity.
    #[must_use]
    pub fn restore(config: IntakeConfig, known: Arc<KnownSeries>, mut state: IntakeState) -> Self {
        state.histograms.share_bounds();
        state.red = state.red.configured(config.red.clone()).waiting(!config.lateness.lateness.is_zero());
        known.goes_on(state.expired.0);
        Self { config, known, state }
    }

    /// Goes on by `config`, as [`Intake::restore`] does. The limit of series stays what it was.
    pub fn reconfigure(&mut self, config: IntakeConfig) {
        let red = std::mem::replace(&mut self.state.red, Red::new(config.red.clone()));
        self.state.red = red.configured(config.red.clone()).waiting(!config.lateness.lateness.is_zero());
        self.config = IntakeConfig { max_series: self.config.max_series, ..config };
    }

    /// What was taken without being judged, since the start.
    #[must_use]
    pub fn passed(&self) -> Passed {
        let (late_events, unsummed_events) = (self.state.red.late, self.state.red.unsummed);
        let repeated = self.state.passed.repeated + self.state.red.repeated;
        Passed { late_events, unsummed_events, repeated, folded: self.state.overflow.folded, ..self.state.passed }
    }

    /// Puts `batch` into `window`. `now` is the wall clock, against which the future is refused; `None` in a replay,
    /// where every time is as good as another. Buckets of services that are idle are closed by [`Intake::tick`].
    ///
    /// # Errors
    /// [`Outdated`], with nothing done.
    pub fn apply(
        &mut self,
        mut batch: Batch,
        window: &mut Window,
        now: Option<UnixNanos>,
    ) -> Result<Applied, Outdated> {
        self.check(&batch.numbers)?;
        self.state.passed.repeated_attributes += batch.repeated_attributes;
        let mut applied = Applied { rejected: batch.rejected, ..Applied::default() };
        let limit = now.map(|n| n.plus(self.config.max_ahead));
        let mut newest = self.numbers(batch.numbers, limit.unwrap_or(UnixNanos::MAX), window, &mut applied);
        let arrived = now.unwrap_or(UnixNanos::MIN);
        if let Some(limit) = limit {
            let refused = [
                (batch.spans.refuse_after(limit), "end_time_unix_nano"),
                (batch.logs.refuse_after(limit), "log record's time"),
            ];
            for (count, what) in refused.into_iter().filter(|(count, _)| *count > 0) {
                applied.rejected.add(count as u64, || self.in_future(what));
            }
        }
        newest = newest.max(batch.spans.newest()).max(batch.logs.newest());
        self.state.red.add_spans(&batch.spans, arrived);
        window.push_spans(&batch.spans);
        self.state.red.add_logs(&batch.logs, arrived);
        window.push_logs(&batch.logs);
        self.came(newest, now);
        if let Some(newest) = newest
            && !self.waits()
        {
            applied.feeds = batch.feeds.into_iter().map(|feed| (feed, newest)).collect();
        }
        let mut derived = Vec::new();
        self.state.red.close_moved(&mut derived);
        self.take_derived(derived, window, &mut applied);
        Ok(applied)
    }

    fn in_future(&self, what: &str) -> String {
        format!("{what} is more than {} s in the future", self.config.max_ahead.as_secs())
    }

    /// Whether the numbers in `numbers` still mean what they did when it was decoded.
    fn check(&self, numbers: &Numbers) -> Result<(), Outdated> {
        let (epoch, expired) = &self.state.expired;
        if numbers.epoch == *epoch {
            return Ok(());
        }
        let rows = numbers.rows.iter().map(|row| row.series);
        let histograms = numbers.histograms.iter().map(|(series, _)| *series);
        // Spans and logs name no series, nor do strangers have a number that could be another's.
        let mut known = rows.chain(histograms).filter_map(|series| series.id().ok());
        let is_old = numbers.epoch + 1 < *epoch;
        if known.any(|id| is_old || expired.binary_search(&id).is_ok()) { Err(Outdated) } else { Ok(()) }
    }

    /// Takes the numbers of a batch; returns the newest time among those taken.
    fn numbers(
        &mut self,
        numbers: Numbers,
        limit: UnixNanos,
        window: &mut Window,
        applied: &mut Applied,
    ) -> Option<UnixNanos> {
        let places = self.meet(&numbers.strangers, window, applied);
        let mut newest: Option<UnixNanos> = None;
        for row in &numbers.rows {
            if row.time > limit {
                if row.is_item {
                    applied.rejected.add(1, || self.in_future("time_unix_nano"));
                }
                continue;
            }
            newest = newest.max(Some(row.time));
            match row.series.id() {
                Ok(id) => self.admit(id, row, window, applied),
                Err(place) => match places.get(place) {
                    Some(Ok(id)) => self.admit(*id, row, window, applied),
                    _ => self.state.overflow.fold(&numbers.strangers, place, row),
                },
            }
        }
        let id_of = |series: SeriesRef| series.id().or_else(|place| places.get(place).copied().unwrap_or(Err(())));
        for (series, row) in numbers.histograms {
            match id_of(series) {
                // Its count, which comes with it, is refused for the same reason.
                _ if row.time > limit => {}
                Ok(series) => self.admit_histogram(HistogramRow { series, ..row }, window, applied),
                // Its count and sum are folded, which is all that can be known of it.
                Err(()) => {}
            }
        }
        for row in &numbers.exemplars {
            if let (Ok(series), true) = (id_of(row.series), row.time <= limit) {
                let ExemplarRow { time, value, trace_id, span_id, .. } = *row;
                window.push_exemplar(Exemplar { series, time, value, trace_id, span_id });
            }
        }
        self.close_overflow(window, applied);
        newest
    }

    /// Gives the decoder's strangers their numbers; those beyond the limits get none.
    fn meet(
        &mut self,
        strangers: &[Stranger],
        window: &mut Window,
        applied: &mut Applied,
    ) -> Vec<Result<SeriesId, ()>> {
        let mut met = Vec::new();
        let places = strangers
            .iter()
            .map(|stranger| {
                let Stranger { wire, series, is_regular } = stranger;
                match self.register(series, Origin::Sent, window) {
                    Ok(id) => {
                        met.extend(is_regular.then_some((*wire, id)));
                        Ok(id)
                    }
                    Err(limit) => {
                        applied.rejected.warn(|| {
                            format!("{}: {limit} reached; points of further ones are summed up in otel_metric_overflow series", series.name)
                        });
                        Err(())
                    }
                }
            })
            .collect();
        self.known.add(met);
        places
    }

    /// Series for which there has to be room in the registry: those that may still be sent, and a part for what is
    /// derived of them, of spans and of logs.
    #[must_use]
    pub fn room_wanted(&self) -> usize {
        let most = self.config.max_series;
        most.saturating_sub(self.state.sent).saturating_add(most / DERIVED_SHARE)
    }

    /// The number of a series that is known, or may be added.
    fn register(&mut self, series: &Series, origin: Origin, window: &mut Window) -> Result<SeriesId, String> {
        let registry = window.registry_mut();
        let is_sent = origin == Origin::Sent;
        let id = match registry.find(series.key) {
            Some(id) => id,
            None if is_sent && self.state.sent >= self.config.max_series => {
                return Err(format!("limit of {} series", self.config.max_series));
            }
            None if is_sent && registry.named(&series.name).len() >= self.config.max_series_per_metric => {
                return Err(format!("limit of {} series of one metric", self.config.max_series_per_metric));
            }
            None => registry
                .find_or_add(series.key, || series.clone())
                .map_err(|e| format!("limit of {} series, the derived ones among them,", e.limit))?,
        };
        if self.state.states.len() <= id.index() {
            self.state.states.resize(id.index() + 1, State::default());
        }
        let state = &mut self.state.states[id.index()];
        if state.kind.is_none() {
            *state = State { kind: Some(series.kind), is_sent, ..State::default() };
            self.state.sent += usize::from(is_sent);
        }
        Ok(id)
    }

    /// Writes down what exceeded the limits in this batch.
    fn close_overflow(&mut self, window: &mut Window, applied: &mut Applied) {
        for (series, time, value) in self.state.overflow.close() {
            if let Ok(id) = self.register(&series, Origin::Derived, window) {
                self.take(id, time, UnixNanos::MIN, value, Origin::Sent, window, applied);
            }
        }
    }

    /// Notes that the wall clock was set by so many nanoseconds: what came stays as old as it is.
    pub fn clock_was_set(&mut self, by: i64) {
        self.state.red.clock_was_set(by);
        self.state.progress.clock_was_set(by);
    }

    /// Closes buckets of services that have been idle by the wall clock `now`.
    pub fn tick(&mut self, window: &mut Window, now: UnixNanos) -> Applied {
        let (mut applied, mut derived) = (Applied::default(), Vec::new());
        self.state.red.close(Some(now), self.idle_after(), &mut derived);
        self.take_derived(derived, window, &mut applied);
        applied
    }

    /// Forgets series whose numbers may be used again; `expired` is sorted.
    pub fn forget(&mut self, expired: &[SeriesId]) {
        if expired.is_empty() {
            return;
        }
        for id in expired {
            if let Some(state) = self.state.states.get_mut(id.index()) {
                self.state.sent -= usize::from(state.is_sent);
                *state = State::default();
            }
        }
        let is_live = |id: &SeriesId| expired.binary_search(id).is_err();
        for state in &mut self.state.states {
            state.rate = state.rate.filter(is_live);
        }
        expired.iter().for_each(|id| self.state.histograms.forget(*id));
        self.state.statistics.retain(|of, ids| {
            ids.iter_mut().for_each(|id| *id = id.filter(is_live));
            is_live(of)
        });
        self.state.expired = (self.known.forget(expired), expired.to_vec());
    }

    fn take_derived(&mut self, derived: Vec<DerivedPoint>, window: &mut Window, applied: &mut Applied) {
        for DerivedPoint { series, time, value } in derived {
            match self.register(&series, Origin::Derived, window) {
                Ok(id) => self.take(id, time, UnixNanos::MIN, value, Origin::Derived, window, applied),
                Err(limit) => applied.rejected.warn(|| format!("{}: {limit} reached", series.name)),
            }
        }
        for (key, exemplar) in std::mem::take(&mut self.state.red.exemplars) {
            if let Some(series) = window.registry().find(key) {
                window.push_exemplar(Exemplar { series, ..exemplar });
            }
        }
    }

    #[inline]
    #[expect(clippy::too_many_arguments, reason = "the columns of a row, and where it goes")]
    fn take(
        &mut self,
        id: SeriesId,
        time: UnixNanos,
        start: UnixNanos,
        value: f64,
        origin: Origin,
        window: &mut Window,
        applied: &mut Applied,
    ) {
        let Some(state) = self.state.states.get_mut(id.index()) else { return };
        let Some(kind) = state.kind else { return };
        if state.newest == Some(time) {
            self.state.passed.repeated += 1;
            return;
        }
        let forward = state.newest < Some(time);
        if forward {
            state.newest = Some(time);
        } else {
            self.state.passed.late += 1;
        }
        let SeriesKind::Sum { temporality, monotonic } = kind else {
            window.push_point(Point { series: id, time, value });
            if forward && kind.is_judged() {
                self.judge(Point { series: id, time, value }, applied);
            }
            return;
        };
        if !forward || !value.is_finite() {
            // A late delta cannot be added to a total that has moved on; as a cumulative value it can stand.
            if temporality == window::Temporality::Cumulative || is_stale(value) {
                window.push_point(Point { series: id, time, value });
            }
            self.state.passed.not_finite += u64::from(forward && !is_stale(value));
            return;
        }
        let start = Some(start).filter(|s| *s != UnixNanos::MIN);
        let advance = state.sum.advance(temporality, start, time, value);
        window.push_point(Point { series: id, time, value: advance.total });
        if !monotonic {
            self.judge(Point { series: id, time, value: advance.total }, applied);
        } else if let Some(rate) = advance.rate
            && origin == Origin::Sent
        {
            self.take_rate(id, time, rate, window, applied);
        }
    }

    /// Puts a histogram's row into the window, and what it says of its interval beside it.
    fn take_histogram(&mut self, row: HistogramRow, window: &mut Window, applied: &mut Applied) {
        let (id, time) = (row.series, row.time);
        let Some(state) = self.state.states.get_mut(id.index()) else { return };
        let Some(SeriesKind::Histogram { temporality }) = state.kind else { return };
        if state.newest == Some(time) {
            return;
        }
        let forward = state.newest < Some(time);
        state.newest = state.newest.max(Some(time));
        let derived = forward.then(|| self.state.histograms.advance(&row, temporality).map(|i| i.derived())).flatten();
        window.push_histogram(row);
        let Some(Derived { mean, p50, p95, p99, .. }) = derived else { return };
        for (place, value) in [mean, p50, p95, p99].into_iter().enumerate() {
            let Some(value) = value else { continue };
            let Some(series) = self.statistic(id, place, window) else { continue };
            let point = Point { series, time, value };
            window.push_point(point);
            // The 99th percentile is for people; the others are steady enough to judge.
            if place < JUDGED_STATISTICS {
                self.judge(point, applied);
            }
        }
    }

    /// The series of one of a histogram's statistics, registered when it is first needed.
    fn statistic(&mut self, of: SeriesId, place: usize, window: &mut Window) -> Option<SeriesId> {
        if let Some(id) = self.state.statistics.get(&of).and_then(|ids| ids[place]) {
            return Some(id);
        }
        let (suffix, kind) = STATISTICS[place];
        let series = window.registry().get(of).map(|series| derived_from(series, suffix, kind))?;
        // Without room for it there is no statistic; the histogram itself stays.
        let id = self.register(&series, Origin::Derived, window).ok()?;
        self.state.statistics.entry(of).or_default()[place] = Some(id);
        Some(id)
    }

    fn take_rate(&mut self, of: SeriesId, time: UnixNanos, value: f64, window: &mut Window, applied: &mut Applied) {
        let rate = match self.state.states[of.index()].rate {
            Some(rate) => rate,
            None => {
                let Some(series) = window.registry().get(of).map(|series| rate_of(series)) else { return };
                // Without room for it there is no rate; the sum itself stays.
                let Ok(rate) = self.register(&series, Origin::Derived, window) else { return };
                self.state.states[of.index()].rate = Some(rate);
                rate
            }
        };
        let point = Point { series: rate, time, value };
        window.push_point(point);
        self.judge(point, applied);
    }

    #[inline]
    fn judge(&mut self, point: Point, applied: &mut Applied) {
        if point.value.is_finite() {
            applied.judged.push(point);
        } else if !is_stale(point.value) {
            self.state.passed.not_finite += 1;
        }
    }
}

/// What is derived of a histogram's interval, in the order of their series; see
/// [`JUDGED_STATISTICS`].
const STATISTICS: [(&str, SeriesKind); 4] = [
    (":mean", SeriesKind::Derived),
    (":p50", SeriesKind::Derived),
    (":p95", SeriesKind::Derived),
    (":p99", SeriesKind::Published),
];
/// How many of them detectors look at.
const JUDGED_STATISTICS: usize = 3;

/// The series of a statistic of `series`: same labels and unit, `suffix` behind the name.
fn derived_from(series: &Series, suffix: &str, kind: SeriesKind) -> Series {
    let name: Arc<str> = format!("{}{suffix}", series.name).into();
    Series { key: series.key.derived(suffix), source_name: Arc::clone(&name), name, kind, ..series.clone() }
}

/// The series of per-second rates of a monotonic sum: same labels, `:rate` behind the name.
fn rate_of(series: &Series) -> Series {
    let name: Arc<str> = format!("{}:rate", series.name.trim_end_matches("_total")).into();
    let unit = if series.unit.is_empty() { "1/s".into() } else { format!("{}/s", series.unit) };
    Series {
        key: series.key.derived(":rate"),
        source_name: Arc::clone(&name),
        name,
        unit: unit.into(),
        kind: SeriesKind::Derived,
        labels: series.labels.clone(),
        service: Arc::clone(&series.service),
    }
}

#[cfg(test)]
mod any_order;
#[cfg(test)]
mod going_on;
#[cfg(test)]
#[path = "intake/tests.rs"]
mod tests;
