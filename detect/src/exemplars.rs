//! Trace ids to look at: the slowest or the failed calls behind an anomaly of a span metric.

use window::{Snapshot, SpanView};

use crate::Anomaly;

/// Trace ids kept for one anomaly.
const KEPT: usize = 5;
/// How far before the anomaly's first point spans are looked at: the bucket that it judged.
const REACH: std::time::Duration = std::time::Duration::from_secs(30);

/// Ids of traces that show `anomaly`, in hex; empty for anomalies that are not about spans.
pub(crate) fn of(anomaly: &Anomaly, snapshot: &Snapshot) -> Vec<String> {
    if !anomaly.metric.starts_with("traces_span_metrics_") {
        return Vec::new();
    }
    let Some(operation) = anomaly.labels.get("span_name") else { return Vec::new() };
    let by_errors = anomaly.metric.contains("errors");
    let (from, until) = (anomaly.starts_at.minus(REACH), anomaly.emitted_at);
    let mut found: Vec<SpanView<'_>> = snapshot
        .spans_between(from, until)
        .filter(|s| s.service == &*anomaly.service && s.name == operation)
        .filter(|s| !by_errors || s.failed)
        .collect();
    found.sort_by_key(|s| std::cmp::Reverse((s.failed && by_errors, s.end.since(s.start))));
    let mut ids: Vec<String> = Vec::new();
    for span in found {
        let id: String = span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
        if !ids.contains(&id) {
            ids.push(id);
        }
        if ids.len() == KEPT {
            break;
        }
    }
    ids
}
