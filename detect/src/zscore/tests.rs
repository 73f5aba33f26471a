use super::*;
use crate::testing::{self, calm};

fn series(name: &str, unit: &str) -> Arc<Series> {
    testing::series(name, unit, &[("job", "shop/api")])
}

fn secs(s: i64) -> UnixNanos {
    UnixNanos(s * 1_000_000_000)
}

/// Runs `value(i)` every 10 s and returns what was said, as (second, what).
fn run(detector: &mut ZScoreDetector, points: std::ops::Range<i64>, value: impl Fn(i64) -> f64) -> Vec<AnomalyEvent> {
    let series = series("latency_seconds", "s");
    let point = |i: i64| Point { series: SeriesId(0), time: secs(i * 10), value: value(i) };
    points.filter_map(|i| detector.observe(&point(i), &series).event).collect()
}

fn short(events: &[AnomalyEvent]) -> Vec<(&'static str, i64, Pattern)> {
    let at = |t: UnixNanos| t.0 / 10_000_000_000;
    events
        .iter()
        .map(|e| match e {
            AnomalyEvent::Opened(a) => ("opened", at(a.starts_at), a.pattern),
            AnomalyEvent::Updated(a) => ("updated", at(a.starts_at), a.pattern),
            AnomalyEvent::Ended(a) => ("ended", a.ends_at.map_or(0, at), a.pattern),
        })
        .collect()
}

#[test]
fn a_spike_is_one_anomaly_that_ends_where_calm_began() {
    let mut d = ZScoreDetector::new(ZScoreConfig::default());
    let events = run(&mut d, 0..200, |i| if (100..103).contains(&i) { 500.0 } else { calm(i) });
    assert_eq!(short(&events), [("opened", 100, Pattern::Spike), ("ended", 103, Pattern::Spike)]);
    assert_eq!(events[1].anomaly().points, 3);
}

#[test]
fn a_step_is_one_level_shift_and_does_not_teach() {
    let mut d = ZScoreDetector::new(ZScoreConfig::default());
    let events = run(&mut d, 0..400, |i| if (100..300).contains(&i) { 50.0 } else { calm(i) });
    assert_eq!(
        short(&events),
        [("opened", 100, Pattern::Dip), ("updated", 100, Pattern::LevelShift), ("ended", 300, Pattern::LevelShift)]
    );
}

#[test]
fn what_lasts_too_long_is_the_new_normal() {
    let config = ZScoreConfig { adopt_after: Duration::from_secs(1_000), ..ZScoreConfig::default() };
    let mut d = ZScoreDetector::new(config);
    let events = run(&mut d, 0..1_000, |i| if i >= 100 { 50.0 + calm(i) } else { calm(i) });
    let last = events.last().expect("something was said");
    assert_eq!(short(std::slice::from_ref(last)), [("ended", 200, Pattern::LevelShift)]);
    assert!(run(&mut d, 1_000..1_300, |i| 50.0 + calm(i)).is_empty());
}

#[test]
fn nothing_is_said_during_warm_up_or_of_calm_data() {
    let mut d = ZScoreDetector::new(ZScoreConfig::default());
    assert!(run(&mut d, 0..25, |i| if i == 20 { 1e9 } else { calm(i) }).is_empty());
    let mut d = ZScoreDetector::new(ZScoreConfig::default());
    assert!(run(&mut d, 0..5_000, calm).is_empty());
}

#[test]
fn every_number_of_an_explanation_reproduces_the_decision() {
    let mut d = ZScoreDetector::new(ZScoreConfig::default());
    let events = run(&mut d, 0..101, |i| if i == 100 { 130.0 } else { calm(i) });
    let a = events[0].anomaly();
    let close = |x: f64, y: f64| (x - y).abs() < 1e-9 * (1.0 + y.abs());
    assert!(close(a.z, (a.observed - a.expected) / a.scale));
    assert!(close(a.score, a.z.abs() / a.threshold));
    assert!(close(a.upper, a.expected + a.scale * a.threshold));
    assert!(a.score > 1.0 && a.observed > a.upper);
    assert_eq!((a.sample_count, a.baseline_span), (100, Duration::from_secs(1_000)));
    for shown in [number(a.observed), number(a.expected), number(a.upper), "100 points".into(), "16 min 40 s".into()] {
        assert!(a.explanation.contains(&shown), "{shown} is not in: {}", a.explanation);
    }
}

