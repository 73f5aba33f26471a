//! The service about itself: status, and the two questions of orchestrators.

use std::sync::Arc;

use alerting::DeliveryState;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
    routing::get,
};
use detect::UnixNanos;
use ingest::Tenant;
use proto::otlp::Signal;
use serde::Serialize;

use super::{
    Asked, Problem, Shared,
    json::{json, rfc3339},
    params::Params,
};
use crate::{pipeline::now, view::View};

/// How many of those who send most are shown.
const SOURCES: usize = 20;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/-/healthy", get(|| async { "ok\n" }))
        .route("/-/ready", get(ready))
}

/// Ready once the pipeline works: it has shown its first view.
async fn ready(State(shared): State<Arc<Shared>>) -> Result<&'static str, Problem> {
    if is_shown(&shared.api.faces.of(&Tenant::default()).view()) {
        Ok("ready\n")
    } else {
        Err(Problem::busy("the pipeline has not begun"))
    }
}

fn is_shown(view: &View) -> bool {
    view.at > UnixNanos(0)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusJson {
    version: &'static str,
    started_at: String,
    uptime_seconds: f64,
    /// Whose status it is: all but what was settled at the start is about this tenant only.
    tenant: String,
    ready: bool,
    listens: Listens,
    data_dir: String,
    external_url: String,
    receivers: Vec<String>,
    event_time: Option<String>,
    last_arrival: Option<String>,
    ingest: Vec<SignalJson>,
    window: WindowJson,
    detection: DetectionJson,
    rules: RulesJson,
    deliveries: DeliveriesJson,
    /// Who sends most to the OTLP doors. Addresses are of all tenants, so only the default one is told.
    sources: Vec<SourceJson>,
}

#[derive(Serialize)]
struct SourceJson {
    address: String,
    requests: f64,
    score: f64,
}

#[derive(Serialize)]
struct Listens {
    grpc: String,
    http: String,
    api: String,
}

#[derive(Serialize)]
struct SignalJson {
    signal: &'static str,
    accepted: u64,
    rejected: u64,
    bytes: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WindowJson {
    series: usize,
    bytes: usize,
    points: usize,
    spans: usize,
    logs: usize,
    histograms: usize,
    chunks_evicted_by_time: u64,
    chunks_evicted_by_bytes: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DetectionJson {
    warm_series: usize,
    warming_series: usize,
    points_judged: u64,
    points_late: u64,
    points_repeated: u64,
    points_not_finite: u64,
    anomalies_opened: u64,
    anomalies_open: usize,
    alert_transitions: u64,
    level_changes: u64,
    evaluations: u64,
    last_evaluation_seconds: f64,
    decisions_unrecorded: usize,
}

#[derive(Serialize)]
struct RulesJson {
    groups: usize,
    rules: usize,
    failures: Vec<FailureJson>,
}

#[derive(Serialize)]
struct FailureJson {
    rule: String,
    error: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeliveriesJson {
    pending: u64,
    failed: u64,
    delivered_since_start: u64,
    failed_attempts_since_start: u64,
    given_up_since_start: u64,
}

async fn status(asked: Asked, uri: Uri) -> Result<Response, Problem> {
    Params::of(&uri).finish()?;
    let count = |state| asked.ledger(move |ledger| ledger.delivery_count(state));
    let (pending, failed) = (count(DeliveryState::Pending).await?, count(DeliveryState::Failed).await?);
    let (view, info, delivery) = (asked.view(), asked.shared.api.info(), &asked.face.delivery);
    let taken = asked.shared.api.ingest.taken_of(&asked.face.tenant);
    let now = now();
    let status = StatusJson {
        version: info.start.version,
        started_at: rfc3339(info.start.started_at),
        uptime_seconds: now.since(info.start.started_at).as_secs_f64(),
        tenant: asked.face.tenant.to_string(),
        ready: is_shown(&asked.shared.api.faces.of(&Tenant::default()).view()),
        listens: Listens {
            grpc: info.start.grpc_address.to_string(),
            http: info.start.http_address.to_string(),
            api: info.start.api_address.to_string(),
        },
        data_dir: info.start.data_dir.display().to_string(),
        external_url: info.start.external_url.clone(),
        receivers: info.receivers.clone(),
        event_time: view.event_time.map(rfc3339),
        last_arrival: view.last_arrival.map(rfc3339),
        ingest: Signal::ALL.map(|signal| signal_json(&taken, signal)).into(),
        window: window_json(&view),
        detection: detection_json(&view),
        rules: RulesJson {
            groups: info.rules.len(),
            rules: info.rules.iter().map(|g| g.rules.len()).sum(),
            failures: failures(&view),
        },
        deliveries: DeliveriesJson {
            pending,
            failed,
            delivered_since_start: delivery.delivered(),
            failed_attempts_since_start: delivery.failed_attempts(),
            given_up_since_start: delivery.given_up(),
        },
        sources: sources(&asked),
    };
    Ok(json(StatusCode::OK, &status))
}

fn sources(asked: &Asked) -> Vec<SourceJson> {
    if asked.face.tenant != Tenant::default() {
        return Vec::new();
    }
    let heaviest = asked.shared.api.ingest.sources().heaviest(SOURCES).into_iter();
    let shown = |s: ingest::SourceScore| SourceJson {
        address: s.address.to_string(),
        requests: s.requests.round(),
        score: s.score,
    };
    heaviest.map(shown).collect()
}

fn signal_json(counters: &ingest::Taken, signal: Signal) -> SignalJson {
    SignalJson {
        signal: signal.as_str(),
        accepted: counters.accepted(signal),
        rejected: counters.rejected(signal),
        bytes: counters.bytes(signal),
    }
}

fn window_json(view: &View) -> WindowJson {
    let stats = view.counts.window;
    let [points, spans, logs, histograms] = stats.rows;
    WindowJson {
        series: stats.series,
        bytes: stats.bytes,
        points,
        spans,
        logs,
        histograms,
        chunks_evicted_by_time: stats.evicted_by_time,
        chunks_evicted_by_bytes: stats.evicted_by_bytes,
    }
}

fn detection_json(view: &View) -> DetectionJson {
    let counts = &view.counts;
    let [anomalies_opened, alert_transitions, level_changes] = counts.decisions;
    DetectionJson {
        warm_series: counts.warm_series,
        warming_series: counts.warming_series,
        points_judged: counts.judged,
        points_late: counts.passed.late,
        points_repeated: counts.passed.repeated,
        points_not_finite: counts.passed.not_finite,
        anomalies_opened,
        anomalies_open: view.open_anomalies.len(),
        alert_transitions,
        level_changes,
        evaluations: counts.evaluations,
        last_evaluation_seconds: std::time::Duration::from_nanos(counts.evaluation_nanos).as_secs_f64(),
        decisions_unrecorded: counts.unrecorded,
    }
}

fn failures(view: &View) -> Vec<FailureJson> {
    let failure = |(rule, error): &(String, String)| FailureJson { rule: rule.clone(), error: error.clone() };
    view.rule_failures.iter().map(failure).collect()
}
