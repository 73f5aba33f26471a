//! The level as feature flags, by the OpenFeature Remote Evaluation Protocol (OFREP 0.3), so that any
//! application follows it with the OpenFeature provider of its language and no client of ours.
//!
//! `degradation-level` is a number whose variant is the level's name, `degradation-mode` that name, and each
//! feature that levels turn off is a boolean. A context that names a service is answered with that service's
//! level; everybody else with the level of everything: an application that is not known yet follows what holds
//! for all, it is not refused. Metadata holds nothing that changes between two changes of the level, so that an
//! entity tag lasts.

use std::{borrow::Cow, sync::Arc};

use axum::{
    Router,
    extract::{Path, Request},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use detect::{Level, LevelStatus};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    Asked, Link, Problem, Shared, body,
    degradation::{ALL_FEATURES, LAST_FEATURES, disabled_features},
    json::{json as answer, level_name, rfc3339},
    params::{Params, encoded},
};
use crate::view::View;

mod events;
mod quota;

pub(super) use events::{Refetch, refetch};
pub(super) use quota::Quota;

/// Where [`events::stream`] is served.
const EVENTS: &str = "/ofrep/v1/events";
/// Seconds after which a page in the background may close its stream.
const INACTIVITY: u32 = 120;
const LEVEL: &str = "degradation-level";
const MODE: &str = "degradation-mode";

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/ofrep/v1/evaluate/flags", post(bulk))
        .route("/ofrep/v1/evaluate/flags/{key}", post(single))
        .route(EVENTS, get(events::stream))
}

/// Why a flag is not evaluated, as the protocol says it.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Refusal {
    #[serde(skip)]
    status: StatusCode,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    error_code: &'static str,
    error_details: String,
    /// Seconds after which the client may come again.
    #[serde(skip)]
    retry_after: Option<u64>,
}

impl Refusal {
    fn new(status: StatusCode, error_code: &'static str, error_details: impl Into<String>) -> Self {
        Self { status, key: None, error_code, error_details: error_details.into(), retry_after: None }
    }

    fn invalid_context(details: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_CONTEXT", details)
    }

    fn of(self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::new(problem.status, "GENERAL", problem.detail)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = answer(self.status, &self);
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// One flag with its value.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Flag {
    key: &'static str,
    value: Value,
    reason: &'static str,
    variant: &'static str,
    /// The same for all flags of an answer.
    metadata: Arc<Map<String, Value>>,
}

/// Whom the level is for: a service that has one, or everything.
#[derive(Clone, Debug, Default, PartialEq)]
struct Scope(Option<Arc<str>>);

impl Scope {
    /// The service that `body`, an OFREP request or nothing, speaks for.
    fn of(body: &[u8], view: &View) -> Result<Self, Refusal> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let parsed: Value = serde_json::from_slice(body).map_err(|error| {
            Refusal::new(StatusCode::BAD_REQUEST, "PARSE_ERROR", format!("the body is not JSON: {error}"))
        })?;
        let Value::Object(fields) = parsed else {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "PARSE_ERROR", "the body is not a JSON object"));
        };
        let context = match fields.get("context") {
            None | Some(Value::Null) => return Ok(Self::default()),
            Some(Value::Object(context)) => context,
            Some(_) => return Err(Refusal::invalid_context("context: expected an object")),
        };
        let Some(name) = service_part(context, "name")? else { return Ok(Self::default()) };
        let namespace = service_part(context, "namespace")?;
        Ok(Self::named(view, &name, namespace.as_deref()))
    }

    /// The known service of this name; everything when there is none, or several.
    fn named(view: &View, name: &str, namespace: Option<&str>) -> Self {
        let full = namespace.map_or(Cow::Borrowed(name), |namespace| Cow::Owned(format!("{namespace}/{name}")));
        let services = || view.levels.iter().filter_map(|status| status.service.as_ref());
        if let Some(known) = services().find(|known| ***known == *full) {
            return Self(Some(Arc::clone(known)));
        }
        let mut ending = services().filter(|known| known.rsplit_once('/').is_some_and(|(_, last)| last == full));
        match (ending.next(), ending.next()) {
            (Some(only), None) => Self(Some(Arc::clone(only))),
            _ => Self::default(),
        }
    }

    fn status<'a>(&self, view: &'a View) -> Option<&'a LevelStatus> {
        view.level(self.0.as_deref())
    }

    /// All flags, in the order in which they are listed.
    fn flags(&self, view: &View) -> Vec<Flag> {
        let status = self.status(view);
        let level = status.map_or(Level::FullService, |status| status.level);
        let reason = match (status, &self.0) {
            (None, _) => "UNKNOWN",
            (Some(_), Some(_)) => "TARGETING_MATCH",
            (Some(_), None) => "STATIC",
        };
        let metadata = Arc::new(metadata(status));
        let flag = |key, value, variant| Flag { key, value, reason, variant, metadata: Arc::clone(&metadata) };
        let name = level_name(level);
        let mut flags = vec![flag(LEVEL, json!(level), name), flag(MODE, json!(name), name)];
        let off = disabled_features(level);
        let features = ALL_FEATURES.iter().map(|feature| (*feature, !off.contains(feature)));
        // What stays on at the last level is on at every other.
        for (feature, is_on) in features.chain(LAST_FEATURES.iter().map(|feature| (*feature, true))) {
            flags.push(flag(feature, json!(is_on), if is_on { "on" } else { "off" }));
        }
        flags
    }

    /// All flags and their entity tag, in quotes.
    fn flags_and_tag(&self, view: &View) -> (Vec<Flag>, String) {
        let flags = self.flags(view);
        let bytes = serde_json::to_vec(&flags).expect("plain data under fixed names always serialises");
        let etag = format!("\"{:016x}\"", xxhash_rust::xxh3::xxh3_64(&bytes));
        (flags, etag)
    }

    /// The answer to a question for all flags.
    fn bulk(&self, flags: &[Flag], link: &Link) -> Value {
        let events = match &self.0 {
            Some(service) => format!("{EVENTS}?service={}", encoded(service)),
            None => EVENTS.to_owned(),
        };
        let streams =
            json!([{"type": "sse", "endpoint": {"requestUri": link.to(&events)}, "inactivityDelaySec": INACTIVITY}]);
        json!({"flags": flags, "eventStreams": streams, "metadata": {"flagSetId": "degradation"}})
    }
}

