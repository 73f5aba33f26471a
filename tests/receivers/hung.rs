//! A receiver that hangs is nobody's trouble but its own.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
};

use super::{PATIENCE, Setup};
use crate::{
    api::{Api, eventually},
    sink::Sink,
};

const ALERTS: usize = 1_000;

/// Reads and never answers; how many connections it has at the same time, at the most.
async fn black_hole() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
    let url = format!("http://{}/", listener.local_addr().expect("is bound"));
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            seen.fetch_max(open.fetch_add(1, Relaxed) + 1, Relaxed);
            let open = Arc::clone(&open);
            tokio::spawn(async move {
                swallow(&mut stream).await;
                open.fetch_sub(1, Relaxed);
            });
        }
    });
    (url, most)
}

async fn swallow(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
}

/// Resident memory in bytes.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("is a number") << 10
}

// B8
#[tokio::test(flavor = "multi_thread")]
async fn a_hung_receiver_delays_no_other_and_costs_little() {
    // An error says that another test has installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let is_full = std::env::var("BELLWETHER_CONFORMANCE").is_ok_and(|size| size == "full");
    let (hole, most_open) = black_hole().await;
    let mut sink = Sink::listen(200).await;
    let setup = Setup::new(&format!(
        "receivers:\n- {{name: hung, webhook_configs: [{{url: '{hole}'}}]}}\n- {{name: ops, webhook_configs: [{{url: '{}'}}]}}\n",
        sink.url()
    ));
    let binary = setup.start();
    let before = memory(binary.pid());
    let client = reqwest::Client::new();
    let (mut due, mut took) = (BTreeMap::new(), Vec::new());
    for part in (0..ALERTS).collect::<Vec<_>>().chunks(20) {
        let alerts: Vec<Value> = part.iter().map(|i| json!({"labels": {"alertname": format!("A{i}")}})).collect();
        let request = client.post(format!("{}/api/v2/alerts", binary.api)).header("content-type", "application/json");
        let answer = request.body(Value::Array(alerts).to_string()).send().await.expect("is answered");
        assert_eq!(answer.status().as_u16(), 200);
        due.extend(part.iter().map(|i| (format!("A{i}"), Instant::now())));
        while let Some(request) = sink.taken() {
            arrived(&request.json(), &due, &mut took);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    while took.len() < ALERTS {
        let request = sink.request().await;
        arrived(&request.json(), &due, &mut took);
    }
    took.sort();
    let p99 = took[ALERTS * 99 / 100];
    // A debug build on a busy machine gets more time; what would be waited for the hung one is 15 s.
    let limit = Duration::from_secs(if is_full { 1 } else { 10 });
    assert!(p99 <= limit, "{p99:?}");
    let api = Api::new(&binary.api);
    let given_up = eventually(PATIENCE, || async {
        let pending = api.items("/api/v1/deliveries?state=pending&receiver=hung&limit=1000").await;
        let is_late = |item: &&Value| item["lastError"].as_str().is_some_and(|error| error == "no answer within 15.0s");
        (pending.len() == ALERTS && pending.iter().any(|item| is_late(&item))).then_some(())
    });
    assert!(given_up.await.is_some(), "an attempt at the hung one ends after 15 s");
    assert!(most_open.load(Relaxed) <= 64, "{} connections", most_open.load(Relaxed));
    let grown = memory(binary.pid()).saturating_sub(before);
    assert!(grown <= 50 << 20, "{} MiB", grown >> 20);
    binary.kill();
}

/// Notes how long after it was due an alert was told.
fn arrived(message: &Value, due: &BTreeMap<String, Instant>, took: &mut Vec<Duration>) {
    let name = message["alerts"][0]["labels"]["alertname"].as_str().unwrap_or_default();
    // One that arrives before its post is answered is not late.
    took.push(due.get(name).map(Instant::elapsed).unwrap_or_default());
}
