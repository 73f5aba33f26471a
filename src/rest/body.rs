//! Bodies of requests: small, and complete within a few seconds.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, StatusCode, header},
};

use super::problem::Problem;

/// Greatest body that is read.
pub(crate) const MAX_BODY: usize = 64 << 10;
/// How long a client may take to send it.
const LONGEST: Duration = Duration::from_secs(10);

/// Reads the whole body.
pub(crate) async fn read(body: Body) -> Result<Bytes, Problem> {
    read_up_to(body, MAX_BODY).await
}

/// Reads the whole body, of at most `limit` bytes.
async fn read_up_to(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let read = axum::body::to_bytes(body, limit);
    match tokio::time::timeout(LONGEST, read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => {
            let detail = format!("the body could not be read, or is larger than {limit} bytes");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail))
        }
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive within 10 s")),
    }
}

/// Reads the whole body of a request, of at most `limit` bytes, which has to say that it is JSON.
pub(crate) async fn read_json(request: Request, limit: usize) -> Result<Bytes, Problem> {
    if media_type(request.headers()) != "application/json" {
        let detail = "the body must have the Content-Type application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    read_up_to(request.into_body(), limit).await
}

/// The media type of the body in lower case, without its parameters; empty when none is given.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
