use super::*;
use crate::{Config, Labels, Series, SeriesId, SeriesKey, SeriesKind, Snapshot, Temporality, Window};
use arrow_array::Array;
use std::{collections::BTreeMap, time::Duration};

/// A generator good enough to shuffle rows, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn at(s: i64) -> UnixNanos {
    UnixNanos(s * 1_000_000_000)
}

fn row(series: u32, time: i64, buckets: Buckets) -> HistogramRow {
    let count = if buckets == Buckets::Ended { 0 } else { 3 };
    let (series, time) = (SeriesId(series), at(time));
    HistogramRow { series, time, start: Some(at(-1)), count, sum: Some(1.5), min: None, max: Some(0.25), buckets }
}

fn explicit(counts: &[u64]) -> Buckets {
    let bounds: Vec<f64> = (1..counts.len()).map(|b| f64::from(u32::try_from(b).expect("small"))).collect();
    Buckets::Explicit { bounds: bounds.into(), counts: counts.into() }
}

fn exponential(offset: i32, positive: &[u64], negative: &[u64]) -> Buckets {
    Buckets::Exponential {
        scale: -3,
        zero_count: 7,
        zero_threshold: 1e-9,
        positive: ExpBuckets { offset, counts: positive.into() },
        negative: ExpBuckets { offset: -offset, counts: negative.into() },
    }
}

fn random_buckets(random: &mut Random) -> Buckets {
    let mut counts = |most| (0..random.below(most)).map(|i| i * 3).collect::<Vec<u64>>();
    let (positive, negative) = (counts(5), counts(3));
    match random.below(4) {
        0 => Buckets::Ended,
        1 => exponential(-4, &positive, &negative),
        _ => explicit(&positive),
    }
}

fn window(config: Config) -> Window {
    let mut window = Window::new(config);
    for i in 0..4 {
        let key = SeriesKey(i);
        let describe = || Series {
            key,
            name: format!("h{i}").into(),
            source_name: "h".into(),
            unit: "s".into(),
            kind: SeriesKind::Histogram { temporality: Temporality::Cumulative },
            labels: Labels::default(),
            service: "".into(),
        };
        window.registry_mut().find_or_add(key, describe).expect("below the limit");
    }
    window
}

fn read(snapshot: &Snapshot, series: u32) -> Vec<HistogramRow> {
    let all = snapshot.histograms_of(SeriesId(series), UnixNanos::MIN, UnixNanos(i64::MAX));
    all.iter().map(HistogramView::to_row).collect()
}

#[test]
fn every_shape_comes_back_as_it_went_in() {
    let rows = [
        row(0, 1, explicit(&[1, 0, 2])),
        row(0, 2, explicit(&[])),
        row(0, 3, Buckets::Ended),
        row(1, 1, exponential(-7, &[1, u64::MAX], &[])),
        HistogramRow { start: None, sum: None, max: None, ..row(1, 2, exponential(0, &[], &[4])) },
    ];
    let mut window = window(Config::default());
    rows.iter().for_each(|r| window.push_histogram(r.clone()));
    assert!(read(&window.snapshot(), 0).is_empty(), "rows of the head are not read");
    let snapshot = window.seal();
    assert_eq!(read(&snapshot, 0), rows[..3]);
    assert_eq!(read(&snapshot, 1), rows[3..]);
    assert_eq!((snapshot.watermark, window.stats().rows), (Some(at(3)), [0, 0, 0, 5]));
}

#[test]
fn a_range_is_open_at_its_start_and_closed_at_its_end() {
    let mut window = window(Config::default());
    (1..=5).for_each(|t| window.push_histogram(row(0, t, explicit(&[3]))));
    let snapshot = window.seal();
    let times = |after, until| -> Vec<i64> {
        let rows = snapshot.histograms_of(SeriesId(0), at(after), at(until));
        rows.iter().map(|r| r.time.0 / 1_000_000_000).collect()
    };
    assert_eq!(times(2, 4), [3, 4]);
    assert_eq!(times(4, 2), []);
    assert_eq!(times(5, 9), []);
}

