//! What people know and say from outside: settings of metrics, feedback, incidents.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::{
    api::{Api, eventually},
    binary::Binary,
};

#[path = "support/api.rs"]
mod api;
#[path = "support/binary.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod binary;

const PATIENCE: Duration = Duration::from_secs(20);
const SETTINGS: &str = "
detect:
  metrics:
    - match: pool_connections
      valid_range: {min: 0, max: 200}
    - match: queue_depth{job='down-only'}
      direction: down
    - match: disk_used_ratio
      limit: {value: 0.95, horizon: 1h}
";

/// Behind the settings: alerts at once, and who is told of them.
const TOLD: &str = "  symptoms: {for: 0s}
receivers: [{name: log, file_configs: [{path: told.jsonl}]}]
route: {receiver: log, group_by: [job], group_by_incident: true, group_wait: 3s, group_interval: 1s}
";
/// What raises an alert of its service.
const LATENCY: &str = "traces_span_metrics_duration_seconds:p95";

struct Service {
    binary: Binary,
    api: Api,
    client: reqwest::Client,
}

fn start(directory: &Path) -> Service {
    start_with(directory, SETTINGS)
}

fn start_with(directory: &Path, settings: &str) -> Service {
    let binary = Binary::start_in(directory, settings);
    let api = Api::new(&binary.api);
    Service { binary, api, client: reqwest::Client::new() }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

fn resource(service: &str) -> Value {
    json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]})
}

/// A calm value around 100, the same in every run.
fn calm(i: u64) -> f64 {
    100.0 + ((i * 7) % 11) as f64 / 10.0
}

