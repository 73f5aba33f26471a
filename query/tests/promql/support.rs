//! Series for tests, from text.

use std::time::Duration;

use window::{
    Buckets, Config, HistogramRow, Labels, Point, STALE_NAN_BITS, Series, SeriesId, SeriesKey, SeriesKind, Snapshot,
    Temporality, UnixNanos, Window,
};

/// A window under construction.
#[derive(Debug)]
pub(crate) struct Data {
    window: Window,
    points: Vec<Point>,
    histograms: Vec<HistogramRow>,
    series: u128,
}

impl Data {
    pub(crate) fn new() -> Self {
        let config = Config { span: Duration::from_hours(24 * 365), ..Config::default() };
        Self { window: Window::new(config), points: Vec::new(), histograms: Vec::new(), series: 0 }
    }

    /// Lines such as `m{a="b"} 0+10x3 _ 7 stale`, one sample per `step` from 0 s on.
    pub(crate) fn parse(lines: &[&str], step: Duration) -> Self {
        let mut data = Self::new();
        for line in lines {
            let (series, values) = series_of(line);
            let (name, labels) = series.split_once('{').expect("a series has braces");
            let labels = labels.trim_end_matches('}').split(", ").filter(|l| !l.is_empty());
            let labels = labels.map(|l| {
                let (name, value) = l.split_once('=').expect("a label has a value");
                (name.to_owned(), value.trim_matches('"').to_owned())
            });
            let mut time = UnixNanos(0);
            let mut samples = Vec::new();
            for value in values.flat_map(expand) {
                samples.extend(value.map(|v| (time, v)));
                time = time.plus(step);
            }
            data.add(name, Labels::from_pairs(labels), &samples);
        }
        data
    }

    /// One more series, different from all others even when it looks the same.
    pub(crate) fn add(&mut self, name: &str, labels: Labels, samples: &[(UnixNanos, f64)]) {
        let series = self.register(name, labels, SeriesKind::Gauge);
        self.points.extend(samples.iter().map(|(time, value)| Point { series, time: *time, value: *value }));
    }

    /// One more histogram; each point is its time, its count and its buckets.
    pub(crate) fn add_histogram(
        &mut self,
        name: &str,
        labels: Labels,
        temporality: Temporality,
        points: Vec<(UnixNanos, u64, Buckets)>,
    ) {
        let series = self.register(name, labels, SeriesKind::Histogram { temporality });
        let row = |(time, count, buckets)| HistogramRow {
            series,
            time,
            start: None,
            count,
            sum: None,
            min: None,
            max: None,
            buckets,
        };
        self.histograms.extend(points.into_iter().map(row));
    }

    fn register(&mut self, name: &str, labels: Labels, kind: SeriesKind) -> SeriesId {
        self.series += 1;
        let key = SeriesKey(self.series);
        self.window.registry_mut().find_or_add(key, || series(key, name, labels, kind)).expect("far below the limit")
    }

    /// Seals often, so that readers meet many chunks.
    pub(crate) fn snapshot(mut self) -> Snapshot {
        for (i, row) in self.histograms.into_iter().enumerate() {
            self.window.push_histogram(row);
            if i % 3 == 2 {
                self.window.seal();
            }
        }
        self.points.sort_by_key(|p| p.time);
        for (i, point) in self.points.into_iter().enumerate() {
            self.window.push_point(point);
            if i % 13 == 12 {
                self.window.seal();
            }
        }
        self.window.seal()
    }
}

/// The series of a line with its labels in order (`m{}` when it has none), and its other words.
pub(crate) fn series_of(line: &str) -> (String, impl Iterator<Item = &str>) {
    let end = line.rfind('}').map_or_else(|| line.find(' ').unwrap_or(line.len()), |brace| brace + 1);
    let (series, values) = line.split_at(end);
    // A scalar or a string stands for itself; all others have braces.
    let bare = !series.contains('{') && !["scalar", "none"].contains(&series) && !series.starts_with("string");
    (if bare { format!("{series}{{}}") } else { series.to_owned() }, values.split_whitespace())
}

/// `5`, `0+10x3` (first, increment, repetitions), `_` (nothing), `_x4`, `stale`.
fn expand(word: &str) -> Vec<Option<f64>> {
    let (start, times) = match word.split_once('x') {
        Some((start, times)) => (start, times.parse().expect("repetitions are a number")),
        None => (word, 0),
    };
    if start == "_" {
        return vec![None; usize::max(times, 1)];
    }
    if start == "stale" {
        return vec![Some(f64::from_bits(STALE_NAN_BITS))];
    }
    let sign = start.char_indices().skip(1).find(|(_, c)| *c == '+' || *c == '-').map(|(i, _)| i);
    let (first, increment) = sign.map_or((start, "0"), |i| start.split_at(i));
    let (first, increment) = (number(first), number(increment));
    let mut values = vec![Some(first)];
    let mut value = first;
    for _ in 0..times {
        value += increment;
        values.push(Some(value));
    }
    values
}

/// A number as PromQL writes it.
pub(crate) fn number(text: &str) -> f64 {
    text.parse().expect("a number")
}

/// Whole seconds or minutes: `50s`, `5m`.
pub(crate) fn duration(text: &str) -> Duration {
    Duration::from_nanos(u64::try_from(moment(text).0).expect("not negative"))
}

/// Time since the epoch, in the same form; may be negative.
pub(crate) fn moment(text: &str) -> UnixNanos {
    let (digits, nanos) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 1_000_000),
        None => match text.strip_suffix('m') {
            Some(digits) => (digits, 60_000_000_000),
            None => (text.strip_suffix('s').expect("a unit"), 1_000_000_000),
        },
    };
    UnixNanos(digits.parse::<i64>().expect("a whole number") * nanos)
}

/// A series of a metric, without a unit or a service.
pub(crate) fn series(key: SeriesKey, name: &str, labels: Labels, kind: SeriesKind) -> Series {
    Series { key, name: name.into(), source_name: name.into(), unit: "".into(), kind, labels, service: "".into() }
}
