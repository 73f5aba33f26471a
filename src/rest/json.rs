//! How decisions look outside: lowerCamelCase, times as RFC 3339 in UTC with milliseconds, numbers
//! that are not finite as `null`.

use std::{collections::BTreeSet, sync::Arc};

use alerting::{Delivery, Listed};
use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use chrono::{DateTime, SecondsFormat};
use detect::{Alert, Anomaly, Labels, Level, LevelChange, Pin, UnixNanos};
use serde::Serialize;

use super::params::encoded;

/// A JSON answer.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    let body = serde_json::to_vec(value).expect("plain data under fixed names always serialises");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// RFC 3339 in UTC, cut to milliseconds.
pub(crate) fn rfc3339(time: UnixNanos) -> String {
    DateTime::from_timestamp_nanos(time.0).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The name of a level.
pub(crate) fn level_name(level: Level) -> &'static str {
    level.as_str()
}

/// One page of a list, as every list is answered.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct List<T> {
    pub(crate) items: Vec<T>,
    /// What to ask for next; `null` when this was the last page for now.
    pub(crate) next_cursor: Option<String>,
}

impl<T> List<T> {
    /// A page of the ledger, each item as `show` makes it.
    pub(crate) fn of<S>(listed: &Listed<S>, show: impl Fn(&S) -> T) -> Self {
        Self { items: listed.items.iter().map(show).collect(), next_cursor: listed.next.map(|c| c.to_string()) }
    }
}

/// An anomaly.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AnomalyJson {
    id: String,
    seq: u64,
    detector: &'static str,
    service: String,
    metric: String,
    labels: Labels,
    starts_at: String,
    ends_at: Option<String>,
    emitted_at: String,
    direction: detect::Direction,
    pattern: &'static str,
    severity: &'static str,
    score: f64,
    observed: f64,
    expected: f64,
    lower: f64,
    upper: f64,
    z: f64,
    threshold: f64,
    scale: f64,
    contributors: Vec<detect::Contributor>,
    attributes: Vec<detect::AttributeShare>,
    sample_count: u64,
    baseline_span_seconds: f64,
    points: u64,
    exemplars: Vec<String>,
    incident_id: Option<String>,
    origin: Option<Box<detect::Origin>>,
    runbook_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forecast: Option<ForecastJson>,
    explanation: String,
    links: AnomalyLinks,
}

/// When a limit is reached. Times are in seconds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ForecastJson {
    limit: f64,
    horizon_seconds: f64,
    probability: f64,
    time_to_limit_seconds: TimeToLimit,
    pace_per_second: f64,
}

/// By the probability of having reached it; null where that is too far ahead to be said.
#[derive(Serialize)]
struct TimeToLimit {
    p10: Option<f64>,
    p50: Option<f64>,
    p90: Option<f64>,
}

impl From<&detect::Forecast> for ForecastJson {
    fn from(f: &detect::Forecast) -> Self {
        let seconds = |time: Option<std::time::Duration>| time.map(|t| t.as_secs_f64());
        Self {
            limit: f.limit,
            horizon_seconds: f.horizon.as_secs_f64(),
            probability: f.probability,
            time_to_limit_seconds: TimeToLimit { p10: seconds(f.p10), p50: seconds(f.p50), p90: seconds(f.p90) },
            pace_per_second: f.pace,
        }
    }
}

/// Paths on this service.
#[derive(Serialize)]
struct AnomalyLinks {
    #[serde(rename = "self")]
    itself: String,
    chart: String,
    page: String,
}

impl From<&Anomaly> for AnomalyJson {
    fn from(a: &Anomaly) -> Self {
        let id = encoded(&a.id);
        Self {
            id: a.id.clone(),
            seq: a.seq,
            detector: a.detector.as_str(),
            service: a.service.to_string(),
            metric: a.metric.to_string(),
            labels: a.labels.clone(),
            starts_at: rfc3339(a.starts_at),
            ends_at: a.ends_at.map(rfc3339),
            emitted_at: rfc3339(a.emitted_at),
            direction: a.direction,
            pattern: a.pattern.as_str(),
            severity: a.severity.as_str(),
            score: a.score,
            observed: a.observed,
            expected: a.expected,
            lower: a.lower,
            upper: a.upper,
            z: a.z,
            threshold: a.threshold,
            scale: a.scale,
            contributors: a.contributors.clone(),
            attributes: a.attributes.clone(),
            sample_count: a.sample_count,
            baseline_span_seconds: a.baseline_span.as_secs_f64(),
            points: a.points,
            exemplars: a.exemplars.clone(),
            incident_id: a.incident_id.clone(),
            origin: a.origin.clone(),
            runbook_url: a.runbook_url.clone(),
            forecast: a.forecast.as_deref().map(ForecastJson::from),
            explanation: a.explanation.clone(),
            links: AnomalyLinks {
                itself: format!("/api/v1/anomalies/{id}"),
                chart: format!("/api/v1/anomalies/{id}/chart"),
                page: format!("/anomalies/{id}"),
            },
        }
    }
}

