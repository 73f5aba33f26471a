use super::*;
use window::{SeriesId, UnixNanos};

fn point(count: u64, buckets: BucketsView<'_>) -> HistogramView<'_> {
    let (series, time) = (SeriesId(0), UnixNanos(1));
    HistogramView { series, time, start: None, count, sum: None, min: None, max: None, buckets }
}

#[track_caller]
fn refused(count: u64, buckets: BucketsView<'_>, message: &str) {
    let fault = check_histogram(&point(count, buckets), 8).expect_err("is faulty");
    assert_eq!(fault.to_string(), message);
}

#[track_caller]
fn taken(count: u64, buckets: BucketsView<'_>) {
    assert_eq!(check_histogram(&point(count, buckets), 8), Ok(()));
}

fn explicit<'a>(bounds: &'a [f64], counts: &'a [u64]) -> BucketsView<'a> {
    BucketsView::Explicit { bounds, counts }
}

fn exponential(scale: i32, zero_threshold: f64, offset: i32, counts: &[u64]) -> BucketsView<'_> {
    let positive = ExpBucketsView { offset, counts };
    let negative = ExpBucketsView { offset: i32::MAX, counts: &[] };
    BucketsView::Exponential { scale, zero_count: 1, zero_threshold, positive, negative }
}

#[test]
fn explicit_buckets_must_fit_together() {
    taken(3, explicit(&[1.0, 2.0], &[1, 0, 2]));
    taken(3, explicit(&[], &[]));
    taken(3, explicit(&[], &[3]));
    taken(3, explicit(&[1.0, f64::INFINITY], &[1, 2, 0]));
    refused(4, explicit(&[1.0, 2.0], &[1, 0, 2]), "bucket_counts add up to 3, count is 4");
    refused(3, explicit(&[1.0, 2.0], &[1, 2]), "bucket_counts has 2 entries, expected 3");
    refused(3, explicit(&[1.0], &[]), "bucket_counts has 0 entries, expected 2");
    refused(3, explicit(&[1.0; 8], &[0; 9]), "bucket_counts has 9 entries, the limit is 8");
    let total = u128::from(u64::MAX) * 2;
    refused(0, explicit(&[1.0], &[u64::MAX; 2]), &format!("bucket_counts add up to {total}, count is 0"));
}

#[test]
fn explicit_bounds_must_rise() {
    refused(0, explicit(&[1.0, 1.0], &[0; 3]), "explicit_bounds[1] is 1, expected a number above 1");
    refused(0, explicit(&[f64::NAN], &[0; 2]), "explicit_bounds[0] is NaN, expected a number above -inf");
    refused(0, explicit(&[f64::NEG_INFINITY], &[0; 2]), "explicit_bounds[0] is -inf, expected a number above -inf");
    let infinities = [f64::INFINITY, f64::INFINITY];
    refused(0, explicit(&infinities, &[0; 3]), "explicit_bounds[1] is inf, expected a number above inf");
}

#[test]
fn exponential_buckets_must_be_numbers() {
    taken(4, exponential(0, 0.0, 1_022, &[1, 2]));
    taken(4, exponential(-10, 0.5, -2, &[1, 1, 1]));
    taken(1, exponential(20, 0.0, i32::MAX, &[]));
    refused(1, exponential(21, 0.0, 0, &[]), "scale is 21, expected -10 to 20");
    refused(1, exponential(-11, 0.0, 0, &[]), "scale is -11, expected -10 to 20");
    let threshold = "expected a finite number of at least 0";
    refused(1, exponential(0, -1.0, 0, &[]), &format!("zero_threshold is -1, {threshold}"));
    refused(1, exponential(0, f64::NAN, 0, &[]), &format!("zero_threshold is NaN, {threshold}"));
    let sums = "zero_count, positive and negative bucket_counts add up to";
    refused(9, exponential(0, 0.0, 0, &[1, 2]), &format!("{sums} 4, count is 9"));
    refused(9, exponential(0, 0.0, 0, &[u64::MAX]), &format!("{sums} {}, count is 9", 1_u128 << 64));
}

#[test]
fn exponential_buckets_must_lie_within_a_float() {
    let beyond = "beyond what a 64-bit float can hold";
    let refused = |scale, offset: i32, len: usize| {
        let text = format!("positive.offset is {offset} with {len} buckets at scale {scale}: {beyond}");
        refused(1, exponential(scale, 0.0, offset, &[0; 8][..len]), &text);
    };
    refused(0, 1_023, 2);
    refused(0, -1_076, 1);
    refused(20, i32::MAX, 1);
    refused(20, i32::MIN, 1);
    refused(-10, 1, 1);
    refused(-10, -3, 1);
    taken(1, exponential(0, 0.0, 1_023, &[0]));
    taken(1, exponential(0, 0.0, -1_075, &[0]));
}

#[test]
fn the_sides_share_the_limit() {
    let side = ExpBucketsView { offset: 0, counts: &[0; 5] };
    let buckets =
        BucketsView::Exponential { scale: 0, zero_count: 0, zero_threshold: 0.0, positive: side, negative: side };
    refused(0, buckets, "positive and negative bucket_counts has 10 entries, the limit is 8");
}
