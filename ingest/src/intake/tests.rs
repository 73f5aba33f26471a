use window::{
    Config, Labels, LogColumns, LogRow, STALE_NAN_BITS, Sample, SeriesKey, SpanColumns, SpanRow, Temporality,
};

use super::*;
use crate::{NumberRow, SeriesRef, WireKey};

fn secs(s: i64) -> UnixNanos {
    UnixNanos(s * 1_000_000_000)
}

fn series(name: &str, kind: SeriesKind) -> Series {
    Series {
        key: SeriesKey(xxhash_rust::xxh3::xxh3_128(name.as_bytes())),
        name: name.into(),
        source_name: name.into(),
        unit: "".into(),
        kind,
        labels: Labels::default(),
        service: "s".into(),
    }
}

const COUNTER: SeriesKind = SeriesKind::Sum { monotonic: true, temporality: Temporality::Cumulative };

const DELTAS: SeriesKind = SeriesKind::Sum { monotonic: true, temporality: Temporality::Delta };

/// Points of series that the decoder did not know.
fn batch(points: &[(&str, SeriesKind, i64, f64)]) -> Batch {
    let mut numbers = Numbers::default();
    for (name, kind, time, value) in points {
        let series = SeriesRef::stranger(numbers.strangers.len());
        numbers.strangers.push(Stranger { wire: wire(name), series: self::series(name, *kind), is_regular: true });
        numbers.rows.push(NumberRow { series, is_item: true, time: secs(*time), start: UnixNanos::MIN, value: *value });
    }
    Batch { numbers, ..Batch::default() }
}

fn wire(name: &str) -> WireKey {
    WireKey::new(0, name.as_bytes())
}

struct Fixture {
    intake: Intake,
    window: Window,
    known: Arc<KnownSeries>,
}

impl Fixture {
    fn new(config: IntakeConfig) -> Self {
        let known = Arc::new(KnownSeries::new(config.max_series));
        Self { intake: Intake::new(config, Arc::clone(&known)), window: Window::new(Config::default()), known }
    }

    fn apply(&mut self, batch: Batch) -> Applied {
        self.intake.apply(batch, &mut self.window, Some(secs(1_000))).expect("is not outdated")
    }

    fn judged(&self, applied: &Applied) -> Vec<(String, i64, f64)> {
        let name = |p: &Point| self.window.registry().get(p.series).expect("registered").name.to_string();
        applied.judged.iter().map(|p| (name(p), p.time.0 / 1_000_000_000, p.value)).collect()
    }

    fn stored(&mut self, name: &str) -> Vec<(i64, f64)> {
        let snapshot = self.window.seal();
        let mut out: Vec<Sample> = Vec::new();
        let id = snapshot.registry.named(name)[0];
        snapshot.samples_into(id, UnixNanos::MIN, UnixNanos(i64::MAX), &mut out);
        out.iter().map(|s| (s.time.0 / 1_000_000_000, s.value)).collect()
    }
}

#[test]
fn gauges_are_judged_and_counters_through_their_rate() {
    let mut f = Fixture::new(IntakeConfig::default());
    let applied = f.apply(batch(&[
        ("g", SeriesKind::Gauge, 1, 7.0),
        ("c_total", COUNTER, 1, 100.0),
        ("c_total", COUNTER, 11, 150.0),
    ]));
    assert_eq!(f.judged(&applied), [("g".into(), 1, 7.0), ("c:rate".into(), 11, 5.0)]);
    assert_eq!(f.stored("c_total"), [(1, 100.0), (11, 150.0)]);
    assert_eq!(f.stored("c:rate"), [(11, 5.0)]);
}

#[test]
fn the_same_point_twice_changes_nothing_and_a_late_one_is_not_judged() {
    let mut f = Fixture::new(IntakeConfig::default());
    f.apply(batch(&[("g", SeriesKind::Gauge, 10, 1.0)]));
    let applied = f.apply(batch(&[("g", SeriesKind::Gauge, 10, 9.0), ("g", SeriesKind::Gauge, 5, 2.0)]));
    assert!(applied.judged.is_empty());
    assert_eq!((f.intake.passed().repeated, f.intake.passed().late), (1, 1));
    assert_eq!(f.stored("g"), [(5, 2.0), (10, 1.0)]);
}

