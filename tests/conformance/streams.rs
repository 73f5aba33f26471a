//! Points in time: resets, gaps, overlaps, staleness, disorder.

use crate::kit::{
    CUMULATIVE, DELTA, NumberDataPoint, Payload, Route, SECOND, Service, base_time, cases, counter, gauge, metrics,
    point, unique,
};

/// A point of a sum: start (`None`: not said), time and value, in seconds after the base.
type Stamp = (Option<u64>, u64, f64);
/// What it is called, the temporality, its points, and the rates that they give: (time, per second).
type Stream = (&'static str, i32, &'static [Stamp], &'static [(u64, f64)]);

/// Each computed by hand from the data model's rules on resets and gaps.
const STREAMS: [Stream; 12] = [
    ("steady", CUMULATIVE, &[(Some(0), 10, 5.0), (Some(0), 20, 25.0), (Some(0), 30, 25.0)], &[(20, 2.0), (30, 0.0)]),
    (
        "true reset",
        CUMULATIVE,
        &[(Some(0), 10, 100.0), (Some(12), 20, 16.0), (Some(12), 30, 46.0)],
        &[(20, 2.0), (30, 3.0)],
    ),
    ("reset to a greater value", CUMULATIVE, &[(Some(0), 10, 10.0), (Some(15), 20, 20.0)], &[(20, 4.0)]),
    ("unknown start", CUMULATIVE, &[(Some(0), 10, 100.0), (Some(20), 20, 900.0), (Some(20), 30, 920.0)], &[(30, 2.0)]),
    ("first point of an unknown start", CUMULATIVE, &[(Some(10), 10, 1e9), (Some(10), 20, 1e9 + 10.0)], &[(20, 1.0)]),
    ("no start", CUMULATIVE, &[(None, 10, 100.0), (None, 20, 150.0)], &[(20, 5.0)]),
    (
        "drop without a new start",
        CUMULATIVE,
        &[(Some(0), 10, 100.0), (Some(0), 20, 30.0), (Some(0), 30, 40.0)],
        &[(20, 3.0), (30, 1.0)],
    ),
    ("drop without any start", CUMULATIVE, &[(None, 10, 100.0), (None, 20, 30.0)], &[(20, 3.0)]),
    ("gap", CUMULATIVE, &[(Some(0), 10, 10.0), (Some(0), 110, 210.0)], &[(110, 2.0)]),
    (
        "delta",
        DELTA,
        &[(Some(0), 10, 20.0), (Some(10), 20, 0.0), (Some(20), 30, 5.0)],
        &[(10, 2.0), (20, 0.0), (30, 0.5)],
    ),
    ("delta after a gap", DELTA, &[(Some(0), 10, 20.0), (Some(90), 100, 20.0)], &[(10, 2.0), (100, 2.0)]),
    ("delta without start", DELTA, &[(None, 10, 20.0), (None, 20, 30.0)], &[(20, 3.0)]),
];

fn stamped(base: u64, stamps: &[Stamp]) -> Vec<NumberDataPoint> {
    let at = |seconds: u64| base + seconds * SECOND;
    let one = |(start, time, value): &Stamp| NumberDataPoint {
        start_time_unix_nano: start.map_or(0, at),
        ..point(at(*time), *value, &[])
    };
    stamps.iter().map(one).collect()
}

fn seconds(nanos: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "whole seconds of this century are exact")]
    let seconds = (nanos / SECOND) as f64;
    seconds
}

