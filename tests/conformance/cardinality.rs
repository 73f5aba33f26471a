//! More series than there is room for.

use std::time::Duration;

use crate::kit::{
    Payload, Route, SECOND, Service, a_span, base_time, cases, eventually, gauge, is_full, metrics, point, traces,
};

const SMALL: &str = "window: {max_series: 2000}\ndetect: {publish_every: 1h}";
const PART: u32 = 5_000;

fn old(i: u64) -> Payload {
    let points = (0..50).map(|s: u64| point(base_time() + i * SECOND, 1.0, &[("old", &s.to_string())])).collect();
    metrics("victim", vec![gauge("old.series", points)])
}

/// Series `from` and the next ones, each with one point.
fn flood(from: u32) -> Payload {
    let points = (from..from + PART).map(|s| point(base_time(), 1.0, &[("id", &s.to_string())])).collect();
    metrics("attacker", vec![gauge("flood.series", points)])
}

// D10
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_series_is_bounded_and_old_series_go_on() {
    let service = Service::start(SMALL);
    for i in 0..5 {
        assert!(service.send(&old(i), Route::Grpc).await.is_complete());
    }
    let before = service.process().resident();
    let parts = cases(20, 2_000);
    for part in 0..parts {
        let verdict = service.send(&flood(part * PART), Route::GrpcGzip).await.verdict();
        // Beyond the limit points are rejected by name or folded; they do not take the request with them.
        let partial = verdict.expect("the request is whole");
        assert!(partial.rejected == 0 || partial.message.contains("series"), "{partial:?}");
        if part.is_multiple_of(5) {
            assert!(
                service.send(&old(5 + u64::from(part) / 5), Route::Grpc).await.is_complete(),
                "an old series is refused"
            );
        }
    }
    let growth = service.process().peak().saturating_sub(before);
    assert!(growth <= 256 << 20, "grew by {} MiB", growth >> 20);
    let series = service.counted("bellwether_window_series", &[]).await;
    // What is expected of each old series and how far it is off are four series of our own, once there is enough of it.
    let published = if is_full() { 4.0 * 50.0 } else { 0.0 };
    assert!(series <= 2_100.0 + published, "{series} series");
    let times = 5 + parts.div_ceil(5);
    let points = eventually(Duration::from_secs(20), || async {
        let stored = service.points("old_series").await;
        let whole = stored.iter().filter(|(_, p)| p.len() == times as usize).count();
        (whole == 50).then_some(())
    });
    assert!(points.await.is_some(), "{:?}", service.points("old_series").await);
    service.assert_healthy().await;
}

// D10
#[tokio::test(flavor = "multi_thread")]
async fn series_beyond_the_limit_are_folded_into_one_that_says_so() {
    let service = Service::start(SMALL);
    assert!(service.send(&old(0), Route::Grpc).await.is_complete());
    let answer = service.send(&flood(0), Route::Grpc).await;
    assert!(answer.verdict().is_ok(), "{answer:?}");
    let folded = eventually(Duration::from_secs(20), || async {
        let stored = service.points("flood_series{otel_metric_overflow=\"true\"}").await;
        (stored.len() == 1 && !stored[0].1.is_empty()).then_some(())
    });
    assert!(folded.await.is_some(), "no series of the metric stands for those beyond the limit");
    let series = service.counted("bellwether_window_series", &[]).await;
    assert!(series <= 2_100.0, "{series} series");
}

// D10
#[tokio::test(flavor = "multi_thread")]
async fn a_step_in_a_known_service_is_found_during_a_flood() {
    let service = Service::start("window: {max_series: 20000, max_bytes: 64MiB}");
    let base = base_time();
    // Noise around 100, and around 200 from point `step` on.
    let known = |i: u64, step: u64| {
        let noise = f64::from(u32::try_from(i * 37 % 11).expect("below 11"));
        let value = noise + if i >= step { 200.0 } else { 100.0 };
        point(base + i * SECOND, value, &[])
    };
    let send_known = |from: u64, to: u64, step: u64| {
        metrics("shop", vec![gauge("queue.length", (from..to).map(|i| known(i, step)).collect())])
    };
    assert!(service.send(&send_known(0, 120, u64::MAX), Route::Grpc).await.is_complete());
    let before = service.process().resident();
    let parts = cases(20, 2_000);
    let (mut next, step) = (120, 130);
    for part in 0..parts {
        let verdict = service.send(&flood(part * PART), Route::GrpcGzip).await.verdict();
        assert!(verdict.is_ok(), "the request is whole: {verdict:?}");
        if part.is_multiple_of(parts / 20) {
            assert!(service.send(&send_known(next, next + 1, step), Route::Grpc).await.is_complete(), "{next}");
            next += 1;
        }
    }
    let found = eventually(Duration::from_secs(20), || async {
        let anomalies = service.api.items("/api/v1/anomalies?service=shop").await;
        (!anomalies.is_empty()).then_some(anomalies)
    });
    let found = found.await.expect("the step is found");
    let starts = found[0]["startsAt"].as_str().unwrap_or_default().to_owned();
    assert_eq!(found[0]["metric"], "queue_length", "{found:?}");
    assert!(found.len() == 1 && !starts.is_empty(), "nothing else is: {found:?}");
    let growth = service.process().peak().saturating_sub(before);
    // The bound of bytes, 20,000 series with what detectors know of them, and requests on their way.
    assert!(growth <= 256 << 20, "grew by {} MiB", growth >> 20);
    service.assert_healthy().await;
}

// D10
#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_known_series_takes_no_room_from_services_that_come_later() {
    // What is expected of each and how far it is off would be 24,000 series more, of 22,000 in all.
    const SERIES: u64 = 6_000;
    let service = Service::start("window: {max_series: 6000}\ndetect: {publish_every: 1s}");
    let base = base_time();
    for i in 0..40 {
        let value = |s: u64| f64::from(u32::try_from((i * 37 + s) % 11).expect("below 11"));
        let points = (0..SERIES).map(|s| point(base + i * SECOND, value(s), &[("id", &s.to_string())])).collect();
        assert!(
            service.send(&metrics("crowd", vec![gauge("crowd.load", points)]), Route::GrpcGzip).await.is_complete()
        );
    }
    let withheld = eventually(Duration::from_secs(60), || async {
        (service.counted("bellwether_points_unpublished_total", &[]).await > 0.0).then_some(())
    });
    assert!(withheld.await.is_some(), "there is room for all of it");
    let said = eventually(Duration::from_secs(60), || async {
        let said = service.points("crowd_load:score").await.len();
        (said >= 1_000).then_some(said)
    });
    let said = said.await.expect("it is said of those that there is room for");
    assert!(said < 6_000, "of {said} series it is said");
    // Enough event time for a bucket to close, wherever it begins.
    let spans = (0..40).map(|i| a_span("GET /", base + i * SECOND, base + i * SECOND + 1_000)).collect();
    let answer = service.send(&traces("late", spans), Route::Grpc).await;
    assert!(answer.is_complete(), "{answer:?}");
    let calls = service.points_when("traces_span_metrics_calls_total{service_name=\"late\"}", 1).await;
    assert_eq!(calls.len(), 1, "{calls:?}");
    // And what is beyond the limit is folded into a series of its own still.
    let one_more = metrics("late", vec![gauge("late.load", vec![point(base, 1.0, &[])])]);
    assert!(service.send(&one_more, Route::Grpc).await.verdict().is_ok());
    let folded = service.points_when("late_load{otel_metric_overflow=\"true\"}", 1).await;
    assert_eq!(folded.len(), 1, "{folded:?}");
    service.assert_healthy().await;
}
