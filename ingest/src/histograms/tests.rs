use super::*;
use proptest::prelude::*;
use window::ExpBuckets;

const SERIES: SeriesId = SeriesId(3);

fn at(s: i64) -> UnixNanos {
    UnixNanos(s * 1_000_000_000)
}

fn row(start: Option<i64>, time: i64, buckets: Buckets) -> HistogramRow {
    let count = match &buckets {
        Buckets::Explicit { counts, .. } => counts.iter().sum(),
        Buckets::Exponential { zero_count, positive, negative, .. } => {
            zero_count + positive.counts.iter().sum::<u64>() + negative.counts.iter().sum::<u64>()
        }
        Buckets::Ended => 0,
    };
    let start = start.map(at);
    HistogramRow { series: SERIES, time: at(time), start, count, sum: None, min: None, max: None, buckets }
}

fn explicit(counts: &[u64]) -> Buckets {
    let bounds = [1.0, 2.0, 4.0, 8.0];
    Buckets::Explicit { bounds: bounds[..counts.len().saturating_sub(1)].into(), counts: counts.into() }
}

fn exponential(scale: i32, zeros: (u64, f64), offset: i32, counts: &[u64]) -> Buckets {
    Buckets::Exponential {
        scale,
        zero_count: zeros.0,
        zero_threshold: zeros.1,
        positive: ExpBuckets { offset, counts: counts.into() },
        negative: ExpBuckets::default(),
    }
}

/// What is published of each point: seconds, count, and the buckets' counts from the lowest up.
type Seen = Option<(f64, u64, Vec<u64>)>;

fn seen(interval: Option<Interval<'_>>) -> Seen {
    let counts = |i: &Interval<'_>| match i.buckets {
        BucketsView::Explicit { counts, .. } => counts.to_vec(),
        BucketsView::Exponential { zero_count, positive, .. } => {
            [zero_count].into_iter().chain(positive.counts.iter().copied()).collect()
        }
        BucketsView::Ended => Vec::new(),
    };
    interval.map(|i| (i.seconds, i.count, counts(&i)))
}

fn intervals(temporality: Temporality, rows: &[HistogramRow]) -> Vec<Seen> {
    let mut histograms = Histograms::default();
    rows.iter().map(|row| seen(histograms.advance(row, temporality))).collect()
}

#[test]
fn a_cumulative_histogram_gives_its_differences() {
    let rows = [
        row(Some(0), 10, explicit(&[5, 0, 1])),
        row(Some(0), 20, explicit(&[5, 3, 1])),
        row(Some(0), 30, explicit(&[5, 3, 1])),
    ];
    let expected = [None, Some((10.0, 3, vec![0, 3, 0])), Some((10.0, 0, vec![0, 0, 0]))];
    assert_eq!(intervals(Temporality::Cumulative, &rows), expected);
}

#[test]
fn a_restart_counts_from_its_start() {
    let rows = [row(Some(0), 10, explicit(&[5, 0])), row(Some(15), 20, explicit(&[6, 1]))];
    assert_eq!(intervals(Temporality::Cumulative, &rows)[1], Some((5.0, 7, vec![6, 1])));
}

#[test]
fn a_fall_of_the_count_or_of_any_bucket_is_a_restart() {
    let fewer = [row(None, 10, explicit(&[5, 5])), row(None, 20, explicit(&[3, 1]))];
    assert_eq!(intervals(Temporality::Cumulative, &fewer)[1], Some((10.0, 4, vec![3, 1])));
    let one_bucket = [row(None, 10, explicit(&[5, 5])), row(None, 20, explicit(&[30, 4]))];
    assert_eq!(intervals(Temporality::Cumulative, &one_bucket)[1], Some((10.0, 34, vec![30, 4])));
    let zeros = [row(None, 10, exponential(0, (5, 0.0), 0, &[1])), row(None, 20, exponential(0, (4, 0.0), 0, &[9]))];
    assert_eq!(intervals(Temporality::Cumulative, &zeros)[1], Some((10.0, 13, vec![4, 9])));
    let gone = [row(None, 10, exponential(0, (0, 0.0), 0, &[1, 1])), row(None, 20, exponential(0, (0, 0.0), 1, &[9]))];
    assert_eq!(intervals(Temporality::Cumulative, &gone)[1], Some((10.0, 9, vec![0, 9])));
}

