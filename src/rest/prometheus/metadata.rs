//! What there is to query: names, labels and series.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::Arc,
};

use axum::{
    Router,
    extract::{Path, Request},
    response::{IntoResponse, Response},
    routing::get,
};
use detect::UnixNanos;
use query::{InstantSample, Options, Query, QueryError, Value};
use serde::Serialize;
use window::{Ask, Filter, Labels, Resolution, SeriesKind, Snapshot};

use super::{
    checked,
    envelope::{Metric, Refusal, Success, cut},
    form, limit,
};
use crate::{
    pipeline::now,
    rest::{Asked, Shared, params::Params},
};

/// Selectors in one request.
const MAX_SELECTORS: usize = 20;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/labels", get(labels).post(labels))
        .route("/api/v1/label/{name}/values", get(values))
        .route("/api/v1/series", get(series).post(series))
        .route("/api/v1/metadata", get(metadata))
        .route("/api/v1/status/buildinfo", get(build_info))
}

/// Which series are meant: those that selectors choose, or all that are known.
pub(super) struct Scope {
    pub(super) snapshot: Snapshot,
    pub(super) selectors: Vec<Query>,
    pub(super) start: Option<UnixNanos>,
    pub(super) at: UnixNanos,
    options: Options,
    pub(super) limit: Option<usize>,
}

impl Scope {
    /// What `params` ask for, with the selectors in the parameter `of`.
    fn new(asked: &Asked, params: &mut Params, of: &'static str) -> Result<Self, Refusal> {
        let (start, end) = (params.time("start"), params.time("end").unwrap_or_else(now));
        let (limit, texts) = (limit(params), params.all(of));
        checked(params)?;
        if texts.len() > MAX_SELECTORS {
            return Err(Refusal::bad_data(format!("{} selectors, the limit is {MAX_SELECTORS}", texts.len())));
        }
        let selectors = texts.iter().map(|text| selector(of, text)).collect::<Result<_, _>>()?;
        // A series counts if it has a sample anywhere between start and end.
        let lookback = end.since(start.unwrap_or(UnixNanos(0))).max(Options::default().lookback);
        let options = Options { lookback, ..Options::default() };
        let mut snapshot = asked.view().snapshot.clone();
        if start.is_none() {
            // Who does not say since when means what is there now.
            snapshot.past = None;
        }
        Ok(Self { snapshot, selectors, start, at: end, options, limit })
    }

    /// Calls `each` with the name and labels of every series meant, some of them repeatedly.
    pub(super) fn visit(&self, mut each: impl FnMut(&str, &Labels)) -> Result<(), QueryError> {
        if self.selectors.is_empty() {
            for (_, series) in self.snapshot.registry.iter() {
                each(&series.name, &series.labels);
            }
            self.visit_past(&mut each)?;
        }
        for selector in &self.selectors {
            let Value::Vector(samples) = selector.instant(&self.snapshot, self.at, &self.options)? else { continue };
            for InstantSample { name, labels, .. } in &samples {
                each(name.as_deref().unwrap_or_default(), labels);
            }
        }
        Ok(())
    }
}

impl Scope {
    /// The series that were there between start and end, before the windows begin.
    fn visit_past(&self, each: &mut impl FnMut(&str, &Labels)) -> Result<(), QueryError> {
        let (Some(past), Some(start)) = (&self.snapshot.past, self.start) else { return Ok(()) };
        if start >= past.raw_after {
            return Ok(());
        }
        let filter = Filter { name: None, holds: &|_| true };
        let resolution = Resolution::Hour;
        let ask = Ask { filter, after: start, until: resolution.bucket_end(self.at), resolution };
        past.read(&ask, &mut |row| {
            each(&row.series.name, &row.series.labels);
            ControlFlow::Continue(())
        })
        .map_err(QueryError::History)
    }
}

/// A query that is a series selector and nothing else: only such a one can be given a range.
fn selector(of: &str, text: &str) -> Result<Query, Refusal> {
    let invalid = |why: &str| Refusal::bad_data(format!("invalid parameter {of:?}: {why}"));
    let query = Query::parse(text).map_err(|e| invalid(&e.to_string()))?;
    match Query::parse(&format!("{text}\n[1s]")) {
        Ok(_) => Ok(query),
        Err(_) => Err(invalid(&format!("expected a series selector, got {:?}", query.text()))),
    }
}

async fn answer(
    asked: &Asked,
    request: Request,
    make: impl FnOnce(&Scope) -> Result<Response, Refusal> + Send + 'static,
) -> Response {
    answer_to(asked, request, "match[]", make).await
}

