use super::*;
use crate::{Labels, LogRow, Sample, Series, SeriesKey, SeriesKind, SpanRow};

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn at(s: i64) -> UnixNanos {
    UnixNanos(s * 1_000_000_000)
}

fn with_series(config: Config, names: &[&str]) -> (Window, Vec<SeriesId>) {
    let mut window = Window::new(config);
    let ids = names
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let key = SeriesKey(i as u128);
            let describe = || Series {
                key,
                name: (*name).into(),
                source_name: (*name).into(),
                unit: "".into(),
                kind: SeriesKind::Gauge,
                labels: Labels::default(),
                service: "".into(),
            };
            window.registry_mut().find_or_add(key, describe).expect("below the limit")
        })
        .collect();
    (window, ids)
}

fn read(snapshot: &Snapshot, id: SeriesId) -> Vec<(i64, f64)> {
    let mut out: Vec<Sample> = Vec::new();
    snapshot.samples_into(id, UnixNanos::MIN, UnixNanos(i64::MAX), &mut out);
    out.iter().map(|s| (s.time.0 / 1_000_000_000, s.value)).collect()
}

#[test]
fn readers_see_sealed_rows_only_and_keep_what_they_saw() {
    let (mut window, ids) = with_series(Config::default(), &["a"]);
    window.push_point(Point { series: ids[0], time: at(1), value: 1.0 });
    assert!(read(&window.snapshot(), ids[0]).is_empty());
    let first = window.seal();
    window.push_point(Point { series: ids[0], time: at(2), value: 2.0 });
    let second = window.seal();
    assert_eq!(read(&first, ids[0]), [(1, 1.0)]);
    assert_eq!(read(&second, ids[0]), [(1, 1.0), (2, 2.0)]);
    assert_eq!(second.watermark, Some(at(2)));
}

#[test]
fn late_rows_are_read_in_order_and_repeats_once() {
    let (mut window, ids) = with_series(Config::default(), &["a"]);
    for (t, v) in [(1, 1.0), (5, 5.0), (3, 3.0), (5, 9.0)] {
        window.push_point(Point { series: ids[0], time: at(t), value: v });
        window.seal();
    }
    let snapshot = window.snapshot();
    assert_eq!(read(&snapshot, ids[0]), [(1, 1.0), (3, 3.0), (5, 5.0)]);
    assert_eq!(snapshot.last_sample(ids[0], at(0), at(4)).map(|s| s.time), Some(at(3)));
    assert_eq!(snapshot.last_sample(ids[0], at(0), at(9)).map(|s| s.time), Some(at(5)));
}

#[test]
fn many_seals_leave_few_chunks_and_lose_no_row() {
    let (mut window, ids) = with_series(Config { span: secs(100_000), ..Config::default() }, &["a", "b"]);
    for t in 0..5_000_u16 {
        let series = ids[usize::from(t % 2)];
        window.push_point(Point { series, time: at(i64::from(t)), value: f64::from(t) });
        window.seal();
    }
    let snapshot = window.snapshot();
    assert!(snapshot.numbers.len() <= 5 * FAN_IN, "{} chunks", snapshot.numbers.len());
    assert_eq!(read(&snapshot, ids[0]).len() + read(&snapshot, ids[1]).len(), 5_000);
}

#[test]
fn rows_leave_with_age() {
    let (mut window, ids) = with_series(Config { span: secs(60), ..Config::default() }, &["a"]);
    for t in 0..1_000 {
        window.push_point(Point { series: ids[0], time: at(t), value: 0.0 });
        window.seal();
    }
    let kept = read(&window.snapshot(), ids[0]);
    assert!(kept.len() < 200, "{} rows are kept", kept.len());
    assert!(kept.iter().any(|(t, _)| *t == 940), "the configured span is kept whole");
    assert!(window.stats().evicted_by_time > 0);
}

#[test]
fn the_byte_bound_holds_and_is_counted() {
    let config = Config { max_bytes: 40_000, ..Config::default() };
    let (mut window, ids) = with_series(config, &["a"]);
    for t in 0..6_000 {
        window.push_point(Point { series: ids[0], time: at(t), value: 0.0 });
        if t % 100 == 0 {
            window.seal();
        }
    }
    window.seal();
    assert!(window.stats().bytes <= 40_000);
    assert!(window.stats().evicted_by_bytes > 0);
    assert!(read(&window.snapshot(), ids[0]).iter().any(|(t, _)| *t == 5_999), "the newest rows stay");
}

