//! The interface keeps what its OpenAPI document says, whatever it is asked.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;

use crate::kit::{
    Route, Service, a_span, base_time, cases, gauge, is_full, logs, metrics, now_seconds, point, record, traces,
};

/// An alert that fires as soon as the jump is there.
const RULES: &str =
    "groups: [{name: jump, interval: 1s, rules: [{alert: Waiting, expr: queue_wait_milliseconds > 300}]}]";

/// schemathesis, if it is installed; an error where it has to be.
#[expect(clippy::print_stderr, reason = "a test that is skipped must say so")]
fn schemathesis() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python/.venv/bin/schemathesis");
    if Command::new(&program).arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Some(program);
    }
    let needs = "schemathesis: install tests/clients/python/requirements.txt into tests/clients/python/.venv";
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI=true and not installed: {needs}");
    eprintln!("skipped: {needs}");
    None
}

/// Ten minutes of calm and a jump, a span and a log record, an alert and a pin.
async fn filled(rules: &Path) -> Service {
    std::fs::write(rules, RULES).expect("the directory is writable");
    let service = Service::start(&format!("level: {{assess_every: 1s}}\nrule_files: ['{}']\n", rules.display()));
    let now = now_seconds();
    let points = (0..60_u64).map(|i| {
        let calm = 100.0 + ((i * 7) % 11) as f64 / 10.0;
        point((now - 600 + i * 10) * 1_000_000_000, if i >= 57 { 400.0 } else { calm }, &[])
    });
    let mut waiting = gauge("queue.wait", points.collect());
    "ms".clone_into(&mut waiting.unit);
    let time = base_time();
    for payload in [
        metrics("shop", vec![waiting]),
        traces("shop", vec![a_span("GET /quote", time, time + 5_000_000)]),
        logs("shop", vec![record(time, "no price")]),
    ] {
        assert!(service.send(&payload, Route::Protobuf).await.is_complete());
    }
    let pin = json!({"level": 1, "author": "ada", "reason": "drill", "expiresAt": now + 3_600});
    let put = reqwest::Client::new()
        .put(format!("{}/api/v1/degradation/pin", service.binary.api))
        .header("content-type", "application/json")
        .body(pin.to_string());
    assert_eq!(put.send().await.expect("answers").status().as_u16(), 200);
    assert_eq!(service.api.items("/api/v1/anomalies").await.len(), 1);
    let firing = crate::kit::eventually(std::time::Duration::from_secs(20), || async {
        let alerts = service.api.get("/api/v1/alerts").await;
        alerts["data"]["alerts"].as_array().is_some_and(|alerts| !alerts.is_empty()).then_some(())
    });
    assert!(firing.await.is_some(), "the rule holds, so there is an alert");
    service
}

// E9
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_asked_breaks_the_interface_or_its_description() {
    let Some(program) = schemathesis() else { return };
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let service = filled(&directory.path().join("rules.yaml")).await;
    let description = directory.path().join("openapi.json");
    let text = service.api.text("/api/v1/openapi.json").await;
    std::fs::write(&description, text).expect("the directory is writable");

    // Streams do not end; their heads are looked at below. Without the feature there is no SQL to ask for.
    let left_out = if cfg!(feature = "analysis") { "/(stream|events)$" } else { "/(stream|events|sql)$" };
    let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/openapi");
    let mut command = tokio::process::Command::new(program);
    command
        .current_dir(directory.path())
        .env("PYTHONPATH", &settings)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg("--config-file")
        .arg(settings.join("schemathesis.toml"))
        .arg("run")
        .arg(&description)
        .args(["--url", &service.binary.api, "--exclude-path-regex", left_out, "--no-color"])
        .args(["--generation-database", "none", "--max-examples", &cases(25, 1_000).to_string()]);
    if !is_full() {
        command.args(["--seed", "1"]);
    }
    let output = command.output().await.expect("it has said its version");
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{failed}");
    assert!(!service.binary.log().contains("panicked"), "{}", service.binary.log());
    service.assert_healthy().await;

    for path in ["/api/v1/degradation/stream", "/ofrep/v1/events"] {
        let answer = reqwest::get(format!("{}{path}", service.binary.api)).await.expect("answers");
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        assert_eq!(answer.headers()["content-type"], "text/event-stream", "{path}");
    }
}
