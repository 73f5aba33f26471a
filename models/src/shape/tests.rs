use super::*;

/// Uniform in [-1, 1), the same in every run.
fn noise(i: u32) -> f64 {
    let mixed = (i ^ (i >> 7)).wrapping_mul(2_654_435_761);
    f64::from((mixed ^ (mixed >> 15)).wrapping_mul(2_246_822_519) >> 8) / f64::from(1_u32 << 23) - 1.0
}

fn after(values: impl Iterator<Item = f64>) -> Shape {
    let mut shape = Shape::default();
    values.for_each(|v| shape.learn(v, false));
    shape
}

/// The greatest score of `values`, which are learned.
fn greatest(shape: &mut Shape, values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |most, v| {
        let score = shape.judge(v).map_or(0.0, |j| j.score());
        shape.learn(v, score > 1.0);
        score.max(most)
    })
}

#[test]
fn a_series_that_moved_and_stands_still_is_a_flatline_after_thirty_points() {
    let mut shape = after((0..500).map(|i| 50.0 + noise(i)));
    for i in 1..=60 {
        let judged = shape.judge(50.3).expect("enough is known");
        if let Judgement::Flatline { run, limit } = judged {
            assert!((run - f64::from(i - 1)).abs() < 1e-9 && (limit - 30.0).abs() < 1e-9, "{judged:?} at {i}");
        }
        if i > 31 {
            assert!(matches!(judged, Judgement::Flatline { .. }) && judged.score() > 1.0, "{judged:?} at {i}");
        }
        shape.learn(50.3, judged.score() > 1.0);
    }
}

#[test]
fn who_often_stands_still_has_to_do_so_for_much_longer() {
    let steps = |i: u32| f64::from(i / 20);
    let mut shape = after((0..600).map(steps));
    assert!(greatest(&mut shape, std::iter::repeat_n(29.0, 500)) < 1.0, "stands still nearly always");
    // Plateaus of 15 points among points that change.
    let mixed = |i: u32| if i % 60 < 15 { 7.0 } else { noise(i) };
    let mut shape = after((0..600).map(mixed));
    assert!(greatest(&mut shape, std::iter::repeat_n(7.5, 50)) < 1.0);
    assert!(greatest(&mut shape, std::iter::repeat_n(7.5, 50)) > 1.0);
}

#[test]
fn nothing_at_all_is_no_flatline() {
    let mut shape = after((0..500).map(|i| 5.0 + noise(i)));
    let flat = |shape: &Shape| matches!(shape.judge(0.0), Some(Judgement::Flatline { .. }));
    (0..200).for_each(|_| {
        assert!(!flat(&shape));
        shape.learn(0.0, false);
    });
}

#[test]
fn variance_is_told_when_it_grows_or_shrinks_and_not_from_one_jump() {
    let calm = |i: u32| 100.0 + noise(i);
    let mut shape = after((0..2_000).map(calm));
    assert!(greatest(&mut shape, (2_000..3_000).map(calm)) < 1.0);
    assert!(greatest(&mut shape.clone(), std::iter::once(900.0).chain((0..40).map(calm))) < 1.0, "one jump");
    let more = greatest(&mut shape.clone(), (5_000..5_040).map(|i| 100.0 + 5.0 * noise(i)));
    assert!(more > 1.0, "{more}");
    assert!(greatest(&mut shape.clone(), (0..80).map(|i| 100.0 + 0.02 * noise(i))) > 1.0);
    // A level that wanders is no variance.
    assert!(greatest(&mut shape, (0..200).map(|i| 100.0 + 0.3 * f64::from(i) + noise(i))) < 1.0);
}

#[test]
fn what_was_seen_is_no_news() {
    let burst = |i: u32| 100.0 + if i % 300 < 40 { 8.0 } else { 1.0 } * noise(i);
    let mut shape = after((0..1_500).map(burst));
    assert!(greatest(&mut shape, (1_500..3_000).map(burst)) < 1.0);
}
