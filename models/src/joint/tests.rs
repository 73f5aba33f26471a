use super::*;

const WIDTH: usize = 5;

/// Five metrics that follow one load, with noise of their own.
fn row(random: &mut Random) -> Vec<f32> {
    let load = random.normal();
    (0..WIDTH).map(|_| rough(0.95 * load + 0.3 * random.normal())).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "a few deviations")]
fn rough(x: f64) -> f32 {
    x as f32
}

fn learned(rows: usize) -> (Joint, Random) {
    let (mut joint, mut random) = (Joint::new(WIDTH, 1), Random::new(7));
    for _ in 0..rows {
        let row = row(&mut random);
        let judged = joint.judge(&row);
        joint.learn(&row, judged.as_ref());
    }
    (joint, random)
}

#[test]
fn the_inverse_is_one() {
    let a = vec![4.0, 0.0, 0.0, 1.0, 3.0, 0.0, 0.5, -1.0, 2.0];
    let full = |i: usize, j: usize| a[i.max(j) * 3 + i.min(j)];
    let inverse = inverse(a.clone(), 3).expect("positive definite");
    for i in 0..3 {
        for j in 0..3 {
            let product: f64 = (0..3).map(|k| full(i, k) * inverse[k * 3 + j]).sum();
            assert!((product - if i == j { 1.0 } else { 0.0 }).abs() < 1e-12, "{i} {j}: {product}");
        }
    }
    assert!(super::inverse(vec![1.0, 0.0, 2.0, 1.0], 2).is_none(), "not positive definite");
}

#[test]
fn residuals_are_those_of_the_regression_on_the_others() {
    let (joint, mut random) = learned(512);
    let all: Vec<Vec<f32>> = (0..500).map(|_| joint.residuals(&row(&mut random))).collect();
    for metric in 0..WIDTH {
        let variance = all.iter().map(|r| f64::from(r[metric]).powi(2)).sum::<f64>() / 500.0;
        // The ridge takes a little off.
        assert!((0.3..1.3).contains(&variance), "{metric}: {variance}");
    }
}

#[test]
fn a_load_that_everything_follows_breaks_nothing_and_one_that_stays_behind_does() {
    let (joint, _) = learned(1_024);
    let together = joint.judge(&[2.5; WIDTH]).expect("fitted");
    assert!(together.score() < 1.0, "{together:?}");
    let row = [1.8, 1.8, -1.8, 1.8, 1.8];
    let behind = joint.judge(&row).expect("fitted");
    assert!(behind.score() > 1.0, "{behind:?}");
    let residuals = joint.residuals(&row);
    assert!(residuals[2] < -3.0 && residuals.iter().all(|r| *r >= residuals[2]), "{residuals:?}");
}

#[test]
fn calm_rows_stay_below_the_limit() {
    let (mut joint, mut random) = learned(1_024);
    let mut above = 0;
    for _ in 0..3_000 {
        let row = row(&mut random);
        let judged = joint.judge(&row).expect("fitted");
        above += usize::from(judged.score() > 1.0);
        joint.learn(&row, Some(&judged));
    }
    assert!(above <= 1, "{above} of 3,000");
}

#[test]
fn rows_that_cannot_be_are_not_learned_and_what_lacks_is_not_blamed() {
    let (mut joint, _) = learned(512);
    let before = joint.clone();
    joint.learn(&[1.0; 3], None);
    joint.learn(&[f32::NAN, 0.0, 0.0, 0.0, 0.0], None);
    joint.learn(&[f32::INFINITY, 0.0, 0.0, 0.0, 0.0], None);
    assert_eq!(joint, before);
    assert_eq!(joint.judge(&[0.0; 3]), None);
    assert!(joint.judge(&[0.1, 0.1, f32::NAN, 0.1, 0.1]).is_some_and(|j| j.score() < 1.0));
    assert!(joint.judge(&[f32::INFINITY; WIDTH]).is_some_and(|j| j.score().is_finite()));
}

#[test]
fn metrics_that_never_move_or_are_the_same_do_no_harm() {
    let mut joint = Joint::new(4, 3);
    for i in 0..600_u16 {
        let x = f32::from(i % 17) / 8.0 - 1.0;
        let row = [x, x, 0.0, x];
        let judged = joint.judge(&row);
        joint.learn(&row, judged.as_ref());
    }
    assert!(joint.judge(&[0.5, 0.5, 0.0, 0.5]).is_some_and(|j| j.score() < 1.0));
    assert!(joint.judge(&[1.5, -1.5, 0.0, 1.5]).is_some_and(|j| j.score() > 1.0));
}

#[test]
fn what_was_written_down_goes_on_the_same() {
    let (mut one, mut random) = learned(700);
    let bytes = postcard::to_allocvec(&one).expect("plain data");
    assert!(bytes.len() < 10_000, "a sample of the past, not the forest: {} bytes", bytes.len());
    let mut other: Joint = postcard::from_bytes(&bytes).expect("as written");
    for _ in 0..400 {
        let row = row(&mut random);
        let judged = one.judge(&row);
        assert_eq!(judged, other.judge(&row));
        one.learn(&row, judged.as_ref());
        other.learn(&row, judged.as_ref());
    }
    assert_eq!(one, other);
}

#[test]
fn one_metric_that_is_far_out_by_itself_breaks_nothing() {
    // A share of failed calls that has always been 0: that it no longer is, others tell.
    let (mut joint, mut random) = (Joint::new(WIDTH, 1), Random::new(7));
    let row = |random: &mut Random, last: f32| -> Vec<f32> {
        (1..WIDTH).map(|_| rough(random.normal())).chain([last]).collect()
    };
    for _ in 0..1_024 {
        let row = row(&mut random, 0.0);
        let judged = joint.judge(&row);
        joint.learn(&row, judged.as_ref());
    }
    let judged = joint.judge(&[0.3, -0.8, 0.5, 0.1, 50.0]).expect("fitted");
    assert!(judged.score() < 1.0, "{judged:?}");
}
