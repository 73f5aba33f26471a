//! The readers against prost: whatever prost reads, they read as the same.
//!
//! A visitor that puts together `opentelemetry-proto`'s structs from what it is shown, so that whole
//! requests can be compared.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1 as common,
    logs::v1 as wire_logs,
    metrics::v1 as wire_metrics,
    resource::v1 as wire_resource,
    trace::v1 as wire_trace,
};
use prost::Message as _;

use super::{logs, metrics, traces, *};
use crate::wire::{Malformed, Text};

mod samples;

fn any(value: &AnyValue<'_>) -> common::AnyValue {
    use common::any_value::Value;
    let value = match value {
        AnyValue::Unset => None,
        AnyValue::Text(text) => Some(Value::StringValue(text.as_str().into())),
        AnyValue::Bool(value) => Some(Value::BoolValue(*value)),
        AnyValue::Int(value) => Some(Value::IntValue(*value)),
        AnyValue::Double(value) => Some(Value::DoubleValue(*value)),
        AnyValue::Bytes(value) => Some(Value::BytesValue(value.to_vec())),
        AnyValue::Array(array) => {
            Some(Value::ArrayValue(common::ArrayValue { values: array.iter().map(|v| any(&v)).collect() }))
        }
        AnyValue::Map(map) => {
            Some(Value::KvlistValue(common::KeyValueList { values: map.iter().map(|kv| pair(&kv)).collect() }))
        }
    };
    common::AnyValue { value }
}

fn pair(kv: &KeyValue<'_>) -> common::KeyValue {
    // Whether an empty value was sent or none does not matter to anyone.
    let value = Some(any(&kv.value)).filter(|v| v.value.is_some());
    common::KeyValue { key: kv.key.as_str().into(), value, key_strindex: 0 }
}

fn pairs(sent: &Repeated<'_>) -> Result<Vec<common::KeyValue>, Malformed> {
    sent.iter().map(|raw| KeyValue::read(raw).map(|kv| pair(&kv))).collect()
}

fn text(text: Text<'_>) -> String {
    text.as_str().to_owned()
}

fn resource(resource: &Resource<'_>) -> Option<wire_resource::Resource> {
    Some(wire_resource::Resource {
        attributes: pairs(&resource.attributes).expect("the reader has looked at them"),
        dropped_attributes_count: resource.dropped_attributes,
        entity_refs: Vec::new(),
    })
}

fn scope(scope: &Scope<'_>) -> Option<common::InstrumentationScope> {
    Some(common::InstrumentationScope {
        name: text(scope.name),
        version: text(scope.version),
        attributes: pairs(&scope.attributes).expect("the reader has looked at them"),
        dropped_attributes_count: scope.dropped_attributes,
    })
}

#[derive(Default)]
struct Traces(ExportTraceServiceRequest);

impl OriginVisitor for Traces {
    fn resource(&mut self, sent: &Resource<'_>) {
        let resource = resource(sent);
        self.0.resource_spans.push(wire_trace::ResourceSpans { resource, ..Default::default() });
    }

    fn scope(&mut self, sent: &Scope<'_>) {
        let scope = scope(sent);
        let resource = self.0.resource_spans.last_mut().expect("a resource comes first");
        resource.scope_spans.push(wire_trace::ScopeSpans { scope, ..Default::default() });
    }
}

impl traces::Visitor for Traces {
    fn span(&mut self, span: &traces::Span<'_>) -> Result<(), Malformed> {
        let event = |raw| {
            let event = traces::Event::read(raw)?;
            Ok(wire_trace::span::Event {
                time_unix_nano: event.time,
                name: text(event.name),
                attributes: pairs(&event.attributes)?,
                dropped_attributes_count: event.dropped_attributes,
            })
        };
        let link = |raw| {
            let link = traces::Link::read(raw)?;
            Ok(wire_trace::span::Link {
                trace_id: link.trace_id.to_vec(),
                span_id: link.span_id.to_vec(),
                trace_state: text(link.trace_state),
                attributes: pairs(&link.attributes)?,
                dropped_attributes_count: link.dropped_attributes,
                flags: link.flags,
            })
        };
        let status = wire_trace::Status { message: text(span.status_message), code: span.status_code };
        let read = wire_trace::Span {
            trace_id: span.trace_id.to_vec(),
            span_id: span.span_id.to_vec(),
            trace_state: text(span.trace_state),
            parent_span_id: span.parent_span_id.to_vec(),
            flags: span.flags,
            name: text(span.name),
            kind: span.kind,
            start_time_unix_nano: span.start,
            end_time_unix_nano: span.end,
            attributes: pairs(&span.attributes)?,
            dropped_attributes_count: span.dropped[0],
            events: span.events.iter().map(event).collect::<Result<_, Malformed>>()?,
            dropped_events_count: span.dropped[1],
            links: span.links.iter().map(link).collect::<Result<_, Malformed>>()?,
            dropped_links_count: span.dropped[2],
            status: Some(status),
        };
        let scopes = &mut self.0.resource_spans.last_mut().expect("a resource comes first").scope_spans;
        scopes.last_mut().expect("a scope comes before").spans.push(read);
        Ok(())
    }
}

