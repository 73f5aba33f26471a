//! After an outage all senders come back, with all that they have kept.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::kit::{
    Answer, Connection, SECOND, Service, Signal, base_time, eventually, figures, frame, gauge, is_full, metrics, point,
};

/// Simulated senders on one connection.
const PER_CONNECTION: u64 = 10;
/// How long a sender waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The waits, in seconds, of a sender that gets no answer: what exporters do.
const FIRST_WAIT: f64 = 1.0;
const GROWTH: f64 = 1.5;
const LONGEST_WAIT: f64 = 10.0;

/// What all senders share.
#[derive(Debug)]
struct World {
    started: Instant,
    base: u64,
    /// A sender has one more point each time that this has passed, and sends all that it has.
    period: Duration,
    /// No points are made after this.
    until: Duration,
    refused: AtomicU64,
    /// When each request began.
    attempts: Mutex<Vec<Duration>>,
}

impl World {
    /// The greatest number of requests that began within one second between these times, and how many
    /// there were.
    fn attempts(&self, from: Duration, until: Duration) -> (u64, u64) {
        let mut counts = BTreeMap::new();
        for at in self.attempts.lock().expect("no test panics with it").iter().filter(|at| (from..until).contains(at)) {
            *counts.entry(at.as_secs()).or_insert(0) += 1;
        }
        (counts.values().copied().max().unwrap_or(0), counts.into_values().sum())
    }

    fn note(&self) {
        self.attempts.lock().expect("no test panics with it").push(self.started.elapsed());
    }
}

/// A connection that some senders share, opened when it is needed, and again when it was ended: the service
/// does that to those with many calls that were given up.
struct Link {
    grpc: String,
    connection: tokio::sync::Mutex<Option<Arc<Connection>>>,
}

impl Link {
    fn new(service: &Service) -> Self {
        Self { grpc: service.binary.grpc.clone(), connection: tokio::sync::Mutex::default() }
    }

    /// One call; nothing when the connection was ended instead.
    async fn call(&self, body: Bytes) -> Option<Answer> {
        let connection = {
            let mut kept = self.connection.lock().await;
            match kept.as_ref() {
                Some(connection) => Arc::clone(connection),
                None => Arc::clone(kept.insert(Arc::new(Connection::open(&self.grpc).await))),
            }
        };
        let answer = connection.call(Signal::Metrics.method(), &[], body).await;
        if answer.is_err() {
            let mut kept = self.connection.lock().await;
            kept.take_if(|kept| Arc::ptr_eq(kept, &connection));
        }
        answer.ok().map(Answer::Grpc)
    }
}

/// A sender that obeys: it sends what it has, keeps what is not taken, and waits as long as it is told, or
/// longer each time when it hears nothing. How many points it had, all of which are taken in the end.
async fn sender(id: u64, link: Arc<Link>, world: Arc<World>) -> u64 {
    let mut random = fastrand::Rng::with_seed(id);
    let (label, phase) = (id.to_string(), world.period.mul_f64(random.f64()));
    let made_by = |time: Duration| {
        let periods = time.min(world.until).saturating_sub(phase).as_nanos() / world.period.as_nanos();
        u64::try_from(periods).unwrap_or(u64::MAX)
    };
    let (mut sent, mut silent) = (0, 0);
    loop {
        let made = made_by(world.started.elapsed());
        if made == sent {
            if world.started.elapsed() >= world.until {
                return made;
            }
            let next = phase + world.period * u32::try_from(made + 1).expect("is small");
            tokio::time::sleep(next.saturating_sub(world.started.elapsed())).await;
            continue;
        }
        let one = |i| point(world.base + i * (SECOND / 1_000), 1.0, &[("sender", &label)]);
        let payload = metrics("recovery", vec![gauge("recovery.points", (sent..made).map(one).collect())]);
        world.note();
        let answer = tokio::time::timeout(PATIENCE, link.call(frame(&payload.protobuf(), false))).await;
        let wait = match answer.ok().flatten().map(|answer| answer.verdict()) {
            None => {
                silent += 1;
                (FIRST_WAIT * GROWTH.powi(silent - 1)).min(LONGEST_WAIT) * (0.5 + random.f64())
            }
            Some(Ok(partial)) => {
                assert_eq!(partial.rejected, 0, "{partial:?}");
                (sent, silent) = (made, 0);
                0.0
            }
            Some(Err(refusal)) => {
                world.refused.fetch_add(1, Ordering::Relaxed);
                silent = 0;
                refusal.hint.details.expect("says when to come again")
            }
        };
        tokio::time::sleep(Duration::from_secs_f64(wait)).await;
    }
}

