//! Metric points as series and values.
//!
//! Gauges and sums are taken as they are. Of histograms, exponential histograms and summaries the
//! count and the sum are kept, as monotonic sums named `_count` and `_sum`; buckets and quantiles
//! come with histograms as a window type of their own. Exemplars are not kept yet.

mod series;

use proto::otlp::{
    cut,
    wire::{
        collector::metrics::v1::ExportMetricsServiceRequest,
        common::v1::{InstrumentationScope, KeyValue},
        metrics::v1::{
            AggregationTemporality, DataPointFlags, Metric, NumberDataPoint, metric::Data, number_data_point,
        },
    },
};
use window::{STALE_NAN_BITS, SeriesKind, Temporality, UnixNanos};

use self::series::{Head, Rows};
use super::{Decoded, Limits, attributes, cache::SeriesCache, resource};

/// The part of a point that all kinds share.
struct Stamp<'a> {
    attributes: &'a [KeyValue],
    start: u64,
    time: u64,
    flags: u32,
}

/// The values of a histogram's or summary's point that are kept.
struct Totals {
    count: u64,
    sum: Option<f64>,
}

pub(super) fn rows(request: &ExportMetricsServiceRequest, limits: &Limits, cache: &SeriesCache) -> Decoded {
    let mut rows = Rows::new(limits, cache);
    for resource_metrics in &request.resource_metrics {
        rows.sender(resource_metrics.resource.as_ref());
        for scope_metrics in &resource_metrics.scope_metrics {
            let scope = scope_metrics.scope.as_ref();
            rows.scope(scope, || resource::scope_fault(scope, limits));
            for metric in &scope_metrics.metrics {
                rows.metric(metric);
            }
        }
    }
    rows.finish()
}

impl<'a> Rows<'a> {
    fn metric(&mut self, metric: &'a Metric) {
        let Some(data) = &metric.data else {
            self.items += 1;
            return self.refuse(1, || format!("{}: metric without data, or of an unknown kind", shown(metric)));
        };
        let items = point_count(data);
        self.items += items;
        if let Some(fault) = self.fault.clone() {
            return self.refuse(items, || fault);
        }
        let limit = self.limits.metric_name_bytes;
        if metric.name.len() > limit {
            let length = metric.name.len();
            return self
                .refuse(items, || format!("metric name of {length} bytes ({}), the limit is {limit}", shown(metric)));
        }
        if metric.unit.len() > limit {
            let length = metric.unit.len();
            return self.refuse(items, || format!("{}: unit of {length} bytes, the limit is {limit}", shown(metric)));
        }
        if metric.name.is_empty() {
            return self.refuse(items, || "metric name is empty".to_owned());
        }
        match data {
            Data::Gauge(gauge) => self.numbers(metric, SeriesKind::Gauge, &gauge.data_points),
            Data::Sum(sum) => {
                if let Some(temporality) = self.temporality(metric, items, sum.aggregation_temporality) {
                    let kind = SeriesKind::Sum { monotonic: sum.is_monotonic, temporality };
                    self.numbers(metric, kind, &sum.data_points);
                }
            }
            Data::Histogram(_) | Data::ExponentialHistogram(_) | Data::Summary(_) => self.totals(metric, data, items),
        }
    }

    fn temporality(&mut self, metric: &Metric, items: u64, sent: i32) -> Option<Temporality> {
        match AggregationTemporality::try_from(sent) {
            Ok(AggregationTemporality::Cumulative) => Some(Temporality::Cumulative),
            Ok(AggregationTemporality::Delta) => Some(Temporality::Delta),
            Ok(AggregationTemporality::Unspecified) | Err(_) => {
                let reason =
                    || format!("{}: aggregation_temporality is {sent}, expected 1 (delta) or 2", shown(metric));
                self.refuse(items, reason);
                None
            }
        }
    }

    fn numbers(&mut self, metric: &'a Metric, kind: SeriesKind, points: &'a [NumberDataPoint]) {
        let head = self.head(metric, kind, "");
        for point in points {
            let stamp = Stamp {
                attributes: &point.attributes,
                start: point.start_time_unix_nano,
                time: point.time_unix_nano,
                flags: point.flags,
            };
            let value = match point.value {
                Some(number_data_point::Value::AsDouble(value)) => value,
                Some(number_data_point::Value::AsInt(value)) => value as f64,
                None if has_no_value(point.flags) => 0.0,
                None => {
                    self.refuse(1, || format!("{}: point without a value", shown(metric)));
                    continue;
                }
            };
            self.point(metric, &stamp, &[(&head, value)]);
        }
    }

