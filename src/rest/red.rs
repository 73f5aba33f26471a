//! Rate, errors and duration of services as they are now, from the newest derived points.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use detect::{Labels, UnixNanos};
use window::{Sample, Snapshot, is_stale};

/// Points older than this say nothing about now: six buckets of the default length.
const FRESH: Duration = Duration::from_secs(60);

/// Rate, errors and duration of a service or of one of its operations; `None` where nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Red {
    /// Calls per second.
    pub(crate) calls_per_second: Option<f64>,
    /// Share of failed calls, 0 to 1. Of a service: weighted by calls.
    pub(crate) error_ratio: Option<f64>,
    /// 95th percentile of the duration in seconds. Of a service: that of its slowest operation.
    pub(crate) p95_seconds: Option<f64>,
}

/// One operation of a service.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) red: Red,
}

/// The operations at event time `at` of the services that are `wanted`, by service.
pub(crate) fn operations(
    snapshot: &Snapshot,
    at: UnixNanos,
    wanted: impl Fn(&str) -> bool,
) -> BTreeMap<Arc<str>, Vec<Operation>> {
    type Field = fn(&mut Red) -> &mut Option<f64>;
    const SERIES: [(&str, Field); 3] = [
        ("traces_span_metrics_calls:rate", |red| &mut red.calls_per_second),
        ("traces_span_metrics_errors:ratio", |red| &mut red.error_ratio),
        ("traces_span_metrics_duration_seconds:p95", |red| &mut red.p95_seconds),
    ];
    // The three series of an operation have the same labels.
    let mut found: HashMap<Labels, (Arc<str>, Red)> = HashMap::new();
    for (name, field) in SERIES {
        for id in snapshot.registry.named(name) {
            let Some(series) = snapshot.series(*id).filter(|s| wanted(&s.service)) else { continue };
            let newest = snapshot.last_sample(*id, at.minus(FRESH), at);
            let Some(Sample { value, .. }) = newest.filter(|s| !is_stale(s.value)) else { continue };
            let entry = found.entry(series.labels.clone());
            let (_, red) = entry.or_insert_with(|| (Arc::clone(&series.service), Red::default()));
            *field(red) = Some(value);
        }
    }
    let mut services: BTreeMap<Arc<str>, Vec<Operation>> = BTreeMap::new();
    for (labels, (service, red)) in found {
        let text = |label| labels.get(label).unwrap_or_default().to_owned();
        services.entry(service).or_default().push(Operation { name: text("span_name"), kind: text("span_kind"), red });
    }
    for operations in services.values_mut() {
        let rate = |o: &Operation| o.red.calls_per_second.unwrap_or(0.0);
        operations
            .sort_by(|a, b| rate(b).total_cmp(&rate(a)).then_with(|| (&a.name, &a.kind).cmp(&(&b.name, &b.kind))));
    }
    services
}

/// What a service does as a whole: what it is asked for, or, if it is asked for nothing, all it does.
pub(crate) fn total(operations: &[Operation]) -> Red {
    let is_asked = |o: &&Operation| matches!(&*o.kind, "SPAN_KIND_SERVER" | "SPAN_KIND_CONSUMER");
    let mut counted: Vec<&Operation> = operations.iter().filter(is_asked).collect();
    if counted.is_empty() {
        counted = operations.iter().collect();
    }
    let rates = counted.iter().filter_map(|o| o.red.calls_per_second);
    let calls_per_second = rates.clone().next().map(|_| rates.sum());
    let known = counted.iter().filter_map(|o| Some((o.red.error_ratio?, o.red.calls_per_second?)));
    let (failed, calls) = known.fold((0.0, 0.0), |(f, c), (ratio, rate)| (f + ratio * rate, c + rate));
    let durations = counted.iter().filter_map(|o| o.red.p95_seconds);
    Red {
        calls_per_second,
        error_ratio: (calls > 0.0).then(|| failed / calls),
        p95_seconds: durations.max_by(f64::total_cmp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(kind: &str, rate: f64, ratio: Option<f64>, p95: f64) -> Operation {
        let red = Red { calls_per_second: Some(rate), error_ratio: ratio, p95_seconds: Some(p95) };
        Operation { name: "op".into(), kind: kind.into(), red }
    }

    fn is_close(a: Option<f64>, b: f64) -> bool {
        a.is_some_and(|a| (a - b).abs() < 1e-12)
    }

    #[test]
    fn a_service_is_what_it_is_asked_for_weighted_by_calls() {
        let server = |rate, ratio, p95| operation("SPAN_KIND_SERVER", rate, ratio, p95);
        let inner = operation("SPAN_KIND_INTERNAL", 100.0, Some(1.0), 9.0);
        let red =
            total(&[server(9.0, Some(0.0), 0.2), server(1.0, Some(0.5), 0.3), server(2.0, None, 0.1), inner.clone()]);
        assert!(is_close(red.calls_per_second, 12.0), "{red:?}");
        assert!(is_close(red.error_ratio, 0.05), "{red:?}");
        assert!(is_close(red.p95_seconds, 0.3), "{red:?}");
        assert!(is_close(total(&[inner]).calls_per_second, 100.0));
    }

    #[test]
    fn nothing_known_is_not_zero() {
        assert_eq!(total(&[]), Red::default());
        assert_eq!(total(&[operation("SPAN_KIND_SERVER", 0.0, Some(0.5), 1.0)]).error_ratio, None);
    }
}
