use super::*;
use proptest::prelude::*;

const ANYWHERE: Range = Range { min: f64::NEG_INFINITY, max: f64::INFINITY };

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
}

#[track_caller]
fn check(actual: Option<f64>, expected: f64) {
    assert!(actual.is_some_and(|a| close(a, expected)), "{actual:?}, expected {expected}");
}

fn side(offset: i32, counts: &[u64]) -> ExpBucketsView<'_> {
    ExpBucketsView { offset, counts }
}

fn exponential<'a>(zeros: (u64, f64), positive: ExpBucketsView<'a>, negative: ExpBucketsView<'a>) -> Exponential<'a> {
    Exponential { scale: 0, zero_count: zeros.0, zero_threshold: zeros.1, positive, negative }
}

#[test]
fn explicit_buckets_are_linear_within() {
    let bounds = [1.0, 2.0, 4.0];
    let q = |q| explicit(q, &bounds, &[2, 4, 4, 0], ANYWHERE);
    check(q(0.0), 0.0);
    check(q(0.1), 0.5);
    check(q(0.2), 1.0);
    check(q(0.5), 1.75);
    check(q(0.8), 3.0);
    check(q(1.0), 4.0);
}

#[test]
fn the_outer_explicit_buckets_follow_prometheus() {
    check(explicit(0.99, &[1.0, 2.0], &[1, 1, 8], ANYWHERE), 2.0);
    check(explicit(0.5, &[-3.0, 2.0], &[8, 1, 0], ANYWHERE), -3.0);
    check(explicit(0.5, &[0.0, 2.0], &[8, 1, 0], ANYWHERE), 0.0);
    check(explicit(0.5, &[5.0], &[8, 0], ANYWHERE), 2.5);
    check(explicit(1.0, &[5.0, f64::INFINITY], &[1, 8, 0], ANYWHERE), 5.0);
    assert_eq!(explicit(0.5, &[], &[8], ANYWHERE), None);
    assert_eq!(explicit(0.5, &[f64::INFINITY], &[8, 0], ANYWHERE), None);
    assert_eq!(explicit(0.5, &[1.0], &[0, 0], ANYWHERE), None);
}

#[test]
fn the_least_and_the_greatest_observation_bound_the_buckets() {
    let within = |min, max| Range::new(Some(min), Some(max));
    check(explicit(1.0, &[1.0, 2.0], &[1, 1, 2], within(0.5, 3.0)), 3.0);
    check(explicit(0.75, &[1.0, 2.0], &[1, 1, 2], within(0.5, 3.0)), 2.5);
    check(explicit(0.0, &[1.0, 2.0], &[1, 1, 2], within(0.5, 3.0)), 0.5);
    check(explicit(0.5, &[-1.0], &[4, 0], within(-3.0, -1.0)), -2.0);
    check(explicit(0.5, &[], &[9], within(10.0, 20.0)), 15.0);
    assert_eq!(explicit(0.5, &[], &[9], Range::new(Some(10.0), None)), None);
    // The wrong way round, or not a number: as if it had not been sent.
    check(explicit(0.5, &[5.0], &[8, 0], within(4.0, 1.0)), 2.5);
    check(explicit(0.5, &[5.0], &[8, 0], within(f64::NAN, f64::INFINITY)), 2.5);
    let one = exponential((0, 0.0), side(0, &[4]), side(0, &[]));
    check(one.quantile(0.5, within(1.5, 1.5)), 1.5);
    check(one.quantile(1.0, within(1.0, 1.25)), 1.25);
}

#[test]
fn exponential_buckets_are_logarithmic_within() {
    let h = exponential((0, 0.0), side(-1, &[1, 2, 1]), side(0, &[]));
    check(h.quantile(0.5, ANYWHERE), 2_f64.sqrt());
    check(h.quantile(1.0, ANYWHERE), 4.0);
    check(h.quantile(0.0, ANYWHERE), 0.5);
    let h = exponential((0, 0.0), side(0, &[]), side(-1, &[1, 2, 1]));
    check(h.quantile(0.5, ANYWHERE), -2_f64.sqrt());
    check(h.quantile(0.0, ANYWHERE), -4.0);
    check(h.quantile(1.0, ANYWHERE), -0.5);
}

#[test]
fn the_zero_bucket_is_linear_and_ends_at_zero_on_an_empty_side() {
    let h = exponential((2, 0.001), side(-1, &[2, 3, 0, 1, 4]), side(0, &[]));
    check(h.quantile(0.99, ANYWHERE), 8.0 * 0.97_f64.exp2());
    check(h.quantile(0.9, ANYWHERE), 8.0 * 0.7_f64.exp2());
    check(h.quantile(0.6, ANYWHERE), 4.0 * 0.2_f64.exp2());
    check(h.quantile(0.5, ANYWHERE), (2.0_f64 / 3.0).exp2());
    check(h.quantile(0.1, ANYWHERE), 0.0006);
    check(h.quantile(0.0, ANYWHERE), 0.0);
    let mirrored = exponential((2, 0.001), side(0, &[]), side(-1, &[2, 3, 0, 1, 4]));
    check(mirrored.quantile(1.0, ANYWHERE), 0.0);
    check(mirrored.quantile(0.9, ANYWHERE), -0.0006);
    let both = exponential((10, 0.5), side(0, &[5]), side(0, &[5]));
    check(both.quantile(0.5, ANYWHERE), 0.0);
    check(both.quantile(0.3, ANYWHERE), -0.4);
}

