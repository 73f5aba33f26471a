//! OTLP's JSON mapping, spelling by spelling: what is stored is what the same data gives through
//! protobuf, and what cannot be read is refused or counted, never lost in silence.

use serde_json::{Value, json};

use crate::kit::{
    Any, CUMULATIVE, LogRecord, Number, NumberDataPoint, Payload, Route, SECOND, Service, Signal, Span, a_span, any,
    attribute, base_time, counter, gauge, histogram, histogram_point, json_of, logs, metrics, point, record, summary,
    traces, unique,
};

/// What must become of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expect {
    /// All of it is taken, and stored as through protobuf.
    Same,
    /// So many items are rejected.
    Rejected(i64),
    /// The whole request is refused as bad data.
    Refused,
    /// Refused, or its item rejected: it must not succeed in silence.
    Loud,
}
use Expect::{Loud, Refused, Rejected, Same};

/// A request, and changes of its JSON: `(JSON pointer, new value)`.
type Case = (&'static str, Payload, Vec<(&'static str, Value)>, Expect);

const METRIC: &str = "/resourceMetrics/0/scopeMetrics/0/metrics/0";
const SPAN: &str = "/resourceSpans/0/scopeSpans/0/spans/0";
const RECORD: &str = "/resourceLogs/0/scopeLogs/0/logRecords/0";

fn gauge_of(value: f64) -> Payload {
    metrics(&unique("json"), vec![gauge("json.value", vec![point(base_time(), value, &[("k", "v")])])])
}

fn integer_of(value: i64) -> Payload {
    let point = NumberDataPoint { value: Some(Number::AsInt(value)), ..point(base_time(), 0.0, &[]) };
    metrics(&unique("json"), vec![gauge("json.value", vec![point])])
}

fn histogram_of(change: impl FnOnce(&mut crate::kit::HistogramDataPoint)) -> Payload {
    let mut point = histogram_point(base_time());
    change(&mut point);
    metrics(&unique("json"), vec![histogram("json.value", vec![point])])
}

fn sum_of() -> Payload {
    let t = base_time();
    let start = |p| NumberDataPoint { start_time_unix_nano: t - 60 * SECOND, ..p };
    let points = vec![start(point(t, 1.0, &[])), start(point(t + SECOND, 4.0, &[]))];
    metrics(&unique("json"), vec![counter("json.value", CUMULATIVE, points)])
}

fn label_of(value: Any) -> Payload {
    let point = NumberDataPoint { attributes: vec![attribute("k", any(value))], ..point(base_time(), 1.0, &[]) };
    metrics(&unique("json"), vec![gauge("json.value", vec![point])])
}

fn numbers() -> Vec<Case> {
    let at = |key: &'static str, value: Value| vec![(key, value)];
    let double = "gauge/dataPoints/0/asDouble";
    let int = "gauge/dataPoints/0/asInt";
    let time = "gauge/dataPoints/0/timeUnixNano";
    vec![
        ("a double", gauge_of(5.5), vec![], Same),
        ("a double as text", gauge_of(5.5), at(double, json!("5.5")), Same),
        ("a double as an integer", gauge_of(5.0), at(double, json!(5)), Same),
        ("a double with exponent", gauge_of(1500.0), at(double, json!("1.5e3")), Same),
        ("a double with many digits", gauge_of(0.1 + 0.2), vec![], Same),
        ("NaN", gauge_of(f64::NAN), at(double, json!("NaN")), Same),
        ("Infinity", gauge_of(f64::INFINITY), at(double, json!("Infinity")), Same),
        ("-Infinity", gauge_of(f64::NEG_INFINITY), at(double, json!("-Infinity")), Same),
        ("a double that is a word", gauge_of(1.0), at(double, json!("many")), Refused),
        ("a double that is a list", gauge_of(1.0), at(double, json!([1])), Refused),
        ("a double that is true", gauge_of(1.0), at(double, json!(true)), Refused),
        ("an integer as text", integer_of(7), vec![], Same),
        ("an integer as a number", integer_of(7), at(int, json!(7)), Same),
        ("the least integer", integer_of(i64::MIN), vec![], Same),
        ("the greatest integer as a number", integer_of(i64::MAX), at(int, json!(i64::MAX)), Same),
        ("an integer beyond 64 bits", integer_of(7), at(int, json!("9223372036854775808")), Refused),
        ("an integer with a fraction", integer_of(7), at(int, json!(7.5)), Refused),
        ("an integer that is a word", integer_of(7), at(int, json!("seven")), Refused),
        ("a time as a number", gauge_of(1.0), at(time, json!(base_time())), Same),
        ("a negative time", gauge_of(1.0), at(time, json!(-1)), Refused),
        ("a time with a fraction", gauge_of(1.0), at(time, json!("1.5")), Refused),
        ("a time beyond 64 bits", gauge_of(1.0), at(time, json!("18446744073709551616")), Refused),
        ("flags as text", gauge_of(1.0), at("gauge/dataPoints/0/flags", json!("0")), Same),
        ("flags beyond 32 bits", gauge_of(1.0), at("gauge/dataPoints/0/flags", json!(4_294_967_296_u64)), Refused),
        ("a point without a value", integer_of(7), at(int, Value::Null), Rejected(1)),
    ]
}

