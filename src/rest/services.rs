//! Services: how they are, and what they do now.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use alerting::Page;
use axum::{
    Router,
    extract::Path,
    http::{StatusCode, Uri},
    response::Response,
    routing::get,
};
use detect::{Alert, Anomaly, Level, UnixNanos};
use serde::Serialize;

use super::{
    Asked, Problem, Red, Shared,
    json::{AlertJson, AnomalyJson, List, json, level_name, rfc3339},
    params::Params,
    prometheus, red,
};
use crate::{pipeline::now, view::View};

/// Operations of one service that are answered at most, the busiest first.
const MAX_OPERATIONS: usize = 500;

pub(super) fn routes() -> Router<Arc<Shared>> {
    // Names hold a slash when they have a namespace.
    Router::new().route("/api/v1/services", get(list)).route("/api/v1/services/{*name}", get(one))
}

/// A service in one line.
#[derive(Clone, Debug)]
pub(crate) struct ServiceRow {
    pub(crate) name: Arc<str>,
    /// Event time; `None` for one that is known from alerts or from before the last start only.
    pub(crate) last_heard: Option<UnixNanos>,
    /// Whether its telemetry has stopped.
    pub(crate) silent: bool,
    pub(crate) level: Level,
    /// In [0, 1]; `None` before the first assessment.
    pub(crate) health: Option<f64>,
    pub(crate) red: Red,
    pub(crate) open_anomalies: usize,
    pub(crate) alerts: usize,
}

/// Every service that is known, without what it does: that is read for those that are shown.
fn known(view: &View) -> BTreeMap<Arc<str>, ServiceRow> {
    let row = |name: &Arc<str>| ServiceRow {
        name: Arc::clone(name),
        last_heard: None,
        silent: false,
        level: Level::FullService,
        health: None,
        red: Red::default(),
        open_anomalies: 0,
        alerts: 0,
    };
    let mut rows: BTreeMap<Arc<str>, ServiceRow> = BTreeMap::new();
    for (name, last_heard) in &view.services {
        rows.insert(Arc::clone(name), ServiceRow { last_heard: Some(*last_heard), ..row(name) });
    }
    for status in &view.levels {
        let Some(name) = &status.service else { continue };
        let row = rows.entry(Arc::clone(name)).or_insert_with(|| row(name));
        (row.level, row.silent) = (status.level, status.frozen);
        // Nothing is known about health before there is telemetry.
        row.health = view.event_time.map(|_| status.health);
    }
    for anomaly in &view.open_anomalies {
        if let Some(row) = rows.get_mut(&anomaly.service) {
            row.open_anomalies += 1;
        }
    }
    for alert in &view.alerts {
        if let Some(row) = alert.service().and_then(|name| rows.get_mut(name)) {
            row.alerts += 1;
        }
    }
    rows
}

/// The first `most` services in `order`, with what they do now; and how many there are in all.
pub(crate) fn service_rows<K: Ord>(
    view: &View,
    most: usize,
    order: impl Fn(&ServiceRow) -> K,
) -> (Vec<ServiceRow>, usize) {
    let mut rows: Vec<ServiceRow> = known(view).into_values().collect();
    let all = rows.len();
    rows.sort_by_key(order);
    rows.truncate(most);
    fill(view, &mut rows);
    (rows, all)
}

