//! Windows for the tests of this crate.

use window::{
    Config, Labels, Point, Series, SeriesId, SeriesKey, SeriesKind, Snapshot, Temporality, UnixNanos, Window,
};

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

    /// Everything so far.
    pub(crate) fn snapshot(&mut self) -> Snapshot {
        self.window.seal()
    }
}
