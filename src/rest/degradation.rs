//! The level: what it is, why, what it means, and how it came to be.

use std::sync::Arc;

use alerting::{LevelFilter, Order};
use axum::{
    Router,
    http::{StatusCode, Uri},
    response::Response,
    routing::{get, put},
};
use detect::{Level, LevelChange, LevelStatus};
use serde::Serialize;

use super::{
    Asked, Problem, Shared,
    json::{LevelChangeJson, List, PinJson, json, level_name, rfc3339},
    params::Params,
    pin, stream,
};
use crate::view::View;

/// Services that the level of everything lists at most, the worst first.
const MAX_SERVICES: usize = 200;
/// Why the level is what it is before anything is known.
const NO_NEWS: &str = "nothing is known yet: no telemetry has arrived since the start";

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/degradation", get(current))
        .route("/api/v1/degradation/history", get(history))
        .route("/api/v1/degradation/stream", get(stream::stream))
        .route("/api/v1/degradation/pin", put(pin::set).delete(pin::clear))
}

/// Features that some level turns off, in the order in which they go.
pub(super) const ALL_FEATURES: [&str; 6] =
    ["recommendations", "analytics", "notifications", "real-time-pricing", "file-upload", "writes"];

/// Features that are off at `level` unless somebody has decided otherwise.
pub(crate) fn disabled_features(level: Level) -> &'static [&'static str] {
    match level {
        Level::FullService => &[],
        Level::NonCriticalOff => &ALL_FEATURES[..3],
        Level::CacheOnly => &ALL_FEATURES[..4],
        Level::ReadOnly | Level::EmergencyMode => &ALL_FEATURES,
    }
}

/// At the last level everything is off but these.
pub(super) const LAST_FEATURES: [&str; 2] = ["core-quote-view", "emergency-contact"];

/// The level of a scope, as it is answered and streamed.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LevelJson {
    pub(super) service: Option<Arc<str>>,
    pub(super) level: Level,
    pub(super) name: &'static str,
    /// `null` before anything is known.
    pub(super) health: Option<f64>,
    pub(super) since: Option<String>,
    pub(super) frozen: bool,
    pub(super) pin: Option<Arc<PinJson>>,
    pub(super) because: Vec<String>,
    pub(super) disabled_features: &'static [&'static str],
    /// At the last level: all features but these are off, known or not. `null` below it.
    pub(super) only_features: Option<[&'static str; 2]>,
    /// Of the level of everything: its services, the worst first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) services: Option<Vec<ServiceLevel>>,
    /// Of the level of everything: how many more services there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) services_omitted: Option<usize>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceLevel {
    service: Arc<str>,
    level: Level,
    name: &'static str,
    health: f64,
    frozen: bool,
}

impl LevelJson {
    /// The level of `service`, or of everything; `None` for a service that is not known.
    pub(super) fn of(view: &View, service: Option<&str>) -> Option<Self> {
        let found = view.level(service);
        let mut level = match (found, service) {
            (Some(status), _) => Self::from(status),
            (None, None) => Self::unknown(None),
            (None, Some(name)) => {
                let (known, _) = view.services.iter().find(|(known, _)| **known == *name)?;
                Self::unknown(Some(Arc::clone(known)))
            }
        };
        if view.event_time.is_none() && found.is_some() {
            level.health = None;
            level.frozen = true;
            level.because.push(NO_NEWS.to_owned());
        }
        if service.is_none() {
            let (services, omitted) = services(view);
            (level.services, level.services_omitted) = (Some(services), Some(omitted));
        }
        Some(level)
    }

    fn unknown(service: Option<Arc<str>>) -> Self {
        Self {
            service,
            level: Level::FullService,
            name: "",
            health: None,
            since: None,
            frozen: true,
            pin: None,
            because: vec![NO_NEWS.to_owned()],
            disabled_features: &[],
            only_features: None,
            services: None,
            services_omitted: None,
        }
        .at(Level::FullService)
    }

    /// The same after `change`.
    pub(super) fn changed(self, change: &LevelChange) -> Self {
        let since = Some(rfc3339(change.at));
        let health = self.health.map(|_| change.health);
        Self { health, since, because: change.because.clone(), ..self }.at(change.to)
    }

    /// The same at `level`.
    fn at(self, level: Level) -> Self {
        Self {
            level,
            name: level_name(level),
            disabled_features: disabled_features(level),
            only_features: (level == Level::EmergencyMode).then_some(LAST_FEATURES),
            ..self
        }
    }
}

impl From<&LevelStatus> for LevelJson {
    fn from(status: &LevelStatus) -> Self {
        Self {
            service: status.service.clone(),
            health: Some(status.health),
            since: status.since.map(rfc3339),
            frozen: status.frozen,
            pin: status.pin.as_ref().map(|pin| Arc::new(PinJson::from(pin))),
            because: status.because.clone(),
            ..Self::unknown(None)
        }
        .at(status.level)
    }
}

fn services(view: &View) -> (Vec<ServiceLevel>, usize) {
    let mut statuses: Vec<(&Arc<str>, &LevelStatus)> =
        view.levels.iter().filter_map(|status| Some((status.service.as_ref()?, status))).collect();
    statuses.sort_by(|(_, a), (_, b)| b.level.cmp(&a.level).then(a.health.total_cmp(&b.health)));
    let omitted = statuses.len().saturating_sub(MAX_SERVICES);
    let show = |(service, status): &(&Arc<str>, &LevelStatus)| ServiceLevel {
        service: Arc::clone(service),
        level: status.level,
        name: level_name(status.level),
        health: status.health,
        frozen: status.frozen,
    };
    (statuses.iter().take(MAX_SERVICES).map(show).collect(), omitted)
}

async fn current(asked: Asked, uri: Uri) -> Result<Response, Problem> {
    let mut params = Params::of(&uri);
    let service = params.text("service");
    params.finish()?;
    let level = LevelJson::of(&asked.view(), service.as_deref());
    let level = level.ok_or_else(|| unknown_service(service.as_deref()))?;
    Ok(json(StatusCode::OK, &level))
}

pub(super) fn unknown_service(name: Option<&str>) -> Problem {
    Problem::not_found("service", name.unwrap_or_default())
}

/// Every change, the newest first. `scope=all` leaves only the level of everything.
async fn history(asked: Asked, uri: Uri) -> Result<Response, Problem> {
    let mut params = Params::of(&uri);
    let service = params.text("service").map(Some);
    let everything = params.choice("scope", &["all"], |word| word).map(|_| None);
    let filter = LevelFilter { service: service.or(everything), from: params.time("from"), to: params.time("to") };
    let page = params.page(Order::Descending);
    params.finish()?;
    let listed = asked.ledger(move |ledger| ledger.level_history(&filter, page)).await?;
    Ok(json(StatusCode::OK, &List::of(&listed, |item| LevelChangeJson::from(item))))
}
