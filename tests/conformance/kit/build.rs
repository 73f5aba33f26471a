//! Requests, made of prost's structs. Every test sends for a service name of its own.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

pub(crate) use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value as Any},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
        NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
        exponential_histogram_data_point, metric::Data, number_data_point::Value as Number,
        summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span},
};
use prost::Message;

/// Nanoseconds in a second.
pub(crate) const SECOND: u64 = 1_000_000_000;
/// Delta temporality on the wire.
pub(crate) const DELTA: i32 = 1;
/// Cumulative temporality on the wire.
pub(crate) const CUMULATIVE: i32 = 2;

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Metrics,
    Traces,
    Logs,
}

impl Signal {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Metrics, Self::Traces, Self::Logs];

    /// The path in HTTP.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Metrics => "/v1/metrics",
            Self::Traces => "/v1/traces",
            Self::Logs => "/v1/logs",
        }
    }

    /// The method in gRPC.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }
}

/// A request of any signal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Payload {
    Metrics(ExportMetricsServiceRequest),
    Traces(ExportTraceServiceRequest),
    Logs(ExportLogsServiceRequest),
}

impl Payload {
    /// Which signal it is.
    pub(crate) fn signal(&self) -> Signal {
        match self {
            Self::Metrics(_) => Signal::Metrics,
            Self::Traces(_) => Signal::Traces,
            Self::Logs(_) => Signal::Logs,
        }
    }

    /// Its bytes in protobuf.
    pub(crate) fn protobuf(&self) -> Vec<u8> {
        match self {
            Self::Metrics(request) => request.encode_to_vec(),
            Self::Traces(request) => request.encode_to_vec(),
            Self::Logs(request) => request.encode_to_vec(),
        }
    }

    /// One good item of this signal.
    pub(crate) fn one(signal: Signal, service: &str) -> Self {
        let time = base_time();
        match signal {
            Signal::Metrics => metrics(service, vec![gauge("conf.one", vec![point(time, 1.0, &[])])]),
            Signal::Traces => traces(service, vec![a_span("one", time, time + SECOND / 10)]),
            Signal::Logs => logs(service, vec![record(time, "one")]),
        }
    }
}

/// Unix seconds by the clock.
pub(crate) fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

/// Ten minutes ago, in whole seconds, as nanoseconds.
pub(crate) fn base_time() -> u64 {
    (now_seconds() - 600) * SECOND
}

/// A service name that no other test has.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A value.
pub(crate) fn any(value: Any) -> AnyValue {
    AnyValue { value: Some(value) }
}

/// A text value.
pub(crate) fn text(value: &str) -> AnyValue {
    any(Any::StringValue(value.into()))
}

/// An attribute.
pub(crate) fn attribute(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.into(), value: Some(value), key_strindex: 0 }
}

/// Attributes of text.
pub(crate) fn attributes(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    pairs.iter().map(|(key, value)| attribute(key, text(value))).collect()
}

/// The resource of a service.
pub(crate) fn resource(service: &str) -> Resource {
    Resource { attributes: attributes(&[("service.name", service)]), ..Resource::default() }
}

/// A metrics request of one service and scope.
pub(crate) fn metrics(service: &str, metrics: Vec<Metric>) -> Payload {
    metrics_of(resource(service), InstrumentationScope { name: "conformance".into(), ..Default::default() }, metrics)
}

/// A metrics request of one resource and scope.
pub(crate) fn metrics_of(resource: Resource, scope: InstrumentationScope, metrics: Vec<Metric>) -> Payload {
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: String::new() }];
    let resource_metrics = vec![ResourceMetrics { resource: Some(resource), scope_metrics, schema_url: String::new() }];
    Payload::Metrics(ExportMetricsServiceRequest { resource_metrics })
}

/// A traces request of one service.
pub(crate) fn traces(service: &str, spans: Vec<Span>) -> Payload {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource = Some(resource(service));
    let resource_spans = vec![ResourceSpans { resource, scope_spans, schema_url: String::new() }];
    Payload::Traces(ExportTraceServiceRequest { resource_spans })
}

