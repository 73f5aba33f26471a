//! Levels set by people: on disk first, then in force, then answered.
//!
//! This is the one thing that a request can change, so a page of somebody else must not be able to
//! make a browser send it: JSON bodies and `DELETE` make the browser ask first, which we never grant,
//! and what the browser says about the origin is heeded on top.

use std::{sync::Arc, time::Duration};

use alerting::ServicePin;
use axum::{
    extract::Request,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use detect::{Level, Pin, UnixNanos};
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::{
    Asked, Problem,
    asked::blocking,
    body,
    degradation::{LevelJson, unknown_service},
    fields::Fields,
    json::json,
    params::{self, Params, TIME},
};
use crate::pipeline::{Command, now};

/// How long the pipeline may take to put a pin in force.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The longest pin: a forgotten one must end.
const LONGEST_PIN: Duration = Duration::from_hours(31 * 24);
const FIELDS: [&str; 5] = ["level", "author", "reason", "expiresAt", "service"];

/// `PUT /api/v1/degradation/pin`.
pub(super) async fn set(asked: Asked, request: Request) -> Result<Response, Problem> {
    refuse_cross_site(request.headers(), "set the level")?;
    Params::of(request.uri()).finish()?;
    let bytes = body::read_json(request, body::MAX_BODY).await?;
    let fields = serde_json::from_slice(&bytes).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, format!("the body is not a JSON object with the pin's fields: {error}"))
    })?;
    let pin = read(&fields, now())?;
    let service = known(&asked, pin.service.as_deref())?;
    let operator = asked.operator()?;
    let written = pin.clone();
    blocking(move || operator.set_pin(&written)).await?;
    put_in_force(&asked, service, Some(pin.pin)).await
}

/// `DELETE /api/v1/degradation/pin[?service=]`. Clearing what is not pinned changes nothing.
pub(super) async fn clear(asked: Asked, request: Request) -> Result<Response, Problem> {
    refuse_cross_site(request.headers(), "set the level")?;
    let mut params = Params::of(request.uri());
    let service = params.text("service");
    params.finish()?;
    let known = known(&asked, service.as_deref())?;
    let operator = asked.operator()?;
    blocking(move || operator.clear_pin(service.as_deref())).await?;
    put_in_force(&asked, known, None).await
}

/// Refuses what a page of another site makes a browser send; `what` it would do.
pub(super) fn refuse_cross_site(headers: &HeaderMap, what: &str) -> Result<(), Problem> {
    match headers.get("sec-fetch-site").map(|site| site.as_bytes()) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(Problem::new(StatusCode::FORBIDDEN, format!("a page of another site may not {what}"))),
    }
}

/// A service that has been heard, or the level of everything: a pin on a misspelt name would do
/// nothing, and be remembered.
fn known(asked: &Asked, service: Option<&str>) -> Result<Option<Arc<str>>, Problem> {
    let Some(name) = service else { return Ok(None) };
    let level = LevelJson::of(&asked.view(), Some(name)).ok_or_else(|| unknown_service(Some(name)))?;
    Ok(level.service)
}

/// Tells the pipeline, waits for it, and answers with the level that results.
async fn put_in_force(asked: &Asked, service: Option<Arc<str>>, pin: Option<Pin>) -> Result<Response, Problem> {
    let (tenant, named) = (asked.face.tenant.clone(), service.clone());
    tell(asked, "the pin", |done| Command::Pin { tenant, service: named, pin, done }).await?;
    let level = LevelJson::of(&asked.view(), service.as_deref());
    let level = level.ok_or_else(|| unknown_service(service.as_deref()))?;
    Ok(json(StatusCode::OK, &level))
}

/// Sends a command to the pipeline and waits until it is in force; `what` is on disk already.
pub(super) async fn tell(
    asked: &Asked,
    what: &str,
    command: impl FnOnce(oneshot::Sender<()>) -> Command,
) -> Result<(), Problem> {
    let (done, answered) = oneshot::channel();
    let command = command(done);
    let told = async {
        asked.shared.api.commands.send(command).await.ok()?;
        answered.await.ok()
    };
    let late = || {
        let detail = format!("{what} is on disk but not yet in force: the service is busy or shutting down");
        Problem::busy(&detail)
    };
    tokio::time::timeout(LONGEST_WAIT, told).await.ok().flatten().ok_or_else(late)
}

/// The pin that `fields` ask for at wall time `at`, or everything that is wrong with them.
fn read(fields: &Map<String, Value>, at: UnixNanos) -> Result<ServicePin, Problem> {
    let mut fields = Fields::of(fields, "a pin", &FIELDS);
    let level = fields.get("level").as_u64().and_then(|n| u8::try_from(n).ok()).and_then(|n| Level::try_from(n).ok());
    if level.is_none() {
        fields.fault("level", "a level from 0 to 4");
    }
    let (author, reason) = (fields.text("author", 1, 200), fields.text("reason", 1, 2_000));
    let service = if fields.get("service").is_null() { None } else { Some(fields.text("service", 1, 1_000)) };
    let expires_at = match fields.get("expiresAt") {
        Value::String(text) => params::time(text),
        Value::Number(seconds) => params::time(&seconds.to_string()),
        _ => None,
    };
    let expires_at = expires_at.filter(|expires| *expires > at && expires.since(at) <= LONGEST_PIN);
    if expires_at.is_none() {
        fields.fault("expiresAt", &format!("{TIME}, in the future and within 31 days"));
    }
    let pin = level.zip(expires_at).map(|(level, expires_at)| Pin { level, author, reason, expires_at });
    fields.finish(pin.map(|pin| ServicePin { service, created_at: at, pin }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOON: UnixNanos = UnixNanos(1_700_000_000_000_000_000);

    fn read(fields: &Value) -> Result<ServicePin, Vec<String>> {
        let read = super::read(fields.as_object().expect("is an object"), NOON);
        read.map_err(|problem| problem.faults.into_iter().map(|f| f.parameter).collect())
    }

    #[test]
    fn a_pin_is_read_with_its_expiry_in_either_form() {
        for expires in [json!("2023-11-14T22:14:20Z"), json!(1_700_000_060)] {
            let fields =
                json!({"level": 2, "author": "ann", "reason": "drill", "expiresAt": expires, "service": "shop/a"});
            let pin = read(&fields).expect("is a pin");
            assert_eq!(pin.service.as_deref(), Some("shop/a"));
            assert_eq!((pin.pin.level, pin.pin.expires_at), (Level::CacheOnly, NOON.plus(Duration::from_secs(60))));
        }
    }

    #[test]
    fn every_bad_field_is_named_at_once() {
        let all = json!({"level": 5, "author": "", "service": 7, "expiresAt": "2001-01-01T00:00:00Z", "color": 1});
        assert_eq!(read(&all).expect_err("is refused"), ["color", "level", "author", "reason", "service", "expiresAt"]);
        let far = json!({"level": 1, "author": "ann", "reason": "drill", "expiresAt": "2024-11-14T22:14:20Z"});
        assert_eq!(read(&far).expect_err("is refused"), ["expiresAt"]);
    }
}
