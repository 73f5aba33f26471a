//! Whole requests of each signal, as senders write them.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, EntityRef, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Exemplar, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, exemplar, metric::Data,
        number_data_point,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span},
};

use super::{logs, metrics, traces};

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn resource() -> Option<Resource> {
    let entity = EntityRef {
        schema_url: "https://example.org/e".into(),
        r#type: "service".into(),
        id_keys: vec!["service.name".into()],
        description_keys: vec!["service.version".into(), String::new()],
    };
    let attributes = vec![text("service.name", "checkout")];
    Some(Resource { attributes, dropped_attributes_count: 1, entity_refs: vec![entity] })
}

const RESOURCE: &str = r#"{"attributes": [{"key": "service.name", "value": {"stringValue": "checkout"}}],
    "droppedAttributesCount": 1, "entityRefs": [{"schemaUrl": "https://example.org/e", "type": "service",
    "idKeys": ["service.name"], "descriptionKeys": ["service.version", ""]}]}"#;

fn scope() -> Option<InstrumentationScope> {
    let attributes = vec![attribute("own", Value::BoolValue(true))];
    Some(InstrumentationScope { name: "lib".into(), version: "1.2".into(), attributes, dropped_attributes_count: 2 })
}

const SCOPE: &str = r#"{"name": "lib", "version": "1.2", "droppedAttributesCount": 2,
    "attributes": [{"key": "own", "value": {"boolValue": true}}]}"#;

#[test]
fn a_request_of_spans() {
    let json = format!(
        r#"{{"resourceSpans": [{{"resource": {RESOURCE}, "schemaUrl": "r", "scopeSpans": [{{"scope": {SCOPE},
        "schemaUrl": "s", "spans": [{{"traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "eee19b7ec3c1b174",
        "parentSpanId": "EEE19B7EC3C1B173", "traceState": "a=b", "name": "GET /cart", "flags": 257, "kind": 2,
        "startTimeUnixNano": "1544712660000000000", "endTimeUnixNano": 1544712661000000000,
        "attributes": [{{"key": "n", "value": {{"intValue": "7"}}}}],
        "events": [{{"timeUnixNano": "5", "name": "e", "droppedAttributesCount": 3,
            "attributes": [{{"key": "d", "value": {{"doubleValue": 0.5}}}}]}}],
        "links": [{{"traceId": "0102", "spanId": "03", "traceState": "t", "flags": 256, "droppedAttributesCount": 4,
            "attributes": [{{"key": "b", "value": {{"bytesValue": "AQ=="}}}}]}}],
        "status": {{"code": 2, "message": "no"}}}}]}}]}}]}}"#
    );
    let event = span::Event {
        time_unix_nano: 5,
        name: "e".into(),
        attributes: vec![attribute("d", Value::DoubleValue(0.5))],
        dropped_attributes_count: 3,
    };
    let link = span::Link {
        trace_id: vec![1, 2],
        span_id: vec![3],
        trace_state: "t".into(),
        attributes: vec![attribute("b", Value::BytesValue(vec![1]))],
        dropped_attributes_count: 4,
        flags: 256,
    };
    let expected = Span {
        trace_id: 0x5B8E_FFF7_9803_8103_D269_B633_813F_C60C_u128.to_be_bytes().to_vec(),
        span_id: 0xEEE1_9B7E_C3C1_B174_u64.to_be_bytes().to_vec(),
        parent_span_id: 0xEEE1_9B7E_C3C1_B173_u64.to_be_bytes().to_vec(),
        trace_state: "a=b".into(),
        name: "GET /cart".into(),
        flags: 257,
        kind: 2,
        start_time_unix_nano: 1_544_712_660_000_000_000,
        end_time_unix_nano: 1_544_712_661_000_000_000,
        attributes: vec![attribute("n", Value::IntValue(7))],
        events: vec![event],
        links: vec![link],
        status: Some(Status { code: 2, message: "no".into() }),
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { scope: scope(), spans: vec![expected], schema_url: "s".into() }];
    let expected = ResourceSpans { resource: resource(), scope_spans, schema_url: "r".into() };
    assert_eq!(traces(&json).map(|request| request.resource_spans), Ok(vec![expected]));
}

#[test]
fn a_request_of_logs() {
    let json = format!(
        r#"{{"resourceLogs": [{{"resource": {RESOURCE}, "scopeLogs": [{{"scope": {SCOPE}, "logRecords": [
        {{"timeUnixNano": "1", "observedTimeUnixNano": "2", "severityNumber": 10, "severityText": "Information",
        "body": {{"stringValue": "line\none"}}, "attributes": [{{"key": "n", "value": {{"intValue": -1}}}}],
        "droppedAttributesCount": 3, "flags": 1, "traceId": "01", "spanId": "02", "eventName": "started"}}]}}]}}]}}"#
    );
    let expected = LogRecord {
        time_unix_nano: 1,
        observed_time_unix_nano: 2,
        severity_number: 10,
        severity_text: "Information".into(),
        body: Some(AnyValue { value: Some(Value::StringValue("line\none".into())) }),
        attributes: vec![attribute("n", Value::IntValue(-1))],
        dropped_attributes_count: 3,
        flags: 1,
        trace_id: vec![1],
        span_id: vec![2],
        event_name: "started".into(),
    };
    let scope_logs = vec![ScopeLogs { scope: scope(), log_records: vec![expected], ..ScopeLogs::default() }];
    let expected = ResourceLogs { resource: resource(), scope_logs, ..ResourceLogs::default() };
    assert_eq!(logs(&json).map(|request| request.resource_logs), Ok(vec![expected]));
}

#[test]
fn a_request_of_metrics_with_exemplars() {
    let json = format!(
        r#"{{"resourceMetrics": [{{"resource": {RESOURCE}, "scopeMetrics": [{{"scope": {SCOPE}, "metrics": [
        {{"name": "queue", "description": "d", "unit": "1", "metadata": [{{"key": "m", "value": {{"stringValue": "x"}}}}],
        "gauge": {{"dataPoints": [{{"asDouble": 10, "timeUnixNano": "9", "startTimeUnixNano": "8", "flags": 1,
        "attributes": [{{"key": "a", "value": {{"stringValue": "b"}}}}], "exemplars": [{{"asInt": "0",
        "timeUnixNano": 7, "spanId": "02", "traceId": "01", "filteredAttributes": []}}]}}]}}}}]}}]}}]}}"#
    );
    let exemplar = Exemplar {
        time_unix_nano: 7,
        span_id: vec![2],
        trace_id: vec![1],
        value: Some(exemplar::Value::AsInt(0)),
        ..Exemplar::default()
    };
    let point = NumberDataPoint {
        attributes: vec![text("a", "b")],
        start_time_unix_nano: 8,
        time_unix_nano: 9,
        exemplars: vec![exemplar],
        flags: 1,
        value: Some(number_data_point::Value::AsDouble(10.0)),
    };
    let metric = Metric {
        name: "queue".into(),
        description: "d".into(),
        unit: "1".into(),
        metadata: vec![text("m", "x")],
        data: Some(Data::Gauge(Gauge { data_points: vec![point] })),
    };
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics: vec![metric], ..ScopeMetrics::default() }];
    let expected = ResourceMetrics { resource: resource(), scope_metrics, ..ResourceMetrics::default() };
    assert_eq!(metrics(&json).map(|request| request.resource_metrics), Ok(vec![expected]));
}