/// A logs request of one service.
pub(crate) fn logs(service: &str, log_records: Vec<LogRecord>) -> Payload {
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let resource = Some(resource(service));
    let resource_logs = vec![ResourceLogs { resource, scope_logs, schema_url: String::new() }];
    Payload::Logs(ExportLogsServiceRequest { resource_logs })
}

/// A metric without unit.
pub(crate) fn metric(name: &str, data: Data) -> Metric {
    Metric { name: name.into(), data: Some(data), ..Metric::default() }
}

/// A gauge.
pub(crate) fn gauge(name: &str, data_points: Vec<NumberDataPoint>) -> Metric {
    metric(name, Data::Gauge(Gauge { data_points }))
}

/// A monotonic sum.
pub(crate) fn counter(name: &str, aggregation_temporality: i32, data_points: Vec<NumberDataPoint>) -> Metric {
    metric(name, Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic: true }))
}

/// A point without start time.
pub(crate) fn point(time_unix_nano: u64, value: f64, pairs: &[(&str, &str)]) -> NumberDataPoint {
    let value = Some(Number::AsDouble(value));
    NumberDataPoint { time_unix_nano, value, attributes: attributes(pairs), ..NumberDataPoint::default() }
}

/// A valid histogram point of three buckets: 1, 2 and 3 observations.
pub(crate) fn histogram_point(time_unix_nano: u64) -> HistogramDataPoint {
    HistogramDataPoint {
        time_unix_nano,
        start_time_unix_nano: time_unix_nano - 60 * SECOND,
        count: 6,
        sum: Some(12.5),
        bucket_counts: vec![1, 2, 3],
        explicit_bounds: vec![1.0, 2.0],
        ..HistogramDataPoint::default()
    }
}

/// A histogram.
pub(crate) fn histogram(name: &str, data_points: Vec<HistogramDataPoint>) -> Metric {
    metric(name, Data::Histogram(Histogram { data_points, aggregation_temporality: CUMULATIVE }))
}

/// A valid exponential histogram point: 1 at zero, 2 above, 1 below.
pub(crate) fn exponential_point(time_unix_nano: u64) -> ExponentialHistogramDataPoint {
    let buckets =
        |counts: &[u64]| exponential_histogram_data_point::Buckets { offset: 0, bucket_counts: counts.into() };
    ExponentialHistogramDataPoint {
        time_unix_nano,
        start_time_unix_nano: time_unix_nano - 60 * SECOND,
        count: 4,
        sum: Some(3.0),
        scale: 1,
        zero_count: 1,
        positive: Some(buckets(&[1, 1])),
        negative: Some(buckets(&[1])),
        ..ExponentialHistogramDataPoint::default()
    }
}

/// An exponential histogram.
pub(crate) fn exponential(name: &str, data_points: Vec<ExponentialHistogramDataPoint>) -> Metric {
    let data = ExponentialHistogram { data_points, aggregation_temporality: CUMULATIVE };
    metric(name, Data::ExponentialHistogram(data))
}

/// A summary of one point.
pub(crate) fn summary(name: &str, time_unix_nano: u64) -> Metric {
    let quantile_values = vec![ValueAtQuantile { quantile: 0.5, value: 2.0 }];
    let data_points =
        vec![SummaryDataPoint { time_unix_nano, count: 4, sum: 8.0, quantile_values, ..SummaryDataPoint::default() }];
    metric(name, Data::Summary(Summary { data_points }))
}

/// A span of a server with ids of its own.
pub(crate) fn a_span(name: &str, start_time_unix_nano: u64, end_time_unix_nano: u64) -> Span {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    Span {
        trace_id: [id.to_be_bytes(), (!id).to_be_bytes()].concat(),
        span_id: id.to_be_bytes().to_vec(),
        name: name.into(),
        kind: span::SpanKind::Server as i32,
        start_time_unix_nano,
        end_time_unix_nano,
        ..Span::default()
    }
}

