//! All at once: load beyond capacity, bombs, and series without end, under one ceiling of memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::kit::{
    Answer, Connection, Payload, Route, SECOND, Service, Signal, a_span, base_time, figures, frame, gauge, gzip,
    is_full, logs, metrics, point, record, traces, unique,
};

const MIB: u64 = 1 << 20;
/// A small service, so that its bounds are reached soon.
const SMALL: &str = "ingest: {max_request_bytes: 4MiB, queue_bytes: 16MiB}
window: {max_bytes: 32MiB, max_series: 5000}";
/// What it may take: the process itself and what it keeps for each series (100 MiB), window and queue (48),
/// bodies on their way in (four of the largest requests, 16), and two large requests at once, expanded and
/// decoded (32).
const CEILING: u64 = 196 * MIB;

/// Sends what `next` makes, over and over; how often something was taken. Who sends bombs without end may lose its
/// connection for what it goes on sending after it has been refused, and opens another; nobody else may.
async fn send(
    grpc: String,
    signal: Signal,
    next: impl Fn(u64) -> Bytes,
    is_packed: bool,
    (stop, taken): (Arc<AtomicBool>, Arc<AtomicU64>),
) {
    let mut connection = Connection::open(&grpc).await;
    let headers: &[_] = if is_packed { &[("grpc-encoding", "gzip")] } else { &[] };
    for i in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let answer = match connection.call(signal.method(), headers, next(i)).await {
            Ok(answer) => answer,
            Err(error) => {
                assert!(is_packed && (error.is_go_away() || error.is_io()), "{signal:?}: {error}");
                connection = Connection::open(&grpc).await;
                continue;
            }
        };
        match Answer::Grpc(answer).verdict() {
            Ok(_) => {
                taken.fetch_add(1, Ordering::Relaxed);
            }
            Err(refusal) => assert!([3, 8, 14].contains(&refusal.code), "{refusal:?}"),
        }
    }
}

/// Ordinary requests of each signal.
fn ordinary() -> Vec<(Signal, Bytes)> {
    let base = base_time();
    let at = |i: u64| base + i * SECOND / 1_000;
    let points = (0..1_000).map(|i| point(at(i), 1.0, &[("k", "v")])).collect();
    let spans = (0..1_000).map(|i| a_span("load", base, at(i) + 1)).collect();
    let records = (0..1_000).map(|i| record(at(i), &"text ".repeat(20))).collect();
    [metrics("load", vec![gauge("load.points", points)]), traces("load", spans), logs("load", records)]
        .iter()
        .map(|payload| (payload.signal(), frame(&payload.protobuf(), false)))
        .collect()
}

/// Series that nobody has seen before.
fn new_series(sender: &str, i: u64) -> Bytes {
    let one = |p: u64| point(base_time(), 1.0, &[("sender", sender), ("id", &format!("{i}-{p}"))]);
    frame(&metrics("series", vec![gauge("load.series", (0..1_000).map(one).collect())]).protobuf(), false)
}

/// Zeros without end, and spans of two bytes: within the limit of bytes, and far from it in memory.
fn bombs() -> Vec<Bytes> {
    let zeros = gzip(&vec![0; 64 << 20]).repeat(16);
    let spans = Payload::Traces(crate::kit::ExportTraceServiceRequest {
        resource_spans: vec![crate::kit::ResourceSpans {
            scope_spans: vec![crate::kit::ScopeSpans {
                spans: vec![crate::kit::Span::default(); 700_000],
                ..Default::default()
            }],
            ..Default::default()
        }],
    });
    vec![frame(&zeros, true), frame(&gzip(&spans.protobuf()), true)]
}

// D6
#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_under_its_ceiling_whatever_comes() {
    let service = Service::start(SMALL);
    let (stop, taken, others) = (Arc::new(AtomicBool::new(false)), Arc::default(), Arc::<AtomicU64>::default());
    let grpc = || service.binary.grpc.clone();
    let mut tasks = Vec::new();
    for i in 0..24 {
        let (signal, body) = ordinary().swap_remove(i % 3);
        let ends = (Arc::clone(&stop), Arc::clone(&taken));
        tasks.push(tokio::spawn(send(grpc(), signal, move |_| body.clone(), false, ends)));
    }
    for _ in 0..4 {
        let (sender, ends) = (unique("sender"), (Arc::clone(&stop), Arc::clone(&others)));
        tasks.push(tokio::spawn(send(grpc(), Signal::Metrics, move |i| new_series(&sender, i), false, ends)));
    }
    for body in bombs().into_iter().flat_map(|bomb| [bomb.clone(), bomb]) {
        let ends = (Arc::clone(&stop), Arc::clone(&others));
        tasks.push(tokio::spawn(send(grpc(), Signal::Traces, move |_| body.clone(), true, ends)));
    }
    let (started, mut most) = (Instant::now(), 0);
    let time = Duration::from_secs(if is_full() { 1_800 } else { 8 });
    while started.elapsed() < time {
        tokio::time::sleep(Duration::from_millis(100)).await;
        most = most.max(service.process().resident());
    }
    // What was between two looks counts as well.
    let peak = service.process().peak();
    figures(&format!("D6 most {} MiB, peak {} MiB, {taken:?} {others:?}", most / MIB, peak / MIB));
    assert!(most > 0 && peak <= CEILING + CEILING / 20, "{} MiB, the ceiling is {}", peak / MIB, CEILING / MIB);
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no sender fails");
    }
    assert!(taken.load(Ordering::Relaxed) > 0, "nothing is taken under load");
    service.assert_healthy().await;
    let answer = service.send(&Payload::one(Signal::Logs, "after"), Route::Grpc).await;
    assert!(answer.is_complete(), "{answer:?}");
}
