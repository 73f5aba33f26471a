//! A configuration that is read again while the service runs: what is new works, what is gone is told nothing more, and
//! what goes on is as it was.

use std::{
    ffi::OsStr,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    api::{Api, eventually},
    binary::Binary,
    webhook::Webhook,
};

#[path = "support/api.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod api;
#[path = "support/binary.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod binary;
#[path = "support/webhook.rs"]
mod webhook;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
const LISTEN: &str = "listen: {grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '127.0.0.1:0'}\n";

struct Setup {
    directory: TempDir,
    client: reqwest::Client,
}

impl Setup {
    fn new(config: &str, rules: &[(&str, u32)]) -> Self {
        // An error says that another test has installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        let setup = Self { directory, client: reqwest::Client::new() };
        setup.configure(config, rules);
        setup
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the configuration, and rules of these names that fire above these depths.
    fn configure(&self, config: &str, rules: &[(&str, u32)]) {
        let rules: Vec<Value> = rules
            .iter()
            .map(|(name, depth)| json!({"alert": name, "expr": format!("queue_depth > {depth}")}))
            .collect();
        let rules = json!({"groups": [{"name": "test", "interval": "1s", "rules": rules}]});
        std::fs::write(self.path("rules.yaml"), rules.to_string()).expect("the directory is writable");
        let text = format!("{LISTEN}rule_files: [rules.yaml]\n{config}");
        std::fs::write(self.path("bellwether.yaml"), text).expect("the directory is writable");
    }

    fn start(&self) -> Binary {
        let (config, data) = (self.path("bellwether.yaml"), self.path("data"));
        Binary::start(&["--config".as_ref(), config.as_os_str(), OsStr::new("--data-dir"), data.as_os_str()])
    }

    async fn reload(&self, binary: &Binary, token: Option<&str>) -> (u16, Value) {
        let request = self.client.post(format!("{}/-/reload", binary.api));
        let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
        let answer = request.send().await.expect("is answered");
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.expect("has an end")).unwrap_or_default())
    }

    /// Sends one point of the gauge that the rules look at, now.
    async fn send(&self, http: &str, depth: u32, token: Option<&str>) -> u16 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
        let body = json!({"resourceMetrics": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "jobs"}}]},
            "scopeMetrics": [{"metrics": [{"name": "queue.depth", "gauge": {"dataPoints": [
                {"timeUnixNano": now.as_nanos().to_string(), "asDouble": f64::from(depth)}
            ]}}]}]
        }]});
        let request = self.client.post(format!("{http}/v1/metrics")).header("content-type", "application/json");
        let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
        request.body(body.to_string()).send().await.map_or(0, |answer| answer.status().as_u16())
    }

    /// Sends what the answer holds until the test ends, so that time goes on.
    fn keep_sending(self: &Arc<Self>, http: &str, depth: u32) -> Arc<AtomicU32> {
        let depth = Arc::new(AtomicU32::new(depth));
        let (setup, http, kept) = (Arc::clone(self), http.to_owned(), Arc::clone(&depth));
        tokio::spawn(async move {
            while setup.send(&http, kept.load(Relaxed), None).await == 200 {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        depth
    }
}

fn receivers(sinks: &[(&str, &Webhook)]) -> String {
    let entry = |(name, sink): &(&str, &Webhook)| json!({"name": name, "webhook_configs": [{"url": sink.url()}]});
    format!("receivers: {}\n", json!(sinks.iter().map(entry).collect::<Vec<_>>()))
}

/// What a receiver was told of an alert, in order.
fn told(sink: &Webhook, name: &str) -> Vec<String> {
    let of_it = sink.alerts().into_iter().filter(|alert| alert["labels"]["alertname"] == name);
    of_it.map(|alert| alert["status"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn until_told(sink: &Webhook, name: &str, wanted: &[&str], binary: &Binary) {
    let is_told = eventually(PATIENCE, || async { (told(sink, name) == wanted).then_some(()) }).await;
    assert!(is_told.is_some(), "{name}: {:?}, expected {wanted:?}\n{}", told(sink, name), binary.log());
}

/// The active alert of this name.
async fn active(api: &Api, name: &str) -> Option<Value> {
    let answer = api.get("/api/v1/alerts").await;
    let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
    alerts.into_iter().find(|alert| alert["labels"]["alertname"] == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_works_what_is_gone_is_silent_and_what_goes_on_is_as_it_was() {
    let (stays, goes) = (Webhook::listen().await, Webhook::listen().await);
    let setup = Arc::new(Setup::new(&receivers(&[("stays", &stays), ("goes", &goes)]), &[("Deep", 1)]));
    let binary = setup.start();
    let api = Api::new(&binary.api);
    let depth = setup.keep_sending(&binary.http, 5);
    until_told(&stays, "Deep", &["firing"], &binary).await;
    until_told(&goes, "Deep", &["firing"], &binary).await;
    let before = active(&api, "Deep").await.expect("fires");
    let silence = json!({"matchers": [{"name": "alertname", "value": "Quiet", "isRegex": false}], "comment": "c",
        "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2096-01-01T00:00:00Z", "createdBy": "test"});
    let posted = setup.client.post(format!("{}/api/v2/silences", binary.api));
    let posted = posted.header("content-type", "application/json").body(silence.to_string()).send().await;
    assert_eq!(posted.expect("is answered").status().as_u16(), 200);

    // Rules before and behind the one that fires.
    setup.configure(&receivers(&[("stays", &stays)]), &[("Deeper", 2), ("Deep", 1), ("Quiet", 3)]);
    let (status, answer) = setup.reload(&binary, None).await;
    assert_eq!((status, &answer["rules"], &answer["receivers"]), (200, &json!(3), &json!(["stays"])), "{answer}");
    until_told(&stays, "Deeper", &["firing"], &binary).await;
    let quiet = eventually(PATIENCE, || active(&api, "Quiet")).await;
    assert!(quiet.is_some(), "the third rule fires");
    let after = active(&api, "Deep").await.expect("fires on");
    assert_eq!((&after["activeAt"], &after["state"]), (&before["activeAt"], &json!("firing")));
    depth.store(0, Relaxed);
    for name in ["Deep", "Deeper"] {
        until_told(&stays, name, &["firing", "resolved"], &binary).await;
    }
    assert_eq!(told(&goes, "Deep"), ["firing"], "who is gone is told nothing more");
    assert!(told(&goes, "Deeper").is_empty() && told(&stays, "Quiet").is_empty(), "the silence holds");

    // Whoever comes back is told of what is over in the meantime only if he has been told that it began.
    setup.configure(&receivers(&[("stays", &stays), ("goes", &goes)]), &[("Deep", 1)]);
    assert_eq!(setup.reload(&binary, None).await.0, 200);
    depth.store(5, Relaxed);
    until_told(&stays, "Deep", &["firing", "resolved", "firing"], &binary).await;
    let again = eventually(PATIENCE, || async { told(&goes, "Deep").last().filter(|last| *last == "firing").cloned() });
    assert!(again.await.is_some(), "{:?}", told(&goes, "Deep"));
    assert!(binary.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_does_the_same_and_what_needs_a_restart_is_named() {
    let sink = Webhook::listen().await;
    let setup = Arc::new(Setup::new(&receivers(&[("ops", &sink)]), &[("Deep", 9)]));
    let binary = setup.start();
    let api = Api::new(&binary.api);
    setup.keep_sending(&binary.http, 5);
    setup.configure(&receivers(&[("ops", &sink)]), &[("Deep", 1)]);
    let hangup = Command::new("kill").args(["-HUP", &binary.pid().to_string()]).status().expect("every Unix has kill");
    assert!(hangup.success());
    until_told(&sink, "Deep", &["firing"], &binary).await;

    let fixed = "durability: interval\ndetect: {critical_score: 3}\nhistory:\n  enabled: false\n";
    setup.configure(&format!("{fixed}{}", receivers(&[("ops", &sink)])), &[("Deep", 99)]);
    let (status, answer) = setup.reload(&binary, None).await;
    let said: Vec<(u64, &str)> = answer["faults"].as_array().into_iter().flatten().map(said).collect();
    assert_eq!(status, 422, "{answer}");
    assert!(
        said[0].0 == 3 && said[0].1.starts_with("durability: cannot be changed while the service runs"),
        "{said:?}"
    );
    assert!(said[1].0 == 5 && said[1].1.starts_with("history: ") && said.len() == 2, "{said:?}");
    assert!(active(&api, "Deep").await.is_some(), "nothing was taken up");

    // A rule file that is wrong is part of it.
    setup.configure(&receivers(&[("ops", &sink)]), &[("Deep", 99)]);
    std::fs::write(setup.path("rules.yaml"), "groups:\n- name: g\n  rules:\n  - {alert: A, expr: 'sum('}\n")
        .expect("the directory is writable");
    let (status, answer) = setup.reload(&binary, None).await;
    assert_eq!(status, 422, "{answer}");
    assert!(answer["faults"][0]["file"].as_str().is_some_and(|file| file.ends_with("rules.yaml")), "{answer}");
    assert_eq!(answer["faults"][0]["line"], 4, "{answer}");
    let metrics = api.text("/metrics").await;
    assert!(metrics.contains("bellwether_config_last_reload_successful 0"), "{metrics}");
    for path in ["/-/healthy", "/-/ready"] {
        assert!(!api.text(path).await.is_empty());
    }
}

fn said(fault: &Value) -> (u64, &str) {
    (fault["line"].as_u64().unwrap_or_default(), fault["detail"].as_str().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_and_limits_of_tenants_are_taken_up_by_all_doors() {
    let with = |token: &str, more: &str| {
        format!("credentials: [{{name: all, bearer_token: 'file:{token}', tenants: [default]}}]\n{more}")
    };
    let setup = Setup::new("", &[("Deep", 1)]);
    for token in ["first-token", "second-token"] {
        std::fs::write(setup.path(token), token).expect("the directory is writable");
    }
    setup.configure(&with("first-token", ""), &[("Deep", 1)]);
    let binary = setup.start();
    assert_eq!(setup.reload(&binary, None).await.0, 401, "a credential is needed to reload");
    assert_eq!(setup.send(&binary.http, 1, Some("first-token")).await, 200);
    let slow = "tenants: {default: {items_per_second: 1, items_burst: 1}}\n";
    setup.configure(&with("second-token", slow), &[("Deep", 1)]);
    assert_eq!(setup.reload(&binary, Some("first-token")).await.0, 200);
    assert_eq!(setup.send(&binary.http, 1, Some("first-token")).await, 401, "the old one is not known any more");
    assert_eq!(setup.reload(&binary, Some("first-token")).await.0, 401);
    let statuses = [
        setup.send(&binary.http, 1, Some("second-token")).await,
        setup.send(&binary.http, 1, Some("second-token")).await,
        setup.send(&binary.http, 1, Some("second-token")).await,
    ];
    assert_eq!(statuses[0], 200, "the new one is");
    assert!(statuses.contains(&429), "the rate holds: {statuses:?}");
    setup.configure("", &[("Deep", 1)]);
    assert_eq!(setup.reload(&binary, Some("second-token")).await.0, 200);
    assert_eq!(setup.send(&binary.http, 1, None).await, 200, "without credentials everybody may");
}
