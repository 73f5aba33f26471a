//! A run that is killed again and again decides as one that is left alone: the same anomalies to the last
//! digit, the same alerts, the same rows in the window.
//!
//! The telemetry is of the past and comes step by step, so that both runs get the same input. A request
//! that was not answered is sent again, as exporters do.

use std::{collections::BTreeSet, ffi::OsStr, path::Path, time::Duration};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};

use crate::{
    api::{Api, eventually},
    binary::Binary,
};

#[path = "support/api.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod api;
#[path = "support/binary.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod binary;

const RULES: &str = "
groups:
  - name: resume
    interval: 10s
    rules:
      - {alert: MarginLow, expr: margin < 0.9, for: 30s, labels: {severity: critical}}
      - {record: 'job:requests:rate', expr: 'sum by (job) (rate(requests_total[1m]))'}
";
/// The same of what comes once a minute.
const RULES_OF_A_WEEK: &str = "
groups:
  - name: resume
    interval: 1m
    rules:
      - {alert: MarginLow, expr: margin < 0.9, for: 3m, labels: {severity: critical}}
      - {alert: MarginGone, expr: absent(margin), for: 10m, labels: {severity: warning}}
      - {record: 'job:requests:rate', expr: 'sum by (job) (rate(requests_total[5m]))'}
";
/// 2026-03-01T00:00:00Z.
const BEGIN: u64 = 1_772_323_200;

#[expect(clippy::print_stderr, reason = "it is what the developer has to know")]
fn say(what: &str) {
    eprintln!("{what}");
}

/// Whether the whole counts are asked for.
fn is_full() -> bool {
    std::env::var("BELLWETHER_TORTURE").is_ok_and(|v| v == "full")
}

/// How often the second run is killed.
fn kills() -> u64 {
    if is_full() { 200 } else { 12 }
}

/// What is sent, and what is asked of it.
#[derive(Clone, Copy)]
struct Stream {
    /// Event time between two steps, in seconds.
    step: u64,
    steps: u64,
    rules: &'static str,
    /// More settings.
    settings: &'static str,
    /// Whether load follows the hour of the day, incidents come back, and a metric is missing for a while.
    has_days: bool,
    /// All rows of the window are read each time that so many steps have passed, and at the end.
    read_each: u64,
}

const HOUR: Stream = Stream { step: 10, steps: 360, rules: RULES, settings: "", has_days: false, read_each: 360 };
/// Rows are read by the hour, since no query gives scores of days ago. Time for which nothing comes counts as event time
/// unless there is a lateness, and of a stream that is thousands of times as fast as the clock a second's pause of the
/// machine would be another stream.
const WEEK: Stream = Stream {
    step: 60,
    steps: 7 * 24 * 60,
    rules: RULES_OF_A_WEEK,
    settings: "ingest: {lateness: 30s, idle: 'off'}\n",
    has_days: true,
    read_each: 60,
};
/// Steps that are read twice: what came last waits for its lateness.
const OVERLAP: u64 = 5;

/// The step of [`HOUR`] before which the rules and the detectors are told otherwise, where that is done.
const CHANGE: u64 = 180;

/// What happens to a run.
#[derive(Clone, Copy)]
struct Fate {
    stream: Stream,
    kills: u64,
    checkpoint_every: &'static str,
    /// Whether the configuration is read again in place of each second kill.
    reloads: bool,
    /// Whether it is another one from [`CHANGE`] on.
    changes: bool,
}

/// Writes the configuration as it is at `step`.
fn configure(directory: &Path, webhook: &str, fate: Fate, step: u64) {
    let is_changed = fate.changes && step >= CHANGE;
    let (score, symptoms) = if is_changed { (3, "10s") } else { (2, "20s") };
    let (checkpoint_every, settings) = (fate.checkpoint_every, fate.stream.settings);
    let config = format!(
        "{settings}listen: {{grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '127.0.0.1:0'}}\n\
         rule_files: [rules.yaml]\n\
         checkpoint_every: {checkpoint_every}\n\
         detect: {{critical_score: {score}, symptoms: {{for: {symptoms}, keep_firing_for: 20s}}}}\n\
         receivers: [{{name: test, webhook_configs: [{{url: '{webhook}'}}]}}]\n"
    );
    let rules = fate.stream.rules;
    let rules = if is_changed { rules.replace("for: 30s", "for: 60s") } else { rules.to_owned() };
    std::fs::write(directory.join("rules.yaml"), rules).expect("the directory is writable");
    std::fs::write(directory.join("bellwether.yaml"), config).expect("the directory is writable");
}

