//! The gRPC door from outside: which status, which details.

use http::Request;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message as _;
use proto::rpc;

use super::frame;
use crate::{
    Outcome, Queue, Transport,
    fake::{self, Answer, MAX_REQUEST, Service},
};
use proto::otlp::Signal;

const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

fn request(path: &str, framed: Vec<u8>) -> Request<Vec<u8>> {
    let uri = format!("http://localhost{path}");
    Request::post(uri).header("content-type", "application/grpc").header("te", "trailers").body(framed).expect("is one")
}

fn call(path: &str, message: &[u8]) -> Request<Vec<u8>> {
    request(path, frame::write(message).to_vec())
}

fn compressed(path: &str, packed: &[u8]) -> Request<Vec<u8>> {
    compressed_by("gzip", path, packed)
}

fn compressed_by(coding: &str, path: &str, packed: &[u8]) -> Request<Vec<u8>> {
    let mut framed = frame::write(packed).to_vec();
    framed[0] = 1;
    let mut request = request(path, framed);
    request.headers_mut().insert("grpc-encoding", coding.parse().expect("is a header"));
    request
}

async fn send(service: &Service, request: Request<Vec<u8>>) -> Answer {
    let answer = fake::http2(service.grpc, request).await;
    assert_eq!(answer.header("content-type"), "application/grpc");
    answer
}

/// grpc-message is percent-encoded; the texts looked for here have only spaces to decode.
async fn check(service: &Service, request: Request<Vec<u8>>, code: i32, says: &str) {
    let answer = send(service, request).await;
    let message = answer.header("grpc-message").replace("%20", " ").replace("%22", "\"");
    assert_eq!(answer.grpc_status(), code, "{message}");
    assert!(message.contains(says), "{message:?} does not say {says:?}");
    assert_eq!(answer.header("grpc-status-details-bin"), "", "an invitation to retry");
}

#[tokio::test]
async fn every_signal_is_taken() {
    let service = Service::start().await;
    for (path, message) in [(METRICS, fake::metrics(3, 0)), (TRACES, fake::traces(2, 0)), (LOGS, fake::logs(1, 0))] {
        let answer = send(&service, call(path, &message)).await;
        assert_eq!((answer.status.as_u16(), answer.grpc_status()), (200, 0), "{path}");
        assert_eq!(&*answer.body, [0; 5], "complete success is an empty message");
    }
    assert_eq!(service.rows(), (3, 2, 1));
    assert_eq!(service.counters.requests(Signal::Logs, Transport::Grpc, Outcome::Ok), 1);
}

#[tokio::test]
async fn compressed_messages_are_taken_also_in_several_members() {
    let service = Service::start().await;
    let several = [fake::zstd(&fake::metrics(1, 0)), fake::zstd(&fake::metrics(2, 0))].concat();
    assert_eq!(send(&service, compressed_by("zstd", METRICS, &several)).await.grpc_status(), 0);
    let several = [fake::gzip(&fake::metrics(1, 0)), fake::gzip(&fake::metrics(2, 0))].concat();
    assert_eq!(send(&service, compressed(METRICS, &several)).await.grpc_status(), 0);
    assert_eq!(service.rows(), (6, 0, 0));
}

#[tokio::test]
async fn partial_success_has_the_exact_count() {
    let service = Service::start().await;
    let answer = send(&service, call(METRICS, &fake::metrics(5, 3))).await;
    let partial = ExportMetricsServiceResponse::decode(&answer.body[5..]).expect("is a response").partial_success;
    let partial = partial.expect("points were rejected");
    assert_eq!((answer.grpc_status(), partial.rejected_data_points), (0, 3));
    assert!(partial.error_message.contains("time_unix_nano is 0"));
    assert_eq!(
        (service.counters.taken().accepted(Signal::Metrics), service.counters.taken().rejected(Signal::Metrics)),
        (5, 3)
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_an_invalid_argument() {
    let s = Service::start().await;
    check(&s, call(METRICS, b"\xff\xff\xffgarbage"), 3, "not a metrics request").await;
    check(&s, compressed(METRICS, b"not gzip"), 3, "body is not gzip").await;
    check(&s, request(METRICS, vec![]), 3, "call without a message").await;
    check(&s, request(METRICS, vec![0, 0, 0, 0, 9, 1]), 3, "message ends after 1 of 9").await;
    let mut unnamed = compressed(METRICS, &fake::gzip(b""));
    unnamed.headers_mut().remove("grpc-encoding");
    check(&s, unnamed, 3, "marked compressed").await;
    let mut tenant = call(METRICS, &fake::metrics(1, 0));
    tenant.headers_mut().insert("x-scope-orgid", "acme".parse().expect("is a header"));
    check(&s, tenant, 3, "X-Scope-OrgID").await;
    assert_eq!(s.rows(), (0, 0, 0));
    assert_eq!(s.counters.requests(Signal::Metrics, Transport::Grpc, Outcome::Malformed), 5);
    assert_eq!(send(&s, call(METRICS, &fake::metrics(1, 0))).await.grpc_status(), 0);
}

#[tokio::test]
async fn what_is_too_large_is_exhausted_and_not_to_be_retried() {
    let s = Service::start().await;
    let says = "larger than 65536 bytes";
    check(&s, call(LOGS, &vec![0; MAX_REQUEST + 1]), 8, says).await;
    check(&s, compressed(LOGS, &fake::gzip(&vec![0; 64 << 20])), 8, says).await;
    check(&s, compressed(LOGS, &fake::gzip(&vec![0; MAX_REQUEST + 1])), 8, says).await;
    check(&s, request(LOGS, vec![0, 0xff, 0xff, 0xff, 0xff]), 8, says).await;
    check(&s, call(TRACES, &fake::bomb()), 8, "more than 1048576 bytes in memory").await;
}

#[tokio::test]
async fn unknown_methods_types_and_compressions_are_said() {
    let s = Service::start().await;
    check(&s, call("/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export", b""), 12, "no such")
        .await;
    check(&s, call("/opentelemetry.proto.collector.logs.v1.LogsService/Import", b""), 12, "no such method").await;
    for coding in ["snappy", "gzip, gzip"] {
        let answer = send(&s, compressed_by(coding, LOGS, b"")).await;
        let accepted = answer.header("grpc-accept-encoding");
        assert_eq!((answer.grpc_status(), accepted), (12, "identity,gzip,zstd"), "{coding}");
    }
    let mut web = call(LOGS, b"");
    web.headers_mut().insert("content-type", "application/json".parse().expect("is a header"));
    let answer = fake::http2(s.grpc, web).await;
    assert_eq!((answer.status.as_u16(), answer.grpc_status()), (415, 3));
}

#[tokio::test]
async fn a_full_queue_is_unavailable_with_a_delay() {
    let (queue, _never_drained) = Queue::new(1024, fake::nothing_known());
    let service = Service::start_with(queue.clone()).await;
    let waiting =
        tokio::spawn(async move { queue.submit(crate::Tenant::default(), crate::Batch::default(), None).await });
    tokio::task::yield_now().await;
    let answer = send(&service, call(METRICS, &fake::metrics(1, 0))).await;
    assert_eq!(answer.grpc_status(), 14);
    let details = proto::base64::decode(answer.header("grpc-status-details-bin")).expect("is base64");
    let status = rpc::Status::decode(&*details).expect("is a status");
    assert_eq!(status.code, 14);
    assert!(status.retry_after().is_some_and(|d| (1..=30).contains(&d.as_secs())), "{status:?}");
    waiting.abort();
}
