//! What the mapping takes, what it refuses, and that nothing vanishes in between.

use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::any_value::Value,
    metrics::v1::{NumberDataPoint, metric::Data, number_data_point},
};

use super::*;

fn metrics(points: &str) -> Result<ExportMetricsServiceRequest, Fault> {
    let text = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"m","gauge":{{"dataPoints":[{points}]}}}}]}}]}}]}}"#
    );
    read(text.as_bytes(), 1 << 20)
}

fn point(text: &str) -> NumberDataPoint {
    let mut request = metrics(text).expect("is read");
    let data = request.resource_metrics.remove(0).scope_metrics.remove(0).metrics.remove(0).data;
    let Some(Data::Gauge(mut gauge)) = data else { unreachable!("the request has a gauge") };
    gauge.data_points.remove(0)
}

fn double(text: &str) -> f64 {
    match point(text).value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        other => unreachable!("expected a double, got {other:?}"),
    }
}

fn refused(text: &str, expected: &str) {
    match metrics(text) {
        Err(Fault::Malformed(reason)) => assert!(reason.contains(expected), "{reason} does not say {expected}"),
        other => unreachable!("expected a refusal of {text}, got {other:?}"),
    }
}

#[test]
fn doubles_may_be_strings_and_have_names_for_what_json_cannot_write() {
    assert!(double(r#"{"asDouble":"NaN"}"#).is_nan());
    assert_eq!(double(r#"{"asDouble":"Infinity"}"#).to_bits(), f64::INFINITY.to_bits());
    assert_eq!(double(r#"{"asDouble":"-Infinity"}"#).to_bits(), f64::NEG_INFINITY.to_bits());
    assert_eq!(double(r#"{"asDouble":"5.5"}"#).to_bits(), 5.5_f64.to_bits());
    assert_eq!(double(r#"{"asDouble":5}"#).to_bits(), 5.0_f64.to_bits());
}

#[test]
fn integers_may_be_strings_numbers_or_whole_floats() {
    for text in ["7", "\"7\"", "7.0", "\"7.0\"", "0.7e1"] {
        let read = point(&format!(r#"{{"asInt":{text},"timeUnixNano":{text},"flags":{text}}}"#));
        assert_eq!((read.value, read.time_unix_nano, read.flags), (Some(number_data_point::Value::AsInt(7)), 7, 7));
    }
    assert_eq!(point(r#"{"timeUnixNano":"18446744073709551615"}"#).time_unix_nano, u64::MAX);
}

#[test]
fn a_wrong_value_is_refused_by_name_and_does_not_vanish() {
    refused(r#"{"asDouble":"fast"}"#, "asDouble");
    refused(r#"{"asDouble":true}"#, "asDouble");
    refused(r#"{"asDouble":"inf"}"#, "asDouble");
    refused(r#"{"asInt":"9223372036854775808"}"#, "asInt: 9223372036854775808 does not fit into 64 bits");
    refused(r#"{"timeUnixNano":-1}"#, "timeUnixNano");
    refused(r#"{"timeUnixNano":1.5}"#, "timeUnixNano");
    refused(r#"{"attributes":{}}"#, "attributes");
    let named = br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"sum":{"aggregationTemporality":"DELTA"}}]}]}]}"#;
    let fault = read::<ExportMetricsServiceRequest>(named, 1 << 20).expect_err("enums are numbers in OTLP");
    assert!(format!("{fault:?}").contains("aggregationTemporality"), "{fault:?}");
}

#[test]
fn null_is_unset_and_unknown_keys_are_ignored() {
    let read = point(r#"{"attributes":null,"asDouble":null,"asInt":"3","timeUnixNano":null,"later":[{"x":null}]}"#);
    assert_eq!(read, NumberDataPoint { value: Some(number_data_point::Value::AsInt(3)), ..NumberDataPoint::default() });
    assert!(metrics(r#"null,{"asInt":1}"#).is_ok());
    assert_eq!(point(r#"{"time_unix_nano":5}"#).time_unix_nano, 0, "snake case is not a key of OTLP");
}

#[test]
fn histograms_take_names_for_infinities() {
    let text = br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[
        {"count":"3","sum":"NaN","explicitBounds":[1,"Infinity"],"bucketCounts":["1",2,0]}]}}]}]}]}"#;
    let mut request: ExportMetricsServiceRequest = read(text, 1 << 20).expect("is read");
    let data = request.resource_metrics.remove(0).scope_metrics.remove(0).metrics.remove(0).data;
    let Some(Data::Histogram(histogram)) = data else { unreachable!("the request has a histogram") };
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.bucket_counts.as_slice()), (3, [1, 2, 0].as_slice()));
    assert!(point.sum.is_some_and(f64::is_nan) && point.explicit_bounds[1].is_infinite());
}

#[test]
fn ids_are_hex_in_any_case_and_without_prefix() {
    let spans = |id: &str| {
        let text = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"spanId":"{id}"}}]}}]}}]}}"#);
        read::<ExportTraceServiceRequest>(text.as_bytes(), 1 << 20)
            .map(|mut r| r.resource_spans.remove(0).scope_spans.remove(0).spans.remove(0).span_id)
    };
    assert_eq!(spans("EEE19b7ec3c1b173"), Ok(vec![0xee, 0xe1, 0x9b, 0x7e, 0xc3, 0xc1, 0xb1, 0x73]));
    for wrong in ["0xee19b7ec3c1b173", "eee", "7uGbfsPBsXM="] {
        let fault = spans(wrong).expect_err("not hex");
        assert!(format!("{fault:?}").contains("spanId: expected an id in hex"), "{fault:?}");
    }
}

