//! Which points belong to one series, and what of an attribute is kept.

use crate::kit::{
    Any, AnyValue, ArrayValue, CUMULATIVE, DELTA, Data, InstrumentationScope, KeyValue, KeyValueList, LogRecord,
    Metric, Number, NumberDataPoint, Payload, Route, SECOND, Service, Span, Sum, a_span, any, attribute, base_time,
    cases, counter, eventually, gauge, logs, metric, metrics, metrics_of, point, record, resource, span, text, traces,
    unique,
};

/// The eight kinds of values at a depth: 1 is the plain value, each further level a list or a map around it.
fn kinds(depth: usize) -> Vec<AnyValue> {
    let plain = [
        text("x"),
        any(Any::BoolValue(true)),
        any(Any::IntValue(i64::MIN)),
        any(Any::DoubleValue(0.1)),
        any(Any::BytesValue(vec![0, 0xff])),
        any(Any::ArrayValue(ArrayValue { values: vec![text("a"), any(Any::IntValue(1))] })),
        any(Any::KvlistValue(KeyValueList { values: vec![attribute("k", text("v"))] })),
        AnyValue { value: None },
    ];
    let wrap = |value: AnyValue, level: usize| {
        if level.is_multiple_of(2) {
            any(Any::ArrayValue(ArrayValue { values: vec![value] }))
        } else {
            any(Any::KvlistValue(KeyValueList { values: vec![attribute("in", value)] }))
        }
    };
    plain.into_iter().map(|value| (1..depth).fold(value, wrap)).collect()
}

/// A request of each place where attributes may stand, with these.
fn places(service: &str, attributes: &[KeyValue], time: u64) -> Vec<Payload> {
    let own = attributes.to_vec();
    let with = |more: &[KeyValue]| {
        let mut resource = resource(service);
        resource.attributes.extend_from_slice(more);
        resource
    };
    let scope = |attributes: Vec<KeyValue>| InstrumentationScope { name: "s".into(), attributes, ..Default::default() };
    let data = |attributes: Vec<KeyValue>| {
        vec![gauge("kinds.points", vec![NumberDataPoint { attributes, ..point(time, 1.0, &[]) }])]
    };
    let spans = |span: Span| traces(service, vec![Span { name: "s".into(), ..span }]);
    let plain = || a_span("s", time - SECOND, time);
    vec![
        metrics_of(with(attributes), scope(Vec::new()), data(Vec::new())),
        metrics_of(with(&[]), scope(own.clone()), data(Vec::new())),
        metrics_of(with(&[]), scope(Vec::new()), data(own.clone())),
        spans(Span { attributes: own.clone(), ..plain() }),
        spans(Span {
            events: vec![span::Event { time_unix_nano: time, attributes: own.clone(), ..Default::default() }],
            ..plain()
        }),
        spans(Span {
            links: vec![span::Link {
                trace_id: vec![1; 16],
                span_id: vec![1; 8],
                attributes: own.clone(),
                ..Default::default()
            }],
            ..plain()
        }),
        logs(service, vec![LogRecord { attributes: own, ..record(time, "b") }]),
    ]
}

// A13
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_attribute_is_taken_in_every_place_to_a_depth_of_eight() {
    let service = Service::shared();
    let mut sent = 0;
    for depth in 1..=8 {
        let attributes: Vec<KeyValue> =
            kinds(depth).into_iter().zip(0..).map(|(value, i)| attribute(&format!("k{i}"), value)).collect();
        for payload in places(&unique("kinds"), &attributes, base_time()) {
            for route in Route::PLAIN {
                let answer = service.send(&payload, route).await;
                assert!(answer.is_complete(), "depth {depth} {route:?}: {answer:?}");
                sent += 1;
            }
        }
    }
    assert_eq!(sent, 8 * 7 * 3);
}