#[derive(Default)]
struct Logs(ExportLogsServiceRequest);

impl OriginVisitor for Logs {
    fn resource(&mut self, sent: &Resource<'_>) {
        let resource = resource(sent);
        self.0.resource_logs.push(wire_logs::ResourceLogs { resource, ..Default::default() });
    }

    fn scope(&mut self, sent: &Scope<'_>) {
        let scope = scope(sent);
        let resource = self.0.resource_logs.last_mut().expect("a resource comes first");
        resource.scope_logs.push(wire_logs::ScopeLogs { scope, ..Default::default() });
    }
}

impl logs::Visitor for Logs {
    fn record(&mut self, record: &logs::LogRecord<'_>) -> Result<(), Malformed> {
        let read = wire_logs::LogRecord {
            time_unix_nano: record.time,
            observed_time_unix_nano: record.observed,
            severity_number: record.severity,
            severity_text: text(record.severity_text),
            body: Some(any(&record.body)).filter(|v| v.value.is_some()),
            attributes: pairs(&record.attributes)?,
            dropped_attributes_count: record.dropped_attributes,
            flags: record.flags,
            trace_id: record.trace_id.to_vec(),
            span_id: record.span_id.to_vec(),
            event_name: text(record.event_name),
        };
        let scopes = &mut self.0.resource_logs.last_mut().expect("a resource comes first").scope_logs;
        scopes.last_mut().expect("a scope comes before").log_records.push(read);
        Ok(())
    }
}

#[derive(Default)]
struct Metrics(ExportMetricsServiceRequest);

impl Metrics {
    fn number(&mut self, point: &metrics::NumberPoint<'_>) -> Result<(), Malformed> {
        use wire_metrics::{metric::Data, number_data_point::Value};
        let read = wire_metrics::NumberDataPoint {
            attributes: pairs(&point.stamp.attributes)?,
            start_time_unix_nano: point.stamp.start,
            time_unix_nano: point.stamp.time,
            exemplars: exemplars(&point.exemplars)?,
            flags: point.stamp.flags,
            value: point.value.map(|value| match value {
                metrics::Number::Double(value) => Value::AsDouble(value),
                metrics::Number::Int(value) => Value::AsInt(value),
            }),
        };
        match self.data() {
            Data::Gauge(gauge) => gauge.data_points.push(read),
            Data::Sum(sum) => sum.data_points.push(read),
            other => unreachable!("a number in {other:?}"),
        }
        Ok(())
    }

    fn data(&mut self) -> &mut wire_metrics::metric::Data {
        let resource = self.0.resource_metrics.last_mut().expect("a resource comes first");
        let metrics = &mut resource.scope_metrics.last_mut().expect("a scope comes before").metrics;
        metrics.last_mut().and_then(|m| m.data.as_mut()).expect("a metric with data comes before")
    }
}

fn exemplars(sent: &Repeated<'_>) -> Result<Vec<wire_metrics::Exemplar>, Malformed> {
    let exemplar = |raw| {
        let exemplar = metrics::Exemplar::read(raw)?;
        Ok(wire_metrics::Exemplar {
            filtered_attributes: pairs(&exemplar.attributes)?,
            time_unix_nano: exemplar.time,
            span_id: exemplar.span_id.to_vec(),
            trace_id: exemplar.trace_id.to_vec(),
            value: exemplar.value.map(|value| match value {
                metrics::Number::Double(value) => wire_metrics::exemplar::Value::AsDouble(value),
                metrics::Number::Int(value) => wire_metrics::exemplar::Value::AsInt(value),
            }),
        })
    };
    sent.iter().map(exemplar).collect()
}

