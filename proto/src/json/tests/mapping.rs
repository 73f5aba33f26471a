//! Each rule of the mapping: what it takes with the struct that it gives, what it refuses with the whole error.

use std::fmt::Debug;

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value},
    logs::v1::LogRecord,
    metrics::v1::{
        ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, Sum, SummaryDataPoint,
        exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
        summary_data_point::ValueAtQuantile,
    },
    trace::v1::Span,
};

use super::{Fault, logs, metrics, traces};

const METRIC: &str = "resourceMetrics[0].scopeMetrics[0].metrics[0]";

fn metric(text: &str) -> Result<Metric, Fault> {
    let request = metrics(&format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{text}]}}]}}]}}"#))?;
    Ok(request.resource_metrics[0].scope_metrics[0].metrics[0].clone())
}

fn point(text: &str) -> Result<NumberDataPoint, Fault> {
    match metric(&format!(r#"{{"gauge":{{"dataPoints":[{text}]}}}}"#))?.data {
        Some(Data::Gauge(mut gauge)) => Ok(gauge.data_points.remove(0)),
        other => unreachable!("expected a gauge, got {other:?}"),
    }
}

fn histogram(text: &str) -> Result<HistogramDataPoint, Fault> {
    match metric(&format!(r#"{{"histogram":{{"dataPoints":[{text}]}}}}"#))?.data {
        Some(Data::Histogram(mut histogram)) => Ok(histogram.data_points.remove(0)),
        other => unreachable!("expected a histogram, got {other:?}"),
    }
}

fn exponential(text: &str) -> Result<ExponentialHistogramDataPoint, Fault> {
    match metric(&format!(r#"{{"exponentialHistogram":{{"dataPoints":[{text}]}}}}"#))?.data {
        Some(Data::ExponentialHistogram(mut histogram)) => Ok(histogram.data_points.remove(0)),
        other => unreachable!("expected an exponential histogram, got {other:?}"),
    }
}

fn summary(text: &str) -> Result<SummaryDataPoint, Fault> {
    match metric(&format!(r#"{{"summary":{{"dataPoints":[{text}]}}}}"#))?.data {
        Some(Data::Summary(mut summary)) => Ok(summary.data_points.remove(0)),
        other => unreachable!("expected a summary, got {other:?}"),
    }
}

fn span(text: &str) -> Result<Span, Fault> {
    let request = traces(&format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{text}]}}]}}]}}"#))?;
    Ok(request.resource_spans[0].scope_spans[0].spans[0].clone())
}

fn log(text: &str) -> Result<LogRecord, Fault> {
    let request = logs(&format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{text}]}}]}}]}}"#))?;
    Ok(request.resource_logs[0].scope_logs[0].log_records[0].clone())
}

