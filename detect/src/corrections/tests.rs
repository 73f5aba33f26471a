use std::sync::Arc;

use window::{Series, SeriesId};

use super::*;
use crate::{
    Decision, Engine, EngineConfig, Memory,
    testing::{self, Feed, calm},
};

/// Thursday, 1 January 2026, 12:00 UTC.
const NOON: i64 = 1_767_268_800;

fn secs(second: i64) -> UnixNanos {
    UnixNanos(second * 1_000_000_000)
}

fn series() -> Arc<Series> {
    testing::series("queue_depth", "", &[("job", "shop/api")])
}

/// Anomalies opened by a value every 10 s from `from` on.
fn run(detector: &mut ZScoreDetector, from: i64, points: i64, value: impl Fn(i64) -> f64) -> Vec<Anomaly> {
    let point = |i: i64| Point { series: SeriesId(0), time: secs(from + i * 10), value: value(i) };
    let events = (0..points).filter_map(|i| detector.observe(&point(i), &series()).event);
    let opened = events.filter_map(|e| if let AnomalyEvent::Opened(a) = e { Some(a) } else { None });
    opened.collect::<Vec<_>>()
}

fn with_spike(i: i64) -> f64 {
    if i == 100 { 160.0 } else { calm(i) }
}

fn trial() -> TrialConfig {
    TrialConfig { zscore: ZScoreConfig::default(), entity: EntityConfig::default() }
}

fn correction(id: &str, change: Change) -> Correction {
    Correction { id: id.into(), series: SeriesKey(7), change }
}

/// A detector that has seen a spike and was told what to make of it, and the spike.
fn told(verdict: Verdict) -> (ZScoreDetector, Anomaly) {
    let mut detector = ZScoreDetector::new(ZScoreConfig::default());
    let [spike] = <[Anomaly; 1]>::try_from(run(&mut detector, NOON, 200, with_spike)).expect("one anomaly");
    let change = Change::proposed(verdict, &spike).expect("is of one series");
    detector.correct(correction("c", change), SeriesId(0));
    (detector, spike)
}

#[test]
fn a_false_alarm_is_not_said_again_and_something_greater_is() {
    let (mut detector, _) = told(Verdict::FalsePositive);
    assert_eq!(run(&mut detector, NOON + 2_000, 200, with_spike), []);
    let (mut detector, spike) = told(Verdict::FalsePositive);
    let greater = |i: i64| if i == 100 { 400.0 } else { calm(i) };
    let [louder] = <[Anomaly; 1]>::try_from(run(&mut detector, NOON + 2_000, 200, greater)).expect("one anomaly");
    assert!((louder.score - louder.z.abs() / louder.threshold).abs() < 1e-9 && louder.score > 1.0);
    assert!(louder.threshold > spike.threshold, "the number says what held");
    let (mut detector, _) = told(Verdict::FalsePositive);
    detector.undo("c", |_| Some(SeriesId(0)));
    assert_eq!(detector.corrections().count(), 0);
    assert_eq!(run(&mut detector, NOON + 2_000, 200, with_spike).len(), 1);
}

#[test]
fn what_was_expected_is_left_out_at_its_hour_of_the_week() {
    let (_, spike) = told(Verdict::Expected);
    let change = Change::proposed(Verdict::Expected, &spike).expect("is of one series");
    assert_eq!(change, Change::Exclusion { from: 3 * 86_400 + 43_200, until: 3 * 86_400 + 46_800 });
    assert!(change.describe(&spike).contains("from Thursday 12:00 to Thursday 13:00 UTC"));
    let corrections = {
        let mut corrections = Corrections::default();
        assert!(corrections.add(correction("c", change)) && !corrections.add(correction("c", change)));
        corrections
    };
    let judged = |second| corrections.factor(SeriesKey(7), secs(second)).is_some();
    let week = 7 * 86_400;
    assert_eq!(
        [0, 3_599, 3_600, -1, week, week + 86_400].map(|s| judged(NOON + s)),
        [false, false, true, true, false, true]
    );
    assert!(corrections.factor(SeriesKey(8), secs(NOON)).is_some(), "another series");
}

#[test]
fn an_exclusion_may_go_over_the_end_of_the_week() {
    let mut anomaly = Anomaly::of(DetectorKind::ZScore, SeriesKey(7), &series(), secs(NOON + 3 * 86_400 + 11 * 3_600));
    anomaly.ends_at = Some(anomaly.starts_at.plus(std::time::Duration::from_mins(90)));
    let change = Change::exclusion(&anomaly);
    assert_eq!(change, Change::Exclusion { from: 7 * 86_400 - 3_600, until: 3_600 });
    let mut corrections = Corrections::default();
    corrections.add(correction("c", change));
    let judged = |hour: i64| corrections.factor(SeriesKey(7), secs(NOON + 3 * 86_400 + hour * 3_600)).is_some();
    assert_eq!([10, 11, 12, 13].map(judged), [true, false, false, true]);
}

#[test]
fn a_new_normal_begins_anew_and_can_be_taken_back() {
    let step = |i: i64| if i >= 100 { calm(i) + 100.0 } else { calm(i) };
    let mut detector = ZScoreDetector::new(ZScoreConfig::default());
    assert_eq!(run(&mut detector, NOON, 120, step).len(), 1);
    let ended = detector.correct(correction("c", Change::Baseline), SeriesId(0));
    assert!(matches!(ended, Some(AnomalyEvent::Ended(_))));
    assert_eq!(run(&mut detector, NOON + 1_200, 200, |i| calm(i) + 100.0), [], "is normal now");
    assert_eq!(run(&mut detector, NOON + 3_200, 100, calm).len(), 1, "the old level is what is new");
    let mut detector = ZScoreDetector::new(ZScoreConfig::default());
    run(&mut detector, NOON, 120, step);
    detector.correct(correction("c", Change::Baseline), SeriesId(0));
    detector.undo("c", |_| Some(SeriesId(0)));
    assert_eq!(run(&mut detector, NOON + 1_200, 30, |i| calm(i) + 100.0).len(), 1, "as before");
}

