//! A window that is written down and restored at any time against one that never was.

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{Buckets, Labels, LogRow, Sample, Series, SeriesKey, SeriesKind, SpanRow, WindowState, files::ChunkFiles};

const SERIES: u128 = 6;

#[derive(Clone, Debug)]
enum Op {
    /// A point of a series, so many seconds after the last, which may be before it.
    Point(u128, i64),
    Histogram(u128, i64),
    Span(i64, u8),
    Log(i64, u8),
    Exemplar(u32, i64),
    Seal,
    Checkpoint,
    Restart,
    Expire,
}

fn op() -> impl Strategy<Value = Op> {
    let step = || prop_oneof![4 => 0..4_i64, 1 => -30..60_i64];
    prop_oneof![
        12 => (0..SERIES, step()).prop_map(|(s, t)| Op::Point(s, t)),
        3 => (0..SERIES, step()).prop_map(|(s, t)| Op::Histogram(s, t)),
        2 => (step(), any::<u8>()).prop_map(|(t, n)| Op::Span(t, n)),
        2 => (step(), any::<u8>()).prop_map(|(t, n)| Op::Log(t, n)),
        1 => (0..6_u32, step()).prop_map(|(s, t)| Op::Exemplar(s, t)),
        6 => Just(Op::Seal),
        2 => Just(Op::Checkpoint),
        2 => Just(Op::Restart),
        1 => Just(Op::Expire),
    ]
}

fn config() -> Config {
    let (span, series_idle) = (Duration::from_secs(40), Duration::from_secs(90));
    Config { span, series_idle, ..Config::default() }
}

fn series(key: u128) -> Series {
    Series {
        key: SeriesKey(key),
        name: format!("m{}", key % 2).into(),
        source_name: "m".into(),
        unit: "".into(),
        kind: SeriesKind::Gauge,
        labels: Labels::from_pairs([("k", (key / 4).to_string())]),
        service: "".into(),
    }
}

/// What is pushed is a function of the operation and of how many there were.
fn apply(window: &mut Window, op: &Op, count: u32, now: &mut i64) {
    let mut at = |step: i64| {
        *now += step;
        UnixNanos(*now * 1_000_000_000)
    };
    let mut id = |key: u128| window.registry.find_or_add(SeriesKey(key), || series(key)).expect("below the limit");
    match *op {
        Op::Point(key, step) => {
            let point = Point { series: id(key), time: at(step), value: f64::from(count) };
            window.push_point(point);
        }
        Op::Histogram(key, step) => {
            let buckets = match count % 3 {
                0 => Buckets::Ended,
                1 => Buckets::Explicit { bounds: [1.0].into(), counts: [1, u64::from(count)].into() },
                _ => Buckets::Exponential {
                    scale: 1,
                    zero_count: 0,
                    zero_threshold: 0.0,
                    positive: crate::ExpBuckets { offset: 1, counts: [u64::from(count)].into() },
                    negative: crate::ExpBuckets::default(),
                },
            };
            let (series, time, count) = (id(key), at(step), u64::from(count));
            let row = HistogramRow { series, time, start: None, count, sum: None, min: None, max: None, buckets };
            window.push_histogram(row);
        }
        Op::Span(step, n) => {
            let mut spans = SpanColumns::default();
            let row = SpanRow { end: at(step), trace_id: [n; 16], ..SpanRow::default() };
            spans.push(&row).expect("has room");
            window.push_spans(&spans);
        }
        Op::Log(step, n) => {
            let mut logs = LogColumns::default();
            let row = LogRow { time: at(step), trace_id: [n; 16], ..LogRow::default() };
            logs.push(&row).expect("has room");
            window.push_logs(&logs);
        }
        Op::Exemplar(series, step) => window.push_exemplar(Exemplar {
            series: SeriesId(series),
            time: at(step),
            value: f64::from(count),
            trace_id: [1; 16],
            span_id: [2; 8],
        }),
        Op::Seal | Op::Checkpoint | Op::Restart => {
            window.seal();
        }
        Op::Expire => {
            window.seal();
            window.expire_series();
        }
    }
}