/// The body of a log record: the place where any value may stand.
fn body(text: &str) -> Result<Option<AnyValue>, Fault> {
    log(&format!(r#"{{"body":{text}}}"#)).map(|record| record.body)
}

/// Compares what is read of each text with what is expected; an error's text begins with `place`. Compared
/// as text, in which NaN is equal to itself and zeros have signs.
fn check<T: Debug>(read: impl Fn(&str) -> Result<T, Fault>, place: &str, cases: Vec<(&str, Result<T, &str>)>) {
    for (text, expected) in cases {
        let expected = expected.map_err(|reason| Fault::Malformed(format!("{place}{reason}")));
        assert_eq!(format!("{:?}", read(text)), format!("{expected:?}"), "{text}");
    }
}

fn double(value: f64) -> NumberDataPoint {
    NumberDataPoint { value: Some(number_data_point::Value::AsDouble(value)), ..NumberDataPoint::default() }
}

fn integer(value: i64) -> NumberDataPoint {
    NumberDataPoint { value: Some(number_data_point::Value::AsInt(value)), ..NumberDataPoint::default() }
}

fn at(time_unix_nano: u64) -> NumberDataPoint {
    NumberDataPoint { time_unix_nano, ..NumberDataPoint::default() }
}

#[test]
fn doubles_are_numbers_strings_with_numbers_and_three_names() {
    let expected = |found: &str| {
        format!(
            r#".gauge.dataPoints[0].asDouble: expected a number, or "NaN", "Infinity" or "-Infinity", found {found}"#
        )
    };
    let refused = [
        (r#"{"asDouble":"fast"}"#, expected(r#""fast""#)),
        (r#"{"asDouble":"inf"}"#, expected(r#""inf""#)),
        (r#"{"asDouble":"-NaN"}"#, expected(r#""-NaN""#)),
        (r#"{"asDouble":"nan"}"#, expected(r#""nan""#)),
        (r#"{"asDouble":""}"#, expected(r#""""#)),
        (r#"{"asDouble":" 1"}"#, expected(r#"" 1""#)),
        (r#"{"asDouble":"+1"}"#, expected(r#""+1""#)),
        (r#"{"asDouble":"0x1p3"}"#, expected(r#""0x1p3""#)),
        (r#"{"asDouble": true}"#, expected("true")),
        (r#"{"asDouble":{}}"#, expected("an object")),
        (r#"{"asDouble":[1]}"#, expected("an array")),
        (r#"{"asDouble": 1e309}"#, expected("1e309")),
        (r#"{"asDouble":"-1e400"}"#, expected(r#""-1e400""#)),
        (r#"{"asDouble":NaN}"#, expected("'N'")),
        (r#"{"asDouble":-Infinity}"#, expected("'-'")),
    ];
    check(point, METRIC, refused.iter().map(|(text, reason)| (*text, Err(reason.as_str()))).collect());
    check(
        point,
        METRIC,
        vec![
            (r#"{"asDouble":"NaN"}"#, Ok(double(f64::NAN))),
            (r#"{"asDouble":"Infinity"}"#, Ok(double(f64::INFINITY))),
            (r#"{"asDouble":"-Infinity"}"#, Ok(double(f64::NEG_INFINITY))),
            (r#"{"asDouble":5.5}"#, Ok(double(5.5))),
            (r#"{"asDouble":"5.5"}"#, Ok(double(5.5))),
            (r#"{"asDouble":"\u0035.5"}"#, Ok(double(5.5))),
            (r#"{"asDouble":5}"#, Ok(double(5.0))),
            (r#"{"asDouble":0}"#, Ok(double(0.0))),
            (r#"{"asDouble":-0.0}"#, Ok(double(-0.0))),
            (r#"{"asDouble":-1.5E+3}"#, Ok(double(-1500.0))),
            (r#"{"asDouble":1e308}"#, Ok(double(1e308))),
            (r#"{"asDouble":5e-324}"#, Ok(double(5e-324))),
        ],
    );
}

#[test]
fn integers_of_64_bits_are_numbers_or_strings_and_never_rounded() {
    let signed = ".gauge.dataPoints[0].asInt: expected a 64-bit integer, found ";
    let [above, below, fraction, word] = [r#""9223372036854775808""#, "-9223372036854775809", "1.5", r#""DELTA""#]
        .map(|found| format!("{signed}{found}"));
    check(
        point,
        METRIC,
        vec![
            (r#"{"asInt":7}"#, Ok(integer(7))),
            (r#"{"asInt":"7"}"#, Ok(integer(7))),
            (r#"{"asInt":0}"#, Ok(integer(0))),
            (r#"{"asInt":-7}"#, Ok(integer(-7))),
            (r#"{"asInt":7.0}"#, Ok(integer(7))),
            (r#"{"asInt":"0.7e1"}"#, Ok(integer(7))),
            (r#"{"asInt":1e3}"#, Ok(integer(1000))),
            (r#"{"asInt":9007199254740993}"#, Ok(integer(9_007_199_254_740_993))),
            (r#"{"asInt":"9223372036854775807"}"#, Ok(integer(i64::MAX))),
            (r#"{"asInt":-9223372036854775808}"#, Ok(integer(i64::MIN))),
            (r#"{"asInt":"9223372036854775808"}"#, Err(&above)),
            (r#"{"asInt":-9223372036854775809}"#, Err(&below)),
            (r#"{"asInt":1.5}"#, Err(&fraction)),
            (r#"{"asInt":"DELTA"}"#, Err(&word)),
        ],
    );
}

#[test]
fn times_are_unsigned_and_exact() {
    let expected = ".gauge.dataPoints[0].timeUnixNano: expected an unsigned 64-bit integer, found ";
    let [negative, quoted, fraction, above, empty, truth] =
        ["-1", r#""-1""#, "1700000000000000000.5", "18446744073709551616", r#""""#, "false"]
            .map(|found| format!("{expected}{found}"));
    check(
        point,
        METRIC,
        vec![
            (r#"{"timeUnixNano":"1700000000000000001"}"#, Ok(at(1_700_000_000_000_000_001))),
            (r#"{"timeUnixNano":1700000000000000001}"#, Ok(at(1_700_000_000_000_000_001))),
            (r#"{"timeUnixNano":1.7e18}"#, Ok(at(1_700_000_000_000_000_000))),
            (r#"{"timeUnixNano":1700000000000000001.0}"#, Ok(at(1_700_000_000_000_000_001))),
            (r#"{"timeUnixNano":"18446744073709551615"}"#, Ok(at(u64::MAX))),
            (r#"{"timeUnixNano":-0}"#, Ok(at(0))),
            (r#"{"timeUnixNano":-1}"#, Err(&negative)),
            (r#"{"timeUnixNano":"-1"}"#, Err(&quoted)),
            (r#"{"timeUnixNano":1700000000000000000.5}"#, Err(&fraction)),
            (r#"{"timeUnixNano":18446744073709551616}"#, Err(&above)),
            (r#"{"timeUnixNano":""}"#, Err(&empty)),
            (r#"{"timeUnixNano":false}"#, Err(&truth)),
        ],
    );
}

#[test]
fn integers_of_32_bits_may_be_strings_and_have_their_own_range() {
    let flagged = |flags| NumberDataPoint { flags, ..NumberDataPoint::default() };
    let expected = ".gauge.dataPoints[0].flags: expected an unsigned 32-bit integer, found ";
    let [above, negative] = ["4294967296", "-1"].map(|found| format!("{expected}{found}"));
    check(
        point,
        METRIC,
        vec![
            (r#"{"flags":1}"#, Ok(flagged(1))),
            (r#"{"flags":"4294967295"}"#, Ok(flagged(u32::MAX))),
            (r#"{"flags":4294967296}"#, Err(&above)),
            (r#"{"flags":-1}"#, Err(&negative)),
        ],
    );
    let place = "resourceSpans[0].scopeSpans[0].spans[0]";
    let flagged = |flags| Span { flags, ..Span::default() };
    let dropped = Span { dropped_events_count: 3, dropped_links_count: 4, ..Span::default() };
    check(
        span,
        place,
        vec![
            (r#"{"flags":"769"}"#, Ok(flagged(769))),
            (r#"{"droppedEventsCount":3,"droppedLinksCount":"4"}"#, Ok(dropped)),
            (r#"{"flags":4294967296}"#, Err(".flags: expected an unsigned 32-bit integer, found 4294967296")),
        ],
    );
}

#[test]
fn enums_are_numbers_known_or_not() {
    let kind = |kind| Span { kind, ..Span::default() };
    let expected = ".kind: expected the number of an enum's value, found ";
    let [name, quoted, above] =
        [r#""SPAN_KIND_SERVER""#, r#""2""#, "2147483648"].map(|found| format!("{expected}{found}"));
    check(
        span,
        "resourceSpans[0].scopeSpans[0].spans[0]",
        vec![
            (r#"{"kind":2}"#, Ok(kind(2))),
            (r#"{"kind":2.0}"#, Ok(kind(2))),
            (r#"{"kind":77}"#, Ok(kind(77))),
            (r#"{"kind":-1}"#, Ok(kind(-1))),
            (r#"{"kind":null}"#, Ok(kind(0))),
            (r#"{"kind":"SPAN_KIND_SERVER"}"#, Err(&name)),
            (r#"{"kind":"2"}"#, Err(&quoted)),
            (r#"{"kind":2147483648}"#, Err(&above)),
        ],
    );
    let sum = Sum { aggregation_temporality: 2, is_monotonic: true, data_points: Vec::new() };
    let place = ".sum.aggregationTemporality: expected the number of an enum's value, found \"DELTA\"";
    let not_true = ".sum.isMonotonic: expected true or false, found \"true\"";
    check(
        |text| metric(text).map(|metric| metric.data),
        METRIC,
        vec![
            (r#"{"sum":{"aggregationTemporality":2,"isMonotonic":true}}"#, Ok(Some(Data::Sum(sum)))),
            (r#"{"sum":{"aggregationTemporality":"DELTA"}}"#, Err(place)),
            (r#"{"sum":{"isMonotonic":"true"}}"#, Err(not_true)),
        ],
    );
}

#[test]
fn ids_are_hex_in_either_case_without_a_prefix() {
    let id = |span_id: &[u8]| Span { span_id: span_id.to_vec(), ..Span::default() };
    let expected = ".spanId: expected an id in hex, two digits for each byte and no prefix, found ";
    let [prefixed, odd, base64, number] =
        [r#""0xee19b7ec3c1b17""#, r#""eee""#, r#""7uGbfsPBsXM=""#, "12"].map(|found| format!("{expected}{found}"));
    check(
        span,
        "resourceSpans[0].scopeSpans[0].spans[0]",
        vec![
            (r#"{"spanId":"eee19b7ec3c1b174"}"#, Ok(id(&[0xee, 0xe1, 0x9b, 0x7e, 0xc3, 0xc1, 0xb1, 0x74]))),
            (r#"{"spanId":"EEE19B7EC3C1B174"}"#, Ok(id(&[0xee, 0xe1, 0x9b, 0x7e, 0xc3, 0xc1, 0xb1, 0x74]))),
            (r#"{"spanId":"\u0065E"}"#, Ok(id(&[0xee]))),
            (r#"{"spanId":""}"#, Ok(id(&[]))),
            (r#"{"spanId":null}"#, Ok(id(&[]))),
            (r#"{"spanId":"ee","spanId":""}"#, Ok(id(&[]))),
            (r#"{"spanId":"0xee19b7ec3c1b17"}"#, Err(&prefixed)),
            (r#"{"spanId":"eee"}"#, Err(&odd)),
            (r#"{"spanId":"7uGbfsPBsXM="}"#, Err(&base64)),
            (r#"{"spanId":12}"#, Err(&number)),
        ],
    );
}

#[test]
fn any_value_has_seven_kinds_and_may_be_empty() {
    let some = |value| Ok(Some(AnyValue { value: Some(value) }));
    let empty = || AnyValue { value: None };
    let pair = |value| KeyValue { key: "k".into(), value, key_strindex: 0 };
    let list = |values| Value::KvlistValue(KeyValueList { values });
    let place = "resourceLogs[0].scopeLogs[0].logRecords[0].body";
    check(
        body,
        place,
        vec![
            (r#"{"stringValue":"NaN"}"#, some(Value::StringValue("NaN".into()))),
            (r#"{"stringValue":""}"#, some(Value::StringValue(String::new()))),
            (r#"{"stringValue":"\u00e4\ud83d\ude00\n\"\\\/"}"#, some(Value::StringValue("ä😀\n\"\\/".into()))),
            (r#"{"boolValue":false}"#, some(Value::BoolValue(false))),
            (r#"{"intValue":"-5"}"#, some(Value::IntValue(-5))),
            (r#"{"intValue":5}"#, some(Value::IntValue(5))),
            (r#"{"doubleValue":"NaN"}"#, some(Value::DoubleValue(f64::NAN))),
            (r#"{"doubleValue":"-Infinity"}"#, some(Value::DoubleValue(f64::NEG_INFINITY))),
            (r#"{"bytesValue":"+/8="}"#, some(Value::BytesValue(vec![0xfb, 0xff]))),
            (r#"{"bytesValue":"-_8"}"#, some(Value::BytesValue(vec![0xfb, 0xff]))),
            (r#"{"bytesValue":""}"#, some(Value::BytesValue(Vec::new()))),
            (
                r#"{"arrayValue":{"values":[{"boolValue":true},{}]}}"#,
                some(Value::ArrayValue(ArrayValue {
                    values: vec![AnyValue { value: Some(Value::BoolValue(true)) }, empty()],
                })),
            ),
            (r#"{"arrayValue":{}}"#, some(Value::ArrayValue(ArrayValue::default()))),
            (
                r#"{"kvlistValue":{"values":[{"key":"k","value":{}},{"key":"k","value":null}]}}"#,
                some(list(vec![pair(Some(empty())), pair(None)])),
            ),
            ("{}", Ok(Some(empty()))),
            ("null", Ok(None)),
            (r#"{"stringValue":null}"#, Ok(Some(empty()))),
            (r#"{"stringValueStrindex":1}"#, Ok(Some(empty()))),
            (r#"{"stringValue":null,"intValue":1}"#, some(Value::IntValue(1))),
            (r#"{"bytesValue":"%"}"#, Err(r#".bytesValue: expected bytes in base64, found "%""#)),
            (r#"{"stringValue":5}"#, Err(".stringValue: expected a string, found 5")),
            (r#"{"boolValue":1}"#, Err(".boolValue: expected true or false, found 1")),
            (r#"{"arrayValue":{"values":[{},null]}}"#, Err(".arrayValue.values[1]: expected an object, found null")),
            (r#"{"arrayValue":[]}"#, Err(".arrayValue: expected an object, found an array")),
            (r#"{"stringValue":"a","intValue":1}"#, Err(": expected only one of stringValue and intValue, found both")),
            (r#"{"arrayValue":{},"arrayValue":{}}"#, Err(": expected arrayValue once, found it twice")),
            (r#""text""#, Err(r#": expected an object, found "text""#)),
        ],
    );
}

#[test]
fn null_is_unset_everywhere_but_in_arrays() {
    let all = r#"{"attributes":null,"startTimeUnixNano":null,"timeUnixNano":null,"asDouble":null,"asInt":"3",
        "exemplars":null,"flags":null,"later":[{"x":null}]}"#;
    check(
        point,
        METRIC,
        vec![
            (all, Ok(integer(3))),
            (r#"{"attributes":[null]}"#, Err(".gauge.dataPoints[0].attributes[0]: expected an object, found null")),
            ("null", Err(".gauge.dataPoints[0]: expected an object, found null")),
        ],
    );
    let gauge = metric(r#"{"name":null,"gauge":{"dataPoints":null}}"#).expect("null is unset");
    assert_eq!(gauge.data, Some(Data::Gauge(Default::default())));
    assert_eq!(metric(r#"{"gauge":null}"#).map(|metric| metric.data), Ok(None));
    assert_eq!(metrics(r#"{"resourceMetrics":null}"#), Ok(Default::default()));
    assert_eq!(span(r#"{"status":null,"events":null,"links":null,"traceId":null}"#), Ok(Span::default()));
}

#[test]
fn keys_are_lower_camel_case_and_others_are_passed_over() {
    check(
        point,
        METRIC,
        vec![
            (r#"{"time_unix_nano":5,"TimeUnixNano":5,"timeUnixNano ":5,"":5}"#, Ok(at(0))),
            (r#"{"as_int":5,"new":{"a":[1,{"b":"\n"}],"c":null},"timeUnixNano":6}"#, Ok(at(6))),
            (r#"{"\u0074imeUnixNano":5}"#, Ok(at(5))),
            (r#"{"timeUnixNano":5,"timeUnixNano":7}"#, Ok(at(7))),
            (r#"{"timeUnixNano":5,"timeUnixNano":0}"#, Ok(at(0))),
            (r#"{"asInt":5,"asInt":6}"#, Ok(integer(6))),
            (
                r#"{"asInt":5,"asDouble":6}"#,
                Err(".gauge.dataPoints[0]: expected only one of asInt and asDouble, found both"),
            ),
            (r#"{"new":{"a":tru}}"#, Err(".gauge.dataPoints[0].new: expected a value, found 't' at byte 85")),
        ],
    );
    let both = r#"{"gauge":{},"sum":{}}"#;
    check(metric, METRIC, vec![(both, Err(": expected only one of gauge and sum, found both"))]);
    let twice = r#"{"resourceSpans":[{"resource":{},"resource":{}}]}"#;
    let expected = "resourceSpans[0]: expected resource once, found it twice";
    assert_eq!(traces(twice), Err(Fault::Malformed(expected.to_owned())));
}

#[test]
fn histograms_take_names_for_infinities_and_know_what_is_unset() {
    let full = HistogramDataPoint {
        count: 3,
        sum: Some(f64::NAN),
        min: Some(0.0),
        max: Some(f64::INFINITY),
        bucket_counts: vec![1, 2, 0],
        explicit_bounds: vec![1.0, f64::INFINITY],
        ..HistogramDataPoint::default()
    };
    let expected = ".histogram.dataPoints[0]";
    let negative = format!("{expected}.bucketCounts[1]: expected an unsigned 64-bit integer, found -1");
    let null = format!(
        "{expected}.explicitBounds[0]: expected a number, or \"NaN\", \"Infinity\" or \"-Infinity\", found null"
    );
    let number = format!("{expected}.bucketCounts: expected an array, found 5");
    check(
        histogram,
        METRIC,
        vec![
            (
                r#"{"count":"3","sum":"NaN","min":0,"max":"Infinity","bucketCounts":["1",2,0.0],
                    "explicitBounds":[1,"Infinity"]}"#,
                Ok(full),
            ),
            (r#"{"bucketCounts":[],"explicitBounds":null}"#, Ok(HistogramDataPoint::default())),
            (
                r#"{"bucketCounts":[1],"bucketCounts":[],"bucketCounts":["2"]}"#,
                Ok(HistogramDataPoint { bucket_counts: vec![1, 2], ..HistogramDataPoint::default() }),
            ),
            (r#"{"bucketCounts":[1,-1]}"#, Err(&negative)),
            (r#"{"explicitBounds":[null]}"#, Err(&null)),
            (r#"{"bucketCounts":5}"#, Err(&number)),
        ],
    );
}

#[test]
fn exponential_histograms_and_summaries_are_read() {
    let buckets = |offset, bucket_counts| Some(Buckets { offset, bucket_counts });
    let full = ExponentialHistogramDataPoint {
        scale: -3,
        zero_count: 2,
        zero_threshold: 1e-9,
        positive: buckets(i32::MIN, vec![0, u64::MAX, 300]),
        negative: buckets(0, Vec::new()),
        ..ExponentialHistogramDataPoint::default()
    };
    let expected = ".exponentialHistogram.dataPoints[0].scale: expected a 32-bit integer, found 2147483648";
    check(
        exponential,
        METRIC,
        vec![
            (
                r#"{"scale":"-3","zeroCount":2,"zeroThreshold":1e-9,"negative":{},
                    "positive":{"offset":-2147483648,"bucketCounts":[0,"18446744073709551615",300]}}"#,
                Ok(full),
            ),
            (r#"{"scale":2147483648}"#, Err(expected)),
        ],
    );
    let quantile_values = vec![ValueAtQuantile { quantile: 0.5, value: f64::NAN }];
    let full = SummaryDataPoint { sum: f64::NAN, count: 1, quantile_values, ..SummaryDataPoint::default() };
    let text = r#"{"sum":"NaN","count":"1","quantileValues":[{"quantile":"0.5","value":"NaN"}]}"#;
    check(summary, METRIC, vec![(text, Ok(full))]);
}
