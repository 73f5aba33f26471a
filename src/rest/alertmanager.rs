//! Alertmanager's API, version 2: what `amtool`, Prometheus, Grafana and karma ask of an Alertmanager, in its shapes and
//! words, and acknowledgements, which it does not have.
//!
//! Errors are a text in JSON under `/api/v2`, since its clients read that and nothing else.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use alerting::{Matcher, MatcherJson, PostedAlert, ShownAlert, Silence, SilenceSpec, all_match};
use axum::{
    Router,
    extract::{Path, Request},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use chrono::DateTime;
use detect::{Labels, UnixNanos};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Asked, Problem, Shared,
    asked::blocking,
    body,
    json::{json as answer, rfc3339},
    params::Params,
    pin::refuse_cross_site,
};
use crate::pipeline::now;

/// Greatest body with alerts: Prometheus sends 64 at once.
const MAX_ALERTS_BODY: usize = 8 << 20;
/// Silences that are listed at most.
const MOST_LISTED: usize = 1_000_000;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v2/status", get(status))
        .route("/api/v2/receivers", get(receivers))
        .route("/api/v2/alerts", get(alerts).post(take))
        .route("/api/v2/alerts/groups", get(groups))
        .route("/api/v2/silences", get(silences).post(silence))
        .route("/api/v2/silence/{id}", get(one_silence).delete(expire))
        .route("/api/v1/alerts/{episode}/acknowledge", post(acknowledge).delete(unacknowledge))
}

/// An error as clients of Alertmanager expect it.
struct Fault(StatusCode, String);

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self(problem.status, problem.detail)
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        answer(self.0, &self.1)
    }
}

fn bad(reason: impl Into<String>) -> Fault {
    Fault(StatusCode::BAD_REQUEST, reason.into())
}

async fn status(asked: Asked, uri: Uri) -> Result<Response, Fault> {
    Params::of(&uri).finish()?;
    let info = asked.shared.api.info();
    let body = json!({
        // Each service is alone: what it knows is in its own ledger.
        "cluster": {"name": "", "status": "disabled", "peers": []},
        "versionInfo": {
            "version": info.start.version, "branch": "", "buildDate": "", "buildUser": "bellwether", "goVersion": "", "revision": "",
        },
        "config": {"original": "# Bellwether's own configuration is not shown: it names secrets.\n"},
        "uptime": rfc3339(info.start.started_at),
    });
    Ok(answer(StatusCode::OK, &body))
}

async fn receivers(asked: Asked, uri: Uri) -> Result<Response, Fault> {
    Params::of(&uri).finish()?;
    let names: Vec<_> = asked.shared.api.info().receivers.iter().map(|name| json!({"name": name})).collect();
    Ok(answer(StatusCode::OK, &names))
}

/// Which alerts are wanted.
struct Filter {
    matchers: Vec<Matcher>,
    receiver: Option<Matcher>,
    is_active: bool,
    is_silenced: bool,
    is_inhibited: bool,
}

impl Filter {
    fn read(params: &mut Params) -> Result<Self, Fault> {
        let flag =
            |params: &mut Params, name| params.read(name, "true or false", |text| text.parse().ok()).unwrap_or(true);
        let (is_active, is_silenced, is_inhibited) =
            (flag(params, "active"), flag(params, "silenced"), flag(params, "inhibited"));
        // Nothing of ours waits to be looked at, and times at which nobody is told mute groups, not alerts.
        let (_, _) = (flag(params, "unprocessed"), flag(params, "muted"));
        let matchers = matchers(&params.all("filter"))?;
        let receiver = params.text("receiver").map(|text| Matcher::new("receiver", &text, true, true)).transpose();
        Ok(Self {
            matchers,
            receiver: receiver.map_err(|error| bad(error.to_string()))?,
            is_active,
            is_silenced,
            is_inhibited,
        })
    }