/// A field of the service in an evaluation context, as `service: {name}`, `"service.name"` or
/// `service_name`; a plain `service` is its name.
fn service_part(context: &Map<String, Value>, part: &str) -> Result<Option<String>, Refusal> {
    let nested = match context.get("service") {
        Some(Value::Object(service)) => service.get(part),
        plain if part == "name" => plain,
        _ => None,
    };
    let found = nested.or_else(|| context.get(&format!("service.{part}")));
    match found.or_else(|| context.get(&format!("service_{part}"))) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Refusal::invalid_context(format!("service.{part}: expected a text"))),
    }
}

fn metadata(status: Option<&LevelStatus>) -> Map<String, Value> {
    let mut metadata = Map::new();
    let Some(status) = status else { return metadata };
    if let Some(service) = &status.service {
        metadata.insert("service".into(), json!(service));
    }
    if let Some(since) = status.since {
        metadata.insert("since".into(), json!(rfc3339(since)));
    }
    metadata.insert("frozen".into(), json!(status.frozen));
    if let Some(pin) = &status.pin {
        metadata.insert("pinnedBy".into(), json!(pin.author));
        metadata.insert("pinReason".into(), json!(pin.reason));
        metadata.insert("pinnedUntil".into(), json!(rfc3339(pin.expires_at)));
    }
    metadata
}

/// `POST /ofrep/v1/evaluate/flags/{key}`.
async fn single(asked: Asked, Path(key): Path<String>, request: Request) -> Result<Response, Refusal> {
    let refused = |refusal: Refusal| refusal.of(&key);
    let bytes = body::read(request.into_body()).await.map_err(|problem| refused(problem.into()))?;
    quota::take(&asked).map_err(refused)?;
    let view = asked.view();
    let flags = Scope::of(&bytes, &view).map_err(refused)?.flags(&view);
    match flags.iter().find(|flag| flag.key == key) {
        Some(flag) => Ok(answer(StatusCode::OK, flag)),
        None => {
            let keys: Vec<&str> = flags.iter().map(|flag| flag.key).collect();
            let details = format!("there is no such flag; there are {}", keys.join(", "));
            Err(Refusal::new(StatusCode::NOT_FOUND, "FLAG_NOT_FOUND", details).of(&key))
        }
    }
}

/// `POST /ofrep/v1/evaluate/flags`. What a client learned from an event about the newest tag
/// (`flagConfigEtag`) adds nothing: events come from the very picture that is answered from.
async fn bulk(asked: Asked, request: Request) -> Result<Response, Refusal> {
    let matches = request.headers().get_all(header::IF_NONE_MATCH).iter().cloned().collect::<Vec<HeaderValue>>();
    let bytes = body::read(request.into_body()).await?;
    quota::take(&asked)?;
    let view = asked.view();
    let scope = Scope::of(&bytes, &view)?;
    let (flags, etag) = scope.flags_and_tag(&view);
    let mut response = match matches.iter().any(|value| lists(value, &etag)) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => answer(StatusCode::OK, &scope.bulk(&flags, &asked.link)),
    };
    let tag = HeaderValue::from_str(&etag).expect("a tag is made of hexadecimal digits");
    response.headers_mut().insert(header::ETAG, tag);
    Ok(response)
}

/// Whether an `If-None-Match` names `etag`, by the weak comparison of RFC 9110, section 13.1.2.
fn lists(value: &HeaderValue, etag: &str) -> bool {
    let listed = value.to_str().unwrap_or_default();
    listed.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == etag)
}

/// The scope and the last seen event of a request for events.
fn wanted(view: &View, uri: &Uri, headers: &HeaderMap) -> Result<(Scope, Option<String>), Problem> {
    let mut params = Params::of(uri);
    let service = params.text("service");
    params.finish()?;
    let scope = service.map_or_else(Scope::default, |name| Scope::named(view, &name, None));
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    Ok((scope, last))
}

#[cfg(test)]
mod tests;
