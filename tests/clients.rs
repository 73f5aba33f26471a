//! The official OpenTelemetry SDKs and the Collector against the real binary: every entry that they
//! send is there, once; a jump is found, and its alert arrives at a webhook and is resolved. And the
//! official OpenFeature SDKs: their flags follow the level.
//!
//! Their packages are installed by `.ci/run` or as `CONTRIBUTING.md` says. Without them a test says
//! that it is skipped, and fails where `CI=true`.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use serde_json::Value;

use crate::{
    api::{Api, encoded, eventually},
    binary::Binary,
    collector::{Collector, Export},
    ledger::{ENTRIES, Ledger},
    rust::Transport,
    webhook::Webhook,
};

#[path = "support/api.rs"]
mod api;
#[path = "support/binary.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod binary;
#[path = "clients/collector.rs"]
mod collector;
#[path = "clients/flags.rs"]
mod flags;
#[path = "clients/ledger.rs"]
mod ledger;
#[path = "clients/rust.rs"]
mod rust;
#[path = "support/webhook.rs"]
mod webhook;

/// Seconds before, during and after the jump. At four points a second the detector has seen twice the
/// points that it needs before it judges.
const CALM: u32 = 15;
const DISTURBED: u32 = 6;
const RECOVERY: u32 = 6;
const EXPORT_INTERVAL_MS: u32 = 250;
/// What is said after the last export must arrive within this time.
const PATIENCE: Duration = Duration::from_secs(15);
/// What the Collector compresses with; gzip unless it is told otherwise.
const COMPRESSIONS: [&str; 2] = ["gzip", "zstd"];
const RUNBOOK: &str = "https://runbooks.example.com/queue-depth";

/// The rule that turns the jump into an alert.
const RULES: &str = r#"
groups:
  - name: clients
    interval: 1s
    rules:
      - alert: QueueDepthHigh
        expr: queue_depth > 300
        for: 1s
        keep_firing_for: 1s
        labels:
          severity: warning
        annotations:
          summary: "{{ $labels.job }} has {{ $value }} jobs waiting"
          runbook_url: https://runbooks.example.com/queue-depth
"#;

/// The configuration of the binary under test; `rules` is a file beside it.
fn config(webhook: &str, rules: &str) -> String {
    format!(
        "listen:
  grpc: 127.0.0.1:0
  http: 127.0.0.1:0
  api: 127.0.0.1:0
rule_files: [{rules}]
receivers:
  - name: test
    webhook_configs:
      - url: {webhook}
"
    )
}

/// An SDK with one of its exporters.
#[derive(Clone, Debug)]
struct Client {
    /// Interpreter and script.
    command: [PathBuf; 2],
    /// `--protocol`.
    protocol: &'static str,
    /// `service.name`.
    service: &'static str,
}

