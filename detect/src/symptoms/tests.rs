use window::SeriesKey;

use super::*;
use crate::{Absence, Book, DetectorKind, testing};

const LATENCY: &str = "traces_span_metrics_duration_seconds:p95";

fn secs(s: i64) -> UnixNanos {
    UnixNanos(s * 1_000_000_000)
}

fn anomaly(operation: &str, severity: Severity) -> Anomaly {
    let series = testing::series(LATENCY, "s", &[("job", "shop/pricing"), ("span_name", operation)]);
    let mut anomaly = Anomaly::of(DetectorKind::ZScore, SeriesKey(7), &series, secs(0));
    anomaly.severity = severity;
    anomaly.direction = Direction::Up;
    anomaly.score = if severity == Severity::Critical { 3.0 } else { 1.2 };
    anomaly
}

/// One letter a step of 10 s: `w` and `c` where the worst open anomaly is a warning or critical, `-` where none is
/// open. Held for 20 s. The answer: what is announced, as (second, severity and state, second since when).
fn check(steps: &str, expected: &[(i64, &str, i64)]) {
    let config = SymptomConfig {
        hold: Duration::from_secs(20),
        keep_firing: Duration::from_secs(20),
        ..SymptomConfig::default()
    };
    let owner = owner(&config);
    let mut book = Book::default();
    let mut got = Vec::new();
    for (i, step) in (0i64..).zip(steps.chars()) {
        let open = match step {
            'w' => vec![anomaly("price", Severity::Warning)],
            'c' => vec![anomaly("price", Severity::Critical), anomaly("quote", Severity::Warning)],
            _ => Vec::new(),
        };
        let at = secs(10 * i);
        let conditions = conditions(open.iter(), book.active_of(&owner.name), &config);
        for t in book.evaluate(&owner, at, conditions, |_| Absence::NotMet, &mut |_| {}) {
            let severity = t.alert.labels.get("severity").unwrap_or_default();
            assert_eq!(t.alert.argued_level, argued_level(Severity::from_label(severity).expect("it has one")));
            if t.is_announced() {
                let state = format!("{severity} {}", t.alert.state.as_str());
                got.push((10 * i, state, t.alert.active_at.0 / 1_000_000_000));
            }
        }
    }
    let got: Vec<(i64, &str, i64)> = got.iter().map(|(at, what, since)| (*at, what.as_str(), *since)).collect();
    assert_eq!(got, expected, "{steps}");
}

#[test]
fn a_symptom_is_told_once() {
    check("-wwww---", &[(30, "warning firing", 10), (60, "warning resolved", 10)]);
    check("-cccc---", &[(30, "critical firing", 10), (60, "critical resolved", 10)]);
}

#[test]
fn what_gets_worse_before_it_is_told_is_told_as_it_is_then_and_no_later() {
    check("-wwc----", &[(30, "critical firing", 10), (50, "critical resolved", 10)]);
    check("-wcw----", &[(30, "critical firing", 10), (50, "critical resolved", 10)]);
    check("-cw-----", &[]);
}

#[test]
fn what_gets_worse_after_it_was_told_is_told_again_if_it_lasts() {
    check(
        "-wwwccc---",
        &[
            (30, "warning firing", 10),
            (60, "critical firing", 40),
            (80, "critical resolved", 40),
            (80, "warning resolved", 10),
        ],
    );
    check("-wwwcw---", &[(30, "warning firing", 10), (70, "warning resolved", 10)]);
}

#[test]
fn what_was_told_to_be_critical_stays_so_until_it_is_over() {
    check("-cccww-w---", &[(30, "critical firing", 10), (90, "critical resolved", 10)]);
    check(
        "-wwwcccww---",
        &[
            (30, "warning firing", 10),
            (60, "critical firing", 40),
            (100, "critical resolved", 40),
            (100, "warning resolved", 10),
        ],
    );
}