#[test]
fn many_seals_hold_what_a_plain_map_holds() {
    let mut random = Random(7);
    let mut window = window(Config { span: Duration::from_hours(9_999), ..Config::default() });
    let mut model: BTreeMap<(u32, i64), HistogramRow> = BTreeMap::new();
    for _ in 0..3_000 {
        let series = u32::try_from(random.below(4)).expect("small");
        let time = i64::try_from(random.below(900)).expect("small");
        let row = row(series, time, random_buckets(&mut random));
        // One series has one shape, apart from its ends, and an end comes at a time of its own.
        let shape = series % 2;
        let fits = match row.buckets {
            Buckets::Explicit { .. } => shape == 0,
            Buckets::Exponential { .. } => shape == 1,
            Buckets::Ended => shape == 0,
        };
        if fits {
            model.entry((series, time)).or_insert_with(|| row.clone());
            window.push_histogram(row);
        }
        if random.below(3) == 0 {
            window.seal();
        }
    }
    let snapshot = window.seal();
    assert!(snapshot.histograms.len() <= Shape::COUNT * 4 * FAN_IN, "{} chunks", snapshot.histograms.len());
    assert!(model.len() > 500, "{} rows", model.len());
    for series in 0..4 {
        let expected: Vec<HistogramRow> =
            model.range((series, 0)..=(series, i64::MAX)).map(|(_, row)| row.clone()).collect();
        assert_eq!(read(&snapshot, series), expected, "series {series}");
    }
}

#[test]
fn rows_leave_with_age() {
    let mut window = window(Config { span: Duration::from_mins(1), ..Config::default() });
    for t in 0..1_000 {
        window.push_histogram(row(0, t, explicit(&[1, 2])));
        window.push_histogram(row(1, t, exponential(1, &[3], &[])));
        window.seal();
    }
    let snapshot = window.snapshot();
    for series in 0..2 {
        let kept = read(&snapshot, series);
        assert!(kept.len() < 200, "{} rows are kept", kept.len());
        assert!(kept.iter().any(|r| r.time == at(940)), "the configured span is kept whole");
    }
    assert!(window.stats().evicted_by_time > 0);
}

#[test]
fn the_byte_bound_holds_and_the_oldest_rows_go_first() {
    let mut window = window(Config { max_bytes: 60_000, ..Config::default() });
    for t in 0..3_000 {
        window.push_histogram(row(0, t, explicit(&[1, 2, 0, 0])));
        if t % 10 == 0 {
            window.seal();
        }
    }
    let snapshot = window.seal();
    let stats = window.stats();
    assert!(stats.bytes <= 60_000 && stats.evicted_by_bytes > 0, "{stats:?}");
    let kept = read(&snapshot, 0);
    assert_eq!(kept.last().map(|r| r.time), Some(at(2_999)));
    assert!(kept.first().is_some_and(|r| r.time > at(100)), "the oldest rows went");
}

#[test]
fn equal_bounds_are_kept_once() {
    let views: Vec<HistogramRow> = (0..1_000).map(|t| row(0, t, explicit(&[1; 16]))).collect();
    let rows = views.iter().map(HistogramRow::view).collect();
    let chunk = HistogramChunk::seal_shape(Shape::Explicit, rows).expect("has rows");
    let bounds = chunk.batch().column_by_name(crate::columns::BOUNDS).expect("is explicit");
    assert!(bounds.get_array_memory_size() < 8_000, "{} bytes", bounds.get_array_memory_size());
    assert!(chunk.bytes() < 195 * 1_000, "{} bytes for a thousand rows", chunk.bytes());
}

#[test]
fn many_buckets_make_the_head_heavy() {
    let mut tables = HistogramTables::default();
    tables.push(row(0, 1, explicit(&[0; 161])));
    assert_eq!(tables.head_weight(), 1 + 321 / VALUES_PER_ROW);
    tables.seal();
    assert_eq!((tables.head_weight(), tables.rows()), (0, 1));
}