#[test]
fn hostile_numbers_are_stored_and_not_judged() {
    let mut f = Fixture::new(IntakeConfig::default());
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::from_bits(STALE_NAN_BITS)];
    for (i, value) in values.into_iter().enumerate() {
        let time = i64::try_from(i).expect("small") + 1;
        let applied = f.apply(batch(&[("g", SeriesKind::Gauge, time, value), ("c", COUNTER, time, value)]));
        assert!(applied.judged.is_empty());
    }
    assert_eq!(f.stored("g").len(), 4);
    assert_eq!(f.intake.passed().not_finite, 6);
}

#[test]
fn the_future_is_refused_by_name() {
    let mut f = Fixture::new(IntakeConfig::default());
    let applied = f.apply(batch(&[("g", SeriesKind::Gauge, 1_601, 1.0), ("g", SeriesKind::Gauge, 1_600, 1.0)]));
    assert_eq!(applied.rejected.count, 1);
    assert_eq!(applied.rejected.message(), "time_unix_nano is more than 600 s in the future");
    assert_eq!(applied.judged.len(), 1);
}

#[test]
fn series_beyond_the_limit_are_folded_and_said() {
    let mut f = Fixture::new(IntakeConfig { max_series: 1, ..IntakeConfig::default() });
    f.apply(batch(&[("a", SeriesKind::Gauge, 1, 1.0)]));
    let points = [("b", SeriesKind::Gauge, 2, 1.0), ("a", SeriesKind::Gauge, 2, 1.0), ("d", DELTAS, 3, 2.5)];
    let applied = f.apply(batch(&points));
    assert_eq!(applied.rejected.count, 0, "nothing is refused");
    assert!(applied.rejected.message().contains("b: limit of 1 series reached"), "{}", applied.rejected.message());
    assert_eq!(f.judged(&applied), [("a".into(), 2, 1.0)]);
    f.apply(batch(&[("d", DELTAS, 4, 4.0), ("b", SeriesKind::Gauge, 4, 7.0)]));
    assert_eq!(f.stored("d"), [(3, 2.5), (4, 6.5)], "deltas add up exactly");
    assert_eq!(f.stored("b"), [(2, 1.0), (4, 7.0)], "of gauges the last value");
    assert_eq!(f.stored("otel_metric_overflow_points_total"), [(2, 1.0), (4, 2.0)], "of b, which came first");
    assert_eq!(f.intake.passed().folded, 4);
}

#[test]
fn one_metric_may_not_take_all_series() {
    let mut f = Fixture::new(IntakeConfig { max_series_per_metric: 2, ..IntakeConfig::default() });
    let labelled = |i: i64| {
        let mut batch = batch(&[("m", SeriesKind::Gauge, i, 1.0)]);
        let stranger = &mut batch.numbers.strangers[0];
        stranger.series.key = stranger.series.key.derived(&i.to_string());
        stranger.series.labels = Labels::from_pairs([("i", i.to_string())]);
        batch
    };
    let refused: Vec<bool> = (1..=3).map(|i| f.apply(labelled(i)).judged.is_empty()).collect();
    assert_eq!(refused, [false, false, true]);
    assert_eq!(f.apply(batch(&[("n", SeriesKind::Gauge, 9, 1.0)])).judged.len(), 1, "another metric has room");
}

#[test]
fn a_series_that_was_met_is_known_by_its_bytes_until_it_is_forgotten() {
    let mut f = Fixture::new(IntakeConfig::default());
    f.apply(batch(&[("g", SeriesKind::Gauge, 1, 1.0)]));
    let id = f.known.read().get(wire("g")).expect("was met");
    let row = |time, epoch| {
        let row = NumberRow {
            series: SeriesRef::known(id),
            is_item: true,
            time: secs(time),
            start: UnixNanos::MIN,
            value: 2.0,
        };
        Batch { numbers: Numbers { rows: vec![row], epoch, ..Numbers::default() }, ..Batch::default() }
    };
    assert_eq!(
        {
            let applied = f.apply(row(2, 0));
            f.judged(&applied)
        },
        [("g".into(), 2, 2.0)]
    );
    f.intake.forget(&[id]);
    assert_eq!(f.known.read().get(wire("g")), None);
    let outdated = f.intake.apply(row(3, 0), &mut f.window, None).map(|applied| applied.judged);
    assert_eq!(outdated, Err(Outdated), "decoded before the number was taken back");
}