#[test]
fn a_restart_of_unknown_start_contributes_nothing() {
    let rows = [
        row(Some(0), 10, explicit(&[50, 0])),
        row(Some(20), 20, explicit(&[7, 0])),
        row(Some(20), 30, explicit(&[9, 0])),
    ];
    assert_eq!(intervals(Temporality::Cumulative, &rows), [None, None, Some((10.0, 2, vec![2, 0]))]);
}

#[test]
fn the_end_of_a_series_is_no_zero_and_what_follows_is_a_first_point() {
    let ended = HistogramRow { count: 0, ..row(None, 20, Buckets::Ended) };
    let rows = [row(Some(0), 10, explicit(&[5, 0])), ended, row(Some(0), 30, explicit(&[9, 0]))];
    assert_eq!(intervals(Temporality::Cumulative, &rows), [None, None, None]);
    assert_eq!(intervals(Temporality::Delta, &rows), [Some((10.0, 5, vec![5, 0])), None, Some((30.0, 9, vec![9, 0]))]);
}

#[test]
fn a_delta_is_an_interval_by_itself() {
    let rows = [
        row(None, 5, explicit(&[1, 1])),
        row(Some(5), 10, explicit(&[2, 0])),
        // A gap, an overlap, and a start that is not said.
        row(Some(50), 60, explicit(&[3, 0])),
        row(Some(55), 65, explicit(&[4, 0])),
        row(None, 75, explicit(&[5, 0])),
    ];
    let expected = [
        None,
        Some((5.0, 2, vec![2, 0])),
        Some((10.0, 3, vec![3, 0])),
        Some((10.0, 4, vec![4, 0])),
        Some((10.0, 5, vec![5, 0])),
    ];
    assert_eq!(intervals(Temporality::Delta, &rows), expected);
}

#[test]
fn other_bounds_leave_the_count_but_no_quantile() {
    let mut histograms = Histograms::default();
    histograms.advance(&row(None, 10, explicit(&[50, 0])), Temporality::Cumulative);
    let (next, last) = (row(None, 20, explicit(&[50, 30, 20])), row(None, 30, explicit(&[150, 30, 20])));
    let interval = histograms.advance(&next, Temporality::Cumulative).expect("the count is known");
    assert_eq!((interval.count, interval.quantile(0.5)), (50, None));
    let interval = histograms.advance(&last, Temporality::Cumulative).expect("the bounds are the same again");
    assert_eq!((interval.count, interval.quantile(0.5)), (100, Some(0.5)));
}

#[test]
fn the_finer_of_two_scales_is_merged() {
    // Buckets -3..=3 at scale 1 are -2..=1 at scale 0, with -3 alone in the first.
    let fine = exponential(1, (1, 0.0), -3, &[1, 2, 3, 4, 5, 6, 7]);
    let coarse = exponential(0, (2, 0.0), -2, &[2, 6, 9, 14]);
    let rows = [row(None, 10, fine.clone()), row(None, 20, coarse.clone())];
    assert_eq!(intervals(Temporality::Cumulative, &rows)[1], Some((10.0, 4, vec![1, 1, 1, 0, 1])));
    let rows = [row(None, 10, exponential(0, (0, 0.0), -1, &[1, 1])), row(None, 20, fine)];
    assert_eq!(intervals(Temporality::Cumulative, &rows)[1], Some((10.0, 27, vec![1, 1, 4, 8, 13])));
}

#[test]
fn a_wider_zero_bucket_swallows_what_it_covers() {
    // Of (1/4, 1/2], (1/2, 1], (1, 2] the first two begin below 0.75.
    let narrow = row(None, 10, exponential(0, (1, 0.0), -2, &[2, 3, 4]));
    let wide = row(None, 20, exponential(0, (8, 0.75), 0, &[9]));
    assert_eq!(intervals(Temporality::Cumulative, &[narrow, wide])[1], Some((10.0, 7, vec![2, 5])));
}