    fn wants(&self, shown: &ShownAlert) -> bool {
        let muted = &shown.muted;
        all_match(&self.matchers, &shown.labels)
            && (self.is_active || muted.is_muted())
            && (self.is_silenced || muted.silenced_by.is_empty())
            && (self.is_inhibited || muted.inhibited_by.is_empty())
            && (self.receiver.is_none() || shown.receivers.iter().any(|name| self.tells(name)))
    }

    fn tells(&self, receiver: &str) -> bool {
        let labels = || Labels::from_pairs([("receiver", receiver)]);
        self.receiver.as_ref().is_none_or(|matcher| matcher.matches(&labels()))
    }
}

fn matchers(texts: &[String]) -> Result<Vec<Matcher>, Fault> {
    texts.iter().map(|text| Matcher::parse(text).map_err(|error| bad(error.to_string()))).collect()
}

#[derive(Serialize)]
struct Name<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AlertStatus<'a> {
    state: &'static str,
    silenced_by: &'a [String],
    inhibited_by: &'a [String],
    muted_by: [String; 0],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AlertJson<'a> {
    annotations: &'a Labels,
    ends_at: &'a str,
    fingerprint: &'a str,
    receivers: Vec<Name<'a>>,
    starts_at: String,
    status: AlertStatus<'a>,
    updated_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    labels: &'a Labels,
}

impl<'a> AlertJson<'a> {
    /// As it is now; it is said to end at `ends_at` unless it is heard of again.
    fn of(shown: &'a ShownAlert, ends_at: &'a str) -> Self {
        let ShownAlert { alert, labels, fingerprint, generator_url, receivers, muted, updated_at } = shown;
        Self {
            ends_at,
            fingerprint,
            receivers: receivers.iter().map(|name| Name { name }).collect(),
            starts_at: rfc3339(alert.fired_at.unwrap_or(alert.active_at)),
            status: AlertStatus {
                state: muted.state(),
                silenced_by: &muted.silenced_by,
                inhibited_by: &muted.inhibited_by,
                muted_by: [],
            },
            updated_at: rfc3339(*updated_at),
            generator_url,
            labels,
            annotations: &alert.annotations,
        }
    }
}

async fn alerts(asked: Asked, uri: Uri) -> Result<Response, Fault> {
    let mut params = Params::of(&uri);
    let filter = Filter::read(&mut params)?;
    params.finish()?;
    let Some(dispatcher) = asked.face.dispatcher.clone() else { return Ok(answer(StatusCode::OK, &[0; 0])) };
    let shown = blocking(move || {
        let ends_at = rfc3339(now().plus(Duration::from_mins(5)));
        let all = dispatcher.alerts()?;
        let mut wanted: Vec<&ShownAlert> = all.iter().filter(|shown| filter.wants(shown)).collect();
        wanted.sort_by(|a, b| a.fingerprint.cmp(&b.fingerprint));
        let alerts: Vec<AlertJson<'_>> = wanted.into_iter().map(|shown| AlertJson::of(shown, &ends_at)).collect();
        Ok(answer(StatusCode::OK, &alerts))
    });
    Ok(shown.await?)
}

async fn groups(asked: Asked, uri: Uri) -> Result<Response, Fault> {
    let mut params = Params::of(&uri);
    let filter = Filter::read(&mut params)?;
    params.finish()?;
    let Some(dispatcher) = asked.face.dispatcher.clone() else { return Ok(answer(StatusCode::OK, &[0; 0])) };
    let shown = blocking(move || {
        let ends_at = rfc3339(now().plus(Duration::from_mins(5)));
        let groups = dispatcher.groups()?.into_iter().filter(|group| filter.tells(&group.receiver));
        let groups: Vec<Value> = groups
            .filter_map(|group| {
                let wanted = group.alerts.iter().filter(|shown| filter.wants(shown));
                let alerts: Vec<AlertJson<'_>> = wanted.map(|shown| AlertJson::of(shown, &ends_at)).collect();
                let is_empty = alerts.is_empty();
                let group = json!({"labels": group.labels, "receiver": {"name": group.receiver}, "alerts": alerts});
                (!is_empty).then_some(group)
            })
            .collect();
        Ok(answer(StatusCode::OK, &groups))
    });
    Ok(shown.await?)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: Option<String>,
    ends_at: Option<String>,
    #[serde(rename = "generatorURL", default)]
    generator_url: String,
}

