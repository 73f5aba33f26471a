//! The HTTP door: `POST /v1/{metrics,traces,logs}` in protobuf or JSON.
//!
//! Every error body is a `google.rpc.Status` in the request's own encoding, as OTLP asks.

use axum::{Router, body::Body as HttpBody, extract::State, response::Response, routing::any};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header, request::Parts};
use http_body_util::BodyExt as _;
use proto::{
    otlp::{self, Encoding, Signal},
    rpc::Code,
};

use crate::{
    Tenant,
    door::{Body, Coding, Door, Outcome, Received, Refusal, in_time, shown, unknown_coding},
};

/// So much of a body is read and dropped whose head was refused already.
const UNWANTED_BYTES: usize = 1024 * 1024;

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

async fn not_found(State(door): State<Door>, request: Request<HttpBody>) -> Response {
    let encoding = encoding_of(request.headers()).unwrap_or(Encoding::Protobuf);
    if let Err(refusal) = door.identify(request.headers(), request.extensions()) {
        return refused(&door.until_said(refusal, request.extensions()).await, encoding);
    }
    let message = "no such path; expected /v1/metrics, /v1/traces or /v1/logs";
    let refusal = Refusal::new(Outcome::Refused, message).with_codes(Code::NotFound, StatusCode::NOT_FOUND);
    refused(&refusal, encoding)
}

async fn export(door: &Door, signal: Signal, request: Request<HttpBody>) -> Response {
    let (head, body) = request.into_parts();
    let known = encoding_of(&head.headers).unwrap_or(Encoding::Protobuf);
    match door.take(signal, None, receive(door, &head, body)).await {
        Ok(partial) => response(StatusCode::OK, known, otlp::encode_response(signal, known, &partial)),
        Err(refusal) => refused(&door.until_said(refusal, &head.extensions).await, known),
    }
}

/// The body, if the request is one that is served.
async fn receive(door: &Door, head: &Parts, mut body: HttpBody) -> Result<Body, Refusal> {
    match judge(door, head) {
        Ok((tenant, encoding, coding)) => {
            let received = in_time(read(body, &head.headers, &tenant, door)).await;
            let (bytes, held) = received.map_err(|refusal| refusal.of(tenant.clone()))?.finish();
            Ok(Body { tenant, bytes, encoding, coding, _held: Some(held) })
        }
        Err(refusal) => {
            if !head.headers.contains_key(header::EXPECT) {
                // Also when it does not come in time, the answer is the same.
                let _ = in_time(async {
                    discard(&mut body, UNWANTED_BYTES).await;
                    Ok(())
                })
                .await;
            }
            Err(refusal)
        }
    }
}

/// What the head alone says: who sends, and in which form.
fn judge(door: &Door, head: &Parts) -> Result<(Tenant, Encoding, Coding), Refusal> {
    let tenant = door.identify(&head.headers, &head.extensions)?;
    if head.method != Method::POST {
        let message = format!("expected POST, got {}", otlp::cut(head.method.as_str(), 32));
        return Err(Refusal::new(Outcome::Refused, message)
            .with_codes(Code::Unimplemented, StatusCode::METHOD_NOT_ALLOWED)
            .with_header("allow", "POST"));
    }
    let Some(encoding) = encoding_of(&head.headers) else {
        let got = shown(head.headers.get(header::CONTENT_TYPE));
        let message = format!("content-type: expected application/x-protobuf or application/json, got {got}");
        return Err(Refusal::new(Outcome::Refused, message)
            .with_codes(Code::InvalidArgument, StatusCode::UNSUPPORTED_MEDIA_TYPE));
    };
    Ok((tenant, encoding, coding_of(&head.headers)?))
}

/// The encoding that the content type names; its parameters (`charset`) do not matter.
fn encoding_of(headers: &HeaderMap) -> Option<Encoding> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = text.split(';').next().unwrap_or_default().trim();
    [Encoding::Protobuf, Encoding::Json].into_iter().find(|e| essence.eq_ignore_ascii_case(e.content_type()))
}

/// What was done to the body. Several codings, in one header or in several, are not undone.
fn coding_of(headers: &HeaderMap) -> Result<Coding, Refusal> {
    let mut named = headers.get_all(header::CONTENT_ENCODING).iter();
    let (first, second) = (named.next(), named.next());
    let coding = Coding::named(first.map(HeaderValue::as_bytes).unwrap_or_default());
    match (coding, second) {
        (Some(coding), None) => Ok(coding),
        (None, None) => Err(unknown_coding("content-encoding", "accept-encoding", &shown(first))),
        (_, Some(_)) => Err(unknown_coding("content-encoding", "accept-encoding", "several")),
    }
}

/// Reads a body of at most the door's limit.
async fn read(mut body: HttpBody, headers: &HeaderMap, tenant: &Tenant, door: &Door) -> Result<Received, Refusal> {
    let limit = door.max_request_bytes;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        if !headers.contains_key(header::EXPECT) {
            discard(&mut body, limit.saturating_mul(2)).await;
        }
        return Err(Refusal::too_large(limit));
    }
    let mut received = door.room.body(tenant);
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
    let mut response = response(refusal.http_code, encoding, refusal.status().encode_as(encoding));
    refusal.write_headers(response.headers_mut());
    response
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
