//! The HTTP door from outside: which code, which body, which headers.

use http::Request;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceResponse, metrics::v1::ExportMetricsServiceResponse,
    trace::v1::ExportTraceServiceResponse,
};
use prost::Message as _;
use proto::rpc::Status;

use crate::{
    Outcome, Queue, Transport,
    fake::{self, Answer, MAX_REQUEST, Service},
};
use proto::otlp::Signal;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

fn post(path: &str, content_type: &str, body: Vec<u8>) -> Request<Vec<u8>> {
    Request::post(path).header("content-type", content_type).body(body).expect("is a request")
}

fn with(mut request: Request<Vec<u8>>, name: &'static str, value: &str) -> Request<Vec<u8>> {
    request.headers_mut().append(name, value.parse().expect("is a header"));
    request
}

/// The status in an error's body, which has to be in the encoding that its header says.
fn status_of(answer: &Answer) -> Status {
    if answer.header("content-type") == JSON {
        let value: serde_json::Value = serde_json::from_slice(&answer.body).expect("is JSON");
        let code = value["code"].as_i64().and_then(|c| i32::try_from(c).ok()).expect("has a code");
        let message = value["message"].as_str().expect("has a message").to_owned();
        return Status { code, message, details: Vec::new() };
    }
    assert_eq!(answer.header("content-type"), PROTOBUF);
    Status::decode(&*answer.body).expect("is a status")
}

async fn check(service: &Service, request: Request<Vec<u8>>, code: u16, rpc_code: i32, says: &str) {
    let shown = format!("{} {} {:?}", request.method(), request.uri(), request.headers());
    let answer = fake::http(service.http, request).await;
    assert_eq!(answer.status.as_u16(), code, "{shown}");
    let status = status_of(&answer);
    assert_eq!(status.code, rpc_code, "{shown}");
    assert!(status.message.contains(says), "{shown}: {:?} does not say {says:?}", status.message);
}

#[tokio::test]
async fn every_signal_is_taken_in_protobuf() {
    let service = Service::start().await;
    for (path, body) in
        [("/v1/metrics", fake::metrics(3, 0)), ("/v1/traces", fake::traces(2, 0)), ("/v1/logs", fake::logs(1, 0))]
    {
        let answer = fake::http(service.http, post(path, PROTOBUF, body)).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, PROTOBUF));
        assert!(answer.body.is_empty(), "complete success has no partial success");
    }
    assert_eq!(service.rows(), (3, 2, 1));
}

#[tokio::test]
async fn every_signal_is_taken_in_json() {
    let service = Service::start().await;
    let metrics = r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"s"}}]},
        "scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[{"timeUnixNano":"5","asDouble":"NaN"}]}}]}]}]}"#;
    let traces = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c",
        "spanId":"EEE19B7EC3C1B174","name":"x","kind":2,"startTimeUnixNano":"1","endTimeUnixNano":2}]}]}]}"#;
    let logs = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"5","body":{"stringValue":"b"}}]}]}]}"#;
    for (path, body) in [("/v1/metrics", metrics), ("/v1/traces", traces), ("/v1/logs", logs)] {
        let request = post(path, "application/json; charset=utf-8", body.into());
        let answer = fake::http(service.http, request).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, JSON), "{path}");
        assert_eq!(&*answer.body, b"{}");
    }
    assert_eq!(service.rows(), (1, 1, 1));
    let taken = service.taken.lock().expect("no test panics with the lock");
    assert!(taken[0].numbers.rows[0].value.is_nan() && &*taken[0].numbers.strangers[0].series.service == "s");
}