#[test]
fn a_change_is_tried_on_the_recent_window() {
    let mut feed = Feed::default();
    let mut detector = ZScoreDetector::new(ZScoreConfig::default());
    let mut anomaly = None;
    for i in 0..300 {
        let value = if i == 100 || i == 200 { 160.0 } else { calm(i) };
        let point = feed.gauge("queue_depth", &[("job", "shop/api")], NOON + i * 10, value);
        let series = Arc::clone(feed.window.registry().get(point.series).expect("is there"));
        if let Some(AnomalyEvent::Opened(a)) = detector.observe(&point, &series).event {
            anomaly = anomaly.or(Some(a));
        }
    }
    let (anomaly, snapshot) = (anomaly.expect("is found"), feed.snapshot());
    let of = |verdict| {
        let change = Change::proposed(verdict, &anomaly).expect("is of one series");
        try_out(&snapshot, &trial(), &anomaly, change)
    };
    let confirmed = of(Verdict::TruePositive);
    assert_eq!((confirmed.points, confirmed.from, confirmed.to), (300, Some(secs(NOON)), Some(secs(NOON + 2_990))));
    assert_eq!((confirmed.anomalies_before, confirmed.anomalies_after), (2, 2));
    assert_eq!(of(Verdict::FalsePositive).anomalies_after, 0);
    assert_eq!(of(Verdict::Expected).anomalies_after, 0);
    assert!(of(Verdict::NewNormal).anomalies_after <= 2);
}

#[test]
fn what_is_said_of_one_detector_is_not_said_of_another() {
    let mut anomaly = Anomaly::of(DetectorKind::Gap, SeriesKey(7), &series(), secs(NOON));
    (anomaly.series_key, anomaly.score) = (Some(SeriesKey(7)), 2.0);
    let subjects = DetectorKind::ALL.map(|detector| {
        anomaly.detector = detector;
        Correction::subject(&anomaly)
    });
    let subjects: std::collections::BTreeSet<SeriesKey> = subjects.into_iter().flatten().collect();
    assert_eq!(subjects.len(), 4, "single series, forecasts, things by themselves, things together");
    let mut proposed = |detector, verdict| {
        anomaly.detector = detector;
        Change::proposed(verdict, &anomaly)
    };
    assert_eq!(proposed(DetectorKind::Gap, Verdict::FalsePositive), None);
    assert_eq!(proposed(DetectorKind::Gap, Verdict::TruePositive), Some(Change::None));
    assert_eq!(proposed(DetectorKind::Forecast, Verdict::NewNormal), None);
    assert_eq!(proposed(DetectorKind::Pattern, Verdict::NewNormal), Some(Change::Baseline));
    assert_eq!(proposed(DetectorKind::Entity, Verdict::FalsePositive), Some(Change::Threshold { factor: 0.475 }));
}

#[test]
fn a_change_to_a_thing_with_many_metrics_is_tried_on_all_of_them() {
    let mut feed = Feed::default();
    let mut engine = Engine::new(EngineConfig::default(), Memory::default());
    let mut anomaly = None;
    for i in 0..400 {
        let names: Vec<String> = (0..20).map(|metric| format!("metric_{metric}")).collect();
        for (metric, name) in (0..20).zip(&names) {
            let value = if (i == 200 || i == 300) && metric < 6 { 500.0 } else { calm(i + metric) };
            let point = feed.gauge(name, &[("job", "fleet"), ("instance", "a")], NOON + i * 10, value);
            let said = engine.observe(&[point], feed.window.registry(), std::iter::empty()).decisions;
            let opened = said.into_iter().find_map(|decision| match decision {
                Decision::Anomaly(AnomalyEvent::Opened(a)) if a.detector == DetectorKind::Entity => Some(a),
                _ => None,
            });
            anomaly = anomaly.or(opened);
        }
    }
    let (anomaly, snapshot) = (anomaly.expect("is found"), feed.snapshot());
    let of = |verdict| try_out(&snapshot, &trial(), &anomaly, Change::proposed(verdict, &anomaly).expect("is one"));
    let confirmed = of(Verdict::TruePositive);
    assert_eq!((confirmed.points, confirmed.anomalies_before, confirmed.anomalies_after), (8_000, 2, 2));
    assert_eq!(of(Verdict::FalsePositive).anomalies_after, 0);
    assert_eq!(of(Verdict::Expected).anomalies_after, 0, "both are within the hour");
}

#[test]
fn corrections_survive_with_the_engine() {
    let mut engine = Engine::new(EngineConfig::default(), Memory::default());
    engine.correct(correction("c", Change::Threshold { factor: 0.5 }), Some(SeriesId(0)));
    engine.correct(correction("d", Change::Baseline), None);
    let bytes = postcard::to_stdvec(&engine).expect("can be written");
    let read: Engine = postcard::from_bytes(&bytes).expect("can be read");
    assert_eq!(read.corrections().collect::<Vec<_>>(), engine.corrections().collect::<Vec<_>>());
    assert_eq!(read.corrections().count(), 2);
}
