//! Requests that are encoded once and sent again and again with new times.
//!
//! A receiver that knows its series would drop a point whose time it has seen, so the times have to
//! move. They are fixed64 on the wire: each can be written over where it stands.

use std::fmt;

use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data, number_data_point},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;

/// Requests in a cycle.
pub(crate) const REQUESTS: usize = 10;
/// Series are the points of a cycle: each request has its own.
const POINTS: usize = 1_000;
const SPANS: usize = 500;
/// gRPC's flag and length before the message.
const FRAME_HEADER: usize = 5;
/// The upper half of a time to be patched; the lower half is how far it lies before the request's
/// time, in nanoseconds. As a time it would be in the year 2188, and it is no text.
const MARK: u64 = 0x5fee_d1ed;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Signal {
    /// 1,000 points a request, over 10,000 series with 5 attributes.
    Metrics,
    /// 500 spans a request, with 12 attributes, some 0.9 KB each.
    Spans,
}

impl Signal {
    /// What is counted.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Metrics => "points",
            Self::Spans => "spans",
        }
    }

    /// The method's path.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Spans => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        }
    }
}

/// A framed request with the places of its times.
#[derive(Clone)]
pub(crate) struct Payload {
    /// gRPC frame and message.
    pub(crate) bytes: Vec<u8>,
    /// Items in it.
    pub(crate) items: u64,
    /// Place of each time, and how long before the request's own time it lies.
    times: Vec<(usize, u64)>,
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload").field("items", &self.items).field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl Payload {
    /// The request with this number in the cycle.
    pub(crate) fn new(signal: Signal, number: usize) -> Self {
        let (message, items, expected) = match signal {
            Signal::Metrics => (metrics(number).encode_to_vec(), POINTS, POINTS),
            Signal::Spans => (spans(number).encode_to_vec(), SPANS, 2 * SPANS),
        };
        let length = u32::try_from(message.len()).expect("half a megabyte");
        let mut bytes = Vec::with_capacity(FRAME_HEADER + message.len());
        bytes.push(0);
        bytes.extend(length.to_be_bytes());
        bytes.extend(message);
        let times = marked(&bytes);
        assert_eq!(times.len(), expected, "each time is found, and nothing else");
        Self { bytes, items: items as u64, times }
    }

    /// Writes times for a request that is sent at `now`, in nanoseconds since the epoch, into
    /// `bytes`, which have to be a copy of this payload's.
    pub(crate) fn stamp(times: &[(usize, u64)], bytes: &mut [u8], now: u64) {
        for (place, before) in times {
            bytes[*place..place + 8].copy_from_slice(&(now - before).to_le_bytes());
        }
    }

    /// The places of the times, for [`Payload::stamp`].
    pub(crate) fn times(&self) -> &[(usize, u64)] {
        &self.times
    }
}

fn mark(before: u32) -> u64 {
    (MARK << 32) | u64::from(before)
}

fn marked(bytes: &[u8]) -> Vec<(usize, u64)> {
    let time = |window: &[u8]| u64::from_le_bytes(window.try_into().expect("windows of eight bytes"));
    let windows = bytes.windows(8).map(time).enumerate();
    windows.filter(|(_, t)| t >> 32 == MARK).map(|(place, t)| (place, t & u64::from(u32::MAX))).collect()
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

/// Ten gauges of a hundred series each.
fn metrics(number: usize) -> ExportMetricsServiceRequest {
    let point = |series: usize| NumberDataPoint {
        attributes: vec![
            text("http.request.method", ["GET", "POST", "PUT", "DELETE"][series % 4]),
            text("http.route", format!("/api/v1/quotes/{{id}}/parts/{series:03}")),
            pair("http.response.status_code", Value::IntValue(200)),
            text("server.address", "quotes.example.internal"),
            text("tenant", format!("tenant-{:02}", series % 50)),
        ],
        time_unix_nano: mark(0),
        value: Some(number_data_point::Value::AsDouble(series as f64 * 1.25 + 0.5)),
        ..NumberDataPoint::default()
    };
    let metric = |index: usize| Metric {
        name: format!("load.queue.depth.{index}"),
        unit: "{item}".into(),
        data: Some(Data::Gauge(Gauge { data_points: (0..POINTS / 10).map(point).collect() })),
        ..Metric::default()
    };
    let scope_metrics =
        vec![ScopeMetrics { scope: scope(), metrics: (0..10).map(metric).collect(), ..ScopeMetrics::default() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: resource(number), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }
}

/// Server spans of twenty routes, of one to some twelve milliseconds.
fn spans(number: usize) -> ExportTraceServiceRequest {
    let span = |index: usize| {
        let id = (number * SPANS + index + 1) as u64;
        let duration = 1_000_000 + u32::try_from(index).expect("500 spans") * 23_000;
        let route = format!("/api/v1/tenants/{{tenant}}/quotes/{{quote}}/items/{:02}", index % 20);
        Span {
            trace_id: [id.to_be_bytes(), id.rotate_left(17).to_be_bytes()].concat(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamped_points_decode_with_the_given_time() {
        let mut payload = Payload::new(Signal::Metrics, 3);
        let times = payload.times().to_vec();
        Payload::stamp(&times, &mut payload.bytes, 1_700_000_000_000_000_000);
        let request = ExportMetricsServiceRequest::decode(&payload.bytes[FRAME_HEADER..]).expect("is a request");
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let points = metrics.iter().flat_map(|m| match &m.data {
            Some(Data::Gauge(gauge)) => gauge.data_points.as_slice(),
            _ => &[],
        });
        let times: Vec<u64> = points.map(|p| p.time_unix_nano).collect();
        assert_eq!(times, vec![1_700_000_000_000_000_000; POINTS]);
    }

    #[test]
    fn stamped_spans_keep_their_durations() {
        let mut payload = Payload::new(Signal::Spans, 0);
        let times = payload.times().to_vec();
        Payload::stamp(&times, &mut payload.bytes, 1_700_000_000_000_000_000);
        let request = ExportTraceServiceRequest::decode(&payload.bytes[FRAME_HEADER..]).expect("is a request");
        let span = &request.resource_spans[0].scope_spans[0].spans[100];
        assert_eq!(span.end_time_unix_nano, 1_700_000_000_000_000_000);
        assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 3_300_000);
        assert_eq!(span.attributes.len(), 12);
    }

    #[test]
    fn sizes_are_what_the_table_says() {
        let bytes = |signal| Payload::new(signal, 0).bytes.len();
        assert!((150_000..250_000).contains(&bytes(Signal::Metrics)), "{}", bytes(Signal::Metrics));
        assert!((400_000..500_000).contains(&bytes(Signal::Spans)), "{}", bytes(Signal::Spans));
    }
}