#[test]
fn few_observations_say_little() {
    let published = |n: u64| {
        let row = HistogramRow { sum: Some(3.0), ..row(Some(0), 10, explicit(&[n, 0])) };
        let mut histograms = Histograms::default();
        histograms.advance(&row, Temporality::Delta).expect("is a delta").derived()
    };
    let counted = |n: u64| {
        let Derived { mean, p50, p95, p99, .. } = published(n);
        [mean, p50, p95, p99].into_iter().flatten().count()
    };
    assert_eq!([4, 5, 19, 20, 49, 50].map(counted), [0, 2, 2, 3, 3, 4]);
    assert!((published(5).rate - 0.5).abs() < 1e-12 && published(5).mean == Some(0.6));
}

#[test]
fn late_points_change_nothing() {
    let rows = [row(None, 20, explicit(&[5, 0])), row(None, 10, explicit(&[1, 0])), row(None, 30, explicit(&[8, 0]))];
    assert_eq!(intervals(Temporality::Cumulative, &rows), [None, None, Some((10.0, 3, vec![3, 0]))]);
}

#[test]
fn a_forgotten_series_begins_anew() {
    let mut histograms = Histograms::default();
    histograms.advance(&row(None, 10, explicit(&[5, 0])), Temporality::Cumulative);
    histograms.forget(SERIES);
    histograms.forget(SeriesId(999));
    assert_eq!(histograms.advance(&row(None, 20, explicit(&[9, 0])), Temporality::Cumulative), None);
}

#[test]
fn a_stream_is_as_small_as_promised() {
    assert!(size_of::<Stream>() <= 200, "{} bytes", size_of::<Stream>());
}

/// Increments of an exponential histogram at changing scales, each given at scale 4.
fn at_scale(fine: &[u64; 40], scale: i32, temporality_start: Option<i64>, time: i64) -> HistogramRow {
    let shift = u32::try_from(4 - scale).expect("at most 4");
    let offset = -20_i32 >> shift;
    let mut counts: Vec<u64> = Vec::new();
    for (i, count) in (-20_i32..).zip(fine) {
        let place = usize::try_from((i >> shift) - offset).expect("rises");
        counts.resize(counts.len().max(place + 1), 0);
        counts[place] += count;
    }
    row(temporality_start, time, exponential(scale, (0, 0.0), offset, &counts))
}

fn quantiles(interval: &Interval<'_>) -> Vec<Option<f64>> {
    [0.1, 0.5, 0.9, 0.95, 0.99].into_iter().map(|q| interval.quantile(q)).collect()
}

