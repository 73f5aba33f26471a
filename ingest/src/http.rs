//! The HTTP door: `POST /v1/{metrics,traces,logs}` in protobuf or JSON.
//!
//! Every error body is a `google.rpc.Status` in the request's own encoding, as OTLP asks.

use axum::{Router, body::Body as HttpBody, extract::State, response::Response, routing::any};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use proto::{
    otlp::{self, Encoding, Signal},
    rpc::{Code, Status},
};

use crate::door::{Body, Door, Outcome, Received, Refusal, check_tenant, in_time, shown};

/// The paths of the door.
pub(crate) fn router(door: Door) -> Router {
    let mut router = Router::new().fallback(not_found);
    for (path, signal) in [("/v1/metrics", Signal::Metrics), ("/v1/traces", Signal::Traces), ("/v1/logs", Signal::Logs)]
    {
        let handler = move |State(door): State<Door>, request: Request<HttpBody>| async move {
            export(&door, signal, request).await
        };
        router = router.route(path, any(handler));
    }
    router.with_state(door)
}

async fn not_found(request: Request<HttpBody>) -> Response {
    let encoding = encoding_of(request.headers()).unwrap_or(Encoding::Protobuf);
    let message = "no such path; expected /v1/metrics, /v1/traces or /v1/logs";
    error(StatusCode::NOT_FOUND, encoding, &Status::new(Code::NotFound, message, None))
}

async fn export(door: &Door, signal: Signal, request: Request<HttpBody>) -> Response {
    let (head, body) = request.into_parts();
    let encoding = encoding_of(&head.headers);
    let known = encoding.unwrap_or(Encoding::Protobuf);
    if head.method != Method::POST {
        door.counters.request(signal, door.transport, Outcome::Refused);
        let message = format!("expected POST, got {}", otlp::cut(head.method.as_str(), 32));
        let status = Status::new(Code::Unimplemented, message, None);
        let mut response = error(StatusCode::METHOD_NOT_ALLOWED, known, &status);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let is_gzip = match (encoding, gzip_of(&head.headers)) {
        (Some(_), Ok(is_gzip)) => is_gzip,
        (None, _) => {
            let got = shown(head.headers.get(header::CONTENT_TYPE));
            let message = format!("content-type: expected application/x-protobuf or application/json, got {got}");
            return unsupported(door, signal, known, message);
        }
        (Some(_), Err(got)) => {
            let message = format!("content-encoding: expected gzip or identity, got {got}");
            return unsupported(door, signal, known, message);
        }
    };
    let received = match check_tenant(&head.headers) {
        Ok(()) => in_time(read(body, &head.headers, door)).await,
        Err(refusal) => Err(refusal),
    };
    let body = received.map(|received| {
        let (bytes, held) = received.finish();
        Body { bytes, encoding: known, is_gzip, _held: held }
    });
    match door.take_counted(signal, body).await {
        Ok(partial) => response(StatusCode::OK, known, otlp::encode_response(signal, known, &partial)),
        Err(refusal) => refused(&refusal, known),
    }
}

fn unsupported(door: &Door, signal: Signal, encoding: Encoding, message: String) -> Response {
    door.counters.request(signal, door.transport, Outcome::Refused);
    error(StatusCode::UNSUPPORTED_MEDIA_TYPE, encoding, &Status::new(Code::InvalidArgument, message, None))
}

/// The encoding that the content type names; its parameters (`charset`) do not matter.
fn encoding_of(headers: &HeaderMap) -> Option<Encoding> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = text.split(';').next().unwrap_or_default().trim();
    [Encoding::Protobuf, Encoding::Json].into_iter().find(|e| essence.eq_ignore_ascii_case(e.content_type()))
}

/// Whether the body is compressed, or what unknown thing was done to it.
fn gzip_of(headers: &HeaderMap) -> Result<bool, String> {
    let value = headers.get(header::CONTENT_ENCODING);
    match value.map(|v| v.as_bytes().to_ascii_lowercase()).as_deref() {
        None | Some(b"" | b"identity") => Ok(false),
        Some(b"gzip" | b"x-gzip") => Ok(true),
        Some(_) => Err(shown(value)),
    }
}

/// Reads a body of at most the door's limit.
async fn read(mut body: HttpBody, headers: &HeaderMap, door: &Door) -> Result<Received, Refusal> {
    let limit = door.max_request_bytes;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        if !headers.contains_key(header::EXPECT) {
            discard(&mut body, limit.saturating_mul(2)).await;
        }
        return Err(Refusal::too_large(limit));
    }
    let mut received = door.room.body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Refusal::malformed(format!("body could not be read: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if received.bytes.len() + data.len() > limit {
            drop(received);
            discard(&mut body, limit).await;
            return Err(Refusal::too_large(limit));
        }
        received.push(&data)?;
    }
    Ok(received)
}

/// Reads at most `most` bytes and lets them go. A sender that is cut off while it writes sees a broken
/// connection instead of the answer, takes that for a passing fault, and sends the same again.
async fn discard(body: &mut HttpBody, most: usize) {
    let mut seen = 0;
    while seen <= most {
        let Some(Ok(frame)) = body.frame().await else { return };
        seen += frame.data_ref().map_or(0, Bytes::len);
    }
}

fn refused(refusal: &Refusal, encoding: Encoding) -> Response {
    let code = match refusal.outcome {
        Outcome::Malformed | Outcome::Refused => StatusCode::BAD_REQUEST,
        Outcome::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Outcome::Busy => StatusCode::SERVICE_UNAVAILABLE,
        Outcome::Ok | Outcome::Partial | Outcome::Failed => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut response = error(code, encoding, &refusal.status());
    if let Some(delay) = refusal.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(delay.as_secs()));
    }
    response
}

fn error(code: StatusCode, encoding: Encoding, status: &Status) -> Response {
    response(code, encoding, status.encode_as(encoding))
}

fn response(code: StatusCode, encoding: Encoding, body: Vec<u8>) -> Response {
    let mut response = Response::new(HttpBody::from(body));
    *response.status_mut() = code;
    let content_type = HeaderValue::from_static(encoding.content_type());
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests;
