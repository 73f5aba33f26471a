//! Requests in, rows out: the mapping as a sender and a reader of PromQL see it.

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    metrics::v1::{
        Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary,
        SummaryDataPoint, metric::Data, number_data_point,
    },
    resource::v1::Resource,
};
use proptest::prelude::*;
use prost::Message as _;
use window::{Series, SeriesKey, SeriesKind, Temporality, UnixNanos};

use super::*;
use crate::{Feed, NumberRow};

fn pair(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.into())) });
    KeyValue { key: key.into(), value, key_strindex: 0 }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    pairs.iter().map(|(k, v)| pair(k, v)).collect()
}

fn resource(attributes: Vec<KeyValue>) -> Option<Resource> {
    Some(Resource { attributes, ..Resource::default() })
}

fn shop() -> Option<Resource> {
    resource(pairs(&[("service.name", "shop"), ("service.instance.id", "i-1"), ("service.version", "2")]))
}

fn number(time: u64, value: f64, attributes: Vec<KeyValue>) -> NumberDataPoint {
    let value = Some(number_data_point::Value::AsDouble(value));
    NumberDataPoint { attributes, time_unix_nano: time, value, ..NumberDataPoint::default() }
}

fn metric(name: &str, unit: &str, data: Data) -> Metric {
    Metric { name: name.into(), unit: unit.into(), data: Some(data), ..Metric::default() }
}

fn gauge(points: Vec<NumberDataPoint>) -> Data {
    Data::Gauge(Gauge { data_points: points })
}

fn metrics_of(resource: Option<Resource>, metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }
}

/// The request as a decoder reads it that knows no series.
pub(in crate::decode) fn attempt(signal: Signal, request: &[u8]) -> Result<Decoded, DecodeError> {
    let decoder = Decoder::new(Limits::default());
    let measured = decoder.measure(signal, Encoding::Protobuf, request)?;
    decoder.decode(&measured, &KnownSeries::new(100))
}

fn read(signal: Signal, request: &[u8]) -> Decoded {
    attempt(signal, request).expect("is a request")
}

fn rows(request: &ExportMetricsServiceRequest) -> Decoded {
    read(Signal::Metrics, &request.encode_to_vec())
}

/// A row with its series, which the decoder has not met before.
#[derive(Debug)]
struct Seen<'a> {
    series: &'a Series,
    key: SeriesKey,
    time: UnixNanos,
    start: Option<UnixNanos>,
    value: f64,
}

fn seen(decoded: &Decoded) -> Vec<Seen<'_>> {
    let numbers = &decoded.batch.numbers;
    let with_series = |row: &NumberRow| {
        let place = row.series.id().expect_err("nothing is known");
        let series = &numbers.strangers[place].series;
        let start = Some(row.start).filter(|s| *s != UnixNanos::MIN);
        Seen { series, key: series.key, time: row.time, start, value: row.value }
    };
    numbers.rows.iter().map(with_series).collect()
}

fn decoded(metrics: Vec<Metric>) -> Decoded {
    rows(&metrics_of(shop(), metrics))
}

fn is_near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

fn refused_because(decoded: &Decoded, count: u64, reason: &str) {
    assert_eq!(decoded.batch.rejected.count, count, "{:?}", decoded.batch.rejected);
    assert!(decoded.batch.rejected.message().contains(reason), "{:?} does not say {reason}", decoded.batch.rejected);
}

#[test]
fn a_gauge_becomes_a_series_with_the_senders_labels() {
    let point = number(5, 0.5, pairs(&[("http.route", "/q"), ("empty", "")]));
    let got = decoded(vec![metric("queue.fill", "1", gauge(vec![point]))]);
    let points = seen(&got);
    let row = &points[0];
    assert_eq!((&*row.series.name, &*row.series.source_name), ("queue_fill_ratio", "queue.fill"));
    assert_eq!((&*row.series.unit, &*row.series.service, row.series.kind), ("1", "shop", SeriesKind::Gauge));
    let labels = r#"{http_route="/q", instance="i-1", job="shop", service_name="shop", service_version="2"}"#;
    assert_eq!(row.series.labels.to_string(), labels);
    assert_eq!((row.time, row.start, row.key), (UnixNanos(5), None, row.series.key));
    assert!(is_near(row.value, 0.5));
    assert_eq!(got.batch.feeds, [Feed { service: "shop".into(), instance: "i-1".into() }]);
    assert_eq!((got.items, got.batch.rejected.count), (1, 0));
}