// A15
#[tokio::test(flavor = "multi_thread")]
async fn resets_gaps_and_unknown_starts_give_the_rates_of_the_data_model() {
    let service = Service::shared();
    let base = base_time();
    let mut names = Vec::new();
    for (what, temporality, stamps, _) in STREAMS {
        let name = unique("resets");
        // Half of them point by point, half at once: the same must come of it.
        let points = stamped(base, stamps);
        let size = if names.len() % 2 == 0 { 1 } else { points.len() };
        for part in points.chunks(size) {
            let payload = metrics(&name, vec![counter("resets", temporality, part.to_vec())]);
            let answer = service.send(&payload, Route::Grpc).await;
            assert!(answer.is_complete(), "{what}: {answer:?}");
        }
        names.push(name);
    }
    let mut faults = Vec::new();
    for ((what, _, _, rates), name) in STREAMS.into_iter().zip(names) {
        let stored = service.points_when(&format!("resets:rate{{service_name=\"{name}\"}}"), rates.len()).await;
        let got: Vec<(f64, f64)> =
            stored.iter().flat_map(|(_, p)| p).map(|(t, v)| (*t, v.parse().unwrap_or(f64::NAN))).collect();
        let expected: Vec<(f64, f64)> = rates.iter().map(|(t, r)| (seconds(base) + seconds(t * SECOND), *r)).collect();
        let near = |a: &(f64, f64), b: &(f64, f64)| {
            (a.0 - b.0).abs() < 1e-3 && (a.1 - b.1).abs() <= 1e-12 * b.1.abs().max(1.0)
        };
        if got.len() != expected.len() || !got.iter().zip(&expected).all(|(a, b)| near(a, b)) {
            faults.push(format!("{what}: got {got:?}, expected {expected:?}"));
        }
    }
    assert_eq!(faults, Vec::<String>::new());
}

// A15
#[tokio::test(flavor = "multi_thread")]
async fn no_stream_of_one_or_two_writers_gives_a_negative_or_impossible_rate() {
    let service = Service::shared();
    let mut random = fastrand::Rng::with_seed(15);
    let (name, base) = (unique("chaos"), base_time());
    let mut fastest = 0.0_f64;
    let (mut value, mut start, mut points) = (0.0, 0, Vec::new());
    for second in 1..400 {
        if random.u8(..10) == 0 {
            continue;
        }
        if random.u8(..12) == 0 {
            // A restart: what was counted before the point is between nothing and the usual.
            (start, value) = (second - 1, 0.0);
        }
        let step = f64::from(random.u32(..1_000));
        fastest = fastest.max(step);
        value += step;
        points.push((Some(start), second, value));
    }
    let answer =
        service.send(&metrics(&name, vec![counter("chaos", CUMULATIVE, stamped(base, &points))]), Route::Grpc).await;
    assert!(answer.is_complete(), "{answer:?}");
    let stored = service.points_when(&format!("chaos:rate{{service_name=\"{name}\"}}"), points.len() - 1).await;
    let rates: Vec<f64> = stored.iter().flat_map(|(_, p)| p).filter_map(|(_, v)| v.parse().ok()).collect();
    assert!(rates.len() > 200, "{} rates", rates.len());
    let wrong: Vec<&f64> = rates.iter().filter(|r| !(0.0..=fastest).contains(*r)).collect();
    assert!(wrong.is_empty(), "beyond 0 to {fastest}: {wrong:?}");
}