impl Service {
    async fn post(&self, url: String, body: &Value) -> (u16, Value) {
        let request = self.client.post(url).header("content-type", "application/json").body(body.to_string());
        let answer = request.send().await.expect("is answered");
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.expect("has a body")).unwrap_or_default())
    }

    /// `points` of one gauge, as seconds and values.
    async fn gauge(&self, service: &str, name: &str, points: impl IntoIterator<Item = (u64, f64)>) {
        let point =
            |(at, value): (u64, f64)| json!({"timeUnixNano": (at * 1_000_000_000).to_string(), "asDouble": value});
        let points: Vec<Value> = points.into_iter().map(point).collect();
        let scope = json!({"metrics": [{"name": name, "gauge": {"dataPoints": points}}]});
        let body = json!({"resourceMetrics": [{"resource": resource(service), "scopeMetrics": [scope]}]});
        assert_eq!(self.post(format!("{}/v1/metrics", self.binary.http), &body).await.0, 200);
    }

    /// One call of `callee` by `caller`.
    async fn call(&self, caller: &str, callee: &str, number: u64, at: u64) {
        let id = |side: u64| format!("{:016x}", (number + 1) * 2 + side);
        let trace = format!("{:032x}", number + 1);
        let span = |kind: u8, own: &str, parent: &str| {
            json!({"traceId": trace, "spanId": own, "parentSpanId": parent, "name": "call", "kind": kind,
                "startTimeUnixNano": (at * 1_000_000_000).to_string(),
                "endTimeUnixNano": (at * 1_000_000_000 + 5_000_000).to_string()})
        };
        let of = |service: &str, span: Value| json!({"resource": resource(service), "scopeSpans": [{"spans": [span]}]});
        let body = json!({"resourceSpans": [of(callee, span(2, &id(1), &id(0))), of(caller, span(3, &id(0), ""))]});
        assert_eq!(self.post(format!("{}/v1/traces", self.binary.http), &body).await.0, 200);
    }

    async fn anomalies(&self, filter: &str) -> Vec<Value> {
        self.api.items(&format!("/api/v1/anomalies?{filter}")).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_a_metric_beforehand_decides() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let service = start(directory.path());
    let begin = seconds() - 7_200;
    service.gauge("api", "pool.connections", [(begin, 50.0), (begin + 10, 250.0)]).await;
    let [beyond] = <[Value; 1]>::try_from(service.anomalies("detector=limit").await).expect("one anomaly");
    assert_eq!(
        (&beyond["metric"], &beyond["upper"], &beyond["score"]),
        (&json!("pool_connections"), &json!(200.0), &json!(1.25))
    );
    assert!(beyond["explanation"].as_str().is_some_and(|e| e.contains("above 200")), "{beyond}");

    let jump = |i: u64| (begin + i * 10, if i >= 60 { 400.0 } else { calm(i) });
    service.gauge("down-only", "queue.depth", (0..62).map(jump)).await;
    service.gauge("both", "queue.depth", (0..62).map(jump)).await;
    let found = service.anomalies("metric=queue_depth").await;
    assert_eq!(found.iter().map(|a| &a["service"]).collect::<Vec<_>>(), ["both"], "up is not anomalous for the other");

    // From 0.5 on by 0.005 a minute: 0.95 after 90 minutes.
    let filling = |i: u64| (begin + i * 10, 0.5 + 0.005 * i as f64 / 6.0 + 0.001 * (calm(i) - 100.0));
    service.gauge("db", "disk.used_ratio", (0..420).map(filling)).await;
    let [full] = <[Value; 1]>::try_from(service.anomalies("detector=forecast").await).expect("one anomaly");
    assert_eq!(
        (&full["pattern"], &full["direction"], &full["forecast"]["limit"]),
        (&json!("trend"), &json!("up"), &json!(0.95))
    );
    let said = full["emittedAt"].as_str().expect("is a time");
    let said = chrono::DateTime::parse_from_rfc3339(said).expect("is a time").timestamp();
    let left = (begin + 90 * 60) as f64 - said as f64;
    let time = |p: &str| full["forecast"]["timeToLimitSeconds"][p].as_f64().unwrap_or(f64::NAN);
    // Severities and numbers are those of the worst moment, which is later than the first.
    assert!(time("p10") <= time("p50") && time("p50") <= time("p90") && time("p50") <= left + 600.0, "{full} {left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn feedback_shows_what_it_changes_does_it_survives_and_is_undone() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let service = start(directory.path());
    let begin = seconds() - 7_000;
    let with_spike = |from: u64| (0..100).map(move |i| (from + i * 10, if i == 80 { 160.0 } else { calm(i) }));
    service.gauge("api", "queue.depth", with_spike(begin)).await;
    let [spike] = <[Value; 1]>::try_from(service.anomalies("").await).expect("one anomaly");
    let id = spike["id"].as_str().expect("has an id").to_owned();
    eventually(PATIENCE, || async {
        (service.api.value_of("count_over_time(queue_depth[2h])").await >= 100.0).then_some(())
    })
    .await;

    let url = format!("{}/api/v1/anomalies/{id}/feedback", service.binary.api);
    let (status, shown) = service.post(url.clone(), &json!({"verdict": "false_positive"})).await;
    assert_eq!((status, &shown["applied"], &shown["id"]), (200, &json!(false), &Value::Null), "{shown}");
    assert_eq!(shown["change"]["kind"], "threshold");
    let trial = |shown: &Value| {
        let number = |key: &str| shown["backtest"][key].as_u64().unwrap_or(u64::MAX);
        (number("points"), number("anomaliesBefore"), number("anomaliesAfter"))
    };
    assert_eq!(trial(&shown), (100, 1, 0), "{shown}");
    assert_eq!(service.api.items("/api/v1/feedback").await.len(), 0, "nothing was said yet");

    let (status, wrong) = service.post(url.clone(), &json!({"verdict": "maybe", "apply": true})).await;
    let faults = wrong["errors"].to_string();
    assert!(status == 400 && faults.contains("verdict") && faults.contains("author"), "{status} {wrong}");
    let apply = json!({"verdict": "false_positive", "apply": true, "author": "ada", "comment": "a known batch"});
    let (status, done) = service.post(url.clone(), &apply).await;
    assert_eq!((status, &done["applied"]), (201, &json!(true)), "{done}");
    let feedback = done["id"].as_str().expect("has an id").to_owned();

    // Killed right after the answer, it is in force all the same.
    service.binary.kill();
    let service = start(directory.path());
    service.gauge("api", "queue.depth", with_spike(begin + 1_000)).await;
    assert_eq!(service.anomalies("").await.len(), 1, "the same spike again is no news");

    let undone = service.client.delete(format!("{}/api/v1/feedback/{feedback}", service.binary.api)).send().await;
    assert_eq!(undone.expect("is answered").status().as_u16(), 200);
    let listed = service.api.items("/api/v1/feedback").await;
    assert_eq!((listed.len(), &listed[0]["applied"], &listed[0]["author"]), (1, &json!(false), &json!("ada")));
    let greater = (0..100).map(|i| (begin + 2_000 + i * 10, if i == 80 { 900.0 } else { calm(i) }));
    service.gauge("api", "queue.depth", greater).await;
    assert_eq!(service.anomalies("").await.len(), 2);
    let nobody = service.client.delete(format!("{}/api/v1/feedback/none", service.binary.api)).send().await;
    assert_eq!(nobody.expect("is answered").status().as_u16(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_in_trouble_belong_to_the_incident_of_what_they_call() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let service = start_with(directory.path(), &format!("{SETTINGS}{TOLD}"));
    let now = seconds();
    let calm_until_now = || (0..60).map(move |i| (now - 620 + i * 10, calm(i)));
    for name in ["shop", "quotes", "db", "elsewhere"] {
        service.gauge(name, LATENCY, calm_until_now()).await;
    }
    for i in 0..5 {
        service.call("shop", "quotes", 2 * i, now - 30 + i).await;
        service.call("quotes", "db", 2 * i + 1, now - 30 + i).await;
    }
    let graph = eventually(PATIENCE, || async {
        // Event time goes on with news.
        service.gauge("clock", "tick", [(seconds(), 1.0)]).await;
        let quotes = service.api.get("/api/v1/services/quotes").await;
        (quotes["calls"] == json!(["db"]) && quotes["calledBy"] == json!(["shop"])).then_some(())
    });
    graph.await.expect("spans say who calls whom");

    for (name, after) in [("quotes", 0), ("shop", 1), ("elsewhere", 2), ("db", 3)] {
        let at = seconds().max(now);
        service.gauge(name, LATENCY, [(at + after, 900.0)]).await;
    }
    let incidents = service.api.items("/api/v1/incidents").await;
    assert_eq!(incidents.len(), 2, "{incidents:?}");
    let incident = &incidents[0];
    assert_eq!(incident["services"], json!(["quotes", "shop", "db"]), "{incident}");
    assert_eq!((&incident["state"], &incident["anomalyCount"]), (&json!("active"), &json!(3)));
    assert_eq!(incident["origin"]["service"], "db", "said last, but called by the others: {incident}");
    assert!(incident["origin"]["because"].as_str().is_some_and(|b| b.contains("is called by quotes")), "{incident}");
    let id = incident["id"].as_str().expect("has an id");
    let whole = service.api.get(&format!("/api/v1/incidents/{id}")).await;
    assert_eq!(whole["anomalies"].as_array().map(Vec::len), Some(3), "{whole}");
    assert!(whole["anomalies"][0]["incidentId"] == id && whole["alerts"].is_array());
    assert_eq!(service.api.items("/api/v1/incidents?service=elsewhere&state=active").await.len(), 1);
    assert_eq!(service.api.items("/api/v1/incidents?state=ended").await.len(), 0);
    let missing = service.client.get(format!("{}/api/v1/incidents/none", service.binary.api)).send().await;
    assert_eq!(missing.expect("is answered").status().as_u16(), 404);
    // Which of them are told together at first depends on where the assessments, every five seconds, fall.
    let told = eventually(PATIENCE, || async {
        service.gauge("clock", "tick", [(seconds() + 5, 1.0)]).await;
        let text = std::fs::read_to_string(directory.path().join("told.jsonl")).unwrap_or_default();
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let is_other = |line: &Value| jobs(line) == ["elsewhere"];
        let is_whole = |line: &Value| jobs(line) == ["db", "quotes", "shop"];
        (lines.iter().any(is_other) && lines.iter().any(is_whole)).then_some(lines)
    });
    let told = told.await.expect("the alerts of the incident are told together, and the other one by itself");
    let of_incident = |line: &&Value| line["message"]["groupLabels"]["incident"] == id;
    let keys: Vec<&Value> = told.iter().filter(of_incident).map(|line| &line["message"]["groupKey"]).collect();
    assert!(!keys.is_empty() && keys.iter().all(|key| *key == keys[0]), "one group: {told:?}");
    assert!(told.iter().filter(|line| !of_incident(line)).all(|line| jobs(line) == ["elsewhere"]), "{told:?}");
}

/// Whose alerts a notification tells of, in order.
fn jobs(line: &Value) -> Vec<&str> {
    let alerts = line["message"]["alerts"].as_array().into_iter().flatten();
    let mut jobs: Vec<&str> = alerts.filter_map(|alert| alert["labels"]["job"].as_str()).collect();
    jobs.sort_unstable();
    jobs
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anomaly_of_failing_calls_says_which_attribute_carries_it() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let service = start(directory.path());
    let begin = (seconds() - 1_000) / 10 * 10;
    let text = |key: &str, value: String| json!({"key": key, "value": {"stringValue": value}});
    // Four calls a second, two of them about STEP files, which fail from `fails_from` on.
    let calls = |from: u64, until: u64, fails_from: u64| {
        let span = |number: u64| {
            let (second, is_step) = (from + number / 4, number.is_multiple_of(2));
            let nanos = second * 1_000_000_000 + number % 4 * 1_000_000;
            let file = if is_step { "STEP" } else { "STL" };
            json!({"traceId": format!("{:032x}", nanos), "spanId": format!("{:016x}", nanos), "name": "analyze", "kind": 2,
                "startTimeUnixNano": (nanos - 5_000_000).to_string(), "endTimeUnixNano": nanos.to_string(),
                "status": {"code": if is_step && second >= fails_from { 2 } else { 0 }},
                "attributes": [text("file.type", file.into()), text("region", "eu".into()), text("part", number.to_string())]})
        };
        let spans: Vec<Value> = (0..(until - from) * 4).map(span).collect();
        json!({"resourceSpans": [{"resource": resource("dfm"), "scopeSpans": [{"spans": spans}]}]})
    };
    let url = format!("{}/v1/traces", service.binary.http);
    assert_eq!(service.post(url.clone(), &calls(begin, begin + 800, u64::MAX)).await.0, 200);
    for from in (begin + 800..begin + 900).step_by(10) {
        assert_eq!(service.post(url.clone(), &calls(from, from + 10, begin + 800)).await.0, 200);
    }
    let found = eventually(PATIENCE, || async {
        service
            .anomalies("service=dfm&metric=traces_span_metrics_errors:ratio")
            .await
            .into_iter()
            .find(|a| a["attributes"] != json!([]))
    });
    let anomaly = found.await.expect("the attribute is found");
    let [step] = <[Value; 1]>::try_from(anomaly["attributes"].as_array().cloned().expect("is a list")).expect("one");
    assert_eq!((&step["key"], &step["value"]), (&json!("file.type"), &json!("STEP")));
    assert_eq!((&step["of"], &step["share"]), (&json!("failing"), &json!(1.0)));
    assert!(step["baselineShare"].as_f64().is_some_and(|share| (0.4..0.6).contains(&share)), "{step}");
    assert_eq!((&step["count"], &step["baselineOf"]), (&step["total"], &json!("all")));
    let said = anomaly["explanation"].as_str().unwrap_or_default();
    assert!(said.contains("file.type=STEP in 100 % of failing calls"), "{said}");
}
