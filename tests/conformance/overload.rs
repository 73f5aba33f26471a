//! More than can be taken: refusals that help, work that goes on, nothing taken and lost.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use crate::kit::{
    Answer, Connection, Framing, Payload, Refusal, Route, Service, Signal, base_time, eventually, figures, frame,
    gauge, http1, is_full, metrics, point,
};

/// So little room that a few requests at once are too many. Published series would add to the count of rows.
const TINY: &str = "ingest: {queue_bytes: 256KiB}\ndetect: {publish_every: 1h}";
/// Points in one request.
const POINTS: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;

/// Request number `i` of sender `id`: points that no other request has.
fn batch(id: u64, i: u64) -> Payload {
    let base = base_time() + i * POINTS * MILLISECOND;
    let label = id.to_string();
    let points = (0..POINTS).map(|p| point(base + p * MILLISECOND, 1.0, &[("sender", &label)])).collect();
    metrics("overload", vec![gauge("overload.points", points)])
}

/// What senders saw.
#[derive(Debug, Default)]
struct Seen {
    accepted: AtomicU64,
    /// Of those, what was accepted while senders went on; the rest while they ended.
    in_time: AtomicU64,
    refusals: Mutex<Vec<Refusal>>,
    broken: AtomicU64,
}

impl Seen {
    fn note(&self, answer: &Answer) -> bool {
        match answer.verdict() {
            Ok(partial) => {
                assert_eq!(partial.rejected, 0, "{partial:?}");
                self.accepted.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(refusal) => {
                self.refusals.lock().expect("no test panics with it").push(refusal);
                false
            }
        }
    }
}

/// Sends until `stop`, without waiting for anything but the answer.
async fn hammer(grpc: String, http: String, id: u64, seen: Arc<Seen>, stop: Arc<AtomicBool>) {
    let mut connection = Connection::open(&grpc).await;
    let mut i = 0;
    while !stop.load(Ordering::Relaxed) {
        let body = batch(id, i % 500).protobuf();
        i += 1;
        let answer = if id.is_multiple_of(2) {
            match connection.call(Signal::Metrics.method(), &[], frame(&body, false)).await {
                Ok(answer) => Answer::Grpc(answer),
                Err(_) => {
                    seen.broken.fetch_add(1, Ordering::Relaxed);
                    connection = Connection::open(&grpc).await;
                    continue;
                }
            }
        } else {
            let kind = [("content-type", "application/x-protobuf")];
            Answer::Http(Route::Protobuf, http1(&http, "POST", "/v1/metrics", &kind, &body, Framing::Length).await)
        };
        seen.note(&answer);
    }
}

async fn hammer_for(service: &Service, senders: u64, time: Duration) -> Arc<Seen> {
    let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let tasks: Vec<_> = (0..senders)
        .map(|id| {
            let (grpc, http) = (service.binary.grpc.clone(), service.binary.http.clone());
            tokio::spawn(hammer(grpc, http, id, Arc::clone(&seen), Arc::clone(&stop)))
        })
        .collect();
    tokio::time::sleep(time).await;
    seen.in_time.store(seen.accepted.load(Ordering::Relaxed), Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no sender fails");
    }
    seen
}

/// The seconds after which a refused sender should come again; fails for a refusal that is not worth
/// a retry, or does not say so in its transport's way.
fn hint_of(refusal: &Refusal) -> f64 {
    assert!([8, 14].contains(&refusal.code), "{refusal:?}");
    assert!([0, 429, 503].contains(&refusal.http), "{refusal:?}");
    let details = refusal.hint.details.expect("a refusal that passes carries RetryInfo");
    if refusal.http > 0 {
        let header = refusal.hint.header.expect("a refusal that passes has retry-after");
        assert!((header - details.ceil()).abs() < 1.0 && header.fract().abs() < 1e-9, "{refusal:?}");
    }
    assert!((1.0..=30.0).contains(&details), "{refusal:?}");
    details
}

// A7 A8
#[tokio::test(flavor = "multi_thread")]
async fn refusals_under_overload_are_worth_a_retry_and_spread_it() {
    let service = Service::start(TINY);
    let seen = hammer_for(&service, 48, Duration::from_secs(if is_full() { 60 } else { 3 })).await;
    let refusals = seen.refusals.lock().expect("no test panics with it").clone();
    let accepted = seen.accepted.load(Ordering::Relaxed);
    assert!(refusals.len() >= 50 && accepted > 0, "{} refused, {accepted} accepted: no overload", refusals.len());
    assert_eq!(seen.broken.load(Ordering::Relaxed), 0, "a stream was broken instead of answered");
    let hints: Vec<f64> = refusals.iter().map(hint_of).collect();
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let count = hints.len() as f64;
    let mean = hints.iter().sum::<f64>() / count;
    let spread = (hints.iter().map(|h| (h - mean).powi(2)).sum::<f64>() / count).sqrt() / mean;
    assert!(spread >= 0.3, "senders come back all at once: {mean} s with a variation of {spread}");
    // It is over when it is over.
    let recovered = eventually(Duration::from_secs(10), || async {
        service.send(&batch(1_000, 0), Route::Grpc).await.is_complete().then_some(())
    });
    assert!(recovered.await.is_some());
    service.assert_healthy().await;
}

// A8
#[tokio::test(flavor = "multi_thread")]
async fn senders_that_try_again_lose_nothing_and_duplicate_nothing() {
    let service = Arc::new(Service::start(TINY));
    let (senders, batches) = (24, if is_full() { 200 } else { 12 });
    let tasks: Vec<_> = (0..senders)
        .map(|id| {
            let service = Arc::clone(&service);
            tokio::spawn(async move {
                let mut refused = 0_u32;
                for i in 0..batches {
                    while let Err(refusal) = service.send(&batch(id, i), Route::Grpc).await.verdict() {
                        hint_of(&refusal);
                        refused += 1;
                        // The hint says seconds; the order of things is the same with less.
                        tokio::time::sleep(Duration::from_millis(20 + id)).await;
                    }
                }
                refused
            })
        })
        .collect();
    let mut refused = 0;
    for task in tasks {
        refused += task.await.expect("no sender fails");
    }
    assert!(refused > 0, "there was no overload");
    #[expect(clippy::cast_precision_loss, reason = "is small")]
    let expected = (senders * batches * POINTS) as f64;
    let stored = service.settles_at("sum(count_over_time(overload_points[2h]))", expected).await;
    assert!((stored - expected).abs() < 0.5, "{stored} points, expected {expected}");
}

// D1
#[tokio::test(flavor = "multi_thread")]
async fn goodput_holds_when_far_more_is_asked_than_can_be_done() {
    let service = Service::start(TINY);
    let time = Duration::from_secs(if is_full() { 60 } else { 3 });
    let rate = |seen: &Seen| {
        #[expect(clippy::cast_precision_loss, reason = "is small")]
        let accepted = seen.in_time.load(Ordering::Relaxed) as f64;
        accepted / time.as_secs_f64()
    };
    // The service has a fifth of the time: senders take the same processors, but this is what they wait for.
    let slowed = service.process().slow_down(Duration::from_millis(20), Duration::from_millis(100));
    // In turns, so that whatever else the machine does meanwhile falls on both.
    let (mut capacity, mut goodput) = (0.0, 0.0);
    for _ in 0..3 {
        capacity += rate(&*hammer_for(&service, 4, time).await) / 3.0;
        goodput += rate(&*hammer_for(&service, 40, time).await) / 3.0;
    }
    drop(slowed);
    figures(&format!("D1 {goodput} of {capacity}"));
    let floor = if is_full() { 0.9 } else { 0.5 };
    assert!(goodput >= floor * capacity, "{goodput} requests/s of {capacity}");
    let healthy = http1(&service.binary.api, "GET", "/healthz", &[], &[], Framing::Length).await;
    assert_eq!(healthy.status, 200);
    service.assert_healthy().await;
}

// A9
#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_every_stream_is_answered_or_told_to_go_elsewhere() {
    let service = Service::start("");
    let (connections, streams) = if is_full() { (64, 100) } else { (16, 50) };
    let (seen, gone) = (Arc::new(Seen::default()), Arc::new(AtomicU64::new(0)));
    let mut calls = Vec::new();
    for c in 0..connections {
        let connection = Arc::new(Connection::open(&service.binary.grpc).await);
        for s in 0..streams {
            let (connection, seen, gone) = (Arc::clone(&connection), Arc::clone(&seen), Arc::clone(&gone));
            let body: Bytes = frame(&batch(c * streams + s, 0).protobuf(), false);
            calls.push(tokio::spawn(async move {
                match connection.call(Signal::Metrics.method(), &[], body).await {
                    Ok(answer) => {
                        let answer = Answer::Grpc(answer);
                        if !seen.note(&answer) {
                            hint_of(&answer.verdict().expect_err("was noted as one"));
                        }
                    }
                    // A stream that was never begun may be sent again elsewhere; one that was cut may not.
                    Err(error) => {
                        let is_safe =
                            error.is_go_away() || error.is_io() || error.reason() == Some(h2::Reason::REFUSED_STREAM);
                        assert!(is_safe, "{error:?}");
                        gone.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }));
        }
    }
    let some =
        eventually(Duration::from_secs(30), || async { (seen.accepted.load(Ordering::Relaxed) > 0).then_some(()) });
    assert!(some.await.is_some(), "nothing was taken at all");
    let (stopped, ()) = tokio::join!(tokio::task::spawn_blocking(move || service.binary.stop()), async {
        for call in calls {
            call.await.expect("each call ends in an allowed way");
        }
    });
    assert!(stopped.expect("it stops").success());
}

// A9
#[tokio::test(flavor = "multi_thread")]
async fn one_slow_stream_does_not_hold_up_the_others_of_its_connection() {
    let service = Service::shared();
    let connection = Connection::open(&service.binary.grpc).await;
    let body = frame(&Payload::one(Signal::Logs, "beside").protobuf(), false);
    let slow = connection.open_stream(Signal::Traces.method()).await;
    for _ in 0..20 {
        let answer = connection.call(Signal::Logs.method(), &[], body.clone()).await.expect("a call is answered");
        assert_eq!(answer.code, 0, "{answer:?}");
    }
    drop(slow);
}

// A9
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_that_pings_is_kept() {
    let service = Service::shared();
    let mut connection = Connection::open(&service.binary.grpc).await;
    let mut pings = connection.pings();
    let (count, pause) = if is_full() { (60, Duration::from_secs(10)) } else { (8, Duration::from_millis(500)) };
    for _ in 0..count {
        tokio::time::sleep(pause).await;
        pings.ping(h2::Ping::opaque()).await.expect("a ping is answered");
    }
    let body = frame(&Payload::one(Signal::Logs, "idle").protobuf(), false);
    let answer = connection.call(Signal::Logs.method(), &[], body).await.expect("the connection is there");
    assert_eq!(answer.code, 0, "{answer:?}");
}
