//! The service watches itself: its own traces and metrics go to its own door, and no loop begins.

use std::{ffi::OsStr, net::TcpListener, time::Duration};

use crate::{
    api::{Api, eventually},
    binary::Binary,
};

#[path = "support/api.rs"]
mod api;
#[path = "support/binary.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod binary;

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn its_own_telemetry_arrives_and_does_not_feed_itself() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    // The exporter must know the port before the door is bound to it.
    let grpc = {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        listener.local_addr().expect("is bound")
    };
    let config = directory.path().join("bellwether.yaml");
    let text =
        format!("listen: {{grpc: '{grpc}', http: '127.0.0.1:0', api: '127.0.0.1:0'}}\nlevel: {{assess_every: 1s}}\n");
    std::fs::write(&config, text).expect("the directory is writable");
    let data = directory.path().join("data");
    let endpoint = format!("http://{grpc}");
    let binary = Binary::start_with(
        &[OsStr::new("--config"), config.as_os_str(), OsStr::new("--data-dir"), data.as_os_str()],
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
            ("OTEL_BSP_SCHEDULE_DELAY", "500"),
        ],
    );
    let api = Api::new(&binary.api);
    let known = eventually(PATIENCE, || async {
        let services = api.items("/api/v1/services").await;
        services.iter().any(|s| s["service"] == "bellwether").then_some(())
    });
    assert!(known.await.is_some(), "{}", binary.log());
    let evaluated = eventually(PATIENCE, || async {
        let value = api.value_of("bellwether_evaluations_total").await;
        (value >= 1.0).then_some(())
    });
    assert!(evaluated.await.is_some(), "{}", binary.log());

    // Two exports a second of each signal are what was asked for; a loop would double them again and again.
    let before = api.get("/api/v1/status").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = api.get("/api/v1/status").await;
    let spans = |status: &serde_json::Value| {
        let signals = status["ingest"].as_array().cloned().unwrap_or_default();
        signals.iter().find(|s| s["signal"] == "traces").and_then(|s| s["accepted"].as_u64()).unwrap_or_default()
    };
    let gained = spans(&after) - spans(&before);
    assert!(gained <= 20, "{gained} spans of its own in five seconds");
    assert!(binary.stop().success());
}
