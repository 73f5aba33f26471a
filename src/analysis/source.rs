//! What a statement reads: the chunks of a snapshot as they are, and decisions from the ledger.

use std::{collections::BTreeMap, sync::Arc};

use alerting::{AlertFilter, AnomalyFilter, LedgerError, Listed, Order, Page, Reader};
use arrow_array::{
    Array, ArrayRef, Float64Array, RecordBatch, StringArray, TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow_schema::ArrowError;
use detect::{Alert, Anomaly, UnixNanos};
use serde::Serialize;
use window::{Series, SeriesId, Snapshot, columns};

use super::{
    protocol::{Part, Span},
    tables::{ALERTS, ANOMALIES, LOGS, METRICS, SPANS},
};

/// Anomalies, and alerts, that a statement reads at most.
const MAX_DECISIONS: usize = 20_000;
/// Series in a batch.
const SERIES_ROWS: usize = 1 << 16;

/// Why rows cannot be given.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// They are too many.
    #[error("{0}")]
    TooMuch(String),
    /// The ledger cannot be read.
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    /// A fault of ours.
    #[error("{0}")]
    Arrow(#[from] ArrowError),
}

/// Columns by table.
type Needs = BTreeMap<String, Vec<String>>;

/// Rows by part, with a bound on their bytes.
#[derive(Debug)]
pub(super) struct Pieces {
    pub(super) list: Vec<(Part, RecordBatch)>,
    bytes: usize,
    limit: usize,
}

impl Pieces {
    /// What `needs` names of what was in `snapshot` and is in the ledger, at most `limit` bytes.
    ///
    /// # Errors
    /// [`SourceError`].
    pub(super) fn gather(
        needs: &Needs,
        snapshot: &Snapshot,
        ledger: &Reader,
        span: Span,
        limit: usize,
    ) -> Result<Self, SourceError> {
        let mut pieces = Self { list: Vec::new(), bytes: 0, limit };
        for (table, columns) in needs {
            let wanted = |name: &str| columns.iter().any(|column| column == name);
            match table.as_str() {
                METRICS => pieces.metrics(snapshot, &wanted, span)?,
                SPANS => pieces.spans(snapshot, &wanted, span)?,
                LOGS => pieces.logs(snapshot, &wanted, span)?,
                ANOMALIES => pieces.anomalies(ledger, &wanted, span)?,
                ALERTS => pieces.alerts(ledger, &wanted, span)?,
                _ => {}
            }
        }
        Ok(pieces)
    }

    fn add(&mut self, part: Part, rows: RecordBatch) -> Result<(), SourceError> {
        for column in rows.columns() {
            self.bytes = self.bytes.saturating_add(column.to_data().get_slice_memory_size()?);
        }
        if self.bytes > self.limit {
            let mebibytes = self.limit >> 20;
            return Err(SourceError::TooMuch(format!(
                "the tables and columns that the statement names have more than {mebibytes} MiB, the limit: take a \
                 shorter span of time with the parameters from and to, or fewer columns"
            )));
        }
        self.list.push((part, rows));
        Ok(())
    }

    fn metrics(&mut self, snapshot: &Snapshot, wanted: &dyn Fn(&str) -> bool, span: Span) -> Result<(), SourceError> {
        for chunk in snapshot.numbers.iter().filter(|chunk| is_near(chunk.span, span) && chunk.span.0.0 <= span.to) {
            self.add(Part::Points, chunk.batch().clone())?;
        }
        if !["name", "service", "labels", "kind", "unit"].into_iter().any(wanted) {
            return Ok(());
        }
        let mut rows: Vec<(SeriesId, &Arc<Series>)> = Vec::with_capacity(SERIES_ROWS);
        for one in snapshot.registry.iter() {
            rows.push(one);
            if rows.len() == SERIES_ROWS {
                self.add(Part::Series, series(&rows, wanted)?)?;
                rows.clear();
            }
        }
        self.add(Part::Series, series(&rows, wanted)?)
    }

    fn spans(&mut self, snapshot: &Snapshot, wanted: &dyn Fn(&str) -> bool, span: Span) -> Result<(), SourceError> {
        // Chunks know when their spans ended, and a span may have begun at any time before.
        for chunk in snapshot.spans.iter().filter(|chunk| is_near(chunk.span, span)) {
            let always = |name: &str| [columns::TIME, columns::START].contains(&name);
            self.add(Part::Spans, projected(chunk.batch(), |name| always(name) || wanted(name))?)?;
        }
        Ok(())
    }

    fn logs(&mut self, snapshot: &Snapshot, wanted: &dyn Fn(&str) -> bool, span: Span) -> Result<(), SourceError> {
        for chunk in snapshot.logs.iter().filter(|chunk| is_near(chunk.span, span) && chunk.span.0.0 <= span.to) {
            let is_needed = |name: &str| match name {
                columns::TIME => true,
                columns::OBSERVED => wanted("observed_time"),
                columns::SEVERITY => wanted("severity") || wanted("severity_number"),
                columns::SEVERITY_TEXT => wanted("severity"),
                name => wanted(name),
            };
            self.add(Part::Logs, projected(chunk.batch(), is_needed)?)?;
        }
        Ok(())
    }

    fn anomalies(&mut self, ledger: &Reader, wanted: &dyn Fn(&str) -> bool, span: Span) -> Result<(), SourceError> {
        let filter = AnomalyFilter {
            from: (span.from > i64::MIN).then_some(UnixNanos(span.from)),
            to: (span.to < i64::MAX).then_some(UnixNanos(span.to)),
            ..AnomalyFilter::default()
        };
        let all = all("anomalies", |page| ledger.anomalies(&filter, page))?;
        self.add(Part::Anomalies, anomalies(&all, wanted)?)
    }

    fn alerts(&mut self, ledger: &Reader, wanted: &dyn Fn(&str) -> bool, span: Span) -> Result<(), SourceError> {
        let mut all = all("alerts", |page| ledger.alerts(&AlertFilter::default(), page))?;
        let is_over = |alert: &Alert| alert.resolved_at.is_some_and(|at| at.0 < span.from);
        all.retain(|alert| alert.active_at.0 <= span.to && !is_over(alert));
        self.add(Part::Alerts, alerts(&all, wanted)?)
    }
}

/// Whether a chunk with rows of these times may have some that are seen.
fn is_near(times: (UnixNanos, UnixNanos), span: Span) -> bool {
    times.1.0 > span.floor && times.1.0 >= span.from
}

/// The columns for which `is_wanted` holds, not copied.
fn projected(batch: &RecordBatch, is_wanted: impl Fn(&str) -> bool) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let names = schema.fields().iter().enumerate().filter(|(_, field)| is_wanted(field.name()));
    batch.project(&names.map(|(i, _)| i).collect::<Vec<_>>())
}

