//! For the doors' tests: real receivers on free ports with a pipeline that keeps what it is given,
//! and clients that send any bytes under any headers.

use std::{
    io::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data, number_data_point},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use tokio::{net::TcpStream, sync::oneshot, task::JoinHandle};

use crate::{Batch, Config, Counters, KnownTenants, Limits, Queue, Receivers};

/// Small enough that tests can exceed it quickly.
pub(crate) const MAX_REQUEST: usize = 64 * 1024;
const DECODED: usize = 1024 * 1024;

/// Running receivers.
pub(crate) struct Service {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) counters: Arc<Counters>,
    /// What the pipeline was given, in order.
    pub(crate) taken: Arc<Mutex<Vec<Batch>>>,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) running: JoinHandle<()>,
}

/// For a pipeline that registers no series.
pub(crate) fn nothing_known() -> KnownTenants {
    KnownTenants::new(10)
}

pub(crate) fn config() -> Config {
    Config {
        grpc_listen: ([127, 0, 0, 1], 0).into(),
        http_listen: ([127, 0, 0, 1], 0).into(),
        max_request_bytes: MAX_REQUEST,
        limits: Limits { decoded_bytes: DECODED, ..Limits::default() },
        ..Config::default()
    }
}

impl Service {
    /// Receivers with a pipeline that takes everything.
    pub(crate) async fn start() -> Self {
        Self::start_as(&config()).await
    }

    /// The same with this configuration; every tenant is taken.
    pub(crate) async fn start_as(config: &Config) -> Self {
        let (queue, mut submissions) = Queue::new(1 << 20, nothing_known());
        let service = Self::start_in_front_of(config, queue).await;
        let taken = Arc::clone(&service.taken);
        tokio::spawn(async move {
            while let Some(submission) = submissions.recv().await {
                let rejected = submission.batch.rejected.clone();
                taken.lock().expect("no test panics with the lock").push(submission.batch);
                // Whoever sent it may have gone.
                let _ = submission.reply.send(Ok(rejected));
            }
        });
        service
    }

    /// Receivers in front of the caller's queue.
    pub(crate) async fn start_with(queue: Queue) -> Self {
        Self::start_in_front_of(&config(), queue).await
    }

    pub(crate) async fn start_in_front_of(config: &Config, queue: Queue) -> Self {
        let receivers = Receivers::bind(config).await.expect("port 0 is always free");
        let (grpc, http, counters) = (receivers.grpc_address(), receivers.http_address(), receivers.counters());
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let running = tokio::spawn(receivers.run(queue, shutdown));
        Self { grpc, http, counters, taken: Arc::default(), stop, running }
    }

    /// How many points, spans and log records the pipeline was given.
    pub(crate) fn rows(&self) -> (usize, usize, usize) {
        let taken = self.taken.lock().expect("no test panics with the lock");
        taken.iter().fold((0, 0, 0), |n, b| (n.0 + b.numbers.rows.len(), n.1 + b.spans.len(), n.2 + b.logs.len()))
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    async fn of(response: Response<hyper::body::Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let collected = body.collect().await.expect("the answer arrives");
        let mut headers = head.headers;
        headers.extend(collected.trailers().cloned().unwrap_or_default());
        Self { status: head.status, headers, body: collected.to_bytes() }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().expect("our headers are text"))
    }

    /// The gRPC status, wherever it came.
    pub(crate) fn grpc_status(&self) -> i32 {
        self.header("grpc-status").parse().expect("every answer has a status")
    }
}

/// One HTTP/1 request on its own connection.
pub(crate) async fn http(address: SocketAddr, request: Request<Vec<u8>>) -> Answer {
    let stream = TcpStream::connect(address).await.expect("the door is open");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("speaks HTTP/1");
    tokio::spawn(connection);
    let mut request = request.map(|body| Full::new(Bytes::from(body)));
    request.headers_mut().insert("host", "localhost".parse().expect("is a header"));
    Answer::of(sender.send_request(request).await.expect("an answer comes")).await
}

/// One HTTP/2 request on its own connection.
pub(crate) async fn http2(address: SocketAddr, request: Request<Vec<u8>>) -> Answer {
    let stream = TcpStream::connect(address).await.expect("the door is open");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("speaks HTTP/2");
    tokio::spawn(connection);
    let request = request.map(|body| Full::new(Bytes::from(body)));
    Answer::of(sender.send_request(request).await.expect("an answer comes")).await
}

pub(crate) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).expect("a vector takes everything");
    encoder.finish().expect("a vector takes everything")
}

pub(crate) fn zstd(plain: &[u8]) -> Vec<u8> {
    zstd::encode_all(plain, 3).expect("a vector takes everything")
}

fn resource() -> Option<Resource> {
    let value = Some(AnyValue { value: Some(Value::StringValue("shop".into())) });
    let attributes = vec![KeyValue { key: "service.name".into(), value, key_strindex: 0 }];
    Some(Resource { attributes, ..Resource::default() })
}

/// A metrics request with `good` points and `bad` ones, whose time is 0.
pub(crate) fn metrics(good: usize, bad: usize) -> Vec<u8> {
    let value = Some(number_data_point::Value::AsDouble(1.0));
    let point = |time| NumberDataPoint { time_unix_nano: time, value, ..NumberDataPoint::default() };
    let data_points = (0..good).map(|_| point(5)).chain((0..bad).map(|_| point(0))).collect();
    let metric = Metric { name: "m".into(), data: Some(Data::Gauge(Gauge { data_points })), ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { resource: resource(), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

/// A traces request with `good` spans and `bad` ones, which have no ids.
pub(crate) fn traces(good: usize, bad: usize) -> Vec<u8> {
    let span = |id| Span {
        trace_id: vec![id; 16],
        span_id: vec![id; 8],
        start_time_unix_nano: 5,
        end_time_unix_nano: 6,
        ..Span::default()
    };
    let spans = (0..good).map(|_| span(1)).chain((0..bad).map(|_| span(0))).collect();
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: resource(), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// A logs request with `good` records and `bad` ones, which have no time.
pub(crate) fn logs(good: usize, bad: usize) -> Vec<u8> {
    let record = |time| LogRecord { time_unix_nano: time, ..LogRecord::default() };
    let log_records = (0..good).map(|_| record(5)).chain((0..bad).map(|_| record(0))).collect();
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { resource: resource(), scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// A small traces request that would take far more memory than [`MAX_REQUEST`] suggests.
pub(crate) fn bomb() -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans: vec![Span::default(); 20_000], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}
