use super::*;

/// Roughly normal noise (sum of uniforms) with standard deviation 1, from a fixed generator.
fn noise(seed: u64) -> impl Iterator<Item = f64> {
    let mut x = seed;
    std::iter::repeat_with(move || {
        let mut sum = 0.0;
        for _ in 0..12 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            sum += (x >> 11) as f64 / (1_u64 << 53) as f64;
        }
        sum - 6.0
    })
}

fn trained(values: impl Iterator<Item = f64>) -> ZScore {
    let mut model = ZScore::default();
    values.for_each(|v| model.learn(&Params::default(), 0.0, v, 10.0));
    model
}

fn score(model: &ZScore, value: f64) -> f64 {
    model.judge(&Params::default(), 0.0, value).expect("is warm").score
}

#[test]
fn there_is_no_verdict_before_there_is_evidence() {
    let model = trained(noise(1).take(29));
    assert_eq!(model.judge(&Params::default(), 0.0, 1e9), None);
    assert!(trained(noise(1).take(30)).judge(&Params::default(), 0.0, 1e9).is_some());
}

#[test]
fn scores_grow_with_the_distance_on_both_sides() {
    let model = trained(noise(2).map(|n| 100.0 + n).take(500));
    let scores: Vec<f64> = [100.0, 102.0, 105.0, 110.0, 150.0].iter().map(|v| score(&model, *v)).collect();
    assert!(scores.is_sorted_by(|a, b| a < b), "{scores:?}");
    let low: Vec<f64> = [99.0, 95.0, 90.0, 50.0].iter().map(|v| score(&model, *v)).collect();
    assert!(low.is_sorted_by(|a, b| a < b), "{low:?}");
    assert!(scores[0] < 0.3 && scores[4] > 2.0, "{scores:?}");
}

#[test]
fn every_number_of_a_judgement_follows_from_the_others() {
    let model = trained(noise(3).map(|n| 40.0 + 2.0 * n).take(400));
    for value in [31.0, 40.0, 77.0] {
        let j = model.judge(&Params::default(), 0.0, value).expect("is warm");
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9 * (1.0 + b.abs());
        assert!(close(j.z, (value - j.expected) / j.scale));
        assert!(close(j.score, j.z.abs() / j.threshold));
        let edge = if j.z > 0.0 { j.upper } else { j.lower };
        assert!(close(score(&model, edge), 1.0), "the band's edge has score 1");
    }
}

#[test]
fn the_unit_does_not_matter() {
    let plain = trained(noise(4).map(|n| 50.0 + n).take(300));
    let scaled = trained(noise(4).map(|n| (50.0 + n) * 1e6).take(300));
    assert!((score(&plain, 60.0) - score(&scaled, 60e6)).abs() < 1e-6);
}

#[test]
fn calm_noise_raises_few_alarms() {
    let mut alarms = 0;
    for seed in 10..30 {
        let mut model = trained(noise(seed).take(30));
        for v in noise(seed).skip(30).take(8_640) {
            alarms += u32::from(score(&model, v) > 1.0);
            model.learn(&Params::default(), 0.0, v, 10.0);
        }
    }
    // 20 series for a day at 10 s; one alarm a side in four weeks would be 1.4 together.
    assert!(alarms <= 4, "{alarms} alarms");
}

#[test]
fn a_level_step_is_seen_and_does_not_teach() {
    let mut model = trained(noise(5).map(|n| 20.0 + n).take(300));
    let before = score(&model, 60.0);
    assert!(before > 1.0);
    for _ in 0..1_000 {
        let j = model.judge(&Params::default(), 0.0, 60.0).expect("is warm");
        model.learn_anomalous(&Params::default(), &j, 10.0);
    }
    let j = model.judge(&Params::default(), 0.0, 60.0).expect("is warm");
    assert!((j.expected - 20.0).abs() < 1.0 && j.score > 1.0, "{j:?}");
}

#[test]
fn a_wandering_level_is_followed() {
    let mut level = 0.0;
    let mut model = ZScore::default();
    let mut worst: f64 = 0.0;
    for (i, n) in noise(6).enumerate().take(5_000) {
        level += 0.3 * n;
        let value = 100.0 + level;
        if i > 500 {
            worst = worst.max(score(&model, value));
        }
        model.learn(&Params::default(), 0.0, value, 10.0);
    }
    assert!(worst < 1.0, "{worst}");
    assert!(score(&model, 100.0 + level + 15.0) > 1.0, "a jump in it is seen");
}

#[test]
fn a_flat_series_has_bounded_scores_and_is_not_anomalous_itself() {
    let flat = trained(std::iter::repeat_n(5.0, 100));
    assert!(score(&flat, 5.0) < 1e-9);
    assert!(score(&flat, 5.05) < 1.0, "one per cent is nothing");
    let big = score(&flat, 10.0);
    assert!(big > 1.0 && big.is_finite(), "{big}");
}

#[test]
fn the_first_change_from_zero_is_as_rare_as_zero_was_long() {
    let short = trained(std::iter::repeat_n(0.0, 100));
    assert!(score(&short, 1.0) < 0.1);
    let mut long = ZScore::default();
    for _ in 0..1_000 {
        long.learn(&Params::default(), 0.0, 0.0, 8.0 * 3_600.0);
    }
    let first = score(&long, 1.0);
    assert!(first > 1.0 && first <= 2.0 + 1e-9, "{first}");
    // With a known unit the answer does not have to wait.
    let known = short.judge(&Params::default(), 0.01, 0.3).expect("is warm");
    assert!(known.score > 1.0, "{known:?}");
}

#[test]
fn scores_stay_finite_at_the_ends_of_the_range() {
    for model in [trained(std::iter::repeat_n(0.0, 100)), trained(noise(7).map(|n| n * 1e-300).take(100))] {
        for value in [f64::MAX, f64::MIN, f64::MIN_POSITIVE, 1e308] {
            let j = model.judge(&Params::default(), 0.0, value).expect("is warm");
            assert!(j.score.is_finite() && j.z.is_finite(), "{j:?}");
        }
    }
}

#[test]
fn a_series_that_mostly_stands_still_is_judged_by_the_steps_in_which_it_moves() {
    let model = trained((0..400).map(|i| if i % 40 == 39 { 1.0 } else { 0.0 }));
    assert!(score(&model, 1.0) < 0.5);
    assert!(score(&model, 50.0) > 1.0);
    // The first change is learned without throwing the estimates off.
    let mut still = trained(std::iter::repeat_n(0.0, 100));
    for _ in 0..3 {
        assert!(score(&still, 1.0) < 1.0);
        still.learn(&Params::default(), 0.0, 1.0, 10.0);
    }
    let j = still.judge(&Params::default(), 0.0, 0.0).expect("is warm");
    assert!(j.expected.abs() < 0.1, "{j:?}");
}

#[test]
fn one_incident_does_not_make_the_next_one_look_normal() {
    let mut model = trained(noise(8).map(|n| 20.0 + n).take(200));
    let before = score(&model, 45.0);
    for _ in 0..20 {
        let j = model.judge(&Params::default(), 0.0, 45.0).expect("is warm");
        model.learn_anomalous(&Params::default(), &j, 10.0);
    }
    noise(9).map(|n| 20.0 + n).take(20).for_each(|v| model.learn(&Params::default(), 0.0, v, 10.0));
    let after = score(&model, 45.0);
    assert!(before > 2.0 && after > 0.6 * before, "{before} then {after}");
}