/// Every page of a list.
fn all<T>(what: &str, read: impl Fn(Page) -> Result<Listed<T>, LedgerError>) -> Result<Vec<T>, SourceError> {
    let mut page = Page { order: Order::Ascending, limit: Page::MAX_LIMIT, ..Page::default() };
    let mut all = Vec::new();
    loop {
        let listed = read(page)?;
        all.extend(listed.items);
        if all.len() > MAX_DECISIONS {
            return Err(SourceError::TooMuch(format!(
                "there are more than {MAX_DECISIONS} {what}, the limit: take a shorter span of time with the \
                 parameters from and to"
            )));
        }
        match listed.next {
            Some(next) => page.after = Some(next),
            None => return Ok(all),
        }
    }
}

/// Columns that are wanted, of items.
struct Made<'a, T> {
    items: &'a [T],
    wanted: &'a dyn Fn(&str) -> bool,
    columns: Vec<(&'static str, ArrayRef, bool)>,
}

impl<'a, T> Made<'a, T> {
    fn of(items: &'a [T], wanted: &'a dyn Fn(&str) -> bool) -> Self {
        Self { items, wanted, columns: Vec::new() }
    }

    fn column(mut self, name: &'static str, array: impl FnOnce(&[T]) -> ArrayRef) -> Self {
        if (self.wanted)(name) {
            self.columns.push((name, array(self.items), true));
        }
        self
    }