proptest! {
    #[test]
    fn a_cumulative_stream_with_restarts_equals_the_deltas(
        steps in prop::collection::vec((prop::collection::vec(0_u64..30, 4), 0_u8..5), 2..20),
    ) {
        let (mut as_total, mut as_delta) = (Histograms::default(), Histograms::default());
        let (mut total, mut start) = ([0_u64; 4], 0);
        for (time, (more, chance)) in (1..).map(|i| i * 10).zip(&steps) {
            if *chance == 0 {
                (total, start) = ([0; 4], time - 10);
            }
            total.iter_mut().zip(more).for_each(|(t, m)| *t += m);
            // A start at the last point's own time can only be told from a fall by a nanosecond.
            let mut total_row = row(Some(start), time, explicit(&total));
            total_row.start = total_row.start.map(|s| UnixNanos(s.0 + 1));
            let delta_row = row(Some(time - 10), time, explicit(more));
            let total_interval = as_total.advance(&total_row, Temporality::Cumulative);
            let delta_interval = as_delta.advance(&delta_row, Temporality::Delta).expect("a delta stands alone");
            if let Some(total) = total_interval {
                prop_assert_eq!(quantiles(&total), quantiles(&delta_interval));
                prop_assert!((total.seconds - delta_interval.seconds).abs() < 1e-6);
                prop_assert_eq!(total.count, delta_interval.count);
            } else {
                prop_assert_eq!(time, 10, "only the first point says nothing");
            }
        }
    }

    #[test]
    fn changing_scales_preserve_every_observation(
        steps in prop::collection::vec((prop::array::uniform32(0_u64..20), -2_i32..=4), 2..12),
    ) {
        let mut histograms = Histograms::default();
        let mut total = [0_u64; 40];
        let mut scale_before = 4;
        for (time, (more, scale)) in (1..).map(|i| i * 10).zip(&steps) {
            total.iter_mut().zip(more).for_each(|(t, m)| *t += m);
            let cumulative = at_scale(&total, *scale, None, time);
            let mut increments = [0; 40];
            increments[..32].copy_from_slice(more);
            let coarser = scale_before.min(*scale);
            let alone = at_scale(&increments, coarser, Some(time - 10), time);
            if let Some(interval) = histograms.advance(&cumulative, Temporality::Cumulative) {
                let mut other = Histograms::default();
                let expected = other.advance(&alone, Temporality::Delta).expect("a delta stands alone");
                prop_assert_eq!(interval.count, more.iter().sum::<u64>());
                prop_assert_eq!(seen(Some(interval)), seen(Some(expected)));
                prop_assert_eq!(quantiles(&interval), quantiles(&expected));
            }
            scale_before = *scale;
        }
    }

    #[test]
    fn hostile_numbers_give_numbers_or_nothing(
        points in prop::collection::vec(hostile(), 1..12),
        delta in any::<bool>(),
    ) {
        let mut histograms = Histograms::default();
        let temporality = if delta { Temporality::Delta } else { Temporality::Cumulative };
        for mut point in points {
            let checked = check_histogram(&point.view(), MAX_BUCKETS);
            prop_assert!(checked.is_ok() || !checked.expect_err("is faulty").to_string().is_empty());
            point.series = SERIES;
            if let Some(interval) = histograms.advance(&point, temporality) {
                let Derived { rate, mean, p50, p95, p99 } = interval.derived();
                let all = [Some(rate), mean, p50, p95, p99, interval.quantile(0.0), interval.quantile(1.0)];
                prop_assert!(all.iter().flatten().all(|v| v.is_finite()), "{all:?}");
            }
        }
    }
}

fn hostile_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(f64::MAX),
        Just(-f64::MAX),
        Just(0.0),
        Just(5e-324)
    ]
}

fn hostile_counts() -> impl Strategy<Value = Box<[u64]>> {
    let count = prop_oneof![Just(0), Just(u64::MAX), any::<u64>(), 0_u64..100];
    prop::collection::vec(count, 0..6).prop_map(Into::into)
}

fn hostile_side() -> impl Strategy<Value = ExpBuckets> {
    let offset = prop_oneof![any::<i32>(), Just(i32::MAX), Just(i32::MIN), -3_i32..3];
    (offset, hostile_counts()).prop_map(|(offset, counts)| ExpBuckets { offset, counts })
}

fn hostile() -> impl Strategy<Value = HistogramRow> {
    let bounds = prop::collection::vec(hostile_number(), 0..6);
    let scale = prop_oneof![any::<i32>(), -12_i32..22, Just(0)];
    let explicit =
        (bounds, hostile_counts()).prop_map(|(bounds, counts)| Buckets::Explicit { bounds: bounds.into(), counts });
    let exponential = (scale, any::<u64>(), hostile_number(), hostile_side(), hostile_side()).prop_map(
        |(scale, zero_count, zero_threshold, positive, negative)| Buckets::Exponential {
            scale,
            zero_count,
            zero_threshold,
            positive,
            negative,
        },
    );
    let buckets = prop_oneof![explicit, exponential, Just(Buckets::Ended)];
    let extremes = prop::array::uniform3(prop::option::of(hostile_number()));
    (any::<i64>(), prop::option::of(any::<i64>()), any::<u64>(), extremes, buckets).prop_map(
        |(time, start, count, [sum, min, max], buckets)| {
            let (time, start) = (UnixNanos(time), start.map(UnixNanos));
            HistogramRow { series: SERIES, time, start, count, sum, min, max, buckets }
        },
    )
}
