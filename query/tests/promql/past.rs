//! Queries that reach beyond the windows must say what they would if the windows had no end: exactly for
//! ranges of whole buckets, within a bucket's width otherwise, and without counting anything twice at the seam.

use std::{path::Path, time::Duration};

use bellwether_query::{InstantSample, Options, Query, QueryError, RangeSeries, Value};
use fastrand::Rng;
use tempfile::TempDir;
use window::{
    Config, Historian, HistoryConfig, Labels, Point, STALE_NAN_BITS, Series, SeriesKey, SeriesKind, Snapshot,
    UnixNanos, Window,
};

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The same points in two windows: one of two hours with a history, one without an end.
struct Twice {
    short: Window,
    endless: Window,
    _directory: TempDir,
}

impl Twice {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        let config = Config { series_idle: Duration::from_hours(2), ..Config::default() };
        let mut short = Window::new(config.clone());
        short.attach(historian(directory.path()));
        let endless = Window::new(Config { span: Duration::from_hours(24 * 365), ..config });
        Self { short, endless, _directory: directory }
    }

    fn push(&mut self, name: &str, instance: &str, time: i64, value: f64) {
        let labels = Labels::from_pairs([("instance", instance)]);
        let key = SeriesKey(u128::from(labels.with("name", name).fingerprint()));
        for window in [&mut self.short, &mut self.endless] {
            let describe = || Series {
                key,
                name: name.into(),
                source_name: name.into(),
                unit: "".into(),
                kind: SeriesKind::Gauge,
                labels: labels.clone(),
                service: "".into(),
            };
            let series = window.registry_mut().find_or_add(key, describe).expect("below the limit");
            window.push_point(Point { series, time: UnixNanos(time), value });
        }
        if time % (20 * MINUTE) == 0 {
            self.short.seal();
            self.short.expire_series();
            self.endless.seal();
        }
    }

    fn snapshots(&mut self) -> [Snapshot; 2] {
        [self.short.seal(), self.endless.seal()]
    }
}

fn historian(directory: &Path) -> Historian {
    Historian::start(directory, HistoryConfig::default()).expect("the directory can be read")
}

/// Three series over three days, 10 to 50 s apart; one of them ends on the second day.
fn three_days(seed: u64) -> Twice {
    let mut twice = Twice::new();
    let mut rng = Rng::with_seed(seed);
    let mut counter = 0.0;
    let mut time = 10 * DAY;
    while time < 13 * DAY {
        time += rng.i64(1..6) * 10 * SECOND;
        counter += f64::from(rng.u8(..));
        twice.push("m", "a", time, f64::from(rng.i16(..)) / 16.0);
        twice.push("total", "a", time, counter);
        if time < 11 * DAY + 7 * HOUR {
            twice.push("m", "b", time, f64::from(rng.i16(..)));
        }
    }
    twice
}

fn range(snapshot: &Snapshot, text: &str, from: i64, to: i64, step: i64) -> Vec<RangeSeries> {
    let step = Duration::from_nanos(u64::try_from(step).expect("positive"));
    let query = Query::parse(text).expect("is valid");
    query.range(snapshot, UnixNanos(from), UnixNanos(to), step, &Options::default()).expect("can be answered")
}

fn same(a: &[RangeSeries], b: &[RangeSeries], within: f64) -> Result<(), String> {
    if a.len() != b.len() {
        return Err(format!("{} series and {}", a.len(), b.len()));
    }
    for (a, b) in a.iter().zip(b) {
        let times = |s: &RangeSeries| s.samples.iter().map(|s| s.time.0 / MINUTE).collect::<Vec<_>>();
        if (&a.name, &a.labels) != (&b.name, &b.labels) || times(a) != times(b) {
            return Err(format!("{}: {:?}\n{}: {:?}", a.labels, times(a), b.labels, times(b)));
        }
        for (x, y) in a.samples.iter().zip(&b.samples) {
            if (x.value - y.value).abs() > within * x.value.abs().max(y.value.abs()).max(1.0) {
                return Err(format!("{} at {}: {} and {}", a.labels, x.time, x.value, y.value));
            }
        }
    }
    Ok(())
}

#[test]
fn ranges_of_whole_buckets_are_exact_across_the_seam() {
    let mut twice = three_days(1);
    let [short, endless] = twice.snapshots();
    assert!(short.numbers.iter().all(|c| c.span.1.0 > 12 * DAY + 20 * HOUR), "the windows are short");
    let functions = ["avg", "sum", "min", "max", "count"];
    for (window, step) in [("5m", 25 * MINUTE), ("1h", HOUR), ("15m", HOUR), ("1d", 6 * HOUR), ("1h", 65 * MINUTE)] {
        for function in functions {
            for (text, from) in [
                (format!("{function}_over_time(m[{window}])"), 11 * DAY),
                (format!("sum by (instance) ({function}_over_time(m[{window}] offset 1h))"), 11 * DAY + 5 * MINUTE),
            ] {
                let [got, expected] = [&short, &endless].map(|s| range(s, &text, from, 13 * DAY, step));
                same(&got, &expected, 1e-9).unwrap_or_else(|fault| unreachable!("{text} step {step}: {fault}"));
                assert!(!expected.is_empty());
            }
        }
    }
}

