//! What is shed first when there is too much.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use crate::kit::{
    Answer, Connection, Framing, LogRecord, Metric, Payload, SECOND, Service, Signal, a_span, base_time, eventually,
    figures, frame, gauge, http1, is_full, logs, metrics, point, record, traces,
};

/// Items in one request.
const ITEMS: u64 = 150;
/// Requests of each flooding class that are on their way at once: with four of them, twice what the
/// service ever lets in.
const FLOOD: u64 = 100;
/// Streams of a connection.
const STREAMS: u64 = 50;

/// A class of requests, least first; how many are sent at once, and one of them.
type Class = (&'static str, u64, Payload);

fn classes() -> [Class; 5] {
    let base = base_time();
    let records = |severity_number| {
        let one = |i| LogRecord { severity_number, ..record(base + i * SECOND / 1_000, "shed") };
        logs("shed", (0..ITEMS).map(one).collect())
    };
    let spans = (0..ITEMS).map(|i| a_span("shed", base, base + i * 1_000 + 1)).collect();
    let points = || (0..ITEMS).map(|i| point(base + i * SECOND / 1_000, 1.0, &[])).collect();
    let unused = gauge("shed.unused", points());
    // The rules that are shipped read quote_margin_ratio.
    let used = Metric { unit: "1".into(), ..gauge("quote.margin", points()) };
    [
        ("debug logs", FLOOD, records(5)),
        ("logs", FLOOD, records(9)),
        ("spans", FLOOD, traces("shed", spans)),
        ("metrics", FLOOD, metrics("shed", vec![unused])),
        ("metrics of rules", 6, metrics("shed", vec![used])),
    ]
}

/// What became of the requests of a class that began when they were counted.
#[derive(Debug, Default)]
struct Seen {
    counts: AtomicBool,
    asked: AtomicU64,
    taken: AtomicU64,
    /// Of all that were taken.
    ever: AtomicU64,
}

impl Seen {
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    fn part(&self) -> f64 {
        self.taken.load(Ordering::Relaxed) as f64 / self.asked.load(Ordering::Relaxed).max(1) as f64
    }
}

/// Sends the same request again and again until `stop`; refused ones after a moment.
async fn ask(connection: Arc<Connection>, signal: Signal, body: Bytes, seen: Arc<Seen>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let counts = u64::from(seen.counts.load(Ordering::Relaxed));
        let answer = connection.call(signal.method(), &[], body.clone()).await.expect("a call is answered");
        let verdict = Answer::Grpc(answer).verdict();
        seen.asked.fetch_add(counts, Ordering::Relaxed);
        match verdict {
            Ok(_) => {
                seen.taken.fetch_add(counts, Ordering::Relaxed);
                seen.ever.fetch_add(1, Ordering::Relaxed);
            }
            Err(refusal) => {
                assert!(refusal.code == 14 && refusal.hint.details.is_some(), "{refusal:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

// D5
#[tokio::test(flavor = "multi_thread")]
async fn what_matters_least_is_shed_first_and_nothing_wholly() {
    let service = Service::start("");
    let stop = Arc::new(AtomicBool::new(false));
    let (mut tasks, mut all) = (Vec::new(), Vec::new());
    for (what, at_once, payload) in classes() {
        let (seen, body) = (Arc::new(Seen::default()), frame(&payload.protobuf(), false));
        let mut connection = Arc::new(Connection::open(&service.binary.grpc).await);
        for i in 0..at_once {
            if i % STREAMS == STREAMS - 1 {
                connection = Arc::new(Connection::open(&service.binary.grpc).await);
            }
            let (connection, seen, stop) = (Arc::clone(&connection), Arc::clone(&seen), Arc::clone(&stop));
            tasks.push(tokio::spawn(ask(connection, payload.signal(), body.clone(), seen, stop)));
        }
        all.push((what, seen));
    }
    // Half of the time: it is the service that is busy, not the one who asks.
    let slowed = service.process().slow_down(Duration::from_millis(50), Duration::from_millis(100));
    // What was let in before anybody knew how much is too much has to be done first.
    let settled = eventually(Duration::from_secs(120), || async {
        let limit = service.counted("bellwether_ingest_limit_units", &[]).await;
        let in_flight = service.counted("bellwether_ingest_in_flight_units", &[]).await;
        let is_begun = all.iter().all(|(_, seen)| seen.ever.load(Ordering::Relaxed) > 0);
        (is_begun && in_flight <= limit).then_some(())
    });
    settled.await.expect("the service has always more in flight than it may");
    all.iter().for_each(|(_, seen)| seen.counts.store(true, Ordering::Relaxed));
    let time = async {
        tokio::time::sleep(Duration::from_secs(if is_full() { 60 } else { 6 })).await;
        // On a slow machine it takes longer until there is something to compare.
        let some = || async { (all[4].1.taken.load(Ordering::Relaxed) >= 5).then_some(()) };
        eventually(Duration::from_secs(30), some).await
    };
    let api = async {
        // REST and the level are not behind what is full here.
        loop {
            for path in ["/healthz", "/api/v1/degradation"] {
                let answer = http1(&service.binary.api, "GET", path, &[], &[], Framing::Length).await;
                assert_eq!(answer.status, 200, "{path}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        some = time => some.expect("hardly anything is taken any more"),
        () = api => {}
    }
    drop(slowed);
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no sender fails");
    }
    let parts: Vec<f64> = all.iter().map(|(_, seen)| seen.part()).collect();
    figures(&format!("D5 {all:?} {parts:?} limit {}", service.counted("bellwether_ingest_limit_units", &[]).await));
    assert!(parts[0] < 0.5, "there was no overload: {all:?}");
    assert!(parts[4] >= 0.99, "metrics of rules are refused: {all:?}");
    // Those that are let in so that nothing is shut out blur the order a little.
    assert!(parts.windows(2).all(|two| two[0] <= two[1] + 0.05), "{parts:?} are not in order: {all:?}");
    assert!(all.iter().all(|(_, seen)| seen.ever.load(Ordering::Relaxed) > 0), "something is shut out: {all:?}");
    service.assert_healthy().await;
}