#[test]
fn equal_label_names_are_joined_and_reserved_ones_are_the_senders() {
    let attributes = pairs(&[("a_b", "2"), ("a.b", "1"), ("job", "mine"), ("service.name", "point"), ("a.b", "late")]);
    let got = decoded(vec![metric("m", "", gauge(vec![number(1, 1.0, attributes)]))]);
    let points = seen(&got);
    let labels = &points[0].series.labels;
    assert_eq!((labels.get("a_b"), labels.get("job")), (Some("1;2"), Some("shop")));
    assert_eq!(labels.get("service_name"), Some("point"), "a point's own attribute goes before a promoted one");
}

#[test]
fn a_sum_keeps_temporality_monotonicity_and_start() {
    let point = NumberDataPoint {
        start_time_unix_nano: 3,
        value: Some(number_data_point::Value::AsInt(7)),
        ..number(5, 0.0, vec![])
    };
    let sum = |temporality| {
        Data::Sum(Sum { data_points: vec![point.clone()], aggregation_temporality: temporality, is_monotonic: true })
    };
    let got = decoded(vec![metric("reqs", "", sum(1)), metric("reqs", "", sum(2)), metric("odd", "", sum(0))]);
    let kinds: Vec<_> = seen(&got).iter().map(|p| (p.series.kind, p.start)).collect();
    let kind = |temporality| SeriesKind::Sum { monotonic: true, temporality };
    let start = Some(UnixNanos(3));
    assert_eq!(kinds, [(kind(Temporality::Delta), start), (kind(Temporality::Cumulative), start)]);
    assert_eq!(&*seen(&got)[0].series.name, "reqs_total");
    assert!(is_near(seen(&got)[0].value, 7.0));
    refused_because(&got, 1, "metric \"odd\": aggregation_temporality is 0");
}

#[test]
fn histograms_and_summaries_become_count_and_sum() {
    let point = HistogramDataPoint {
        time_unix_nano: 5,
        start_time_unix_nano: 2,
        count: 4,
        sum: Some(8.5),
        ..HistogramDataPoint::default()
    };
    let unsummed = HistogramDataPoint { sum: None, ..point.clone() };
    let histogram = Data::Histogram(Histogram { data_points: vec![point, unsummed], aggregation_temporality: 1 });
    let summary = SummaryDataPoint { time_unix_nano: 5, count: 1, sum: 2.0, ..SummaryDataPoint::default() };
    let summary = Data::Summary(Summary { data_points: vec![summary] });
    let got = decoded(vec![metric("rpc.duration", "s", histogram), metric("old", "", summary)]);
    let rows: Vec<_> = seen(&got).iter().map(|p| (&*p.series.name, p.value, p.start.map(|s| s.0))).collect();
    assert_eq!(
        rows,
        [
            ("rpc_duration_seconds_count", 4.0, Some(2)),
            ("rpc_duration_seconds_sum", 8.5, Some(2)),
            ("rpc_duration_seconds_count", 4.0, Some(2)),
            ("old_count", 1.0, None),
            ("old_sum", 2.0, None),
        ]
    );
    assert_eq!(got.items, 3, "a histogram's point is one item");
    let delta = SeriesKind::Sum { monotonic: true, temporality: Temporality::Delta };
    assert_eq!(seen(&got)[0].series.kind, delta);
    assert_ne!(seen(&got)[0].key, seen(&got)[1].key);
}

#[test]
fn no_recorded_value_is_a_staleness_marker() {
    let gone = NumberDataPoint { flags: 1, value: None, ..number(5, 0.0, vec![]) };
    let got = decoded(vec![metric("m", "", gauge(vec![gone]))]);
    assert!(window::is_stale(seen(&got)[0].value));
    let gone = HistogramDataPoint { time_unix_nano: 5, flags: 0xffff_ff01, ..HistogramDataPoint::default() };
    let gone = Data::Histogram(Histogram { data_points: vec![gone], aggregation_temporality: 2 });
    let got = decoded(vec![metric("h", "", gone)]);
    assert!(seen(&got).len() == 2 && seen(&got).iter().all(|p| window::is_stale(p.value)));
}

#[test]
fn bad_points_are_counted_and_the_rest_goes_on() {
    let beyond = number(u64::MAX, 1.0, vec![]);
    let valueless = NumberDataPoint { value: None, ..number(5, 0.0, vec![]) };
    let crowded = number(5, 1.0, (0..129).map(|i| pair(&format!("k{i}"), "v")).collect());
    let points = vec![number(0, 1.0, vec![]), beyond, valueless, crowded, number(5, 1.0, vec![])];
    let got = decoded(vec![
        metric("m", "", gauge(points)),
        Metric { name: "hollow".into(), ..Metric::default() },
        metric("", "", gauge(vec![number(5, 1.0, vec![])])),
        metric(&"x".repeat(1025), "", gauge(vec![number(5, 1.0, vec![]); 2])),
    ]);
    assert_eq!((seen(&got).len(), got.items, got.batch.rejected.count), (1, 9, 8));
    let said = got.batch.rejected.reasons.join("\n");
    for reason in [
        "metric \"m\": time_unix_nano is 0",
        "metric \"m\": time_unix_nano or start_time_unix_nano is beyond the year 2262",
        "metric \"m\": point without a value",
        "metric \"m\": data point: 129 attributes, the limit is 128",
        "metric \"hollow\": metric without data",
    ] {
        assert!(said.contains(reason), "{said} does not say {reason}");
    }
}