#[test]
fn newest_values_at_the_ends_of_buckets_are_exact() {
    let mut twice = three_days(2);
    let [short, endless] = twice.snapshots();
    for text in ["m{instance=\"a\"}", "total * 2", "last_over_time(total[10m])", "sum(m{instance=~\"a|c\"})"] {
        let [got, expected] = [&short, &endless].map(|s| range(s, text, 10 * DAY + HOUR, 13 * DAY, 10 * MINUTE));
        same(&got, &expected, 0.0).unwrap_or_else(|fault| unreachable!("{text}: {fault}"));
    }
}

#[test]
fn between_the_ends_of_buckets_there_is_always_a_value() {
    let mut twice = three_days(3);
    let [short, _] = twice.snapshots();
    for (text, span) in
        [("m{instance=\"a\"}", 3 * DAY), ("rate(total[5m])", 3 * DAY), ("last_over_time(total[5m])", DAY)]
    {
        let from = 13 * DAY - span + HOUR;
        let steps = (12 * DAY + 23 * HOUR - from) / (7 * MINUTE) + 1;
        let answer = range(&short, text, from, 12 * DAY + 23 * HOUR, 7 * MINUTE);
        assert_eq!(answer.len(), 1, "{text}");
        assert_eq!(i64::try_from(answer[0].samples.len()), Ok(steps), "{text}");
    }
}

#[test]
fn increases_of_counters_are_close() {
    let mut twice = three_days(4);
    let [short, endless] = twice.snapshots();
    for (text, within) in
        [("increase(total[1h])", 0.05), ("rate(total[30m])", 0.1), ("increase(total[1d] offset 1h)", 0.01)]
    {
        let [got, expected] = [&short, &endless].map(|s| range(s, text, 11 * DAY + 2 * HOUR, 13 * DAY, 35 * MINUTE));
        same(&got, &expected, within).unwrap_or_else(|fault| unreachable!("{text}: {fault}"));
    }
}

#[test]
fn a_baseline_of_days_re_computes() {
    let mut twice = three_days(5);
    let [short, endless] = twice.snapshots();
    let at = UnixNanos(13 * DAY - 17 * MINUTE - 3 * SECOND);
    for text in ["avg_over_time(m[2d] offset 12h)", "m / avg_over_time(m[1d] offset 1d)", "sum_over_time(m[1d])"] {
        let query = Query::parse(text).expect("is valid");
        let [got, expected] = [&short, &endless].map(|s| match query.instant(s, at, &Options::default()) {
            Ok(Value::Vector(vector)) => vector,
            other => unreachable!("{text}: {other:?}"),
        });
        let labels = |v: &[InstantSample]| v.iter().map(|s| s.labels.clone()).collect::<Vec<_>>();
        assert_eq!(labels(&got), labels(&expected), "{text}");
        assert!(!got.is_empty());
    }
}

#[test]
fn a_series_that_only_the_past_knows_can_be_asked_for() {
    let mut twice = three_days(6);
    let [short, endless] = twice.snapshots();
    assert_eq!(short.registry.named("m").len(), 1, "the other one has expired");
    let text = "m{instance=\"b\"}";
    let [got, expected] = [&short, &endless].map(|s| range(s, text, 10 * DAY + HOUR, 11 * DAY + 7 * HOUR, HOUR));
    same(&got, &expected, 0.0).expect("is the same");
    assert_eq!(range(&short, text, 11 * DAY + 8 * HOUR, 13 * DAY, HOUR), [], "it has ended");
    let everywhere = Options { lookback: Duration::from_hours(72), ..Options::default() };
    let all = Query::parse("{__name__=~\".+\"}").expect("is valid").instant(&short, UnixNanos(13 * DAY), &everywhere);
    let Ok(Value::Vector(all)) = all else { unreachable!("is a vector") };
    assert_eq!(all.len(), 3);
}

#[test]
fn a_marker_ends_a_series_in_the_past_too() {
    let mut twice = Twice::new();
    for i in 0..12 * 60 {
        let value = if i == 31 { f64::from_bits(STALE_NAN_BITS) } else { f64::from(i) };
        if !(32..90).contains(&i) {
            twice.push("m", "a", DAY + i64::from(i) * MINUTE, value);
        }
    }
    let [short, endless] = twice.snapshots();
    for (text, step) in
        [("m", 5 * MINUTE), ("count_over_time(m[5m])", 5 * MINUTE), ("last_over_time(m[10m])", 10 * MINUTE)]
    {
        let [got, expected] = [&short, &endless].map(|s| range(s, text, DAY, DAY + 5 * HOUR, step));
        same(&got, &expected, 0.0).unwrap_or_else(|fault| unreachable!("{text}: {fault}"));
    }
}

#[test]
fn the_past_counts_towards_the_limits() {
    let mut twice = three_days(7);
    let [short, _] = twice.snapshots();
    let options = Options { max_samples: 300, ..Options::default() };
    for text in ["m", "rate(m[5m])", "max_over_time(m[5m])"] {
        let query = Query::parse(text).expect("is valid");
        let (from, to) = (UnixNanos(10 * DAY), UnixNanos(12 * DAY));
        let answer = query.range(&short, from, to, Duration::from_mins(30), &options);
        assert_eq!(answer, Err(QueryError::TooManySamples { limit: 300 }), "{text}");
    }
}