    fn text<'t, S: Into<Option<&'t str>>>(self, name: &'static str, of: impl Fn(&'a T) -> S) -> Self
    where
        'a: 't,
    {
        let items = self.items;
        self.column(name, |_| Arc::new(items.iter().map(|item| of(item).into()).collect::<StringArray>()))
    }

    fn json<V: Serialize>(self, name: &'static str, of: impl Fn(&T) -> &V) -> Self {
        let text = |item: &T| serde_json::to_string(of(item)).unwrap_or_default();
        self.column(name, |items| Arc::new(StringArray::from_iter_values(items.iter().map(text))))
    }

    fn time(self, name: &'static str, of: impl Fn(&T) -> Option<UnixNanos>) -> Self {
        self.column(name, |items| {
            let times: TimestampNanosecondArray = items.iter().map(|item| of(item).map(|time| time.0)).collect();
            Arc::new(times.with_timezone("UTC"))
        })
    }

    fn number(self, name: &'static str, of: impl Fn(&T) -> f64) -> Self {
        self.column(name, |items| Arc::new(Float64Array::from_iter_values(items.iter().map(of))))
    }

    fn count(self, name: &'static str, of: impl Fn(&T) -> u64) -> Self {
        self.column(name, |items| Arc::new(UInt64Array::from_iter_values(items.iter().map(of))))
    }

    fn small(self, name: &'static str, of: impl Fn(&T) -> u32) -> Self {
        self.column(name, |items| Arc::new(UInt32Array::from_iter_values(items.iter().map(of))))
    }

    fn batch(self) -> Result<RecordBatch, ArrowError> {
        RecordBatch::try_from_iter_with_nullable(self.columns)
    }
}

/// What is known of series.
pub(super) fn series(
    rows: &[(SeriesId, &Arc<Series>)],
    wanted: &dyn Fn(&str) -> bool,
) -> Result<RecordBatch, ArrowError> {
    let wanted = |name: &str| name == "series_id" || wanted(name);
    Made::of(rows, &wanted)
        .small("series_id", |(id, _)| id.0)
        .text("name", |(_, series)| &*series.name)
        .text("service", |(_, series)| &*series.service)
        .json("labels", |(_, series)| &series.labels)
        .text("kind", |(_, series)| series.kind.as_str())
        .text("unit", |(_, series)| &*series.unit)
        .batch()
}

fn anomalies(all: &[Anomaly], wanted: &dyn Fn(&str) -> bool) -> Result<RecordBatch, ArrowError> {
    let wanted = |name: &str| name == "seq" || wanted(name);
    let direction = |anomaly: &Anomaly| match anomaly.direction {
        detect::Direction::Up => "up",
        detect::Direction::Down => "down",
    };
    Made::of(all, &wanted)
        .count("seq", |a| a.seq)
        .text("id", |a| a.id.as_str())
        .text("detector", |a| a.detector.as_str())
        .text("service", |a| &*a.service)
        .text("metric", |a| &*a.metric)
        .json("labels", |a| &a.labels)
        .time("starts_at", |a| Some(a.starts_at))
        .time("ends_at", |a| a.ends_at)
        .time("emitted_at", |a| Some(a.emitted_at))
        .text("direction", direction)
        .text("pattern", |a| a.pattern.as_str())
        .text("severity", |a| a.severity.as_str())
        .number("score", |a| a.score)
        .number("observed", |a| a.observed)
        .number("expected", |a| a.expected)
        .number("lower", |a| a.lower)
        .number("upper", |a| a.upper)
        .number("z", |a| a.z)
        .number("threshold", |a| a.threshold)
        .number("scale", |a| a.scale)
        .json("contributors", |a| &a.contributors)
        .json("attributes", |a| &a.attributes)
        .count("sample_count", |a| a.sample_count)
        .number("baseline_span_seconds", |a| a.baseline_span.as_secs_f64())
        .count("points", |a| a.points)
        .json("exemplars", |a| &a.exemplars)
        .text("incident_id", |a| a.incident_id.as_deref())
        .text("runbook_url", |a| a.runbook_url.as_deref())
        .text("explanation", |a| a.explanation.as_str())
        .batch()
}

fn alerts(all: &[Alert], wanted: &dyn Fn(&str) -> bool) -> Result<RecordBatch, ArrowError> {
    let wanted = |name: &str| name == "episode" || wanted(name);
    Made::of(all, &wanted)
        .text("episode", |a| a.episode.as_str())
        .text("fingerprint", |a| a.fingerprint.as_str())
        .text("name", Alert::name)
        .text("service", Alert::service)
        .text("severity", |a| a.severity().as_str())
        .text("state", |a| a.state.as_str())
        .json("labels", |a| &a.labels)
        .json("annotations", |a| &a.annotations)
        .number("value", |a| a.value)
        .text("source", |a| a.source.as_str())
        .time("active_at", |a| Some(a.active_at))
        .time("starts_at", |a| a.fired_at)
        .time("last_true_at", |a| Some(a.last_true_at))
        .time("ends_at", |a| a.resolved_at)
        .json("anomalies", |a| &a.anomalies)
        .small("argued_level", |a| u32::from(a.argued_level.number()))
        .batch()
}
