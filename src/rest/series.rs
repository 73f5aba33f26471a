//! The points of a series around an anomaly, with the band that the detector published beside it.

use std::time::Duration;

use detect::{Anomaly, Labels, UnixNanos};
use serde::{Serialize, Serializer};
use window::{Sample, SeriesId, Snapshot, is_stale};

use super::json::rfc3339;
use crate::{pipeline::now, view::View};

/// What is shown before and after an anomaly at least.
const LEAST_AROUND: Duration = Duration::from_mins(15);
/// What is shown before and after it at most.
const MOST_AROUND: Duration = Duration::from_hours(2);

/// A moment and a value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct ChartPoint {
    /// Event time.
    #[serde(serialize_with = "time")]
    pub(crate) time: UnixNanos,
    /// The value; finite.
    pub(crate) value: f64,
}

fn time<S: Serializer>(time: &UnixNanos, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

/// Points and band of one series. A list is empty when its series is not, or no longer, in the
/// window. Band values hold until the next one.
#[derive(Debug, Serialize)]
pub(crate) struct Chart {
    /// Id of the anomaly.
    pub(crate) anomaly: String,
    /// PromQL name of the series.
    pub(crate) metric: String,
    /// Its labels.
    pub(crate) labels: Labels,
    /// Its unit in UCUM; empty when none was sent or the series is gone.
    pub(crate) unit: String,
    /// Where the picture begins.
    #[serde(serialize_with = "time")]
    pub(crate) from: UnixNanos,
    /// Where it ends.
    #[serde(serialize_with = "time")]
    pub(crate) to: UnixNanos,
    /// The points, oldest first.
    pub(crate) points: Vec<ChartPoint>,
    /// What the detector expected.
    pub(crate) expected: Vec<ChartPoint>,
    /// Lower limit of the band.
    pub(crate) lower: Vec<ChartPoint>,
    /// Upper limit of the band.
    pub(crate) upper: Vec<ChartPoint>,
}

/// What the window holds around `anomaly`, with at most `most` points in each list.
pub(crate) fn chart(
    anomaly: &Anomaly,
    view: &View,
    from: Option<UnixNanos>,
    to: Option<UnixNanos>,
    most: usize,
) -> Chart {
    let ends = anomaly.ends_at.unwrap_or_else(|| view.event_time.unwrap_or_else(now));
    let around = ends.since(anomaly.starts_at).clamp(LEAST_AROUND, MOST_AROUND);
    let from = from.unwrap_or_else(|| anomaly.starts_at.minus(around));
    let to = to.unwrap_or_else(|| view.event_time.map_or(ends, |newest| ends.plus(around).min(newest)));
    let snapshot = &view.snapshot;
    let read = |suffix: &str| {
        let id = find(snapshot, &format!("{}{suffix}", anomaly.metric), &anomaly.labels);
        id.map_or_else(Vec::new, |id| thinned(finite(snapshot, id, from, to), most))
    };
    let series = find(snapshot, &anomaly.metric, &anomaly.labels).and_then(|id| snapshot.series(id));
    let points = read("");
    // A young series does not fill the time before the anomaly; an empty picture says nothing.
    let from = points.first().map_or(from, |first| from.max(first.time));
    Chart {
        anomaly: anomaly.id.clone(),
        metric: anomaly.metric.to_string(),
        labels: anomaly.labels.clone(),
        unit: series.map_or_else(String::new, |s| s.unit.to_string()),
        from,
        to,
        points,
        expected: read(":expected"),
        lower: read(":lower"),
        upper: read(":upper"),
    }
}

fn find(snapshot: &Snapshot, name: &str, labels: &Labels) -> Option<SeriesId> {
    let ids = snapshot.registry.named(name).iter().copied();
    ids.into_iter().find(|id| snapshot.series(*id).is_some_and(|s| s.labels == *labels))
}

fn finite(snapshot: &Snapshot, id: SeriesId, from: UnixNanos, to: UnixNanos) -> Vec<ChartPoint> {
    let mut samples: Vec<Sample> = Vec::new();
    // The window's ranges are open at their start.
    snapshot.samples_into(id, UnixNanos(from.0.saturating_sub(1)), to, &mut samples);
    let kept = samples.iter().filter(|s| s.value.is_finite() && !is_stale(s.value));
    kept.map(|s| ChartPoint { time: s.time, value: s.value }).collect()
}

/// At most `most` points: of each of `most / 2` equal runs the lowest and the highest, so that no
/// peak is lost.
fn thinned(points: Vec<ChartPoint>, most: usize) -> Vec<ChartPoint> {
    if points.len() <= most {
        return points;
    }
    let run = points.len().div_ceil((most / 2).max(1));
    let mut kept = Vec::with_capacity(most);
    for points in points.chunks(run) {
        let by_value = |a: &&ChartPoint, b: &&ChartPoint| a.value.total_cmp(&b.value);
        let (lowest, highest) = (points.iter().min_by(by_value), points.iter().max_by(by_value));
        let mut pair: Vec<ChartPoint> = [lowest, highest].into_iter().flatten().copied().collect();
        pair.sort_by_key(|p| p.time);
        pair.dedup_by_key(|p| p.time);
        kept.append(&mut pair);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_bound_the_order_and_the_peaks() {
        let value = |i: i64| if i == 777 { 99.0 } else { 0.0 };
        let points: Vec<_> = (0..1_000).map(|i| ChartPoint { time: UnixNanos(i), value: value(i) }).collect();
        let kept = thinned(points.clone(), 50);
        assert!(kept.len() <= 50, "{}", kept.len());
        assert!(kept.is_sorted_by(|a, b| a.time < b.time));
        assert!(kept.iter().any(|p| p.time == UnixNanos(777)));
        assert_eq!(thinned(points.clone(), 1_000), points);
    }
}