// A16
#[tokio::test(flavor = "multi_thread")]
async fn no_recorded_value_ends_a_series_and_is_never_a_zero() {
    let service = Service::shared();
    let base = base_time();
    for route in Route::PLAIN {
        let name = unique("stale");
        let gone = |p: NumberDataPoint| NumberDataPoint { flags: 1, value: None, ..p };
        let points: Vec<_> = (0..cases(50, 1_000))
            .flat_map(|i| {
                let id = i.to_string();
                let at = |offset: u64| point(base + offset * SECOND, 7.0, &[("id", &id)]);
                // The value of a point that is marked is nothing, whatever it is.
                [at(0), at(10), if i % 2 == 0 { gone(at(20)) } else { NumberDataPoint { flags: 1, ..at(20) } }]
            })
            .collect();
        let count = points.len() / 3;
        let sums = points.clone();
        let payload = metrics(&name, vec![gauge("stale.gauge", points), counter("stale.sum", CUMULATIVE, sums)]);
        let answer = service.send(&payload, route).await;
        assert!(answer.is_complete(), "{route:?}: {answer:?}");
        for metric in ["stale_gauge", "stale_sum_total"] {
            let selector = format!("{metric}{{service_name=\"{name}\"}}");
            let stored = service.points_when(&selector, 2 * count).await;
            let values: Vec<&str> = stored.iter().flat_map(|(_, p)| p).map(|(_, v)| v.as_str()).collect();
            assert_eq!(values, vec!["7"; 2 * count], "{route:?} {selector}");
            // While it lasted it was there, and from the marker on it is not.
            for (offset, wanted) in [(15, count), (20, 0), (60, 0)] {
                let time = base / SECOND + offset;
                let path = format!("/api/v1/query?time={time}&query={}", crate::kit::encoded(&selector));
                let answer = service.api.get(&path).await;
                let got = answer["data"]["result"].as_array().map(Vec::len);
                assert_eq!(got, Some(wanted), "{route:?} {selector} at {offset} s");
            }
        }
    }
}

fn disorder(name: &str, points: &[NumberDataPoint], random: &mut fastrand::Rng) -> Vec<Payload> {
    let mut points = points.to_vec();
    random.shuffle(&mut points);
    let mut requests = Vec::new();
    while !points.is_empty() {
        let size = random.usize(1..=points.len());
        let part: Vec<_> = points.drain(..size).collect();
        requests.push(metrics(name, vec![gauge("disorder", part)]));
    }
    requests
}

// A18
#[tokio::test(flavor = "multi_thread")]
async fn order_batching_and_repetition_do_not_change_what_is_stored() {
    let service = Service::shared();
    let mut random = fastrand::Rng::with_seed(18);
    let base = base_time();
    let points: Vec<_> = (0..cases(300, 5_000))
        .map(|i| point(base + u64::from(i % 100) * SECOND, f64::from(i) / 3.0, &[("id", &(i / 100).to_string())]))
        .collect();
    let names: Vec<String> = (0..cases(6, 200)).map(|_| unique("disorder")).collect();
    for (name, i) in names.iter().zip(0..) {
        let mut requests = if i == 0 {
            vec![metrics(name, vec![gauge("disorder", points.clone())])]
        } else {
            disorder(name, &points, &mut random)
        };
        if i > 2 {
            // Answers get lost, so senders send the same again.
            requests.extend(requests.clone());
        }
        for request in requests {
            let answer = service.send(&request, Route::Grpc).await;
            assert!(answer.is_complete(), "{answer:?}");
        }
    }
    let mut all = Vec::new();
    for name in &names {
        let stored = service.points_when(&format!("disorder{{service_name=\"{name}\"}}"), points.len()).await;
        all.push(format!("{stored:?}").replace(name.as_str(), "NAME"));
    }
    assert!(all[0].len() > 1_000, "{}", all[0]);
    for (one, name) in all.iter().zip(&names) {
        assert_eq!(one, &all[0], "{name}");
    }
}

// A18
#[tokio::test(flavor = "multi_thread")]
async fn the_near_future_is_taken_and_the_far_future_rejected() {
    let service = Service::shared();
    let now = crate::kit::now_seconds() * SECOND;
    for (ahead, rejected) in [(500 * SECOND, 0), (700 * SECOND, 1), (86_400 * SECOND, 1)] {
        let payload = metrics(&unique("future"), vec![gauge("future", vec![point(now + ahead, 1.0, &[])])]);
        let partial = service.send(&payload, Route::Grpc).await.verdict().expect("the request is whole");
        assert_eq!(partial.rejected, rejected, "{ahead} ns ahead: {}", partial.message);
        assert_eq!(rejected > 0, partial.message.contains("future"), "{}", partial.message);
    }
}
