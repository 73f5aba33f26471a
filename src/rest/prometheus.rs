//! Prometheus's HTTP API, so that Grafana and promtool work as they are.
//!
//! Envelopes, number formats and error types are Prometheus's. Parameters that are not known are
//! ignored, as there, because clients send more than is documented.

mod envelope;
mod exemplars;
mod metadata;
mod rules;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    http::Method,
    response::{IntoResponse, Response},
    routing::get,
};
use detect::UnixNanos;
use query::{Options, Query};
use window::Snapshot;

pub(super) use self::envelope::number;
use self::envelope::{Refusal, Success};
use super::{
    Asked, Shared, body,
    params::{self, Params},
};
use crate::pipeline::now;

/// The type of all bodies that are read here.
const FORM: &str = "application/x-www-form-urlencoded";
/// What a duration parameter may be.
const DURATION: &str = "a number of seconds or a duration such as 1m30s, at most 100 years";

/// The paths that this module serves.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/query", get(instant).post(instant))
        .route("/api/v1/query_range", get(range).post(range))
        .merge(exemplars::routes())
        .merge(metadata::routes())
        .merge(rules::routes())
}

/// Parameters of the query and, for POST, of the form in the body.
async fn form(request: Request) -> Result<Params, Refusal> {
    let mut params = Params::of(request.uri());
    if request.method() == Method::POST {
        let media = body::media_type(request.headers());
        if !media.is_empty() && media != FORM {
            return Err(Refusal::bad_data(format!("the body is {media}, expected {FORM}")));
        }
        let bytes = body::read(request.into_body()).await.map_err(|p| Refusal::bad_data(p.detail))?;
        params.add(&String::from_utf8_lossy(&bytes));
    }
    Ok(params)
}

/// What queries here may cost: less than rules, since anybody may ask.
fn options(params: &mut Params) -> Options {
    let defaults = Options { max_samples: 10_000_000, max_visits: 1_000_000_000, ..Options::default() };
    // Queries are bounded by what they do, not by time; the parameter is checked and has no effect.
    params.read("timeout", DURATION, params::duration);
    match params.read("lookback_delta", DURATION, params::duration).filter(|d| !d.is_zero()) {
        Some(lookback) => Options { lookback, ..defaults },
        None => defaults,
    }
}

/// Series that are answered at most; `None` for all.
fn limit(params: &mut Params) -> Option<usize> {
    params.read("limit", "a whole number, 0 for no limit", |text| text.parse().ok()).filter(|limit| *limit > 0)
}

/// That no parameter read so far was wrong.
fn checked(params: &Params) -> Result<(), Refusal> {
    match params.first_fault() {
        Some(f) => Err(Refusal::bad_data(format!("invalid parameter {:?}: {}", f.parameter, f.detail))),
        None => Ok(()),
    }
}

fn required<T>(value: Option<T>, params: &Params, name: &str) -> Result<T, Refusal> {
    checked(params)?;
    value.ok_or_else(|| Refusal::bad_data(format!("parameter {name:?} is missing")))
}

/// A query that is ready to be evaluated.
struct Prepared {
    query: Query,
    snapshot: Snapshot,
    options: Options,
    limit: Option<usize>,
}

impl Prepared {
    fn new(asked: &Asked, params: &mut Params) -> Result<Self, Refusal> {
        let (options, limit) = (options(params), limit(params));
        let text = params.text("query");
        let text = required(text, params, "query")?;
        let query = Query::parse(&text).map_err(|e| Refusal::bad_data(format!("invalid parameter \"query\": {e}")))?;
        Ok(Self { query, snapshot: asked.view().snapshot.clone(), options, limit })
    }
}

async fn instant(asked: Asked, request: Request) -> Response {
    answer_instant(&asked, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answer_instant(asked: &Asked, request: Request) -> Result<Response, Refusal> {
    let mut params = form(request).await?;
    let at = params.time("time").unwrap_or_else(now);
    let prepared = Prepared::new(asked, &mut params)?;
    let work = move || {
        let Prepared { query, snapshot, options, limit } = prepared;
        let value = query.instant(&snapshot, at, &options).map_err(|e| Refusal::of_query(&e))?;
        Success::instant(&value, at, limit)
    };
    asked.compute(work).await?
}

async fn range(asked: Asked, request: Request) -> Response {
    answer_range(&asked, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answer_range(asked: &Asked, request: Request) -> Result<Response, Refusal> {
    let mut params = form(request).await?;
    let (start, end) = (params.time("start"), params.time("end"));
    let step = params.read("step", DURATION, params::duration);
    let start: UnixNanos = required(start, &params, "start")?;
    let end: UnixNanos = required(end, &params, "end")?;
    let step: Duration = required(step, &params, "step")?;
    let prepared = Prepared::new(asked, &mut params)?;
    let work = move || {
        let Prepared { query, snapshot, options, limit } = prepared;
        let series = query.range(&snapshot, start, end, step, &options).map_err(|e| Refusal::of_query(&e))?;
        Success::range(&series, limit)
    };
    asked.compute(work).await?
}
