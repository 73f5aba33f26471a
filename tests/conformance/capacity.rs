//! What the service can do changes while it runs.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::time::MissedTickBehavior;

use crate::kit::{
    Answer, Connection, SECOND, Service, Signal, base_time, eventually, figures, frame, gauge, is_full, metrics, point,
};

const POINTS: u64 = 400;
/// Streams of a connection are bounded; together these take more than the service lets in.
const CONNECTIONS: usize = 4;
const LIMIT: &str = "bellwether_ingest_limit_units";

fn body() -> Bytes {
    let points = (0..POINTS).map(|i| point(base_time() + i * SECOND / 1_000, 1.0, &[])).collect();
    frame(&metrics("capacity", vec![gauge("capacity.points", points)]).protobuf(), false)
}

/// What became of requests, and when those that were taken were sent and how long they took, in the order of the answers.
#[derive(Debug, Default)]
struct Seen {
    taken: AtomicU64,
    refused: AtomicU64,
    times: Mutex<Vec<(Instant, Duration)>>,
}

impl Seen {
    fn counts(&self) -> (u64, u64) {
        (self.taken.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    async fn ask(&self, connection: &Connection, body: Bytes) {
        let asked = Instant::now();
        let answer = connection.call(Signal::Metrics.method(), &[], body).await.expect("a call is answered");
        match Answer::Grpc(answer).verdict() {
            Ok(_) => {
                self.taken.fetch_add(1, Ordering::Relaxed);
                self.times.lock().expect("no test panics with it").push((asked, asked.elapsed()));
            }
            Err(refusal) => {
                assert!(refusal.code == 14 && refusal.hint.details.is_some(), "{refusal:?}");
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The longest time that a request took.
    fn worst(&self) -> Duration {
        let times = self.times.lock().expect("no test panics with it");
        times.iter().map(|(_, took)| *took).max().unwrap_or_default()
    }

    /// What nine of ten of the last 30 requests took at most, of those that were sent after `since`.
    fn p90(&self, since: Instant) -> Option<Duration> {
        let times = self.times.lock().expect("no test panics with it");
        let sent = times.iter().rev().filter(|(asked, _)| *asked > since);
        let mut times: Vec<_> = sent.map(|(_, took)| *took).take(30).collect();
        times.sort();
        times.get(27).copied()
    }
}

async fn connect(service: &Service) -> Vec<Arc<Connection>> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Arc::new(Connection::open(&service.binary.grpc).await));
    }
    connections
}

/// Requests per second when eight senders wait for nothing but the answer.
async fn capacity(service: &Service, time: Duration) -> f64 {
    let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let connections = connect(service).await;
    let started = Instant::now();
    let tasks: Vec<_> = (0..8)
        .map(|i| {
            let (connection, seen, stop) =
                (Arc::clone(&connections[i % CONNECTIONS]), Arc::clone(&seen), Arc::clone(&stop));
            tokio::spawn(async move {
                let body = body();
                while !stop.load(Ordering::Relaxed) {
                    seen.ask(&connection, body.clone()).await;
                }
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no sender fails");
    }
    let (taken, refused) = seen.counts();
    assert_eq!(refused, 0, "eight requests at once are no overload");
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let taken = taken as f64;
    taken / started.elapsed().as_secs_f64()
}

/// Sends so many requests per second, whatever becomes of them, until `stop`.
async fn ask_at(rate: f64, connections: Vec<Arc<Connection>>, seen: Arc<Seen>, stop: Arc<AtomicBool>) {
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (body, mut asking) = (body(), tokio::task::JoinSet::new());
    for i in 0.. {
        ticks.tick().await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (connection, seen, body) = (Arc::clone(&connections[i % CONNECTIONS]), Arc::clone(&seen), body.clone());
        asking.spawn(async move { seen.ask(&connection, body).await });
        while asking.try_join_next().is_some() {}
    }
    while asking.join_next().await.is_some() {}
}

/// Of the requests that are answered in this time, the part that is taken.
async fn taken_in(seen: &Seen, time: Duration) -> f64 {
    let before = seen.counts();
    tokio::time::sleep(time).await;
    let after = seen.counts();
    let (taken, refused) = (after.0 - before.0, after.1 - before.1);
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let part = taken as f64 / (taken + refused).max(1) as f64;
    part
}

// D3
#[tokio::test(flavor = "multi_thread")]
async fn the_limit_follows_what_can_be_done() {
    let service = Service::start("");
    let window = Duration::from_secs(if is_full() { 10 } else { 2 });
    let rate = capacity(&service, window).await / 3.0;
    let full = service.counted(LIMIT, &[]).await;
    let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let asking = tokio::spawn(ask_at(rate, connect(&service).await, Arc::clone(&seen), Arc::clone(&stop)));
    let part = taken_in(&seen, window).await;
    assert!(part >= 0.95, "{part} of a third of what can be done is taken");
    // A fortieth of the time is far less than what is asked for, even where other tests had most of the
    // processor while the capacity was measured, and where eight senders wait for the disk more than they work.
    let period = Duration::from_millis(600);
    let (slowed_at, slowed) = (Instant::now(), service.process().slow_down(period / 40, period));
    let refused = eventually(Duration::from_secs(60), || async { (seen.counts().1 > 0).then(|| slowed_at.elapsed()) });
    let refused = refused.await.expect("what is too much is not refused");
    let shrunk = eventually(Duration::from_secs(60), || async {
        let limit = service.counted(LIMIT, &[]).await;
        (limit <= full / 3.0).then(|| slowed_at.elapsed())
    });
    let shrunk = shrunk.await.expect("the limit does not shrink");
    let worst = seen.worst();
    // What is in flight by now was let in by the greater limit. Beside the other tests of this binary less can be said
    // than on a machine of its own.
    let (since, bar) = (Instant::now(), worst.mul_f64(if is_full() { 0.7 } else { 0.85 }));
    let better = eventually(Duration::from_secs(60), || async { seen.p90(since).filter(|p90| *p90 < bar) }).await;
    assert!(better.is_some(), "{:?} is no better than {worst:?}", seen.p90(since));
    let better_after = since.elapsed();
    drop(slowed);
    let freed_at = Instant::now();
    let restored = eventually(Duration::from_secs(60), || async {
        (taken_in(&seen, window).await >= 0.95).then(|| freed_at.elapsed())
    });
    let restored = restored.await.expect("what can be done again is not taken");
    figures(&format!(
        "D3: {rate:.0}/s refused after {refused:?}, a third of {full} after {shrunk:?}, worst {worst:?}, nine of ten within {better:?} after {better_after:?}, restored {restored:?}"
    ));
    stop.store(true, Ordering::Relaxed);
    asking.await.expect("no sender fails");
    service.assert_healthy().await;
}