/// What a client says that it has sent.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
struct Sent {
    spans: u32,
    metric_exports: u32,
    logs: u32,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_is_understood_over_grpc_and_http() {
    let Some(command) = python() else { return };
    check(both(&command, ["python-grpc", "python-http"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_is_understood_over_grpc_and_http() {
    let Some(command) = node() else { return };
    check(both(&command, ["node-grpc", "node-http"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_provider_of_flags_follows_the_level() {
    let Some([interpreter, _]) = python() else { return };
    flags::follow([interpreter, clients().join("python/flags.py")], "flags-python").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_and_web_providers_of_flags_follow_the_level() {
    let Some([interpreter, _]) = node() else { return };
    flags::follow([interpreter, clients().join("node/flags.mjs")], "flags-node").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_client_of_the_contract_watches_the_level() {
    let Some([interpreter, _]) = python() else { return };
    flags::follow([interpreter, clients().join("python/watch.py")], "watch-python").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_express_example_refuses_and_restores_with_the_level() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/express");
    let probe = "import 'express'; import '@openfeature/ofrep-provider'";
    if works(Command::new("node").args(["--input-type=module", "-e", probe]).current_dir(&folder)) {
        flags::follow(["node".into(), folder.join("check.mjs")], "express").await;
    } else {
        skipped("Express: run `npm ci` in clients/express");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_of_the_python_sdk_is_there_once() {
    let Some(command) = python() else { return };
    check_ledger(both(&command, ["python-grpc", "python-http"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_of_the_node_sdk_is_there_once() {
    let Some(command) = node() else { return };
    check_ledger(both(&command, ["node-grpc", "node-http"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_of_the_rust_sdk_is_there_once() {
    let ledger = Ledger::open();
    let (grpc, http) = (ledger.binary.grpc.clone(), ledger.binary.http.clone());
    let (over_grpc, over_http) = tokio::join!(
        rust::enter(grpc, Transport::Grpc, "rust-grpc", ENTRIES),
        rust::enter(http, Transport::Http, "rust-http", ENTRIES),
    );
    over_grpc.expect("the exporters do not complain");
    over_http.expect("the exporters do not complain");
    ledger.settle(&["rust-grpc", "rust-http"]).await;
}

/// One Collector takes what two SDKs send and passes it on in every way that it knows, each to a
/// binary of its own.
#[tokio::test(flavor = "multi_thread")]
async fn every_entry_that_a_collector_passes_on_is_there_once() {
    let Some(program) = collector::program() else {
        return skipped("Collector: run tests/clients/collector/build.sh, which needs Go");
    };
    let Some(command) = python() else { return };
    let exports = COMPRESSIONS.iter().flat_map(|compression| {
        ["otlp_grpc", "otlp_http"].map(|exporter| (Export { exporter, compression }, Ledger::open()))
    });
    let ledgers: Vec<_> = exports.collect();
    let collector = Collector::start(&program, &ledgers).await;
    let [client, _] = both(&command, ["python", "unused"]);
    let (grpc, http) = (collector.grpc.clone(), collector.http.clone());
    let (python, rust) = tokio::join!(
        tokio::task::spawn_blocking(move || enter(&client, &grpc)),
        rust::enter(http, Transport::Http, "rust", ENTRIES),
    );
    python.expect("sending does not panic");
    rust.expect("the exporters do not complain");
    collector.stop().await;
    for (_, ledger) in ledgers {
        ledger.settle(&["python", "rust"]).await;
    }
}

/// Python and the script, if the SDK is installed.
fn python() -> Option<[PathBuf; 2]> {
    let folder = clients().join("python");
    let interpreter = folder.join(".venv/bin/python");
    let probe = "import opentelemetry.exporter.otlp.proto.grpc, opentelemetry.exporter.otlp.proto.http, \
                 openfeature.contrib.provider.ofrep, grpc_tools.protoc";
    if works(Command::new(&interpreter).args(["-c", probe])) {
        return Some([interpreter, folder.join("send.py")]);
    }
    skipped("Python: install tests/clients/python/requirements.txt into tests/clients/python/.venv");
    None
}

/// Node and the script, if the SDK is installed.
fn node() -> Option<[PathBuf; 2]> {
    let folder = clients().join("node");
    let probe = "import '@opentelemetry/sdk-metrics'; import '@opentelemetry/exporter-trace-otlp-grpc'; \
                 import '@openfeature/ofrep-web-provider'";
    if works(Command::new("node").args(["--input-type=module", "-e", probe]).current_dir(&folder)) {
        return Some(["node".into(), folder.join("send.mjs")]);
    }
    skipped("Node: run `npm ci` in tests/clients/node");
    None
}

/// A client of each protocol, gRPC first.
fn both(command: &[PathBuf; 2], services: [&'static str; 2]) -> [Client; 2] {
    let [grpc, http] = services;
    [("grpc", grpc), ("http/protobuf", http)].map(|(protocol, service)| Client {
        command: command.clone(),
        protocol,
        service,
    })
}

/// Lets both clients send their entries side by side, and compares.
async fn check_ledger(clients: [Client; 2]) {
    let ledger = Ledger::open();
    let services = clients.clone().map(|client| client.service);
    let running = clients.map(|client| {
        let endpoint = client.endpoint(&ledger.binary);
        tokio::task::spawn_blocking(move || enter(&client, &endpoint))
    });
    for client in running {
        client.await.expect("sending does not panic");
    }
    ledger.settle(&services).await;
}

/// Lets a client send its entries. It must say that all were taken.
fn enter(client: &Client, endpoint: &str) {
    let output = client.command(endpoint).args(["--ledger", &ENTRIES.to_string()]).output();
    let output = output.expect("the interpreter was probed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", client.service);
    let sent: Sent = serde_json::from_slice(&output.stdout).expect("the client prints what it has sent");
    assert_eq!((sent.spans, sent.logs), (ENTRIES, ENTRIES), "{}: {sent:?}", client.service);
}

impl Client {
    /// The door for its protocol.
    fn endpoint(&self, binary: &Binary) -> String {
        if self.protocol == "grpc" { binary.grpc.clone() } else { binary.http.clone() }
    }

    /// Its command line without what it is to send.
    fn command(&self, endpoint: &str) -> Command {
        let [interpreter, script] = &self.command;
        let mut command = Command::new(interpreter);
        command.arg(script);
        command.args(["--endpoint", endpoint, "--protocol", self.protocol, "--service", self.service]);
        command
    }
}

/// Runs the clients side by side against one binary and looks at everything that it says of them.
async fn check(clients: [Client; 2]) {
    let webhook = Webhook::listen().await;
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let (config_file, rules_file) = (directory.path().join("bellwether.yaml"), directory.path().join("rules.yaml"));
    std::fs::write(&config_file, config(&webhook.url(), "rules.yaml")).expect("the directory is writable");
    std::fs::write(&rules_file, RULES).expect("the directory is writable");
    let data = directory.path().join("data");
    let arguments = ["--config".as_ref(), config_file.as_os_str(), OsStr::new("--data-dir"), data.as_os_str()];
    let binary = Binary::start(&arguments);
    let api = Api::new(&binary.api);

    let running = clients.clone().map(|client| {
        let endpoint = client.endpoint(&binary);
        tokio::task::spawn_blocking(move || send(&client, &endpoint))
    });
    let mut outcomes = Vec::new();
    for (client, outcome) in clients.iter().zip(running) {
        outcomes.push((client, outcome.await.expect("sending does not panic")));
    }
    for (client, output) in outcomes {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}\n{}", client.service, binary.log());
        let sent = serde_json::from_slice(&output.stdout).expect("the client prints what it has sent");
        arrived(&api, client.service, sent).await;
        found(&api, client.service).await;
        alerted(&webhook, client.service).await;
    }
    assert!(binary.stop().success(), "a stopped service exits with 0");
}

/// Runs a client to its end.
fn send(client: &Client, endpoint: &str) -> Output {
    client
        .command(endpoint)
        .args(["--calm", &CALM.to_string(), "--disturbed", &DISTURBED.to_string()])
        .args(["--recovery", &RECOVERY.to_string(), "--interval", &EXPORT_INTERVAL_MS.to_string()])
        .output()
        .expect("the interpreter was probed")
}

/// Nothing that was acknowledged is missing: each job is one span, one log record and one count.
async fn arrived(api: &Api, service: &str, sent: Sent) {
    let seconds = CALM + DISTURBED + RECOVERY;
    assert!(sent.spans > 5 * seconds && sent.logs == sent.spans, "{service}: {sent:?}");
    assert!(sent.metric_exports > 2 * seconds, "{service}: {sent:?}");
    let services = api.items("/api/v1/services").await;
    assert!(services.iter().any(|row| row["service"] == service), "{service} is not in {services:?}");
    let of_service = format!("{{job=\"{service}\"}}");
    for expression in [format!("jobs_processed_total{of_service}"), format!("job_duration_seconds_count{of_service}")] {
        // What is acknowledged can be asked for as soon as its chunk is sealed.
        let complete = eventually(PATIENCE, || async {
            let counted = api.value_of(&expression).await;
            ((counted - f64::from(sent.spans)).abs() < 0.5).then_some(())
        });
        let complete = complete.await.is_some();
        assert!(complete, "{expression} is {}, sent {sent:?}", api.value_of(&expression).await);
    }
    let calls = api.value_of(&format!("max by (job) (traces_span_metrics_calls_total{of_service})")).await;
    assert!(calls > 0.0, "{service}: its spans are summed up");
}

/// The jump is one anomaly, and it ended.
async fn found(api: &Api, service: &str) {
    let path = format!("/api/v1/anomalies?service={}&metric=queue_depth", encoded(service));
    let ended = eventually(PATIENCE, || async {
        let items = api.items(&path).await;
        let ended = items.len() == 1 && items[0]["endsAt"].is_string();
        ended.then_some(items)
    });
    let items = match ended.await {
        Some(items) => items,
        None => api.items(&path).await,
    };
    assert_eq!(items.len(), 1, "{service}: one jump is one anomaly: {items:#?}");
    let anomaly = &items[0];
    assert!(anomaly["endsAt"].is_string(), "{service}: {anomaly:#}");
    assert_eq!((&anomaly["direction"], &anomaly["detector"]), (&"up".into(), &"z-score".into()), "{anomaly:#}");
    assert!(anomaly["score"].as_f64() > Some(1.0), "{anomaly:#}");
    let observed = anomaly["observed"].as_f64().unwrap_or_default();
    let expected = anomaly["expected"].as_f64().unwrap_or_default();
    assert!((490.0..=510.0).contains(&observed) && (95.0..=105.0).contains(&expected), "{anomaly:#}");
    assert!(anomaly["runbookUrl"].as_str().is_some_and(|url| url.starts_with("http")), "{anomaly:#}");
}

/// The webhook was told once that the alert fires and once that it is over, with its runbook.
async fn alerted(webhook: &Webhook, service: &str) {
    let alerts = || -> Vec<Value> {
        let all = webhook.alerts().into_iter();
        all.filter(|a| a["labels"]["job"] == service && a["labels"]["alertname"] == "QueueDepthHigh").collect()
    };
    eventually(PATIENCE, || async { (alerts().len() >= 2).then_some(()) }).await;
    let alerts = alerts();
    let statuses: Vec<&str> = alerts.iter().filter_map(|alert| alert["status"].as_str()).collect();
    assert_eq!(statuses, ["firing", "resolved"], "{service}: {alerts:#?}");
    for alert in &alerts {
        assert_eq!(alert["annotations"]["runbook_url"], RUNBOOK, "{alert:#}");
    }
    assert_eq!(alerts[0]["startsAt"], alerts[1]["startsAt"], "both speak of the same episode");
}

fn clients() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients"))
}

/// Whether the command runs and succeeds.
fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Says that a test needs something that is not here; an error where everything has to be here.
#[expect(clippy::print_stderr, reason = "a test that is skipped must say so")]
fn skipped(needs: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI=true and not installed: {needs}");
    eprintln!("skipped: {needs}");
}