#[test]
fn severity_follows_the_score() {
    let mut d = ZScoreDetector::new(ZScoreConfig::default());
    let limit = {
        let mut probe = ZScoreDetector::new(ZScoreConfig::default());
        run(&mut probe, 0..101, |i| if i == 100 { 1e4 } else { calm(i) })[0].anomaly().upper
    };
    let slightly = run(&mut d, 0..101, |i| if i == 100 { limit + 0.5 } else { calm(i) });
    assert_eq!(slightly[0].anomaly().severity, Severity::Warning);
    let worse = run(&mut d, 101..102, |_| 1_000.0);
    assert_eq!(worse[0].anomaly().severity, Severity::Critical);
}

#[test]
fn the_same_input_gives_the_same_decisions() {
    let go = || {
        let mut d = ZScoreDetector::new(ZScoreConfig::default());
        run(&mut d, 0..2_000, |i| if i % 300 > 290 { 400.0 } else { calm(i) })
    };
    assert_eq!(go(), go());
}

#[test]
fn expected_and_band_are_published_at_the_set_pace() {
    let mut d = ZScoreDetector::new(ZScoreConfig::default());
    let series = series("x", "s");
    let mut times = Vec::new();
    for i in 0..100 {
        let observed = d.observe(&Point { series: SeriesId(0), time: secs(i * 10), value: calm(i) }, &series);
        let published = observed.published.filter(|p| p.values().any(|(suffix, _)| suffix == ":expected"));
        times.extend(published.map(|p| p.time.0 / 1_000_000_000));
    }
    assert_eq!(times[..3], [300, 360, 420]);
}

#[test]
fn an_open_anomaly_outlives_a_restart_and_ends_when_its_series_is_calm() {
    let mut d = ZScoreDetector::new(ZScoreConfig::default());
    let opened = run(&mut d, 0..101, |i| if i == 100 { 500.0 } else { calm(i) });
    let mut restarted = ZScoreDetector::new(ZScoreConfig::default());
    restarted.restore([opened[0].anomaly().clone()]);
    assert_eq!(restarted.open().count(), 1);
    let events = run(&mut restarted, 101..150, calm);
    assert_eq!(short(&events), [("ended", 131, Pattern::Spike)]);
    assert_eq!(restarted.open().count(), 0);
}

#[test]
fn a_series_that_is_gone_ends_its_anomaly() {
    let mut d = ZScoreDetector::new(ZScoreConfig::default());
    run(&mut d, 0..101, |i| if i == 100 { 500.0 } else { calm(i) });
    let ended = d.forget(&[SeriesId(0)]);
    assert_eq!(ended[0].anomaly().ends_at, Some(secs(1_000)));
    assert_eq!(d.warm_and_warming(), (0, 0));
}

#[test]
fn a_share_that_was_always_zero_is_judged_by_points_in_a_hundred() {
    let mut d = ZScoreDetector::new(ZScoreConfig::default());
    let series = series("traces_span_metrics_errors:ratio", "1");
    let mut said = |i: i64, value: f64| {
        d.observe(&Point { series: SeriesId(0), time: secs(i * 10), value }, &series).event.is_some()
    };
    assert!(!(0..100).any(|i| said(i, 0.0)));
    assert!(!said(100, 0.05), "one failed call of twenty");
    assert!(said(101, 0.6));
}

#[test]
fn numbers_are_written_for_people() {
    for (value, text) in [(0.0, "0"), (0.3, "0.3"), (1234.56, "1234.6"), (12.0, "12"), (1e-9, "1.000e-9")] {
        assert_eq!(number(value), text);
    }
    assert_eq!(span(Duration::from_secs(90_000)), "1 d 1 h");
}

#[test]
fn a_rate_of_rare_events_is_judged_as_events() {
    let mut d = ZScoreDetector::new(ZScoreConfig::default());
    let series = series("failures:rate", "1/s");
    let mut said = |i: i64, value: f64| {
        d.observe(&Point { series: SeriesId(0), time: secs(i * 10), value }, &series).event.is_some()
    };
    // One event in ten seconds now and then is a rate of 0.1.
    assert!(!(0..500).any(|i| said(i, if i % 37 == 36 { 0.1 } else { 0.0 })));
    assert!(said(500, 3.0), "thirty events at once");
}

#[test]
fn what_is_known_of_a_series_has_the_size_that_is_written_down() {
    let models = [
        size_of::<models::ZScore>(),
        size_of::<models::Novelty>(),
        size_of::<models::Shape>(),
        size_of::<models::Season>(),
    ];
    assert_eq!((models, size_of::<State>()), ([240, 440, 88, 32], 888));
}