fn start(directory: &Path) -> Binary {
    let (config, data) = (directory.join("bellwether.yaml"), directory.join("data"));
    Binary::start(&[OsStr::new("--config"), config.as_os_str(), OsStr::new("--data-dir"), data.as_os_str()])
}

fn noise(step: u64, salt: u64) -> f64 {
    (step.wrapping_mul(2_654_435_761).wrapping_add(salt * 40_503) % 1_000) as f64 / 1_000.0 - 0.5
}

fn resource(service: &str) -> Value {
    json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]})
}

/// What the ground of a step is multiplied with: of days and nights.
fn season(stream: Stream, step: u64) -> f64 {
    let hours = (step * stream.step) as f64 / 3_600.0;
    if stream.has_days { 1.0 + 0.4 * (hours * std::f64::consts::TAU / 24.0).sin() } else { 1.0 }
}

/// Where a step is in the hour of [`HOUR`], in which all that happens does so. Of a week it is one hour of each second
/// day, so that what is learned of the days between is there.
fn hour(stream: Stream, step: u64) -> u64 {
    if !stream.has_days {
        return step;
    }
    let (day, minute) = (step / 1_440, step % 1_440);
    if day % 2 == 1 { minute.saturating_sub(600 + 60 * day) } else { 0 }
}

/// Metrics of a step: a gauge with a spike and a margin that falls for a while, a counter, a histogram.
fn metrics(stream: Stream, step: u64) -> Value {
    let time = ((BEGIN + step * stream.step) * 1_000_000_000).to_string();
    let point = |value: f64| json!([{"timeUnixNano": time, "asDouble": value}]);
    let at = hour(stream, step);
    let depth = if (150..155).contains(&at) { 900.0 } else { 100.0 * season(stream, step) + 10.0 * noise(step, 1) };
    let margin = if (200..230).contains(&at) { 0.8 } else { 1.0 + 0.01 * noise(step, 2) };
    let bursts = (0..step).filter(|step| (250..260).contains(&hour(stream, *step))).count();
    let total = (step * 50) as f64 + bursts as f64 * 400.0;
    let counts = [step * 30, step * 60, step * 10];
    let data = json!([{"timeUnixNano": time, "startTimeUnixNano": (BEGIN * 1_000_000_000).to_string(),
        "count": (step * 100).to_string(), "sum": step as f64 * 9.5, "explicitBounds": [0.05, 0.2],
        "bucketCounts": counts.map(|c| c.to_string())}]);
    let mut list = vec![
        json!({"name": "queue.depth", "gauge": {"dataPoints": point(depth)}}),
        json!({"name": "requests", "sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": point(total)}}),
        json!({"name": "latency", "histogram": {"aggregationTemporality": 2, "dataPoints": data}}),
    ];
    // For two hours of the fifth day nobody knows.
    if !stream.has_days || !(6_300..6_420).contains(&step) {
        list.push(json!({"name": "margin", "gauge": {"dataPoints": point(margin)}}));
    }
    json!({"resourceMetrics": [{"resource": resource("shop"), "scopeMetrics": [{"metrics": list}]}]})
}

/// Spans of a step: twenty calls, slow for a while.
fn spans(stream: Stream, step: u64) -> Value {
    let spans: Vec<Value> = (0..20)
        .map(|i| {
            let start = (BEGIN + step * stream.step) * 1_000_000_000 + i * 400_000_000;
            let slow = if (300..330).contains(&hour(stream, step)) { 8 } else { 1 };
            let micros = 45_000 + (step * 20 + i).wrapping_mul(2_654_435_761) % 10_000;
            let nanos = micros * slow * 1_000;
            json!({"traceId": format!("{:032x}", step * 100 + i + 1), "spanId": format!("{:016x}", i + 1),
                "name": "GET /quote", "kind": 2, "startTimeUnixNano": start.to_string(),
                "endTimeUnixNano": (start + nanos).to_string()})
        })
        .collect();
    json!({"resourceSpans": [{"resource": resource("api"), "scopeSpans": [{"spans": spans}]}]})
}

/// Sends a request until it is answered with success.
async fn send(client: &reqwest::Client, http: &str, path: &str, body: &Value) -> bool {
    let request = client.post(format!("{http}{path}")).header("content-type", "application/json");
    let answer = request.body(body.to_string()).send().await;
    answer.is_ok_and(|answer| answer.status().as_u16() == 200)
}

