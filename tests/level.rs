//! The level from outside: what lowers health, and who is told of a change.

use std::{
    path::Path,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    api::{Api, encoded, eventually},
    binary::Binary,
};

#[path = "support/api.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod api;
#[path = "support/binary.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod binary;

const PATIENCE: Duration = Duration::from_secs(60);

struct Service {
    binary: Binary,
    api: Api,
    _directory: tempfile::TempDir,
}

/// A service whose configuration goes on with `text`.
fn start(text: &str) -> Service {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    start_in(directory, text)
}

fn start_in(directory: tempfile::TempDir, text: &str) -> Service {
    let binary = Binary::start_in(directory.path(), text);
    let api = Api::new(&binary.api);
    Service { binary, api, _directory: directory }
}

impl Service {
    async fn send(&self, signal: &str, body: &Value) {
        let answer = reqwest::Client::new()
            .post(format!("{}/v1/{signal}", self.binary.http))
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .expect("the door is open");
        assert_eq!(answer.status().as_u16(), 200);
    }

    /// Gauges of `service` now.
    async fn gauges(&self, service: &str, gauges: &[(&str, Value, f64)]) {
        let time = now_nanos(0);
        let metrics: Vec<Value> = gauges
            .iter()
            .map(|(name, attributes, value)| {
                let point = json!({"timeUnixNano": time, "asDouble": value, "attributes": attributes});
                json!({"name": name, "gauge": {"dataPoints": [point]}})
            })
            .collect();
        let scope = json!({"metrics": metrics});
        self.send("metrics", &json!({"resourceMetrics": [{"resource": resource(service), "scopeMetrics": [scope]}]}))
            .await;
    }

    /// The level of `service` once `is_it` holds for it.
    async fn level(&self, service: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/api/v1/degradation?service={}", encoded(service));
        let url = format!("{}{path}", self.binary.api);
        let found = eventually(PATIENCE, async || {
            let answer = reqwest::get(&url).await.ok()?;
            let level: Value = serde_json::from_str(&answer.text().await.ok()?).ok()?;
            is_it(&level).then_some(level)
        })
        .await;
        assert!(found.is_some(), "{}\n{}", self.api.text("/api/v1/degradation").await, self.binary.log());
        found.unwrap_or_default()
    }
}

fn now_nanos(back: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    (now.as_nanos() - u128::from(back) * 1_000_000_000).to_string()
}

fn resource(service: &str) -> Value {
    json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]})
}

fn is_level(number: u64) -> impl Fn(&Value) -> bool {
    move |level| level["level"] == number
}

#[tokio::test(flavor = "multi_thread")]
async fn an_objective_of_the_configuration_lowers_the_level_and_says_so() {
    let service = start(
        "level:
  assess_every: 1s
  hold_up: 0s
  objectives:
  - {name: cache hits, kind: cache_hit_ratio, service: shop, expr: cache_hits, target: 0.8}
  - {name: pool, kind: saturation, expr: pool_usage, target: 0.5, weight: 0.5}
",
    );
    service.gauges("shop", &[("cache.hits", json!([]), 0.48), ("pool.usage", json!([]), 0.1)]).await;
    service.gauges("other", &[("cache.hits", json!([]), 0.1), ("pool.usage", json!([]), 1.0)]).await;
    let shop = service.level("shop", is_level(2)).await;
    assert_eq!(shop["because"], json!(["cache hits of shop is 0.48; target: at least 0.8"]));
    let other = service.level("other", is_level(2)).await;
    assert_eq!(other["because"], json!(["pool of other is 1; target: at most 0.5"]), "{other}");
    assert_eq!(other["health"], 0.5, "half of what it takes counts, and cache hits are shop's");
    let published = "bellwether_objective_missed{objective=\"cache hits\"}";
    let value = eventually(PATIENCE, async || {
        let value = service.api.value_of(published).await;
        (!value.is_nan()).then_some(value)
    });
    assert_eq!(value.await, Some(1.0));
}

