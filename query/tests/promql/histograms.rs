//! Histograms of the window as bucket series.

use bellwether_query::{Options, Query, QueryError, Value};
use window::{Buckets, ExpBuckets, Labels, Snapshot, Temporality};

use crate::support::{Data, moment};

fn explicit(bounds: &[f64], counts: &[u64]) -> (u64, Buckets) {
    (counts.iter().sum(), Buckets::Explicit { bounds: bounds.into(), counts: counts.into() })
}

fn exponential(scale: i32, zeros: (u64, f64), positive: (i32, &[u64]), negative: (i32, &[u64])) -> (u64, Buckets) {
    let side = |(offset, counts): (i32, &[u64])| ExpBuckets { offset, counts: counts.into() };
    let count = zeros.0 + positive.1.iter().chain(negative.1).sum::<u64>();
    let (positive, negative) = (side(positive), side(negative));
    (count, Buckets::Exponential { scale, zero_count: zeros.0, zero_threshold: zeros.1, positive, negative })
}

/// One histogram `h{job="a"}` with a point every 10 s from 0 s on.
fn snapshot(temporality: Temporality, points: Vec<(u64, Buckets)>) -> Snapshot {
    let mut data = Data::new();
    let times = (0..).map(|i| moment(&format!("{}s", i * 10)));
    let points = times.zip(points).map(|(time, (count, buckets))| (time, count, buckets)).collect();
    data.add_histogram("h", Labels::from_pairs([("job", "a")]), temporality, points);
    data.snapshot()
}

fn ask(snapshot: &Snapshot, at: &str, query: &str) -> Vec<(String, f64)> {
    let query = Query::parse(query).expect("is PromQL");
    let answer = query.instant(snapshot, moment(at), &Options::default()).expect("has an answer");
    let Value::Vector(vector) = answer else { return Vec::new() };
    vector.into_iter().map(|s| (format!("{}{}", s.name.unwrap_or_default(), s.labels), s.value)).collect()
}

/// Only the bounds, in the order of the labels.
fn buckets(snapshot: &Snapshot, at: &str, query: &str) -> Vec<(String, f64)> {
    let bound = |series: String| series.split("le=\"").nth(1).map_or(series.clone(), |le| le.replace("\"}", ""));
    ask(snapshot, at, query).into_iter().map(|(series, value)| (bound(series), value)).collect()
}

fn pairs(expected: &[(&str, f64)]) -> Vec<(String, f64)> {
    expected.iter().map(|(series, value)| ((*series).to_owned(), *value)).collect()
}

const BOUNDS: [f64; 3] = [0.005, 1.0, 2_500.0];

fn growing() -> Snapshot {
    let point = |i: u64| explicit(&BOUNDS, &[i, 2 * i, i, 0]);
    snapshot(Temporality::Cumulative, (0..=6).map(point).collect())
}

#[test]
fn a_histogram_shows_a_series_per_bound() {
    let expected = [
        ("h_bucket{job=\"a\", le=\"+Inf\"}", 12.0),
        ("h_bucket{job=\"a\", le=\"0.005\"}", 3.0),
        ("h_bucket{job=\"a\", le=\"1\"}", 9.0),
        ("h_bucket{job=\"a\", le=\"2500\"}", 12.0),
    ];
    assert_eq!(ask(&growing(), "30s", "h_bucket"), pairs(&expected));
    assert_eq!(ask(&growing(), "30s", "{__name__=~\"h.*\"}"), pairs(&expected));
    assert_eq!(ask(&growing(), "30s", "{job=\"a\"}"), pairs(&expected));
    assert_eq!(ask(&growing(), "30s", "h"), []);
    assert_eq!(ask(&growing(), "30s", "h_bucket{job=\"b\"}"), []);
    assert_eq!(ask(&growing(), "30s", "h_count_bucket"), []);
}

#[test]
fn bounds_are_matched_like_any_label() {
    assert_eq!(buckets(&growing(), "30s", "h_bucket{le=\"1\"}"), pairs(&[("1", 9.0)]));
    let expected = pairs(&[("0.005", 3.0), ("2500", 12.0)]);
    assert_eq!(buckets(&growing(), "30s", "h_bucket{le!=\"1\", le!~\".Inf\"}"), expected);
}

#[test]
fn quantiles_and_rates_come_from_buckets() {
    let got = ask(&growing(), "60s", "histogram_quantile(0.5, rate(h_bucket[1m]))");
    assert_eq!(got.len(), 1);
    let wanted = 0.005 + 0.995 * 0.5;
    assert!(got[0].0 == "{job=\"a\"}" && (got[0].1 - wanted).abs() < 1e-9, "{got:?}");
    let rates = buckets(&growing(), "60s", "increase(h_bucket{le=\"1\"}[30s])");
    assert!((rates[0].1 - 9.0).abs() < 1e-9, "{rates:?}");
}

#[test]
fn deltas_are_running_totals_from_the_oldest_row() {
    let point = |_| explicit(&[1.0], &[2, 1]);
    let snapshot = snapshot(Temporality::Delta, (0..=60).map(point).collect());
    assert_eq!(buckets(&snapshot, "10s", "h_bucket"), pairs(&[("+Inf", 6.0), ("1", 4.0)]));
    // More than a look-back later the total still has everything.
    assert_eq!(buckets(&snapshot, "600s", "h_bucket"), pairs(&[("+Inf", 183.0), ("1", 122.0)]));
    let rates = buckets(&snapshot, "600s", "rate(h_bucket{le=\"1\"}[1m])");
    assert!((rates[0].1 - 0.2).abs() < 1e-9, "{rates:?}");
}

