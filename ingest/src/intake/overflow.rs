//! What happens to points of series beyond the limits: they are counted per metric, and folded into
//! one series of it, so that nothing is dropped silently.
//!
//! The attribute is OpenTelemetry's: SDKs mark the series that takes what exceeds their own limit by
//! `otel.metric.overflow`. As there, deltas add up exactly, and of gauges the last value stays. A
//! cumulative value of a series that is not kept apart cannot be added to another's; of those only the
//! number of points is known.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use window::{Labels, Series, SeriesKey, SeriesKind, Temporality, UnixNanos};

use crate::{NumberRow, Stranger};

const LABEL: &str = "otel_metric_overflow";
const POINTS: &str = "otel_metric_overflow_points_total";
/// Metrics that have overflow series of their own; further ones share one.
const MAX_METRICS: usize = 1_000;
/// Name of the metric that stands for further ones.
const OTHERS: &str = "otel.overflow";

/// Totals per metric and service.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Overflow {
    metrics: BTreeMap<(Arc<str>, Arc<str>), Totals>,
    /// Points folded since the start.
    pub(super) folded: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Totals {
    points: u64,
    counted: Arc<Series>,
    /// The sum of the deltas, or the last value of the gauges, where the metric has them.
    folded: Option<(f64, Arc<Series>)>,
    /// Newest time since the last close.
    news: Option<UnixNanos>,
}

impl Overflow {
    /// Takes a row whose series is the stranger at `place`.
    pub(super) fn fold(&mut self, strangers: &[Stranger], place: usize, row: &NumberRow) {
        let Some(Stranger { series, .. }) = strangers.get(place) else { return };
        self.folded += 1;
        let mut key = (Arc::clone(&series.name), Arc::clone(&series.service));
        if self.metrics.len() >= MAX_METRICS && !self.metrics.contains_key(&key) {
            key = (OTHERS.into(), "".into());
        }
        let is_own = *key.0 == *series.name;
        let totals = self.metrics.entry(key.clone()).or_insert_with(|| Totals::new(&key.0, &key.1));
        totals.points += 1;
        totals.news = totals.news.max(Some(row.time));
        if !is_own || !row.value.is_finite() {
            return;
        }
        let before = totals.folded.as_ref().map_or(0.0, |(value, _)| *value);
        let value = match series.kind {
            SeriesKind::Sum { temporality: Temporality::Delta, .. } => before + row.value,
            SeriesKind::Gauge => row.value,
            _ => return,
        };
        totals.folded.get_or_insert_with(|| (value, Arc::new(folded(series)))).0 = value;
    }

    /// What has changed since the last time: series, time and value.
    pub(super) fn close(&mut self) -> Vec<(Arc<Series>, UnixNanos, f64)> {
        if self.folded == 0 {
            return Vec::new();
        }
        let mut changed = Vec::new();
        for totals in self.metrics.values_mut() {
            let Some(time) = totals.news.take() else { continue };
            #[expect(clippy::cast_precision_loss, reason = "counts above 2^53 are rounded, as in Prometheus")]
            changed.push((Arc::clone(&totals.counted), time, totals.points as f64));
            if let Some((total, series)) = &totals.folded {
                changed.push((Arc::clone(series), time, *total));
            }
        }
        changed
    }
}

impl Totals {
    fn new(metric: &str, service: &Arc<str>) -> Self {
        let labels = Labels::from_pairs([("job", &**service), ("otel_metric", metric), (LABEL, "true")]);
        let counted = of(POINTS.into(), "".into(), TOTAL, labels, service);
        Self { points: 0, counted: Arc::new(counted), folded: None, news: None }
    }
}

const TOTAL: SeriesKind = SeriesKind::Sum { monotonic: true, temporality: Temporality::Cumulative };

/// The series that takes the values of `series` and of those like it: a running total of deltas, or a
/// gauge that is not judged, since it jumps from one series to another.
fn folded(series: &Series) -> Series {
    let labels = Labels::from_pairs([("job", &*series.service), (LABEL, "true")]);
    let kind = match series.kind {
        SeriesKind::Sum { monotonic, .. } => SeriesKind::Sum { monotonic, temporality: Temporality::Cumulative },
        _ => SeriesKind::Published,
    };
    of(Arc::clone(&series.name), Arc::clone(&series.unit), kind, labels, &series.service)
}

fn of(name: Arc<str>, unit: Arc<str>, kind: SeriesKind, labels: Labels, service: &Arc<str>) -> Series {
    let key = SeriesKey(u128::from(labels.fingerprint())).derived(&name);
    Series { key, source_name: Arc::clone(&name), name, unit, kind, labels, service: Arc::clone(service) }
}
