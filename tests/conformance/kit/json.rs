//! Requests in OTLP's JSON mapping, written from prost's structs field by field as ProtoJSON says:
//! lowerCamelCase keys, 64-bit integers as text, ids in hex, NaN and the infinities as text, nothing
//! for what is unset.

use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use serde_json::{Map, Value, json};

use super::{build::*, text::base64};

/// The JSON of a request.
pub(crate) fn of(payload: &Payload) -> Value {
    match payload {
        Payload::Metrics(request) => json!({"resourceMetrics": list(&request.resource_metrics, |r| {
            json!({"resource": r.resource.as_ref().map(resource_of), "schemaUrl": r.schema_url,
                "scopeMetrics": list(&r.scope_metrics, |s| json!({"scope": s.scope.as_ref().map(scope),
                    "schemaUrl": s.schema_url, "metrics": list(&s.metrics, metric_of)}))})
        })}),
        Payload::Traces(request) => json!({"resourceSpans": list(&request.resource_spans, |r| {
            json!({"resource": r.resource.as_ref().map(resource_of), "schemaUrl": r.schema_url,
                "scopeSpans": list(&r.scope_spans, |s| json!({"scope": s.scope.as_ref().map(scope),
                    "schemaUrl": s.schema_url, "spans": list(&s.spans, span_of)}))})
        })}),
        Payload::Logs(request) => json!({"resourceLogs": list(&request.resource_logs, |r| {
            json!({"resource": r.resource.as_ref().map(resource_of), "schemaUrl": r.schema_url,
                "scopeLogs": list(&r.scope_logs, |s| json!({"scope": s.scope.as_ref().map(scope),
                    "schemaUrl": s.schema_url, "logRecords": list(&s.log_records, log)}))})
        })}),
    }
}

/// The JSON of a value.
pub(crate) fn any(value: &AnyValue) -> Value {
    match &value.value {
        None | Some(Any::StringValueStrindex(_)) => json!({}),
        Some(Any::StringValue(text)) => json!({"stringValue": text}),
        Some(Any::BoolValue(value)) => json!({"boolValue": value}),
        Some(Any::IntValue(value)) => json!({"intValue": value.to_string()}),
        Some(Any::DoubleValue(value)) => json!({"doubleValue": double(*value)}),
        Some(Any::BytesValue(bytes)) => json!({"bytesValue": base64(bytes)}),
        Some(Any::ArrayValue(array)) => json!({"arrayValue": {"values": list(&array.values, any)}}),
        Some(Any::KvlistValue(map)) => json!({"kvlistValue": {"values": pairs(&map.values)}}),
    }
}

fn list<T>(items: &[T], one: impl Fn(&T) -> Value) -> Value {
    items.iter().map(one).collect()
}

