//! What is bad in a request is counted and named, and the rest is kept.

use std::{collections::BTreeMap, sync::Mutex};

use proptest::{collection::vec, prop_assert_eq};

use crate::kit::{
    self, Payload, Route, SECOND, Service, a_span, base_time, cases, gauge, holds, logs, metrics, point, record,
    traces, unique,
};

/// Ways to spoil an item; 0 leaves it good.
const WAYS: u8 = 4;

fn spoilt_point(way: u8, time: u64, value: f64) -> kit::NumberDataPoint {
    let good = point(time, value, &[]);
    match way {
        1 => kit::NumberDataPoint { time_unix_nano: 0, ..good },
        2 => kit::NumberDataPoint { time_unix_nano: time + 7_200 * SECOND, ..good },
        3 => kit::NumberDataPoint { attributes: vec![kit::attribute(&"k".repeat(5_000), kit::text("v"))], ..good },
        _ => good,
    }
}

fn spoilt_span(way: u8, time: u64) -> kit::Span {
    let good = a_span("work", time - SECOND / 2, time);
    match way {
        1 => kit::Span { trace_id: vec![0; 16], ..good },
        2 => kit::Span { span_id: vec![1; 7], ..good },
        3 => kit::Span { end_time_unix_nano: 0, ..good },
        _ => good,
    }
}

fn spoilt_record(way: u8, time: u64) -> kit::LogRecord {
    let good = record(time, "line");
    match way {
        1 => kit::LogRecord { time_unix_nano: 0, observed_time_unix_nano: 0, ..good },
        2 => kit::LogRecord { time_unix_nano: u64::MAX, ..good },
        3 => kit::LogRecord { time_unix_nano: time + 7_200 * SECOND, ..good },
        _ => good,
    }
}

fn bad(ways: &[u8]) -> i64 {
    i64::try_from(ways.iter().filter(|w| **w > 0).count()).expect("batches are small")
}

fn stamped(ways: &[u8]) -> impl Iterator<Item = (u8, u64)> {
    let base = base_time();
    ways.iter().zip(1..).map(move |(way, i)| (*way, base + i * SECOND))
}

// A6
#[tokio::test(flavor = "multi_thread")]
async fn rejected_points_are_counted_exactly_and_the_others_are_stored() {
    let service = Service::shared();
    let sent: Mutex<BTreeMap<String, Vec<f64>>> = Mutex::default();
    holds(cases(100, 10_000), (vec(0..WAYS, 1..30), 0..6_usize), |(ways, route)| {
        let (service, sent) = (&service, &sent);
        async move {
            let name = unique("partial");
            let points: Vec<_> =
                stamped(&ways).zip(1..).map(|((way, time), i)| spoilt_point(way, time, f64::from(i))).collect();
            let kept = ways.iter().zip(1..).filter(|(way, _)| **way == 0).map(|(_, i)| f64::from(i));
            sent.lock().expect("no test panics with it").insert(name.clone(), kept.collect());
            let answer = service.send(&metrics(&name, vec![gauge("partial.points", points)]), Route::ALL[route]).await;
            let partial = answer.verdict().expect("the request is whole");
            prop_assert_eq!(partial.rejected, bad(&ways), "{}", partial.message);
            prop_assert_eq!(partial.message.is_empty(), partial.rejected == 0);
            Ok(())
        }
    });
    let sent = sent.into_inner().expect("no test panics with it");
    let total = sent.values().map(Vec::len).sum();
    let stored = service.points_when("partial_points", total).await;
    let mut by_service = BTreeMap::new();
    for (labels, points) in stored {
        let labels: serde_json::Value = serde_json::from_str(&labels).expect("was JSON");
        let values: Vec<f64> = points.iter().filter_map(|(_, v)| v.parse().ok()).collect();
        by_service.insert(labels["service_name"].as_str().unwrap_or_default().to_owned(), values);
    }
    let expected: BTreeMap<_, _> = sent.into_iter().filter(|(_, kept)| !kept.is_empty()).collect();
    assert_eq!(by_service, expected);
}

// A6
#[tokio::test(flavor = "multi_thread")]
async fn rejected_spans_and_records_are_counted_exactly_and_the_others_are_kept() {
    let service = Service::start("");
    let kept = Mutex::new([0_u32; 2]);
    holds(cases(60, 10_000), (vec(0..WAYS, 1..30), 0..6_usize), |(ways, route)| {
        let (service, kept) = (&service, &kept);
        async move {
            let name = unique("partial");
            let spans = stamped(&ways).map(|(way, time)| spoilt_span(way, time)).collect();
            let records = stamped(&ways).map(|(way, time)| spoilt_record(way, time)).collect();
            for payload in [traces(&name, spans), logs(&name, records)] {
                let partial = service.send(&payload, Route::ALL[route]).await.verdict().expect("the request is whole");
                prop_assert_eq!(partial.rejected, bad(&ways), "{}", partial.message);
                let good = ways.iter().filter(|w| **w == 0).count();
                kept.lock().expect("no test panics with it")[usize::from(matches!(payload, Payload::Logs(_)))] +=
                    u32::try_from(good).expect("batches are small");
            }
            Ok(())
        }
    });
    let kept = kept.into_inner().expect("no test panics with it");
    for (table, kept) in ["spans", "logs"].into_iter().zip(kept) {
        let label = format!("table=\"{table}\"");
        let rows = kit::eventually(std::time::Duration::from_secs(20), || async {
            let rows = service.counted("bellwether_window_rows", &[&label]).await;
            (rows >= f64::from(kept)).then_some(rows)
        });
        assert_eq!(rows.await, Some(f64::from(kept)), "rows of {table}");
    }
}
