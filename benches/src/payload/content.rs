//! What the requests say.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
        metric::Data, number_data_point,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;

use super::{Kind, Shape, Signal, mark};

/// Points of a request. Each request has its own series.
pub(super) const POINTS: usize = 1_000;
const METRICS: usize = 10;
const SPANS: usize = 500;
const LOGS: usize = 1_000;
/// The bounds that the semantic conventions advise for durations of HTTP requests, in seconds.
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: i32 = 2;

/// An encoded message.
pub(super) struct Content {
    pub(super) message: Vec<u8>,
    pub(super) items: usize,
    /// Numbers in it that move with time.
    pub(super) marks: usize,
}

/// The message with this number in its cycle.
pub(super) fn of(shape: &Shape, number: usize, start: u64) -> Content {
    match (shape.signal, shape.kind) {
        (Signal::Metrics, kind) => {
            let marks = match kind {
                Kind::Gauge => 1,
                Kind::Sum => 2,
                Kind::Histogram => 3,
            };
            Content { message: metrics(kind, number, start).encode_to_vec(), items: POINTS, marks: marks * POINTS }
        }
        (Signal::Spans, _) => Content { message: spans(number).encode_to_vec(), items: SPANS, marks: 2 * SPANS },
        (Signal::Logs, _) => Content { message: logs(number).encode_to_vec(), items: LOGS, marks: 2 * LOGS },
    }
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    pair(key, Value::StringValue(value.into()))
}

fn resource(number: usize) -> Option<Resource> {
    let attributes = vec![
        text("service.name", format!("service-{number}")),
        text("service.namespace", "load"),
        text("service.instance.id", format!("instance-{number}")),
        text("service.version", "1.4.2"),
        text("deployment.environment.name", "bench"),
        text("host.name", format!("host-{number}")),
    ];
    Some(Resource { attributes, ..Resource::default() })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "load".into(), version: "1".into(), ..InstrumentationScope::default() })
}

/// Ten metrics of a hundred series each.
fn metrics(kind: Kind, number: usize, start: u64) -> ExportMetricsServiceRequest {
    let series = 0..POINTS / METRICS;
    let metric = |index: usize| match kind {
        Kind::Gauge => {
            let data_points = series.clone().map(gauge_point).collect();
            metric(format!("load.queue.depth.{index}"), "{item}", Data::Gauge(Gauge { data_points }))
        }
        Kind::Sum => {
            let data_points = series.clone().map(|s| sum_point(s, start)).collect();
            let sum = Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic: true };
            metric(format!("load.busy.time.{index}"), "ns", Data::Sum(sum))
        }
        Kind::Histogram => {
            let data_points = series.clone().map(|s| histogram_point(s, start)).collect();
            let histogram = Histogram { data_points, aggregation_temporality: CUMULATIVE };
            metric(format!("load.request.duration.{index}"), "s", Data::Histogram(histogram))
        }
    };
    let scope_metrics =
        vec![ScopeMetrics { scope: scope(), metrics: (0..METRICS).map(metric).collect(), ..ScopeMetrics::default() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: resource(number), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }
}

fn metric(name: String, unit: &str, data: Data) -> Metric {
    Metric { name, unit: unit.into(), data: Some(data), ..Metric::default() }
}

fn point_attributes(series: usize) -> Vec<KeyValue> {
    vec![
        text("http.request.method", ["GET", "POST", "PUT", "DELETE"][series % 4]),
        text("http.route", format!("/api/v1/quotes/{{id}}/parts/{series:03}")),
        pair("http.response.status_code", Value::IntValue(200)),
        text("server.address", "quotes.example.internal"),
        text("tenant", format!("tenant-{:02}", series % 50)),
    ]
}

fn gauge_point(series: usize) -> NumberDataPoint {
    NumberDataPoint {
        attributes: point_attributes(series),
        time_unix_nano: mark(0),
        value: Some(number_data_point::Value::AsDouble(series as f64 * 1.25 + 0.5)),
        ..NumberDataPoint::default()
    }
}

fn sum_point(series: usize, start: u64) -> NumberDataPoint {
    NumberDataPoint {
        attributes: point_attributes(series),
        start_time_unix_nano: start,
        time_unix_nano: mark(0),
        value: Some(number_data_point::Value::AsInt(mark(0).cast_signed())),
        ..NumberDataPoint::default()
    }
}

