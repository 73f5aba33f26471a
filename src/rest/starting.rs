//! What the interface answers until the service has taken up what it remembers: that it lives, and is not ready.
//!
//! A start reads what came since the last checkpoint, which takes seconds where that was much. Who asks meanwhile, an
//! orchestrator above all, is answered at once.

use std::sync::{Arc, OnceLock};

use axum::{
    Router,
    extract::Request,
    middleware,
    response::{IntoResponse, Response},
};
use tower_service::Service as _;

use super::{Problem, with_safe_headers};

/// The place of the interface, which is empty at first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<OnceLock<Router>>);

impl Gate {
    /// What is to be served from the beginning.
    pub(crate) fn router(&self) -> Router {
        let starting = Router::new().fallback(starting).layer(middleware::map_response(with_safe_headers));
        let this = self.clone();
        Router::new().fallback(move |request: Request| {
            let router = this.0.get().unwrap_or(&starting).clone();
            pass(router, request)
        })
    }

    /// Lets `interface` answer from now on; the first one counts.
    pub(crate) fn open(&self, interface: Router) {
        let _ = self.0.set(interface);
    }
}

async fn pass(mut router: Router, request: Request) -> Response {
    let Ok(response) = router.call(request).await;
    response
}

async fn starting(request: Request) -> Response {
    match request.uri().path() {
        "/healthz" | "/-/healthy" => "ok\n".into_response(),
        _ => Problem::busy("the service is starting: it reads what it has written down").into_response(),
    }
}
