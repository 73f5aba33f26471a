//! Cases that other detectors got wrong, at both ages of a series: young (judged by the z-score) and
//! settled (judged by novelty).

use super::*;
use crate::testing::series;

/// Anomalies that open while `values` come, one a minute, as (index, anomaly).
fn found(values: impl IntoIterator<Item = f64>) -> Vec<(usize, Anomaly)> {
    let (mut detector, series) =
        (ZScoreDetector::new(ZScoreConfig::default()), series("x", "", &[("job", "shop/api")]));
    let mut found = Vec::new();
    for (i, (second, value)) in (0_i64..).step_by(60).zip(values).enumerate() {
        let point = Point { series: SeriesId(0), time: UnixNanos(second * 1_000_000_000), value };
        if let Some(AnomalyEvent::Opened(a)) = detector.observe(&point, &series).event {
            found.push((i, a));
        }
    }
    found
}

/// In [0, 1), the same in every run.
fn uniform(i: usize) -> f64 {
    let mixed = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Young and settled.
const AGES: [usize; 2] = [200, 4_000];

#[test]
fn spans_of_5_to_15_seconds_among_60_to_109_ms_are_far_from_the_rest() {
    for age in AGES {
        for slow in [5.0, 10.0, 15.0] {
            let values = (0..=age).map(|i| if i == age { slow } else { 0.060 + 0.049 * uniform(i) });
            let found = found(values);
            let (at, worst) = found.last().expect("is found");
            assert_eq!(*at, age);
            assert!(worst.score > 2.0 && worst.direction == Direction::Up, "{age} {slow}: {}", worst.score);
        }
    }
}

#[test]
fn the_smallest_values_of_a_series_are_not_the_ones_flagged() {
    let values = (0..6_000).map(|i| match i % 500 {
        250 => 100.0 + 900.0 * uniform(i),
        _ => 10.0 + uniform(i),
    });
    assert!(found(values).iter().all(|(_, a)| a.direction == Direction::Up && a.observed > 11.0));
}

#[test]
fn a_step_of_80_percent_is_found_in_both_directions() {
    for age in AGES {
        for factor in [0.2, 1.8] {
            let values = (0..age + 30).map(|i| (if i >= age { factor } else { 1.0 }) * (100.0 + 5.0 * uniform(i)));
            let found = found(values);
            assert_eq!(found.len(), 1, "{age} {factor}");
            assert_eq!(found[0].0, age);
        }
    }
}

#[test]
fn a_flat_series_is_quiet() {
    assert!(found(std::iter::repeat_n(42.0, 6_000)).is_empty());
    assert!(found(std::iter::repeat_n(0.0, 6_000)).is_empty());
}

#[test]
fn a_predicted_10_250_with_an_actual_4_200_is_called_out() {
    for age in AGES {
        let values = (0..=age).map(|i| if i == age { 4_200.0 } else { 10_250.0 + 400.0 * (uniform(i) - 0.5) });
        let found = found(values);
        let (_, a) = found.last().expect("is found");
        assert_eq!(a.direction, Direction::Down);
        assert!(a.score > 1.0 && a.observed < a.lower && (a.expected - 10_250.0).abs() < 200.0, "{a:?}");
        assert!((a.score - a.z.abs() / a.threshold).abs() < 1e-9, "re-computes");
    }
}

#[test]
fn a_value_that_is_only_wrong_at_its_hour_is_on_its_own_side_of_what_was_expected() {
    // A day of 1,440 points between 2,250 and 10,250: the value is known, and it is where its neighbours are
    // not. Whether the nearest value ever seen happens to be above or below it says nothing.
    let season = |i: usize| 6_250.0 + 4_000.0 * (std::f64::consts::TAU * (i % 1_440) as f64 / 1_440.0).cos();
    let value = |i: usize| season(i) + 300.0 * (uniform(i) - 0.5);
    for actual in [4_180.0, 4_190.0, 4_200.0, 4_210.0, 4_220.0] {
        let values = (0..=5_760).map(|i| if i == 5_760 { actual } else { value(i) });
        let found = found(values);
        let (at, a) = found.last().expect("is found");
        assert_eq!((*at, a.direction), (5_760, Direction::Down), "{actual}: {a:?}");
        assert!(a.observed < a.lower && a.lower <= a.expected && a.expected <= a.upper, "{a:?}");
    }
}

#[test]
fn the_edge_of_a_settled_series_is_where_the_score_is_one() {
    let history = |last: f64| (0..=4_000).map(move |i| if i == 4_000 { last } else { 100.0 + 5.0 * uniform(i) });
    let found_at = found(history(130.0));
    let (_, a) = found_at.last().expect("is found");
    assert_eq!(a.detector, DetectorKind::Novelty);
    assert!(found(history(a.upper + 0.01)).len() == 1 && found(history(a.upper - 0.01)).is_empty(), "{}", a.upper);
    let shares: f64 = a.contributors.iter().map(|c| c.share).sum();
    assert!((shares - 1.0).abs() < 1e-9);
}

/// When anomalies of the share of failed calls open, in buckets of 10 s: `calls` a bucket, of which `failed(bucket)` fail.
fn failures_found(calls: u32, buckets: usize, failed: impl Fn(usize) -> u32) -> Vec<usize> {
    let mut detector = ZScoreDetector::new(ZScoreConfig::default());
    let (rate, share) = (
        series("traces_span_metrics_calls:rate", "", &[("job", "shop/api")]),
        series("traces_span_metrics_errors:ratio", "", &[("job", "shop/api")]),
    );
    let mut found = Vec::new();
    for (i, second) in (0..buckets).zip((0_i64..).step_by(10)) {
        let time = UnixNanos(second * 1_000_000_000);
        let calls_a_second = Point { series: SeriesId(0), time, value: f64::from(calls) / 10.0 };
        assert!(detector.observe(&calls_a_second, &rate).event.is_none());
        let value = f64::from(failed(i)) / f64::from(calls);
        let point = Point { series: SeriesId(1), time, value };
        if let Some(AnomalyEvent::Opened(_)) = detector.observe(&point, &share).event {
            found.push(i);
        }
    }
    found
}

#[test]
fn many_failed_calls_are_found_although_one_fails_now_and_then() {
    for calls in [5, 15, 100, 1_000] {
        // One call in 300 fails; then every third.
        let usual = |i: usize| u32::from(uniform(i) < f64::from(calls.min(300)) / 300.0);
        let found = failures_found(calls, 700, |i| if (600..618).contains(&i) { calls.div_ceil(3) } else { usual(i) });
        assert!(matches!(found[..], [first] if (600..606).contains(&first)), "{calls}: {found:?}");
    }
}

#[test]
fn single_failed_calls_are_no_anomaly_however_few_calls_there_are() {
    for calls in [1, 2, 5, 20] {
        let found = failures_found(calls, 8_000, |i| u32::from(uniform(i) < 0.002));
        assert!(found.is_empty(), "{calls}: {found:?}");
    }
}
