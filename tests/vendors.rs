//! A storm of alerts for Slack, PagerDuty and Microsoft Teams, emulated with the limits that they publish: nothing is
//! sent that they refuse, not faster than they take it, and nothing is lost.
//!
//! The count fits continuous integration; `BELLWETHER_CONFORMANCE=full` asks for that of the checklist.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    routing::post,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

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

/// Far longer than the slowest of them takes for all.
const PATIENCE: Duration = Duration::from_secs(300);
/// Groups of alerts: as many as Teams takes in half a minute are too many in less.
const GROUPS: usize = 24;
/// Messages to Teams that are answered with 200 and a body that says 429, counted from 1. It is left alone for a while
/// after each.
const LIES: [usize; 1] = [2];

/// What one vendor was sent.
#[derive(Debug, Default)]
struct Vendor {
    requests: Vec<(Instant, Value)>,
    taken: Vec<Value>,
    refusals: Vec<String>,
    hasty: usize,
    lies: usize,
}

#[derive(Clone, Debug, Default)]
struct Sink(Arc<[Mutex<Vendor>; 3]>);

const NAMES: [&str; 3] = ["slack", "teams", "pagerduty"];

/// How many may come in which time. A tenth is left for how arrivals are spread by the machine.
fn rates(vendor: &str) -> &'static [(usize, u64)] {
    match vendor {
        // One a second, with short bursts.
        "slack" => &[(10, 9_000)],
        "teams" => &[(4, 900), (60, 27_000)],
        _ => &[],
    }
}

/// What is wrong with a payload.
fn fault(vendor: &str, bytes: &[u8], body: &Value) -> Option<String> {
    let length = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
    let too = |what: &str, actual: usize, most: usize| (actual > most).then(|| format!("{what}: {actual} > {most}"));
    match vendor {
        "slack" => {
            let attachments = body["attachments"].as_array().cloned().unwrap_or_default();
            let blocks = |value: &Value| value["blocks"].as_array().cloned().unwrap_or_default();
            let all: Vec<Value> = attachments.iter().chain([body]).flat_map(blocks).collect();
            let longest = all.iter().map(|block| length(&block["text"]["text"])).max().unwrap_or(0);
            too("blocks", all.len(), 50).or_else(|| too("text of a section", longest, 3_000))
        }
        "teams" => too("bytes", bytes.len(), 28 * 1024),
        _ => {
            let is_known = ["trigger", "resolve", "acknowledge"].contains(&body["event_action"].as_str().unwrap_or(""));
            too("bytes", bytes.len(), 512 * 1024)
                .or_else(|| too("dedup_key", length(&body["dedup_key"]), 255))
                .or_else(|| too("summary", length(&body["payload"]["summary"]), 1_024))
                .or_else(|| (!is_known).then(|| format!("event_action: {}", body["event_action"])))
        }
    }
}

async fn take(State(sink): State<Sink>, Path(name): Path<String>, bytes: Bytes) -> (StatusCode, &'static str) {
    let Some(index) = NAMES.iter().position(|known| *known == name) else { return (StatusCode::NOT_FOUND, "") };
    let mut vendor = sink.0[index].lock().unwrap_or_else(PoisonError::into_inner);
    let (now, body) = (Instant::now(), serde_json::from_slice::<Value>(&bytes).unwrap_or_default());
    vendor.requests.push((now, body.clone()));
    if let Some(fault) = fault(&name, &bytes, &body) {
        vendor.refusals.push(fault);
        return (StatusCode::BAD_REQUEST, "invalid_payload");
    }
    let within = |millis| {
        let is_recent = |(at, _): &&(Instant, Value)| now.duration_since(*at) < Duration::from_millis(millis);
        vendor.requests.iter().filter(is_recent).count()
    };
    if rates(&name).iter().any(|(most, millis)| within(*millis) > *most) {
        vendor.hasty += 1;
        return (StatusCode::TOO_MANY_REQUESTS, "");
    }
    if name == "teams" && LIES.contains(&vendor.requests.len()) {
        vendor.lies += 1;
        let lie = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429";
        return (StatusCode::OK, lie);
    }
    vendor.taken.push(body);
    if name == "pagerduty" { (StatusCode::ACCEPTED, "{\"status\":\"success\"}") } else { (StatusCode::OK, "ok") }
}

