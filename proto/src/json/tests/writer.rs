//! Prints requests as OTLP/JSON, in one of the many ways that the mapping allows each value.

use std::fmt::Write as _;

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, EntityRef, InstrumentationScope, KeyValue, any_value::Value as Any},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
        ScopeMetrics, SummaryDataPoint, exemplar, exponential_histogram_data_point::Buckets, metric::Data,
        number_data_point,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, span},
};
use serde_json::{Value, json};

use super::arbitrary::Source;
use crate::base64;

/// Chooses between notations.
pub(super) struct Writer<'a>(pub(super) Source<'a>);

impl Writer<'_> {
    fn integer(&mut self, value: impl Into<Value>) -> Value {
        let value = value.into();
        if self.0.below(2) == 0 { value } else { json!(value.to_string()) }
    }

    fn double(&mut self, value: f64) -> Value {
        if value.is_nan() {
            json!("NaN")
        } else if value.is_infinite() {
            json!(if value > 0.0 { "Infinity" } else { "-Infinity" })
        } else {
            self.integer(value)
        }
    }

    /// What is unset may be null as well as absent; absent keys are taken out of the object later.
    fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T) -> Value) -> Value {
        value.map_or(Value::Null, |value| write(self, value))
    }

    fn many<T>(&mut self, values: &[T], write: impl Fn(&mut Self, &T) -> Value) -> Value {
        if values.is_empty() && self.0.below(2) == 0 {
            return Value::Null;
        }
        values.iter().map(|value| write(self, value)).collect()
    }

    fn id(&mut self, bytes: &[u8]) -> Value {
        let mut hex = String::new();
        for byte in bytes {
            let written = if self.0.below(2) == 0 { write!(hex, "{byte:02x}") } else { write!(hex, "{byte:02X}") };
            written.expect("a string takes whatever is written");
        }
        json!(hex)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Value {
        let text = base64::encode(bytes);
        let text = if self.0.below(2) == 0 { text.replace('+', "-").replace('/', "_") } else { text };
        json!(if self.0.below(2) == 0 { text.trim_end_matches('=') } else { &text })
    }

    /// Leaves out some of what is null, and adds a key that nobody knows.
    fn object(&mut self, mut object: Value) -> Value {
        let map = object.as_object_mut().expect("only objects come here");
        map.retain(|_, value| !value.is_null() || self.0.below(2) == 0);
        if self.0.below(8) == 1 {
            map.insert("unknown_key".into(), json!([{"values": [null, -1.5e-7, "\u{1}"]}, {}]));
        }
        object
    }

    fn any(&mut self, any: &AnyValue) -> Value {
        let value = match &any.value {
            None => json!({}),
            Some(Any::StringValue(text)) => json!({"stringValue": text}),
            Some(Any::BoolValue(value)) => json!({"boolValue": value}),
            Some(Any::IntValue(value)) => json!({"intValue": self.integer(*value)}),
            Some(Any::DoubleValue(value)) => json!({"doubleValue": self.double(*value)}),
            Some(Any::ArrayValue(list)) => json!({"arrayValue": {"values": self.many(&list.values, Self::any)}}),
            Some(Any::KvlistValue(list)) => json!({"kvlistValue": {"values": self.attributes(&list.values)}}),
            Some(Any::BytesValue(bytes)) => json!({"bytesValue": self.bytes(bytes)}),
            Some(Any::StringValueStrindex(_)) => unreachable!("only profiles have these"),
        };
        self.object(value)
    }

    fn attributes(&mut self, attributes: &[KeyValue]) -> Value {
        self.many(attributes, |w, attribute| {
            let value = w.maybe(attribute.value.as_ref(), Self::any);
            w.object(json!({"key": attribute.key, "value": value}))
        })
    }

    fn resource(&mut self, resource: &Resource) -> Value {
        let entity = |_: &mut Self, e: &EntityRef| {
            json!({"schemaUrl": e.schema_url, "type": e.r#type, "idKeys": e.id_keys,
                "descriptionKeys": e.description_keys})
        };
        let value = json!({
            "attributes": self.attributes(&resource.attributes),
            "droppedAttributesCount": self.integer(resource.dropped_attributes_count),
            "entityRefs": self.many(&resource.entity_refs, entity),
        });
        self.object(value)
    }

    fn scope(&mut self, scope: &InstrumentationScope) -> Value {
        let value = json!({
            "name": scope.name, "version": scope.version, "attributes": self.attributes(&scope.attributes),
            "droppedAttributesCount": self.integer(scope.dropped_attributes_count),
        });
        self.object(value)
    }

    pub(super) fn metrics(&mut self, request: &ExportMetricsServiceRequest) -> Value {
        let scope = |w: &mut Self, s: &ScopeMetrics| {
            let scope = w.maybe(s.scope.as_ref(), Self::scope);
            let metrics = w.many(&s.metrics, Self::metric);
            w.object(json!({"scope": scope, "metrics": metrics, "schemaUrl": s.schema_url}))
        };
        let resource = |w: &mut Self, r: &ResourceMetrics| {
            let resource = w.maybe(r.resource.as_ref(), Self::resource);
            let scopes = w.many(&r.scope_metrics, scope);
            w.object(json!({"resource": resource, "scopeMetrics": scopes, "schemaUrl": r.schema_url}))
        };
        let list = self.many(&request.resource_metrics, resource);
        self.object(json!({"resourceMetrics": list}))
    }

    fn metric(&mut self, metric: &Metric) -> Value {
        let (key, data) = match &metric.data {
            None => ("gauge", Value::Null),
            Some(Data::Gauge(gauge)) => ("gauge", json!({"dataPoints": self.many(&gauge.data_points, Self::number)})),
            Some(Data::Sum(sum)) => {
                let points = self.many(&sum.data_points, Self::number);
                let temporality = sum.aggregation_temporality;
                let sum = json!({"dataPoints": points, "aggregationTemporality": temporality,
                    "isMonotonic": sum.is_monotonic});
                ("sum", sum)
            }
            Some(Data::Histogram(h)) => {
                let points = self.many(&h.data_points, Self::histogram);
                ("histogram", json!({"dataPoints": points, "aggregationTemporality": h.aggregation_temporality}))
            }
            Some(Data::ExponentialHistogram(h)) => {
                let points = self.many(&h.data_points, Self::exponential);
                let data = json!({"dataPoints": points, "aggregationTemporality": h.aggregation_temporality});
                ("exponentialHistogram", data)
            }
            Some(Data::Summary(s)) => ("summary", json!({"dataPoints": self.many(&s.data_points, Self::summary)})),
        };
        let metadata = self.attributes(&metric.metadata);
        self.object(json!({"name": metric.name, "description": metric.description, "unit": metric.unit,
            "metadata": metadata, key: data}))
    }

    fn exemplar(&mut self, exemplar: &Exemplar) -> Value {
        let (key, value) = match exemplar.value {
            None => ("asInt", Value::Null),
            Some(exemplar::Value::AsDouble(value)) => ("asDouble", self.double(value)),
            Some(exemplar::Value::AsInt(value)) => ("asInt", self.integer(value)),
        };
        let value = json!({
            "filteredAttributes": self.attributes(&exemplar.filtered_attributes),
            "timeUnixNano": self.integer(exemplar.time_unix_nano),
            "spanId": self.id(&exemplar.span_id), "traceId": self.id(&exemplar.trace_id), key: value,
        });
        self.object(value)
    }

    fn number(&mut self, point: &NumberDataPoint) -> Value {
        let (key, value) = match point.value {
            None => ("asDouble", Value::Null),
            Some(number_data_point::Value::AsDouble(value)) => ("asDouble", self.double(value)),
            Some(number_data_point::Value::AsInt(value)) => ("asInt", self.integer(value)),
        };
        let value = json!({
            "attributes": self.attributes(&point.attributes),
            "startTimeUnixNano": self.integer(point.start_time_unix_nano),
            "timeUnixNano": self.integer(point.time_unix_nano),
            "exemplars": self.many(&point.exemplars, Self::exemplar),
            "flags": self.integer(point.flags), key: value,
        });
        self.object(value)
    }

    fn histogram(&mut self, point: &HistogramDataPoint) -> Value {
        let value = json!({
            "attributes": self.attributes(&point.attributes),
            "startTimeUnixNano": self.integer(point.start_time_unix_nano),
            "timeUnixNano": self.integer(point.time_unix_nano),
            "count": self.integer(point.count), "sum": self.maybe(point.sum, Self::double),
            "bucketCounts": self.many(&point.bucket_counts, |w, count| w.integer(*count)),
            "explicitBounds": self.many(&point.explicit_bounds, |w, bound| w.double(*bound)),
            "exemplars": self.many(&point.exemplars, Self::exemplar), "flags": self.integer(point.flags),
            "min": self.maybe(point.min, Self::double), "max": self.maybe(point.max, Self::double),
        });
        self.object(value)
    }

    fn buckets(&mut self, buckets: &Buckets) -> Value {
        let counts = self.many(&buckets.bucket_counts, |w, count| w.integer(*count));
        let offset = self.integer(buckets.offset);
        self.object(json!({"offset": offset, "bucketCounts": counts}))
    }

    fn exponential(&mut self, point: &ExponentialHistogramDataPoint) -> Value {
        let value = json!({
            "attributes": self.attributes(&point.attributes),
            "startTimeUnixNano": self.integer(point.start_time_unix_nano),
            "timeUnixNano": self.integer(point.time_unix_nano),
            "count": self.integer(point.count), "sum": self.maybe(point.sum, Self::double),
            "scale": self.integer(point.scale), "zeroCount": self.integer(point.zero_count),
            "positive": self.maybe(point.positive.as_ref(), Self::buckets),
            "negative": self.maybe(point.negative.as_ref(), Self::buckets),
            "flags": self.integer(point.flags), "exemplars": self.many(&point.exemplars, Self::exemplar),
            "min": self.maybe(point.min, Self::double), "max": self.maybe(point.max, Self::double),
            "zeroThreshold": self.double(point.zero_threshold),
        });
        self.object(value)
    }

    fn summary(&mut self, point: &SummaryDataPoint) -> Value {
        let value = json!({
            "attributes": self.attributes(&point.attributes),
            "startTimeUnixNano": self.integer(point.start_time_unix_nano),
            "timeUnixNano": self.integer(point.time_unix_nano),
            "count": self.integer(point.count), "sum": self.double(point.sum), "flags": self.integer(point.flags),
            "quantileValues": self.many(&point.quantile_values, |w, q| {
                json!({"quantile": w.double(q.quantile), "value": w.double(q.value)})
            }),
        });
        self.object(value)
    }

    pub(super) fn traces(&mut self, request: &ExportTraceServiceRequest) -> Value {
        let scope = |w: &mut Self, s: &ScopeSpans| {
            let scope = w.maybe(s.scope.as_ref(), Self::scope);
            let spans = w.many(&s.spans, Self::span);
            w.object(json!({"scope": scope, "spans": spans, "schemaUrl": s.schema_url}))
        };
        let resource = |w: &mut Self, r: &ResourceSpans| {
            let resource = w.maybe(r.resource.as_ref(), Self::resource);
            let scopes = w.many(&r.scope_spans, scope);
            w.object(json!({"resource": resource, "scopeSpans": scopes, "schemaUrl": r.schema_url}))
        };
        let list = self.many(&request.resource_spans, resource);
        self.object(json!({"resourceSpans": list}))
    }

    fn span(&mut self, span: &Span) -> Value {
        let status = span.status.as_ref().map(|status| json!({"message": status.message, "code": status.code}));
        let value = json!({
            "traceId": self.id(&span.trace_id), "spanId": self.id(&span.span_id), "traceState": span.trace_state,
            "parentSpanId": self.id(&span.parent_span_id), "flags": self.integer(span.flags), "name": span.name,
            "kind": span.kind, "startTimeUnixNano": self.integer(span.start_time_unix_nano),
            "endTimeUnixNano": self.integer(span.end_time_unix_nano), "attributes": self.attributes(&span.attributes),
            "droppedAttributesCount": self.integer(span.dropped_attributes_count),
            "events": self.many(&span.events, Self::event),
            "droppedEventsCount": self.integer(span.dropped_events_count),
            "links": self.many(&span.links, Self::link),
            "droppedLinksCount": self.integer(span.dropped_links_count), "status": status,
        });
        self.object(value)
    }

    fn event(&mut self, event: &span::Event) -> Value {
        let value = json!({
            "timeUnixNano": self.integer(event.time_unix_nano), "name": event.name,
            "attributes": self.attributes(&event.attributes),
            "droppedAttributesCount": self.integer(event.dropped_attributes_count),
        });
        self.object(value)
    }

    fn link(&mut self, link: &span::Link) -> Value {
        let value = json!({
            "traceId": self.id(&link.trace_id), "spanId": self.id(&link.span_id), "traceState": link.trace_state,
            "attributes": self.attributes(&link.attributes), "flags": self.integer(link.flags),
            "droppedAttributesCount": self.integer(link.dropped_attributes_count),
        });
        self.object(value)
    }

    pub(super) fn logs(&mut self, request: &ExportLogsServiceRequest) -> Value {
        let scope = |w: &mut Self, s: &ScopeLogs| {
            let scope = w.maybe(s.scope.as_ref(), Self::scope);
            let records = w.many(&s.log_records, Self::log);
            w.object(json!({"scope": scope, "logRecords": records, "schemaUrl": s.schema_url}))
        };
        let resource = |w: &mut Self, r: &ResourceLogs| {
            let resource = w.maybe(r.resource.as_ref(), Self::resource);
            let scopes = w.many(&r.scope_logs, scope);
            w.object(json!({"resource": resource, "scopeLogs": scopes, "schemaUrl": r.schema_url}))
        };
        let list = self.many(&request.resource_logs, resource);
        self.object(json!({"resourceLogs": list}))
    }

    fn log(&mut self, record: &LogRecord) -> Value {
        let value = json!({
            "timeUnixNano": self.integer(record.time_unix_nano),
            "observedTimeUnixNano": self.integer(record.observed_time_unix_nano),
            "severityNumber": record.severity_number, "severityText": record.severity_text,
            "body": self.maybe(record.body.as_ref(), Self::any), "attributes": self.attributes(&record.attributes),
            "droppedAttributesCount": self.integer(record.dropped_attributes_count),
            "flags": self.integer(record.flags), "traceId": self.id(&record.trace_id),
            "spanId": self.id(&record.span_id), "eventName": record.event_name,
        });
        self.object(value)
    }
}
