//! The interface from outside: what a follower, Grafana, a dashboard and a browser rely on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::{
    api::{Api, encoded, eventually},
    binary::Binary,
};

#[path = "support/api.rs"]
mod api;
#[path = "support/binary.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod binary;

const PATIENCE: Duration = Duration::from_secs(20);
/// A name that a browser must never take for markup.
const HOSTILE: &str = "shop<script>alert(1)</script>";

struct Service {
    binary: Binary,
    api: Api,
    client: reqwest::Client,
    _directory: tempfile::TempDir,
}

fn start() -> Service {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let binary = Binary::start_in(directory.path(), "level: {assess_every: 1s}\n");
    let api = Api::new(&binary.api);
    Service { binary, api, client: reqwest::Client::new(), _directory: directory }
}

impl Service {
    /// Two gauges of a service with a hostile name: ten minutes of calm at 10 s up to now, then a jump
    /// of both. Sent as old data with its own timestamps, as a replay would.
    async fn send_jump(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
        let points: Vec<Value> = (0..60_u64)
            .map(|i| {
                let calm = 100.0 + ((i * 7) % 11) as f64 / 10.0;
                let value = if i >= 57 { 400.0 } else { calm };
                json!({"timeUnixNano": ((now - 600 + i * 10) * 1_000_000_000).to_string(), "asDouble": value})
            })
            .collect();
        let metric = |name: &str| json!({"name": name, "unit": "ms", "gauge": {"dataPoints": points}});
        let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": HOSTILE}}]});
        let scope = json!({"metrics": [metric("queue.wait"), metric("lock.wait")]});
        let body = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [scope]}]});
        let answer = self
            .client
            .post(format!("{}/v1/metrics", self.binary.http))
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .expect("the door is open");
        assert_eq!(answer.status().as_u16(), 200);
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.client.get(format!("{}{path}", self.binary.api)).send().await.expect("answers");
        let status = answer.status().as_u16();
        (status, answer.text().await.expect("has a body"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn anomalies_are_listed_filtered_paged_and_explained() {
    let service = start();
    service.send_jump().await;
    // The answer came when the points were judged, so nothing has to be waited for.
    let all = service.api.get("/api/v1/anomalies").await;
    let items = all["items"].as_array().expect("is a list").clone();
    assert_eq!(items.len(), 2, "{all}");
    let first = &items[0];
    assert_eq!((&first["service"], &first["metric"]), (&json!(HOSTILE), &json!("queue_wait_milliseconds")));
    assert_eq!(
        (&first["direction"], &first["detector"], &first["endsAt"]),
        (&json!("up"), &json!("z-score"), &Value::Null)
    );
    let number = |key: &str| first[key].as_f64().unwrap_or(f64::NAN);
    let z = (number("observed") - number("expected")) / number("scale");
    assert!((z - number("z")).abs() < 1e-9 && (z / number("threshold") - number("score")).abs() < 1e-9, "{first}");
    assert!(number("score") > 1.0 && number("observed") > number("upper"));
    assert_eq!(first["sampleCount"], 57);

    let page = service.api.get("/api/v1/anomalies?limit=1").await;
    let cursor = page["nextCursor"].as_str().expect("there is more").to_owned();
    let next = service.api.get(&format!("/api/v1/anomalies?limit=1&cursor={cursor}")).await;
    assert_eq!(next["items"][0]["seq"], 2);
    for (filter, count) in [
        ("metric=lock_wait_milliseconds", 1),
        ("state=active", 2),
        ("state=ended", 0),
        ("minScore=1e9", 0),
        ("pattern=dip", 0),
        ("detector=z-score&severity=critical", 2),
        ("from=2001-01-01T00:00:00Z&to=2001-01-02T00:00:00Z", 0),
    ] {
        assert_eq!(service.api.items(&format!("/api/v1/anomalies?{filter}")).await.len(), count, "{filter}");
    }
    let by_service = format!("/api/v1/anomalies?service={}", encoded(HOSTILE));
    assert_eq!(service.api.items(&by_service).await.len(), 2);

    let id = first["id"].as_str().expect("has an id");
    assert_eq!(service.api.get(&format!("/api/v1/anomalies/{id}")).await["id"], id);
    let chart = service.api.get(&format!("/api/v1/anomalies/{id}/chart")).await;
    assert!(chart["points"].as_array().is_some_and(|p| p.len() > 30), "{chart}");
    assert_eq!(service.get("/api/v1/anomalies/none").await.0, 404);

    let (status, page) = service.get(&format!("/anomalies/{id}")).await;
    assert_eq!(status, 200);
    let (_, front) = service.get("/").await;
    for html in [page, front] {
        assert!(!html.contains("<script") && html.contains("shop&lt;script&gt;"), "{html}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promql_is_answered_in_prometheus_envelope() {
    let service = start();
    service.send_jump().await;
    let sealed = eventually(PATIENCE, || async {
        let answer = service.api.get("/api/v1/query?query=queue_wait_milliseconds").await;
        (answer["data"]["result"].as_array()?.len() == 1).then_some(answer)
    });
    let answer = sealed.await.expect("the head is sealed within a second or so");
    assert_eq!((&answer["status"], &answer["data"]["resultType"]), (&json!("success"), &json!("vector")));
    let series = &answer["data"]["result"][0];
    assert_eq!(
        (&series["metric"]["__name__"], &series["metric"]["job"]),
        (&json!("queue_wait_milliseconds"), &json!(HOSTILE))
    );
    assert_eq!(series["value"][1], "400");
    let expected = service.api.value_of("queue_wait_milliseconds:expected").await;
    assert!((expected - 100.5).abs() < 1.0, "the baseline is a series as well: {expected}");

    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let range = format!("/api/v1/query_range?query=max(queue_wait_milliseconds)&start={}&end={now}&step=60", now - 300);
    let matrix = service.api.get(&range).await;
    assert_eq!(matrix["data"]["resultType"], "matrix");
    assert_eq!(matrix["data"]["result"][0]["values"].as_array().map(Vec::len), Some(6), "{matrix}");

    let (status, body) = service.get("/api/v1/query?query=topk(3,x)").await;
    let error: Value = serde_json::from_str(&body).expect("is JSON");
    assert_eq!((status, &error["status"], &error["errorType"]), (400, &json!("error"), &json!("bad_data")));
    assert!(error["error"].as_str().is_some_and(|e| e.contains("topk")), "{error}");
    let rules = service.api.get("/api/v1/rules").await;
    let rule = &rules["data"]["groups"][0]["rules"][0];
    assert_eq!(
        (&rule["name"], &rule["type"], &rule["labels"]["severity"]),
        (&json!("ConversionDrop"), &json!("alerting"), &json!("warning"))
    );
    let names = service.api.get("/api/v1/label/__name__/values").await;
    assert!(names["data"].as_array().is_some_and(|n| n.contains(&json!("lock_wait_milliseconds"))), "{names}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_level_can_be_read_followed_and_pinned() {
    let service = start();
    let before = service.api.get("/api/v1/degradation").await;
    assert_eq!((&before["level"], &before["name"]), (&json!(0), &json!("full-service")));

    let mut stream = service
        .client
        .get(format!("{}/api/v1/degradation/stream", service.binary.api))
        .send()
        .await
        .expect("the stream opens");
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut seen = String::new();
    read_until(&mut stream, &mut seen, "\"level\":0").await;

    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let pin = json!({"level": 3, "author": "ada", "reason": "drill", "expiresAt": now + 3_600});
    let url = format!("{}/api/v1/degradation/pin", service.binary.api);
    let put =
        |body: String, kind: &'static str| service.client.put(&url).header("content-type", kind).body(body).send();
    let refused = put(pin.to_string(), "text/plain").await.expect("answers");
    assert_eq!(refused.status().as_u16(), 415, "a form on another site cannot set a pin");
    let wrong = put(json!({"level": 7}).to_string(), "application/json").await.expect("answers");
    assert_eq!(wrong.status().as_u16(), 400);
    let problem = wrong.text().await.expect("has a body");
    for field in ["level", "author", "expiresAt"] {
        assert!(problem.contains(field), "{field} is not in {problem}");
    }
    let set = put(pin.to_string(), "application/json").await.expect("answers");
    assert!(set.status().is_success(), "{:?}", set.text().await);
    read_until(&mut stream, &mut seen, "\"level\":3").await;
    let pinned = service.api.get("/api/v1/degradation").await;
    assert_eq!((&pinned["level"], &pinned["pin"]["author"]), (&json!(3), &json!("ada")));
    assert!(pinned["because"][0].as_str().is_some_and(|b| b.contains("pinned to 3 (read-only) by ada: drill")));
    let (_, metrics) = service.get("/metrics").await;
    assert!(metrics.lines().any(|l| l == "bellwether_degradation_level{service=\"\"} 3"), "{metrics}");

    let cleared = service.client.delete(&url).send().await.expect("answers");
    assert!(cleared.status().is_success());
    assert_eq!(service.api.get("/api/v1/degradation").await["level"], 0);
}

/// Reads events until `wanted` is among what came.
async fn read_until(stream: &mut reqwest::Response, seen: &mut String, wanted: &str) {
    let reading = async {
        while !seen.contains(wanted) {
            let chunk = stream.chunk().await.expect("the stream goes on").expect("and does not end");
            seen.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    assert!(tokio::time::timeout(PATIENCE, reading).await.is_ok(), "{wanted} did not come: {seen}");
}
