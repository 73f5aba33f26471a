//! Items that break the data model: counted, named, never guessed, and never a reason to lose another.

use crate::kit::{
    AnyValue, CUMULATIVE, Data, HistogramDataPoint, LogRecord, Metric, NumberDataPoint, Payload, Route, SECOND,
    Service, Span, Sum, a_span, attribute, base_time, counter, gauge, histogram, histogram_point, logs, metric,
    metrics, point, record, text, traces, unique,
};

/// What is wrong, the words of which one must be in the answer, and the request: one bad item and a good one.
pub(crate) type Shape = (&'static str, &'static [&'static str], Payload);

fn far(base: u64) -> u64 {
    base + 7_200 * SECOND
}

pub(crate) fn with_good_metric(bad: Metric) -> Payload {
    metrics(&unique("malformed"), vec![bad, gauge("good", vec![point(base_time(), 1.0, &[])])])
}

fn with_good_span(bad: Span) -> Payload {
    let time = base_time();
    traces(&unique("malformed"), vec![bad, a_span("good", time, time + 1)])
}

fn with_good_record(bad: LogRecord) -> Payload {
    logs(&unique("malformed"), vec![bad, record(base_time(), "good")])
}

fn many_attributes() -> Vec<crate::kit::KeyValue> {
    (0..5_000).map(|i| attribute(&format!("k{i}"), text("v"))).collect()
}

fn long_name() -> Vec<crate::kit::KeyValue> {
    vec![attribute(&"k".repeat(5_000), text("v"))]
}

fn number_shapes() -> Vec<Shape> {
    let t = base_time();
    let bad = |bad: NumberDataPoint| with_good_metric(gauge("bad", vec![bad]));
    let good = || point(t, 1.0, &[]);
    let sum = |temporality| with_good_metric(counter("bad", temporality, vec![good()]));
    let long = "n".repeat(5_000);
    vec![
        ("point: time 0", &["time_unix_nano"], bad(NumberDataPoint { time_unix_nano: 0, ..good() })),
        ("point: time after 2262", &["time_unix_nano"], bad(NumberDataPoint { time_unix_nano: u64::MAX, ..good() })),
        ("point: future", &["time_unix_nano"], bad(NumberDataPoint { time_unix_nano: far(t), ..good() })),
        (
            "point: start after 2262",
            &["start_time_unix_nano"],
            bad(NumberDataPoint { start_time_unix_nano: u64::MAX, ..good() }),
        ),
        ("point: no value", &["value"], bad(NumberDataPoint { value: None, ..good() })),
        ("point: many attributes", &["attributes"], bad(NumberDataPoint { attributes: many_attributes(), ..good() })),
        ("point: long key", &["attribute name", "key"], bad(NumberDataPoint { attributes: long_name(), ..good() })),
        ("sum: temporality 0", &["temporality"], sum(0)),
        ("sum: temporality 99", &["temporality"], sum(99)),
        ("sum: temporality -1", &["temporality"], sum(-1)),
        ("metric: no data", &["data"], with_good_metric(Metric { name: "bad".into(), ..Metric::default() })),
        ("metric: no name", &["name"], with_good_metric(gauge("", vec![good()]))),
        ("metric: long name", &["name"], with_good_metric(gauge(&long, vec![good()]))),
        ("metric: long unit", &["unit"], with_good_metric(Metric { unit: long, ..gauge("bad", vec![good()]) })),
    ]
}

fn span_shapes() -> Vec<Shape> {
    let t = base_time();
    let good = || a_span("bad", t, t + 1);
    let ids = |length: usize, byte: u8| vec![byte; length];
    let bad = with_good_span;
    vec![
        ("span: no trace id", &["trace_id"], bad(Span { trace_id: Vec::new(), ..good() })),
        ("span: zero trace id", &["trace_id"], bad(Span { trace_id: ids(16, 0), ..good() })),
        ("span: short trace id", &["trace_id"], bad(Span { trace_id: ids(15, 1), ..good() })),
        ("span: long trace id", &["trace_id"], bad(Span { trace_id: ids(17, 1), ..good() })),
        ("span: no span id", &["span_id"], bad(Span { span_id: Vec::new(), ..good() })),
        ("span: zero span id", &["span_id"], bad(Span { span_id: ids(8, 0), ..good() })),
        ("span: short span id", &["span_id"], bad(Span { span_id: ids(7, 1), ..good() })),
        ("span: end 0", &["end_time_unix_nano"], bad(Span { end_time_unix_nano: 0, ..good() })),
        ("span: end after 2262", &["end_time_unix_nano"], bad(Span { end_time_unix_nano: u64::MAX, ..good() })),
        ("span: start after 2262", &["start_time_unix_nano"], bad(Span { start_time_unix_nano: u64::MAX, ..good() })),
        ("span: future", &["end_time_unix_nano"], bad(Span { end_time_unix_nano: far(t), ..good() })),
        ("span: many attributes", &["attributes"], bad(Span { attributes: many_attributes(), ..good() })),
        ("span: long key", &["attribute name", "key"], bad(Span { attributes: long_name(), ..good() })),
    ]
}

fn record_shapes() -> Vec<Shape> {
    let t = base_time();
    let good = || record(t, "bad");
    let bad = with_good_record;
    vec![
        ("record: no time", &["time_unix_nano"], bad(LogRecord { time_unix_nano: 0, ..good() })),
        ("record: after 2262", &["time_unix_nano"], bad(LogRecord { time_unix_nano: u64::MAX, ..good() })),
        ("record: future", &["time"], bad(LogRecord { time_unix_nano: far(t), ..good() })),
        ("record: many attributes", &["attributes"], bad(LogRecord { attributes: many_attributes(), ..good() })),
        ("record: long key", &["attribute name", "key"], bad(LogRecord { attributes: long_name(), ..good() })),
    ]
}

/// Sends each shape on each transport; what was not as it should be.
pub(crate) async fn faults_of(shapes: Vec<Shape>) -> Vec<String> {
    let service = Service::shared();
    let mut faults = Vec::new();
    for (what, words, payload) in shapes {
        for route in Route::PLAIN {
            let partial = service.send(&payload, route).await.verdict();
            let named = |message: &str| words.iter().any(|word| message.contains(word));
            if !partial.as_ref().is_ok_and(|p| p.rejected == 1 && named(&p.message)) {
                faults.push(format!("{what} by {route:?}: expected 1 rejected with {words:?}, got {partial:?}"));
            }
        }
    }
    service.assert_healthy().await;
    faults
}

// A17
#[tokio::test(flavor = "multi_thread")]
async fn malformed_points_spans_and_records_are_rejected_by_name() {
    let shapes: Vec<Shape> = [number_shapes(), span_shapes(), record_shapes()].into_iter().flatten().collect();
    assert_eq!(shapes.len(), 32);
    assert_eq!(faults_of(shapes).await, Vec::<String>::new());
}

// A17
#[tokio::test(flavor = "multi_thread")]
async fn what_is_odd_but_allowed_is_taken() {
    let service = Service::shared();
    let t = base_time();
    let mut span = a_span("backwards", t, t - SECOND);
    span.flags = 0xffff_ff00;
    let empty = HistogramDataPoint {
        count: 6,
        bucket_counts: Vec::new(),
        explicit_bounds: Vec::new(),
        sum: None,
        ..histogram_point(t)
    };
    let flat = Sum { data_points: vec![point(t, -1.0, &[])], aggregation_temporality: CUMULATIVE, is_monotonic: false };
    let flags = NumberDataPoint { flags: 0xffff_fffe, ..point(t, 1.0, &[]) };
    let unset =
        NumberDataPoint { attributes: vec![attribute("unset", AnyValue { value: None })], ..point(t, 1.0, &[]) };
    let record =
        LogRecord { trace_id: vec![1; 3], span_id: vec![0; 8], severity_number: 99, body: None, ..record(t, "") };
    let unknown_kind = Span { kind: 77, ..a_span("kind", t, t) };
    for payload in [
        traces("odd", vec![span, unknown_kind]),
        metrics("odd", vec![histogram("odd.h", vec![empty]), metric("odd.s", Data::Sum(flat))]),
        metrics("odd", vec![gauge("odd.g", vec![flags]), gauge("odd.u", vec![unset])]),
        logs("odd", vec![record]),
    ] {
        for route in Route::PLAIN {
            let answer = service.send(&payload, route).await;
            assert!(answer.is_complete(), "{route:?} {payload:?}: {answer:?}");
        }
    }
}
