use window::{Config, Labels, Series, SeriesKey, SeriesKind, SpanColumns, SpanKind, SpanRow, Window};

use super::*;
use crate::DetectorKind;

/// A generated call: when it ended, whether it failed, its seconds, and its attributes.
struct Call {
    second: i64,
    failed: bool,
    seconds: f64,
    attributes: Vec<(&'static str, String)>,
    version: &'static str,
}

fn length(of: usize) -> u8 {
    u8::try_from(of).expect("is short")
}

fn encoded(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in pairs {
        let text = [&[0x0a, length(value.len())], value.as_bytes()].concat();
        let pair = [&[0x0a, length(key.len())], key.as_bytes(), &[0x12, length(text.len())], &text].concat();
        out.extend([&[0x0a, length(pair.len())], &pair[..]].concat());
    }
    out
}

/// Seals after every `chunk` calls.
fn snapshot(calls: &[Call], chunk: usize) -> Snapshot {
    let mut window = Window::new(Config::default());
    for (number, call) in calls.iter().enumerate() {
        let mut spans = SpanColumns::default();
        spans.set_origin("dfm", &encoded(&[("service.name", "dfm"), ("service.version", call.version)]), &[]);
        let pairs: Vec<(&str, &str)> = call.attributes.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let end = UnixNanos(call.second * 1_000_000_000);
        let row = SpanRow {
            start: end.minus(Duration::from_secs_f64(call.seconds)),
            end,
            name: "analyze",
            kind: SpanKind::Server,
            status: if call.failed { window::SpanStatus::Error } else { window::SpanStatus::Unset },
            attributes: &encoded(&pairs),
            ..SpanRow::default()
        };
        spans.push(&row).expect("is small");
        window.push_spans(&spans);
        if number % chunk == 0 {
            window.seal();
        }
    }
    window.seal()
}

const BEGIN: i64 = 100_000;
/// The first judged bucket ends here.
const STARTS: i64 = BEGIN + 10;
const TYPES: [&str; 4] = ["STEP", "STEP", "IGES", "STL"];

/// Half an hour with a call a second, then a minute of ten calls a second; `fails` says which calls of the disturbance
/// do, by file type and number, and of the baseline every fiftieth does.
fn calls(fails: impl Fn(&str, usize) -> bool) -> Vec<Call> {
    let call = |number: usize, second: i64, disturbed: bool| {
        let file = TYPES[(number * 7 + number / 4) % TYPES.len()];
        let attributes = vec![
            ("file.type", file.to_owned()),
            ("region", "eu".to_owned()),
            ("request.id", format!("r{number}-{second}")),
            ("shard", (number % 3).to_string()),
        ];
        let failed = if disturbed { fails(file, number) } else { number % 50 < 2 };
        Call { second, failed, seconds: 0.1, attributes, version: "1.0" }
    };
    let before = (0..1_700).map(|i| call(i, BEGIN - 1_750 + i64::try_from(i).unwrap_or(0), false));
    let during = (0..600).map(|i| call(i, BEGIN + i64::try_from(i / 10).unwrap_or(0), true));
    before.chain(during).collect()
}

fn anomaly(metric: &str, upper: f64) -> Anomaly {
    let labels = [("job", "dfm"), ("span_name", "analyze"), ("span_kind", "SPAN_KIND_SERVER")];
    let series = Series {
        key: SeriesKey(7),
        name: metric.into(),
        source_name: metric.into(),
        unit: "1".into(),
        kind: SeriesKind::Gauge,
        service: "dfm".into(),
        labels: Labels::from_pairs(labels),
    };
    let at = UnixNanos(STARTS * 1_000_000_000);
    Anomaly { upper, ..Anomaly::of(DetectorKind::ZScore, SeriesKey(7), &series, at) }
}

fn named(anomaly: &Anomaly, snapshot: &Snapshot) -> Vec<AttributeShare> {
    of_anomaly(anomaly, snapshot, UnixNanos((BEGIN + 59) * 1_000_000_000))
}

fn pairs_of(named: &[AttributeShare]) -> Vec<String> {
    named.iter().map(|a| format!("{}={}", a.key, a.value)).collect()
}

const ERRORS: &str = "traces_span_metrics_errors:ratio";

#[test]
fn the_guilty_value_is_named_with_counts_that_recompute_and_said_once() {
    let calls = calls(|file, number| file == "STEP" && number % 3 > 0 || number % 50 == 0);
    let snapshot = snapshot(&calls, 500);
    let mut errors = anomaly(ERRORS, 0.1);
    let found = named(&errors, &snapshot);
    assert_eq!(pairs_of(&found), ["file.type=STEP"], "not the id, the only region or the shard");
    let end = BEGIN + 59;
    let failing = |from: i64, until: i64| {
        let failing: Vec<&Call> = calls.iter().filter(|c| c.failed && (from..=until).contains(&c.second)).collect();
        let guilty = failing.iter().filter(|c| c.attributes[0].1 == "STEP").count();
        (u32::try_from(guilty).expect("few"), u32::try_from(failing.len()).expect("few"))
    };
    let step = &found[0];
    assert_eq!((step.count, step.total), failing(BEGIN, end));
    assert_eq!((step.baseline_count, step.baseline_total), failing(0, BEGIN - 50));
    assert!((step.share - f64::from(step.count) / f64::from(step.total)).abs() < 1e-12);
    assert_eq!((step.of, step.baseline_of), (Affected::Failing, BaselineOf::Affected));

    errors.explanation = "Bad.".into();
    for _ in 0..2 {
        attach(&mut errors, found.clone());
    }
    let expected = format!(
        "Bad. What sets them apart: file.type=STEP in {:.0} % of failing calls ({} of {}), {:.0} % before ({} of {}).",
        step.share * 100.0,
        step.count,
        step.total,
        step.baseline_share * 100.0,
        step.baseline_count,
        step.baseline_total
    );
    assert_eq!(errors.explanation, expected);
    assert_eq!(pairs_of(&of_service("dfm", &snapshot, UnixNanos((BEGIN + 60) * 1_000_000_000))), ["file.type=STEP"]);
}

#[test]
fn where_chunks_end_does_not_show() {
    let calls = calls(|file, _| file == "STEP");
    let one = named(&anomaly(ERRORS, 0.1), &snapshot(&calls, usize::MAX));
    assert_eq!(one, named(&anomaly(ERRORS, 0.1), &snapshot(&calls, 77)));
    assert_eq!(one.len(), 1);
}

#[test]
fn nothing_is_said_when_all_values_fail_alike() {
    for share in [1, 2, 5] {
        let found = named(&anomaly(ERRORS, 0.1), &snapshot(&calls(|_, number| number % share == 0), 500));
        assert_eq!(pairs_of(&found), Vec::<String>::new(), "one of {share} fails");
    }
}

#[test]
fn a_value_that_has_become_common_without_failing_more_is_not_blamed() {
    let mut calls = calls(|_, number| number % 4 == 1);
    // A bulk import: nine of ten calls are about one type, failing or not.
    for (number, call) in calls.iter_mut().enumerate().filter(|(_, call)| call.second >= BEGIN) {
        call.attributes[0].1 = if number % 10 == 7 { "STL" } else { "3MF" }.into();
    }
    assert_eq!(pairs_of(&named(&anomaly(ERRORS, 0.1), &snapshot(&calls, 500))), Vec::<String>::new());
}

#[test]
fn a_new_version_that_everything_runs_is_named() {
    let mut calls = calls(|_, number| number % 4 == 1);
    calls.iter_mut().filter(|call| call.second >= BEGIN).for_each(|call| call.version = "2.0");
    // None failed before: compared with all calls.
    calls.iter_mut().filter(|call| call.second < BEGIN).for_each(|call| call.failed = false);
    let found = named(&anomaly(ERRORS, 0.1), &snapshot(&calls, 500));
    assert_eq!(pairs_of(&found), ["service.version=2.0"]);
    assert_eq!((found[0].baseline_of, found[0].share, found[0].baseline_share), (BaselineOf::All, 1.0, 0.0));
    assert!(sentence(&found).contains("0 % of all calls before (0 of "), "{}", sentence(&found));
}

#[test]
fn slow_calls_are_those_beyond_the_band_and_outcomes_are_no_causes() {
    let mut calls = calls(|_, _| false);
    for call in calls.iter_mut().filter(|c| c.second >= BEGIN && c.attributes[0].1 == "IGES") {
        call.seconds = 2.0;
        call.attributes.push(("http.response.status_code", "504".into()));
    }
    let p95 = anomaly("traces_span_metrics_duration_seconds:p95", 0.5);
    let found = named(&p95, &snapshot(&calls, 500));
    assert_eq!((pairs_of(&found), found[0].of), (vec!["file.type=IGES".to_owned()], Affected::Slow));
    let down = Anomaly { direction: Direction::Down, ..p95 };
    assert!(named(&down, &snapshot(&calls, 500)).is_empty(), "faster than usual");
}

#[test]
fn rows_are_thinned_evenly_and_bounded() {
    let mut rows = Rows::default();
    (0..1_000_000).for_each(|row| rows.push(0, row));
    assert!((READ / 3..=READ).contains(&rows.kept.len()), "{}", rows.kept.len());
    let part = |is_in: &dyn Fn(u32) -> bool| {
        let of_them = rows.kept.iter().filter(|(_, row, _)| is_in(*row)).count();
        of_them as f64 / rows.kept.len() as f64
    };
    assert!((0.4..0.6).contains(&part(&|row| row % 2 == 0)), "calls that alternate");
    assert!((0.4..0.6).contains(&part(&|row| row < 500_000)), "old and new ones");
}

#[test]
fn the_interval_of_a_difference_is_newcombes() {
    // Newcombe (1998), Table II, method 10, case (a): 56/70 - 48/80 at 95 % begins at 0.0524.
    let lower = newcombe(1.96, (56, 70), (48, 80));
    assert!((lower - 0.0524).abs() < 5e-5, "{lower}");
    let (low, high) = wilson(Z, (10, 10));
    assert!((low - 10.0 / (10.0 + Z * Z)).abs() < 1e-12 && (high - 1.0).abs() < 1e-12);
}