/// A log record.
pub(crate) fn record(time_unix_nano: u64, body: &str) -> LogRecord {
    LogRecord {
        time_unix_nano,
        severity_number: 9,
        severity_text: "INFO".into(),
        body: Some(text(body)),
        ..LogRecord::default()
    }
}

/// A small request of each signal that has every kind of data in it, at `time`.
pub(crate) fn varied(service: &str, time: u64) -> [Payload; 3] {
    let kinds = vec![
        attribute("text", text("x")),
        attribute("int", any(Any::IntValue(-7))),
        attribute("double", any(Any::DoubleValue(0.5))),
        attribute("bool", any(Any::BoolValue(true))),
        attribute("bytes", any(Any::BytesValue(vec![0, 255]))),
        attribute("list", any(Any::ArrayValue(ArrayValue { values: vec![text("a"), AnyValue { value: None }] }))),
        attribute("map", any(Any::KvlistValue(KeyValueList { values: attributes(&[("k", "v")]) }))),
    ];
    let exemplar = Exemplar {
        time_unix_nano: time,
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        value: Some(exemplar::Value::AsDouble(0.25)),
        ..Exemplar::default()
    };
    let number = NumberDataPoint { attributes: kinds.clone(), exemplars: vec![exemplar], ..point(time, 1.5, &[]) };
    let counted = NumberDataPoint {
        start_time_unix_nano: time - 60 * SECOND,
        value: Some(Number::AsInt(3)),
        ..point(time, 0.0, &[("k", "v")])
    };
    let metric_list = vec![
        Metric { unit: "ms".into(), description: "d".into(), ..gauge("g", vec![number]) },
        counter("c", CUMULATIVE, vec![counted.clone()]),
        counter("d", DELTA, vec![counted]),
        histogram("h", vec![histogram_point(time)]),
        exponential("e", vec![exponential_point(time)]),
        summary("s", time),
    ];
    let span = Span {
        attributes: kinds.clone(),
        parent_span_id: vec![9; 8],
        events: vec![span::Event {
            time_unix_nano: time,
            name: "e".into(),
            attributes: kinds.clone(),
            ..Default::default()
        }],
        links: vec![span::Link { trace_id: vec![3; 16], span_id: vec![4; 8], ..Default::default() }],
        status: Some(Status { code: 2, message: "failed".into() }),
        ..a_span("s", time - SECOND, time)
    };
    let log = LogRecord { attributes: kinds, trace_id: vec![5; 16], span_id: vec![6; 8], ..record(time, "b") };
    [metrics(service, metric_list), traces(service, vec![span]), logs(service, vec![log])]
}

fn resources(payload: &mut Payload) -> Vec<&mut Resource> {
    match payload {
        Payload::Metrics(r) => r.resource_metrics.iter_mut().filter_map(|r| r.resource.as_mut()).collect(),
        Payload::Traces(r) => r.resource_spans.iter_mut().filter_map(|r| r.resource.as_mut()).collect(),
        Payload::Logs(r) => r.resource_logs.iter_mut().filter_map(|r| r.resource.as_mut()).collect(),
    }
}

/// The service that a request is for: its first resource's.
pub(crate) fn service_of(payload: &Payload) -> String {
    let mut payload = payload.clone();
    let names = resources(&mut payload).into_iter().flat_map(|r| &r.attributes).filter(|a| a.key == "service.name");
    let mut texts = names.filter_map(|a| match a.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text.clone()),
        _ => None,
    });
    texts.next().unwrap_or_default()
}

/// The same request for another service.
pub(crate) fn renamed(payload: &Payload, service: &str) -> Payload {
    let mut payload = payload.clone();
    for resource in resources(&mut payload) {
        for attribute in resource.attributes.iter_mut().filter(|a| a.key == "service.name") {
            attribute.value = Some(text(service));
        }
    }
    payload
}