impl OriginVisitor for Metrics {
    fn resource(&mut self, sent: &Resource<'_>) {
        let resource = resource(sent);
        self.0.resource_metrics.push(wire_metrics::ResourceMetrics { resource, ..Default::default() });
    }

    fn scope(&mut self, sent: &Scope<'_>) {
        let scope = scope(sent);
        let resource = self.0.resource_metrics.last_mut().expect("a resource comes first");
        resource.scope_metrics.push(wire_metrics::ScopeMetrics { scope, ..Default::default() });
    }
}

impl metrics::Visitor for Metrics {
    fn metric(&mut self, metric: &metrics::Metric<'_>) -> bool {
        use wire_metrics::metric::Data;
        let (aggregation_temporality, is_monotonic) = (metric.temporality, metric.is_monotonic);
        let data = metric.kind.map(|kind| match kind {
            metrics::Kind::Gauge => Data::Gauge(wire_metrics::Gauge::default()),
            metrics::Kind::Sum => {
                Data::Sum(wire_metrics::Sum { data_points: Vec::new(), aggregation_temporality, is_monotonic })
            }
            metrics::Kind::Histogram => {
                Data::Histogram(wire_metrics::Histogram { data_points: Vec::new(), aggregation_temporality })
            }
            metrics::Kind::Exponential => Data::ExponentialHistogram(wire_metrics::ExponentialHistogram {
                data_points: Vec::new(),
                aggregation_temporality,
            }),
            metrics::Kind::Summary => Data::Summary(wire_metrics::Summary::default()),
        });
        let (name, description, unit) = (text(metric.name), text(metric.description), text(metric.unit));
        let read = wire_metrics::Metric { name, description, unit, metadata: Vec::new(), data };
        let resource = self.0.resource_metrics.last_mut().expect("a resource comes first");
        resource.scope_metrics.last_mut().expect("a scope comes before").metrics.push(read);
        true
    }

    fn skipped(&mut self, points: u64) {
        assert_eq!(points, 0, "every metric with data is wanted");
    }