#[test]
fn a_resource_over_the_limits_is_refused_with_all_it_holds() {
    let long = pair(&"n".repeat(1025), "v");
    let points = vec![number(5, 1.0, vec![]); 3];
    let request = metrics_of(resource(vec![long]), vec![metric("m", "", gauge(points))]);
    let got = rows(&request);
    assert!(seen(&got).is_empty() && got.batch.feeds.is_empty());
    refused_because(&got, 3, "resource: attribute name of 1025 bytes");
}

#[test]
fn a_long_label_value_is_cut() {
    let point = number(1, 1.0, pairs(&[("k", &"v".repeat(5000))]));
    let got = decoded(vec![metric("m", "", gauge(vec![point]))]);
    assert_eq!(seen(&got)[0].series.labels.get("k").map(str::len), Some(2048));
}

fn key_of(resource_attributes: &[KeyValue], scope: &InstrumentationScope, metric: Metric) -> SeriesKey {
    let scope_metrics =
        vec![ScopeMetrics { scope: Some(scope.clone()), metrics: vec![metric], ..ScopeMetrics::default() }];
    let resource = resource(resource_attributes.to_vec());
    let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
    seen(&rows(&ExportMetricsServiceRequest { resource_metrics }))[0].key
}

#[test]
fn everything_that_is_identity_changes_the_key_and_the_rest_does_not() {
    let scope = InstrumentationScope { name: "lib".into(), ..InstrumentationScope::default() };
    let resource = pairs(&[("service.name", "a")]);
    let plain = || metric("m", "s", gauge(vec![number(5, 1.0, pairs(&[("k", "v")]))]));
    let base = key_of(&resource, &scope, plain());
    let sum = |temporality, is_monotonic| {
        let data_points = vec![number(5, 1.0, pairs(&[("k", "v")]))];
        metric("m", "s", Data::Sum(Sum { data_points, aggregation_temporality: temporality, is_monotonic }))
    };
    let mut keys = vec![
        base,
        key_of(&pairs(&[("service.name", "b")]), &scope, plain()),
        key_of(&resource, &InstrumentationScope { version: "1".into(), ..scope.clone() }, plain()),
        key_of(&resource, &InstrumentationScope { attributes: pairs(&[("s", "1")]), ..scope.clone() }, plain()),
        key_of(&resource, &scope, Metric { name: "n".into(), ..plain() }),
        key_of(&resource, &scope, Metric { unit: "ms".into(), ..plain() }),
        key_of(&resource, &scope, metric("m", "s", gauge(vec![number(5, 1.0, pairs(&[("k", "w")]))]))),
        key_of(&resource, &scope, sum(1, true)),
        key_of(&resource, &scope, sum(2, true)),
        key_of(&resource, &scope, sum(2, false)),
    ];
    let other = Metric { description: "said differently".into(), ..plain() };
    assert_eq!(base, key_of(&resource, &scope, other), "a description is not identity");
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 10);
}

proptest! {
    #[test]
    fn the_order_of_attributes_does_not_change_the_key(
        (sent, shuffled) in proptest::collection::btree_map("[a-c.]{0,4}", "[x-z]{0,2}", 0..6)
            .prop_map(|map| map.into_iter().collect::<Vec<_>>())
            .prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle())),
    ) {
        let key = |list: &[(String, String)]| {
            let attributes: Vec<_> = list.iter().map(|(k, v)| pair(k, v)).collect();
            let point = metric("m", "", gauge(vec![number(5, 1.0, attributes.clone())]));
            let scope = InstrumentationScope { attributes: attributes.clone(), ..InstrumentationScope::default() };
            key_of(&attributes, &scope, point)
        };
        prop_assert_eq!(key(&sent), key(&shuffled));
    }
}

#[test]
fn senders_are_noted_once_each() {
    let from =
        |name| ResourceMetrics { resource: resource(pairs(&[("service.name", name)])), ..ResourceMetrics::default() };
    let request = ExportMetricsServiceRequest { resource_metrics: vec![from("a"), from("b"), from("a"), from("")] };
    let feeds = rows(&request).batch.feeds;
    assert_eq!(feeds.iter().map(|f| &*f.service).collect::<Vec<_>>(), ["a", "b"]);
}
