//! Histograms that break the data model: counted and named like any other bad point.

use crate::{
    kit::{
        Data, ExponentialHistogram, ExponentialHistogramDataPoint, Histogram, HistogramDataPoint, base_time,
        exponential, exponential_point, histogram, histogram_point, metric, summary,
    },
    malformed::{Shape, faults_of, with_good_metric},
};

fn histogram_shapes() -> Vec<Shape> {
    let t = base_time();
    let good = || histogram_point(t);
    let bad = |bad: HistogramDataPoint| with_good_metric(histogram("bad", vec![bad]));
    let bounds = |bounds: &[f64]| HistogramDataPoint { explicit_bounds: bounds.into(), ..good() };
    let untyped = Histogram { data_points: vec![good()], aggregation_temporality: 0 };
    vec![
        ("histogram: count is not the sum", &["count"], bad(HistogramDataPoint { count: 7, ..good() })),
        (
            "histogram: buckets overflow",
            &["count"],
            bad(HistogramDataPoint { bucket_counts: vec![u64::MAX, 7, 0], ..good() }),
        ),
        ("histogram: a bucket too few", &["bucket_counts", "explicit_bounds"], bad(bounds(&[1.0, 2.0, 3.0]))),
        ("histogram: a bucket too many", &["bucket_counts", "explicit_bounds"], bad(bounds(&[1.0]))),
        ("histogram: bounds fall", &["explicit_bounds"], bad(bounds(&[2.0, 1.0]))),
        ("histogram: bounds repeat", &["explicit_bounds"], bad(bounds(&[1.0, 1.0]))),
        ("histogram: bound is NaN", &["explicit_bounds"], bad(bounds(&[1.0, f64::NAN]))),
        ("histogram: time 0", &["time_unix_nano"], bad(HistogramDataPoint { time_unix_nano: 0, ..good() })),
        ("histogram: temporality 0", &["temporality"], with_good_metric(metric("bad", Data::Histogram(untyped)))),
    ]
}

fn exponential_shapes() -> Vec<Shape> {
    let t = base_time();
    let good = || exponential_point(t);
    let bad = |bad: ExponentialHistogramDataPoint| with_good_metric(exponential("bad", vec![bad]));
    let shifted = |offset| {
        let mut point = good();
        if let Some(positive) = &mut point.positive {
            positive.offset = offset;
        }
        point
    };
    let untyped = ExponentialHistogram { data_points: vec![good()], aggregation_temporality: 0 };
    let mut summary_without_time = summary("bad", 0);
    summary_without_time.unit = "s".into();
    vec![
        ("exponential: count is not the sum", &["count"], bad(ExponentialHistogramDataPoint { count: 9, ..good() })),
        ("exponential: scale beyond doubles", &["scale"], bad(ExponentialHistogramDataPoint { scale: -100, ..good() })),
        ("exponential: index beyond doubles", &["scale", "offset"], bad(shifted(1_000_000_000))),
        ("exponential: index overflows", &["scale", "offset"], bad(shifted(i32::MAX))),
        (
            "exponential: zero threshold",
            &["zero_threshold"],
            bad(ExponentialHistogramDataPoint { zero_threshold: f64::NAN, ..good() }),
        ),
        (
            "exponential: time 0",
            &["time_unix_nano"],
            bad(ExponentialHistogramDataPoint { time_unix_nano: 0, ..good() }),
        ),
        (
            "exponential: temporality 0",
            &["temporality"],
            with_good_metric(metric("bad", Data::ExponentialHistogram(untyped))),
        ),
        ("summary: time 0", &["time_unix_nano"], with_good_metric(summary_without_time)),
    ]
}

// A17
#[tokio::test(flavor = "multi_thread")]
async fn malformed_histograms_are_rejected_by_name() {
    let shapes: Vec<Shape> = [histogram_shapes(), exponential_shapes()].into_iter().flatten().collect();
    assert_eq!(shapes.len(), 17);
    assert_eq!(faults_of(shapes).await, Vec::<String>::new());
}
