use std::f64::consts::TAU;

use super::*;

/// Uniform in [-1, 1), the same in every run.
fn noise(i: u32) -> f64 {
    let mixed = (i ^ (i >> 7)).wrapping_mul(2_654_435_761);
    f64::from((mixed ^ (mixed >> 15)).wrapping_mul(2_246_822_519) >> 8) / f64::from(1_u32 << 23) - 1.0
}

/// Four points an hour for hours `from` to `until`.
fn feed(season: &mut Season, from: u32, until: u32, value: impl Fn(f64, u32) -> f64) -> f64 {
    (4 * from..4 * until).fold(0.0, |most: f64, i| {
        season.learn(f64::from(i) * 900.0, value(f64::from(i) / 4.0, i));
        most.max(season.judge().map_or(0.0, |j| j.z.abs() / j.threshold))
    })
}

fn daily(hour: f64, i: u32) -> f64 {
    100.0 + 40.0 * (TAU * hour / 24.0).sin() + 3.0 * noise(i)
}

#[test]
fn a_day_is_found_after_three_of_them() {
    let mut season = Season::default();
    feed(&mut season, 0, 60, daily);
    assert_eq!(season.cycle(), None);
    feed(&mut season, 60, 100, daily);
    assert_eq!(season.cycle(), Some(Cycle::Day));
}

#[test]
fn a_week_is_found_where_the_weekend_differs() {
    let weekly = |hour: f64, i: u32| if (hour / 24.0) % 7.0 < 2.0 { 20.0 + noise(i) } else { daily(hour, i) };
    let mut season = Season::default();
    feed(&mut season, 0, 24 * 28, weekly);
    assert_eq!(season.cycle(), Some(Cycle::Week));
    assert!(feed(&mut season, 24 * 28, 24 * 42, weekly) < 1.0, "the weekend is no news");
}

#[test]
fn noise_and_wandering_have_no_season() {
    let mut season = Season::default();
    feed(&mut season, 0, 500, |_, i| 10.0 * noise(i));
    assert_eq!(season.cycle(), None);
    let mut season = Season::default();
    feed(&mut season, 0, 500, |hour, _| 100.0 * (hour / 200.0).sin());
    assert_eq!(season.cycle(), None);
}

#[test]
fn a_day_that_comes_at_another_time_is_broken() {
    for shift in [3.0, 8.0, 12.0] {
        let mut season = Season::default();
        assert!(feed(&mut season, 0, 240, daily) < 1.0, "by itself");
        let most = feed(&mut season, 240, 246, |hour, i| daily(hour + shift, i));
        assert!(most > 1.0, "{shift} hours: {most}");
    }
}

#[test]
fn a_single_hour_is_not() {
    let mut season = Season::default();
    feed(&mut season, 0, 240, daily);
    let most = feed(&mut season, 240, 280, |hour, i| if hour < 241.0 { 300.0 } else { daily(hour, i) });
    assert!(most < 1.0, "{most}");
}

#[test]
fn after_a_day_it_is_the_new_season() {
    let mut season = Season::default();
    feed(&mut season, 0, 240, daily);
    feed(&mut season, 240, 240 + 24 * 10, |hour, i| daily(hour + 6.0, i));
    let most = feed(&mut season, 480, 520, |hour, i| daily(hour + 6.0, i));
    assert!(most < 1.0, "{most}");
}

#[test]
fn odd_times_and_values_do_no_harm() {
    let mut season = Season::default();
    for (second, value) in [(f64::MAX, 1.0), (-1e18, f64::MAX), (0.0, -f64::MAX), (3_600.0, 0.0), (7_200.0, 1.0)] {
        season.learn(second, value);
        let _ = season.judge();
    }
}

#[test]
fn what_is_known_has_the_size_that_is_written_down() {
    assert_eq!(size_of::<Learned>(), 560);
}