fn fill(view: &View, rows: &mut [ServiceRow]) {
    let wanted: BTreeSet<Arc<str>> = rows.iter().map(|row| Arc::clone(&row.name)).collect();
    let at = view.event_time.unwrap_or_else(now);
    let operations = red::operations(&view.snapshot, at, |service| wanted.contains(service));
    for row in rows {
        row.red = operations.get(&row.name).map(|of| red::total(of)).unwrap_or_default();
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceJson {
    service: String,
    last_heard: Option<String>,
    silent: bool,
    level: Level,
    level_name: &'static str,
    health: Option<f64>,
    calls_per_second: Option<f64>,
    error_ratio: Option<f64>,
    p95_seconds: Option<f64>,
    open_anomalies: usize,
    alerts: usize,
}

impl From<&ServiceRow> for ServiceJson {
    fn from(row: &ServiceRow) -> Self {
        Self {
            service: row.name.to_string(),
            last_heard: row.last_heard.map(rfc3339),
            silent: row.silent,
            level: row.level,
            level_name: level_name(row.level),
            health: row.health,
            calls_per_second: row.red.calls_per_second,
            error_ratio: row.red.error_ratio,
            p95_seconds: row.red.p95_seconds,
            open_anomalies: row.open_anomalies,
            alerts: row.alerts,
        }
    }
}

async fn list(asked: Asked, uri: Uri) -> Result<Response, Problem> {
    let mut params = Params::of(&uri);
    let in_range = |text: &str| text.parse().ok().filter(|limit| (1..=Page::MAX_LIMIT).contains(limit));
    let limit = params.read("limit", "1 to 1000", in_range).unwrap_or(Page::default().limit) as usize;
    let after = params.text("cursor");
    params.finish()?;
    let view = asked.view();
    let work = move || {
        let rows = known(&view).into_values().filter(|row| after.as_deref().is_none_or(|after| &*row.name > after));
        let mut rows: Vec<ServiceRow> = rows.take(limit + 1).collect();
        let more = rows.len() > limit;
        rows.truncate(limit);
        fill(&view, &mut rows);
        let next_cursor = rows.last().filter(|_| more).map(|row| row.name.to_string());
        List { items: rows.iter().map(ServiceJson::from).collect(), next_cursor }
    };
    Ok(json(StatusCode::OK, &asked.compute(work).await?))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DetailJson {
    #[serde(flatten)]
    service: ServiceJson,
    because: Vec<String>,
    operations: Vec<OperationJson>,
    /// Services that it calls, and that call it, as seen in spans of the last hour.
    calls: Vec<String>,
    called_by: Vec<String>,
    alerts_open: Vec<AlertJson>,
    anomalies_open: Vec<AnomalyJson>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OperationJson {
    name: String,
    kind: String,
    calls_per_second: Option<f64>,
    error_ratio: Option<f64>,
    p95_seconds: Option<f64>,
}

fn detail(view: &View, mut row: ServiceRow, flapping: &BTreeSet<String>) -> DetailJson {
    let at = view.event_time.unwrap_or_else(now);
    let mut operations = red::operations(&view.snapshot, at, |service| *service == *row.name);
    let mut operations = operations.remove(&row.name).unwrap_or_default();
    row.red = red::total(&operations);
    operations.truncate(MAX_OPERATIONS);
    let status = view.levels.iter().find(|l| l.service.as_ref() == Some(&row.name));
    let is_of = |alert: &&Alert| alert.service() == Some(&*row.name);
    let has = |anomaly: &&Anomaly| anomaly.service == row.name;
    let show = |operation: &red::Operation| OperationJson {
        name: operation.name.clone(),
        kind: operation.kind.clone(),
        calls_per_second: operation.red.calls_per_second,
        error_ratio: operation.red.error_ratio,
        p95_seconds: operation.red.p95_seconds,
    };
    let shown = |alert: &Alert| AlertJson::new(alert, prometheus::number(alert.value), flapping);
    DetailJson {
        service: ServiceJson::from(&row),
        because: status.map(|s| s.because.clone()).unwrap_or_default(),
        operations: operations.iter().map(show).collect(),
        calls: view.call_graph.callees(&row.name).map(ToString::to_string).collect(),
        called_by: view.call_graph.callers(&row.name).map(ToString::to_string).collect(),
        alerts_open: view.alerts.iter().filter(is_of).map(shown).collect(),
        anomalies_open: view.open_anomalies.iter().filter(has).map(AnomalyJson::from).collect(),
    }
}

async fn one(asked: Asked, Path(name): Path<String>, uri: Uri) -> Result<Response, Problem> {
    Params::of(&uri).finish()?;
    let view = asked.view();
    let wanted = name.clone();
    let flapping = asked.ledger(|ledger| ledger.flapping()).await?;
    let work = move || known(&view).remove(&*wanted).map(|row| detail(&view, row, &flapping));
    let found = asked.compute(work).await?;
    let found = found.ok_or_else(|| Problem::not_found("service", &name))?;
    Ok(json(StatusCode::OK, &found))
}
