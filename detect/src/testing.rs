//! Windows for the tests of this crate.

use std::sync::Arc;

use window::{
    Config, Labels, Point, Series, SeriesId, SeriesKey, SeriesKind, Snapshot, SpanColumns, SpanKind, SpanRow,
    Temporality, UnixNanos, Window,
};

/// A gauge of the service that the label `job` names.
pub(crate) fn series(name: &str, unit: &str, labels: &[(&str, &str)]) -> Arc<Series> {
    let labels = Labels::from_pairs(labels.iter().copied());
    Arc::new(Series {
        key: SeriesKey(7),
        name: name.into(),
        source_name: name.into(),
        unit: unit.into(),
        kind: SeriesKind::Gauge,
        service: labels.get("job").unwrap_or_default().into(),
        labels,
    })
}

/// A calm value around 100 with a spread of about one, the same in every run.
pub(crate) fn calm(i: i64) -> f64 {
    100.0 + ((i * 7_919) % 41) as f64 / 10.0 - 2.0
}

/// A window that is filled by name.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) window: Window,
}

impl Default for Feed {
    fn default() -> Self {
        Self { window: Window::new(Config::default()) }
    }
}

impl Feed {
    /// Adds a gauge's value at `second`.
    pub(crate) fn gauge(&mut self, name: &str, labels: &[(&str, &str)], second: i64, value: f64) -> Point {
        self.push(name, labels, SeriesKind::Gauge, second, value)
    }

    /// Adds a counter's value at `second`.
    pub(crate) fn counter(&mut self, name: &str, labels: &[(&str, &str)], second: i64, value: f64) -> Point {
        let kind = SeriesKind::Sum { monotonic: true, temporality: Temporality::Cumulative };
        self.push(name, labels, kind, second, value)
    }

    pub(crate) fn push(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        kind: SeriesKind,
        second: i64,
        value: f64,
    ) -> Point {
        let labels = Labels::from_pairs(labels.iter().copied());
        let key = SeriesKey(u128::from(labels.fingerprint()) ^ xxhash_rust::xxh3::xxh3_128(name.as_bytes()));
        let service = labels.get("job").unwrap_or_default().into();
        let describe =
            || Series { key, name: name.into(), source_name: name.into(), unit: "".into(), kind, labels, service };
        let series: SeriesId = self.window.registry_mut().find_or_add(key, describe).expect("below the limit");
        let point = Point { series, time: UnixNanos(second * 1_000_000_000), value };
        self.window.push_point(point);
        point
    }

    /// Adds the two spans of one call between services at `second`.
    pub(crate) fn call(&mut self, caller: &str, callee: &str, second: i64) {
        let at = UnixNanos(second * 1_000_000_000);
        let ids = |side: &str| xxhash_rust::xxh3::xxh3_64(format!("{caller}/{callee}/{second}/{side}").as_bytes());
        let (client, server) = (ids("client").to_be_bytes(), ids("server").to_be_bytes());
        let mut spans = SpanColumns::default();
        for (service, kind, span_id, parent_span_id) in
            [(callee, SpanKind::Server, server, client), (caller, SpanKind::Client, client, [0; 8])]
        {
            spans.set_origin(service, &[], &[]);
            let row = SpanRow { start: at, end: at, name: "call", kind, span_id, parent_span_id, ..SpanRow::default() };
            spans.push(&row).expect("is small");
        }
        self.window.push_spans(&spans);
    }

    /// Everything so far.
    pub(crate) fn snapshot(&mut self) -> Snapshot {
        self.window.seal()
    }
}