#[test]
fn attribute_values_of_every_kind_are_read() {
    let read = point(
        r#"{"attributes":[
        {"key":"s","value":{"stringValue":"NaN"}},{"key":"b","value":{"boolValue":true}},
        {"key":"i","value":{"intValue":"-5"}},{"key":"d","value":{"doubleValue":"-Infinity"}},
        {"key":"y","value":{"bytesValue":"-_8"}},{"key":"e","value":{}},{"key":"n","value":null},
        {"key":"a","value":{"arrayValue":{"values":[{"intValue":1}]}}},
        {"key":"k","value":{"kvlistValue":{"values":[{"key":"x","value":{"intValue":1}}]}}}]}"#,
    );
    let kinds: Vec<_> = read.attributes.iter().map(|a| a.value.as_ref().and_then(|v| v.value.as_ref())).collect();
    assert!(matches!(kinds[0], Some(Value::StringValue(s)) if s == "NaN"));
    assert!(matches!(kinds[1..3], [Some(Value::BoolValue(true)), Some(Value::IntValue(-5))]));
    assert!(matches!(kinds[3], Some(Value::DoubleValue(d)) if d.is_infinite()));
    assert!(matches!(kinds[4], Some(Value::BytesValue(b)) if *b == [0xfb, 0xff]));
    assert!(matches!(kinds[5..7], [None, None]));
    assert!(matches!(kinds[7..], [Some(Value::ArrayValue(_)), Some(Value::KvlistValue(_))]));
}

#[test]
fn depth_and_memory_are_bounded() {
    let nested = |n| format!("{}{}", r#"{"arrayValue":{"values":["#.repeat(n), "]}}".repeat(n));
    let attribute = |n| format!(r#"{{"attributes":[{{"key":"a","value":{}}}]}}"#, nested(n));
    assert!(metrics(&attribute(20)).is_ok());
    refused(&attribute(60), "nests deeper than 64 levels");
    assert!(matches!(metrics(&attribute(50_000)), Err(Fault::Malformed(_))));
    assert!(metrics(&format!(r#"{{"x":{}}}"#, "[".repeat(50_000))).is_err());
    assert_eq!(metrics(&"{},".repeat(20_000)), Err(Fault::TooCostly));
}

#[test]
fn text_after_the_request_is_refused() {
    assert!(read::<ExportMetricsServiceRequest>(b"{} {}", 1 << 20).is_err());
    assert!(read::<ExportMetricsServiceRequest>(b"[]", 1 << 20).is_err());
    assert!(read::<ExportMetricsServiceRequest>(b"null", 1 << 20).is_err());
}
