use super::*;

/// Standard normal values from a fixed generator (Box and Muller).
fn normal(seed: u64) -> impl FnMut() -> f64 {
    let mut x = seed;
    let mut uniform = move || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((x >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    };
    move || (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
}

#[test]
fn the_closed_form_is_what_simulated_paths_do() {
    let mut noise = normal(7);
    for (distance, drift, volatility, time) in [(5.0, 0.1, 0.5, 40.0), (3.0, -0.05, 0.5, 40.0), (10.0, 0.3, 0.2, 30.0)]
    {
        let (paths, parts) = (2_000, 50);
        let step: f64 = 1.0 / f64::from(parts);
        let mut reached = 0;
        for _ in 0..paths {
            let (mut x, mut t) = (0.0, 0.0);
            while t < time && x < distance {
                x += drift * step + volatility * step.sqrt() * noise();
                t += step;
            }
            reached += i32::from(x >= distance);
        }
        let (simulated, exact) = (f64::from(reached) / f64::from(paths), passage(distance, drift, volatility, time));
        // Steps miss what is reached between them; 2,000 paths are off by 0.011.
        assert!((simulated - exact).abs() < 0.045, "{simulated} simulated, {exact} exact");
    }
}

#[test]
fn a_limit_that_is_reached_or_out_of_reach() {
    assert_eq!((passage(0.0, -1.0, 1.0, 0.0),), (1.0,), "there already");
    assert_eq!((passage(1.0, 1.0, 1.0, 0.0),), (0.0,), "no time");
    assert_eq!((passage(1.0, 1.0, 0.0, 0.9), passage(1.0, 1.0, 0.0, 1.0)), (0.0, 1.0), "a straight line");
    // Neither the great number nor the small one can be written down.
    let far = passage(1_000.0, 1.0, 0.5, 2_000.0);
    assert!((far - 1.0).abs() < 1e-9, "{far}");
    assert!(passage(1_000.0, -1.0, 0.5, 2_000.0) < 1e-12);
    assert!((ln_cdf(-20.000_001) - ln_cdf(-19.999_999)).abs() < 1e-3, "both ways of it meet");
}

/// `value(i)` for every bucket.
fn course(buckets: i64, mut value: impl FnMut(f64) -> f64) -> Course {
    let mut course = Course::default();
    (0..buckets).for_each(|i| course.take(i, value(i as f64)));
    course
}

#[test]
fn a_noisy_line_is_extrapolated_with_a_fair_interval() {
    let mut noise = normal(11);
    let (mut within, runs) = (0, 60);
    for _ in 0..runs {
        let pace = course(48, |i| 2.0 * i + 3.0 * noise()).pace().expect("is long enough");
        assert!((pace.drift - 2.0).abs() < 0.3 && (pace.level - 94.0).abs() < 9.0, "{pace:?}");
        let at = |p| pace.time_to(200.0, true, p, 1e4).expect("gets there");
        let (early, middle, late) = (at(0.1), at(0.5), at(0.9));
        assert!(early < middle && middle < late && (45.0..62.0).contains(&middle), "{early} {middle} {late}");
        // The line itself gets there 53 buckets after the last.
        within += i32::from((early..=late).contains(&53.0));
        let edge = pace.level_for(200.0, true, 0.5, 40.0);
        let there = Pace { level: edge, ..pace }.reaches(200.0, true, 40.0);
        assert!((there - 0.5).abs() < 1e-3, "the edge is where the probability is the one wanted: {there}");
    }
    assert!(within >= runs * 8 / 10, "{within} of {runs} intervals hold the truth");
}

#[test]
fn noise_without_a_way_goes_nowhere() {
    let mut noise = normal(5);
    for _ in 0..50 {
        let pace = course(48, |_| 50.0 + 5.0 * noise()).pace().expect("is long enough");
        let (up, down) = (pace.reaches(100.0, true, 32.0), pace.reaches(0.0, false, 32.0));
        assert!(up < 0.2 && down < 0.2, "{up} {down} {pace:?}");
    }
}

#[test]
fn one_burst_is_no_way() {
    let pace = course(48, |i| if i > 40.0 && i < 44.0 { 90.0 } else { 50.0 }).pace().expect("is long enough");
    assert!(pace.drift.abs() < 1e-12);
}

#[test]
fn memory_ends_after_the_buckets_it_holds() {
    let mut course = course(200, |i| i);
    assert_eq!(course.len(), usize::from(BUCKETS));
    course.take(1_000, 0.0);
    assert_eq!((course.len(), course.pace(), course.is_empty()), (1, None, false), "after a gap it begins anew");
}
