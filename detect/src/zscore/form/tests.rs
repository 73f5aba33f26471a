use std::{f64::consts::TAU, ops::Range, sync::Arc};

use window::{Series, SeriesId, UnixNanos};

use super::*;
use crate::{
    AnomalyEvent,
    testing::series,
    zscore::{ZScoreConfig, ZScoreDetector},
};

/// Uniform in [-1, 1), the same in every run.
fn noise(i: i64) -> f64 {
    let hash = xxhash_rust::xxh3::xxh3_64(&i.to_le_bytes());
    f64::from((hash >> 40) as u32) / f64::from(1_u32 << 23) - 1.0
}

fn gauge() -> Arc<Series> {
    series("queue_length", "", &[("job", "shop/api")])
}

/// A value every five minutes, and what was said of it.
fn run(detector: &mut ZScoreDetector, points: Range<i64>, value: impl Fn(i64) -> f64) -> Vec<AnomalyEvent> {
    let point = |i: i64| Point { series: SeriesId(0), time: UnixNanos(i * 300_000_000_000), value: value(i) };
    points.filter_map(|i| detector.observe(&point(i), &gauge()).event).collect()
}

fn patterns(events: &[AnomalyEvent]) -> Vec<(&'static str, Pattern)> {
    let short = |e: &AnomalyEvent| match e {
        AnomalyEvent::Opened(a) => ("opened", a.pattern),
        AnomalyEvent::Updated(a) => ("updated", a.pattern),
        AnomalyEvent::Ended(a) => ("ended", a.pattern),
    };
    events.iter().map(short).collect()
}

fn calm(i: i64) -> f64 {
    100.0 + noise(i)
}

fn daily(i: i64) -> f64 {
    100.0 + 40.0 * (TAU * i as f64 / 288.0).sin() + 3.0 * noise(i)
}

/// Every number of the explanation is that of the decision, and its edge is where the score is 1.
fn recomputes(a: &Anomaly, shown: &[f64]) {
    assert!((a.score - a.z.abs() / a.threshold).abs() < 1e-9 && a.score > 1.0, "{a:?}");
    for value in shown {
        assert!(a.explanation.contains(&crate::zscore::number(*value)), "{value} is not in: {}", a.explanation);
    }
}

#[test]
fn a_series_that_stands_still_is_a_flatline_until_it_moves() {
    let mut d = ZScoreDetector::new(ZScoreConfig::default());
    let events = run(&mut d, 0..700, |i| if (600..660).contains(&i) { 100.25 } else { calm(i) });
    assert_eq!(patterns(&events)[0], ("opened", Pattern::Flatline));
    assert_eq!(patterns(&events).last(), Some(&("ended", Pattern::Flatline)));
    let first = events[0].anomaly();
    assert_eq!((first.detector, first.emitted_at), (DetectorKind::Pattern, UnixNanos(631 * 300_000_000_000)));
    recomputes(first, &[100.25, 31.0, 30.0]);
    let last = events[events.len() - 1].anomaly();
    assert_eq!(last.ends_at, Some(UnixNanos(660 * 300_000_000_000)));
}

#[test]
fn steps_that_grow_within_the_band_are_a_change_of_variance() {
    // A day that swings far hides them.
    let value = |i: i64| daily(i) + if i >= 1_200 { 12.0 * noise(i + 7_000) } else { 0.0 };
    let mut d = ZScoreDetector::new(ZScoreConfig::default());
    let events = run(&mut d, 0..1_240, value);
    assert_eq!(patterns(&events)[0], ("opened", Pattern::VarianceChange), "{events:?}");
    let a = events[0].anomaly();
    assert!(((a.observed / a.expected).ln() - a.z).abs() < 1e-9, "{a:?}");
    assert!((a.upper - a.expected * a.threshold.exp()).abs() < 1e-9 * a.upper, "{a:?}");
    recomputes(a, &[a.observed, a.expected, a.upper]);
}

#[test]
fn a_day_that_comes_late_is_a_break_of_the_season() {
    let mut d = ZScoreDetector::new(ZScoreConfig::default());
    assert!(run(&mut d, 0..288 * 6, daily).is_empty());
    let events = run(&mut d, 288 * 6..288 * 6 + 40, |i| daily(i + 60));
    // The jump to another hour's value is news by itself; that it stays there is told by the season.
    let is_broken = |a: &&Anomaly| a.pattern == Pattern::SeasonalityBreak;
    let a = events.iter().map(AnomalyEvent::anomaly).find(is_broken).expect("found");
    assert!((a.z.abs() - (a.observed - a.expected).abs() / a.scale) < 1e-9, "the lesser of two hours: {a:?}");
    recomputes(a, &[a.observed, a.expected, a.lower, a.upper]);
}

#[test]
fn points_on_both_sides_are_variance_and_ever_farther_ones_a_trend() {
    let mut d = ZScoreDetector::new(ZScoreConfig::default());
    let events = run(&mut d, 0..130, |i| if i >= 100 { 100.0 + 40.0 * noise(i).signum() } else { calm(i) });
    assert!(patterns(&events).contains(&("updated", Pattern::VarianceChange)), "{events:?}");
    let mut d = ZScoreDetector::new(ZScoreConfig::default());
    let events = run(&mut d, 0..130, |i| if i >= 100 { calm(i) + 8.0 * (i - 99) as f64 } else { calm(i) });
    assert!(patterns(&events).contains(&("updated", Pattern::Trend)), "{events:?}");
}

#[test]
fn who_is_not_settled_is_not_judged_by_its_course() {
    let mut d = ZScoreDetector::new(ZScoreConfig::default());
    assert!(run(&mut d, 0..280, |i| if i > 150 { 100.25 } else { calm(i) }).is_empty());
}