/// An objective for a latency of `shop`, with what its budget is of.
fn below_two(method: &str, slices: &str) -> String {
    format!(
        "apiVersion: openslo/v1
kind: SLO
metadata: {{name: latency}}
spec:
  service: shop
  indicator: {{spec: {{thresholdMetric: {{metricSource: {{type: Prometheus, spec: {{query: latency}}}}}}}}}}
  budgetingMethod: {method}
  objectives: [{{op: lt, value: 2, target: 0.9{slices}}}]
"
    )
}

const SLICES: &str = ", timeSliceTarget: 0.75, timeSliceWindow: 1m";

#[test]
fn slices_of_a_threshold_burn_a_budget_that_its_values_do_not() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let file = |name: &str| directory.path().join(name);
    std::fs::write(file("b.yaml"), "level: {hold_up: 0s, openslo_files: [slo.yaml]}").expect("can be written");
    // Each second value is bad: too many for each slice of four, and half of all. One in ten may be.
    let rows = (0..240).map(|i| format!("{},{}\n", 1_767_600_000 + i * 15, if i % 2 == 0 { 3 } else { 1 }));
    std::fs::write(file("shop.csv"), format!("time,latency\n{}", rows.collect::<String>())).expect("can be written");
    let because = |method: &str, slices: &str| {
        std::fs::write(file("slo.yaml"), below_two(method, slices)).expect("can be written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
        command.args(["backtest", "--strict", "--format", "json", "--config"]).arg(file("b.yaml"));
        let output = command.arg("--input").arg(file("shop.csv")).output().expect("cargo has built the binary");
        let result = serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let levels = result["levels"].as_array().cloned().expect(&errors);
        levels.iter().find(|level| level["service"] == "shop").map(|level| level["because"][0].to_string())
    };
    let said = because("Timeslices", SLICES).expect("has a level");
    assert!(said.contains("target: below 2; its budget burns 10 times over 6 h and 10 times over 30 min"), "{said}");
    assert_eq!(because("RatioTimeslices", ", timeSliceWindow: 1m"), None, "half of each slice");
    assert_eq!(because("Occurrences", ""), None, "half of the time");
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_of_a_threshold_are_published() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    std::fs::write(directory.path().join("slo.yaml"), below_two("Timeslices", SLICES)).expect("can be written");
    let service = start_in(directory, "level: {assess_every: 1s, openslo_files: [slo.yaml]}");
    service.gauges("shop", &[("latency", json!([]), 3.0)]).await;
    let published = "bellwether_objective_slice_missed{objective=\"latency\",job=\"shop\"}";
    let value = eventually(PATIENCE, async || {
        let value = service.api.value_of(published).await;
        (!value.is_nan()).then_some(value)
    });
    assert_eq!(value.await, Some(1.0));
}