/// All that a reader can ask.
fn seen(window: &Window) -> Vec<String> {
    let snapshot = window.snapshot();
    let mut all = vec![format!("{:?} {:?}", snapshot.watermark, snapshot.floor)];
    let after = snapshot.watermark.unwrap_or_default().minus(Duration::from_secs(25));
    for id in (0..window.registry.capacity()).map(|id| SeriesId(u32::try_from(id).expect("is small"))) {
        for (from, until) in [(UnixNanos::MIN, UnixNanos::MAX), (after, UnixNanos::MAX), (UnixNanos::MIN, after)] {
            let mut samples: Vec<Sample> = Vec::new();
            snapshot.samples_into(id, from, until, &mut samples);
            all.push(format!("{id:?} {samples:?} {:?}", snapshot.last_sample(id, from, until)));
            assert_eq!(samples.last(), snapshot.last_sample(id, from, until).as_ref());
            all.push(format!("{:?}", snapshot.histograms_of(id, from, until)));
        }
        all.push(format!("{:?}", snapshot.series(id)));
    }
    all.extend(snapshot.spans_between(UnixNanos::MIN, UnixNanos::MAX).map(|span| format!("{span:?}")));
    all.extend(snapshot.exemplars_kept().map(|row| format!("{row:?}")));
    all
}

fn bytes(state: &WindowState) -> Vec<u8> {
    postcard::to_stdvec(state).expect("is plain data")
}

/// The window of the last checkpoint, and the operations since.
struct Saved {
    dir: TempDir,
    files: ChunkFiles,
    number: u64,
    state: Vec<u8>,
    place: usize,
}

fn check(ops: &[Op], budget: usize) {
    let dir = TempDir::new().expect("has room");
    let (mut files, _) = ChunkFiles::open(dir.path()).expect("is a directory");
    files.load(0).expect("is empty");
    let (mut a, mut b) = (Window::new(config()), Window::new(config()));
    a.join_budget(Budget::new(budget));
    b.join_budget(Budget::new(budget));
    b.keep_unsaved();
    let state = bytes(&b.state());
    let mut saved = Saved { dir, files, number: 0, state, place: 0 };
    let (mut time_of_a, mut times) = (1_000, vec![1_000]);
    for (place, op) in ops.iter().enumerate() {
        let count = u32::try_from(place).expect("is small");
        apply(&mut a, op, count, &mut time_of_a);
        times.push(time_of_a);
        apply(&mut b, op, count, &mut times[place].clone());
        match op {
            Op::Checkpoint => {
                let state = b.state();
                saved.number = saved.files.write(&b.take_unsaved()).expect("there is room");
                saved.state = bytes(&state);
                saved.files.commit(saved.number, state.floor()).expect("is there");
                while saved.files.merge().expect("there is room") {}
                saved.place = place + 1;
            }
            Op::Restart => {
                let (files, _) = ChunkFiles::open(saved.dir.path()).expect("is a directory");
                saved.files = files;
                let (tables, damages) = saved.files.load(saved.number).expect("can be read");
                assert_eq!(damages, []);
                let state = postcard::from_bytes(&saved.state).expect("was written so");
                b = Window::restore(config(), state, tables).expect("is whole");
                b.join_budget(Budget::new(budget));
                b.keep_unsaved();
                for (place, op) in ops.iter().enumerate().take(place + 1).skip(saved.place) {
                    apply(&mut b, op, u32::try_from(place).expect("is small"), &mut times[place].clone());
                }
            }
            _ => {}
        }
        assert_eq!(seen(&a), seen(&b), "after {place}: {op:?}");
        assert_eq!(bytes(&a.state()), bytes(&b.state()), "after {place}: {op:?}");
    }
}

/// So many where every case is asked for.
fn cases() -> u32 {
    if std::env::var("BELLWETHER_TORTURE").is_ok_and(|value| value == "full") { 10_000 } else { 48 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn a_restored_window_is_the_one_that_was_never_interrupted(ops in prop::collection::vec(op(), 1..160)) {
        check(&ops, 1 << 30);
    }

    #[test]
    fn what_is_let_go_for_want_of_room_is_the_same_after_a_restart(ops in prop::collection::vec(op(), 1..160)) {
        check(&ops, 1_500);
    }
}