fn shapes() -> Vec<Case> {
    let at = |key: &'static str, value: Value| vec![(key, value)];
    vec![
        ("null attributes", gauge_of(1.0), at("gauge/dataPoints/0/exemplars", Value::Null), Same),
        ("null start", gauge_of(1.0), at("gauge/dataPoints/0/startTimeUnixNano", Value::Null), Same),
        ("null flags", gauge_of(1.0), at("gauge/dataPoints/0/flags", Value::Null), Same),
        ("null unit and description", gauge_of(1.0), vec![("unit", Value::Null), ("description", Value::Null)], Same),
        (
            "null points",
            metrics(&unique("json"), vec![gauge("json.value", vec![])]),
            at("gauge/dataPoints", Value::Null),
            Same,
        ),
        ("no data", gauge_of(1.0), at("gauge", Value::Null), Rejected(1)),
        ("a gauge that is a list", gauge_of(1.0), at("gauge", json!([])), Refused),
        ("points that are an object", gauge_of(1.0), at("gauge/dataPoints", json!({})), Refused),
        ("a point that is a number", gauge_of(1.0), at("gauge/dataPoints/0", json!(7)), Refused),
        ("a name that is a number", gauge_of(1.0), at("name", json!(7)), Refused),
        ("unknown keys", gauge_of(1.0), vec![("future", json!({"a": [1]})), ("gauge/future", json!("x"))], Same),
        (
            "a key in snake_case is unknown",
            gauge_of(1.0),
            vec![("gauge/dataPoints/0/timeUnixNano", Value::Null), ("gauge/dataPoints/0/time_unix_nano", json!("1"))],
            Rejected(1),
        ),
        (
            "a temporality by name",
            sum_of(),
            at("sum/aggregationTemporality", json!("AGGREGATION_TEMPORALITY_CUMULATIVE")),
            Loud,
        ),
        ("an unknown temporality", sum_of(), at("sum/aggregationTemporality", json!(9)), Rejected(2)),
        ("a sum", sum_of(), vec![], Same),
        ("monotonic as text", sum_of(), at("sum/isMonotonic", json!("true")), Refused),
        ("a histogram", histogram_of(|_| {}), vec![], Same),
        (
            "counts as numbers",
            histogram_of(|_| {}),
            vec![
                ("histogram/dataPoints/0/count", json!(6)),
                ("histogram/dataPoints/0/bucketCounts", json!([1, "2", 3])),
            ],
            Same,
        ),
        ("bounds as text", histogram_of(|_| {}), at("histogram/dataPoints/0/explicitBounds", json!(["1", 2.0])), Same),
        ("a sum that is NaN", histogram_of(|p| p.sum = Some(f64::NAN)), vec![], Same),
        ("a sum that is null", histogram_of(|p| p.sum = None), at("histogram/dataPoints/0/sum", Value::Null), Same),
        ("a count that is negative", histogram_of(|_| {}), at("histogram/dataPoints/0/count", json!(-6)), Refused),
        (
            "a bound that is a word",
            histogram_of(|_| {}),
            at("histogram/dataPoints/0/explicitBounds", json!(["one", 2])),
            Refused,
        ),
        ("a summary", metrics(&unique("json"), vec![summary("json.value", base_time())]), vec![], Same),
        (
            "a summary's sum as text",
            metrics(&unique("json"), vec![summary("json.value", base_time())]),
            at("summary/dataPoints/0/sum", json!("8")),
            Same,
        ),
    ]
}

