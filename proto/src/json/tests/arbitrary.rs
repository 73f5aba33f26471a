//! Random requests, made from a string of bytes so that a failing one shrinks with it.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
        NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
        exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
        summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span},
};

/// Choices, one byte each; zeros once they are used up, which give empty things, so that all comes to an end.
pub(super) struct Source<'a>(pub(super) &'a [u8]);

impl Source<'_> {
    pub(super) fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: u8) -> u8 {
        self.byte() % n
    }

    fn u64(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => self.byte().into(),
            2 => 1_700_000_000_000_000_000 + u64::from(self.byte()),
            3 => u64::MAX - u64::from(self.byte()),
            4 => i64::MAX.cast_unsigned() + u64::from(self.byte()),
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    fn i64(&mut self) -> i64 {
        self.u64().cast_signed()
    }

    fn u32(&mut self) -> u32 {
        match self.below(4) {
            0 => 0,
            1 => self.byte().into(),
            2 => u32::MAX - u32::from(self.byte()),
            _ => u32::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    fn i32(&mut self) -> i32 {
        self.u32().cast_signed()
    }

    fn f64(&mut self) -> f64 {
        match self.below(8) {
            0 => 0.0,
            1 => -0.0,
            2 => f64::NAN,
            3 => f64::INFINITY,
            4 => f64::NEG_INFINITY,
            5 => f64::from(self.i32()) / 16.0,
            // The one NaN that JSON knows is the only one that can come back.
            _ => Some(f64::from_bits(self.u64())).filter(|value| !value.is_nan()).unwrap_or(1.5),
        }
    }

    fn text(&mut self) -> String {
        const PIECES: [&str; 16] = [
            "a", "key.name", "\"", "\\", "/", "\n", "\u{0}", "\u{1f}", "\u{7f}", "ü", "😀", "\u{2028}", "12345678",
            "{", " ", "€",
        ];
        (0..self.below(5)).map(|_| PIECES[usize::from(self.below(16))]).collect()
    }

    fn bytes(&mut self) -> Vec<u8> {
        (0..self.below(9)).map(|_| self.byte()).collect()
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.flag() { Some(make(self)) } else { None }
    }

    fn many<T>(&mut self, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.below(4)).map(|_| make(self)).collect()
    }
}

fn any_value(s: &mut Source<'_>, depth: u8) -> AnyValue {
    let value = match s.below(if depth < 4 { 8 } else { 6 }) {
        0 => return AnyValue { value: None },
        1 => Value::StringValue(s.text()),
        2 => Value::BoolValue(s.flag()),
        3 => Value::IntValue(s.i64()),
        4 => Value::DoubleValue(s.f64()),
        5 => Value::BytesValue(s.bytes()),
        6 => Value::ArrayValue(ArrayValue { values: s.many(|s| any_value(s, depth + 1)) }),
        _ => Value::KvlistValue(KeyValueList { values: s.many(|s| key_value(s, depth + 1)) }),
    };
    AnyValue { value: Some(value) }
}

fn key_value(s: &mut Source<'_>, depth: u8) -> KeyValue {
    KeyValue { key: s.text(), value: s.maybe(|s| any_value(s, depth)), key_strindex: 0 }
}

fn attributes(s: &mut Source<'_>) -> Vec<KeyValue> {
    s.many(|s| key_value(s, 0))
}

fn entity(s: &mut Source<'_>) -> EntityRef {
    EntityRef {
        schema_url: s.text(),
        r#type: s.text(),
        id_keys: s.many(Source::text),
        description_keys: s.many(Source::text),
    }
}

fn resource(s: &mut Source<'_>) -> Resource {
    Resource { attributes: attributes(s), dropped_attributes_count: s.u32(), entity_refs: s.many(entity) }
}

fn scope(s: &mut Source<'_>) -> InstrumentationScope {
    InstrumentationScope {
        name: s.text(),
        version: s.text(),
        attributes: attributes(s),
        dropped_attributes_count: s.u32(),
    }
}

pub(super) fn metrics(s: &mut Source<'_>) -> ExportMetricsServiceRequest {
    let scope_metrics =
        |s: &mut Source<'_>| ScopeMetrics { scope: s.maybe(scope), metrics: s.many(metric), schema_url: s.text() };
    let resource_metrics = |s: &mut Source<'_>| ResourceMetrics {
        resource: s.maybe(resource),
        scope_metrics: s.many(scope_metrics),
        schema_url: s.text(),
    };
    ExportMetricsServiceRequest { resource_metrics: s.many(resource_metrics) }
}

fn metric(s: &mut Source<'_>) -> Metric {
    let data = match s.below(6) {
        0 => None,
        1 => Some(Data::Gauge(Gauge { data_points: s.many(number) })),
        2 => Some(Data::Sum(Sum {
            data_points: s.many(number),
            aggregation_temporality: s.i32(),
            is_monotonic: s.flag(),
        })),
        3 => Some(Data::Histogram(Histogram { data_points: s.many(histogram), aggregation_temporality: s.i32() })),
        4 => Some(Data::ExponentialHistogram(ExponentialHistogram {
            data_points: s.many(exponential),
            aggregation_temporality: s.i32(),
        })),
        _ => Some(Data::Summary(Summary { data_points: s.many(summary) })),
    };
    Metric { name: s.text(), description: s.text(), unit: s.text(), metadata: attributes(s), data }
}