/// Reads the scope, and makes the answer where it may take its time.
pub(super) async fn answer_to(
    asked: &Asked,
    request: Request,
    selectors: &'static str,
    make: impl FnOnce(&Scope) -> Result<Response, Refusal> + Send + 'static,
) -> Response {
    let scope = async {
        let mut params = form(request).await?;
        Scope::new(asked, &mut params, selectors)
    };
    let made = match scope.await {
        Ok(scope) => asked.compute(move || make(&scope)).await.unwrap_or_else(|busy| Err(busy.into())),
        Err(refusal) => Err(refusal),
    };
    made.unwrap_or_else(IntoResponse::into_response)
}

fn texts(found: BTreeSet<String>, limit: Option<usize>) -> Result<Response, Refusal> {
    let found: Vec<String> = found.into_iter().collect();
    let (kept, truncated) = cut(&found, limit);
    Success::new(kept, truncated).response()
}

async fn labels(asked: Asked, request: Request) -> Response {
    let make = |scope: &Scope| {
        let mut found = BTreeSet::new();
        let note = |_: &str, labels: &Labels| {
            for label in ["__name__"].into_iter().chain(labels.iter().map(|(label, _)| label)) {
                if !found.contains(label) {
                    found.insert(label.to_owned());
                }
            }
        };
        scope.visit(note).map_err(|e| Refusal::of_query(&e))?;
        texts(found, scope.limit)
    };
    answer(&asked, request, make).await
}

async fn values(asked: Asked, Path(label): Path<String>, request: Request) -> Response {
    let starts_well = label.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Refusal::bad_data(format!("invalid label name: {label:?}")).into_response();
    }
    let make = move |scope: &Scope| {
        let mut found = BTreeSet::new();
        let note = |name: &str, labels: &Labels| {
            let value = if label == "__name__" { Some(name) } else { labels.get(&label) };
            if let Some(value) = value.filter(|v| !found.contains(*v)) {
                found.insert(value.to_owned());
            }
        };
        scope.visit(note).map_err(|e| Refusal::of_query(&e))?;
        texts(found, scope.limit)
    };
    answer(&asked, request, make).await
}

async fn series(asked: Asked, request: Request) -> Response {
    let make = |scope: &Scope| {
        if scope.selectors.is_empty() {
            return Err(Refusal::bad_data("no match[] parameter provided"));
        }
        let mut found: BTreeSet<(String, Labels)> = BTreeSet::new();
        let note = |name: &str, labels: &Labels| {
            found.insert((name.to_owned(), labels.clone()));
        };
        scope.visit(note).map_err(|e| Refusal::of_query(&e))?;
        let all: Vec<Metric<'_>> = found.iter().map(|(name, labels)| Metric(Some(name), labels)).collect();
        let (kept, truncated) = cut(&all, scope.limit);
        Success::new(kept, truncated).response()
    };
    answer(&asked, request, make).await
}

/// What is known of a metric's meaning. OTLP descriptions are not kept, so there is no help text.
#[derive(Serialize)]
struct Meaning {
    r#type: &'static str,
    help: &'static str,
    unit: String,
}

async fn metadata(asked: Asked, request: Request) -> Response {
    let mut params = Params::of(request.uri());
    let (limit, metric) = (limit(&mut params), params.text("metric"));
    if let Err(refusal) = checked(&params) {
        return refusal.into_response();
    }
    let snapshot = asked.view().snapshot.clone();
    let work = move || {
        let registry = &snapshot.registry;
        let names = registry.names().filter(|name| metric.as_deref().is_none_or(|wanted| wanted == *name));
        let names: BTreeSet<&str> = names.collect();
        let names: Vec<&str> = names.into_iter().collect();
        let (names, truncated) = cut(&names, limit);
        let meaning = |name: &&'_ str| {
            let series = registry.named(name).first().and_then(|id| registry.get(*id))?;
            let r#type = match series.kind {
                SeriesKind::Sum { monotonic: true, .. } => "counter",
                SeriesKind::Histogram { .. } => "histogram",
                SeriesKind::Gauge | SeriesKind::Sum { .. } | SeriesKind::Derived | SeriesKind::Published => "gauge",
            };
            Some((series.name.to_string(), [Meaning { r#type, help: "", unit: series.unit.to_string() }]))
        };
        let all: BTreeMap<String, [Meaning; 1]> = names.iter().filter_map(meaning).collect();
        Success::new(all, truncated).response()
    };
    let made = asked.compute(work).await.unwrap_or_else(|busy| Err(busy.into()));
    made.unwrap_or_else(IntoResponse::into_response)
}

async fn build_info(asked: Asked) -> Response {
    let info = BTreeMap::from([("application", "Bellwether"), ("version", asked.shared.api.info().start.version)]);
    Success::new(info, false).response().unwrap_or_else(IntoResponse::into_response)
}