/// An alert among Prometheus's, with fields of our own beside them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AlertJson {
    labels: Labels,
    annotations: Labels,
    /// `pending` or `firing`: what readers of Prometheus know. A stale alert is firing.
    state: &'static str,
    active_at: String,
    value: String,
    /// Firing without news: its input is silent.
    stale: bool,
    /// Beginning and ceasing to fire again and again: receivers were told once that it does.
    flapping: bool,
    episode: String,
    fingerprint: String,
    /// When it began to fire.
    starts_at: Option<String>,
    last_true_at: String,
    service: Option<String>,
    source: String,
    anomalies: Vec<String>,
    attributes: Vec<detect::AttributeShare>,
    dependents: Vec<Arc<str>>,
    argued_level: Level,
}

impl AlertJson {
    /// `value` is the alert's value as Prometheus writes it, `flapping` the fingerprints of those that flap.
    pub(crate) fn new(alert: &Alert, value: String, flapping: &BTreeSet<String>) -> Self {
        let firing = alert.state.is_firing();
        Self {
            labels: alert.labels.clone(),
            annotations: alert.annotations.clone(),
            state: if firing { "firing" } else { "pending" },
            active_at: rfc3339(alert.active_at),
            value,
            stale: alert.state == detect::AlertState::Stale,
            flapping: flapping.contains(&alert.fingerprint),
            episode: alert.episode.clone(),
            fingerprint: alert.fingerprint.clone(),
            starts_at: alert.fired_at.map(rfc3339),
            last_true_at: rfc3339(alert.last_true_at),
            service: alert.service().map(str::to_owned),
            source: alert.source.clone(),
            anomalies: alert.anomalies.clone(),
            attributes: alert.attributes.clone(),
            dependents: alert.dependents.clone(),
            argued_level: alert.argued_level,
        }
    }
}

/// A pin.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PinJson {
    level: Level,
    name: &'static str,
    author: String,
    reason: String,
    expires_at: String,
}

impl From<&Pin> for PinJson {
    fn from(pin: &Pin) -> Self {
        Self {
            level: pin.level,
            name: level_name(pin.level),
            author: pin.author.clone(),
            reason: pin.reason.clone(),
            expires_at: rfc3339(pin.expires_at),
        }
    }
}

/// A change of level.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LevelChangeJson {
    service: Option<String>,
    from: Level,
    from_name: &'static str,
    to: Level,
    to_name: &'static str,
    health: f64,
    at: String,
    because: Vec<String>,
}

impl From<&LevelChange> for LevelChangeJson {
    fn from(change: &LevelChange) -> Self {
        Self {
            service: change.service.as_deref().map(str::to_owned),
            from: change.from,
            from_name: level_name(change.from),
            to: change.to,
            to_name: level_name(change.to),
            health: change.health,
            at: rfc3339(change.at),
            because: change.because.clone(),
        }
    }
}

/// A notification and how its delivery goes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryJson {
    id: String,
    receiver: String,
    integration: String,
    stands_in_for: Option<String>,
    episode: String,
    announced: String,
    state: &'static str,
    attempts: u32,
    created_at: String,
    next_attempt_at: Option<String>,
    last_attempt_at: Option<String>,
    finished_at: Option<String>,
    last_status: Option<u16>,
    last_error: Option<String>,
    told_by: Option<String>,
}

impl From<&Delivery> for DeliveryJson {
    fn from(d: &Delivery) -> Self {
        Self {
            id: d.id.clone(),
            receiver: d.receiver.clone(),
            integration: d.integration.clone(),
            stands_in_for: d.stands_in_for.clone(),
            episode: d.episode.clone(),
            announced: d.announced.clone(),
            state: d.state.as_str(),
            attempts: d.attempts,
            created_at: rfc3339(d.created_at),
            next_attempt_at: d.next_attempt_at.map(rfc3339),
            last_attempt_at: d.last_attempt_at.map(rfc3339),
            finished_at: d.finished_at.map(rfc3339),
            last_status: d.last_status,
            last_error: d.last_error.clone(),
            told_by: d.told_by.clone(),
        }
    }
}
