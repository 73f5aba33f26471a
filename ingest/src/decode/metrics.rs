//! Metric points as series and values.
//!
//! Gauges and sums are taken as they are. Histograms stay rows with all their buckets, and their
//! count and sum become monotonic sums named `_count` and `_sum` beside them. Summaries become the
//! same sums, and a gauge with the label `quantile` for each quantile, as in Prometheus.

mod series;

use proto::{
    otlp::{
        OriginVisitor, Repeated, Resource, Scope, cut,
        metrics::{
            self, Exemplar, ExponentialPoint, HistogramPoint, Kind, Metric, NumberPoint, Stamp, SummaryPoint, Totals,
        },
    },
    wire::Malformed,
};
use window::{Buckets, ExpBuckets, HistogramRow, STALE_NAN_BITS, SeriesId, SeriesKind, Temporality, UnixNanos};

use self::series::Rows;
use super::ids::id;
use crate::{ExemplarRow, MAX_BUCKETS, NumberRow, SeriesRef, check_histogram, known::WireKey};

pub(super) use self::series::rows;

/// Exemplars kept of one point; SDKs send one for each bucket at most.
const EXEMPLARS: usize = 200;
/// Quantiles of one summary's point.
const MAX_QUANTILES: usize = 100;
/// `DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK`; further bits are reserved.
const NO_RECORDED_VALUE: u32 = 1;
const DELTA: i32 = 1;
const CUMULATIVE: i32 = 2;

impl OriginVisitor for Rows<'_> {
    fn resource(&mut self, resource: &Resource<'_>) {
        self.begin_resource(resource);
    }

    fn scope(&mut self, scope: &Scope<'_>) {
        self.begin_scope(scope);
    }
}

impl metrics::Visitor for Rows<'_> {
    fn metric(&mut self, metric: &Metric<'_>) -> bool {
        match self.kinds(metric) {
            Ok(kinds) => {
                self.begin_metric(metric, kinds);
                true
            }
            Err(fault) => {
                // A metric without data is answered as one item.
                self.unwanted = Some((fault, u64::from(metric.kind.is_none())));
                false
            }
        }
    }

    fn skipped(&mut self, points: u64) {
        if let Some((fault, least)) = self.unwanted.take() {
            self.refuse(points.max(least), || fault);
        }
    }

    #[inline]
    fn numbers(&mut self, points: &[NumberPoint<'_>]) -> Result<(), Malformed> {
        let wires = self.foresee(points.iter().map(|point| &point.stamp.attributes));
        let result = points.iter().zip(&wires).try_for_each(|(point, wire)| self.number(point, *wire));
        self.room_for_wires(wires);
        result
    }

    fn histogram(&mut self, point: HistogramPoint<'_>) -> Result<(), Malformed> {
        let buckets = Buckets::Explicit { bounds: point.bounds.into(), counts: point.counts.into() };
        self.distribution(&point.stamp, &point.totals, buckets, &point.exemplars)
    }

    fn exponential(&mut self, point: ExponentialPoint<'_>) -> Result<(), Malformed> {
        let side = |b: metrics::Buckets| ExpBuckets { offset: b.offset, counts: b.counts.into() };
        let buckets = Buckets::Exponential {
            scale: point.scale,
            zero_count: point.zero_count,
            zero_threshold: point.zero_threshold,
            positive: side(point.positive),
            negative: side(point.negative),
        };
        self.distribution(&point.stamp, &point.totals, buckets, &point.exemplars)
    }

    fn summary(&mut self, point: SummaryPoint<'_>) -> Result<(), Malformed> {
        let Some((time, start)) = self.times(&point.stamp) else { return Ok(()) };
        let wrong = point.quantiles.iter().find(|(q, _)| !(0.0..=1.0).contains(q));
        if let Some((quantile, _)) = wrong {
            self.refuse_point(&format!("quantile is {quantile}, expected 0 to 1"));
            return Ok(());
        }
        if point.quantiles.len() > MAX_QUANTILES {
            let sent = point.quantiles.len();
            self.refuse_point(&format!("quantile_values: {sent} entries, the limit is {MAX_QUANTILES}"));
            return Ok(());
        }
        self.totals(0, &point.stamp, (time, start), point.count, Some(point.sum))?;
        for (quantile, value) in &point.quantiles {
            let value = if has_no_value(&point.stamp) { f64::from_bits(STALE_NAN_BITS) } else { *value };
            let Some(series) = self.quantile_series(2, *quantile, &point.stamp.attributes)? else { return Ok(()) };
            self.push(NumberRow { series, is_item: false, time, start: UnixNanos::MIN, value });
        }
        Ok(())
    }
}