    fn totals(&mut self, metric: &'a Metric, data: &'a Data, items: u64) {
        let sent = match data {
            Data::Histogram(h) => h.aggregation_temporality,
            Data::ExponentialHistogram(h) => h.aggregation_temporality,
            // A summary has no temporality: it counts from its start.
            Data::Gauge(_) | Data::Sum(_) | Data::Summary(_) => AggregationTemporality::Cumulative as i32,
        };
        let Some(temporality) = self.temporality(metric, items, sent) else { return };
        let kind = SeriesKind::Sum { monotonic: true, temporality };
        let (count, sum) = (self.head(metric, kind, "_count"), self.head(metric, kind, "_sum"));
        for (stamp, totals) in points_with_totals(data) {
            let is_gone = has_no_value(stamp.flags);
            let rows = [(&count, totals.count as f64), (&sum, totals.sum.unwrap_or(0.0))];
            let kept = if totals.sum.is_some() || is_gone { &rows[..] } else { &rows[..1] };
            self.point(metric, &stamp, kept);
        }
    }

    /// Takes one point, which is one or two rows, or refuses it.
    fn point(&mut self, metric: &Metric, stamp: &Stamp<'a>, values: &[(&Head, f64)]) {
        let refusal = |what: &str| format!("{}: {what}", shown(metric));
        if stamp.time == 0 {
            return self.refuse(1, || refusal("time_unix_nano is 0"));
        }
        let (Some(time), Some(start)) = (UnixNanos::from_unsigned(stamp.time), UnixNanos::from_unsigned(stamp.start))
        else {
            return self.refuse(1, || refusal("time_unix_nano or start_time_unix_nano is beyond the year 2262"));
        };
        if let Some(fault) = attributes::fault("data point", stamp.attributes, self.limits) {
            return self.refuse(1, || refusal(&fault));
        }
        self.sort(stamp.attributes);
        for (head, value) in values {
            let value = if has_no_value(stamp.flags) { f64::from_bits(STALE_NAN_BITS) } else { *value };
            self.push(head, time, (stamp.start != 0).then_some(start), value);
        }
    }

    /// Begins a scope of the current sender.
    fn scope(&mut self, scope: Option<&InstrumentationScope>, fault: impl FnOnce() -> Option<String>) {
        self.fault = self.sender.fault.clone().or_else(fault);
        self.scope_digest(scope);
    }
}

fn has_no_value(flags: u32) -> bool {
    flags & DataPointFlags::NoRecordedValueMask as u32 != 0
}

fn point_count(data: &Data) -> u64 {
    let count = match data {
        Data::Gauge(data) => data.data_points.len(),
        Data::Sum(data) => data.data_points.len(),
        Data::Histogram(data) => data.data_points.len(),
        Data::ExponentialHistogram(data) => data.data_points.len(),
        Data::Summary(data) => data.data_points.len(),
    };
    count as u64
}

/// The metric's name for a message.
fn shown(metric: &Metric) -> String {
    format!("metric {:?}", cut(&metric.name, 128))
}

/// The points of a histogram or a summary; none for the other kinds.
fn points_with_totals(data: &Data) -> Vec<(Stamp<'_>, Totals)> {
    macro_rules! points {
        ($data:expr, $sum:expr) => {
            $data
                .data_points
                .iter()
                .map(|point| {
                    let (attributes, flags) = (point.attributes.as_slice(), point.flags);
                    let stamp =
                        Stamp { attributes, start: point.start_time_unix_nano, time: point.time_unix_nano, flags };
                    (stamp, Totals { count: point.count, sum: $sum(point.sum) })
                })
                .collect()
        };
    }
    match data {
        Data::Histogram(data) => points!(data, std::convert::identity),
        Data::ExponentialHistogram(data) => points!(data, std::convert::identity),
        Data::Summary(data) => points!(data, Some),
        Data::Gauge(_) | Data::Sum(_) => Vec::new(),
    }
}
