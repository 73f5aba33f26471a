//! `POST /-/reload`, as Prometheus and Alertmanager have it: takes up the configuration, whole or not at all.

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::post,
};
use serde::Serialize;

use super::{
    Asked, Problem, Shared,
    json::{json, rfc3339},
    params::Params,
    pin::refuse_cross_site,
};
use crate::reload::ReloadError;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/-/reload", post(reload).put(reload))
}

/// What is in force now.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reloaded {
    reloaded_at: String,
    rules: usize,
    receivers: Vec<String>,
}

async fn reload(asked: Asked, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    refuse_cross_site(&headers, "reload the configuration")?;
    Params::of(&uri).finish()?;
    let api = &asked.shared.api;
    let reloader = api.reloader.clone().ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "this service was started without a configuration that could be read again")
    })?;
    // It goes on when the asker has gone away.
    let reloaded = tokio::spawn(async move { reloader.reload().await }).await;
    let reloaded = reloaded.map_err(|_| Problem::busy("the service is shutting down"))?;
    match reloaded {
        Ok(info) => {
            let rules = info.rules.iter().map(|group| group.rules.len()).sum();
            let reloaded_at = rfc3339(api.reloads.succeeded_at());
            Ok(json(StatusCode::OK, &Reloaded { reloaded_at, rules, receivers: info.receivers.clone() })
                .into_response())
        }
        Err(ReloadError::Faults(faults)) => Err(Problem::bad_configuration(faults)),
        Err(error @ ReloadError::Failed(_)) => Err(Problem::busy(&error.to_string())),
    }
}
