//! The page in a real browser: it shows what is wrong, and hostile names stay text.
//!
//! Without Chromium it says that it is skipped, and fails where `CI=true`.

use std::{
    ffi::OsStr,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::{api::Api, binary::Binary};

#[path = "support/api.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod api;
#[path = "support/binary.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod binary;

const HOSTILE: &str = "x\"><img src=y onerror=document.title='owned'><script>document.title='owned'</script>";

/// The document that the browser made of `url`, as HTML.
fn rendered(profile: &OsStr, url: &str) -> Option<String> {
    let quiet = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--dump-dom",
    ];
    let mut user_data = OsStr::new("--user-data-dir=").to_owned();
    user_data.push(profile);
    let output = Command::new("chromium").args(quiet).arg(user_data).arg(url).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[expect(clippy::print_stderr, reason = "a skipped test has to say so")]
fn skipped() {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI has a browser: install chromium");
    eprintln!("skipped: the page test needs chromium");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_the_level_and_runs_nothing_that_telemetry_says() {
    if Command::new("chromium").arg("--version").output().is_err() {
        return skipped();
    }
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let binary = Binary::start_in(directory.path(), "");
    let api = Api::new(&binary.api);
    send_jump(&binary).await;
    let anomalies = api.items("/api/v1/anomalies").await;
    let id = anomalies[0]["id"].as_str().expect("has an id");

    let profile = directory.path().join("profile");
    for (path, expected) in [
        ("/".to_owned(), "full-service"),
        (format!("/anomalies/{id}"), "robust standard deviations"),
        ("/runbooks".to_owned(), "Answers are slow"),
        ("/runbooks/telemetry-gap".to_owned(), "Escalation"),
    ] {
        let html = rendered(profile.as_os_str(), &format!("{}{path}", binary.api)).expect("chromium runs");
        assert!(html.contains(expected), "{path} lacks {expected}: {html}");
        assert!(
            !html.contains("<script") && !html.contains("<img") && !html.contains("<title>owned"),
            "{path}: {html}"
        );
    }
    assert!(binary.stop().success());
}

/// A gauge under a hostile service name, label and metric name: calm for ten minutes, then a jump.
async fn send_jump(binary: &Binary) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let attribute = |key: &str| json!({"key": key, "value": {"stringValue": HOSTILE}});
    let points: Vec<Value> = (0..60_u64)
        .map(|i| {
            let value = if i >= 57 { 400.0 } else { 100.0 + ((i * 7) % 11) as f64 / 10.0 };
            let time = ((now - 600 + i * 10) * 1_000_000_000).to_string();
            json!({"timeUnixNano": time, "asDouble": value, "attributes": [attribute("note")]})
        })
        .collect();
    let metric = json!({"name": HOSTILE, "unit": HOSTILE, "gauge": {"dataPoints": points}});
    let resource = json!({"attributes": [attribute("service.name")]});
    let body = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]});
    let answer = reqwest::Client::new()
        .post(format!("{}/v1/metrics", binary.http))
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .expect("the door is open");
    assert_eq!(answer.status().as_u16(), 200);
}
