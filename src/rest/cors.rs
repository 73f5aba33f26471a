//! Which pages of other origins may follow the level: by the Fetch standard's CORS protocol, for what only reads.
//!
//! A browser asks before it sends JSON or a credential to another origin, and that question carries no credential:
//! it is answered before anybody is asked who he is. What is not about the level is no business of other origins,
//! nor is setting a pin.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::Shared;

/// What a page may send along, beyond what it always may.
const HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, if-none-match, last-event-id, x-api-key, x-scope-orgid");
/// What of an answer a page may read, beyond what it always may.
const EXPOSED: HeaderValue = HeaderValue::from_static("etag, retry-after");
/// Seconds for which a browser need not ask again.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The origins whose pages may read the level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Origins {
    /// None; the default.
    #[default]
    None,
    /// All.
    Any,
    /// These, as browsers write them: scheme, host, and port unless it is the scheme's own.
    Only(Vec<String>),
}

impl Origins {
    /// What to answer to a page of `origin`; `None` when it may not read.
    fn allow(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match self {
            Self::None => None,
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::Only(origins) => origins.iter().any(|o| o.as_bytes() == origin.as_bytes()).then(|| origin.clone()),
        }
    }
}

/// The methods that pages of other origins may use under `path`.
fn methods(path: &str) -> Option<&'static str> {
    match path {
        "/api/v1/degradation" | "/api/v1/degradation/stream" | "/api/v1/degradation/history" | "/ofrep/v1/events" => {
            Some("GET")
        }
        path if path == "/ofrep/v1/evaluate/flags" || path.starts_with("/ofrep/v1/evaluate/flags/") => Some("POST"),
        _ => None,
    }
}

/// Answers browsers that ask, and tells them of other answers who may read them.
pub(super) async fn cors(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let info = shared.api.info();
    let origins = &info.origins;
    let Some(methods) = methods(request.uri().path()).filter(|_| *origins != Origins::None) else {
        return next.run(request).await;
    };
    let allowed = request.headers().get(header::ORIGIN).and_then(|origin| origins.allow(origin));
    let asks =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match (asks, &allowed) {
        (true, Some(_)) => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    if let Some(allowed) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        if asks {
            may(headers, methods);
        }
    }
    // The answer depends on who asks, where not everybody may.
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    response
}

fn may(headers: &mut HeaderMap, methods: &'static str) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
}