#[test]
fn idle_series_are_forgotten_only_after_their_rows() {
    let config = Config { span: secs(60), series_idle: secs(60), ..Config::default() };
    let (mut window, ids) = with_series(config, &["old", "new"]);
    window.push_point(Point { series: ids[0], time: at(0), value: 1.0 });
    window.push_point(Point { series: ids[1], time: at(100), value: 1.0 });
    window.seal();
    assert_eq!(window.expire_series(), []);
    window.push_point(Point { series: ids[1], time: at(1_000), value: 1.0 });
    window.seal();
    assert_eq!(window.expire_series(), [ids[0]]);
    assert_eq!(window.stats().series, 1);
}

#[test]
fn spans_and_logs_are_sealed_beside_numbers() {
    let mut window = Window::new(Config::default());
    let mut spans = SpanColumns::default();
    spans.push(&SpanRow { start: at(1), end: at(2), name: "n", ..SpanRow::default() }).expect("has room");
    window.push_spans(&spans);
    let mut logs = LogColumns::default();
    logs.push(&LogRow { time: at(3), body: "hello", ..LogRow::default() }).expect("has room");
    window.push_logs(&logs);
    let snapshot = window.seal();
    assert_eq!((snapshot.spans.len(), snapshot.logs.len()), (1, 1));
    assert_eq!(window.stats().rows, [0, 1, 1, 0]);
    assert_eq!(snapshot.watermark, Some(at(3)));
}

#[test]
fn a_head_of_many_bytes_is_sealed_before_its_time_and_stays_within_the_bound() {
    let mut window = Window::new(Config { max_bytes: 200 << 20, ..Config::default() });
    let attributes = vec![0; 1 << 20];
    for second in 0..400 {
        let mut spans = SpanColumns::default();
        let row = SpanRow { end: at(second), attributes: &attributes, ..SpanRow::default() };
        spans.push(&row).expect("has room");
        window.push_spans(&spans);
    }
    assert!(window.stats().bytes <= 200 << 20 && window.stats().evicted_by_bytes > 0, "{:?}", window.stats());
    assert!(window.head_len() < 65);
}

#[test]
fn spans_in_memory_that_is_used_again_are_read_as_they_were_pushed() {
    let (mut window, _) = with_series(Config { max_bytes: 40 << 20, ..Config::default() }, &[]);
    let pushed = 0..100_u8;
    for (number, time) in pushed.clone().zip(1..) {
        let mut spans = SpanColumns::default();
        let attributes = vec![number; 1 << 20];
        spans.push(&SpanRow { end: at(time), attributes: &attributes, ..SpanRow::default() }).expect("has room");
        window.push_spans(&spans);
    }
    let snapshot = window.seal();
    let mut read = Vec::new();
    for chunk in snapshot.spans.iter() {
        let column = chunk.batch().column_by_name(crate::columns::ATTRIBUTES).expect("is a column");
        let column: &arrow_array::BinaryArray = column.as_any().downcast_ref().expect("is binary");
        read.extend(column.iter().flatten().map(|bytes| (bytes.len(), bytes[0], bytes[bytes.len() - 1])));
    }
    let first = pushed.len() - read.len();
    assert!((20..45).contains(&read.len()) && window.evicted() > 2, "{} spans", read.len());
    assert_eq!(read, pushed.skip(first).map(|number| (1 << 20, number, number)).collect::<Vec<_>>());
}

#[test]
fn rows_that_wait_for_a_checkpoint_are_in_memory_once() {
    // Room for 500 points, so that some are let go, and chunks are cut.
    let config = Config { max_bytes: 500 * 24 * 8 / 7, ..Config::default() };
    let (mut window, ids) = with_series(config, &["a"]);
    window.keep_unsaved();
    for t in 0..100 {
        for i in 0..10 {
            window.push_point(Point { series: ids[0], time: at(10 * t + i), value: 1.0 });
        }
        window.seal();
    }
    let snapshot = window.snapshot();
    let unsaved = window.take_unsaved();
    assert!(unsaved.numbers.len() < 20, "they are merged: {}", unsaved.numbers.len());
    let is_seen = |chunk: &Arc<NumberChunk>| snapshot.numbers.iter().any(|seen| Arc::ptr_eq(seen, chunk));
    assert!(unsaved.numbers.iter().all(is_seen), "readers have the same chunks");
    let rows: usize = unsaved.numbers.iter().map(|chunk| chunk.len()).sum();
    assert_eq!(rows, read(&snapshot, ids[0]).len(), "none is missing");
}