impl Posted {
    fn read(self) -> Result<PostedAlert, Fault> {
        // A label without a text is none.
        let labels = |map: BTreeMap<String, String>| Labels::from_pairs(map.into_iter().filter(|(_, v)| !v.is_empty()));
        Ok(PostedAlert {
            labels: labels(self.labels),
            annotations: labels(self.annotations),
            starts_at: time("startsAt", self.starts_at.as_deref())?,
            ends_at: time("endsAt", self.ends_at.as_deref())?,
            generator_url: self.generator_url,
        })
    }
}

/// A time as RFC 3339; `None` for none and for Go's zero time.
fn time(field: &str, text: Option<&str>) -> Result<Option<UnixNanos>, Fault> {
    let Some(text) = text.filter(|text| !text.is_empty() && !text.starts_with("0001-01-01T00:00:00")) else {
        return Ok(None);
    };
    let read = DateTime::parse_from_rfc3339(text).ok().and_then(|time| time.timestamp_nanos_opt());
    let nanos = read.ok_or_else(|| bad(format!("{field}: expected a time as RFC 3339, got {text:.100?}")))?;
    Ok(Some(UnixNanos(nanos)))
}

/// `POST /api/v2/alerts`: on disk before it is answered. Those that are sound are taken also when others are not.
async fn take(asked: Asked, request: Request) -> Result<Response, Fault> {
    let dispatcher = asked.dispatcher()?;
    let posted: Vec<Posted> = read_json(request, "post alerts", MAX_ALERTS_BODY).await?;
    let (mut alerts, mut faults) = (Vec::new(), Vec::new());
    for posted in posted {
        match posted.read() {
            Ok(alert) => alerts.push(alert),
            Err(Fault(_, fault)) => faults.push(fault),
        }
    }
    let timeout = asked.shared.api.info().resolve_timeout;
    let refused = blocking(move || dispatcher.post(&alerts, timeout)).await?;
    faults.extend(refused.iter().map(ToString::to_string));
    if faults.is_empty() {
        return Ok(StatusCode::OK.into_response());
    }
    let more = faults.len().saturating_sub(10);
    faults.truncate(10);
    if more > 0 {
        faults.push(format!("and {more} more"));
    }
    Err(bad(faults.join("; ")))
}

async fn read_json<T: serde::de::DeserializeOwned>(request: Request, what: &str, limit: usize) -> Result<T, Fault> {
    refuse_cross_site(request.headers(), what)?;
    Params::of(request.uri()).finish()?;
    let bytes = body::read_json(request, limit).await?;
    serde_json::from_slice(&bytes).map_err(|error| bad(format!("the body cannot be read: {error}")))
}

fn silence_json(silence: &Silence) -> Value {
    let Silence { id, spec, updated_at } = silence;
    json!({
        "id": id,
        "status": {"state": silence.state(now()).as_str()},
        "updatedAt": rfc3339(*updated_at),
        "comment": spec.comment,
        "createdBy": spec.created_by,
        "startsAt": rfc3339(spec.starts_at),
        "endsAt": rfc3339(spec.ends_at),
        "matchers": spec.matchers,
    })
}

async fn silences(asked: Asked, uri: Uri) -> Result<Response, Fault> {
    let mut params = Params::of(&uri);
    let filter = matchers(&params.all("filter"))?;
    params.finish()?;
    let ledger = asked.face.ledger.clone();
    let listed = blocking(move || {
        // A filter is about the labels that a silence is about, as in Alertmanager.
        let wanted = |silence: &Silence| {
            let exact = silence.spec.matchers.iter().map(|m| (m.name.as_str(), m.value.as_str()));
            filter.is_empty() || all_match(&filter, &Labels::from_pairs(exact))
        };
        let all = ledger.silences();
        let all: Vec<Value> = all.iter().filter(|s| wanted(s)).take(MOST_LISTED).map(silence_json).collect();
        Ok(answer(StatusCode::OK, &all))
    });
    Ok(listed.await?)
}