// A13
#[tokio::test(flavor = "multi_thread")]
async fn values_of_attributes_are_kept_as_text_whatever_the_way_in() {
    let service = Service::shared();
    let expected = ["x", "true", "-9223372036854775808", "0.1", "AP8=", "[\"a\",1]", "{\"k\":\"v\"}", ""];
    for route in Route::PLAIN {
        let name = unique("kinds");
        let attributes: Vec<KeyValue> =
            kinds(1).into_iter().zip(0..).map(|(v, i)| attribute(&format!("k{i}"), v)).collect();
        let point = NumberDataPoint { attributes, ..point(base_time(), 1.0, &[]) };
        let answer = service.send(&metrics(&name, vec![gauge("kinds.text", vec![point])]), route).await;
        assert!(answer.is_complete(), "{answer:?}");
        let stored = service.points_when(&format!("kinds_text{{service_name=\"{name}\"}}"), 1).await;
        let labels: serde_json::Value = serde_json::from_str(&stored[0].0).expect("was JSON");
        let got: Vec<&str> = (0..8).map(|i| labels[format!("k{i}")].as_str().unwrap_or_default()).collect();
        assert_eq!(got, expected, "{route:?}");
    }
}

// A13
#[tokio::test(flavor = "multi_thread")]
async fn of_equal_keys_the_first_is_kept() {
    let service = Service::shared();
    for route in Route::PLAIN {
        let name = unique("repeated");
        let twice = [("k", "first"), ("other", "x"), ("k", "second")];
        let answer = service
            .send(&metrics(&name, vec![gauge("repeated.key", vec![point(base_time(), 1.0, &twice)])]), route)
            .await;
        assert!(answer.is_complete(), "{answer:?}");
        let stored = service.points_when(&format!("repeated_key{{service_name=\"{name}\"}}"), 1).await;
        assert!(stored.len() == 1 && stored[0].0.contains("\"k\":\"first\""), "{route:?}: {stored:?}");
    }
}

/// Sends all requests to a service of its own; the live series once there are `rows`.
async fn series_after(requests: &[Payload], rows: u32) -> f64 {
    let service = Service::start("");
    for request in requests {
        let answer = service.send(request, Route::Grpc).await;
        assert!(answer.is_complete(), "{answer:?}");
    }
    let sealed = || async {
        let sealed = service.counted("bellwether_window_rows", &["table=\"numbers\""]).await;
        (sealed >= f64::from(rows)).then_some(())
    };
    eventually(std::time::Duration::from_secs(20), sealed).await.expect("the rows are sealed");
    service.counted("bellwether_window_series", &[]).await
}

fn one(metric: Metric) -> Payload {
    metrics("identity", vec![metric])
}

// A14
#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_attributes_does_not_make_another_series() {
    let mut random = fastrand::Rng::with_seed(14);
    let time = base_time();
    let mut requests = Vec::new();
    let series = cases(200, 20_000);
    for i in 0..series {
        let mut own: Vec<KeyValue> = (0..6).map(|k| attribute(&format!("k{k}"), text(&format!("{}", i * k)))).collect();
        own.push(attribute("id", text(&i.to_string())));
        let mut resource = resource("identity");
        resource.attributes.extend((0..4).map(|k| attribute(&format!("r{k}"), any(Any::IntValue(k)))));
        let mut scope = InstrumentationScope { name: "s".into(), attributes: own[..2].to_vec(), ..Default::default() };
        let points = (0..5).map(|p| {
            random.shuffle(&mut own);
            NumberDataPoint { attributes: own.clone(), ..point(time + p * SECOND, 1.0, &[]) }
        });
        let points: Vec<_> = points.collect();
        for point in points {
            random.shuffle(&mut resource.attributes);
            random.shuffle(&mut scope.attributes);
            requests.push((resource.clone(), scope.clone(), vec![gauge("identity.order", vec![point])]));
        }
    }
    let requests: Vec<Payload> = requests.into_iter().map(|(r, s, m)| metrics_of(r, s, m)).collect();
    assert!((series_after(&merged(&requests), 5 * series).await - f64::from(series)).abs() < 0.5);
}

