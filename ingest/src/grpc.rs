//! The gRPC door: `Export` of the three collector services.
//!
//! tonic carries the connection; the framing of the one message in each direction is done here.
//! tonic's own decoder expands gzip on the thread that serves the connections, reads its first
//! member only, and answers `OUT_OF_RANGE` to what is too large, which OTLP clients send again.

mod frame;
mod timeout;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use proto::{
    otlp::{self, Encoding, PartialSuccess, Signal},
    rpc,
};
use tonic::{Code, Status, body::Body as GrpcBody};

use crate::{
    Tenant,
    door::{Body, Coding, Door, Outcome, Refusal, in_time, shown, unknown_coding},
};

const CONTENT_TYPE: &str = "application/grpc";

/// The services as one HTTP service.
#[derive(Clone, Debug)]
pub(crate) struct Grpc {
    pub(crate) door: Door,
}

/// Answers one call.
pub(crate) async fn answer(door: &Door, request: Request<GrpcBody>) -> Response<GrpcBody> {
    let (head, body) = request.into_parts();
    let tenant = match door.identify(&head.headers, &head.extensions) {
        Ok(tenant) => tenant,
        Err(refusal) => {
            if let Some(signal) = signal_of(head.uri.path()) {
                door.counters.request(signal, door.transport, refusal.outcome);
            }
            return refused(&door.until_said(refusal, &head.extensions).await);
        }
    };
    let content_type = head.headers.get(header::CONTENT_TYPE);
    if !content_type.is_some_and(is_grpc) {
        let message = format!("content-type: expected {CONTENT_TYPE}, got {}", shown(content_type));
        let mut response = refused(&Refusal::new(Outcome::Refused, message));
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    let Some(signal) = signal_of(head.uri.path()) else {
        let message = "no such method; this is an OTLP receiver for metrics, traces and logs";
        let codes = (rpc::Code::Unimplemented, StatusCode::NOT_FOUND);
        return refused(&Refusal::new(Outcome::Refused, message).with_codes(codes.0, codes.1));
    };
    let timeout = timeout::deadline(head.headers.get("grpc-timeout"));
    let deadline = timeout.as_ref().ok().copied().flatten();
    let message = async {
        timeout?;
        read(door, tenant, &head.headers, body).await
    };
    match door.take(signal, deadline, message).await {
        Ok(partial) => success(signal, &partial),
        Err(refusal) => refused(&door.until_said(refusal, &head.extensions).await),
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

/// `application/grpc`, or that with `+proto`; other message formats are not spoken.
fn is_grpc(content_type: &HeaderValue) -> bool {
    let essence = content_type.as_bytes().split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(CONTENT_TYPE.as_bytes()) || essence.eq_ignore_ascii_case(b"application/grpc+proto")
}

async fn read(door: &Door, tenant: Tenant, headers: &HeaderMap, body: GrpcBody) -> Result<Body, Refusal> {
    let named = headers.get("grpc-encoding");
    let coding = Coding::named(named.map(HeaderValue::as_bytes).unwrap_or_default())
        .ok_or_else(|| unknown_coding("grpc-encoding", "grpc-accept-encoding", &shown(named)))?;
    let message = in_time(frame::read(body, door.room.body(&tenant), door.max_request_bytes)).await;
    let message = message.map_err(|refusal| refusal.of(tenant.clone()))?;
    if message.is_compressed && coding == Coding::Identity {
        return Err(Refusal::malformed("message is marked compressed but grpc-encoding names no compression"));
    }
    let (bytes, held) = message.received.finish();
    let coding = if message.is_compressed { coding } else { Coding::Identity };
    Ok(Body { tenant, bytes, encoding: Encoding::Protobuf, coding, _held: Some(held) })
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
    let code = Code::from_i32(refusal.code as i32);
    let details = match refusal.retry_after {
        None => Bytes::new(),
        Some(_) => refusal.status().encode_as(Encoding::Protobuf).into(),
    };
    let mut response = Status::with_details(code, refusal.message.as_str(), details).into_http();
    refusal.write_headers(response.headers_mut());
    response
}

#[cfg(test)]
mod tests;
