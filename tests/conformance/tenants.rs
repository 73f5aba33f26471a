//! Tenants beside each other: shares and rates.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::kit::{Answer, Connection, Refusal, Service, Signal, base_time, frame, gauge, is_full, metrics, point};

fn body(tenant: &str, points: u64) -> Vec<u8> {
    let points = (0..points).map(|p| point(base_time() + p * 1_000_000, 1.0, &[])).collect();
    metrics(tenant, vec![gauge("tenant.points", points)]).protobuf()
}

/// Sends one request for a tenant; the refusal when it was not taken.
async fn send(connection: &Connection, tenant: &str, body: &[u8]) -> Result<(), Refusal> {
    let headers = [("x-scope-orgid", tenant)];
    let call = connection.call(Signal::Metrics.method(), &headers, frame(body, false)).await;
    Answer::Grpc(call.expect("a call is answered")).verdict().map(|_| ())
}

// D2
#[tokio::test(flavor = "multi_thread")]
async fn one_greedy_tenant_does_not_shut_out_the_others() {
    let service = Service::start("ingest: {queue_bytes: 1MiB}\ntenants: {trust_header: true}");
    let (stop, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let greedy: Vec<_> = (0..32)
        .map(|_| {
            let (grpc, stop, taken) = (service.binary.grpc.clone(), Arc::clone(&stop), Arc::clone(&taken));
            tokio::spawn(async move {
                let connection = Connection::open(&grpc).await;
                let body = body("greedy", 2_000);
                while !stop.load(Ordering::Relaxed) {
                    let is_taken = send(&connection, "greedy", &body).await.is_ok();
                    taken.fetch_add(u64::from(is_taken), Ordering::Relaxed);
                }
            })
        })
        .collect();
    let until = Instant::now() + Duration::from_secs(if is_full() { 60 } else { 4 });
    let modest: Vec<_> = (0..8)
        .map(|i| {
            let grpc = service.binary.grpc.clone();
            tokio::spawn(async move {
                let (connection, tenant) = (Connection::open(&grpc).await, format!("modest-{i}"));
                let (body, mut good, mut all) = (body(&tenant, 20), 0_u32, 0_u32);
                while Instant::now() < until {
                    all += 1;
                    good += u32::from(send(&connection, &tenant, &body).await.is_ok());
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                (good, all)
            })
        })
        .collect();
    let (mut good, mut all) = (0, 0);
    for task in modest {
        let (g, a) = task.await.expect("no sender fails");
        (good, all) = (good + g, all + a);
    }
    stop.store(true, Ordering::Relaxed);
    for task in greedy {
        task.await.expect("no sender fails");
    }
    assert!(all >= 16 && f64::from(good) >= 0.999 * f64::from(all), "{good} of {all} requests of modest tenants");
    assert!(taken.load(Ordering::Relaxed) > 0, "the door is shut for the greedy one");
}

// D4
#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_rate_is_kept_and_another_tenants_is_its_own() {
    let (rate, burst, size) = (1_000_u32, 2_000_u32, 100_u32);
    let limits = format!("{{items_per_second: {rate}, items_burst: {burst}}}");
    let service = Service::start(&format!("tenants: {{trust_header: true, default: {limits}}}"));
    let connection = Connection::open(&service.binary.grpc).await;
    let body = body("limited", u64::from(size));
    let (started, mut taken) = (Instant::now(), 0_u32);
    while started.elapsed() < Duration::from_secs(4) {
        match send(&connection, "limited", &body).await {
            Ok(()) => taken += size,
            Err(refusal) => {
                assert!([8, 14].contains(&refusal.code), "{refusal:?}");
                assert!(refusal.hint.details.is_some_and(|h| (1.0..=30.0).contains(&h)), "{refusal:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    // What has come in time must be let in, and no more than one request more.
    let ideal = f64::from(burst) + f64::from(rate) * started.elapsed().as_secs_f64();
    let (taken, slack) = (f64::from(taken), f64::from(size) + 0.01 * ideal);
    assert!(taken <= ideal + slack && taken >= 0.8 * ideal, "{taken} items were let in, {ideal} were due");
    assert_eq!(send(&connection, "another", &body).await, Ok(()));
}