    fn numbers(&mut self, points: &[metrics::NumberPoint<'_>]) -> Result<(), Malformed> {
        points.iter().try_for_each(|point| self.number(point))
    }

    fn histogram(&mut self, point: metrics::HistogramPoint<'_>) -> Result<(), Malformed> {
        let read = wire_metrics::HistogramDataPoint {
            attributes: pairs(&point.stamp.attributes)?,
            start_time_unix_nano: point.stamp.start,
            time_unix_nano: point.stamp.time,
            count: point.totals.count,
            sum: point.totals.sum,
            bucket_counts: point.counts,
            explicit_bounds: point.bounds,
            exemplars: exemplars(&point.exemplars)?,
            flags: point.stamp.flags,
            min: point.totals.min,
            max: point.totals.max,
        };
        let wire_metrics::metric::Data::Histogram(histogram) = self.data() else { unreachable!("another kind") };
        histogram.data_points.push(read);
        Ok(())
    }

    fn exponential(&mut self, point: metrics::ExponentialPoint<'_>) -> Result<(), Malformed> {
        let side = |b: metrics::Buckets| {
            let is_sent = b != metrics::Buckets::default();
            is_sent.then_some(wire_metrics::exponential_histogram_data_point::Buckets {
                offset: b.offset,
                bucket_counts: b.counts,
            })
        };
        let read = wire_metrics::ExponentialHistogramDataPoint {
            attributes: pairs(&point.stamp.attributes)?,
            start_time_unix_nano: point.stamp.start,
            time_unix_nano: point.stamp.time,
            count: point.totals.count,
            sum: point.totals.sum,
            scale: point.scale,
            zero_count: point.zero_count,
            positive: side(point.positive),
            negative: side(point.negative),
            flags: point.stamp.flags,
            exemplars: exemplars(&point.exemplars)?,
            min: point.totals.min,
            max: point.totals.max,
            zero_threshold: point.zero_threshold,
        };
        let wire_metrics::metric::Data::ExponentialHistogram(histogram) = self.data() else {
            unreachable!("another kind")
        };
        histogram.data_points.push(read);
        Ok(())
    }

    fn summary(&mut self, point: metrics::SummaryPoint<'_>) -> Result<(), Malformed> {
        let quantile = |(quantile, value)| wire_metrics::summary_data_point::ValueAtQuantile { quantile, value };
        let read = wire_metrics::SummaryDataPoint {
            attributes: pairs(&point.stamp.attributes)?,
            start_time_unix_nano: point.stamp.start,
            time_unix_nano: point.stamp.time,
            count: point.count,
            sum: point.sum,
            quantile_values: point.quantiles.into_iter().map(quantile).collect(),
            flags: point.stamp.flags,
        };
        let wire_metrics::metric::Data::Summary(summary) = self.data() else { unreachable!("another kind") };
        summary.data_points.push(read);
        Ok(())
    }
}

/// What the reader makes of `request`, encoded: NaN is equal to itself in bytes.
fn ours(signal: Signal, request: &[u8]) -> Result<Vec<u8>, Malformed> {
    match signal {
        Signal::Metrics => {
            let mut read = Metrics::default();
            metrics::read(request, &mut read).map(|()| read.0.encode_to_vec())
        }
        Signal::Traces => {
            let mut read = Traces::default();
            traces::read(request, &mut read).map(|()| read.0.encode_to_vec())
        }
        Signal::Logs => {
            let mut read = Logs::default();
            logs::read(request, &mut read).map(|()| read.0.encode_to_vec())
        }
    }
}

/// What prost makes of it, less what nobody reads, and with empty messages where the visitor cannot
/// tell them from absent ones.
fn theirs(signal: Signal, request: &[u8]) -> Option<Vec<u8>> {
    Some(match signal {
        Signal::Metrics => {
            let mut read = ExportMetricsServiceRequest::decode(request).ok()?;
            samples::normalise_metrics(&mut read);
            read.encode_to_vec()
        }
        Signal::Traces => {
            let mut read = ExportTraceServiceRequest::decode(request).ok()?;
            samples::normalise_traces(&mut read);
            read.encode_to_vec()
        }
        Signal::Logs => {
            let mut read = ExportLogsServiceRequest::decode(request).ok()?;
            samples::normalise_logs(&mut read);
            read.encode_to_vec()
        }
    })
}

/// Faults for which this reader is stricter than prost, on purpose.
const STRICTER: [&str; 3] = ["nests too deeply", "array or map is given twice", "groups nest too deeply"];

fn compare(signal: Signal, request: &[u8]) {
    match (ours(signal, request), theirs(signal, request)) {
        (Ok(ours), Some(theirs)) => assert_eq!(ours, theirs, "{signal}: {request:02x?}"),
        (Err(fault), Some(_)) => assert!(STRICTER.contains(&fault.fault), "{signal}: {fault}: {request:02x?}"),
        // Prost looks into members of a oneof that a later one replaces; nobody else has to.
        (Ok(_), None) | (Err(_), None) => {}
    }
}

#[test]
fn whole_requests_are_read_as_prost_reads_them() {
    for seed in 0..300 {
        for (signal, request) in samples::requests(seed) {
            let theirs = theirs(signal, &request).expect("prost has written it");
            assert_eq!(ours(signal, &request), Ok(theirs), "{signal}, seed {seed}");
        }
    }
}

#[test]
fn fields_in_any_order_and_messages_in_parts_mean_the_same() {
    for seed in 0..200 {
        for (signal, request) in samples::requests(seed) {
            compare(signal, &samples::shuffled(&request, seed));
        }
    }
}

#[test]
fn broken_requests_are_refused_or_read_as_prost_reads_them() {
    for seed in 0..400 {
        for (signal, mut request) in samples::requests(seed) {
            for _ in 0..10 {
                samples::damage(&mut request, seed);
                compare(signal, &request);
            }
        }
    }
}

#[test]
fn every_beginning_of_a_request_is_refused_or_read_as_prost_reads_it() {
    for (signal, request) in samples::requests(7) {
        for end in 0..request.len().min(3_000) {
            compare(signal, &request[..end]);
        }
    }
}