/// How many senders there are and how often they send, how long they are served before and not served
/// then, and how long it may take until all is as before.
struct Scale {
    senders: u64,
    period: Duration,
    before: Duration,
    outage: Duration,
    recovery: Duration,
}

impl Scale {
    fn now() -> Self {
        let seconds = Duration::from_secs;
        if is_full() {
            let (before, outage, recovery) = (seconds(60), seconds(300), seconds(120));
            Self { senders: 10_000, period: seconds(30), before, outage, recovery }
        } else {
            let (before, outage, recovery) = (seconds(5), seconds(8), seconds(30));
            Self { senders: 200, period: seconds(2), before, outage, recovery }
        }
    }
}

// D9
#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_senders_that_obey_lose_nothing_and_make_no_storm() {
    let Scale { senders, period, before, outage, recovery } = Scale::now();
    // Twice what comes in when all is well, so that what was kept meanwhile cannot come in all at once.
    let rate = 2 * senders / period.as_secs();
    let rates = format!("{{items_per_second: {rate}, items_burst: {rate}}}");
    let config = format!("tenants: {{default: {rates}}}\ndetect: {{publish_every: 1h}}");
    let service = Service::start(&format!("{config}\ningest: {{connections: {{max: 4096}}}}"));
    let world = Arc::new(World {
        started: Instant::now(),
        base: base_time(),
        period,
        until: before + outage + recovery,
        refused: AtomicU64::new(0),
        attempts: Mutex::default(),
    });
    let mut tasks = Vec::new();
    let mut link = Arc::new(Link::new(&service));
    for id in 0..senders {
        if id % PER_CONNECTION == 0 {
            link = Arc::new(Link::new(&service));
        }
        tasks.push(tokio::spawn(sender(id, Arc::clone(&link), Arc::clone(&world))));
    }
    tokio::time::sleep(before).await;
    service.process().pause();
    tokio::time::sleep(outage).await;
    service.process().resume();
    let back = world.started.elapsed();
    let mut made = 0;
    for task in tasks {
        made += task.await.expect("no sender fails");
    }
    let over = world.started.elapsed();
    let refused = world.refused.load(Ordering::Relaxed);
    let steady = senders / period.as_secs();
    let (peak, all) = world.attempts(back, over);
    figures(&format!(
        "D9 {made} points, steady {steady}/s, peak {peak}/s, {all} attempts, {refused} refused, over after {:?}",
        over - back
    ));
    assert!(refused > 0, "what was kept came in without a refusal, so there was nothing to obey");
    assert!(peak <= 3 * steady, "{peak} requests in one second, {steady} when all is well");
    // The last points are made when the time to recover ends; by then hardly any others are waiting.
    let late = over.saturating_sub(world.until);
    assert!(late <= recovery, "it took {late:?} more than {recovery:?} until all was taken");
    #[expect(clippy::cast_precision_loss, reason = "is small")]
    let expected = made as f64;
    let stored = "sum(count_over_time(recovery_points[2h]))";
    let stored = eventually(Duration::from_secs(30), || async {
        let stored = service.api.value_of(stored).await;
        ((stored - expected).abs() < 0.5).then_some(())
    });
    assert!(stored.await.is_some(), "of {made} points not all are there, or some twice");
    service.assert_healthy().await;
}
