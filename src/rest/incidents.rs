//! Incidents: listed, and one by one with their anomalies and alerts.

use std::{collections::BTreeSet, sync::Arc};

use alerting::{AnomalyState, Incident, IncidentFilter, Order, Page};
use axum::{
    Router,
    extract::Path,
    http::{StatusCode, Uri},
    response::Response,
    routing::get,
};
use detect::Origin;
use serde::Serialize;

use super::{
    Asked, Problem, Shared,
    json::{AlertJson, AnomalyJson, List, json, rfc3339},
    params::{Params, encoded},
    prometheus::number,
};

const STATES: [AnomalyState; 2] = [AnomalyState::Active, AnomalyState::Ended];

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/api/v1/incidents", get(list)).route("/api/v1/incidents/{id}", get(one))
}

/// An incident as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IncidentJson {
    id: String,
    seq: u64,
    state: &'static str,
    starts_at: String,
    ends_at: Option<String>,
    severity: &'static str,
    score: f64,
    services: Vec<String>,
    metrics: Vec<String>,
    anomaly_count: u64,
    origin: Option<Origin>,
    links: Links,
}

#[derive(Serialize)]
struct Links {
    #[serde(rename = "self")]
    itself: String,
}

/// The same with what belongs to it.
#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    incident: IncidentJson,
    anomalies: Vec<AnomalyJson>,
    alerts: Vec<AlertJson>,
}

impl From<&Incident> for IncidentJson {
    fn from(incident: &Incident) -> Self {
        Self {
            id: incident.id.clone(),
            seq: incident.seq,
            state: state(if incident.ends_at.is_none() { AnomalyState::Active } else { AnomalyState::Ended }),
            starts_at: rfc3339(incident.starts_at),
            ends_at: incident.ends_at.map(rfc3339),
            severity: incident.severity.as_str(),
            score: incident.score,
            services: incident.services.clone(),
            metrics: incident.metrics.clone(),
            anomaly_count: incident.anomalies,
            origin: incident.origin.clone(),
            links: Links { itself: format!("/api/v1/incidents/{}", encoded(&incident.id)) },
        }
    }
}

fn state(state: AnomalyState) -> &'static str {
    if state == AnomalyState::Active { "active" } else { "ended" }
}

async fn list(asked: Asked, uri: Uri) -> Result<Response, Problem> {
    let mut params = Params::of(&uri);
    let filter = IncidentFilter {
        service: params.text("service"),
        state: params.choice("state", &STATES, state),
        from: params.time("from"),
        to: params.time("to"),
    };
    let page = params.page(Order::Ascending);
    params.finish()?;
    let listed = asked.ledger(move |ledger| ledger.incidents(&filter, page)).await?;
    Ok(json(StatusCode::OK, &List::of(&listed, |item| IncidentJson::from(item))))
}

async fn one(asked: Asked, Path(id): Path<String>, uri: Uri) -> Result<Response, Problem> {
    Params::of(&uri).finish()?;
    let wanted = id.clone();
    let page = Page { order: Order::Ascending, limit: Page::MAX_LIMIT, after: None };
    let found = asked.ledger(move |ledger| {
        let Some(incident) = ledger.incident(&wanted)? else { return Ok(None) };
        Ok(Some((incident, ledger.anomalies_of(&wanted, page)?.items, ledger.flapping()?)))
    });
    let (incident, anomalies, flapping) = found.await?.ok_or_else(|| Problem::not_found("incident", &id))?;
    let members: BTreeSet<&str> = anomalies.iter().map(|a| a.id.as_str()).collect();
    let view = asked.view();
    let alerts = view.alerts.iter().filter(|alert| alert.anomalies.iter().any(|id| members.contains(id.as_str())));
    let whole = Whole {
        incident: IncidentJson::from(&incident),
        anomalies: anomalies.iter().map(AnomalyJson::from).collect(),
        alerts: alerts.map(|alert| AlertJson::new(alert, number(alert.value), &flapping)).collect(),
    };
    Ok(json(StatusCode::OK, &whole))
}