fn exemplar(s: &mut Source<'_>) -> Exemplar {
    let value = match s.below(3) {
        0 => None,
        1 => Some(exemplar::Value::AsDouble(s.f64())),
        _ => Some(exemplar::Value::AsInt(s.i64())),
    };
    Exemplar {
        filtered_attributes: attributes(s),
        time_unix_nano: s.u64(),
        span_id: s.bytes(),
        trace_id: s.bytes(),
        value,
    }
}

fn number(s: &mut Source<'_>) -> NumberDataPoint {
    let value = match s.below(3) {
        0 => None,
        1 => Some(number_data_point::Value::AsDouble(s.f64())),
        _ => Some(number_data_point::Value::AsInt(s.i64())),
    };
    NumberDataPoint {
        attributes: attributes(s),
        start_time_unix_nano: s.u64(),
        time_unix_nano: s.u64(),
        exemplars: s.many(exemplar),
        flags: s.u32(),
        value,
    }
}

fn histogram(s: &mut Source<'_>) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: attributes(s),
        start_time_unix_nano: s.u64(),
        time_unix_nano: s.u64(),
        count: s.u64(),
        sum: s.maybe(Source::f64),
        bucket_counts: s.many(Source::u64),
        explicit_bounds: s.many(Source::f64),
        exemplars: s.many(exemplar),
        flags: s.u32(),
        min: s.maybe(Source::f64),
        max: s.maybe(Source::f64),
    }
}

fn exponential(s: &mut Source<'_>) -> ExponentialHistogramDataPoint {
    let buckets = |s: &mut Source<'_>| Buckets { offset: s.i32(), bucket_counts: s.many(Source::u64) };
    ExponentialHistogramDataPoint {
        attributes: attributes(s),
        start_time_unix_nano: s.u64(),
        time_unix_nano: s.u64(),
        count: s.u64(),
        sum: s.maybe(Source::f64),
        scale: s.i32(),
        zero_count: s.u64(),
        positive: s.maybe(buckets),
        negative: s.maybe(buckets),
        flags: s.u32(),
        exemplars: s.many(exemplar),
        min: s.maybe(Source::f64),
        max: s.maybe(Source::f64),
        zero_threshold: s.f64(),
    }
}

fn summary(s: &mut Source<'_>) -> SummaryDataPoint {
    SummaryDataPoint {
        attributes: attributes(s),
        start_time_unix_nano: s.u64(),
        time_unix_nano: s.u64(),
        count: s.u64(),
        sum: s.f64(),
        quantile_values: s.many(|s| ValueAtQuantile { quantile: s.f64(), value: s.f64() }),
        flags: s.u32(),
    }
}

pub(super) fn traces(s: &mut Source<'_>) -> ExportTraceServiceRequest {
    let scope_spans =
        |s: &mut Source<'_>| ScopeSpans { scope: s.maybe(scope), spans: s.many(span), schema_url: s.text() };
    let resource_spans = |s: &mut Source<'_>| ResourceSpans {
        resource: s.maybe(resource),
        scope_spans: s.many(scope_spans),
        schema_url: s.text(),
    };
    ExportTraceServiceRequest { resource_spans: s.many(resource_spans) }
}

fn span(s: &mut Source<'_>) -> Span {
    Span {
        trace_id: s.bytes(),
        span_id: s.bytes(),
        trace_state: s.text(),
        parent_span_id: s.bytes(),
        flags: s.u32(),
        name: s.text(),
        kind: s.i32(),
        start_time_unix_nano: s.u64(),
        end_time_unix_nano: s.u64(),
        attributes: attributes(s),
        dropped_attributes_count: s.u32(),
        events: s.many(event),
        dropped_events_count: s.u32(),
        links: s.many(link),
        dropped_links_count: s.u32(),
        status: s.maybe(|s| Status { message: s.text(), code: s.i32() }),
    }
}

fn event(s: &mut Source<'_>) -> span::Event {
    span::Event {
        time_unix_nano: s.u64(),
        name: s.text(),
        attributes: attributes(s),
        dropped_attributes_count: s.u32(),
    }
}

fn link(s: &mut Source<'_>) -> span::Link {
    span::Link {
        trace_id: s.bytes(),
        span_id: s.bytes(),
        trace_state: s.text(),
        attributes: attributes(s),
        dropped_attributes_count: s.u32(),
        flags: s.u32(),
    }
}

pub(super) fn logs(s: &mut Source<'_>) -> ExportLogsServiceRequest {
    let scope_logs =
        |s: &mut Source<'_>| ScopeLogs { scope: s.maybe(scope), log_records: s.many(log), schema_url: s.text() };
    let resource_logs = |s: &mut Source<'_>| ResourceLogs {
        resource: s.maybe(resource),
        scope_logs: s.many(scope_logs),
        schema_url: s.text(),
    };
    ExportLogsServiceRequest { resource_logs: s.many(resource_logs) }
}

fn log(s: &mut Source<'_>) -> LogRecord {
    LogRecord {
        time_unix_nano: s.u64(),
        observed_time_unix_nano: s.u64(),
        severity_number: s.i32(),
        severity_text: s.text(),
        body: s.maybe(|s| any_value(s, 0)),
        attributes: attributes(s),
        dropped_attributes_count: s.u32(),
        flags: s.u32(),
        trace_id: s.bytes(),
        span_id: s.bytes(),
        event_name: s.text(),
    }
}
