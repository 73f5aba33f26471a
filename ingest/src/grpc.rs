//! The gRPC door: `Export` of the three collector services.
//!
//! tonic carries the connection; the framing of the one message in each direction is done here.
//! tonic's own decoder expands gzip on the thread that serves the connections, reads its first
//! member only, and answers `OUT_OF_RANGE` to what is too large, which OTLP clients send again.

mod frame;

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use proto::{
    otlp::{self, Encoding, PartialSuccess, Signal},
    rpc,
};
use tonic::{Code, Status, body::Body as GrpcBody};

use crate::door::{Body, Door, Outcome, Refusal, check_tenant, in_time, shown};

const CONTENT_TYPE: &str = "application/grpc";

/// The services as one HTTP service.
#[derive(Clone, Debug)]
pub(crate) struct Grpc {
    pub(crate) door: Door,
}

impl tower_service::Service<Request<GrpcBody>> for Grpc {
    type Response = Response<GrpcBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<GrpcBody>) -> Self::Future {
        let door = self.door.clone();
        Box::pin(async move { Ok(answer(&door, request).await) })
    }
}

async fn answer(door: &Door, request: Request<GrpcBody>) -> Response<GrpcBody> {
    let (head, body) = request.into_parts();
    let content_type = head.headers.get(header::CONTENT_TYPE);
    if !content_type.is_some_and(|t| t.as_bytes().starts_with(CONTENT_TYPE.as_bytes())) {
        let status =
            Status::invalid_argument(format!("expected content-type {CONTENT_TYPE}, got {}", shown(content_type)));
        let mut response = status.into_http();
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    let Some(signal) = signal_of(head.uri.path()) else {
        return Status::unimplemented("no such method; this is an OTLP receiver for metrics, traces and logs")
            .into_http();
    };
    let message = match read(door, &head.headers, body).await {
        Ok(message) => Ok(message),
        Err(NotRead::Unsupported(status)) => {
            door.counters.request(signal, door.transport, Outcome::Refused);
            return *status;
        }
        Err(NotRead::Refused(refusal)) => Err(refusal),
    };
    match door.take_counted(signal, message).await {
        Ok(partial) => success(signal, &partial),
        Err(refusal) => refused(&refusal),
    }
}

fn signal_of(path: &str) -> Option<Signal> {
    match path {
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Some(Signal::Metrics),
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Some(Signal::Traces),
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Some(Signal::Logs),
        _ => None,
    }
}

enum NotRead {
    /// A protocol matter that gRPC has its own code for.
    Unsupported(Box<Response<GrpcBody>>),
    Refused(Refusal),
}

impl From<Refusal> for NotRead {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

async fn read(door: &Door, headers: &HeaderMap, body: GrpcBody) -> Result<Body, NotRead> {
    check_tenant(headers)?;
    let named = headers.get("grpc-encoding");
    let is_gzip = match named.map(HeaderValue::as_bytes) {
        None | Some(b"identity") => false,
        Some(b"gzip") => true,
        Some(_) => {
            let status =
                Status::unimplemented(format!("grpc-encoding: expected gzip or identity, got {}", shown(named)));
            let mut response = status.into_http();
            response.headers_mut().insert("grpc-accept-encoding", HeaderValue::from_static("identity,gzip"));
            return Err(NotRead::Unsupported(Box::new(response)));
        }
    };
    let message = in_time(frame::read(body, door.room.body(), door.max_request_bytes)).await?;
    if message.is_compressed && !is_gzip {
        return Err(Refusal::malformed("message is marked compressed but grpc-encoding names no compression").into());
    }
    let (bytes, held) = message.received.finish();
    Ok(Body { bytes, encoding: Encoding::Protobuf, is_gzip: message.is_compressed, _held: held })
}

fn success(signal: Signal, partial: &PartialSuccess) -> Response<GrpcBody> {
    let message = frame::write(&otlp::encode_response(signal, Encoding::Protobuf, partial));
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(message).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(GrpcBody::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    response
}

fn refused(refusal: &Refusal) -> Response<GrpcBody> {
    let code = Code::from_i32(refusal.code() as i32);
    match refusal.retry_after {
        None => Status::new(code, refusal.message.as_str()).into_http(),
        Some(_) => {
            let details: rpc::Status = refusal.status();
            let details = Bytes::from(details.encode_as(Encoding::Protobuf));
            Status::with_details(code, refusal.message.as_str(), details).into_http()
        }
    }
}

#[cfg(test)]
mod tests;