#[test]
fn derived_series_come_from_spans_and_have_no_rates_of_rates() {
    let mut f = Fixture::new(IntakeConfig::default());
    let mut spans = SpanColumns::default();
    spans.set_origin("s", b"", b"");
    for end in [1, 2, 3, 4, 5, 12, 25, 40] {
        let row = SpanRow { start: secs(end - 1), end: secs(end), name: "op", ..SpanRow::default() };
        spans.push(&row).expect("has room");
    }
    let feeds = vec![Feed { service: "s".into(), instance: "i".into() }];
    let applied = f.apply(Batch { spans, feeds: feeds.clone(), ..Batch::default() });
    assert_eq!(applied.feeds, [(feeds[0].clone(), secs(40))]);
    let names: Vec<String> = f.judged(&applied).into_iter().map(|(name, _, _)| name).collect();
    assert!(names.contains(&"traces_span_metrics_calls:rate".into()), "{names:?}");
    assert!(!names.iter().any(|n| n.contains("calls_total") || n == "traces_span_metrics_duration_seconds_sum:rate"));
    assert_eq!(f.stored("traces_span_metrics_calls:rate"), [(20, 0.1), (30, 0.1)]);
}

#[test]
fn a_forgotten_series_starts_anew() {
    let mut f = Fixture::new(IntakeConfig::default());
    f.apply(batch(&[("c", COUNTER, 1, 100.0)]));
    let id = f.window.registry().find(series("c", COUNTER).key).expect("known");
    f.intake.forget(&[id]);
    let applied = f.apply(batch(&[("c", COUNTER, 2, 200.0)]));
    assert!(applied.judged.is_empty(), "the first point of a sum has no rate");
}

#[test]
fn spans_and_logs_from_the_future_are_refused_and_counted_exactly() {
    let mut f = Fixture::new(IntakeConfig::default());
    let (mut spans, mut logs) = (SpanColumns::default(), LogColumns::default());
    for time in [1_600, 1_601, 1_602, 5] {
        spans.push(&SpanRow { end: secs(time), ..SpanRow::default() }).expect("has room");
    }
    for time in [1_601, 1_600] {
        logs.push(&LogRow { time: secs(time), ..LogRow::default() }).expect("has room");
    }
    let applied = f.apply(Batch { spans, logs, ..Batch::default() });
    assert_eq!(applied.rejected.count, 3);
    let said =
        "end_time_unix_nano is more than 600 s in the future; log record's time is more than 600 s in the future";
    assert_eq!(applied.rejected.message(), said);
    assert_eq!((&f.window.stats().rows[1..], f.window.watermark()), (&[2, 1, 0][..], Some(secs(1_600))));
}

#[test]
fn spans_and_strangers_are_taken_however_often_series_have_expired() {
    let mut f = Fixture::new(IntakeConfig::default());
    for time in 1..5 {
        let mut batch = batch(&[("g", SeriesKind::Gauge, time, 1.0)]);
        batch.spans.set_origin("s", b"", b"");
        batch.spans.push(&SpanRow { end: secs(time), name: "op", ..SpanRow::default() }).expect("has room");
        f.apply(batch);
        let id = f.window.registry().find(series("g", SeriesKind::Gauge).key).expect("known");
        f.intake.forget(&[id]);
    }
}

#[test]
fn a_point_from_the_future_counts_once_though_it_has_two_rows() {
    let mut f = Fixture::new(IntakeConfig::default());
    let mut batch = batch(&[("h_count", COUNTER, 1_601, 1.0), ("h_sum", COUNTER, 1_601, 1.0)]);
    batch.numbers.rows[1].is_item = false;
    assert_eq!(f.apply(batch).rejected.count, 1);
}
