//! How fast the outbox drains to a local receiver, and what a receiver that hangs takes from another one.
//!
//! `cargo bench -p bellwether-alerting --bench outbox`. The receiver answers at once, in this process; everything is
//! written to the disk that `TMPDIR` is on, with `synchronous=FULL`.
#![expect(clippy::print_stdout, reason = "the figures are what it prints")]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bellwether_alerting::{Deliverer, DeliveryConfig, Ledger, Receiver};
use detect::{Alert, AlertState, AlertTransition, Decision, Labels, Level, UnixNanos};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{interval, sleep},
};

/// Notifications that wait when the drain begins.
const WAITING: usize = 20_000;
/// Alerts a second, and how many, while one receiver hangs.
const PACE: u64 = 100;
const PACED: usize = 800;
const ROUNDS: usize = 9;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// When each episode arrived.
type Arrivals = Arc<Mutex<HashMap<String, Instant>>>;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    runtime.block_on(async {
        drain().await;
        // In turns, so that a slow moment of the machine strikes both alike.
        let (mut healthy, mut hung) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            healthy.push(percentiles(&mut paced(false).await));
            hung.push(percentiles(&mut paced(true).await));
        }
        report("beside one that answers", &healthy);
        report("beside one that hangs", &hung);
    });
}

async fn drain() {
    let (url, arrivals) = sink().await;
    let (_directory, mut ledger) = ledger();
    let receivers = vec![Receiver::webhook("sink", &url).expect("is valid")];
    let decisions: Vec<Decision> = (0..WAITING).map(fired).collect();
    let began = Instant::now();
    ledger.record(&decisions, &receivers).expect("records");
    println!("recorded {WAITING} alerts in {:.2} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let _deliverer = Deliverer::start(&ledger.outbox(), &receivers, &DeliveryConfig::default()).expect("starts");
    while count(&arrivals) < WAITING {
        sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let rate = WAITING as f64 / took;
    println!("drained {WAITING} notifications in {took:.2} s: {rate:.0} a second");
}

/// Seconds from the decision to the receiver, of each alert, with a second receiver that answers or hangs.
async fn paced(hangs: bool) -> Vec<f64> {
    let (url, arrivals) = sink().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let (_directory, mut ledger) = ledger();
    let (answering, _) = sink().await;
    let other = if hangs { format!("http://{}/", silent.local_addr().expect("is bound")) } else { answering };
    let receivers =
        [("sink", &url), ("other", &other)].map(|(name, url)| Receiver::webhook(name, url).expect("is valid"));
    let _deliverer = Deliverer::start(&ledger.outbox(), &receivers, &DeliveryConfig::default()).expect("starts");
    let mut beat = interval(Duration::from_millis(1_000 / PACE));
    let mut sent = HashMap::new();
    for i in 0..PACED {
        beat.tick().await;
        sent.insert(format!("e{i}"), Instant::now());
        tokio::task::block_in_place(|| ledger.record(&[fired(i)], &receivers)).expect("records");
    }
    while count(&arrivals) < PACED {
        sleep(Duration::from_millis(5)).await;
    }
    let arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    sent.iter().map(|(episode, at)| arrivals[episode].duration_since(*at).as_secs_f64()).collect()
}

/// The 50th and the 99th, in milliseconds.
fn percentiles(seconds: &mut [f64]) -> [f64; 2] {
    seconds.sort_by(f64::total_cmp);
    [50, 99].map(|percent| seconds[(seconds.len() * percent / 100).min(seconds.len() - 1)] * 1_000.0)
}

/// The median of the rounds, since on a shared machine one bad moment decides the 99th percentile of all.
fn report(what: &str, rounds: &[[f64; 2]]) {
    let [p50, p99] = [0, 1].map(|which| {
        let mut of_rounds: Vec<f64> = rounds.iter().map(|round| round[which]).collect();
        of_rounds.sort_by(f64::total_cmp);
        of_rounds[of_rounds.len() / 2]
    });
    println!("{what}: p50 {p50:.2} ms, p99 {p99:.2} ms, {PACED} alerts in each of {ROUNDS} rounds");
}

fn count(arrivals: &Arrivals) -> usize {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner).len()
}

fn ledger() -> (tempfile::TempDir, Ledger) {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let ledger = Ledger::open(directory.path().join("ledger.db")).expect("opens");
    (directory, ledger)
}

fn fired(i: usize) -> Decision {
    let alert = Alert {
        episode: format!("e{i}"),
        fingerprint: format!("{i:016x}"),
        labels: Labels::from_pairs([("alertname", "HighLatency"), ("severity", "critical"), ("service", "shop")]),
        annotations: Labels::from_pairs([("summary", "slow"), ("runbook_url", "https://rb/1")]),
        state: AlertState::Firing,
        active_at: UnixNanos(1),
        fired_at: Some(UnixNanos(2)),
        last_true_at: UnixNanos(2),
        resolved_at: None,
        value: 2.5,
        source: "p99 > 1".to_owned(),
        anomalies: Vec::new(),
        attributes: Vec::new(),
        dependents: Vec::new(),
        argued_level: Level::CacheOnly,
    };
    Decision::Alert(AlertTransition { from: Some(AlertState::Pending), alert, at: UnixNanos(2) })
}

/// An HTTP server that answers at once.
async fn sink() -> (String, Arrivals) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}/hook", listener.local_addr().expect("is bound"));
    let arrivals = Arrivals::default();
    let kept = Arc::clone(&arrivals);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&kept)));
        }
    });
    (url, arrivals)
}

async fn serve(mut stream: TcpStream, arrivals: Arrivals) {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
    loop {
        let Ok(count @ 1..) = stream.read(&mut buffer).await else { return };
        bytes.extend_from_slice(&buffer[..count]);
        while let Some((episode, length)) = request(&bytes) {
            bytes.drain(..length);
            arrivals.lock().unwrap_or_else(PoisonError::into_inner).insert(episode, Instant::now());
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
        }
    }
}

/// The episode in the request at the beginning of `bytes`, and how long it is, when it is there whole.
fn request(bytes: &[u8]) -> Option<(String, usize)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let head = text.find("\r\n\r\n")? + 4;
    let length = text[..head].lines().find_map(|line| line.strip_prefix("content-length: "))?.parse::<usize>().ok()?;
    let body = text.get(head..head + length)?;
    let (_, rest) = body.split_once("\"episode\":\"")?;
    Some((rest.split('"').next()?.to_owned(), head + length))
}
