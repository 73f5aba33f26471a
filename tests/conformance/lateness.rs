//! What comes late, out of order, twice or from the future.

use std::time::Duration;

use serde_json::Value;

use crate::kit::{
    CUMULATIVE, Payload, Route, SECOND, Service, Signal, a_span, base_time, cases, counter, eventually, gauge, metrics,
    point, traces,
};

/// As in the configuration of the service.
const LATENESS: u64 = 120;
const CONFIG: &str = "ingest: {lateness: 2m, idle: off}";
const SERVICE: &str = "late";

/// One item of telemetry.
#[derive(Clone, Debug)]
enum Item {
    Gauge { series: u64, second: u64, value: f64 },
    Count { second: u64, value: f64 },
    Call { second: u64, place: u64, failed: bool },
}

/// What a shop sends in the order of time: gauges, a counter and calls, each with a disturbance.
fn telemetry(seconds: u64) -> Vec<Item> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut items = Vec::new();
    let mut total = 0.0;
    for second in (0..seconds).step_by(5) {
        let is_odd = (seconds * 3 / 4..seconds * 3 / 4 + 60).contains(&second);
        for series in 0..20 {
            let high = if is_odd && series % 3 == 0 { 500.0 } else { 0.0 };
            items.push(Item::Gauge { series, second, value: 100.0 + random.f64() * 10.0 + high });
        }
        total += 50.0 + random.f64() * 5.0 + if is_odd { 2_000.0 } else { 0.0 };
        items.push(Item::Count { second, value: total });
        for place in 0..8 {
            items.push(Item::Call { second, place, failed: is_odd });
        }
    }
    items
}

impl Item {
    fn second(&self) -> u64 {
        match self {
            Self::Gauge { second, .. } | Self::Count { second, .. } | Self::Call { second, .. } => *second,
        }
    }

    fn signal(&self) -> Signal {
        if matches!(self, Self::Call { .. }) { Signal::Traces } else { Signal::Metrics }
    }
}

/// A request of items of one signal.
fn request(items: &[Item], base: u64) -> Payload {
    let mut points = Vec::new();
    let mut spans = Vec::new();
    for item in items {
        let time = base + item.second() * SECOND;
        match item {
            Item::Gauge { series, value, .. } => {
                points.push(gauge("load", vec![point(time, *value, &[("series", &series.to_string())])]));
            }
            Item::Count { value, .. } => points.push(counter("orders", CUMULATIVE, vec![point(time, *value, &[])])),
            Item::Call { second, place, failed } => {
                let end = time + place * SECOND / 10;
                let mut span = a_span(["GET /", "POST /"][usize::from(*place % 2 == 0)], end - SECOND / 50, end);
                // The same item has the same ids whenever it is sent.
                span.span_id = (second * 100 + place + 1).to_be_bytes().to_vec();
                span.trace_id = [[7; 8], (second * 100 + place + 1).to_be_bytes()].concat();
                span.status = failed.then(|| crate::kit::Status { code: 2, message: String::new() });
                spans.push(span);
            }
        }
    }
    if spans.is_empty() { metrics(SERVICE, points) } else { traces(SERVICE, spans) }
}

/// The anomalies that a service of its own finds when items come in this order, so many at once, and
/// all points of the gauges.
async fn found(items: &[Item], base: u64, size: usize) -> (Vec<Value>, String) {
    let service = Service::start(CONFIG);
    let mut rest = items;
    while let Some(first) = rest.first() {
        let same = rest.iter().take_while(|item| item.signal() == first.signal()).count();
        let (batch, others) = rest.split_at(same.min(size));
        rest = others;
        let answer = service.send(&request(batch, base), Route::Grpc).await;
        assert!(answer.is_complete(), "{answer:?}");
    }
    // Something so much later that nothing waits any longer.
    let last = items.iter().map(Item::second).max().expect("there are items");
    let after = Item::Gauge { series: 99, second: last + LATENESS + 30, value: 1.0 };
    assert!(service.send(&request(&[after], base), Route::Grpc).await.is_complete());
    let all = || async {
        let found = service.api.items("/api/v1/anomalies?limit=1000").await;
        let view = service.api.get("/api/v1/status").await;
        let opened = view["detection"]["anomaliesOpened"].as_u64().unwrap_or_default();
        (!found.is_empty() && found.len() as u64 == opened).then_some(found)
    };
    let anomalies = eventually(Duration::from_secs(20), all).await.expect("there are disturbances");
    assert!(service.counted("bellwether_points_late_total", &[]).await < 0.5);
    assert!(service.counted("bellwether_events_late_total", &[]).await < 0.5);
    // The expression reads what is sealed, which it is every second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let points = service.points(&format!("{{service_name=\"{SERVICE}\",series!=\"99\"}}")).await;
    service.assert_healthy().await;
    (anomalies, format!("{points:?}"))
}

/// What no order of arrival may change. Traces to look at are a sample of those there are, and links
/// name the port.
fn lasting(anomalies: &[Value]) -> Vec<Value> {
    let mut anomalies = anomalies.to_vec();
    for anomaly in &mut anomalies {
        if let Some(fields) = anomaly.as_object_mut() {
            fields.remove("exemplars");
            fields.remove("runbookUrl");
        }
    }
    anomalies
}

// A18: within the lateness, order, repetitions and batches make no difference.
#[tokio::test]
async fn within_the_lateness_any_order_gives_the_same_anomalies_and_points() {
    let base = base_time() - 1_800 * SECOND;
    let in_order = telemetry(u64::from(cases(900, 2_100)));
    let (expected, points) = found(&in_order, base, 100).await;
    assert!(expected.len() > 5, "{expected:?}");
    for (seed, size) in [(1, 1_000), (2, 37)] {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut late: Vec<(f64, Item)> = Vec::new();
        for item in &in_order {
            for _ in 0..if random.f64() < 0.2 { 2 } else { 1 } {
                #[expect(clippy::cast_precision_loss, reason = "seconds are small")]
                let arrival = item.second() as f64 + random.f64() * (LATENESS - 1) as f64;
                late.push((arrival, item.clone()));
            }
        }
        late.sort_by(|a, b| a.0.total_cmp(&b.0));
        let late: Vec<Item> = late.into_iter().map(|(_, item)| item).collect();
        let (mixed, mixed_points) = found(&late, base, size).await;
        assert_eq!(lasting(&mixed), lasting(&expected), "seed {seed}");
        assert!(mixed_points == points, "the windows differ with seed {seed}");
    }
}