async fn one_silence(asked: Asked, Path(id): Path<String>, uri: Uri) -> Result<Response, Fault> {
    Params::of(&uri).finish()?;
    let found = asked.face.ledger.silence(&id).ok_or_else(|| no_silence(&id))?;
    Ok(answer(StatusCode::OK, &silence_json(&found)))
}

fn no_silence(id: &str) -> Fault {
    Problem::not_found("silence", id).into()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SilenceBody {
    id: Option<String>,
    matchers: Vec<MatcherJson>,
    starts_at: String,
    ends_at: String,
    created_by: String,
    comment: String,
}

/// `POST /api/v2/silences`: on disk, and in force, before it is answered.
async fn silence(asked: Asked, request: Request) -> Result<Response, Fault> {
    let operator = asked.operator()?;
    let posted: SilenceBody = read_json(request, "silence alerts", body::MAX_BODY).await?;
    let required = |field: &str, text: &str| {
        time(field, Some(text))?.ok_or_else(|| bad(format!("{field}: expected a time as RFC 3339")))
    };
    let spec = SilenceSpec {
        starts_at: required("startsAt", &posted.starts_at)?,
        ends_at: required("endsAt", &posted.ends_at)?,
        matchers: posted.matchers,
        created_by: posted.created_by,
        comment: posted.comment,
    };
    let id = posted.id;
    if let Some(id) = id.as_ref().filter(|id| !id.is_empty() && asked.face.ledger.silence(id).is_none()) {
        return Err(no_silence(id));
    }
    let id = blocking(move || operator.set_silence(id.as_deref(), spec)).await?;
    Ok(answer(StatusCode::OK, &json!({"silenceID": id})))
}

/// `DELETE /api/v2/silence/{id}`.
async fn expire(asked: Asked, Path(id): Path<String>, request: Request) -> Result<Response, Fault> {
    refuse_cross_site(request.headers(), "end a silence")?;
    let (operator, wanted) = (asked.operator()?, id.clone());
    match blocking(move || operator.expire_silence(&wanted)).await? {
        true => Ok(StatusCode::OK.into_response()),
        false => Err(no_silence(&id)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AcknowledgeBody {
    author: String,
    #[serde(default)]
    comment: String,
}

/// `POST /api/v1/alerts/{episode}/acknowledge`: somebody is on it until the alert is over.
async fn acknowledge(asked: Asked, Path(episode): Path<String>, request: Request) -> Result<Response, Problem> {
    let operator = asked.operator()?;
    let read = read_json::<AcknowledgeBody>(request, "acknowledge an alert", body::MAX_BODY).await;
    let AcknowledgeBody { author, comment } = read.map_err(|Fault(status, detail)| Problem::new(status, detail))?;
    let wanted = episode.clone();
    if !blocking(move || operator.acknowledge(&wanted, &author, &comment)).await? {
        return Err(Problem::not_found("active alert", &episode));
    }
    let wanted = episode.clone();
    let found = asked.ledger(move |ledger| ledger.acknowledgement(&wanted)).await?;
    let found = found.ok_or_else(|| Problem::not_found("acknowledgement of alert", &episode))?;
    let body = json!({"episode": episode, "author": found.author, "comment": found.comment, "at": rfc3339(found.at)});
    Ok(answer(StatusCode::OK, &body))
}

/// `DELETE /api/v1/alerts/{episode}/acknowledge`. Taking back what is not there changes nothing.
async fn unacknowledge(asked: Asked, Path(episode): Path<String>, request: Request) -> Result<Response, Problem> {
    refuse_cross_site(request.headers(), "take an acknowledgement back")?;
    Params::of(request.uri()).finish()?;
    let operator = asked.operator()?;
    blocking(move || operator.unacknowledge(&episode)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
