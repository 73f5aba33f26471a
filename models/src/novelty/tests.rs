use super::*;
use crate::known::{PAIRS, VALUES};

/// Uniform in [-0.5, 0.5), from a fixed linear congruential generator.
fn noise() -> impl FnMut() -> f64 {
    let mut x: u64 = 11;
    move || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    }
}

const STEP: f64 = 300.0;

/// A day-shaped series of two weeks, one point every five minutes.
fn daily(points: u32) -> Novelty {
    let mut novelty = Novelty::default();
    let mut noise = noise();
    for i in 0..points {
        take(&mut novelty, i, shape(i) + noise());
    }
    novelty
}

fn shape(i: u32) -> f64 {
    100.0 + 10.0 * (f64::from(i) * STEP / DAY * std::f64::consts::TAU).sin()
}

fn take(novelty: &mut Novelty, i: u32, value: f64) -> f64 {
    let (params, second) = (Params::default(), f64::from(i) * STEP);
    let judged = novelty.judge(&params, 0.0, second, value);
    novelty.learn(&params, second, value, if i == 0 { 0.0 } else { STEP }, judged.as_ref());
    judged.map_or(0.0, |j| j.score)
}

#[test]
fn what_was_never_seen_is_far_and_what_was_seen_is_not() {
    let mut novelty = daily(4_000);
    assert!(take(&mut novelty.clone(), 4_000, 140.0) > 1.0, "far above everything");
    assert!(take(&mut novelty.clone(), 4_000, 50.0) > 1.0, "far below everything");
    assert!(take(&mut novelty, 4_000, shape(4_000)) < 0.5, "as ever");
}

#[test]
fn a_jump_within_the_usual_range_is_news() {
    let novelty = daily(4_032);
    // At midnight the series is in the middle of its range; its greatest value is usual, six hours later.
    let score = take(&mut novelty.clone(), 4_032, 109.5);
    assert!(score > 1.0, "{score}");
}

#[test]
fn the_beginning_of_a_disturbance_does_not_excuse_it_but_what_lasts_becomes_known() {
    let mut novelty = daily(4_000);
    let scores: Vec<f64> = (4_000..4_060).map(|i| take(&mut novelty, i, 150.0)).collect();
    assert!(scores[..LAG].iter().all(|s| *s > 1.0), "{scores:?}");
    assert!(scores[50] < 0.5, "{scores:?}");
}

#[test]
fn a_regular_series_is_quiet_and_uniform_noise_nearly_so() {
    let mut novelty = daily(600);
    let mut sound = noise();
    let said = (600..8_000).filter(|i| take(&mut novelty, *i, shape(*i) + sound()) > 1.0).count();
    assert_eq!(said, 0);
    let (mut novelty, mut sound) = (Novelty::default(), noise());
    let said = (0..8_000).filter(|i| take(&mut novelty, *i, sound()) > 1.0 && *i > 300).count();
    assert!(said <= 1, "{said}");
}

#[test]
fn evidence_and_score_follow_from_the_distances() {
    let novelty = daily(4_000);
    let params = Params::default();
    let j = novelty.judge(&params, 0.0, 4_000.0 * STEP, 131.0).expect("there is a past");
    let by_hand: f64 = (0..4).map(|k| (1.0 + params.weights[k] * j.distances[k]).ln()).sum();
    assert!((by_hand - j.evidence).abs() < 1e-9 && (j.evidence / j.limit - j.score).abs() < 1e-12);
    let nearest = (131.0 - j.nearest).abs() / j.deviation;
    assert!((nearest - j.distances[0]).abs() < 1e-4, "{nearest} {:?}", j.distances);
}

#[test]
fn frequent_points_and_recent_anomalies_raise_the_limit() {
    let params = Params::default();
    let sampled = |step: f64| {
        let mut novelty = Novelty::default();
        for i in 0..500 {
            novelty.learn(&params, f64::from(i) * step, f64::from(i % 7), if i == 0 { 0.0 } else { step }, None);
        }
        novelty
    };
    let mut slow = sampled(3_600.0);
    assert!(sampled(1.0).limit(&params) > sampled(300.0).limit(&params));
    assert!(sampled(300.0).limit(&params) > slow.limit(&params));
    let before = slow.limit(&params);
    slow.note_anomaly();
    assert!(slow.limit(&params) > before);
}

#[test]
fn state_is_bounded() {
    let (mut novelty, mut noise) = (Novelty::default(), noise());
    for i in 0..20_000 {
        take(&mut novelty, i, (8.0 * noise()).exp());
    }
    let heap = 4 * (3 * VALUES + 2 * PAIRS);
    assert!(size_of::<Novelty>() + heap <= 2_232, "{} + {heap}", size_of::<Novelty>());
}
