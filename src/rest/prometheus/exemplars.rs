//! Exemplars: measurements that stand for others, with the traces in which they were made.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{Router, response::Response, routing::get};
use detect::UnixNanos;
use serde::Serialize;
use window::{Exemplar, Labels, SeriesId};

use super::{
    envelope::{Metric, Refusal, Success, cut, number},
    metadata::{Scope, answer_to},
};
use crate::rest::{Asked, Shared};

/// Exemplars in one answer; the newest are kept.
const MOST: usize = 10_000;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/api/v1/query_exemplars", get(exemplars).post(exemplars))
}

/// The exemplars of one series.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfSeries<'a> {
    series_labels: Metric<'a>,
    exemplars: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    labels: BTreeMap<&'static str, String>,
    value: String,
    /// Unix seconds.
    timestamp: f64,
}

impl Shown {
    fn new(exemplar: &Exemplar) -> Self {
        let hex = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut labels = BTreeMap::new();
        if exemplar.trace_id != [0; 16] {
            labels.insert("trace_id", hex(&exemplar.trace_id));
        }
        if exemplar.span_id != [0; 8] {
            labels.insert("span_id", hex(&exemplar.span_id));
        }
        Self { labels, value: number(exemplar.value), timestamp: exemplar.time.as_secs_f64() }
    }
}

async fn exemplars(asked: Asked, request: axum::extract::Request) -> Response {
    answer_to(&asked, request, "query", |scope| {
        if scope.selectors.is_empty() {
            return Err(Refusal::bad_data("no query parameter provided"));
        }
        let mut wanted: BTreeSet<(String, Labels)> = BTreeSet::new();
        // A histogram's exemplars belong to the whole of it; whoever asks for its buckets means them.
        let note = |name: &str, labels: &Labels| {
            wanted.insert(match name.strip_suffix("_bucket") {
                Some(base) => (base.to_owned(), labels.filtered(|label| label != "le")),
                None => (name.to_owned(), labels.clone()),
            });
        };
        scope.visit(note).map_err(|e| Refusal::of_query(&e))?;
        of(scope, &wanted)
    })
    .await
}

fn of(scope: &Scope, wanted: &BTreeSet<(String, Labels)>) -> Result<Response, Refusal> {
    let mut found: BTreeMap<SeriesId, Vec<Shown>> = BTreeMap::new();
    let in_range = |row: &&Exemplar| row.time >= scope.start.unwrap_or(UnixNanos::MIN) && row.time <= scope.at;
    let newest_first = scope.snapshot.exemplars_kept().filter(in_range);
    let is_wanted = |row: &&Exemplar| {
        let series = scope.snapshot.series(row.series);
        series.is_some_and(|s| wanted.contains(&(s.name.to_string(), s.labels.clone())))
    };
    for row in newest_first.filter(is_wanted).take(MOST) {
        found.entry(row.series).or_default().push(Shown::new(row));
    }
    let mut all = Vec::with_capacity(found.len());
    for (id, mut exemplars) in found {
        let Some(series) = scope.snapshot.series(id) else { continue };
        exemplars.reverse();
        all.push(OfSeries { series_labels: Metric(Some(&*series.name), &series.labels), exemplars });
    }
    let (kept, truncated) = cut(&all, scope.limit);
    Success::new(kept, truncated).response()
}