fn values() -> Vec<Case> {
    let at = |value: Value| vec![("gauge/dataPoints/0/attributes/0/value", value)];
    let text_value = || label_of(Any::StringValue("x".into()));
    vec![
        ("text", text_value(), vec![], Same),
        ("escaped text", text_value(), at(json!({"stringValue": "\u{78}"})), Same),
        ("true", label_of(Any::BoolValue(true)), vec![], Same),
        ("an integer value as a number", label_of(Any::IntValue(-7)), at(json!({"intValue": -7})), Same),
        ("a double value NaN", label_of(Any::DoubleValue(f64::NAN)), vec![], Same),
        ("bytes", label_of(Any::BytesValue(vec![0xfb, 0xff, 1])), vec![], Same),
        (
            "bytes for addresses",
            label_of(Any::BytesValue(vec![0xfb, 0xff, 1])),
            at(json!({"bytesValue": "-_8B"})),
            Same,
        ),
        ("bytes without padding", label_of(Any::BytesValue(vec![1])), at(json!({"bytesValue": "AQ"})), Same),
        ("no value", label_of(Any::StringValue(String::new())), at(json!({"stringValue": ""})), Same),
        ("a value that is a number", text_value(), at(json!(7)), Refused),
        ("text that is a number", text_value(), at(json!({"stringValue": 7})), Refused),
        ("an integer value with a fraction", text_value(), at(json!({"intValue": 1.5})), Refused),
        ("a truth that is text", text_value(), at(json!({"boolValue": "true"})), Refused),
        ("bytes that are no base64", text_value(), at(json!({"bytesValue": "!"})), Refused),
        ("a list that is no list", text_value(), at(json!({"arrayValue": {"values": 7}})), Refused),
        ("a map that is no list of pairs", text_value(), at(json!({"kvlistValue": {"values": ["k"]}})), Refused),
    ]
}

fn ids() -> Vec<Case> {
    let t = base_time();
    let span = || traces(&unique("json"), vec![Span { trace_id: vec![0xab; 16], ..a_span("s", t, t + SECOND) }]);
    let log = || logs(&unique("json"), vec![LogRecord { trace_id: vec![0xab; 16], ..record(t, "b") }]);
    let trace = |value: &str| vec![("traceId", json!(value))];
    vec![
        ("an id in hex", span(), vec![], Same),
        ("an id in upper case", span(), trace(&"AB".repeat(16)), Same),
        ("an id in both cases", span(), trace(&"aB".repeat(16)), Same),
        ("an id in base64", span(), trace("q6urq6urq6urq6urq6urqw=="), Loud),
        ("an id with 0x", span(), trace(&format!("0x{}", "ab".repeat(16))), Loud),
        ("an id of odd length", span(), trace(&"a".repeat(31)), Loud),
        ("an id too short", span(), trace(&"ab".repeat(15)), Loud),
        ("an id that is a number", span(), vec![("traceId", json!(7))], Refused),
        ("a kind by name", span(), vec![("kind", json!("SPAN_KIND_SERVER"))], Loud),
        ("no parent", span(), vec![("parentSpanId", Value::Null)], Same),
        ("a null status", span(), vec![("status", Value::Null)], Same),
        ("dropped counts as text", span(), vec![("droppedAttributesCount", json!("3"))], Same),
        ("null events and links", span(), vec![("events", Value::Null), ("links", Value::Null)], Same),
        ("events that are text", span(), vec![("events", json!("none"))], Refused),
        ("a record", log(), vec![], Same),
        ("a severity as text", log(), vec![("severityNumber", json!(9))], Same),
        ("a null body", log(), vec![("body", Value::Null)], Same),
        ("a body that is text", log(), vec![("body", json!("plain"))], Refused),
        ("a time of a record as a number", log(), vec![("timeUnixNano", json!(t))], Same),
    ]
}

/// Puts `value` at `pointer` below `item`; the parent must be there.
fn put(root: &mut Value, item: &str, pointer: &str, value: Value) {
    let pointer = format!("{item}/{pointer}");
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
    let parent = root.pointer_mut(parent);
    let parent = parent.unwrap_or_else(|| unreachable!("{pointer} is not in the request"));
    match key.parse::<usize>() {
        Ok(index) if parent.is_array() => parent[index] = value,
        _ => parent[key] = value,
    }
}

async fn check(service: &Service, case: &Case) -> Result<(), String> {
    let (what, payload, changes, expect) = case;
    let mut request = json_of(payload);
    let item = match payload.signal() {
        Signal::Metrics => METRIC,
        Signal::Traces => SPAN,
        Signal::Logs => RECORD,
    };
    for (pointer, value) in changes {
        put(&mut request, item, pointer, value.clone());
    }
    let answer = service.send_bytes(payload.signal(), request.to_string().as_bytes(), Route::Json).await;
    let verdict = answer.verdict();
    let is_right = match (expect, &verdict) {
        (Same, Ok(partial)) => partial.rejected == 0 && partial.message.is_empty(),
        (Rejected(count), Ok(partial)) => partial.rejected == *count && !partial.message.is_empty(),
        (Loud, Ok(partial)) => partial.rejected > 0,
        (Refused | Loud, Err(refusal)) => refusal.http == 400 && refusal.code == 3,
        _ => false,
    };
    if is_right { Ok(()) } else { Err(format!("{what}: expected {expect:?}, got {verdict:?}\n  {request}")) }
}