/// A call of `caller` that `callee` answers.
fn call(caller: &str, callee: &str) -> Value {
    let span = |id: &str, parent: &str, kind: u8| {
        let (start, end) = (now_nanos(1), now_nanos(0));
        json!({"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": id, "parentSpanId": parent, "name": "call",
            "kind": kind, "startTimeUnixNano": start, "endTimeUnixNano": end})
    };
    let of = |service: &str, span: Value| json!({"resource": resource(service), "scopeSpans": [{"spans": [span]}]});
    let outer = of(caller, span("b7ad6b7169203331", "", 3));
    let inner = of(callee, span("00f067aa0ba902b7", "b7ad6b7169203331", 2));
    json!({"resourceSpans": [outer, inner]})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_raises_the_level_of_callers_and_a_closed_one_lets_it_fall() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    std::fs::write(directory.path().join("rules.yaml"), BREAKER_RULES).expect("can be written");
    let config = "level: {assess_every: 1s, hold_up: 0s, hold_down: 1s}
rule_files: [rules.yaml]
receivers: [{name: log, file_configs: [{path: told.jsonl}]}]
";
    let service = start_in(directory, config);
    service.send("traces", &call("front", "checkout")).await;
    let state = |name: &str| json!([{"key": "name", "value": {"stringValue": "tax"}}, {"key": "state", "value": {"stringValue": name}}]);
    let breaker = "resilience4j.circuitbreaker.state";
    let is_open = |open: f64| [(breaker, state("open"), open), (breaker, state("closed"), 1.0 - open)];
    service.gauges("checkout", &is_open(1.0)).await;
    let checkout = service.level("checkout", is_level(1)).await;
    assert_eq!(checkout["because"][0], "circuit breaker tax of checkout is open; target: closed");
    // Each look at spans is half a minute of event time after the last.
    let front = service.level("front", is_level(1));
    let heard = async {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            service.send("traces", &call("front", "checkout")).await;
            service.gauges("checkout", &is_open(1.0)).await;
        }
    };
    let front = tokio::select! { level = front => level, () = heard => Value::Null };
    assert_eq!(
        front["because"][0],
        "checkout, which it calls, has opened its circuit breaker tax; its own symptoms raise no alerts meanwhile"
    );
    let published = service.api.value_of("bellwether_breaker_state{breaker=\"tax\",library=\"resilience4j\"}").await;
    assert!((published - 1.0).abs() < f64::EPSILON);
    // Alerts of the caller are inhibited by the one on the breaker, unless they are critical.
    service.gauges("front", &[("errors", json!([]), 7.0)]).await;
    let alert = |name: &str| {
        let path = format!("/api/v2/alerts?filter={}", encoded(&format!("alertname=\"{name}\"")));
        let url = format!("{}{path}", service.binary.api);
        async move {
            eventually(PATIENCE, async || {
                let text = reqwest::get(&url).await.ok()?.text().await.ok()?;
                serde_json::from_str::<Value>(&text).ok()?.as_array()?.first().cloned()
            })
            .await
            .unwrap_or_default()
        }
    };
    let (breaker, failing, critical) = (alert("BreakerOpen").await, alert("Failing").await, alert("Lost").await);
    assert_eq!(failing["status"]["inhibitedBy"], json!([breaker["fingerprint"]]), "{failing}");
    assert_eq!((&failing["status"]["state"], &critical["status"]["state"]), (&json!("suppressed"), &json!("active")));
    let told = || {
        let text = std::fs::read_to_string(service._directory.path().join("told.jsonl")).unwrap_or_default();
        let bodies = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        bodies.map(|body| body["message"]["alerts"][0].clone()).collect::<Vec<_>>()
    };
    let is_told = |name: &str| told().iter().any(|alert| alert["labels"]["alertname"] == name);
    eventually(PATIENCE, async || is_told("Lost").then_some(())).await.expect("a critical one is told");
    assert!(is_told("BreakerOpen") && !is_told("Failing"), "{:?}", told());
    service.gauges("checkout", &is_open(0.0)).await;
    let closed = async {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            service.gauges("checkout", &is_open(0.0)).await;
        }
    };
    let over = async {
        eventually(PATIENCE, async || is_told("Failing").then_some(()))
            .await
            .expect("told once the breaker has closed");
        // Alerts that fire lower health by themselves.
        service.gauges("front", &[("errors", json!([]), 0.0)]).await;
        service.level("front", is_level(0)).await;
    };
    tokio::select! { () = over => {}, () = closed => {} }
}

const BREAKER_RULES: &str = "
groups:
- name: breakers
  interval: 1s
  rules:
  - {alert: BreakerOpen, expr: bellwether_breaker_state == 1, labels: {severity: warning}}
  - {alert: Failing, expr: errors > 0, labels: {severity: warning}}
  - {alert: Lost, expr: errors > 0, labels: {severity: critical}}
";

/// What a receiver of webhooks was sent: headers that matter, and the body.
type Sent = Arc<Mutex<Vec<([String; 3], Value)>>>;