#[tokio::test]
async fn partial_success_has_the_exact_count() {
    let service = Service::start().await;
    let send = |path, body| fake::http(service.http, post(path, PROTOBUF, body));
    let answer = send("/v1/metrics", fake::metrics(5, 3)).await;
    let partial = ExportMetricsServiceResponse::decode(&*answer.body).expect("is a response").partial_success;
    let partial = partial.expect("points were rejected");
    assert_eq!((answer.status.as_u16(), partial.rejected_data_points), (200, 3));
    assert!(partial.error_message.contains("time_unix_nano is 0"), "{}", partial.error_message);

    let answer = send("/v1/traces", fake::traces(0, 4)).await;
    let partial = ExportTraceServiceResponse::decode(&*answer.body).expect("is a response").partial_success;
    assert_eq!(partial.map(|p| p.rejected_spans), Some(4));

    let answer = send("/v1/logs", fake::logs(1, 2)).await;
    let partial = ExportLogsServiceResponse::decode(&*answer.body).expect("is a response").partial_success;
    assert_eq!(partial.map(|p| p.rejected_log_records), Some(2));

    assert_eq!(service.rows(), (5, 0, 1));
    let counters = &service.counters;
    assert_eq!((counters.taken().accepted(Signal::Metrics), counters.taken().rejected(Signal::Metrics)), (5, 3));
    assert_eq!((counters.taken().accepted(Signal::Traces), counters.taken().rejected(Signal::Traces)), (0, 4));
    assert_eq!(counters.requests(Signal::Logs, Transport::Http, Outcome::Partial), 1);
    assert_eq!(counters.taken().bytes(Signal::Logs), fake::logs(1, 2).len() as u64);
}

#[tokio::test]
async fn an_empty_request_is_complete_success() {
    let service = Service::start().await;
    let answer = fake::http(service.http, post("/v1/traces", PROTOBUF, Vec::new())).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    let answer = fake::http(service.http, post("/v1/traces", JSON, b"{}".to_vec())).await;
    assert_eq!((answer.status.as_u16(), &*answer.body), (200, b"{}".as_slice()));
}

#[tokio::test]
async fn compressed_bodies_are_taken_also_in_several_members() {
    let service = Service::start().await;
    let (one, two) = (fake::metrics(1, 0), fake::metrics(2, 0));
    let packed = [
        ("gzip", [fake::gzip(&one), fake::gzip(&two)].concat()),
        ("zstd", [fake::zstd(&one), fake::zstd(&two)].concat()),
    ];
    for (coding, several) in packed {
        let request = with(post("/v1/metrics", PROTOBUF, several), "content-encoding", coding);
        assert_eq!(fake::http(service.http, request).await.status.as_u16(), 200, "{coding}");
    }
    assert_eq!(service.rows(), (6, 0, 0), "protobuf messages that follow one another are merged");
}

#[tokio::test]
async fn what_cannot_be_served_is_said_in_the_senders_encoding() {
    let s = Service::start().await;
    let get = Request::get("/v1/metrics").body(Vec::new()).expect("is a request");
    check(&s, get, 405, 12, "expected POST, got GET").await;
    check(&s, post("/v1/profiles", JSON, vec![]), 404, 5, "no such path").await;
    check(&s, post("/", PROTOBUF, vec![]), 404, 5, "no such path").await;
    check(&s, post("/v1/logs", "text/plain", vec![]), 415, 3, "got \"text/plain\"").await;
    let untyped = Request::post("/v1/logs").body(Vec::new()).expect("is a request");
    check(&s, untyped, 415, 3, "content-type: expected application/x-protobuf or application/json, got \"\"").await;
    for coding in ["br", "gzip, gzip", "deflate"] {
        let packed = with(post("/v1/logs", JSON, vec![]), "content-encoding", coding);
        let says = format!("content-encoding: expected gzip, zstd or identity, got {coding:?}");
        check(&s, packed, 415, 12, &says).await;
    }
    let twice = with(with(post("/v1/logs", JSON, vec![]), "content-encoding", "gzip"), "content-encoding", "gzip");
    let answer = fake::http(s.http, twice).await;
    assert_eq!((answer.status.as_u16(), answer.header("accept-encoding")), (415, "identity,gzip,zstd"));
    let tenant = with(post("/v1/logs", JSON, b"{}".to_vec()), "x-scope-orgid", "acme");
    check(&s, tenant, 400, 3, "X-Scope-OrgID: expected \"default\" or no header, got \"acme\"").await;
    let tenant = with(post("/v1/logs", JSON, b"{}".to_vec()), "x-scope-orgid", "default");
    assert_eq!(fake::http(s.http, tenant).await.status.as_u16(), 200);
    assert_eq!(s.counters.requests(Signal::Logs, Transport::Http, Outcome::Refused), 7);
}

