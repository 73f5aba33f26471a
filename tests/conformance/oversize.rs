//! Requests beyond the limit, and answers within theirs.

use std::{sync::Arc, time::Duration};

use opentelemetry::{
    KeyValue,
    trace::{Span as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::kit::{
    Answer, Framing, Payload, Refusal, Route, Service, Signal, cases, gauge, gzip, http1, json_of, metrics, point,
    unique,
};

const LIMIT: usize = 1 << 20;
const SMALL: &str = "ingest: {max_request_bytes: 1MiB}";
/// `RESOURCE_EXHAUSTED`
const EXHAUSTED: i32 = 8;

/// A good protobuf request of exactly `size` bytes: the rest is a field that nobody knows.
fn padded(signal: Signal, size: usize) -> Vec<u8> {
    let mut bytes = Payload::one(signal, &unique("oversize")).protobuf();
    // Field 1000, length-delimited; its length takes four bytes.
    let length = size - bytes.len() - 6;
    bytes.extend([0xc2, 0x3e]);
    bytes.extend(
        (0..4).map(|i| u8::try_from(length >> (7 * i) & 0x7f).expect("seven bits") | if i < 3 { 0x80 } else { 0 }),
    );
    bytes.resize(size, 0);
    bytes
}

/// A good JSON request of exactly `size` bytes: the rest is white space.
fn padded_json(signal: Signal, size: usize) -> Vec<u8> {
    let mut bytes = json_of(&Payload::one(signal, &unique("oversize"))).to_string().into_bytes();
    bytes.resize(size, b' ');
    bytes
}

fn assert_final(refusal: &Refusal, http: u16, what: &str) {
    assert_eq!((refusal.code, refusal.http), (EXHAUSTED, http), "{what}: {refusal:?}");
    assert_eq!(
        (refusal.hint.details, refusal.hint.header),
        (None, None),
        "{what}: sent again for nothing: {refusal:?}"
    );
    assert!(refusal.message.contains(&LIMIT.to_string()), "{what} names the limit: {refusal:?}");
}

// A3
#[tokio::test(flavor = "multi_thread")]
async fn one_byte_more_than_the_limit_is_refused_for_good_on_every_way() {
    let service = Service::start(SMALL);
    for signal in Signal::ALL {
        for route in Route::ALL {
            let sized = |size| if route.is_json() { padded_json(signal, size) } else { padded(signal, size) };
            let answer = service.send_bytes(signal, &sized(LIMIT), route).await;
            assert!(answer.is_complete(), "{route:?} at the limit: {answer:?}");
            let refusal = service.send_bytes(signal, &sized(LIMIT + 1), route).await.verdict();
            let http = if matches!(route, Route::Grpc | Route::GrpcGzip) { 0 } else { 413 };
            assert_final(&refusal.expect_err("is too large"), http, &format!("{route:?} {signal:?}"));
        }
    }
    let kind = [("content-type", "application/x-protobuf")];
    let chunked = Framing::Chunked(32 << 10);
    let answer =
        http1(&service.binary.http, "POST", "/v1/traces", &kind, &padded(Signal::Traces, 3 * LIMIT), chunked).await;
    let refusal = Answer::Http(Route::Protobuf, answer).verdict().expect_err("is too large");
    assert_final(&refusal, 413, "chunked");
    service.assert_healthy().await;
}

// A3
#[tokio::test(flavor = "multi_thread")]
async fn compressed_bytes_beyond_the_limit_are_refused_before_they_are_unpacked() {
    let service = Service::start(SMALL);
    // Stored, not compressed, so that the packed form is beyond the limit as well.
    let mut random = fastrand::Rng::with_seed(7);
    let noise: Vec<u8> = (0..2 * LIMIT).map(|_| random.u8(..)).collect();
    let packed = gzip(&noise);
    assert!(packed.len() > LIMIT);
    for route in [Route::GrpcGzip, Route::ProtobufGzip, Route::JsonGzip] {
        let refusal = service.send_packed(Signal::Metrics, &packed, route).await.verdict();
        assert_final(&refusal.expect_err("is too large"), if route == Route::GrpcGzip { 0 } else { 413 }, "packed");
    }
}

// A3
#[tokio::test(flavor = "multi_thread")]
async fn the_rust_sdk_sends_an_oversized_batch_once() {
    let service = Service::start(SMALL);
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(service.binary.grpc.clone())
        .with_timeout(Duration::from_secs(10))
        .build()
        .expect("the endpoint is valid");
    let provider = Arc::new(SdkTracerProvider::builder().with_batch_exporter(exporter).build());
    let export = |value: String| {
        let provider = Arc::clone(&provider);
        tokio::task::spawn_blocking(move || {
            let mut span = provider.tracer("conformance").start("large");
            span.set_attribute(KeyValue::new("payload", value));
            span.end();
            provider.force_flush()
        })
    };
    let refused = export("x".repeat(LIMIT + 1)).await.expect("the exporter does not panic");
    assert!(refused.is_err(), "the exporter is told: {refused:?}");
    export("x".into()).await.expect("the exporter does not panic").expect("a small batch is taken");
    let requests = |outcome: &'static str| {
        let service = &service;
        async move { service.counted("bellwether_ingest_requests_total", &["signal=\"traces\"", outcome]).await }
    };
    assert_eq!((requests("outcome=\"ok\"").await, requests("outcome=\"").await), (1.0, 2.0), "no request came again");
}

// A4
#[tokio::test(flavor = "multi_thread")]
async fn the_answer_stays_small_and_the_count_exact_however_many_points_are_bad() {
    let service = Service::shared();
    let count = cases(100_000, 1_000_000);
    // A reason for each point, or for ten: a million metrics could take more memory than a request may.
    let (metric_count, each) = (100_000, count as usize / 100_000);
    let bad = (0..metric_count).map(|i| gauge(&format!("bad.{i}"), vec![point(0, 1.0, &[]); each])).collect();
    let payload = metrics(&unique("bounded"), bad);
    for route in [Route::Grpc, Route::Protobuf, Route::Json] {
        // A million in JSON is more than a request may have.
        if route.is_json() && count > 200_000 {
            continue;
        }
        let answer = service.send(&payload, route).await;
        let partial = answer.verdict().expect("bad points are no reason to refuse the rest");
        assert_eq!(partial.rejected, i64::from(count), "{route:?}: {}", partial.message);
        assert!(
            !partial.message.is_empty() && partial.message.len() <= 4 << 10,
            "{route:?}: {}",
            partial.message.len()
        );
        assert!(answer.body().len() <= 4 << 20);
    }
}