impl Rows<'_> {
    /// Takes a point of a gauge or a sum, which has been foreseen as `wire`.
    #[inline]
    fn number(&mut self, point: &NumberPoint<'_>, wire: WireKey) -> Result<(), Malformed> {
        let Some((time, start)) = self.times(&point.stamp) else { return Ok(()) };
        let value = match point.value {
            _ if has_no_value(&point.stamp) => f64::from_bits(STALE_NAN_BITS),
            Some(value) => value.as_f64(),
            None => {
                self.refuse_point("point without a value");
                return Ok(());
            }
        };
        let Some(series) = self.series_of(0, wire, &point.stamp.attributes)? else { return Ok(()) };
        self.push(NumberRow { series, is_item: true, time, start, value });
        self.exemplars(series, point.exemplars.iter())
    }

    /// The kinds of the series that a metric's points become, each with the suffix of its name; or
    /// why its points are refused.
    fn kinds(&self, metric: &Metric<'_>) -> Result<&'static [Part], String> {
        let Some(kind) = metric.kind else {
            return Err(format!("{}: metric without data, or of an unknown kind", shown(metric.name.as_str())));
        };
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let limit = self.context.limits.metric_name_bytes;
        let (name, unit) = (metric.name.bytes().len(), metric.unit.bytes().len());
        if name > limit {
            return Err(format!("metric name of {name} bytes ({}), the limit is {limit}", shown(metric.name.as_str())));
        }
        if unit > limit {
            return Err(format!("{}: unit of {unit} bytes, the limit is {limit}", shown(metric.name.as_str())));
        }
        if name == 0 {
            return Err("metric name is empty".to_owned());
        }
        Ok(match (kind, metric.temporality, metric.is_monotonic) {
            (Kind::Gauge, ..) => &[("", SeriesKind::Gauge)],
            (Kind::Sum, DELTA, true) => &[("", DELTA_TOTAL)],
            (Kind::Sum, DELTA, false) => &[("", DELTA_UP_DOWN)],
            (Kind::Sum, CUMULATIVE, true) => &[("", TOTAL)],
            (Kind::Sum, CUMULATIVE, false) => &[("", UP_DOWN)],
            (Kind::Histogram | Kind::Exponential, DELTA, _) => {
                &[("", HISTOGRAM_OF_DELTAS), ("_count", DELTA_TOTAL), ("_sum", DELTA_TOTAL)]
            }
            (Kind::Histogram | Kind::Exponential, CUMULATIVE, _) => {
                &[("", HISTOGRAM), ("_count", TOTAL), ("_sum", TOTAL)]
            }
            // A summary has no temporality: it counts from its start.
            (Kind::Summary, ..) => &[("_count", TOTAL), ("_sum", TOTAL), ("", SeriesKind::Gauge)],
            (Kind::Sum | Kind::Histogram | Kind::Exponential, sent, _) => {
                let name = shown(metric.name.as_str());
                return Err(format!("{name}: aggregation_temporality is {sent}, expected 1 (delta) or 2"));
            }
        })
    }

    /// A point of a histogram: its row, its count and its sum.
    fn distribution(
        &mut self,
        stamp: &Stamp<'_>,
        totals: &Totals,
        buckets: Buckets,
        exemplars: &Repeated<'_>,
    ) -> Result<(), Malformed> {
        let Some((time, start)) = self.times(stamp) else { return Ok(()) };
        let mut row = HistogramRow {
            // Its number is known to the one who registers it.
            series: SeriesId(0),
            time,
            start: Some(start).filter(|s| *s != UnixNanos::MIN),
            count: totals.count,
            sum: totals.sum,
            min: totals.min,
            max: totals.max,
            buckets,
        };
        if has_no_value(stamp) {
            row = HistogramRow { count: 0, sum: None, min: None, max: None, buckets: Buckets::Ended, ..row };
        } else if let Err(fault) = check_histogram(&row.view(), MAX_BUCKETS) {
            self.refuse_point(&fault.to_string());
            return Ok(());
        }
        let Some(series) = self.series(0, &stamp.attributes)? else { return Ok(()) };
        self.push_histogram(series, row);
        self.exemplars(series, exemplars.iter())?;
        self.totals(1, stamp, (time, start), totals.count, totals.sum)
    }

    /// Count and sum of a point, as the parts from `part` on.
    #[expect(clippy::cast_precision_loss, reason = "counts above 2^53 are rounded, as in Prometheus")]
    fn totals(
        &mut self,
        part: usize,
        stamp: &Stamp<'_>,
        (time, start): (UnixNanos, UnixNanos),
        count: u64,
        sum: Option<f64>,
    ) -> Result<(), Malformed> {
        let stale = has_no_value(stamp).then_some(f64::from_bits(STALE_NAN_BITS));
        for (part, is_item, value) in [(part, true, Some(count as f64)), (part + 1, false, sum)] {
            if let Some(value) = stale.or(value)
                && let Some(series) = self.series(part, &stamp.attributes)?
            {
                self.push(NumberRow { series, is_item, time, start, value });
            }
        }
        Ok(())
    }

    /// Time and start of a point, the start [`UnixNanos::MIN`] where none is given; or nothing, when
    /// the point is refused for them.
    #[inline]
    fn times(&mut self, stamp: &Stamp<'_>) -> Option<(UnixNanos, UnixNanos)> {
        match (UnixNanos::from_unsigned(stamp.time), UnixNanos::from_unsigned(stamp.start)) {
            (Some(UnixNanos(0)), _) => self.refuse_point("time_unix_nano is 0"),
            (Some(time), Some(UnixNanos(0))) => return Some((time, UnixNanos::MIN)),
            (Some(time), Some(start)) if start > time && self.has_start() => {
                self.refuse_point("start_time_unix_nano is after time_unix_nano");
            }
            (Some(time), Some(start)) => return Some((time, start)),
            _ => self.refuse_point("time_unix_nano or start_time_unix_nano is beyond the year 2262"),
        }
        None
    }

    #[inline]
    fn exemplars<'e>(&mut self, series: SeriesRef, sent: impl Iterator<Item = &'e [u8]>) -> Result<(), Malformed> {
        for (i, raw) in sent.enumerate() {
            let exemplar = Exemplar::read(raw)?;
            let time = UnixNanos::from_unsigned(exemplar.time).filter(|t| t.0 != 0);
            let (Some(time), Some(value), true) = (time, exemplar.value, i < EXEMPLARS) else { continue };
            let (trace_id, span_id) = (id(exemplar.trace_id), id(exemplar.span_id));
            self.push_exemplar(ExemplarRow {
                series,
                time,
                value: value.as_f64(),
                trace_id: trace_id.unwrap_or_default(),
                span_id: span_id.unwrap_or_default(),
            });
        }
        Ok(())
    }
}

/// A series that a metric's points become: the suffix of its name, and its kind.
type Part = (&'static str, SeriesKind);

const TOTAL: SeriesKind = SeriesKind::Sum { monotonic: true, temporality: Temporality::Cumulative };
const DELTA_TOTAL: SeriesKind = SeriesKind::Sum { monotonic: true, temporality: Temporality::Delta };
const HISTOGRAM: SeriesKind = SeriesKind::Histogram { temporality: Temporality::Cumulative };
const HISTOGRAM_OF_DELTAS: SeriesKind = SeriesKind::Histogram { temporality: Temporality::Delta };
const UP_DOWN: SeriesKind = SeriesKind::Sum { monotonic: false, temporality: Temporality::Cumulative };
const DELTA_UP_DOWN: SeriesKind = SeriesKind::Sum { monotonic: false, temporality: Temporality::Delta };

fn has_no_value(stamp: &Stamp<'_>) -> bool {
    stamp.flags & NO_RECORDED_VALUE != 0
}

/// A metric's name for a message.
fn shown(name: &str) -> String {
    format!("metric {:?}", cut(name, 128))
}
