//! The layer: what it says on answers, and what it refuses.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Followed, LEVELS};

const LEVEL: HeaderName = HeaderName::from_static("x-degradation-level");
const STATUS: HeaderName = HeaderName::from_static("x-service-status");
/// From here on writes are refused.
const READ_ONLY: u8 = 3;
/// From here on everything is refused that is not kept.
const EMERGENCY: u8 = 4;

/// What goes on while the level turns things off. By default nothing is kept.
#[derive(Clone, Debug)]
pub struct Policy {
    kept: Vec<(String, bool)>,
    retry_after: HeaderValue,
}

impl Default for Policy {
    fn default() -> Self {
        Self { kept: Vec::new(), retry_after: HeaderValue::from_static("30") }
    }
}

impl Policy {
    /// Keeps reads of `path` and of what is below it, at every level.
    #[must_use]
    pub fn keep(mut self, path: &str) -> Self {
        self.kept.push((path.trim_end_matches('/').to_owned(), false));
        self
    }

    /// Keeps reads and writes of `path` and of what is below it, at every level.
    #[must_use]
    pub fn keep_writes(mut self, path: &str) -> Self {
        self.kept.push((path.trim_end_matches('/').to_owned(), true));
        self
    }

    /// When those who are refused may come again, in whole seconds. Default 30 s.
    #[must_use]
    pub fn retry_after(mut self, time: Duration) -> Self {
        self.retry_after = time.as_secs().into();
        self
    }

    /// Whether a request goes on at `level`.
    #[must_use]
    pub fn allows(&self, level: u8, method: &Method, path: &str) -> bool {
        let writes = !method.is_safe();
        if level < READ_ONLY || (level < EMERGENCY && !writes) {
            return true;
        }
        let is_below =
            |kept: &str| path.strip_prefix(kept).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.kept.iter().any(|(kept, with_writes)| (*with_writes || !writes) && is_below(kept))
    }

    fn refusal<B: From<String>>(&self, level: u8) -> Response<B> {
        let what = if level < EMERGENCY { "writes are refused" } else { "only what is essential is served" };
        let name = name(level);
        let body = serde_json::json!({
            "type": "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
            "title": "Temporary Reduced Capacity",
            "status": 503,
            "detail": format!("degradation level {level} ({name}): {what} for now"),
            "violated-policies": ["degradation-level"],
        });
        let mut response = Response::new(B::from(body.to_string()));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::RETRY_AFTER, self.retry_after.clone());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        told(response, level)
    }
}

fn name(level: u8) -> &'static str {
    LEVELS.get(usize::from(level)).copied().unwrap_or(LEVELS[4])
}

/// The answer with the level on it.
fn told<B>(mut response: Response<B>, level: u8) -> Response<B> {
    const DIGITS: [&str; 5] = ["0", "1", "2", "3", "4"];
    let digit = DIGITS.get(usize::from(level)).copied().unwrap_or(DIGITS[4]);
    response.headers_mut().insert(LEVEL, HeaderValue::from_static(digit));
    response.headers_mut().insert(STATUS, HeaderValue::from_static(name(level)));
    response
}

/// Puts [`Degradation`] around services.
#[derive(Clone, Debug)]
pub struct DegradationLayer {
    followed: Followed,
    policy: Arc<Policy>,
}

impl DegradationLayer {
    /// Of the level that is followed, with what goes on at high levels.
    #[must_use]
    pub fn new(followed: Followed, policy: Policy) -> Self {
        Self { followed, policy: Arc::new(policy) }
    }
}

impl<S> Layer<S> for DegradationLayer {
    type Service = Degradation<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Degradation { inner, followed: self.followed.clone(), policy: Arc::clone(&self.policy) }
    }
}

/// A service that follows the level: each answer says the level that held when its request came, in
/// `X-Degradation-Level` (a digit) and `X-Service-Status` (its name); what is refused is answered with 503,
/// `Retry-After` and `application/problem+json`.
#[derive(Clone, Debug)]
pub struct Degradation<S> {
    inner: S,
    followed: Followed,
    policy: Arc<Policy>,
}

impl<S, B, R> Service<Request<B>> for Degradation<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<String>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = DegradationFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let level = self.followed.level();
        if self.policy.allows(level, request.method(), request.uri().path()) {
            return DegradationFuture::Passed { inner: self.inner.call(request), level };
        }
        DegradationFuture::Refused { response: Some(self.policy.refusal(level)) }
    }
}

pin_project! {
    /// The answer to come.
    #[project = Projected]
    #[allow(missing_docs, reason = "its fields are for the service alone")]
    pub enum DegradationFuture<F, R> {
        /// From the service behind.
        Passed { #[pin] inner: F, level: u8 },
        /// At once.
        Refused { response: Option<Response<R>> },
    }
}

impl<F, R> fmt::Debug for DegradationFuture<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DegradationFuture").finish_non_exhaustive()
    }
}

impl<F, R, E> Future for DegradationFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projected::Passed { inner, level } => Poll::Ready(Ok(told(ready!(inner.poll(cx))?, *level))),
            Projected::Refused { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                // Polled again after it was ready, which nobody may expect anything of.
                None => Poll::Pending,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_end_at_three_and_all_but_what_is_kept_at_four() {
        let policy = Policy::default().keep("/quotes/").keep_writes("/emergency");
        let check = |method: &Method, path: &str, wanted: [u8; 5]| {
            let allowed = [0, 1, 2, 3, 4].map(|level| u8::from(policy.allows(level, method, path)));
            assert_eq!(allowed, wanted, "{method} {path}");
        };
        check(&Method::GET, "/orders", [1, 1, 1, 1, 0]);
        check(&Method::POST, "/orders", [1, 1, 1, 0, 0]);
        check(&Method::DELETE, "/quotes/1", [1, 1, 1, 0, 0]);
        check(&Method::GET, "/quotes", [1, 1, 1, 1, 1]);
        check(&Method::HEAD, "/quotes/1", [1, 1, 1, 1, 1]);
        check(&Method::GET, "/quotesx", [1, 1, 1, 1, 0]);
        check(&Method::POST, "/emergency/call", [1, 1, 1, 1, 1]);
        check(&Method::OPTIONS, "/orders", [1, 1, 1, 1, 0]);
    }
}