// A10
#[tokio::test(flavor = "multi_thread")]
async fn every_spelling_of_json_is_read_or_refused_as_the_mapping_says() {
    let service = Service::shared();
    let cases: Vec<Case> = [numbers(), shapes(), values(), ids()].into_iter().flatten().collect();
    assert!(cases.len() >= 64, "{}", cases.len());
    let mut faults = Vec::new();
    for case in &cases {
        faults.extend(check(&service, case).await.err());
    }
    assert_eq!(faults, Vec::<String>::new(), "{} of {}", faults.len(), cases.len());
    service.assert_healthy().await;
}

// A10
#[tokio::test(flavor = "multi_thread")]
async fn what_json_stores_is_what_protobuf_stores() {
    let service = Service::shared();
    let cases: Vec<Case> =
        [numbers(), shapes(), values()].into_iter().flatten().filter(|case| case.3 == Same).collect();
    let mut pairs = Vec::new();
    for (what, payload, changes, _) in cases {
        let mut request = json_of(&payload);
        for (pointer, value) in changes {
            put(&mut request, METRIC, pointer, value);
        }
        // The same data for two services: one through JSON, one through protobuf.
        let (one, other) = (unique("json-one"), unique("json-two"));
        let name = crate::kit::service_of(&payload);
        let text = request.to_string().replace(&name, &one);
        let answer = service.send_bytes(Signal::Metrics, text.as_bytes(), Route::Json).await;
        assert!(answer.is_complete(), "{what}: {answer:?}");
        let answer = service.send(&crate::kit::renamed(&payload, &other), Route::Protobuf).await;
        assert!(answer.is_complete(), "{what}: {answer:?}");
        pairs.push((what, one, other));
    }
    // What is asked for last was sent last, so that the rest can be asked for as well.
    let (_, _, last) = pairs.last().expect("there are cases");
    assert!(!service.points_when(&format!("{{service_name=\"{last}\"}}"), 1).await.is_empty());
    let mut faults = Vec::new();
    for (what, one, other) in &pairs {
        let stored = [one, other].map(|name| async move {
            let points = service_points(&Service::shared(), name).await;
            format!("{points:?}").replace(name.as_str(), "NAME")
        });
        let [one, other] = stored;
        let (one, other) = (one.await, other.await);
        if one != other || (one == "[]") != (*what == "null points") {
            faults.push(format!("{what}: {one} through JSON, {other} through protobuf"));
        }
    }
    assert_eq!(faults, Vec::<String>::new());
}

async fn service_points(service: &Service, name: &str) -> Vec<(String, Vec<(f64, String)>)> {
    service.points(&format!("{{service_name=\"{name}\"}}")).await
}

// A10
#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_json_are_refused() {
    let service = Service::shared();
    let good = json_of(&gauge_of(1.0)).to_string();
    let cut = good.as_bytes()[..good.len() - 1].to_vec();
    let utf8 =
        good.replace("json.value", "\u{1}").into_bytes().iter().map(|b| if *b == 1 { 0xff } else { *b }).collect();
    let bodies: [(&str, Vec<u8>); 8] = [
        ("nothing", Vec::new()),
        ("a list", b"[]".to_vec()),
        ("null", b"null".to_vec()),
        ("cut", cut),
        ("more behind the end", format!("{good} {{}}").into_bytes()),
        ("invalid UTF-8", utf8),
        ("a bare word", b"{\"resourceMetrics\": many}".to_vec()),
        ("a comma too many", b"{\"resourceMetrics\": [],}".to_vec()),
    ];
    for (what, body) in bodies {
        let refusal = service.send_bytes(Signal::Metrics, &body, Route::Json).await.verdict();
        let refusal = refusal.expect_err(what);
        assert_eq!((refusal.http, refusal.code), (400, 3), "{what}: {refusal:?}");
    }
    let answer =
        service.send_bytes(Signal::Metrics, b" {\"resource_metrics\": 7, \"more\": null}\n", Route::Json).await;
    assert!(answer.is_complete(), "snake_case names nothing: {answer:?}");
}