#[test]
fn the_end_of_a_series_and_other_bounds_end_its_buckets() {
    let points = vec![explicit(&[1.0, 2.0], &[1, 1, 1]), explicit(&[2.0, 4.0], &[3, 1, 1]), (0, Buckets::Ended)];
    let snapshot = snapshot(Temporality::Cumulative, points);
    assert_eq!(buckets(&snapshot, "0s", "h_bucket"), pairs(&[("+Inf", 3.0), ("1", 1.0), ("2", 2.0)]));
    assert_eq!(buckets(&snapshot, "10s", "h_bucket"), pairs(&[("+Inf", 5.0), ("2", 3.0), ("4", 4.0)]));
    assert_eq!(buckets(&snapshot, "20s", "h_bucket"), []);
    let counted = buckets(&snapshot, "20s", "count_over_time(h_bucket[1m])");
    assert_eq!(counted, pairs(&[("+Inf", 2.0), ("1", 1.0), ("2", 2.0), ("4", 1.0)]));
}

#[test]
fn a_histogram_without_buckets_shows_its_count() {
    let snapshot =
        snapshot(Temporality::Cumulative, vec![(7, Buckets::Explicit { bounds: [].into(), counts: [].into() })]);
    assert_eq!(buckets(&snapshot, "0s", "h_bucket"), pairs(&[("+Inf", 7.0)]));
}

#[test]
fn exponential_buckets_show_their_edges() {
    let point = exponential(0, (2, 0.25), (0, &[3, 0, 4]), (0, &[5]));
    let snapshot = snapshot(Temporality::Cumulative, vec![point]);
    let expected = [
        ("+Inf", 14.0),
        ("-0.25", 5.0),
        ("-1", 5.0),
        ("-2", 0.0),
        ("0.25", 7.0),
        ("1", 7.0),
        ("2", 10.0),
        ("4", 10.0),
        ("8", 14.0),
    ];
    let mut expected = pairs(&expected);
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(buckets(&snapshot, "0s", "h_bucket"), expected);
    // The 12th of 14 observations is the 2nd of 4 in (4, 8].
    let got = ask(&snapshot, "0s", "histogram_quantile(12 / 14, h_bucket)");
    assert!((got[0].1 - 6.0).abs() < 1e-9, "{got:?}");
}

#[test]
fn exponential_rows_of_two_scales_are_shown_at_the_coarser_one() {
    let fine = exponential(1, (0, 0.0), (0, &[1, 2, 3, 4]), (0, &[]));
    let coarse = exponential(0, (0, 0.0), (0, &[5, 9]), (0, &[]));
    let snapshot = snapshot(Temporality::Cumulative, vec![fine, coarse]);
    let before = buckets(&snapshot, "10s", "h_bucket offset 10s");
    assert!(before.len() == 6, "the finer edges are seen alone: {before:?}");
    let increases = buckets(&snapshot, "10s", "delta(h_bucket[15s])");
    let times_three_halves = |v: f64| v * 1.5;
    assert_eq!(increases.len(), 4, "+Inf, 1, 2 and 4");
    for ((le, got), (wanted_le, wanted)) in increases.iter().zip([("+Inf", 4.0), ("1", 0.0), ("2", 2.0), ("4", 4.0)]) {
        assert!(le == wanted_le && (got - times_three_halves(wanted)).abs() < 1e-9, "{increases:?}");
    }
}

#[test]
fn wide_ranges_and_hostile_rows_are_bounded() {
    let wide = exponential(5, (0, 0.0), (-30_000, &[1]), (i32::MAX, &[u64::MAX >> 1]));
    let other = exponential(20, (1, f64::MAX), (30_000, &[u64::MAX >> 2, 7]), (i32::MIN, &[1]));
    let odd = exponential(i32::MIN, (1, f64::NAN), (i32::MIN, &[1]), (i32::MAX, &[1]));
    let nan = explicit(&[f64::NAN, f64::INFINITY, -0.0], &[1, 1, 1]);
    for points in [vec![wide.clone(), other.clone()], vec![odd, wide, nan, other]] {
        for temporality in [Temporality::Cumulative, Temporality::Delta] {
            let got = buckets(&snapshot(temporality, points.clone()), "30s", "h_bucket");
            assert!(!got.is_empty() && got.len() < 700 && got.iter().all(|(_, v)| v.is_finite()), "{}", got.len());
        }
    }
}

#[test]
fn bucket_series_count_towards_the_limit() {
    let options = Options { max_samples: 20, ..Options::default() };
    let query = Query::parse("count_over_time(h_bucket[1m])").expect("is PromQL");
    let refused = query.instant(&growing(), moment("60s"), &options);
    assert_eq!(refused, Err(QueryError::TooManySamples { limit: 20 }));
    let one = Query::parse("count_over_time(h_bucket{le=\"1\"}[1m])").expect("is PromQL");
    assert!(one.instant(&growing(), moment("60s"), &options).is_ok());
}