fn double(value: f64) -> Value {
    match value {
        v if v.is_nan() => json!("NaN"),
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        v => json!(v),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn pairs(attributes: &[KeyValue]) -> Value {
    list(attributes, |a| match &a.value {
        Some(value) => json!({"key": a.key, "value": any(value)}),
        None => json!({"key": a.key}),
    })
}

fn resource_of(resource: &Resource) -> Value {
    json!({"attributes": pairs(&resource.attributes), "droppedAttributesCount": resource.dropped_attributes_count})
}

fn scope(scope: &InstrumentationScope) -> Value {
    json!({"name": scope.name, "version": scope.version, "attributes": pairs(&scope.attributes),
        "droppedAttributesCount": scope.dropped_attributes_count})
}

fn metric_of(metric: &Metric) -> Value {
    let mut out = json!({"name": metric.name, "description": metric.description, "unit": metric.unit,
        "metadata": pairs(&metric.metadata)});
    let (key, data) = match &metric.data {
        None => return out,
        Some(Data::Gauge(data)) => ("gauge", json!({"dataPoints": list(&data.data_points, number)})),
        Some(Data::Sum(data)) => (
            "sum",
            json!({"dataPoints": list(&data.data_points, number), "isMonotonic": data.is_monotonic,
                "aggregationTemporality": data.aggregation_temporality}),
        ),
        Some(Data::Histogram(data)) => (
            "histogram",
            json!({"dataPoints": list(&data.data_points, explicit),
                "aggregationTemporality": data.aggregation_temporality}),
        ),
        Some(Data::ExponentialHistogram(data)) => (
            "exponentialHistogram",
            json!({"dataPoints": list(&data.data_points, exponential_of),
                "aggregationTemporality": data.aggregation_temporality}),
        ),
        Some(Data::Summary(data)) => ("summary", json!({"dataPoints": list(&data.data_points, summary_of)})),
    };
    out[key] = data;
    out
}

fn number(point: &NumberDataPoint) -> Value {
    let mut out = stamp(&point.attributes, point.start_time_unix_nano, point.time_unix_nano, point.flags);
    match point.value {
        None => {}
        Some(Number::AsDouble(value)) => drop(out.insert("asDouble".into(), double(value))),
        Some(Number::AsInt(value)) => drop(out.insert("asInt".into(), json!(value.to_string()))),
    }
    out.insert("exemplars".into(), list(&point.exemplars, exemplar_of));
    out.into()
}

fn stamp(attributes: &[KeyValue], start: u64, time: u64, flags: u32) -> Map<String, Value> {
    let fields = [
        ("attributes", pairs(attributes)),
        ("startTimeUnixNano", json!(start.to_string())),
        ("timeUnixNano", json!(time.to_string())),
        ("flags", json!(flags)),
    ];
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn optional(out: &mut Map<String, Value>, fields: [(&str, Option<f64>); 3]) {
    for (key, value) in fields {
        if let Some(value) = value {
            out.insert(key.to_owned(), double(value));
        }
    }
}

fn explicit(point: &HistogramDataPoint) -> Value {
    let mut out = stamp(&point.attributes, point.start_time_unix_nano, point.time_unix_nano, point.flags);
    out.insert("count".into(), json!(point.count.to_string()));
    out.insert("bucketCounts".into(), list(&point.bucket_counts, |c| json!(c.to_string())));
    out.insert("explicitBounds".into(), list(&point.explicit_bounds, |b| double(*b)));
    out.insert("exemplars".into(), list(&point.exemplars, exemplar_of));
    optional(&mut out, [("sum", point.sum), ("min", point.min), ("max", point.max)]);
    out.into()
}

fn exponential_of(point: &ExponentialHistogramDataPoint) -> Value {
    let mut out = stamp(&point.attributes, point.start_time_unix_nano, point.time_unix_nano, point.flags);
    out.insert("count".into(), json!(point.count.to_string()));
    out.insert("scale".into(), json!(point.scale));
    out.insert("zeroCount".into(), json!(point.zero_count.to_string()));
    out.insert("zeroThreshold".into(), double(point.zero_threshold));
    out.insert("exemplars".into(), list(&point.exemplars, exemplar_of));
    for (key, buckets) in [("positive", &point.positive), ("negative", &point.negative)] {
        if let Some(buckets) = buckets {
            let counts = list(&buckets.bucket_counts, |c| json!(c.to_string()));
            out.insert(key.into(), json!({"offset": buckets.offset, "bucketCounts": counts}));
        }
    }
    optional(&mut out, [("sum", point.sum), ("min", point.min), ("max", point.max)]);
    out.into()
}

fn summary_of(point: &SummaryDataPoint) -> Value {
    let mut out = stamp(&point.attributes, point.start_time_unix_nano, point.time_unix_nano, point.flags);
    out.insert("count".into(), json!(point.count.to_string()));
    out.insert("sum".into(), double(point.sum));
    let quantile = |q: &ValueAtQuantile| json!({"quantile": double(q.quantile), "value": double(q.value)});
    out.insert("quantileValues".into(), list(&point.quantile_values, quantile));
    out.into()
}

fn exemplar_of(exemplar: &Exemplar) -> Value {
    let mut out = json!({"filteredAttributes": pairs(&exemplar.filtered_attributes),
        "timeUnixNano": exemplar.time_unix_nano.to_string(), "spanId": hex(&exemplar.span_id),
        "traceId": hex(&exemplar.trace_id)});
    match exemplar.value {
        None => {}
        Some(exemplar::Value::AsDouble(value)) => out["asDouble"] = double(value),
        Some(exemplar::Value::AsInt(value)) => out["asInt"] = json!(value.to_string()),
    }
    out
}

fn span_of(span: &Span) -> Value {
    let mut out = json!({"traceId": hex(&span.trace_id), "spanId": hex(&span.span_id), "traceState": span.trace_state,
        "parentSpanId": hex(&span.parent_span_id), "flags": span.flags, "name": span.name, "kind": span.kind,
        "startTimeUnixNano": span.start_time_unix_nano.to_string(),
        "endTimeUnixNano": span.end_time_unix_nano.to_string(), "attributes": pairs(&span.attributes),
        "droppedAttributesCount": span.dropped_attributes_count, "events": list(&span.events, event),
        "droppedEventsCount": span.dropped_events_count, "links": list(&span.links, link),
        "droppedLinksCount": span.dropped_links_count});
    if let Some(status) = &span.status {
        out["status"] = json!({"message": status.message, "code": status.code});
    }
    out
}

fn event(event: &Event) -> Value {
    json!({"timeUnixNano": event.time_unix_nano.to_string(), "name": event.name,
        "attributes": pairs(&event.attributes), "droppedAttributesCount": event.dropped_attributes_count})
}

fn link(link: &Link) -> Value {
    json!({"traceId": hex(&link.trace_id), "spanId": hex(&link.span_id), "traceState": link.trace_state,
        "attributes": pairs(&link.attributes), "droppedAttributesCount": link.dropped_attributes_count,
        "flags": link.flags})
}

fn log(record: &LogRecord) -> Value {
    let mut out = json!({"timeUnixNano": record.time_unix_nano.to_string(),
        "observedTimeUnixNano": record.observed_time_unix_nano.to_string(),
        "severityNumber": record.severity_number, "severityText": record.severity_text,
        "attributes": pairs(&record.attributes),
        "droppedAttributesCount": record.dropped_attributes_count, "flags": record.flags, "traceId": hex(&record.trace_id),
        "spanId": hex(&record.span_id), "eventName": record.event_name});
    if let Some(body) = &record.body {
        out["body"] = any(body);
    }
    out
}
