//! The pages for people: rendered here, without any script, so that they work wherever a browser is.
//!
//! Whatever comes from telemetry goes through maud, which escapes it; styles and headers forbid
//! everything that is not ours.

mod anomaly;
mod chart;
mod format;
mod home;
mod intake;
mod markdown;
mod page;
mod runbooks;

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

pub(crate) use self::{
    chart::ticks,
    format::{moment, number, span, value},
    intake::IntakeRate,
    page::{badge, cell, number_cell, table},
};
use crate::rest::{Problem, Shared};

/// How all pages look.
pub(crate) const STYLE: &str = include_str!("ui/style.css");

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(home::home))
        .route("/anomalies/{id}", get(anomaly::anomaly))
        .route("/runbooks", get(runbooks::list))
        .route("/runbooks/{name}", get(runbooks::one))
        .route("/style.css", get(style))
}

/// What is said about a path that does not exist.
pub(crate) fn not_found() -> Response {
    page::problem(&Problem::new(StatusCode::NOT_FOUND, "There is no page under this address."))
}

async fn style() -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("max-age=300")),
    ];
    (headers, STYLE).into_response()
}
