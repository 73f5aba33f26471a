//! The official OpenFeature SDKs with their OFREP providers: flags follow the level that somebody pins.

use std::{ffi::OsStr, path::PathBuf, process::Command, time::Duration};

use serde_json::Value;

use crate::{
    api::{Api, eventually},
    binary::Binary,
};

/// A level is there once its service was heard and assessed.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a client may take to see a change, in milliseconds: a second, and what a busy machine adds.
const SEEN: u64 = 5_000;

const CONFIG: &str =
    "listen: {grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '127.0.0.1:0', evaluations_per_second: 100}\n";

/// Lets `script` follow the level of a service named after it, in a service of its own.
pub(crate) async fn follow([interpreter, script]: [PathBuf; 2], service: &str) {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let config = directory.path().join("bellwether.yaml");
    std::fs::write(&config, CONFIG).expect("the directory is writable");
    let data = directory.path().join("data");
    let arguments = ["--config".as_ref(), config.as_os_str(), OsStr::new("--data-dir"), data.as_os_str()];
    let binary = Binary::start(&arguments);
    let api = Api::new(&binary.api);
    let heard = eventually(PATIENCE, || async {
        send(&binary.http, service).await;
        let level = api.get("/api/v1/degradation").await;
        let services = level["services"].as_array().cloned().unwrap_or_default();
        services.iter().any(|known| known["service"] == service).then_some(())
    });
    heard.await.expect("the service has a level");
    let endpoint = binary.api.clone();
    let command = ["--endpoint".to_owned(), endpoint, "--service".to_owned(), service.to_owned()];
    let output = tokio::task::spawn_blocking(move || Command::new(interpreter).arg(script).args(command).output());
    let output = output.await.expect("waiting does not panic").expect("the interpreter was probed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{service}: {said}\n{}", binary.log());
    let seen: Value = serde_json::from_slice(&output.stdout).expect("the client prints what it has seen");
    let times = seen.as_object().expect("is an object");
    assert!(!times.is_empty() && times.values().all(|ms| ms.as_u64().is_some_and(|ms| ms < SEEN)), "{seen}");
    assert!(binary.stop().success(), "a stopped service exits with 0");
}

/// One point of `service`, now.
async fn send(http: &str, service: &str) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
    let body = serde_json::json!({"resourceMetrics": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
        "scopeMetrics": [{"metrics": [{"name": "queue.depth", "gauge": {"dataPoints": [
            {"timeUnixNano": now.as_nanos().to_string(), "asDouble": 1.0}
        ]}}]}]
    }]});
    let request = reqwest::Client::new().post(format!("{http}/v1/metrics")).header("content-type", "application/json");
    let answer = request.body(body.to_string()).send().await.expect("the binary answers");
    assert_eq!(answer.status().as_u16(), 200);
}