/// All buckets but the first stay as they are; whatever is new took no time.
fn histogram_point(series: usize, start: u64) -> HistogramDataPoint {
    let others = (1..=BOUNDS.len()).map(|bucket| ((series + bucket) % 17) as u64);
    let rest = u32::try_from(others.clone().sum::<u64>()).expect("less than 17 in each of 14 buckets");
    HistogramDataPoint {
        attributes: point_attributes(series),
        start_time_unix_nano: start,
        time_unix_nano: mark(0),
        count: mark(0),
        sum: Some(f64::from(rest) * 0.5),
        bucket_counts: [mark(rest)].into_iter().chain(others).collect(),
        explicit_bounds: BOUNDS.to_vec(),
        ..HistogramDataPoint::default()
    }
}

/// Server spans of twenty routes, of one to some twelve milliseconds.
fn spans(number: usize) -> ExportTraceServiceRequest {
    let span = |index: usize| {
        let id = (number * SPANS + index + 1) as u64;
        let duration = 1_000_000 + u32::try_from(index).expect("500 spans") * 23_000;
        let route = format!("/api/v1/tenants/{{tenant}}/quotes/{{quote}}/items/{:02}", index % 20);
        Span {
            trace_id: trace_id(id),
            span_id: id.to_be_bytes().to_vec(),
            parent_span_id: (id | 1 << 40).to_be_bytes().to_vec(),
            name: format!("GET {route}"),
            kind: 2,
            start_time_unix_nano: mark(duration),
            end_time_unix_nano: mark(0),
            attributes: span_attributes(&route, index),
            ..Span::default()
        }
    };
    let spans = (0..SPANS).map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: scope(), spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: resource(number), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

fn trace_id(id: u64) -> Vec<u8> {
    [id.to_be_bytes(), id.rotate_left(17).to_be_bytes()].concat()
}

fn span_attributes(route: &str, index: usize) -> Vec<KeyValue> {
    let (tenant, quote, item) = (index % 50, index, index % 20);
    let path = format!("/api/v1/tenants/t-{tenant:03}/quotes/q-{quote:05}/items/{item:02}");
    let columns = "id, tenant_id, quote_id, material, finish, quantity, unit_price, lead_time_days, updated_at";
    vec![
        text("http.request.method", "GET"),
        text("http.route", route),
        pair("http.response.status_code", Value::IntValue(200)),
        text("url.full", format!("https://quotes.production.example.internal{path}?currency=EUR&expand=pricing,dfm")),
        text("server.address", "quotes.production.example.internal"),
        pair("server.port", Value::IntValue(8443)),
        text("client.address", format!("10.20.{}.{}", index % 7, index % 251)),
        text(
            "user_agent.original",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0",
        ),
        text("network.protocol.version", "1.1"),
        text("enduser.id", format!("user-{:06}", index * 7919)),
        text("db.query.text", format!("SELECT {columns} FROM items WHERE tenant_id = $1 AND quote_id = $2")),
        text("thread.name", format!("tokio-runtime-worker-{}", index % 8)),
    ]
}

/// Nine of ten at INFO, one at WARN.
fn logs(number: usize) -> ExportLogsServiceRequest {
    let record = |index: usize| {
        let id = (number * LOGS + index + 1) as u64;
        let (severity_number, severity_text) = if index.is_multiple_of(10) { (13, "WARN") } else { (9, "INFO") };
        let body = format!("quote q-{index:05} was priced for tenant t-{:03} in {} ms", index % 50, index % 97);
        LogRecord {
            time_unix_nano: mark(0),
            observed_time_unix_nano: mark(0),
            severity_number,
            severity_text: severity_text.into(),
            body: Some(AnyValue { value: Some(Value::StringValue(body)) }),
            attributes: vec![
                text("code.function.name", "pricing::engine::quote"),
                text("thread.name", format!("tokio-runtime-worker-{}", index % 8)),
                text("tenant", format!("tenant-{:02}", index % 50)),
                text("material", ["aluminium", "steel", "titanium", "brass"][index % 4]),
                pair("quantity", Value::IntValue((1 + index % 40).cast_signed() as i64)),
            ],
            trace_id: trace_id(id),
            span_id: id.to_be_bytes().to_vec(),
            ..LogRecord::default()
        }
    };
    let log_records = (0..LOGS).map(record).collect();
    let scope_logs = vec![ScopeLogs { scope: scope(), log_records, ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { resource: resource(number), scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }
}