/// What a run came to.
#[derive(Debug, PartialEq)]
struct Outcome {
    anomalies: Vec<Value>,
    alerts: BTreeSet<(String, String, String)>,
    rows: Vec<Value>,
}

async fn reload(client: &reqwest::Client, binary: &Binary) {
    let answer = client.post(format!("{}/-/reload", binary.api)).send().await.expect("is answered");
    assert_eq!(answer.status().as_u16(), 200, "{}", binary.log());
}

async fn run(fate: Fate) -> Outcome {
    let Fate { stream, kills, checkpoint_every, reloads, changes } = fate;
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
    let url = format!("http://{}/", listener.local_addr().expect("is bound"));
    let mut received = receive(listener);
    // An error says that another test has installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().expect("the defaults are valid");
    configure(directory.path(), &url, fate, 0);
    let mut binary = start(directory.path());
    let (mut killed, mut read) = (0, Vec::new());
    for step in 0..stream.steps {
        if changes && step == CHANGE {
            configure(directory.path(), &url, fate, step);
            reload(&client, &binary).await;
        }
        let requests = [("/v1/metrics", metrics(stream, step)), ("/v1/traces", spans(stream, step))];
        for (path, body) in &requests {
            // In one half of the cases while the request is on its way, whose fate is open then.
            let due = killed < step * kills / stream.steps;
            if due {
                killed += 1;
                if killed % 2 == 0 {
                    let sending = send(&client, &binary.http, path, body);
                    let _ = tokio::time::timeout(Duration::from_millis(killed % 5), sending).await;
                }
                if reloads && killed % 2 == 1 {
                    reload(&client, &binary).await;
                } else {
                    binary.kill();
                    binary = start(directory.path());
                }
            }
            let mut tries = 0;
            while !send(&client, &binary.http, path, body).await {
                tries += 1;
                assert!(tries < 20, "step {step}: {}", binary.log());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        if (step + 1) % stream.read_each == 0 {
            read.extend(rows(&Api::new(&binary.api), stream, step).await);
        }
    }
    assert_eq!(killed, (stream.steps - 1) * kills / stream.steps);
    let has_checkpoints = checkpoint_every != "1h" || reloads || changes;
    assert_eq!(directory.path().join("data/state").exists(), has_checkpoints, "checkpoints were taken");
    let api = Api::new(&binary.api);
    let outcome = Outcome { anomalies: anomalies(&api).await, alerts: BTreeSet::new(), rows: read };
    let delivered = || async { api.items("/api/v1/deliveries?state=pending").await.is_empty().then_some(()) };
    assert!(eventually(Duration::from_secs(20), delivered).await.is_some(), "{}", binary.log());
    assert!(binary.stop().success());
    let (mut alerts, mut notifications) = (BTreeSet::new(), BTreeSet::new());
    while let Ok((id, body)) = received.try_recv() {
        notifications.insert(id);
        let alert = &body["alerts"][0];
        assert_eq!(body["alerts"].as_array().map(Vec::len), Some(1), "each is told by itself");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let times = format!("{} to {}", text(&alert["startsAt"]), text(&alert["endsAt"]));
        alerts.insert((alert["labels"].to_string(), text(&body["status"]), times));
    }
    // What comes again after a kill is the same notification, and there is one for each thing that is told.
    assert_eq!(notifications.len(), alerts.len(), "{alerts:#?}");
    Outcome { alerts, ..outcome }
}

fn receive(listener: TcpListener) -> mpsc::UnboundedReceiver<(String, Value)> {
    type Sender = mpsc::UnboundedSender<(String, Value)>;
    async fn take(State(sender): State<Sender>, headers: HeaderMap, body: Bytes) {
        let id = headers.get("webhook-id").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        // The test may have ended.
        let _ = sender.send((id, serde_json::from_slice(&body).unwrap_or_default()));
    }
    let (sender, receiver) = mpsc::unbounded_channel();
    let router = Router::new().route("/", post(take)).with_state(sender);
    tokio::spawn(async move { axum::serve(listener, router).await });
    receiver
}

/// All anomalies, without the address of the run in their links.
async fn anomalies(api: &Api) -> Vec<Value> {
    let mut anomalies = api.items("/api/v1/anomalies?limit=1000").await;
    for anomaly in &mut anomalies {
        for key in ["runbookUrl", "links", "chartUrl", "url"] {
            if let Some(fields) = anomaly.as_object_mut() {
                fields.remove(key);
            }
        }
    }
    anomalies
}

/// What PromQL sees of every kind of row, up to `step` since they were read last.
async fn rows(api: &Api, stream: Stream, step: u64) -> Vec<Value> {
    let first = (step + 1 - stream.read_each).saturating_sub(OVERLAP);
    let (start, end) = (BEGIN + first * stream.step, BEGIN + step * stream.step);
    let mut rows = Vec::new();
    for query in [
        "queue_depth",
        "margin",
        "requests_total",
        "job:requests:rate",
        "latency_bucket",
        "latency:p95",
        "traces_span_metrics_calls_total",
        "traces_span_metrics_duration_seconds:p95",
        "queue_depth:score",
    ] {
        let path = format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={}", stream.step);
        rows.push(json!([query, api.get(&path).await["data"]["result"]]));
    }
    rows
}

// C6
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_again_and_again_decides_as_one_that_is_not() {
    let left_alone = Fate { stream: HOUR, kills: 0, checkpoint_every: "1h", reloads: false, changes: false };
    let often = Fate { kills: kills(), ..left_alone };
    let (whole, cut, kept, read_again) = tokio::join!(
        run(left_alone),
        run(often),
        run(Fate { checkpoint_every: "100ms", ..often }),
        run(Fate { reloads: true, ..often }),
    );
    assert!(whole.anomalies.len() >= 2, "{:#?}", whole.anomalies);
    assert!(whole.alerts.len() >= 4, "{:#?}", whole.alerts);
    assert!(
        whole.rows.iter().all(|row| row[1].as_array().is_some_and(|series| !series.is_empty())),
        "{:?}",
        whole.rows
    );
    same(&whole, &cut, "read again from the log");
    same(&whole, &kept, "read from checkpoints");
    same(&whole, &read_again, "with the same configuration read again");
}

// C6
#[tokio::test(flavor = "multi_thread")]
async fn a_week_that_is_cut_two_hundred_times_is_decided_as_one_that_is_not() {
    if !is_full() {
        return say("skipped: a week takes minutes of release code, and comes with BELLWETHER_TORTURE=full");
    }
    let left_alone = Fate { stream: WEEK, kills: 0, checkpoint_every: "1h", reloads: false, changes: false };
    let cut = Fate { kills: kills(), checkpoint_every: "5s", ..left_alone };
    let (whole, cut) = tokio::join!(run(left_alone), run(cut));
    let (anomalies, told, rows) = (whole.anomalies.len(), whole.alerts.len(), whole.rows.len());
    say(&format!("{anomalies} anomalies, {told} notifications and {rows} answers of queries are compared"));
    // At least those of one of the three days on which something happens.
    assert!(whole.anomalies.len() >= 6, "{:#?}", whole.anomalies);
    for name in ["MarginLow", "MarginGone"] {
        let told: Vec<_> = whole.alerts.iter().filter(|(labels, ..)| labels.contains(name)).collect();
        assert!(told.len() >= 2, "{name}: {:#?}", whole.alerts);
    }
    same(&whole, &cut, "a week, read from checkpoints and the log behind them");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_by_another_configuration_is_not_decided_again() {
    let changed = Fate { stream: HOUR, kills: 0, checkpoint_every: "1h", reloads: false, changes: true };
    let (whole, cut, same_all_along) =
        tokio::join!(run(changed), run(Fate { kills: kills(), ..changed }), run(Fate { changes: false, ..changed }),);
    same(&whole, &cut, "read again from the log, behind a change of the configuration");
    assert_ne!(whole.alerts, same_all_along.alerts, "the change makes a difference");
}

fn same(whole: &Outcome, cut: &Outcome, how: &str) {
    let only = |of: &[Value], other: &[Value]| of.iter().filter(|a| !other.contains(a)).cloned().collect::<Vec<_>>();
    let (missing, extra) = (only(&whole.anomalies, &cut.anomalies), only(&cut.anomalies, &whole.anomalies));
    assert!(missing.is_empty() && extra.is_empty(), "{how}: missing: {missing:#?}\nextra: {extra:#?}");
    assert_eq!(whole.alerts, cut.alerts, "{how}");
    for (one, other) in whole.rows.iter().zip(&cut.rows) {
        assert_eq!(one, other, "{how}");
    }
}