#[test]
fn a_fine_scale_follows_a_known_distribution() {
    // 1..=10,000 evenly, at scale 6: buckets are 1.09 % wide.
    let scale = 6;
    let mut counts = vec![0_u64; 900];
    for v in 1..=10_000_u32 {
        let index = (f64::from(v).log2() * 64.0).ceil() - 1.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within -1 to 850")]
        let place = (index + 1.0) as usize;
        counts[place] += 1;
    }
    let (positive, negative) = (side(-1, &counts), side(0, &[]));
    let h = Exponential { scale, zero_count: 0, zero_threshold: 0.0, positive, negative };
    for (q, exact) in [(0.5, 5_000.0), (0.95, 9_500.0), (0.99, 9_900.0)] {
        let got = h.quantile(q, ANYWHERE).expect("has observations");
        assert!((got / exact - 1.0).abs() < 0.001, "{q}: {got} for {exact}");
    }
}

#[test]
fn bounds_at_the_ends_of_the_range_are_finite() {
    for (scale, index) in [(0, 1_023), (-10, 0), (-10, 1), (20, i64::from(i32::MAX)), (i32::MIN, i64::MAX)] {
        assert!(bound(scale, index).is_finite() && bound(scale, index) > 0.0, "{scale} {index}");
    }
    assert!(close(bound(3, 8), 2.0) && close(bound(-1, 3), 64.0) && close(bound(0, -2), 0.25));
}

/// Prometheus's words for it: cumulative buckets, a search, and an interpolation.
fn reference(q: f64, bounds: &[f64], counts: &[u64]) -> f64 {
    let mut running = 0;
    let cumulative: Vec<f64> = counts
        .iter()
        .map(|c| {
            running += c;
            float(running)
        })
        .collect();
    let rank = q * float(running);
    let b = cumulative[..counts.len() - 1].partition_point(|c| *c < rank);
    if b == counts.len() - 1 {
        return bounds[b - 1];
    }
    if b == 0 && bounds[0] <= 0.0 {
        return bounds[0];
    }
    let (start, below) = if b == 0 { (0.0, 0.0) } else { (bounds[b - 1], cumulative[b - 1]) };
    start + (bounds[b] - start) * ((rank - below) / float(counts[b]))
}

proptest! {
    #[test]
    fn explicit_quantiles_equal_the_reference(
        steps in prop::collection::vec(0.01_f64..10.0, 1..8),
        first in -5.0_f64..5.0,
        counts in prop::collection::vec(0_u64..50, 9),
        q in 0.001_f64..=1.0,
    ) {
        let bounds: Vec<f64> = steps.iter().scan(first, |b, s| { *b += s; Some(*b) }).collect();
        let counts = &counts[..=bounds.len()];
        prop_assume!(counts.iter().any(|c| *c > 0));
        let got = explicit(q, &bounds, counts, ANYWHERE).expect("has observations and bounds");
        let wanted = reference(q, &bounds, counts);
        prop_assert!((got - wanted).abs() < 1e-9, "{got} for {wanted}");
    }

    #[test]
    fn exponential_quantiles_rise_with_their_rank_and_stay_within_the_populated_buckets(
        scale in -10_i32..=20,
        offset in -40_i32..40,
        positive in prop::collection::vec(0_u64..9, 0..12),
        negative in prop::collection::vec(0_u64..9, 0..12),
        zero_count in 0_u64..9,
    ) {
        let (up, down) = (side(offset, &positive), side(offset, &negative));
        let h = Exponential { scale, zero_count, zero_threshold: 0.0, positive: up, negative: down };
        let edges: Vec<(f64, f64)> =
            h.ascending().filter(|(_, count)| *count > 0).map(|(place, _)| h.edges(place)).collect();
        let (Some(first), Some(last)) = (edges.first(), edges.last()) else {
            prop_assert_eq!(h.quantile(0.5, ANYWHERE), None);
            return Ok(());
        };
        let mut before = first.0;
        for i in 0..=100 {
            let value = h.quantile(f64::from(i) / 100.0, ANYWHERE).expect("has observations");
            prop_assert!(value.is_finite() && value >= before && value <= last.1, "{value} after {before}");
            prop_assert!(edges.iter().any(|(lower, upper)| *lower <= value && value <= *upper));
            before = value;
        }
    }
}
