//! What a kill -9 must not take away: alerts that fire, notifications that are owed, anomalies' numbers.

use std::{
    ffi::OsStr,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

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

const PATIENCE: Duration = Duration::from_secs(20);

const RULES: &str = r#"
groups:
  - name: restart
    interval: 1s
    rules:
      - alert: QueueDepthHigh
        expr: queue_depth > 300
        labels: {severity: critical}
        annotations:
          summary: "{{ $value }} jobs are waiting"
          runbook_url: "{{ $externalURL }}/runbooks/anomaly"
"#;

/// A binary in `directory` that sends its alerts to `webhook`.
fn start(directory: &Path, webhook: &str) -> Binary {
    let config = format!(
        "listen: {{grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '127.0.0.1:0'}}\n\
         rule_files: [rules.yaml]\n\
         level: {{assess_every: 1s, hold_up: 1s}}\n\
         receivers: [{{name: test, webhook_configs: [{{url: '{webhook}'}}]}}]\n"
    );
    std::fs::write(directory.join("rules.yaml"), RULES).expect("the directory is writable");
    std::fs::write(directory.join("bellwether.yaml"), config).expect("the directory is writable");
    let (config, data) = (directory.join("bellwether.yaml"), directory.join("data"));
    Binary::start(&[OsStr::new("--config"), config.as_os_str(), OsStr::new("--data-dir"), data.as_os_str()])
}

/// Sends one value of the gauge, as OTLP/JSON, with the time of now.
async fn send(binary: &Binary, value: f64) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let point = json!({"timeUnixNano": since.as_nanos().to_string(), "asDouble": value});
    let metric = json!({"name": "queue.depth", "gauge": {"dataPoints": [point]}});
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]});
    let body = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]});
    let answer = reqwest::Client::new()
        .post(format!("{}/v1/metrics", binary.http))
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .expect("the door is open");
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(answer.text().await.expect("has a body").trim(), "{}");
}

/// Sends `value` every quarter of a second until `done` gives something.
async fn send_until<T, F: Future<Output = Option<T>>>(binary: &Binary, value: f64, done: impl Fn() -> F) -> Option<T> {
    eventually(PATIENCE, || async {
        send(binary, value).await;
        done().await
    })
    .await
}

/// Receives notifications on `listener`: (webhook-id, body).
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

async fn states(api: &Api) -> Vec<String> {
    let alerts = api.get("/api/v1/alerts").await;
    let list = alerts["data"]["alerts"].as_array().cloned().unwrap_or_default();
    list.iter().map(|a| a["state"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_goes_on_after_a_kill_and_is_said_and_resolved_once() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
    let url = format!("http://{}/", listener.local_addr().expect("is bound"));
    let mut received = receive(listener);

    let first = start(directory.path(), &url);
    let api = Api::new(&first.api);
    let fired = send_until(&first, 500.0, || async { states(&api).await.contains(&"firing".to_owned()).then_some(()) });
    assert!(fired.await.is_some(), "{}", first.log());
    let (_, body) = tokio::time::timeout(PATIENCE, received.recv()).await.expect("is delivered").expect("is open");
    assert_eq!(body["status"], "firing");
    let episode = body["alerts"][0]["bellwether"]["episode"].clone();
    let raised = || async {
        let level = api.get("/api/v1/degradation").await;
        (level["level"] == 2).then_some(level)
    };
    let level = send_until(&first, 500.0, raised).await.expect("a critical alert argues for level 2");
    assert!(level["because"].to_string().contains("QueueDepthHigh"), "{level}");
    first.kill();

    let second = start(directory.path(), &url);
    let api = Api::new(&second.api);
    let states_now = states(&api).await;
    assert_eq!(states_now.len(), 1, "it is remembered before any telemetry comes: {states_now:?}");
    assert_eq!(api.get("/api/v1/degradation").await["level"], 2, "so is the level");
    let recovered = || async { states(&api).await.is_empty().then_some(()) };
    send(&second, 500.0).await;
    assert!(send_until(&second, 10.0, recovered).await.is_some(), "{}", second.log());
    let (_, body) = tokio::time::timeout(PATIENCE, received.recv()).await.expect("is delivered").expect("is open");
    assert_eq!((&body["status"], &body["alerts"][0]["bellwether"]["episode"]), (&json!("resolved"), &episode));
    assert!(second.stop().success());
    assert!(received.try_recv().is_err(), "nothing was said twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_that_is_owed_is_delivered_after_a_kill() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    // Nobody listens here until after the kill.
    let address = {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        listener.local_addr().expect("is bound")
    };
    let url = format!("http://{address}/");
    let first = start(directory.path(), &url);
    let api = Api::new(&first.api);
    let tried = || async {
        let owed = api.items("/api/v1/deliveries?state=pending").await;
        owed.iter().find(|d| d["attempts"].as_u64() > Some(0)).map(|d| d["id"].as_str().unwrap_or_default().to_owned())
    };
    let id = send_until(&first, 500.0, tried).await.expect("delivery was tried");
    first.kill();

    let mut received = receive(TcpListener::bind(address).await.expect("the port is still free"));
    let second = start(directory.path(), &url);
    let delivered = tokio::time::timeout(Duration::from_secs(60), received.recv()).await;
    let (delivered_id, body) = delivered.expect("is delivered").expect("is open");
    assert_eq!((delivered_id, &body["status"]), (id, &json!("firing")));
    assert!(second.stop().success());
}