async fn receive(listener: TcpListener) -> Sent {
    let sent = Sent::default();
    let take = async |State(sent): State<Sent>, headers: HeaderMap, body: Bytes| {
        let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(header);
        let body = serde_json::from_slice(&body).unwrap_or_default();
        sent.lock().unwrap_or_else(PoisonError::into_inner).push((headers, body));
    };
    let router = Router::new().route("/levels", post(take)).with_state(Arc::clone(&sent));
    tokio::spawn(async move { axum::serve(listener, router).await });
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_level_is_told_signed_and_survives_a_kill() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = free.local_addr().expect("a bound socket has an address");
    drop(free);
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    std::fs::write(directory.path().join("key"), format!("whsec_{}", "QUJD".repeat(8))).expect("can be written");
    let config = format!(
        "level: {{assess_every: 1s, webhooks: [{{receiver: followers, service: shop}}]}}
receivers:
- name: followers
  webhook_configs: [{{url: 'http://{address}/levels', signing_secrets: ['file:key']}}]
"
    );
    let service = start_in(directory, &config);
    service.gauges("shop", &[("queue", json!([]), 1.0)]).await;
    service.level("shop", is_level(0)).await;
    let in_an_hour = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs() + 3_600;
    let pin = json!({"level": 3, "author": "me", "reason": "a drill", "service": "shop", "expiresAt": in_an_hour});
    let url = format!("{}/api/v1/degradation/pin", service.binary.api);
    let put = reqwest::Client::new().put(url).header("content-type", "application/json").body(pin.to_string());
    let answer = put.send().await.expect("answers");
    let status = answer.status();
    assert!(status.is_success(), "{status}: {}", answer.text().await.unwrap_or_default());
    service.level("shop", is_level(3)).await;
    // Nobody listens yet.
    let Service { binary, _directory: directory, .. } = service;
    binary.kill();
    let sent = receive(TcpListener::bind(address).await.expect("the port is still free")).await;
    let service = start_in(directory, &config);
    let told = eventually(PATIENCE, async || sent.lock().unwrap_or_else(PoisonError::into_inner).first().cloned());
    let ([id, timestamp, signature], body) = told.await.unwrap_or_default();
    assert!(id.starts_with("msg_") && signature.starts_with("v1,"), "{id} {signature}\n{}", service.binary.log());
    assert!(timestamp.parse::<u64>().is_ok(), "{timestamp}");
    assert_eq!(body["type"], "bellwether.degradation.changed");
    let data = &body["data"];
    assert_eq!((&data["service"], &data["from"], &data["level"]), (&json!("shop"), &json!(0), &json!(3)));
    assert_eq!(data["because"][0], "pinned to 3 (read-only) by me: a drill");
}

/// Sends a question for flags, its body a moment after its head, and reads the head of the answer.
async fn flags_over(connection: &mut TcpStream) -> String {
    let head = "POST /ofrep/v1/evaluate/flags HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n";
    connection.write_all(head.as_bytes()).await.expect("the connection is open");
    tokio::time::sleep(Duration::from_millis(50)).await;
    connection.write_all(b"{}").await.expect("the connection is open");
    let mut read = vec![0; 16_384];
    let size = tokio::time::timeout(PATIENCE, connection.read(&mut read)).await.expect("answers").expect("is open");
    String::from_utf8_lossy(&read[..size]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_may_ask_again_over_the_same_connection() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let free = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = free.local_addr().expect("a bound socket has an address");
    drop(free);
    let config = directory.path().join("bellwether.yaml");
    let text =
        format!("listen: {{grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '{address}', evaluations_per_second: 1}}\n");
    std::fs::write(&config, text).expect("the directory is writable");
    let data = directory.path().join("data");
    let binary = Binary::start(&["--config".as_ref(), config.as_os_str(), "--data-dir".as_ref(), data.as_os_str()]);
    let mut connection = TcpStream::connect(address).await.expect("the interface is open");
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(flags_over(&mut connection).await);
    }
    let refused = "HTTP/1.1 429 Too Many Requests";
    assert_eq!(seen, ["HTTP/1.1 200 OK", refused, refused, refused], "{}", binary.log());
}

#[test]
fn check_reads_openslo_files_and_names_what_is_not_done() {
    let check = |path: &Path| {
        let output = Command::new(env!("CARGO_BIN_EXE_bellwether")).arg("check").arg(path).output().expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("slo/targets.yaml");
    let (is_valid, said) = check(&shipped);
    assert!(is_valid && said.contains("6 objectives are valid"), "{said}");
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let wrong = directory.path().join("slo.yaml");
    let text = std::fs::read_to_string(&shipped).expect("is there").replacen("Occurrences", "Events", 1);
    std::fs::write(&wrong, text).expect("the directory is writable");
    let (is_valid, said) = check(&wrong);
    assert!(!is_valid && said.contains("slo.yaml:35: spec.budgetingMethod: expected Occurrences"), "{said}");
}
