//! The level over gRPC: `bellwether.v1.Degradation/Watch`, of `proto/bellwether/v1/degradation.proto`.
//!
//! One method that streams needs no server of its own: it is a path of this interface over HTTP/2, so that credentials,
//! tenants and the bound on streams are those of all others. What is said is made once for all who follow.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::StreamExt as _;
use http_body::Frame;
use http_body_util::StreamBody;
use proto::{
    degradation::{WatchRequest, unframe},
    rpc::Code,
};

use super::{Asked, Shared, body, degradation::LevelJson, feed};

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/bellwether.v1.Degradation/Watch", post(watch))
}

async fn watch(asked: Asked, request: Request) -> Response {
    if !body::media_type(request.headers()).starts_with("application/grpc") {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type: expected application/grpc").into_response();
    }
    let request = match body::read(request.into_body()).await.map(|bytes| unframe::<WatchRequest>(&bytes)) {
        Ok(Ok(request)) => request,
        Ok(Err(reason)) => return refused(Code::InvalidArgument, &reason),
        Err(_) => return refused(Code::InvalidArgument, "the request did not arrive, or is larger than 64 KiB"),
    };
    let service: Option<Arc<str>> = Some(request.service.into()).filter(|name: &Arc<str>| !name.is_empty());
    if LevelJson::of(&asked.view(), service.as_deref()).is_none() {
        return refused(Code::NotFound, &format!("service: `{}` is not known", service.unwrap_or_default()));
    }
    let place = match asked.shared.stream_place() {
        Ok(place) => place,
        Err(full) => return refused(Code::ResourceExhausted, &full.to_string()),
    };
    let frames = feed::follow(&asked.shared, &asked.face, service, place).frames();
    // The stream ends with the service only.
    let end = status(Code::Unavailable, "the service is shutting down");
    let frames = frames.map(Frame::data).chain(futures_util::stream::iter([Frame::<Bytes>::trailers(end)]));
    let body = Body::new(StreamBody::new(frames.map(Ok::<_, Infallible>)));
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
}

/// An answer without messages.
fn refused(code: Code, message: &str) -> Response {
    let mut headers = status(code, message);
    headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    headers.into_response()
}

fn status(code: Code, message: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(STATUS, HeaderValue::from(code as i32));
    // gRPC wants all but printable ASCII, and the percent sign, encoded.
    let plain = |byte: u8| (0x20..=0x7e).contains(&byte) && byte != b'%';
    let encoded: String =
        message.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect();
    if let Ok(message) = HeaderValue::from_str(&encoded) {
        headers.insert(MESSAGE, message);
    }
    headers
}