#[tokio::test]
async fn garbage_is_a_bad_request_and_the_service_goes_on() {
    let s = Service::start().await;
    check(&s, post("/v1/metrics", PROTOBUF, b"\xff\xff\xffgarbage".to_vec()), 400, 3, "not a metrics request").await;
    check(&s, post("/v1/traces", JSON, b"{\"resourceSpans\":7}".to_vec()), 400, 3, "resourceSpans").await;
    check(&s, post("/v1/logs", JSON, b"\xff\xfe".to_vec()), 400, 3, "not a logs request").await;
    let not_gzip = with(post("/v1/logs", PROTOBUF, fake::logs(1, 0)), "content-encoding", "gzip");
    check(&s, not_gzip, 400, 3, "body is not gzip").await;
    let mut cut = fake::gzip(&fake::logs(9, 0));
    cut.truncate(cut.len() - 6);
    check(&s, with(post("/v1/logs", PROTOBUF, cut), "content-encoding", "gzip"), 400, 3, "body is not gzip").await;
    let deep = format!("{{\"x\":{}", "[".repeat(60_000));
    check(&s, post("/v1/logs", JSON, deep.into_bytes()), 400, 3, "not a logs request").await;
    assert_eq!(s.rows(), (0, 0, 0));
    assert_eq!(fake::http(s.http, post("/v1/logs", PROTOBUF, fake::logs(1, 0))).await.status.as_u16(), 200);
}

#[tokio::test]
async fn what_is_too_large_is_refused_however_it_is_packed() {
    let s = Service::start().await;
    let says = "larger than 65536 bytes";
    check(&s, post("/v1/logs", PROTOBUF, vec![0; MAX_REQUEST + 1]), 413, 8, says).await;
    let zeros = fake::gzip(&vec![0; 64 << 20]);
    assert!(zeros.len() > 4096, "large enough to leave the connection's thread");
    let packed = |body: &[u8]| with(post("/v1/logs", PROTOBUF, body.to_vec()), "content-encoding", "gzip");
    check(&s, packed(&zeros[..]), 413, 8, says).await;
    check(&s, packed(&fake::gzip(&vec![0; MAX_REQUEST + 1])), 413, 8, says).await;
    check(&s, post("/v1/traces", PROTOBUF, fake::bomb()), 413, 8, "more than 1048576 bytes in memory").await;
    let bomb = format!(r#"{{"resourceSpans":[{}{{}}]}}"#, "{},".repeat(20_000));
    check(&s, post("/v1/traces", JSON, bomb.into_bytes()), 413, 8, "more than 1048576 bytes in memory").await;
    assert_eq!(s.counters.requests(Signal::Logs, Transport::Http, Outcome::TooLarge), 3);
}

#[tokio::test]
async fn a_body_of_unknown_length_is_bounded_too() {
    let s = Service::start().await;
    let request = post("/v1/logs", PROTOBUF, vec![0; MAX_REQUEST + 1]);
    let answer = fake::http2(s.http, request).await;
    assert_eq!((answer.status.as_u16(), status_of(&answer).code), (413, 8));
}

#[tokio::test]
async fn a_full_queue_asks_to_come_again() {
    let (queue, _never_drained) = Queue::new(1024, fake::nothing_known());
    let service = Service::start_with(queue.clone()).await;
    let waiting =
        tokio::spawn(async move { queue.submit(crate::Tenant::default(), crate::Batch::default(), None).await });
    tokio::task::yield_now().await;
    let answer = fake::http(service.http, post("/v1/metrics", PROTOBUF, fake::metrics(1, 0))).await;
    assert_eq!(answer.status.as_u16(), 503);
    let seconds: u64 = answer.header("retry-after").parse().expect("is a number of seconds");
    assert!((1..=30).contains(&seconds));
    let status = status_of(&answer);
    assert_eq!((status.code, status.retry_after().map(|d| d.as_secs())), (14, Some(seconds)));
    assert_eq!(service.counters.requests(Signal::Metrics, Transport::Http, Outcome::Busy), 1);
    waiting.abort();
}

#[tokio::test]
async fn a_large_request_is_taken_whole() {
    let service = Service::start().await;
    let body = fake::metrics(3_000, 0);
    assert!((48 * 1024..MAX_REQUEST).contains(&body.len()), "{}", body.len());
    let packed = with(post("/v1/metrics", PROTOBUF, fake::gzip(&body)), "content-encoding", "gzip");
    assert_eq!(fake::http(service.http, packed).await.status.as_u16(), 200);
    assert_eq!(fake::http(service.http, post("/v1/metrics", PROTOBUF, body)).await.status.as_u16(), 200);
    assert_eq!(service.rows(), (6_000, 0, 0));
}