/// All metrics requests in one.
fn merged(requests: &[Payload]) -> Vec<Payload> {
    let all = requests.iter().filter_map(|p| match p {
        Payload::Metrics(request) => Some(request.resource_metrics.clone()),
        Payload::Traces(_) | Payload::Logs(_) => None,
    });
    let resource_metrics = all.flatten().collect();
    vec![Payload::Metrics(crate::kit::ExportMetricsServiceRequest { resource_metrics })]
}

// A14
#[tokio::test(flavor = "multi_thread")]
async fn what_is_part_of_identity_makes_another_series() {
    let t = base_time();
    let good = |i: u64| point(t + i * SECOND, 1.0, &[("k", "v")]);
    let typed = |value: AnyValue| NumberDataPoint { attributes: vec![attribute("k", value)], ..good(0) };
    let flat = |monotonic, temporality| {
        let data_points = vec![good(0)];
        metric("m", Data::Sum(Sum { data_points, aggregation_temporality: temporality, is_monotonic: monotonic }))
    };
    let scoped = |scope: InstrumentationScope| metrics_of(resource("identity"), scope, vec![gauge("m", vec![good(0)])]);
    let named = |name: &str| InstrumentationScope { name: name.into(), ..Default::default() };
    let different = vec![
        one(gauge("m", vec![good(0)])),
        one(Metric { unit: "ms".into(), ..gauge("m", vec![good(0)]) }),
        one(gauge("n", vec![good(0)])),
        one(flat(false, CUMULATIVE)),
        one(flat(false, DELTA)),
        one(flat(true, CUMULATIVE)),
        one(flat(true, DELTA)),
        one(gauge("m", vec![typed(text("1"))])),
        one(gauge("m", vec![typed(any(Any::IntValue(1)))])),
        one(gauge("m", vec![typed(any(Any::DoubleValue(1.0)))])),
        one(gauge("m", vec![typed(any(Any::BytesValue(b"1".to_vec())))])),
        one(gauge("m", vec![point(t, 1.0, &[])])),
        one(gauge("m", vec![point(t, 1.0, &[("", "")])])),
        scoped(named("a")),
        scoped(named("b")),
        scoped(InstrumentationScope { version: "2".into(), ..named("a") }),
        scoped(InstrumentationScope { attributes: vec![attribute("s", text("1"))], ..named("a") }),
        metrics("another", vec![gauge("m", vec![good(0)])]),
    ];
    let count = u32::try_from(different.len()).expect("is short");
    // A monotonic delta has a rate at once, which is a series of its own when its start is known; here it is not.
    let got = series_after(&different, count).await;
    assert!((got - f64::from(count)).abs() < 0.5, "{got} series, expected {count}");
}

// A14
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_part_of_identity_does_not() {
    let t = base_time();
    let good = |i: u64| point(t + i * SECOND, 1.0, &[("k", "v")]);
    let same = vec![
        one(gauge("m", vec![good(0)])),
        one(Metric { description: "another".into(), ..gauge("m", vec![good(1)]) }),
        one(gauge("m", vec![NumberDataPoint { value: Some(Number::AsInt(1)), ..good(2) }])),
        one(gauge("m", vec![NumberDataPoint { start_time_unix_nano: t - SECOND, ..good(3) }])),
        one(gauge("m", vec![NumberDataPoint { flags: 2, ..good(4) }])),
        one(Metric { metadata: vec![attribute("meta", text("x"))], ..gauge("m", vec![good(5)]) }),
    ];
    let got = series_after(&same, 6).await;
    assert!((got - 1.0).abs() < 0.5, "{got} series, expected 1");
    let counters = [
        one(counter("c", CUMULATIVE, vec![good(0)])),
        one(Metric { description: "d".into(), ..counter("c", CUMULATIVE, vec![good(0)]) }),
    ];
    let got = series_after(&counters, 1).await;
    assert!((got - 1.0).abs() < 0.5, "{got} series, expected 1");
}
