//! Anomalies: listed, one by one, and with the points around them.
//!
//! The list is ascending by `seq` unless asked otherwise, and a cursor is the `seq` of the last item
//! seen: who wants to follow asks again with `cursor=<last seq>` and gets what was opened since.

use std::sync::Arc;

use alerting::{AnomalyFilter, AnomalyState, Order};
use axum::{
    Router,
    extract::Path,
    http::{StatusCode, Uri},
    response::Response,
    routing::get,
};
use detect::{Anomaly, DetectorKind, Pattern, Severity};

use super::{
    Asked, Problem, Shared,
    json::{AnomalyJson, List, json},
    params::Params,
    series::chart,
};

/// Points of a chart that are answered at most; the extremes of what is left out are kept.
const CHART_POINTS: usize = 2_000;

const SEVERITIES: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Critical];
const STATES: [AnomalyState; 2] = [AnomalyState::Active, AnomalyState::Ended];

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/anomalies", get(list))
        .route("/api/v1/anomalies/{id}", get(one))
        .route("/api/v1/anomalies/{id}/chart", get(points))
}

async fn list(asked: Asked, uri: Uri) -> Result<Response, Problem> {
    let mut params = Params::of(&uri);
    let filter = AnomalyFilter {
        service: params.text("service"),
        metric: params.text("metric"),
        detector: params.choice("detector", &DetectorKind::ALL, DetectorKind::as_str),
        severity: params.choice("severity", &SEVERITIES, Severity::as_str),
        pattern: params.choice("pattern", &Pattern::ALL, Pattern::as_str),
        state: params.choice("state", &STATES, |s| if s == AnomalyState::Active { "active" } else { "ended" }),
        from: params.time("from"),
        to: params.time("to"),
        min_score: params.read("minScore", "a finite number", |t| t.parse().ok().filter(|n: &f64| n.is_finite())),
    };
    let page = params.page(Order::Ascending);
    params.finish()?;
    let listed = asked.ledger(move |ledger| ledger.anomalies(&filter, page)).await?;
    Ok(json(StatusCode::OK, &List::of(&listed, |item| AnomalyJson::from(item))))
}

/// The anomaly with this id.
pub(crate) async fn find(asked: &Asked, id: String) -> Result<Anomaly, Problem> {
    let wanted = id.clone();
    let found = asked.ledger(move |ledger| ledger.anomaly(&wanted)).await?;
    found.ok_or_else(|| Problem::not_found("anomaly", &id))
}

async fn one(asked: Asked, Path(id): Path<String>, uri: Uri) -> Result<Response, Problem> {
    Params::of(&uri).finish()?;
    Ok(json(StatusCode::OK, &AnomalyJson::from(&find(&asked, id).await?)))
}

async fn points(asked: Asked, Path(id): Path<String>, uri: Uri) -> Result<Response, Problem> {
    let mut params = Params::of(&uri);
    let (from, to) = (params.time("from"), params.time("to"));
    params.finish()?;
    let anomaly = find(&asked, id).await?;
    let view = asked.view();
    let chart = asked.compute(move || chart(&anomaly, &view, from, to, CHART_POINTS)).await?;
    Ok(json(StatusCode::OK, &chart))
}