/// Posts alerts as a Prometheus server does, a few hundred at a time, in [`GROUPS`] groups, with long texts.
async fn storm(api: &str, count: usize) {
    let client = reqwest::Client::new();
    let all: Vec<usize> = (0..count).collect();
    for part in all.chunks(500) {
        let alert = |i: &usize| {
            json!({"labels": {"alertname": format!("Storm{:02}", i % GROUPS), "severity": "critical",
                "instance": format!("host-{i}")}, "annotations": {"summary": format!("<{i}> & {}", "ö".repeat(900)),
                "description": "x".repeat(2_000)}})
        };
        let body = Value::Array(part.iter().map(alert).collect()).to_string();
        let request = client.post(format!("{api}/api/v2/alerts")).header("content-type", "application/json");
        let status = request.body(body).send().await.expect("is answered").status().as_u16();
        assert_eq!(status, 200);
    }
}

// B9
#[tokio::test(flavor = "multi_thread")]
async fn in_a_storm_no_vendor_is_sent_too_much_or_too_fast_and_nothing_is_lost() {
    let count = if std::env::var("BELLWETHER_CONFORMANCE").is_ok_and(|v| v == "full") { 10_000 } else { 2_000 };
    // An error says that another test has installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let sink = Sink::default();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
    let base = format!("http://{}", listener.local_addr().expect("is bound"));
    let router = Router::new().route("/{name}", post(take)).with_state(sink.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    std::fs::write(directory.path().join("key"), "r0uting").expect("the directory is writable");
    let config = format!(
        "listen: {{grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '127.0.0.1:0'}}\n\
         delivery: {{max_backoff: 1s}}\n\
         receivers:\n- name: vendors\n  slack_configs: [{{api_url: '{base}/slack', channel: '#a'}}]\n  \
         msteamsv2_configs: [{{webhook_url: '{base}/teams'}}]\n  \
         pagerduty_configs: [{{url: '{base}/pagerduty', routing_key: 'file:key'}}]\n\
         route: {{receiver: vendors, group_by: [alertname], group_wait: 5s, group_interval: 1h}}\n"
    );
    let (path, data) = (directory.path().join("b.yaml"), directory.path().join("data"));
    std::fs::write(&path, config).expect("the directory is writable");
    let binary = Binary::start(&[OsStr::new("--config"), path.as_os_str(), OsStr::new("--data-dir"), data.as_os_str()]);
    storm(&binary.api, count).await;
    let api = Api::new(&binary.api);
    let done = eventually(PATIENCE, || async {
        let all = api.items("/api/v1/deliveries?limit=1000").await;
        let is_done = all.len() >= GROUPS * NAMES.len() && all.iter().all(|delivery| delivery["state"] == "delivered");
        is_done.then_some(all.len())
    });
    let delivered = done.await;
    assert!(delivered.is_some(), "{}", binary.log());
    for (name, vendor) in NAMES.iter().zip(sink.0.iter()) {
        let vendor = vendor.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(vendor.refusals.is_empty(), "{name}: {:?}", vendor.refusals);
        assert_eq!(vendor.hasty, 0, "{name} was sent more than it takes in its time");
        let texts: Vec<String> = vendor.taken.iter().map(Value::to_string).collect();
        let groups: BTreeSet<usize> =
            (0..GROUPS).filter(|i| texts.iter().any(|text| text.contains(&format!("Storm{i:02}")))).collect();
        assert_eq!(groups.len(), GROUPS, "{name} was told of {groups:?}");
        assert_eq!(vendor.requests.len(), vendor.taken.len() + vendor.lies, "{name}: what was refused came again");
        assert_eq!(vendor.lies > 0, *name == "teams");
    }
}
