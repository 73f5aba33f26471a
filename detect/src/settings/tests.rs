use query::Query;
use window::{Point, SeriesId, UnixNanos};

use super::*;
use crate::{
    Anomaly, AnomalyEvent, DetectorKind, Severity,
    testing::{calm, series},
    zscore::{ZScoreConfig, ZScoreDetector},
};

const LABELS: [(&str, &str); 2] = [("job", "shop/api"), ("queue", "quotes")];

fn settings(selector: &str) -> MetricSettings {
    let query = Query::parse(selector).expect("is PromQL");
    MetricSettings::of(query.selector().expect("is a selector"))
}

/// The anomalies of 300 calm values around 100 (spread 1.2) with `disturbed` from the 250th on.
fn found(settings: MetricSettings, disturbed: &[f64]) -> Vec<Anomaly> {
    let config = ZScoreConfig { settings: Settings::new(vec![settings]), ..ZScoreConfig::default() };
    let mut detector = ZScoreDetector::new(config);
    let series = series("queue_depth", "", &LABELS);
    (0..300)
        .filter_map(|i| {
            let at = usize::try_from(i - 250).ok().and_then(|place| disturbed.get(place));
            let point = Point {
                series: SeriesId(0),
                time: UnixNanos(i * 10_000_000_000),
                value: at.copied().unwrap_or_else(|| calm(i)),
            };
            match detector.observe(&point, &series).event {
                Some(AnomalyEvent::Opened(anomaly)) => Some(anomaly),
                _ => None,
            }
        })
        .collect()
}

#[test]
fn a_selector_means_names_and_labels() {
    let matches = |selector: &str| settings(selector).selector.matches(&series("queue_depth", "", &LABELS));
    assert!(matches("queue_depth") && matches("{__name__=~\"queue_.*\"}") && matches("queue_depth{queue=\"quotes\"}"));
    assert!(!matches("queue") && !matches("queue_depth{queue!=\"quotes\"}") && matches("queue_depth{zone=\"\"}"));
    let is_selector = |text: &str| Query::parse(text).expect("is PromQL").selector().is_some();
    assert!(
        !is_selector("queue_depth offset 5m") && !is_selector("queue_depth[5m]") && !is_selector("queue_depth > 1")
    );
}

#[test]
fn without_settings_both_sides_are_found() {
    assert_eq!(found(settings("other"), &[200.0]).len(), 1);
    assert_eq!(found(settings("queue_depth"), &[200.0]), found(settings("other"), &[200.0]));
    assert_eq!(found(settings("queue_depth"), &[0.0]).len(), 1);
}

#[test]
fn a_direction_leaves_the_other_out() {
    let down = || MetricSettings { direction: Some(Direction::Down), ..settings("queue_depth") };
    assert_eq!(found(down(), &[200.0, 201.0]), []);
    assert_eq!(found(down(), &[0.0]).len(), 1);
}

#[test]
fn small_deviations_are_not_worth_a_word_and_the_band_says_so() {
    let of = |absolute, relative| MetricSettings {
        min_absolute_deviation: absolute,
        min_relative_deviation: relative,
        ..settings("queue_depth")
    };
    assert_eq!(found(of(60.0, 0.0), &[150.0]), []);
    assert_eq!(found(of(0.0, 0.6), &[150.0]), []);
    for settings in [of(40.0, 0.0), of(0.0, 0.4)] {
        let [a] = <[Anomaly; 1]>::try_from(found(settings, &[150.0])).expect("one anomaly");
        assert!((a.score - a.z.abs() / a.threshold).abs() < 1e-9 && a.score > 1.0);
        assert!((a.score - (a.observed - a.expected) / 40.0).abs() < 0.02, "{} is what counts", a.score);
        assert!((a.upper - a.expected - 40.0).abs() < 0.5, "{} to {}", a.expected, a.upper);
    }
}

#[test]
fn what_is_not_valid_is_said_from_the_first_point_on_and_teaches_nothing() {
    let valid = |range| MetricSettings { valid_range: range, ..settings("queue_depth") };
    let [a] = <[Anomaly; 1]>::try_from(found(valid((0.0, 110.0)), &[121.0, 0.0])).expect("one anomaly");
    assert_eq!((a.detector, a.lower, a.upper, a.direction), (DetectorKind::Limit, 0.0, 110.0, Direction::Up));
    assert!((a.score - 1.1).abs() < 1e-12 && (a.z - 1.1).abs() < 1e-12, "a tenth of the range beyond it");
    assert!(a.explanation.contains("above 110, which the configuration gives as the limit"), "{}", a.explanation);
    let config = ZScoreConfig { settings: Settings::new(vec![valid((0.0, f64::INFINITY))]), ..ZScoreConfig::default() };
    let mut fresh = ZScoreDetector::new(config);
    let point = |i: i64, value| Point { series: SeriesId(0), time: UnixNanos(i * 10_000_000_000), value };
    let event = fresh.observe(&point(0, -3.0), &series("queue_depth", "", &LABELS)).event.expect("is not valid");
    let a = event.anomaly();
    assert_eq!((a.observed, a.lower, a.upper, a.score), (-3.0, 0.0, 0.0, 4.0));
    let quiet = (1..200).all(|i| {
        fresh
            .observe(&point(i, 5.0), &series("queue_depth", "", &LABELS))
            .event
            .is_none_or(|e| matches!(e, AnomalyEvent::Ended(_)))
    });
    assert!(quiet, "minus three was never learned");
}

#[test]
fn classic_thresholds_take_the_place_of_calibrated_ones() {
    let classic = |thresholds| MetricSettings { thresholds: Some(thresholds), ..settings("queue_depth") };
    let expected = found(settings("queue_depth"), &[200.0])[0].expected;
    let scale = found(settings("queue_depth"), &[200.0])[0].scale;
    let at = |z: f64| vec![expected + z * scale];
    assert_eq!(found(classic((3.0, 5.0)), &at(2.9)).len(), 0);
    let [warning] = <[Anomaly; 1]>::try_from(found(classic((3.0, 5.0)), &at(4.9))).expect("one anomaly");
    let [critical] = <[Anomaly; 1]>::try_from(found(classic((3.0, 5.0)), &at(5.1))).expect("one anomaly");
    assert_eq!((warning.severity, critical.severity), (Severity::Warning, Severity::Critical));
    assert!((warning.threshold - 3.0).abs() < 1e-9 && (warning.z - 4.9).abs() < 1e-6);
}

#[test]
fn sensitivity_multiplies_scores() {
    let once = found(settings("queue_depth"), &[200.0])[0].clone();
    let twice = found(MetricSettings { sensitivity: 2.0, ..settings("queue_depth") }, &[200.0])[0].clone();
    assert!((twice.score - 2.0 * once.score).abs() < 1e-9 && (twice.threshold - once.threshold / 2.0).abs() < 1e-9);
    assert!((twice.upper - twice.expected - (once.upper - once.expected) / 2.0).abs() < 1e-9);
}

#[test]
fn what_is_not_to_be_judged_is_not() {
    assert_eq!(found(MetricSettings { enabled: false, ..settings("queue_depth") }, &[1e6]), []);
}
